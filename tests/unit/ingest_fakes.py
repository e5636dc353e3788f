"""Stand-ins for what surrounds an ingest worker: a topic in memory, a broker's and a registry's answers. The tables are real."""

import io
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import fastavro
import numpy as np
import pytest

from ingest import worker as module
from ingest.block import Block, join, starts_of
from ingest.report import Report
from ingest.sources.source import Handlers, Partition
from ingest.worker import Worker
from schemas.datasets import Dataset
from schemas.registry import RegisteredSchema
from schemas.wire import frame
from thalweg.clock import Clock, SystemClock
from thalweg.errors import SchemaNotFound
from thalweg.settings import IngestSettings, KafkaSettings, RegistrySettings, Settings, TableSettings

TOPIC, TOPIC_ID = "trips", "id-of-trips"
DAY = {"name": "day", "type": {"type": "int", "logicalType": "date"}}
TRIP = {"type": "record", "name": "Trip", "fields": [{"name": "id", "type": "long"}, DAY]}


def value(schema_id: int, schema: Mapping[str, Any], **event: Any) -> bytes:
    """An event as a Confluent serializer frames it."""
    body = io.BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(dict(schema)), {"day": 0, **event})
    return frame(schema_id, body.getvalue())


def trips(numbers: Sequence[int]) -> list[bytes | None]:
    """Good events of schema 1."""
    return [value(1, TRIP, id=number) for number in numbers]


def block_of(
    values: Sequence[bytes | None], first: int = 0, partition: int = 0, timestamps_ms: Sequence[int] | None = None
) -> Block:
    """Records of one partition, from offset `first` on."""
    n = len(values)
    data, lengths, tombstones = join(list(values))
    keys, key_lengths, null_keys = join([None] * n)
    return Block(
        topics=(TOPIC,),
        topic=np.zeros(n, np.int16),
        partition=np.full(n, partition, np.int32),
        offset=np.arange(first, first + n),
        timestamp_ms=np.full(n, 1_357_016_400_000) if timestamps_ms is None else np.array(timestamps_ms, np.int64),
        data=data,
        starts=starts_of(lengths),
        tombstones=tombstones,
        keys=keys,
        key_starts=starts_of(key_lengths),
        null_keys=null_keys,
        headers={},
    )


class Broker:
    """One topic in memory, as `Admin` and the worker's source show it."""

    def __init__(self, values: Sequence[bytes | None], partitions: int = 1) -> None:
        self.values: dict[Partition, list[bytes | None]] = {(TOPIC, p): [] for p in range(partitions)}
        self.values[TOPIC, 0] += values
        self.asked: list[tuple[str, list[int] | None]] = []

    def __enter__(self) -> "Broker":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to let go of."""

    def topic_id(self, name: str) -> str:
        """As Admin's."""
        assert name == TOPIC
        return TOPIC_ID

    def topic_ids(self, names: Sequence[str]) -> dict[str, str]:
        """As Admin's."""
        return {name: self.topic_id(name) for name in names}

    def watermarks(self, name: str, partitions: Sequence[int] | None = None) -> dict[int, tuple[int, int]]:
        """As Admin's."""
        self.asked.append((name, None if partitions is None else list(partitions)))
        chosen = range(len(self.values)) if partitions is None else partitions
        return {p: (0, len(self.values[name, p])) for p in chosen}


