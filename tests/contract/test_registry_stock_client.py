"""confluent-kafka's own client and Avro serializers, unchanged, against each of `REGISTRIES`."""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka.schema_registry import (
    Metadata,
    MetadataProperties,
    RegisteredSchema,
    Schema,
    SchemaRegistryClient,
    ServerConfig,
    header_schema_id_serializer,
    topic_record_subject_name_strategy,
)
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.schema_registry.schema_registry_client import ConfigCompatibilityLevel
from confluent_kafka.serialization import MessageField, SerializationContext

from schemas.wire import HEADER_BYTES, MAGIC
from tests.contract.registries import REGISTRIES, Target

FIELDS = [{"name": "carrier", "type": "string"}, {"name": "delay", "type": ["null", "int"], "default": None}]
FLIGHT = json.dumps({"type": "record", "name": "Flight", "namespace": "aero", "fields": FIELDS})
WITH_GATE = json.dumps(
    {
        "type": "record",
        "name": "Flight",
        "namespace": "aero",
        "fields": [*FIELDS, {"name": "gate", "type": "string", "default": "?"}],
    }
)
BROKEN = json.dumps(
    {"type": "record", "name": "Flight", "namespace": "aero", "fields": [{"name": "carrier", "type": "int"}]}
)
EVENT = {"carrier": "United", "delay": 7}


@pytest.fixture(scope="module", params=REGISTRIES)
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    target: Target = request.param
    with target(request) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[SchemaRegistryClient]:
    """A client without memory of other tests."""
    with SchemaRegistryClient({"url": url, "max.retries": 0}) as client:
        yield client


@pytest.fixture
def topic() -> str:
    return f"t{uuid.uuid4().hex[:12]}"


def value_of(topic: str, headers: Any = None) -> SerializationContext:
    return SerializationContext(topic, MessageField.VALUE, headers)


def test_what_the_serializer_writes_the_deserializer_reads(client: SchemaRegistryClient, url: str, topic: str) -> None:
    framed = AvroSerializer(client, FLIGHT)(EVENT, value_of(topic))
    latest = client.get_latest_version(f"{topic}-value")
    assert framed[0] == MAGIC
    assert int.from_bytes(framed[1:HEADER_BYTES], "big") == latest.schema_id
    with SchemaRegistryClient({"url": url}) as fresh:
        assert AvroDeserializer(fresh)(framed, value_of(topic)) == EVENT


def test_a_reader_with_another_schema_gets_its_defaults(client: SchemaRegistryClient, topic: str) -> None:
    framed = AvroSerializer(client, FLIGHT)(EVENT, value_of(topic))
    assert AvroDeserializer(client, WITH_GATE)(framed, value_of(topic)) == {**EVENT, "gate": "?"}


def test_a_serializer_that_may_not_register_finds_the_schema(client: SchemaRegistryClient, topic: str) -> None:
    strict = {"auto.register.schemas": False}
    with pytest.raises(SchemaRegistryError) as error:
        AvroSerializer(client, FLIGHT, conf=strict)(EVENT, value_of(topic))
    assert (error.value.http_status_code, error.value.error_code) == (404, 40401)
    schema_id = client.register_schema(f"{topic}-value", Schema(FLIGHT, "AVRO"))
    framed = AvroSerializer(client, FLIGHT, conf=strict)(EVENT, value_of(topic))
    assert int.from_bytes(framed[1:HEADER_BYTES], "big") == schema_id


def test_a_serializer_can_use_the_latest_version(client: SchemaRegistryClient, topic: str) -> None:
    client.register_schema(f"{topic}-value", Schema(FLIGHT, "AVRO"))
    latest = client.register_schema(f"{topic}-value", Schema(WITH_GATE, "AVRO"))
    serializer = AvroSerializer(client, conf={"auto.register.schemas": False, "use.latest.version": True})
    framed = serializer({**EVENT, "gate": "B2"}, value_of(topic))
    assert int.from_bytes(framed[1:HEADER_BYTES], "big") == latest


