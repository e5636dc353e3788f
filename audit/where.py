"""`thalweg where`: what became of one record, and which records a version or a file is made of.

Spans of a partition ascend with the versions, so the commit that covers an offset is found by halving the log, a few
entries read. What the counts of a span leave open (filtered, or never given by Kafka?) is asked of Kafka when it still knows.
"""

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from audit.rows import Rows
from schemas.quarantine import SCHEMA, quarantine_name
from thalweg.clock import Clock
from thalweg.errors import ConfigurationError, NotFound, OffsetsExpired, TableNotFound, Unavailable, VersionNotFound
from thalweg.settings import KafkaSettings, TableSettings
from thalweg.streams.admin import Admin
from thalweg.streams.holdings import Reach, offsets_held
from thalweg.tables.files import FILE, LANDED, QUARANTINED, Origin, Snapshot, find_rows, scan, stored_size
from thalweg.tables.log import Log, LogEntry
from thalweg.tables.place import storage_options, table_uri
from thalweg.tables.spans import Span, app_id

_TOPIC_PROPERTY = "thalweg.topic."
_VERDICT = ("topic", "topic_id", "partition", "offset", "rule", "reason", "path", "byte")

HeldByKafka = Callable[[Span, int], bool | None]
"""Whether Kafka gives a reader this offset of a span's partition; None when it does not know any more."""


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """What became of one record. `state` is one of: landed, quarantined, filtered, hole, removed (landed or rejected, and
    taken away since), not consumed, before (the table's beginning), gap; or several of them with "or" between."""

    dataset: str
    topic: str
    partition: int
    offset: int
    state: str
    version: int | None = None
    committed_ms: int | None = None
    span: Span | None = None
    file: str | None = None  # as it was landed
    now_in: str | None = None  # where it is in the newest version
    verdict: Mapping[str, Any] = field(default_factory=dict)  # rule, reason, path, byte

    def to_plain(self) -> dict[str, Any]:
        """As JSON could hold it; what is not known is left out."""
        plain: dict[str, Any] = {
            "dataset": self.dataset,
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "state": self.state,
            "version": self.version,
            "committed_at": None if self.committed_ms is None else _iso(self.committed_ms),
            "span": None if self.span is None else plain_span(self.span),
            "file": self.file,
            "now_in": self.now_in,
            **self.verdict,
        }
        return {name: value for name, value in plain.items() if value is not None}


@dataclass(frozen=True, slots=True)
class FileOrigin:
    """Rows of a file that came from one source partition, and the versions that landed the first and the last of them."""

    topic_id: str
    partition: int
    rows: int
    first: int
    last: int
    versions: tuple[int, int] | None

    def to_plain(self) -> dict[str, Any]:
        """As JSON could hold it."""
        return {
            "topic_id": self.topic_id,
            "partition": self.partition,
            "rows": self.rows,
            "first": self.first,
            "last": self.last,
            "versions": self.versions and list(self.versions),
        }


class Chain:
    """The spans of one source partition in a table's log."""

    def __init__(self, log: Log, topic_id: str, partition: int) -> None:
        self._log = log
        self._key = topic_id, partition
        self._seen: dict[int, LogEntry | None] = {}

    def find(self, offset: int) -> tuple[LogEntry, Span] | None:
        """The last commit whose span begins at or before an offset; it covers the offset unless that is in a gap. None: no commit."""
        low, high = self._log.earliest(), self._log.latest()
        best = None
        while low <= high:
            middle = (low + high) // 2
            found = self._at_or_below(middle, low)
            if found is None:
                low = middle + 1
            elif offset < found[1].first:
                high = found[0].version - 1
            else:
                best = found
                if offset < found[1].next:
                    break
                low = middle + 1
        return best

    def _at_or_below(self, version: int, low: int) -> tuple[LogEntry, Span] | None:
        for candidate in range(version, low - 1, -1):
            entry = self._read(candidate)
            if entry is not None:
                for span in entry.spans:
                    if (span.topic_id, span.partition) == self._key:
                        return entry, span
        return None

    def _read(self, version: int) -> LogEntry | None:
        if version not in self._seen:
            try:
                self._seen[version] = self._log.read(version)
            except VersionNotFound:  # a hole in the log: verify tells of it
                self._seen[version] = None
        return self._seen[version]