class TopicSource:
    """A source over a Broker. `given` are the partitions that the group gives to this member, at the first poll."""

    def __init__(self, broker: Broker, handlers: Handlers, given: Sequence[Partition]) -> None:
        self.broker = broker
        self.handlers = handlers
        self.given: Sequence[Partition] | None = given
        self.held: dict[Partition, int] = {}
        self.paused = False
        self.acknowledged: dict[Partition, int] = {}
        self.on_poll: list[Callable[[], object]] = []  # called, one at each poll
        self.on_close: Callable[[], object] = lambda: None

    def poll(self, rows: int, size: int, timeout_s: float) -> Block | None:
        """As Source's."""
        if self.given is not None:
            given, self.given = self.given, None
            self.held.update(self.handlers.assigned(list(given)))
        if self.on_poll:
            self.on_poll.pop(0)()
        for (topic, partition), position in self.held.items():
            values = self.broker.values[topic, partition][position : position + rows]
            if values and not self.paused:
                self.held[topic, partition] += len(values)
                return block_of(values, position, partition)
        return None

    def seek(self, positions: Mapping[Partition, int]) -> None:
        """As Source's. Like librdkafka, it stays paused."""
        self.held.update(positions)

    def acknowledge(self, positions: Mapping[Partition, int]) -> None:
        """As Source's."""
        self.acknowledged.update(positions)

    def reached(self, ends: Mapping[Partition, int]) -> bool:
        """As Source's."""
        return all(position >= ends.get(partition, 0) for partition, position in self.held.items())

    def lag(self) -> dict[Partition, int]:
        """As Source's."""
        return {p: len(self.broker.values[p]) - position for p, position in self.held.items()}

    def starved(self) -> bool:
        """As Source's."""
        return any(self.lag().values())

    def hold(self, held: bool) -> None:
        """As Source's."""
        self.paused = held

    def close(self) -> None:
        """As Source's."""
        self.on_close()
        self.handlers.revoked(list(self.held))


class Schemas:
    """A registry's answers."""

    def __init__(self, schemas: Mapping[int, Mapping[str, Any]]) -> None:
        self.schemas = schemas

    def schema(self, schema_id: int) -> str:
        """As Registry's."""
        if schema_id not in self.schemas:
            raise SchemaNotFound(f"no schema {schema_id}", "register it")
        return json.dumps(self.schemas[schema_id])

    def latest(self, subject: str) -> RegisteredSchema:
        """As Registry's: the first one, as if the others came later."""
        return RegisteredSchema(subject, 1, 1, self.schema(1))

    def close(self) -> None:
        """Nothing to let go of."""


class Untold(AbstractContextManager["Untold"]):
    """Run events that nobody hears; `tests/integration/test_ingest.py` hears the real ones."""

    def __init__(self, *_: object) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass

    def beat(self) -> None:
        """Say nothing."""


class Fixture:
    """A worker among stand-ins. Tests give `source` what is to happen at its polls and its end."""

    def __init__(
        self,
        patch: pytest.MonkeyPatch,
        root: str,
        values: Sequence[bytes | None] = (),
        *,
        schemas: Mapping[int, Mapping[str, Any]] | None = None,
        partitions: int = 1,
        given: Sequence[Partition] = ((TOPIC, 0),),
        clock: Clock | None = None,
        reader_schema: Mapping[str, Any] | None = None,
        **limits: Any,
    ) -> None:
        self.broker = Broker(values, partitions)
        patch.setattr(module, "Admin", lambda _: self.broker)
        patch.setattr(module, "Registry", lambda _: Schemas(schemas or {1: TRIP}))
        patch.setattr(module, "RunEvents", Untold)
        patch.setattr(module, "POLL_S", 0.01)
        settings = Settings(
            kafka=KafkaSettings(bootstrap="127.0.0.1:1", session_timeout_s=1.0),
            registry=RegistrySettings(url="http://127.0.0.1:1"),
            tables=TableSettings(root=root),
            ingest=IngestSettings(**{"commit_interval_s": 0.05, "stall_s": 60.0, **limits}),
        )
        declared: dict[str, Any] = {"name": "trips", "topics": [TOPIC], "owner": "o", "partition": {"field": "day"}}
        if reader_schema is not None:
            declared["reader_schema"] = reader_schema
        used = clock or SystemClock()
        dataset = Dataset.from_json(json.dumps(declared))
        self.worker = Worker(dataset, settings, Report(dataset.name, used), used)
        self.source = TopicSource(self.broker, self.worker, given)
        patch.setattr(self.worker, "_open_source", lambda: self.source)

    def run_once(self, timeout_s: float = 30) -> None:
        """Land all that is there, on a thread of its own so that a worker which never ends fails the test."""
        failures: list[BaseException] = []

        def run() -> None:
            try:
                self.worker.run(until_caught_up=True)
            except BaseException as error:  # noqa: BLE001 - raised below
                failures.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(timeout_s)
        ended = not thread.is_alive()
        self.worker.stop()
        thread.join(timeout_s)
        assert ended, "the worker did not end by itself"
        if failures:
            raise failures[0]
