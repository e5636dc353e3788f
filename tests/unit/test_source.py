"""The source over a stand-in for confluent-kafka's consumer: ends, seeks, moves of the group, and odd records."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from ingest.sources import public as module
from ingest.sources.membership import fetching
from ingest.sources.public import PublicSource
from ingest.sources.source import Partition
from thalweg.clock import ManualClock
from thalweg.settings import KafkaSettings
from thalweg.streams.clients import consumer_properties

P: Partition = ("t", 0)


def record(offset: int, value: bytes | None = b"v", key: bytes | None = None) -> Message:
    """One record of t[0]."""
    return Message(topic="t", partition=0, offset=offset, key=key, value=value, timestamp=(1, 0))


def end(offset: int) -> Message:
    """The reader has met the end of t[0]."""
    return Message(topic="t", partition=0, offset=offset, error=KafkaError(KafkaError._PARTITION_EOF))


class Consumer:
    """Gives what a test says, call by call, then nothing. Time passes with each empty call."""

    def __init__(self, clock: ManualClock, *calls: list[Message] | Callable[[], list[Message]]) -> None:
        self.clock = clock
        self.calls = list(calls)
        self.high = 0
        self.commits_fail = False
        self.assigned: dict[Partition, int] = {}

    def subscribe(self, topics: list[str], on_assign: Any, on_revoke: Any, on_lost: Any) -> None:
        """Keep the callbacks."""
        self.on_assign, self.on_revoke = on_assign, on_revoke

    def consume(self, count: int, timeout_s: float) -> list[Message]:
        """The next call's messages."""
        if not self.calls:
            self.clock.sleep(max(timeout_s, 0.001))
            return []
        call = self.calls.pop(0)
        return call if isinstance(call, list) else call()

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        """Note."""
        self.assigned |= {(p.topic, p.partition): p.offset for p in partitions}

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None:
        """Note."""
        for p in partitions:
            del self.assigned[p.topic, p.partition]

    def get_watermark_offsets(self, partition: TopicPartition, cached: bool) -> tuple[int, int]:
        """As last heard."""
        return 0, self.high

    def commit(self, offsets: list[TopicPartition], asynchronous: bool) -> None:
        """Accept, or not."""
        if self.commits_fail:
            raise KafkaException(KafkaError(KafkaError._STATE))

    def move(self) -> list[Message]:
        """The group takes t[0] away and gives it back, in the middle of a call."""
        self.on_revoke(self, [TopicPartition("t", 0)])
        self.on_assign(self, [TopicPartition("t", 0)])
        return [end(5)]


class Handlers:
    """A worker whose table says where to start."""

    def __init__(self, start: int) -> None:
        self.start = start

    def assigned(self, partitions: list[Partition]) -> Mapping[Partition, int]:
        """From the start that was given."""
        return dict.fromkeys(partitions, self.start)

    def revoked(self, partitions: list[Partition]) -> Mapping[Partition, int]:
        """Nothing changes."""
        return {}


@pytest.fixture
def source_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[PublicSource, Consumer]]:
    """Makes a source that holds t[0] from offset `start` on, over a consumer that gives these calls."""

    def make(*calls: Any, start: int = 0) -> tuple[PublicSource, Consumer]:
        clock = ManualClock()
        consumer = Consumer(clock)
        monkeypatch.setattr(module, "consumer", lambda *_, **__: consumer)
        source = PublicSource(KafkaSettings(bootstrap="127.0.0.1:1"), "g", ["t"], Handlers(start), clock)

        def give() -> list[Message]:
            consumer.on_assign(consumer, [TopicPartition("t", 0)])
            return []

        consumer.calls = [give, *calls]
        return source, consumer

    return make


def test_a_partition_that_is_read_again_has_not_reached_its_end(source_of: Callable[..., Any]) -> None:
    """Else a run until caught up ends, silently, with offsets that never landed."""
    source, _ = source_of([record(0), record(1), end(2)])
    source.poll(10, 10**6, 0.2)
    assert source.reached({P: 2})
    source.seek({P: 0})
    assert not source.reached({P: 2})


