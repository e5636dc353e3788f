"""Version events: what `<prefix>.versions` carries. One for each version of a table, derived from its Delta log entry alone.

On the wire an event is Confluent-framed Avro (0x00, 4-byte big-endian schema id, body), its schema
`schemas/avro/version_committed.avsc`, registered under `<topic>-value`. A reader resolves any newer writer schema that is
compatible: unknown fields are skipped, missing ones take their default.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, Protocol

import fastavro
from pydantic import BaseModel, ConfigDict

from schemas import wire
from thalweg.errors import ConfigurationError
from thalweg.tables.spans import Span

if TYPE_CHECKING:  # a subscriber reads no logs, and the log's reader costs 0.15 s to import
    from thalweg.tables.log import AddedFile, LogEntry, RemovedFile

AVRO: Final = resources.files("schemas").joinpath("avro/version_committed.avsc").read_text(encoding="utf-8")

COMMITTED: Final = "COMMITTED"
GAP: Final = "GAP"

# How Delta and Hive name a null partition in paths.
NULL_PARTITION: Final = "__HIVE_DEFAULT_PARTITION__"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class VersionCommitted(BaseModel):
    """A Delta table has a version; or, when `kind` is `GAP`, the log entries `gap_from`..`gap_to` are gone unannounced.

    Rows are None where the log does not tell them (a removed file's seldom). Bytes and files are of data files.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    event_id: uuid.UUID
    kind: str = COMMITTED
    dataset: str
    table_uri: str
    table_id: str
    version: int
    committed_at: datetime
    operation: str
    data_change: bool
    rows_added: int | None = None
    rows_removed: int | None = None
    files_added: int = 0
    files_removed: int = 0
    bytes_added: int = 0
    bytes_removed: int | None = None
    dates: tuple[str, ...] = ()
    schema_fingerprint: str = ""
    schema_changed: bool = False
    spans: tuple[Span, ...] = ()
    schema_ids: tuple[int, ...] = ()
    writer: str | None = None
    tags: tuple[str, ...] = ()
    gap_from: int | None = None
    gap_to: int | None = None


def schema_fingerprint(schema_json: str) -> str:
    """SHA-256, in hex, of a Delta schema as canonical JSON: engines differ in key order and white space."""
    canonical = json.dumps(json.loads(schema_json), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def event_id(table_id: str, name: str) -> uuid.UUID:
    """UUIDv5 of a table and something in it: equal in every replay, different for a recreated table."""
    try:
        namespace = uuid.UUID(table_id)
    except ValueError:  # the protocol asks for a GUID, and some writers put other text there
        namespace = uuid.uuid5(uuid.NAMESPACE_URL, table_id)
    return uuid.uuid5(namespace, name)


def from_log_entry(
    entry: LogEntry, *, dataset: str, uri: str, table_id: str, schema_before: str, partition_column: str
) -> VersionCommitted:
    """Make the event of one log entry. A pure function: a replay makes the same event.

    `table_id` is the id in force before the entry, `schema_before` the fingerprint of the schema before it ("" when
    there was none); the entry's own metadata, if it has any, goes first.
    """
    known_id = entry.table_id or table_id
    fingerprint = schema_before if entry.schema is None else schema_fingerprint(entry.schema)
    files: tuple[AddedFile | RemovedFile, ...] = (*entry.added, *entry.removed)
    return VersionCommitted(
        event_id=event_id(known_id, str(entry.version)),
        dataset=dataset,
        table_uri=uri,
        table_id=known_id,
        version=entry.version,
        committed_at=_time(entry.timestamp_ms),
        operation=entry.operation,
        data_change=any(file.data_change for file in files),
        rows_added=_total(file.rows for file in entry.added),
        rows_removed=_total(file.rows for file in entry.removed),
        files_added=len(entry.added),
        files_removed=len(entry.removed),
        bytes_added=sum(file.size for file in entry.added),
        bytes_removed=_total(file.size for file in entry.removed),
        dates=_dates(files, partition_column),
        schema_fingerprint=fingerprint,
        schema_changed=fingerprint != schema_before,
        spans=entry.spans,
        schema_ids=tuple(entry.info.get("thalweg.schema_ids", ())),
        writer=_writer(entry.info),
        tags=tuple(entry.info.get("thalweg.tags", ())),
    )


def gap_event(
    first: int, after: LogEntry, *, dataset: str, uri: str, table_id: str, schema_before: str
) -> VersionCommitted:
    """Make the event that says: log entries from `first` up to the one before `after` were cleaned away unannounced."""
    known_id = after.table_id or table_id
    last = after.version - 1
    return VersionCommitted(
        event_id=event_id(known_id, f"gap {first} {last}"),
        kind=GAP,
        dataset=dataset,
        table_uri=uri,
        table_id=known_id,
        version=last,
        committed_at=_time(after.timestamp_ms),
        operation=GAP,
        data_change=True,  # unknown: whoever acts on changes must look
        schema_fingerprint=schema_before,
        gap_from=first,
        gap_to=last,
    )


class Schemas(Protocol):
    """What the codec needs of a schema registry."""

    def register(self, subject: str, schema: str, /) -> int:
        """Return the id of a schema, registering it where it is new."""
        ...

    def schema(self, schema_id: int, /) -> str:
        """Return a schema as JSON text."""
        ...


class EventCodec:
    """Turns events into framed Avro and back. Whoever only reads needs no right to register. Raises what the registry raises."""

    def __init__(self, registry: Schemas, topic: str) -> None:
        self._registry = registry
        self._topic = topic
        self._schema = fastavro.parse_schema(json.loads(AVRO))
        self._schema_id: int | None = None
        # Our own schema has a handful of versions; the bound is against a topic that somebody else writes to.
        self._writer_schema = functools.lru_cache(maxsize=64)(self._fetch)

    def register(self) -> int:
        """Register our schema, once, and return its id."""
        if self._schema_id is None:
            self._schema_id = self._registry.register(f"{self._topic}-value", AVRO)
        return self._schema_id

    def encode(self, event: VersionCommitted) -> bytes:
        """Frame and serialise one event."""
        schema_id = self.register()
        body = io.BytesIO()
        fastavro.schemaless_writer(body, self._schema, event.model_dump())
        return wire.frame(schema_id, body.getvalue())

    def decode(self, value: bytes | None) -> VersionCommitted:
        """Read one event, whichever compatible schema wrote it. Raises ConfigurationError for anything else."""
        if value is None or len(value) < wire.HEADER_BYTES or value[0] != wire.MAGIC:
            raise ConfigurationError(
                f"topic {self._topic} holds a record that is not framed Avro: {value[:16] if value else value!r}",
                f"only announcers may write to {self._topic}: find who else does, and take the right from them",
            )
        schema_id = int.from_bytes(value[1 : wire.HEADER_BYTES])
        body = io.BytesIO(value[wire.HEADER_BYTES :])
        try:
            record = fastavro.schemaless_reader(body, self._writer_schema(schema_id), self._schema)
            return VersionCommitted.model_validate(record)
        except (
            fastavro.schema.SchemaParseException,
            fastavro.read.SchemaResolutionError,
            ValueError,
            EOFError,
            TypeError,
            IndexError,
        ) as error:
            raise ConfigurationError(
                f"topic {self._topic} holds a record of schema {schema_id} that is no version event: {str(error)[:200]}",
                f"only announcers may write to {self._topic}; if a newer Thalweg does, upgrade this one",
            ) from error

    def _fetch(self, schema_id: int) -> Any:
        return fastavro.parse_schema(json.loads(self._registry.schema(schema_id)))


def _time(timestamp_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=timestamp_ms)


def _total(counts: Iterable[int | None]) -> int | None:
    total = 0
    for count in counts:
        if count is None:
            return None
        total += count
    return total


def _dates(files: Iterable[AddedFile | RemovedFile], column: str) -> tuple[str, ...]:
    values = {file.partition[column] for file in files if column in file.partition}
    return tuple(sorted(NULL_PARTITION if value is None else value for value in values))


def _writer(info: Mapping[str, Any]) -> str | None:
    for key in ("thalweg.writer", "engineInfo", "clientVersion"):
        if info.get(key):
            return str(info[key])
    return None
