"""One event's way from a real broker to a real table, and what happens to events that may not go it."""

import json
import struct
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest
from confluent_kafka import TopicPartition
from deltalake import DeltaTable
from deltalake.schema import Field

from schemas.datasets import Dataset
from tests.ingest_world import TRIP, Running, World, trip
from tests.services import wait_until
from thalweg.errors import (
    DeclarationError,
    OffsetsExpired,
    SchemaClash,
    TopicNotFound,
    TopicRecreated,
    TopicTruncated,
)
from thalweg.settings import Settings
from thalweg.streams.clients import consumer, producer, topics
from thalweg.tables.commit import Advance, TableWriter
from thalweg.tables.open import create_table
from thalweg.tables.spans import app_id

pytestmark = pytest.mark.slow


@pytest.fixture
def worlds(settings: Settings) -> Iterator[Callable[..., World]]:
    """Makes worlds, and closes them."""
    with ExitStack() as made:
        yield lambda **declared: made.enter_context(closing(World(settings, **declared)))


@pytest.fixture
def world(worlds: Callable[..., World]) -> World:
    return worlds()


def test_events_land_once_on_their_date_with_their_origin(world: World) -> None:
    world.send_trips(range(90))
    world.ingest()
    assert world.ids() == list(range(90))
    rows = DeltaTable(world.uri).to_pyarrow_table().to_pylist()
    for row in rows:
        assert row["date"] == trip(row["id"])["at"].date()
        assert (row["at"], row["distance"], row["place"]) == tuple(
            trip(row["id"])[name] for name in ("at", "distance", "place")
        )
        assert row["_schema_id"] == world.schema_id
        assert row["_topic_id"] == world.admin.topic_id(world.topic)
        assert row["_timestamp"] is not None
    world.check_accounts()


def test_a_second_run_goes_on_where_the_first_ended(world: World) -> None:
    world.send_trips(range(50))
    world.ingest()
    world.send_trips(range(50, 70))
    world.ingest()
    assert world.ids() == list(range(70))
    world.check_accounts()


def test_nothing_new_commits_nothing(world: World) -> None:
    world.send_trips(range(5))
    world.ingest()
    before = DeltaTable(world.uri).version()
    world.ingest()
    assert DeltaTable(world.uri).version() == before


def test_bad_records_are_quarantined_with_their_reason_and_cost_only_themselves(world: World) -> None:
    good = world.value(trip(0))
    bad = {
        0: b"{}",
        2: struct.pack(">bI", 0, 2_000_000_000) + good[5:],
        4: good[:-3],
        6: good + b"xx",
        8: world.value(trip(8, distance=-1.0)),
        10: None,
    }
    world.send([bad[i] if i in bad else world.value(trip(i)) for i in range(20)], partition=0)
    world.ingest()
    assert world.ids() == [i for i in range(20) if i not in bad]
    rejected = {row["offset"]: row for row in world.rejected()}
    assert {offset: row["rule"] for offset, row in rejected.items()} == {
        0: "wire",
        2: "schema",
        4: "decode",
        6: "decode",
        8: "range(distance)",
        10: "tombstone",
    }
    for offset, value in bad.items():
        assert rejected[offset]["value"] == value
        assert rejected[offset]["key"] == b"k%d" % offset
        assert (rejected[offset]["topic"], rejected[offset]["partition"]) == (world.topic, 0)
    assert "2 bytes" in rejected[6]["reason"]
    assert rejected[6]["byte"] == len(good)
    world.check_accounts()


def test_tombstones_are_filtered_where_that_is_declared(worlds: Callable[..., World]) -> None:
    world = worlds(tombstones="filter")
    world.send([world.value(trip(0)), None, world.value(trip(1)), None], partition=0)
    world.ingest()
    (entry,) = world.landings()
    (span,) = entry.spans
    assert (span.landed, span.filtered, span.quarantined) == (2, 2, 0)
    world.check_accounts()


def test_aborted_transactions_leave_holes_and_no_rows(world: World) -> None:
    """Offsets are not counts: rule 8.15."""
    client = producer(world.settings.kafka, transactional_id=f"tx-{uuid.uuid4()}")
    client.init_transactions(30)
    for first, ends in ((0, "commit"), (10, "abort"), (20, "commit")):
        client.begin_transaction()
        world.send((world.value(trip(i)) for i in range(first, first + 10)), partition=0, client=client)
        client.flush(30)
        (client.commit_transaction if ends == "commit" else client.abort_transaction)(30)
    world.ingest()
    assert world.ids() == [*range(10), *range(20, 30)]
    spans = [span for entry in world.landings() for span in entry.spans]
    assert sum(span.landed for span in spans) == 20
    assert sum(span.holes for span in spans) >= 11