def test_an_end_that_was_met_before_the_group_moved_counts_no_more(source_of: Callable[..., Any]) -> None:
    source, consumer = source_of([record(0), end(1)])
    consumer.calls.append(consumer.move)
    assert source.poll(10, 10**6, 0.2) is None, "what was gathered may belong to an assignment that is gone"
    assert not source.reached({P: 1})
    assert consumer.assigned == {P: 0}


def test_markers_after_the_last_record_are_read_with_it(source_of: Callable[..., Any]) -> None:
    source, _ = source_of([record(0), record(1), end(4)])
    block = source.poll(10, 10**6, 0.2)
    assert block is not None
    assert (len(block), block.ends) == (2, {P: 4})
    assert source.reached({P: 4})
    assert source.poll(10, 10**6, 0.2) is None, "told once"


def test_markers_alone_are_a_block_without_records(source_of: Callable[..., Any]) -> None:
    source, _ = source_of([end(12)], start=10)
    block = source.poll(10, 10**6, 0.2)
    assert block is not None
    assert (len(block), block.value_bytes, block.reach(), block.ends) == (0, 0, [], {P: 12})


def test_an_end_before_an_open_transaction_is_an_end(source_of: Callable[..., Any]) -> None:
    """Its records are behind the end as the broker tells it; nobody may read them, and waiting for them is no fault."""
    source, consumer = source_of([record(0), end(1)])
    source.poll(10, 10**6, 0.2)
    consumer.high = 6
    assert source.lag() == {P: 5}
    assert not source.starved()


def test_records_that_do_not_arrive_are_noticed(source_of: Callable[..., Any]) -> None:
    source, consumer = source_of([record(0), end(1)], [record(1)])
    source.poll(1, 10**6, 0.2)
    source.poll(1, 10**6, 0.2)
    consumer.high = 6
    assert source.starved()


def test_keys_count_as_bytes_of_a_block(source_of: Callable[..., Any]) -> None:
    source, _ = source_of(*([record(i, None, key=b"k" * 600)] for i in range(10)))
    block = source.poll(10, 1_000, 0.2)
    assert block is not None
    assert len(block) == 2


def test_a_group_that_cannot_be_told_stops_nothing(source_of: Callable[..., Any]) -> None:
    source, consumer = source_of([record(0)])
    source.poll(1, 10**6, 0.2)
    consumer.commits_fail = True
    source.acknowledge({P: 1})
    assert source.reached({P: 1}), "reading goes on from where it was"


def test_a_consumer_that_refuses_to_read_again_is_one_of_our_errors(source_of: Callable[..., Any]) -> None:
    from thalweg.errors import BrokerUnavailable

    source, consumer = source_of([record(0)])
    source.poll(1, 10**6, 0.2)

    def refuse(_: list[TopicPartition]) -> None:
        raise KafkaException(KafkaError(KafkaError._STATE))

    consumer.incremental_unassign = refuse
    with pytest.raises(BrokerUnavailable, match="_STATE"):
        source.seek({P: 0})


def test_the_assignor_that_is_set_is_for_ingest_only() -> None:
    """Other groups of ours move partitions one by one, which other assignors do not allow."""
    chosen = "partition.assignment.strategy"
    kafka = KafkaSettings.model_validate({"bootstrap": "127.0.0.1:1", "properties": {chosen: "range"}})
    assert consumer_properties(kafka, "ingest", **fetching(kafka))[chosen] == "range"
    assert consumer_properties(kafka, "leases")[chosen] == "cooperative-sticky"
    plain = KafkaSettings(bootstrap="127.0.0.1:1")
    assert consumer_properties(plain, "ingest", **fetching(plain))[chosen] == "cooperative-sticky"
    by_broker = KafkaSettings(bootstrap="127.0.0.1:1", group_protocol="consumer")
    assert chosen not in consumer_properties(by_broker, "ingest", **fetching(by_broker))