class Where:
    """Answers for one dataset. Raises TableNotFound when it has no table."""

    def __init__(self, dataset: str, tables: TableSettings) -> None:
        self._options = storage_options(tables)
        self._uri = table_uri(tables, dataset)
        self._quarantine_uri = table_uri(tables, quarantine_name(dataset))
        self._log = Log(self._uri, self._options)
        self._table = Snapshot(self._uri, self._options)
        self.dataset = self._table.configuration.get("thalweg.dataset", dataset)

    def record(self, topic: str, partition: int, offset: int, held: HeldByKafka) -> Whereabouts:
        """Say what became of a record. Raises NotFound for a topic that the table does not land."""
        topic_id = self._topic_id(topic)
        place = self.dataset, topic, partition, offset
        after = self._table.transaction(app_id(self.dataset, topic_id, partition))
        if after is None or offset >= after:
            return Whereabouts(*place, "not consumed")
        found = Chain(self._log, topic_id, partition).find(offset)
        if found is None:
            return Whereabouts(*place, "before")
        entry, span = found
        if offset >= span.next:
            return Whereabouts(*place, "gap")
        commit: dict[str, Any] = {"version": entry.version, "committed_ms": entry.timestamp_ms, "span": span}
        if span.landed and (files := self._landed_in(entry, topic_id, partition, offset)):
            landed_in, now_in = files
            return Whereabouts(*place, "landed", **commit, file=landed_in, now_in=now_in)
        if span.quarantined and (row := self._rejected_in(entry, topic_id, partition, offset)):
            verdict = {name: row[name] for name in ("rule", "reason", "path", "byte") if row[name] is not None}
            return Whereabouts(*place, "quarantined", **commit, file=row[FILE], verdict=verdict)
        return Whereabouts(*place, self._neither(entry, span, offset, held), **commit)

    def version(self, version: int) -> LogEntry:
        """The log entry of a version, with its spans. Raises VersionNotFound."""
        return self._log.read(version)

    def file(self, path: str) -> list[FileOrigin]:
        """Say which records a data file's rows came from, by reading it. `path` relative to the table, or under its URI.

        Raises NotFound when there is no such file, TableDamaged when it cannot be read.
        """
        relative = path.removeprefix(self._uri).lstrip("/")
        if ".." in relative.split("/") or stored_size(self._uri, relative, self._options) is None:
            raise NotFound(
                f"{self._uri} has no file {relative}", "paths are those of the log; a vacuum may have removed it"
            )
        rows = Rows()
        for batch in scan(self._uri, [relative], LANDED.fields(), self._options):
            rows.take(batch)
        origins = []
        for (topic_id, partition), found in sorted(rows.by_source.items()):
            parts = [part for part in found.offsets.members() if len(part)]
            first, last = int(parts[0][0]), int(parts[-1][-1])
            chain = Chain(self._log, topic_id, partition)
            ends = chain.find(first), chain.find(last)
            versions = (ends[0][0].version, ends[1][0].version) if ends[0] and ends[1] else None
            origins.append(FileOrigin(topic_id, partition, len(found.offsets), first, last, versions))
        return origins

    def _topic_id(self, topic: str) -> str:
        if (bound := self._table.configuration.get(_TOPIC_PROPERTY + topic)) is not None:
            return bound
        for version in range(self._log.latest(), self._log.earliest() - 1, -1):
            for span in self._log.read(version).spans:
                if span.topic == topic:
                    return span.topic_id
        topics = [
            name.removeprefix(_TOPIC_PROPERTY) for name in self._table.configuration if name.startswith(_TOPIC_PROPERTY)
        ]
        raise NotFound(
            f"the table {self._uri} lands no topic {topic}",
            f"its topics are {', '.join(sorted(topics)) or 'not known yet'}",
        )

    def _landed_in(
        self, entry: LogEntry, topic_id: str, partition: int, offset: int
    ) -> tuple[str | None, str | None] | None:
        """The file that the landing put the row in (None when it is gone), and the one that has it now; None for no row."""
        bounds = {LANDED.partition: partition, LANDED.offset: offset}
        values = {LANDED.topic_id: topic_id, **bounds}
        at_first = [file.path for file in entry.added if file.may_hold(bounds)]
        found = find_rows(self._uri, at_first, values, _plain(LANDED), self._options)
        if found and self._table.has(found[0][FILE]):
            return found[0][FILE], found[0][FILE]
        now = find_rows(self._uri, self._table.may_hold(bounds), values, _plain(LANDED), self._options)
        if not (found or now):
            return None
        return found[0][FILE] if found else None, now[0][FILE] if now else None

    def _rejected_in(self, entry: LogEntry, topic_id: str, partition: int, offset: int) -> dict[str, Any] | None:
        """The row of the quarantine: in the file that the landing named, or wherever it is by now."""
        values = {"topic_id": topic_id, "partition": partition, "offset": offset}
        columns = pa.schema([SCHEMA.field(name) for name in _VERDICT])
        named = [reject["path"] for reject in entry.info.get("thalweg.rejects", ())]
        found = find_rows(self._quarantine_uri, named, values, columns, self._options)
        if not found:
            try:
                quarantine = Snapshot(self._quarantine_uri, self._options)
            except TableNotFound:
                return None
            bounds = {QUARANTINED.partition: partition, QUARANTINED.offset: offset}
            found = find_rows(self._quarantine_uri, quarantine.may_hold(bounds), values, columns, self._options)
        return found[0] if found else None

    def _neither(self, entry: LogEntry, span: Span, offset: int, held: HeldByKafka) -> str:
        """No row is there. What the commit's counts, its files and Kafka leave possible."""
        bounds = {LANDED.partition: span.partition, LANDED.offset: offset}
        landed = [file.path for file in entry.added if file.may_hold(bounds)]
        rejects = [reject["path"] for reject in entry.info.get("thalweg.rejects", ())]
        gone = (span.landed and self._any_gone(self._uri, landed)) or (
            span.quarantined and self._any_gone(self._quarantine_uri, rejects)
        )
        possible = [
            *(["filtered"] if span.filtered else []),
            *(["hole"] if span.holes else []),
            *(["removed"] if gone else []),
        ]
        if len(possible) > 1 and (known := held(span, offset)) is not None:
            possible = [state for state in possible if (state == "hole") != known]
        return " or ".join(possible) or "missing"

    def _any_gone(self, uri: str, paths: list[str]) -> bool:
        return any(stored_size(uri, path, self._options) is None for path in paths)


