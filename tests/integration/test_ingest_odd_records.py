"""Records and logs that Kafka allows and few producers write: odd timestamps, header keys of any bytes, markers alone."""

import ctypes
import datetime as dt
import uuid
from collections.abc import Iterator
from contextlib import closing

import pytest
from confluent_kafka import Producer, TopicPartition, cimpl
from deltalake import DeltaTable

from tests.ingest_world import Running, World, reading_through, trip
from tests.services import wait_until
from thalweg.settings import Settings
from thalweg.streams.admin import Admin, TopicSpec
from thalweg.streams.clients import producer

pytestmark = pytest.mark.slow


@pytest.fixture(params=["public", "bulk"])
def world(settings: Settings, request: pytest.FixtureRequest) -> Iterator[World]:
    """A dataset whose topic takes any timestamp, as topics of brokers before 4.0 do; read through either source."""
    with closing(Admin(settings.kafka)) as admin:
        anything = {"message.timestamp.after.max.ms": str(2**63 - 1)}
        admin.create_topics([TopicSpec(f"{settings.kafka.prefix}.trips", 1, anything)])
    with closing(World(reading_through(request.param, settings))) as made:
        yield made


def send_with_header_key(world: World, key: bytes, value: bytes) -> None:
    """Send one record as a client in C may: confluent-kafka's own producer takes header keys as text only."""
    library = ctypes.CDLL(cimpl.__file__)
    for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_headers_new"):
        getattr(library, name).restype = ctypes.c_void_p
    error = ctypes.create_string_buffer(512)
    conf = ctypes.c_void_p(library.rd_kafka_conf_new())
    bootstrap = (world.settings.kafka.bootstrap or "").encode()
    library.rd_kafka_conf_set(conf, b"bootstrap.servers", bootstrap, error, 512)
    client = ctypes.c_void_p(library.rd_kafka_new(0, conf, error, 512))
    headers = ctypes.c_void_p(library.rd_kafka_headers_new(ctypes.c_size_t(1)))
    library.rd_kafka_header_add(headers, key, ctypes.c_size_t(len(key)), b"x", ctypes.c_size_t(1))
    # Tags of rd_kafka_vtype_t: topic 1, value 4, msgflags 7 (2: copy), headers 10, end 0.
    topic, end = ctypes.c_char_p(world.topic.encode()), ctypes.c_int(0)
    sent = library.rd_kafka_producev(
        client,
        *(ctypes.c_int(1), topic),
        *(ctypes.c_int(4), ctypes.c_char_p(value), ctypes.c_size_t(len(value))),
        *(ctypes.c_int(7), ctypes.c_int(2)),
        *(ctypes.c_int(10), headers),
        end,
    )
    assert sent == 0
    assert library.rd_kafka_flush(client, ctypes.c_int(30_000)) == 0
    library.rd_kafka_destroy(client)


def send_in_transaction(world: World, numbers: range, ends: str) -> Producer:
    """Send events in one transaction and end it so, or leave it open."""
    client = producer(world.settings.kafka, transactional_id=f"tx-{uuid.uuid4()}")
    client.init_transactions(30)
    client.begin_transaction()
    world.send((world.value(trip(i)) for i in numbers), partition=0, client=client)
    assert client.flush(30) == 0
    if ends != "open":
        (client.commit_transaction if ends == "commit" else client.abort_transaction)(30)
    return client


def test_a_header_key_that_is_not_utf_8_costs_only_the_headers(world: World) -> None:
    """The client raises SystemError for it: the worker would stop there again after every start."""
    client = producer(world.settings.kafka)
    world.send_trips(range(3))
    send_with_header_key(world, b"\xff\xfe", b"bad")
    send_with_header_key(world, b"\xff", world.value(trip(3)))
    client.produce(world.topic, b"bad", headers=[("a", None), ("", b"")])
    assert client.flush(30) == 0
    world.send_trips(range(4, 6))
    world.ingest()
    assert world.ids() == list(range(6))
    first, second = world.rejected()
    assert (first["value"], first["headers"]) == (b"bad", [])
    assert second["headers"] == [{"key": "a", "value": None}, {"key": "", "value": b""}]
    world.check_accounts()


def test_timestamps_beyond_what_readers_take_are_null(world: World) -> None:
    client = producer(world.settings.kafka)
    sent = (1, 10**15, 2**63 - 1, -5, 253_402_300_799_999)
    for number, timestamp in enumerate(sent):
        client.produce(world.topic, world.value(trip(number)), timestamp=timestamp)
        client.produce(world.topic, b"bad", timestamp=timestamp)
    assert client.flush(30) == 0
    world.ingest()
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    expected = [epoch + dt.timedelta(milliseconds=t) if abs(t) < 10**15 else None for t in sent]
    rows = DeltaTable(world.uri).to_pyarrow_table(columns=["id", "_timestamp"]).sort_by("id").to_pylist()
    assert [row["_timestamp"] for row in rows] == expected
    assert [row["timestamp"] for row in world.rejected()] == expected
    world.check_accounts()


def test_markers_that_retention_removed_are_no_lost_records(world: World) -> None:
    """A transaction's marker follows its last record. When both are gone, nothing is missing."""
    send_in_transaction(world, range(10), "commit")
    send_in_transaction(world, range(10, 20), "abort")
    world.ingest()
    world.check_accounts()
    ((_, high),) = world.admin.watermarks(world.topic).values()
    for future in world.admin._client.delete_records([TopicPartition(world.topic, 0, high)]).values():
        future.result()
    world.ingest()
    world.send_trips(range(20, 25))
    world.ingest()
    assert world.ids() == [*range(10), *range(20, 25)]


def test_an_open_transaction_is_no_stall(world: World) -> None:
    world.send_trips(range(10))
    client = send_in_transaction(world, range(10, 15), "open")
    running = Running(world.worker(commit_interval_s=0.1))
    wait_until(lambda: bool(world.landings()) and len(world.ids()) == 10, "what stands before the transaction")
    source = running.worker._source
    assert source is not None
    wait_until(lambda: sum(source.lag().values()) >= 5 and not source.starved(), "an end before the transaction")
    client.commit_transaction(30)
    wait_until(lambda: len(world.ids()) == 15, "the transaction's events")
    running.stop()
    world.check_accounts()
