"""Declarations as services find them: in the compacted topic `<prefix>.datasets`, as Avro under the dataset's name.

The topic's partitions are also the leases of announcers and compactors, so a declaration in the wrong one would be
looked after by two or by nobody: it is refused.
"""

import difflib
import functools
import io
import json
import logging
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any, Final, Protocol

import fastavro

from schemas import wire
from schemas.datasets import Dataset
from schemas.declarations import Document
from schemas.registry import Registry
from thalweg.errors import (
    ConfigurationError,
    DatasetNotFound,
    DeclarationError,
    SchemaNotFound,
    TopicNotFound,
)
from thalweg.settings import KafkaSettings, Settings
from thalweg.streams import compacted
from thalweg.streams.admin import Admin
from thalweg.streams.clients import LEASE_PARTITIONS, topics
from thalweg.streams.compacted import Entry

_LOG = logging.getLogger("thalweg.datasets")

AVRO: Final = resources.files("schemas").joinpath("avro/dataset.avsc").read_text(encoding="utf-8")


class Schemas(Protocol):
    """What the codec needs of a schema registry."""

    def register(self, subject: str, schema_json: str) -> int:
        """Return the id of a schema, registering it where it is new."""
        ...

    def schema(self, schema_id: int) -> str:
        """Return a schema as JSON text."""
        ...


class DatasetCodec:
    """Turns declarations into framed Avro and back. Registers our schema at the first `encode`."""

    def __init__(self, registry: Schemas, topic: str) -> None:
        self._registry = registry
        self._topic = topic
        self._schema = fastavro.parse_schema(json.loads(AVRO))
        # Our own schema has a handful of versions; the bound is against a topic that somebody else writes to.
        self._writer_schema = functools.lru_cache(maxsize=64)(self._fetch)

    def encode(self, dataset: Dataset) -> bytes:
        """Frame and serialise a declaration. Raises what the registry raises."""
        schema_id = self._registry.register(f"{self._topic}-value", AVRO)
        body = io.BytesIO()
        fastavro.schemaless_writer(body, self._schema, _to_record(dataset))
        return wire.frame(schema_id, body.getvalue())

    def decode(self, key: bytes, value: bytes, partition: int) -> Dataset:
        """Read a declaration from its record.

        Raises DeclarationError for one that stands in the wrong partition, under a key that is not its name, or says
        what this version of Thalweg does not know; RegistryUnavailable when its schema cannot be asked for.
        """
        name = key.decode("utf-8", "backslashreplace")
        where = f"{self._topic}[{partition}], key {name!r}"
        if (right := compacted.partition_of(key, LEASE_PARTITIONS)) != partition:
            raise DeclarationError(
                f"{where}: declarations of this name belong in partition {right}: its producer does not spread keys by murmur2",
                f"delete it there (a record with this key and no value, in partition {partition}) and use thalweg apply",
            )
        dataset = self._read(value, where)
        if dataset.name != name:
            raise DeclarationError(f"{where}: it declares {dataset.name!r}", "delete it and use thalweg apply")
        return dataset

    def _read(self, value: bytes, where: str) -> Dataset:
        if len(value) < wire.HEADER_BYTES or value[0] != wire.MAGIC:
            raise DeclarationError(f"{where}: not framed Avro: {value[:16]!r}", "delete it and use thalweg apply")
        schema_id = int.from_bytes(value[1 : wire.HEADER_BYTES])
        try:
            record = fastavro.schemaless_reader(
                io.BytesIO(value[wire.HEADER_BYTES :]), self._writer_schema(schema_id), self._schema
            )
        except (
            SchemaNotFound,
            fastavro.schema.SchemaParseException,
            fastavro.read.SchemaResolutionError,
            ValueError,
            EOFError,
            TypeError,
            IndexError,
        ) as error:
            raise DeclarationError(
                f"{where}: schema {schema_id} is not a declaration's: {error}",
                "publish it again (thalweg apply); if a newer Thalweg wrote it, upgrade this one",
            ) from error
        return Dataset.from_document(Document(where, _from_record(record), {}))

    def _fetch(self, schema_id: int) -> Any:
        return fastavro.parse_schema(json.loads(self._registry.schema(schema_id)))