def test_several_writer_schemas_in_one_topic_land_in_one_table(world: World) -> None:
    wider = {**TRIP, "fields": [*TRIP["fields"], {"name": "note", "type": ["null", "string"], "default": None}]}
    world.send_trips(range(10), partition=0)
    world.ingest()
    wider_id = world.register(wider)
    mixed = [
        world.value(trip(i, note=f"n{i}"), wider, wider_id) if i % 2 else world.value(trip(i)) for i in range(10, 30)
    ]
    world.send(mixed, partition=0)
    world.ingest()
    rows = {row["id"]: row for row in DeltaTable(world.uri).to_pyarrow_table().to_pylist()}
    assert sorted(rows) == list(range(30))
    assert rows[11]["note"] == "n11"
    assert rows[10]["note"] is rows[0]["note"] is None
    world.check_accounts()


def test_a_clean_stop_lands_what_is_held(world: World) -> None:
    world.send_trips(range(40))
    running = Running(world.worker(commit_interval_s=3600.0))
    wait_until(lambda: sum(running.worker.positions().values()) == 40, "40 records read")
    assert not world.landings()
    running.stop()
    assert world.ids() == list(range(40))
    world.check_accounts()


def test_a_worker_follows_a_running_topic(world: World) -> None:
    running = Running(world.worker())
    for first in range(0, 60, 20):
        world.send_trips(range(first, first + 20))
        wait_until(lambda first=first: bool(world.landings()) and len(world.ids()) == first + 20, f"{first + 20} rows")
    running.stop()
    world.check_accounts()


def test_members_of_a_group_share_a_topic_and_land_each_offset_once(worlds: Callable[..., World]) -> None:
    """Rebalances under load: members join and leave while records arrive."""
    world = worlds(partitions=6)
    world.send_trips(range(600))
    first = Running(world.worker())
    wait_until(lambda: bool(world.landings()), "a landing of the first member")
    second = Running(world.worker())
    world.send_trips(range(600, 1200))
    wait_until(lambda: bool(second.worker.positions()), "partitions of the second member")
    world.send_trips(range(1200, 1800))
    first.stop()
    world.send_trips(range(1800, 2400))
    wait_until(lambda: len(world.ids()) == 2400, "all rows")
    second.stop()
    assert world.ids() == list(range(2400))
    world.check_accounts()


def test_another_worker_that_landed_the_same_offsets_wins_and_nothing_doubles(world: World) -> None:
    """A member that was away too long: its partitions were landed by another one in the meantime."""
    world.send_trips(range(30), partition=0)
    running = Running(world.worker(commit_interval_s=3600.0))
    wait_until(lambda: sum(running.worker.positions().values()) == 30, "30 records read")
    other = TableWriter(world.uri)
    app = app_id(world.dataset.name, world.admin.topic_id(world.topic), 0)
    other.commit([], {app: Advance(other.transaction(app), 20)}, {})
    world.send_trips(range(30, 40), partition=0)
    running.stop()
    if world.ids() != list(range(20, 40)):  # the fenced batch was dropped at the stop: the next worker reads it
        world.ingest()
    assert world.ids() == list(range(20, 40))


def test_a_topic_that_was_made_anew_is_refused_at_start(world: World) -> None:
    world.send_trips(range(10))
    world.ingest()
    remake(world)
    world.send_trips(range(100, 130))
    with pytest.raises(TopicRecreated, match="deleted and made again"):
        world.ingest()
    assert world.ids() == list(range(10))


def test_a_topic_that_is_made_anew_under_a_running_worker_stops_it(world: World) -> None:
    """Kafka delivers the new topic from the middle, without an error: rule 8.1."""
    world.send_trips(range(40))
    running = Running(world.worker())
    wait_until(lambda: bool(world.landings()) and len(world.ids()) == 40, "40 rows")
    remake(world)
    world.send_trips(range(100, 200))
    running.join(90)
    assert isinstance(running.failure, (TopicRecreated, TopicNotFound, OffsetsExpired)), running.failure
    assert world.ids() == list(range(40))


