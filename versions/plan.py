"""What there is to announce: a pure function of log entries and progress. No clock, no network, no disk."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.events import VersionCommitted, from_log_entry, gap_event, schema_fingerprint
from schemas.openlineage import TableContext, events_for
from thalweg.tables.log import LogEntry
from versions.progress import NOTHING, Position, Progress, progress_key


@dataclass(frozen=True, slots=True)
class FollowedTable:
    """A table whose log is announced, and what its declaration adds to it."""

    dataset: str  # `flights`, or `flights.quarantine`
    uri: str
    namespace: str  # of lineage jobs: the prefix of our topics
    bootstrap: str
    owner: str = ""
    description: str = ""
    partition_column: str = "date"
    partition_fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cursor:
    """What is known after the log entry of `version`: the table's id, its schema as JSON ("" unknown) and its fingerprint."""

    version: int
    table_id: str
    schema: str
    fingerprint: str


START = Cursor(-1, "", "", "")


@dataclass(frozen=True, slots=True)
class Announcement:
    """One version, or one gap, and the lineage events that go with it."""

    event: VersionCommitted
    lineage: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be written in one transaction for one table, and where its reader stands afterwards."""

    announcements: tuple[Announcement, ...]
    progress: Progress
    cursor: Cursor


def plan(table: FollowedTable, cursor: Cursor, entries: Sequence[LogEntry], progress: Mapping[str, Position]) -> Plan:
    """Announce each entry whose version is beyond the progress of the table id in force at that version.

    `entries` come in order, from after `cursor`; numbers that are missing were cleaned away, and become a gap's event. The
    id can change inside a log (two racing creations), so an entry is looked up under its own.
    """
    announcements: list[Announcement] = []
    moved: Progress = {}
    for entry in entries:
        table_id = entry.table_id or cursor.table_id
        key = progress_key(table.dataset, table_id)
        done = progress.get(key, NOTHING)
        after = _advance(cursor, entry)
        if entry.version > done.version:
            expected = max(cursor.version, done.version) + 1
            if entry.version > expected:
                announcements.append(_gap(table, cursor, expected, entry))
            announcements.append(_version(table, cursor, after, entry))
            moved[key] = Position(entry.version, after.fingerprint)
        cursor = after
    return Plan(tuple(announcements), moved, cursor)


def _advance(cursor: Cursor, entry: LogEntry) -> Cursor:
    if entry.schema is None:
        return Cursor(entry.version, entry.table_id or cursor.table_id, cursor.schema, cursor.fingerprint)
    return Cursor(entry.version, entry.table_id or cursor.table_id, entry.schema, schema_fingerprint(entry.schema))


def _gap(table: FollowedTable, cursor: Cursor, first: int, after: LogEntry) -> Announcement:
    event = gap_event(
        first,
        after,
        dataset=table.dataset,
        uri=table.uri,
        table_id=cursor.table_id,
        schema_before=cursor.fingerprint,
    )
    return Announcement(event, ())  # lineage has no word for runs that nobody can tell any more


def _version(table: FollowedTable, cursor: Cursor, after: Cursor, entry: LogEntry) -> Announcement:
    event = from_log_entry(
        entry,
        dataset=table.dataset,
        uri=table.uri,
        table_id=cursor.table_id,
        schema_before=cursor.fingerprint,
        partition_column=table.partition_column,
    )
    context = TableContext(
        namespace=table.namespace,
        bootstrap=table.bootstrap,
        dataset=table.dataset,
        uri=table.uri,
        table_id=after.table_id,
        schema=after.schema or None,
        owner=table.owner,
        description=table.description,
        partition_column=table.partition_column,
        partition_fields=table.partition_fields,
    )
    return Announcement(event, tuple(events_for(entry, context)))
