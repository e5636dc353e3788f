"""A small dataset of a test's own: its topic, its declaration, its records, and a worker that lands them."""

import datetime as dt
import io
import itertools
import json
import struct
import threading
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import fastavro
import httpx
from confluent_kafka import Producer
from deltalake import DeltaTable

from ingest.report import Report
from ingest.worker import Worker
from schemas.datasets import Dataset
from schemas.registry import Registry
from thalweg.clock import SystemClock
from thalweg.settings import Settings
from thalweg.streams.admin import Admin, TopicSpec
from thalweg.streams.clients import producer, topics
from thalweg.tables.log import Log, LogEntry
from thalweg.tables.place import table_uri

TRIP: dict[str, Any] = {
    "type": "record",
    "name": "Trip",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "place", "type": ["null", "string"], "default": None},
        {"name": "distance", "type": "double"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    ],
}
START = dt.datetime(2013, 1, 1, 12, tzinfo=dt.UTC)


def trip(number: int, **changed: Any) -> dict[str, Any]:
    """A good event; three of them a day."""
    return {
        "id": number,
        "place": f"p{number % 5}",
        "distance": 1.0 + number,
        "at": START + dt.timedelta(hours=8 * (number % 9)),
        **changed,
    }


class World:
    """One dataset called `trips`, on the session's broker."""

    def __init__(self, settings: Settings, partitions: int = 2, name: str = "trips", **declared: Any) -> None:
        self.settings = settings
        self.topic = f"{settings.kafka.prefix}.{name}"
        self.dataset = Dataset.model_validate_json(
            json.dumps(
                {
                    "name": name,
                    "topics": [self.topic],
                    "owner": "tests@example.com",
                    "partition": {"field": "at"},
                    "contract": {"rules": [{"range": {"field": "distance", "min": 0, "max": 1_000_000}}]},
                    **declared,
                }
            )
        )
        self.admin = Admin(settings.kafka)
        self.admin.create_topics([TopicSpec(self.topic, partitions), TopicSpec(topics(settings.kafka).lineage, 1)])
        self.registry = Registry(settings.registry)
        self.schema_id = self.register(TRIP)
        self.uri = table_uri(settings.tables, name)
        self.quarantine_uri = table_uri(settings.tables, f"{name}.quarantine")

    def register(self, schema: Mapping[str, Any]) -> int:
        """Register a writer schema for the topic's values."""
        return self.registry.register(f"{self.topic}-value", json.dumps(schema))

    def close(self) -> None:
        """Let go of the connections."""
        self.admin.close()
        self.registry.close()

    def registry_allows_anything(self) -> None:
        """Let the next schema be incompatible, as a careless team would."""
        url = f"{self.settings.registry.url}/config/{self.topic}-value"
        httpx.put(url, json={"compatibility": "NONE"}).raise_for_status()

    def value(self, event: Mapping[str, Any], schema: Mapping[str, Any] = TRIP, schema_id: int | None = None) -> bytes:
        """An event as a Confluent serializer frames it."""
        body = io.BytesIO()
        fastavro.schemaless_writer(body, fastavro.parse_schema(dict(schema)), event)
        return struct.pack(">bI", 0, self.schema_id if schema_id is None else schema_id) + body.getvalue()

    def send(
        self, values: Iterable[bytes | None], partition: int | None = None, client: Producer | None = None
    ) -> None:
        """Send values, spread over the partitions unless one is named, and wait for the broker."""
        used = client or producer(self.settings.kafka)
        count = self.admin.partitions(self.topic)
        for number, value in zip(itertools.count(), values, strict=False):
            used.produce(
                self.topic, value, key=b"k%d" % number, partition=number % count if partition is None else partition
            )
            used.poll(0)
        if client is None:
            assert used.flush(30) == 0

    def send_trips(self, numbers: Iterable[int], partition: int | None = None) -> None:
        """Send good events."""
        self.send((self.value(trip(number)) for number in numbers), partition)

    def worker(self, **limits: Any) -> Worker:
        """A worker that is ready to run."""
        chosen = {"commit_interval_s": 0.3, "stall_s": 60.0, **limits}
        settings = self.settings.model_copy(update={"ingest": self.settings.ingest.model_copy(update=chosen)})
        return Worker(self.dataset, settings, Report(self.dataset.name, SystemClock()))

    def ingest(self, **limits: Any) -> None:
        """Land all that is in the topic now."""
        self.worker(**limits).run(until_caught_up=True)

    def ids(self) -> list[int]:
        """The ids that have landed, from a real scan."""
        return sorted(DeltaTable(self.uri).to_pyarrow_table(columns=["id"])["id"].to_pylist())

    def rejected(self) -> list[dict[str, Any]]:
        """The quarantine's rows, by place."""
        rows = DeltaTable(self.quarantine_uri).to_pyarrow_table().to_pylist()
        return sorted(rows, key=lambda row: (row["partition"], row["offset"]))

    def landings(self) -> list[LogEntry]:
        """The table's commits that are landings."""
        return [entry for entry in Log(self.uri).entries(0) if entry.is_landing]

    def accounted(self) -> int:
        """Records that the log has a verdict on."""
        return (
            sum(span.consumed for entry in self.landings() for span in entry.spans)
            if Log(self.uri).has_entries()
            else 0
        )

    def check_accounts(self) -> None:
        """Each landing's spans chain, start where the topic starts, and their counts are what the topic and tables hold."""
        reached: dict[int, int] = {}
        landed = quarantined = filtered = 0
        for entry in self.landings():
            for span in entry.spans:
                assert span.first == reached.get(span.partition, 0), (
                    f"version {entry.version} does not follow on: {span}"
                )
                assert span.holes >= 0
                reached[span.partition] = span.next
                landed, quarantined, filtered = (
                    landed + span.landed,
                    quarantined + span.quarantined,
                    filtered + span.filtered,
                )
        assert {p: high for p, (_, high) in self.admin.watermarks(self.topic).items() if high} == reached
        places = DeltaTable(self.uri).to_pyarrow_table(columns=["_partition", "_offset"]).to_pylist()
        assert len({(row["_partition"], row["_offset"]) for row in places}) == len(places) == landed
        if quarantined:
            assert (
                len({(row["partition"], row["offset"]) for row in self.rejected()})
                == len(self.rejected())
                == quarantined
            )