def remake(world: World) -> None:
    """Delete the topic and make it again."""
    partitions = world.admin.partitions(world.topic)
    before = world.admin.topic_id(world.topic)
    for future in world.admin._client.delete_topics([world.topic], request_timeout=30).values():
        future.result()

    def made() -> bool:
        try:
            from thalweg.streams.admin import TopicSpec

            world.admin.create_topics([TopicSpec(world.topic, partitions)])
            return world.admin.topic_id(world.topic) != before
        except TopicNotFound:
            return False

    wait_until(made, "the topic's second life")


def test_offsets_that_expired_before_they_landed_stop_ingest(world: World) -> None:
    world.send_trips(range(10), partition=0)
    world.ingest()
    world.send_trips(range(10, 30), partition=0)
    for future in world.admin._client.delete_records([TopicPartition(world.topic, 0, 20)]).values():
        future.result()
    with pytest.raises(OffsetsExpired, match="offsets 10 to 19"):
        world.ingest()
    assert world.ids() == list(range(10))


def test_a_table_ahead_of_its_topic_stops_ingest(world: World) -> None:
    world.send_trips(range(5), partition=0)
    world.ingest()
    writer = TableWriter(world.uri)
    app = app_id(world.dataset.name, world.admin.topic_id(world.topic), 0)
    writer.commit([], {app: Advance(5, 50)}, {})
    with pytest.raises(TopicTruncated, match="the topic ends at 5"):
        world.ingest()


def test_a_missing_topic_is_named_with_what_to_do(worlds: Callable[..., World]) -> None:
    world = worlds()
    world.dataset = Dataset(**{**world.dataset.model_dump(), "topics": ("no-such-topic",)})
    with pytest.raises(TopicNotFound, match="no-such-topic") as caught:
        world.ingest()
    assert "create" in caught.value.remedy


def test_a_table_of_another_shape_is_refused(world: World) -> None:
    import pyarrow as pa

    create_table(world.uri, pa.schema([("x", pa.int64()), ("date", pa.date32())]), ["date"], {})
    with pytest.raises(SchemaClash, match="was not made by Thalweg"):
        world.worker()


def test_a_field_that_changes_its_type_stops_ingest_and_names_the_column(world: World) -> None:
    world.send_trips(range(5), partition=0)
    world.ingest()
    other = {**TRIP, "fields": [*TRIP["fields"][:2], {"name": "distance", "type": "string"}, TRIP["fields"][3]]}
    world.dataset = Dataset(**{**world.dataset.model_dump(), "contract": {"rules": ()}})
    world.registry_allows_anything()
    other_id = world.register(other)
    world.send([world.value(trip(5, distance="far"), other, other_id)], partition=0)
    with pytest.raises(SchemaClash, match="distance"):
        world.ingest()
    assert world.ids() == list(range(5))


def test_a_rule_on_a_field_that_events_do_not_have_is_refused_at_start(worlds: Callable[..., World]) -> None:
    world = worlds(contract={"rules": [{"not_null": "no_such_field"}]})
    with pytest.raises(DeclarationError, match="no_such_field"):
        world.worker()


def test_group_offsets_follow_for_lag_tools(world: World) -> None:
    from confluent_kafka import ConsumerGroupTopicPartitions

    world.send_trips(range(20), partition=1)
    world.ingest()
    group = f"{world.settings.kafka.prefix}.ingest.{world.dataset.name}"
    answer = world.admin._client.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])
    committed = {tp.partition: tp.offset for tp in answer[group].result().topic_partitions}
    assert committed[1] == 20


def test_others_may_change_the_table_under_a_running_worker(world: World) -> None:
    """Delete, properties, compaction, new columns: a conflict is not a fencing (rule 8.13)."""
    running = Running(world.worker(commit_interval_s=0.1))
    sent = 0

    def more() -> None:
        nonlocal sent
        world.send_trips(range(sent, sent + 30))
        sent += 30
        wait_until(
            lambda: sum(span.landed for entry in world.landings() for span in entry.spans) == sent, f"{sent} landed"
        )

    more()
    for change in (
        lambda table: table.delete("id = 3"),
        lambda table: table.alter.set_table_properties({"delta.appendOnly": "false"}),
        lambda table: table.optimize.compact(),
        lambda table: table.alter.add_columns([Field("remark", "string")]),
        lambda table: table.update(updates={"remark": "'late'"}, predicate="id = 5"),
    ):
        change(DeltaTable(world.uri))
        more()
    running.stop()
    assert world.ids() == [i for i in range(sent) if i != 3]


