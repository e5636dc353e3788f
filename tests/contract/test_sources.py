"""One suite over both sources, against a real broker: what a worker relies on, whichever way records are read."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

from ingest.sources.source import Partition
from tests.services import wait_until
from tests.source_world import PROTOCOLS, SOURCES, Member, Reading, Table, Topic, read
from thalweg.errors import OffsetsExpired, ThalwegError, TopicNotFound
from thalweg.settings import KafkaSettings, Settings
from thalweg.stack.kafka import LocalKafka
from thalweg.streams.admin import Admin
from thalweg.streams.clients import producer

# A source that hangs fails its test, not the session.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

Record = tuple[bytes | None, bytes | None, int, list[tuple[str, bytes | None]]]


@pytest.fixture(params=list(SOURCES))
def topics(settings: Settings, request: pytest.FixtureRequest) -> Iterator[Callable[..., Topic]]:
    """Makes topics that are read through one of the sources."""
    with closing(Admin(settings.kafka)) as admin:
        yield lambda **wanted: Topic.made(settings.kafka, admin, request.param, **wanted)


def test_records_arrive_as_they_were_sent(topics: Callable[..., Topic]) -> None:
    topic = topics(**{"message.timestamp.after.max.ms": str(2**63 - 1), "retention.ms": "-1"})
    sent: list[Record] = [
        (b"key", b"value", 1_357_041_600_123, []),
        (None, b"v", 1, [("h", b"1"), ("h", b"2")]),
        (b"", b"", 253_402_300_799_999, [("null", None), ("empty", b""), ("", b"no name")]),
        (b"tombstone", None, 1_357_041_600_124, []),
        (None, None, 1_357_041_600_125, [("long", b"x" * 3_000)]),
        *[(b"%d" * (i % 9) % ((i,) * (i % 9)), b"x" * i, 1 + i, []) for i in range(70)],
    ]
    client = producer(topic.kafka)
    for key, value, timestamp, headers in sent:
        client.produce(topic.name, value, key, 0, timestamp=timestamp, headers=headers)
    assert client.flush(30) == 0
    with closing(topic.source(Member())) as source:
        found: list[Record] = []
        for block in read(source, len(sent)):
            assert block.offset.tolist() == list(range(len(found), len(found) + len(block)))
            assert set(block.partition.tolist()) == {0}
            for row in range(len(block)):
                headers = list(block.headers.get(row, ()))
                found.append((block.key(row), block.value(row), int(block.timestamp_ms[row]), headers))
    assert found == sent


def test_headers_on_every_record_stay_with_it(topics: Callable[..., Topic]) -> None:
    topic = topics()
    client = producer(topic.kafka)
    for i in range(9_000):
        client.produce(
            topic.name, b"v", headers=[("i", b"%d" % i)] if i % 3 else [("i", b"%d" % i), ("j" * (i % 50), None)]
        )
    assert client.flush(30) == 0
    with closing(topic.source(Member())) as source:
        i = 0
        for block in read(source, 9_000):
            assert len(block.headers) == len(block)
            for row in range(len(block)):
                assert block.headers[row][0] == ("i", b"%d" % i)
                assert len(block.headers[row]) == (1 if i % 3 else 2)
                i += 1


def test_topics_keep_their_records_apart(topics: Callable[..., Topic]) -> None:
    topic = topics(partitions=2, topics=3)
    client = producer(topic.kafka)
    for i in range(3_000):
        client.produce(topic.names[i % 3], b"%d %d" % (i % 3, i // 3 % 2), partition=i // 3 % 2)
    assert client.flush(30) == 0
    member = Member()
    with closing(topic.source(member)) as source:
        for block in read(source, 3_000):
            for row in range(len(block)):
                number = topic.names.index(block.topics[block.topic[row]])
                assert block.value(row) == b"%d %d" % (number, block.partition[row])
            member.table.land(block)
        assert source.reached(dict.fromkeys(member.owned, 500))
    assert member.table.next == {(name, number): 500 for name in topic.names for number in range(2)}


def test_large_records_and_tiny_ones_fill_blocks_of_about_the_size_that_is_asked(topics: Callable[..., Topic]) -> None:
    topic = topics(**{"max.message.bytes": "8000000"})
    sizes = [5_000_000, 1, 0, 1_200_000, 7, 2_500_000, 8, 9]
    client = producer(topic.kafka, message_max_bytes=8_000_000)
    topic.send([bytes([i]) * size for i, size in enumerate(sizes)], client=client)
    with closing(topic.source(Member())) as source:
        values: list[bytes | None] = []
        wait_s = time.monotonic() + 45
        while len(values) < len(sizes):
            assert time.monotonic() < wait_s
            block = source.poll(2, 2**20, 0.2)
            if block is not None:
                assert len(block) <= 2
                values += [block.value(row) for row in range(len(block))]
    assert values == [bytes([i]) * size for i, size in enumerate(sizes)]


def test_aborted_records_are_passed_over_and_the_end_lies_behind_their_markers(topics: Callable[..., Topic]) -> None:
    topic = topics()
    client = producer(topic.kafka, transactional_id=f"tx-{uuid.uuid4()}")
    client.init_transactions(30)
    for word, end in ((b"good", client.commit_transaction), (b"bad", client.abort_transaction)):
        client.begin_transaction()
        topic.send([word] * 10, client=client)
        end(30)
    partition = (topic.name, 0)
    with closing(topic.source(Member())) as source:
        blocks = read(source, 10)
        wait_until(lambda: source.poll(100, 2**20, 0.1) is not None or source.reached({partition: 22}), "the end")
        assert source.reached({partition: 22})
        assert not source.starved()
        assert source.lag() == {partition: 0}
    assert {block.value(row) for block in blocks for row in range(len(block))} == {b"good"}


def test_reading_goes_on_from_where_seek_says(topics: Callable[..., Topic]) -> None:
    topic = topics(partitions=2)
    for partition in range(2):
        topic.send([b"%d" % i for i in range(2_000)], partition)
    first, second = (topic.name, 0), (topic.name, 1)
    with closing(topic.source(Member())) as source:
        read(source, 4_000)
        for start in (1_500, 0, 1_999, 700):
            source.seek({first: start})
            assert not source.reached({first: 2_000})
            blocks = read(source, 2_000 - start)
            offsets = [offset for block in blocks for offset in block.offset.tolist()]
            assert offsets == list(range(start, 2_000)), "the other partition is left where it was"
            assert source.reached({first: 2_000, second: 2_000})


def test_held_partitions_bring_nothing_until_they_are_let_go(topics: Callable[..., Topic]) -> None:
    topic = topics()
    topic.send([b"v"] * 10)
    with closing(topic.source(Member())) as source:
        read(source, 10)
        source.hold(True)
        topic.send([b"w"] * 10)
        for _ in range(10):
            block = source.poll(100, 2**20, 0.1)
            assert block is None or len(block) == 0
        source.hold(False)
        read(source, 10)


@pytest.mark.parametrize(
    ("topics", "protocol"),
    # KIP-848 moves partitions with heartbeats, 5 s apart; test_ingest_groups.py has it over the public source.
    [(kind, protocol) for protocol in PROTOCOLS for kind in SOURCES if (kind, protocol) != ("public", "kip848")],
    indirect=["topics"],
)
def test_members_that_come_and_go_under_load_lose_no_record(topics: Callable[..., Topic], protocol: str) -> None:
    """Whatever a member reads of a partition follows on what was read of it before, by whomever."""
    topic = topics(partitions=6).under(protocol)
    table = Table()
    end = threading.Event()
    sent = [0]

    def send() -> None:
        client = producer(topic.kafka)
        while not end.wait(0.001):
            for i in range(100):
                client.produce(topic.name, b"%d" % i, partition=i % 6)
            sent[0] += 100
            client.poll(0)
        assert client.flush(60) == 0

    sender = threading.Thread(target=send)
    sender.start()
    try:
        members = [Reading(topic, table)]
        wait_until(lambda: table.rows > 0, "records of the first member")
        for _ in range(2):
            members.append(Reading(topic, table))
            wait_until(lambda: len(members[-1].member.owned) > 0, "partitions of another member")
        wait_until(lambda: all(len(each.member.owned) == 2 for each in members), "a fair share for each")
        members[1].stop()
        wait_until(lambda: len(members[0].member.owned | members[2].member.owned) == 6, "partitions of who left")
        before = table.rows
        wait_until(lambda: table.rows > before + 1_000, "records for those who stay")
    finally:
        end.set()
        sender.join()
    wait_until(lambda: table.rows == sent[0], f"all {sent[0]} records")
    members[0].stop()
    members[2].stop()


def test_offsets_that_expired_are_named(topics: Callable[..., Topic]) -> None:
    topic = topics()
    topic.send([b"v"] * 20)
    with closing(topic.source(Member())) as source:
        read(source, 20)
        for future in topic.admin._client.delete_records([TopicPartition(topic.name, 0, 15)]).values():
            future.result()
        source.seek({(topic.name, 0): 3})
        with pytest.raises(OffsetsExpired, match=rf"{topic.name}\[0\]"):
            read(source, 1)


def test_a_topic_that_does_not_exist_is_named(topics: Callable[..., Topic], settings: Settings) -> None:
    topic = topics()
    missing = Topic(topic.kafka, topic.admin, topic.kind, (f"{topic.name}.missing",))
    with closing(missing.source(Member())) as source, pytest.raises(TopicNotFound, match="missing"):
        read(source, 1)


@pytest.mark.parametrize(
    "topics", ["bulk"], indirect=True
)  # half a minute each; the public one is the client's own affair
def test_a_topic_that_is_deleted_under_load_is_an_error_or_silence(topics: Callable[..., Topic]) -> None:
    """Never a hang and never an end of the process. Which of them it is depends on what the client asks for first."""
    topic = topics(partitions=2)
    topic.send([b"v" * 100] * 100_000)
    member = Member()
    with closing(topic.source(member)) as source:
        read(source, 1)
        for future in topic.admin._client.delete_topics([topic.name]).values():
            future.result()
        named = []
        try:
            wait_until(lambda: source.poll(500, 2**20, 0.2) is None and not member.owned, "a revocation")
        except ThalwegError as error:
            named.append(error.message)
        assert all(topic.name in message for message in named)


@pytest.mark.parametrize("topics", ["bulk"], indirect=True)  # the public one: tests/chaos/test_ingest_broker_gone.py
def test_a_source_outlives_its_broker(topics: Callable[..., Topic], kafkas: Callable[[str], LocalKafka]) -> None:
    kafka = kafkas("own")
    own = KafkaSettings(bootstrap=kafka.start(), prefix="own", session_timeout_s=6.0)
    with closing(Admin(own)) as admin:
        topic = Topic.made(own, admin, topics().kind)
        topic.send([b"v"] * 100)
        member = Member()
        with closing(topic.source(member)) as source:
            for block in read(source, 100):
                member.table.land(block)
            kafka.stop()
            assert source.poll(10, 2**20, 1.0) is None
            kafka.start()
            topic.send([b"w"] * 100)
            while member.table.rows < 200:
                for block in read(source, 1):
                    member.table.land(block)


def test_a_source_closes_while_its_queue_is_full(topics: Callable[..., Topic]) -> None:
    topic = topics()
    topic.send([b"v"] * 300_000)
    member = Member()
    source = topic.source(member)
    read(source, 1)
    time.sleep(1)  # what was fetched waits in the client's queue
    source.close()
    assert member.owned == set()
    with closing(topic.source(Member())) as other:
        read(other, 1)


@pytest.mark.parametrize("topics", ["bulk"], indirect=True)
def test_an_interrupt_while_messages_are_held_does_not_keep_the_source_from_closing(
    topics: Callable[..., Topic], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library waits for each message that it gave out."""
    topic = topics()
    topic.send([b"v"] * 5_000)
    source = topic.source(Member())

    def interrupt(*_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(source, "_gather", interrupt)
    with pytest.raises(KeyboardInterrupt):
        read(source, 1)
    source.close()
    with closing(topic.source(Member())) as other:
        read(other, 5_000)


@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_what_a_handler_raises_is_raised_once_and_the_source_can_be_closed(
    topics: Callable[..., Topic], protocol: str
) -> None:
    topic = topics().under(protocol)
    topic.send([b"v"] * 5_000)
    member = Member()
    member.fails_on = "assigned"
    source = topic.source(member)
    with pytest.raises(RuntimeError, match="assigned"):
        read(source, 1)
    member.fails_on = None
    source.close()
    source = topic.source(member)
    read(source, 1)
    member.fails_on = "revoked"
    with pytest.raises(RuntimeError, match="revoked"):
        source.close()
    member.fails_on = None
    with closing(topic.source(member)) as another:
        read(another, 5_000)


def test_the_group_learns_what_has_landed(topics: Callable[..., Topic]) -> None:
    topic = topics()
    topic.send([b"v"] * 30)
    partition: Partition = (topic.name, 0)
    with closing(topic.source(Member())) as source:
        read(source, 30)
        source.acknowledge({partition: 17, (topic.name, 5): 3})

        def committed() -> int:
            asked = topic.admin._client.list_consumer_group_offsets([ConsumerGroupTopicPartitions(f"{topic.name}.g")])
            (future,) = asked.values()
            return max((each.offset for each in future.result().topic_partitions), default=-1)

        wait_until(lambda: source.poll(1, 1, 0.1) is None and committed() == 17, "the group's offset")