def publish(settings: Settings, dataset: Dataset) -> None:
    """Publish a declaration; the services see it within a second or so. Our topics are created where they are missing.

    Raises BrokerUnavailable, RegistryUnavailable, and ConfigurationError when the topic's partition count was changed.
    """
    topic = topics(settings.kafka).datasets
    with Admin(settings.kafka) as admin:
        admin.ensure_own_topics()
    with Registry(settings.registry) as registry:
        value = DatasetCodec(registry, topic).encode(dataset)
    compacted.put(settings.kafka, topic, dataset.name.encode(), value, LEASE_PARTITIONS)


def withdraw(settings: Settings, name: str) -> None:
    """Take a declaration back. Its tables, topics and schemas stay as they are. Raises DatasetNotFound."""
    topic = topics(settings.kafka).datasets
    key = name.encode()
    found = _entries(settings.kafka, topic)
    if not any(entry.key == key for entry in found):
        raise _not_found(name, (entry.key.decode("utf-8", "backslashreplace") for entry in found))
    compacted.put(settings.kafka, topic, key, None, LEASE_PARTITIONS)


def load_datasets(settings: Settings) -> dict[str, Dataset]:
    """All datasets that were applied, by name. A declaration that cannot be read is logged as an error and left out."""
    topic = topics(settings.kafka).datasets
    found: dict[str, Dataset] = {}
    if not (entries := _entries(settings.kafka, topic)):
        return found
    with Registry(settings.registry) as registry:
        codec = DatasetCodec(registry, topic)
        for entry in sorted(entries, key=lambda e: e.key):
            try:
                dataset = codec.decode(entry.key, entry.value, entry.partition)
            except DeclarationError as error:
                _LOG.error("a declaration is left out: %s", error)
            else:
                found[dataset.name] = dataset
    return found


def load_dataset(settings: Settings, name: str) -> Dataset:
    """One dataset. Raises DatasetNotFound, with the names that there are, and DeclarationError when it cannot be read."""
    topic = topics(settings.kafka).datasets
    entries = _entries(settings.kafka, topic)
    key = name.encode()
    standing = [entry for entry in entries if entry.key == key]
    if not standing:
        raise _not_found(name, (entry.key.decode("utf-8", "backslashreplace") for entry in entries))
    with Registry(settings.registry) as registry:
        codec = DatasetCodec(registry, topic)
        # More than one only when some stand in wrong partitions; decode() refuses those.
        (dataset,) = {codec.decode(entry.key, entry.value, entry.partition) for entry in standing}
    return dataset


def _entries(kafka: KafkaSettings, topic: str) -> list[Entry]:
    with Admin(kafka) as admin:
        try:
            count = admin.partitions(topic)
        except TopicNotFound:  # nothing was ever applied
            return []
    if count != LEASE_PARTITIONS:
        raise ConfigurationError(
            f"topic {topic} has {count} partitions and must have {LEASE_PARTITIONS}: keys would be looked for in the wrong one",
            "use another THALWEG_KAFKA__PREFIX and apply the declarations again",
        )
    return compacted.entries(kafka, topic, range(LEASE_PARTITIONS))


def _not_found(name: str, known: Iterable[str]) -> DatasetNotFound:
    names = sorted(known)
    close = difflib.get_close_matches(name, names, 1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    there = (
        f"datasets are {', '.join(names)}"
        if names
        else "no dataset was applied yet: thalweg apply examples/flights.yaml"
    )
    return DatasetNotFound(f"no dataset is called {name!r}{hint}", there)


def _to_record(dataset: Dataset) -> dict[str, Any]:
    record = dataset.model_dump(mode="json", by_alias=True)
    del record["contract"]
    return {**record, "rules": [rule.to_flat() for rule in dataset.contract.rules]}


def _from_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record as it would be written in YAML: what is null was not said."""
    plain = {key: value for key, value in record.items() if value is not None and key != "rules"}
    plain["partition"] = {key: value for key, value in record["partition"].items() if value is not None}
    rules = [
        {rule["kind"]: {key: value for key, value in rule.items() if value is not None and key != "kind"}}
        for rule in record["rules"]
    ]
    return {**plain, "contract": {"rules": rules}}