def test_a_restore_under_a_running_worker_lands_no_offset_again(world: World) -> None:
    """Transactions stay, rows go, the schema may go back: rule 8.5. Accounts are kept in spans."""
    running = Running(world.worker(commit_interval_s=0.1))
    world.send_trips(range(20), partition=0)
    wait_until(lambda: bool(world.landings()) and len(world.ids()) == 20, "20 rows")
    DeltaTable(world.uri).restore(0)
    world.send_trips(range(20, 30), partition=0)
    wait_until(lambda: len(world.ids()) == 10, "10 rows after the restore")
    running.stop()
    assert world.ids() == list(range(20, 30))
    spans = [span for entry in world.landings() for span in entry.spans]
    assert spans[0].first == 0
    assert sum(span.landed for span in spans) == 30


def test_an_enum_that_was_a_string_before_lands_in_the_same_column(world: World) -> None:
    """Both in one block, so in one row group of one file."""
    kind = {"type": "enum", "name": "Place", "symbols": ["p0", "p1", "p2", "p3", "p4"]}
    fields = [TRIP["fields"][0], {"name": "place", "type": kind}, *TRIP["fields"][2:]]
    world.registry_allows_anything()
    enum_id = world.register({**TRIP, "fields": fields})
    mixed = [world.value(trip(i), *(({**TRIP, "fields": fields}, enum_id) if i % 2 else ())) for i in range(20)]
    world.send(mixed, partition=0)
    world.ingest()
    rows = DeltaTable(world.uri).to_pyarrow_table(columns=["id", "place"]).to_pylist()
    assert {row["id"]: row["place"] for row in rows} == {i: f"p{i % 5}" for i in range(20)}


def test_large_records_are_taken_in_smaller_blocks(world: World) -> None:
    world.send((world.value(trip(i, place=f"{i:08}" * 1_000)) for i in range(60)), partition=0)
    world.ingest(block_bytes=100_000)
    assert world.ids() == list(range(60))
    world.check_accounts()


def test_a_producer_that_has_never_heard_of_us_is_understood(world: World) -> None:
    """The stock Avro serializer, its own registration, its own client."""
    from confluent_kafka import Producer
    from confluent_kafka.schema_registry import SchemaRegistryClient
    from confluent_kafka.schema_registry.avro import AvroSerializer
    from confluent_kafka.serialization import MessageField, SerializationContext

    with SchemaRegistryClient({"url": world.settings.registry.url}) as registry:
        serialize = AvroSerializer(registry, json.dumps(TRIP))
        client = Producer({"bootstrap.servers": world.settings.kafka.bootstrap})
        context = SerializationContext(world.topic, MessageField.VALUE)
        for number in range(25):
            client.produce(world.topic, value=serialize(trip(number), context), key=str(number))
        assert client.flush(30) == 0
    world.ingest()
    assert world.ids() == list(range(25))
    world.check_accounts()


def test_a_worker_tells_lineage_when_it_starts_ends_and_fails(world: World) -> None:
    world.send_trips(range(10), partition=0)
    world.ingest()
    failing = world.worker()
    remake(world)
    with pytest.raises(TopicRecreated):
        failing.run(until_caught_up=True)
    told = [json.loads(value) for value in read_all(world, topics(world.settings.kafka).lineage)]
    assert [event["eventType"] for event in told] == ["START", "COMPLETE", "START", "FAIL"]
    assert {event["job"]["name"] for event in told} == {"trips.ingest"}
    assert told[0]["run"]["runId"] == told[1]["run"]["runId"] != told[2]["run"]["runId"]
    assert "deleted and made again" in told[3]["run"]["facets"]["errorMessage"]["message"]


def read_all(world: World, topic: str) -> list[bytes]:
    """All values of a topic with one partition."""
    end = world.admin.watermarks(topic)[0][1]
    reader = consumer(world.settings.kafka, "reader")
    reader.assign([TopicPartition(topic, 0, 0)])
    found: list[bytes] = []
    while len(found) < end:
        found += [message.value() for message in reader.consume(100, 1.0) if message.error() is None]
    reader.close()
    return found