def ask_kafka(kafka: KafkaSettings, clock: Clock) -> HeldByKafka:
    """Ask the broker. What it cannot answer, because it is away or the topic is gone or another one, it does not know."""

    def held(span: Span, offset: int) -> bool | None:
        try:
            with Admin(kafka) as admin:
                if admin.topic_id(span.topic) != span.topic_id:
                    return None
                low, high = admin.watermarks(span.topic)[span.partition]
            if not low <= offset < high:
                return None
            reach = Reach(span.partition, offset, offset + 1)
            return any(len(offsets) for _, offsets in offsets_held(kafka, span.topic, [reach], clock))
        except (Unavailable, NotFound, ConfigurationError, OffsetsExpired):
            return None

    return held


def plain_span(span: Span) -> dict[str, Any]:
    """A span as JSON could hold it."""
    return {
        "topic": span.topic,
        "partition": span.partition,
        "from": span.first,
        "to": span.next,
        "landed": span.landed,
        "quarantined": span.quarantined,
        "filtered": span.filtered,
        "holes": span.holes,
    }


def plain_version(entry: LogEntry) -> dict[str, Any]:
    """A version and its spans as JSON could hold them."""
    return {
        "version": entry.version,
        "operation": entry.operation,
        "committed_at": _iso(entry.timestamp_ms),
        "files_added": len(entry.added),
        "files_removed": len(entry.removed),
        "spans": [plain_span(span) for span in entry.spans],
    }


def _plain(origin: Origin) -> pa.Schema:
    """As stored: a dictionary column cannot be compared with a value on every version of Arrow."""
    return pa.schema(
        [field.with_type(pa.string()) if field.name == origin.topic_id else field for field in origin.fields()]
    )


def _iso(timestamp_ms: int) -> str:
    return dt.datetime.fromtimestamp(timestamp_ms / 1000, dt.UTC).isoformat(timespec="milliseconds")
