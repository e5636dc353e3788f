"""Verify against a real broker: what Kafka holds, what it never gave, and what it has let go."""

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from audit.verify import Report, verify
from tests.ingest_world import World, trip
from tests.services import thalweg
from thalweg.clock import SystemClock
from thalweg.errors import OffsetsExpired
from thalweg.settings import Settings
from thalweg.streams.admin import TopicSpec
from thalweg.streams.clients import producer
from thalweg.streams.holdings import Reach, is_compacted, offsets_held
from thalweg.tables.commit import Advance, TableWriter
from thalweg.tables.files import Snapshot
from thalweg.tables.spans import Span, app_id, encode_spans

pytestmark = pytest.mark.slow


@pytest.fixture
def worlds(settings: Settings) -> Iterator[Callable[..., World]]:
    """Makes worlds, and closes them."""
    with ExitStack() as made:
        yield lambda **declared: made.enter_context(closing(World(settings, **declared)))


@pytest.fixture
def world(worlds: Callable[..., World]) -> World:
    return worlds()


def report_of(world: World) -> Report:
    return verify(world.dataset.name, world.settings, SystemClock())


def expire(world: World, partition: int, before: int) -> None:
    """Let Kafka remove the offsets before that one, as its retention would."""
    client = AdminClient({"bootstrap.servers": world.settings.kafka.bootstrap})
    for future in client.delete_records([TopicPartition(world.topic, partition, before)]).values():
        future.result()


def send_aborted(world: World, count: int, partition: int) -> None:
    client = producer(world.settings.kafka, transactional_id=f"tx-{uuid.uuid4()}")
    client.init_transactions(30)
    client.begin_transaction()
    for number in range(count):
        client.produce(world.topic, world.value(trip(number)), partition=partition)
    client.flush(30)
    client.abort_transaction(30)


def test_everything_that_can_become_of_a_record_is_accounted_for(worlds: Callable[..., World]) -> None:
    world = worlds(tombstones="filter")
    world.send([world.value(trip(0)), b"no avro", None, world.value(trip(1))], partition=0)
    send_aborted(world, 5, partition=0)
    world.send([world.value(trip(2))], partition=0)
    world.ingest()
    world.send_trips(range(3, 6), partition=1)
    done = thalweg(world.settings, "verify", "trips", "--json")
    assert done.returncode == 0, done.stderr + done.stdout
    answer = json.loads(done.stdout)
    zeros = {"retired": 0, "unverifiable": 0, "missing": 0, "duplicate": 0}
    first, second = answer["partitions"]
    assert answer["ok"] is True
    assert first == {
        "topic": world.topic,
        "partition": 0,
        "from": 0,
        "to": 11,
        "landed": 3,
        "quarantined": 1,
        "filtered": 1,
        "holes": 6,  # five aborted records and their marker
        **zeros,
    }
    assert (second["from"], second["to"], second["landed"]) == (0, 0, 0)
    assert answer["lag"] == [{"topic": world.topic, "partition": 1, "records": 3}]
    shown = thalweg(world.settings, "verify", "trips")
    assert shown.returncode == 0
    assert "clean: 5 consumed = 3 landed + 1 quarantined + 1 filtered; 0 missing, 0 twice" in shown.stdout


def test_a_table_that_lost_rows_is_not_clean(world: World) -> None:
    world.send_trips(range(20))
    world.ingest()
    Snapshot(world.uri).table.delete("id in (3, 4, 5)")
    done = thalweg(world.settings, "verify", "trips", "--json")
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert answer["ok"] is False
    assert sum(partition["missing"] for partition in answer["partitions"]) == 3
    assert any("(DELETE)" in problem for problem in answer["problems"])
    assert "NOT CLEAN" in thalweg(world.settings, "verify", "trips").stdout


def test_records_that_a_landing_passed_over_are_missing(world: World) -> None:
    """A commit that takes records for holes: only Kafka knows better."""
    world.send_trips(range(10), partition=0)
    world.ingest()
    world.send_trips(range(10, 15), partition=0)
    topic_id = world.admin.topic_id(world.topic)
    writer = TableWriter(world.uri)
    span = Span(world.topic, topic_id, 0, 10, 15, 0, 0, 2)
    writer.commit(
        [],
        {app_id("trips", topic_id, 0): Advance(10, 15)},
        {"thalweg.format": 1, "thalweg.dataset": "trips", "thalweg.spans": encode_spans([span]), "thalweg.rejects": []},
    )
    report = report_of(world)
    (balance,) = [balance for balance in report.partitions if balance.partition == 0]
    assert (balance.missing, balance.filtered, balance.holes) == (3, 2, 3)
    assert any("3 records that Kafka holds were passed over" in problem for problem in report.problems)


def test_what_kafka_has_let_go_is_checked_by_the_log_alone(world: World) -> None:
    world.send_trips(range(20), partition=0)
    world.ingest()
    expire(world, 0, 15)
    report = report_of(world)
    assert report.ok, report.problems
    (balance,) = [balance for balance in report.partitions if balance.partition == 0]
    assert (balance.landed, balance.unverifiable) == (20, 0)


def test_what_was_gone_before_landing_began_cannot_be_verified(world: World) -> None:
    world.send_trips(range(20), partition=0)
    expire(world, 0, 5)
    world.ingest()
    report = report_of(world)
    assert report.ok, report.problems
    (balance,) = [balance for balance in report.partitions if balance.partition == 0]
    assert (balance.start, balance.end, balance.landed, balance.unverifiable) == (5, 20, 15, 5)


def test_a_topic_that_was_made_again_does_not_speak_for_the_earlier_one(world: World) -> None:
    world.send_trips(range(6), partition=0)
    world.ingest()
    client = AdminClient({"bootstrap.servers": world.settings.kafka.bootstrap})
    client.delete_topics([world.topic])[world.topic].result()
    report = report_of(world)
    assert report.ok, report.problems
    assert any("is gone" in note for note in report.notes)
    while not world.admin.create_topics([TopicSpec(world.topic, 2)]):
        pass
    world.send_trips(range(2), partition=0)
    report = report_of(world)
    assert report.ok, report.problems
    assert any("made again" in note for note in report.notes)


def test_a_topic_says_whether_records_may_go_from_its_middle(world: World) -> None:
    name = f"{world.topic}.compacted"
    world.admin.create_topics([TopicSpec(name, 1, {"cleanup.policy": "compact,delete"})])
    assert is_compacted(world.settings.kafka, name)
    assert not is_compacted(world.settings.kafka, world.topic)


def test_offsets_are_read_as_a_committed_reader_gets_them(world: World) -> None:
    kafka = world.settings.kafka
    world.send_trips(range(3), partition=0)
    send_aborted(world, 2, partition=0)
    world.send_trips(range(4), partition=0)
    world.send_trips(range(5), partition=1)
    found: dict[int, list[int]] = {0: [], 1: []}
    reaches = [Reach(0, 1, 9), Reach(1, 0, 4), Reach(1, 4, 4)]
    for partition, offsets in offsets_held(kafka, world.topic, reaches[:2], SystemClock()):
        found[partition] += offsets.tolist()
    assert found == {0: [1, 2, 6, 7, 8], 1: [0, 1, 2, 3]}
    assert list(offsets_held(kafka, world.topic, reaches[2:], SystemClock())) == []
    expire(world, 1, 3)
    with pytest.raises(OffsetsExpired):
        list(offsets_held(kafka, world.topic, [Reach(1, 0, 4)], SystemClock()))
