"""What is produced arrives: on a real broker, with a real registry, read back by the stock deserializer."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Message, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from produce import flights, shop
from produce import poison as kinds
from produce.producer import produce
from schemas.datasets import Dataset, PartitionBy
from schemas.published import publish
from schemas.registry import Registry
from schemas.wire import HEADER_BYTES
from thalweg.errors import BrokerUnavailable, ConfigurationError, RegistryUnavailable, SchemaNotFound, TopicNotFound
from thalweg.settings import Settings
from thalweg.streams.admin import Admin, TopicSpec

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[2] / "examples" / "producer_confluent.py"
THALWEG = Path(sys.executable).with_name("thalweg")


@pytest.fixture
def topic() -> str:
    """A topic name that no other test uses."""
    return f"topic-{uuid.uuid4().hex[:10]}"


def read(settings: Settings, topic: str) -> Iterator[Message]:
    """Yield every record that is in a topic now, partition by partition in order of offsets."""
    with Admin(settings.kafka) as admin:
        watermarks = admin.watermarks(topic)
    consumer = Consumer({"bootstrap.servers": settings.kafka.bootstrap, "group.id": "t", "enable.auto.commit": False})
    try:
        for partition, (low, high) in watermarks.items():
            consumer.assign([TopicPartition(topic, partition, low)])
            for _ in range(low, high):
                message = consumer.poll(30)
                assert message is not None
                assert message.error() is None
                yield message
    finally:
        consumer.close()


Decode = Callable[[Message], dict[str, Any]]


@pytest.fixture
def decode(settings: Settings, topic: str) -> Iterator[Decode]:
    """confluent-kafka's own deserializer, as any user's consumer has it."""
    with SchemaRegistryClient({"url": settings.registry.url}) as client:
        deserialize = AvroDeserializer(client)
        yield lambda message: deserialize(message.value(), SerializationContext(topic, MessageField.VALUE))


def test_every_flight_arrives_once_keyed_in_order_and_with_a_timestamp_of_now(
    settings: Settings, topic: str, decode: Decode
) -> None:
    started_ms = time.time() * 1000
    produced = produce(topic, sample="flights", partitions=4, settings=settings)
    assert produced.complete
    assert produced.count == flights.COUNT
    with Admin(settings.kafka) as admin:
        counts = {partition: high - low for partition, (low, high) in admin.watermarks(topic).items()}
    assert counts == produced.partitions
    assert sum(counts.values()) == flights.COUNT
    assert min(counts.values()) > 0.8 * flights.COUNT / 4

    sent: dict[bytes, list[bytes]] = {}
    for batch in flights.source(flights.COUNT).encoded(produced.schema_id):
        for key, value in zip(batch.keys, batch.values, strict=True):
            assert key is not None
            sent.setdefault(key, []).append(value)
    received: dict[bytes, list[bytes]] = {}
    for number, message in enumerate(read(settings, topic)):
        received.setdefault(message.key(), []).append(message.value())
        assert message.timestamp()[1] >= started_ms - 1000
        if number % 50 == 0:
            flight = decode(message)
            assert f"{flight['carrier']}{flight['flight']}".encode() == message.key()
    assert received == sent


def test_poison_is_exactly_where_the_result_says_and_nowhere_else(
    settings: Settings, topic: str, decode: Decode
) -> None:
    produced = produce(topic, sample="shop", count=4_000, poison=35, seed=11, partitions=3, settings=settings)
    assert (produced.count, len(produced.poison)) == (4_000, 35)
    assert Counter(one.kind for one in produced.poison) == dict.fromkeys(
        Counter(one.kind for one in produced.poison), 5
    )
    bodies = bodies_of(4_000, seed=11)
    told = {(one.partition, one.offset): one.kind for one in produced.poison}
    good: Counter[int] = Counter()
    for message in read(settings, topic):
        kind = told.pop((message.partition(), message.offset()), None)
        body = message.value()[HEADER_BYTES:]
        if kind is None or kind == kinds.BROKEN_RULE:
            assert decode(message)["quantity"] >= 1 if kind is None else decode(message)["quantity"] == -1
            good[message.partition()] += kind is None
        elif kind == kinds.LEFT_OVER:  # the stock deserializer does not look behind the record
            assert any(body[:-extra] in bodies for extra in range(1, 9))
        else:
            with pytest.raises(Exception, match=r"."):  # each of the library's own kinds of error
                decode(message)
    assert told == {}
    assert dict(good) == produced.partitions


def bodies_of(count: int, seed: int) -> set[bytes]:
    """Return the Avro bodies of those shop events."""
    batches = shop.source(count, seed).encoded(0)
    return {value[HEADER_BYTES:] for batch in batches for value in batch.values}


def test_records_of_ones_own_are_keyed_and_registered(settings: Settings, topic: str, decode: Decode) -> None:
    fields = [{"name": "id", "type": "int"}, {"name": "name", "type": ["null", "string"]}]
    schema = json.dumps({"type": "record", "name": "Station", "fields": fields})
    stations = [{"id": number, "name": f"n{number % 7}"} for number in range(1_500)]
    first = produce(topic, stations, schema=schema, key="name", partitions=2, settings=settings)
    with Registry(settings.registry) as registry:
        assert registry.latest(f"{topic}-value").schema_id == first.schema_id
    again = produce(topic, iter(stations[:10]), key="name", settings=settings)  # by the newest registered schema
    assert (first.count, again.count, again.schema_id) == (1_500, 10, first.schema_id)
    received = [(message.key().decode(), decode(message)) for message in read(settings, topic)]
    assert all(key == station["name"] for key, station in received)
    assert sorted(station["id"] for _, station in received) == sorted([*range(1_500), *range(10)])


def test_what_was_sent_before_a_record_that_does_not_fit_has_arrived(settings: Settings, topic: str) -> None:
    schema = json.dumps({"type": "record", "name": "N", "fields": [{"name": "n", "type": "int"}]})
    numbers = itertools.chain(({"n": number} for number in range(3_000)), [{"n": "three thousand"}])
    with pytest.raises(ConfigurationError, match=r"record 3000 "):
        produce(topic, numbers, schema=schema, partitions=1, settings=settings)
    assert sum(1 for _ in read(settings, topic)) == 3_000


def test_a_dataset_with_one_topic_stands_for_it(settings: Settings, topic: str) -> None:
    dataset = f"d-{uuid.uuid4().hex[:10]}"
    publish(settings, Dataset(name=dataset, topics=(topic,), owner="o", partition=PartitionBy(field="event_time")))
    produced = produce(dataset, sample="shop", count=10, partitions=1, settings=settings)
    assert (produced.topic, produced.count) == (topic, 10)


def test_a_users_producer_needs_nothing_of_thalweg(settings: Settings, topic: str, decode: Decode) -> None:
    with Admin(settings.kafka) as admin:
        admin.create_topics([TopicSpec(topic, 2)])
    arguments = [str(settings.kafka.bootstrap), str(settings.registry.url), topic, "500"]
    told = subprocess.run(
        [sys.executable, str(EXAMPLE), *arguments], capture_output=True, text=True, check=True, timeout=120
    )
    assert told.stdout == f"500 rides are in topic {topic}\n"
    assert "thalweg" not in EXAMPLE.read_text().split('"""', 2)[2]
    rides = [decode(message) for message in read(settings, topic)]
    assert len({ride["ride_id"] for ride in rides}) == 500