def reading_through(source: str, settings: Settings) -> Settings:
    """The same settings, for workers that read through one of the sources."""
    return settings.model_copy(update={"ingest": settings.ingest.model_copy(update={"source": source})})


class Running:
    """A worker on a thread of its own, for tests that do something while it runs."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.worker.run()
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.failure = error

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self, timeout_s: float = 60) -> None:
        """Stop cleanly; raises what the worker raised."""
        self.worker.stop()
        self.join(timeout_s)
        if self.failure is not None:
            raise self.failure

    def join(self, timeout_s: float = 60) -> None:
        """Wait for its end."""
        self._thread.join(timeout_s)
        assert not self._thread.is_alive(), "the worker did not end"


class Sending:
    """Sends events on a thread of its own, each hundredth of them bad, whatever happens to the broker."""

    def __init__(self, world: World) -> None:
        self.sent = 0
        self._world = world
        self._end = threading.Event()
        self._client: Producer = producer(world.settings.kafka, message_timeout_ms=240_000)
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        partitions = self._world.admin.partitions(self._world.topic)
        for number in itertools.count():
            if self._end.wait(0.002):
                return
            value = b"bad" if number % 100 == 99 else self._world.value(trip(number))
            self._client.produce(self._world.topic, value, partition=number % partitions)
            self._client.poll(0)
            self.sent = number + 1

    def stop(self) -> None:
        """Wait until the broker has all that was sent."""
        self._end.set()
        self._thread.join()
        assert self._client.flush(120) == 0

    def good(self) -> list[int]:
        """The ids of the events that are to land."""
        return [number for number in range(self.sent) if number % 100 != 99]