def test_a_serializer_can_use_the_latest_version_with_metadata(client: SchemaRegistryClient, topic: str) -> None:
    tagged = Metadata(tags=None, properties=MetadataProperties({"stage": "live"}), sensitive=None)
    wanted = client.register_schema(f"{topic}-value", Schema(FLIGHT, "AVRO", metadata=tagged))
    other = Metadata(tags=None, properties=MetadataProperties({"stage": "next"}), sensitive=None)
    client.register_schema(f"{topic}-value", Schema(WITH_GATE, "AVRO", metadata=other))
    conf = {"auto.register.schemas": False, "use.latest.with.metadata": {"stage": "live"}}
    framed = AvroSerializer(client, conf=conf)(EVENT, value_of(topic))
    assert int.from_bytes(framed[1:HEADER_BYTES], "big") == wanted


def test_the_schema_can_travel_as_a_guid_in_a_header(client: SchemaRegistryClient, url: str, topic: str) -> None:
    headers: list[tuple[str, bytes]] = []
    conf = {"schema.id.serializer": header_schema_id_serializer}
    body = AvroSerializer(client, FLIGHT, conf=conf)(EVENT, value_of(topic, headers))
    assert [name for name, _ in headers] == ["__value_schema_id"]
    with SchemaRegistryClient({"url": url}) as fresh:
        assert AvroDeserializer(fresh)(body, value_of(topic, headers)) == EVENT


def test_other_subject_names_work(client: SchemaRegistryClient, topic: str) -> None:
    conf = {"subject.name.strategy": topic_record_subject_name_strategy, "normalize.schemas": True}
    framed = AvroSerializer(client, FLIGHT, conf=conf)(EVENT, value_of(topic))
    assert client.get_versions(f"{topic}-aero.Flight") == [1]
    assert AvroDeserializer(client)(framed, value_of(topic)) == EVENT


def test_an_incompatible_schema_is_refused(client: SchemaRegistryClient, topic: str) -> None:
    subject = f"{topic}-value"
    client.register_schema(subject, Schema(FLIGHT, "AVRO"))
    assert not client.test_compatibility(subject, Schema(BROKEN, "AVRO"))
    assert client.test_compatibility_all_versions(subject, Schema(WITH_GATE, "AVRO"))
    with pytest.raises(SchemaRegistryError) as error:
        client.register_schema(subject, Schema(BROKEN, "AVRO"))
    assert error.value.http_status_code == 409


def test_every_other_call_of_the_client(client: SchemaRegistryClient, topic: str) -> None:
    subject = f"{topic}-value"
    registered = client.register_schema_full_response(subject, Schema(FLIGHT, "AVRO"))
    schema_id = registered.schema_id
    assert registered.guid
    found: RegisteredSchema = client.lookup_schema(subject, Schema(FLIGHT, "AVRO"))
    assert (found.schema_id, found.version) == (schema_id, 1)
    assert "AVRO" in client.get_schema_types()
    assert subject in client.get_subjects()
    assert subject in client.get_subjects_by_schema_id(schema_id)
    assert (subject, 1) in [(place.subject, place.version) for place in client.get_schema_versions(schema_id)]
    assert client.get_version(subject, 1).schema_id == schema_id
    assert client.get_referenced_by(subject, 1) == []
    assert client.set_compatibility(subject, "full") == {"compatibility": "FULL"}
    assert client.get_compatibility(subject) == "FULL"
    level = ServerConfig(compatibility=ConfigCompatibilityLevel.NONE)
    assert client.set_config(subject, level) == {"compatibility": "NONE"}
    assert client.get_config(subject).compatibility_level == ConfigCompatibilityLevel.NONE
    assert client.delete_config(subject).compatibility_level == ConfigCompatibilityLevel.NONE
    assert client.get_global_mode() == "READWRITE"
    assert "." in client.get_contexts()
    assert client.delete_version(subject, 1) == 1
    assert client.get_version(subject, 1, deleted=True).schema_id == schema_id
    assert client.delete_version(subject, 1, permanent=True) == 1
    client.register_schema(subject, Schema(WITH_GATE, "AVRO"))
    assert client.delete_subject(subject) == [1]
    assert client.delete_subject(subject, permanent=True) == [1]