def environment(settings: Settings) -> dict[str, str]:
    """The settings, as the command line finds them."""
    return {
        **os.environ,
        "THALWEG_HOME": str(settings.home),
        "THALWEG_KAFKA__BOOTSTRAP": str(settings.kafka.bootstrap),
        "THALWEG_KAFKA__PREFIX": settings.kafka.prefix,
        "THALWEG_REGISTRY__URL": str(settings.registry.url),
    }


def test_the_command_prints_a_summary_for_people_or_for_programs(settings: Settings, topic: str) -> None:
    def run(*arguments: str) -> str:
        command = [str(THALWEG), "produce", "shop", "--topic", topic, "--count", "2000", "--poison", "7", *arguments]
        return subprocess.run(
            command, env=environment(settings), capture_output=True, text=True, check=True, timeout=120
        ).stdout

    summary = json.loads(run("--partitions", "2", "--json"))
    assert (summary["topic"], summary["count"], summary["complete"]) == (topic, 2000, True)
    assert sum(summary["partitions"].values()) == 2000
    assert len({(one["partition"], one["offset"]) for one in summary["poison"]}) == 7
    text = run()
    assert f"2,000 records are in topic {topic}" in text
    assert "7 bad records" in text


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command_cleanly_and_it_counts_what_went_out(
    settings: Settings, topic: str, sent: signal.Signals
) -> None:
    command = [str(THALWEG), "produce", "flights", "--topic", topic, "--rate", "500", "--partitions", "1", "--json"]
    with (
        subprocess.Popen(command, env=environment(settings), stdout=subprocess.PIPE, text=True) as process,
        Admin(settings.kafka) as admin,
    ):
        for _ in range(600):
            if topic_end(admin, topic) >= 100:
                break
            time.sleep(0.1)
        process.send_signal(sent)
        output, _ = process.communicate(timeout=60)
        summary = json.loads(output)
        assert process.returncode == 130
        assert not summary["complete"]
        assert 100 <= summary["count"] == topic_end(admin, topic)


def topic_end(admin: Admin, topic: str) -> int:
    """Return how many records a topic of one partition has; 0 while it is not there."""
    try:
        return admin.watermarks(topic)[0][1]
    except (TopicNotFound, BrokerUnavailable):  # not made yet, or made a moment ago and without a leader
        return 0


def test_a_topic_that_is_not_there_is_only_made_when_asked_for(settings: Settings, topic: str) -> None:
    with pytest.raises(TopicNotFound, match="does not exist") as missing:
        produce(topic, sample="shop", count=1, settings=settings)
    assert "--partitions 4" in missing.value.remedy
    produce(topic, sample="shop", count=1, partitions=2, settings=settings)
    produce(topic, sample="shop", count=1, partitions=2, settings=settings)
    with pytest.raises(ConfigurationError, match="has 2 partitions, and 3 were asked for"):
        produce(topic, sample="shop", count=1, partitions=3, settings=settings)


def test_ones_own_records_need_a_schema_from_somewhere(settings: Settings, topic: str) -> None:
    with pytest.raises(SchemaNotFound):
        produce(topic, [{"n": 1}], partitions=1, settings=settings)


def test_a_registry_that_is_down_is_told_before_anything_is_sent(settings: Settings, topic: str) -> None:
    down = settings.registry.model_copy(update={"url": "http://127.0.0.1:1", "retries": 0})
    with pytest.raises(RegistryUnavailable):
        produce(topic, sample="shop", count=1, partitions=1, settings=settings.model_copy(update={"registry": down}))
    assert list(read(settings, topic)) == []


def test_a_broker_that_is_down_is_told(settings: Settings, topic: str) -> None:
    down = settings.kafka.model_copy(update={"bootstrap": "127.0.0.1:1", "request_timeout_s": 1.0})
    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:1"):
        produce(topic, sample="shop", count=1, settings=settings.model_copy(update={"kafka": down}))
