"""Following one table's Delta log: what is new since the last look, and whether it is still the same table.

A look at a table where nothing happened is one request: does the next log file exist? Everything else is rare. A table
that was deleted and made again has a log of its own with the same file names, so the follower keeps an anchor, a log file
that it read and its stamp (size and time): while the anchor stands unchanged, later files belong to the same log.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from thalweg.clock import Clock
from thalweg.errors import TableChanged, TableNotFound, ThalwegError, VersionNotFound
from thalweg.tables.log import Log, LogEntry
from thalweg.tables.open import open_table
from versions.plan import START, Cursor, FollowedTable, Plan, plan
from versions.progress import Position, progress_key

_LOG = logging.getLogger("thalweg.announcer")

# How often a quiet table's anchor, and a missing table's folder, are looked at: the slow way to notice what is rare.
RECHECK_S = 1.0
# A table that cannot be read is left alone for this long at first, doubling up to the other.
STALL_FIRST_S, STALL_LONGEST_S = 1.0, 30.0

Stamp = tuple[int, int | None]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Identity of a table at one version. `schema` is Delta's schema JSON."""

    version: int
    table_id: str
    schema: str


class TableLog(Protocol):
    """What is read of a table. Each raises TableNotFound, VersionNotFound or StorageUnavailable."""

    def read(self, version: int) -> LogEntry:
        """One commit."""
        ...

    def exists(self, version: int) -> bool:
        """Whether that commit's log file is there."""
        ...

    def stamp(self, version: int) -> Stamp | None:
        """What tells that log file from another one of the same name; None when there is none."""
        ...

    def earliest(self) -> int:
        """Oldest log file that is left."""
        ...

    def snapshot(self, version: int | None = None) -> Snapshot:
        """Identity at a version, the newest by default."""
        ...


class DeltaTableLog(Log):
    """A real table's log."""

    def __init__(self, uri: str, storage_options: Mapping[str, str] | None = None) -> None:
        super().__init__(uri, storage_options)
        self._options = storage_options

    def snapshot(self, version: int | None = None) -> Snapshot:
        """Load the table: its newest checkpoint and the log files after that."""
        table = open_table(self.uri, self._options, version)
        return Snapshot(table.version(), str(table.metadata().id), table.schema().to_json())


@dataclass(frozen=True, slots=True)
class _Place:
    cursor: Cursor
    following: int  # the version to read next
    anchor: int  # a version whose log file …
    stamp: Stamp  # … has this stamp in this table


@dataclass(frozen=True, slots=True)
class _Stall:
    reason: str
    wait_s: float
    until_s: float


class Follower:
    """One table, followed from where its progress stands."""

    def __init__(self, table: FollowedTable, log: TableLog, clock: Clock) -> None:
        self.table = table
        self._log = log
        self._clock = clock
        self._at: _Place | None = None
        self._ahead: _Place | None = None  # where reading stands once the plan in hand is announced
        self._recheck_at_s = 0.0
        self._stall: _Stall | None = None

    @property
    def stalled(self) -> str | None:
        """Why this table cannot be followed at present, or None."""
        return self._stall.reason if self._stall else None

    def look(self, progress: Mapping[str, Position], limit: int) -> Plan | None:
        """Return what is to be announced next, of at most `limit` log entries; None when there is nothing.

        Looking again without `advance` gives the same. Raises what the table's log raises, and TableChanged when the log
        is behind what was announced.
        """
        if self._stall and self._clock.monotonic_s() < self._stall.until_s:
            return None
        if self._at is None:
            self._at = self._attach(progress)
        place = self._at
        if place is None:
            return None
        entries = self._read(place, limit)
        stamp = self._log.stamp(entries[-1].version) if entries else None
        if not self._is_same_table(place, read_something=bool(entries)):
            _LOG.warning("%s: the log at %s is not the one that was read before", self.table.dataset, self.table.uri)
            self.detach()
            return None
        if self._stall:
            _LOG.info("%s can be announced again", self.table.dataset)
            self._stall = None
        if not entries or stamp is None:
            return None
        planned = plan(self.table, place.cursor, entries, progress)
        last = entries[-1].version
        self._ahead = _Place(planned.cursor, last + 1, last, stamp)
        return planned

    def advance(self) -> None:
        """Go on after what the last `look` returned: it was announced."""
        self._at = self._ahead

    def detach(self) -> None:
        """Forget where reading stands; the next look finds it again from the progress."""
        self._at = self._ahead = None

    def stall(self, error: ThalwegError) -> None:
        """Leave the table alone for a while; the others go on. Loud once for each new reason."""
        if error.message != self.stalled:
            _LOG.error("%s cannot be announced: %s", self.table.dataset, error)
        wait_s = min(self._stall.wait_s * 2, STALL_LONGEST_S) if self._stall else STALL_FIRST_S
        self._stall = _Stall(error.message, wait_s, self._clock.monotonic_s() + wait_s)
        self.detach()

    def _attach(self, progress: Mapping[str, Position]) -> _Place | None:
        """Find where to go on. None while there is no table."""
        if not self._log.exists(0) and not self._is_recheck_due():
            return None
        try:
            now = self._log.snapshot()
            position = progress.get(progress_key(self.table.dataset, now.table_id))
            first = self._first_unread(now, position)
            place = self._place(now.table_id, position, first)
            # The stamp was taken after the identity was asked: only an identity that still stands makes it this table's.
            return place if self._log.snapshot().table_id == now.table_id else None
        except TableNotFound:
            return None

    def _first_unread(self, now: Snapshot, position: Position | None) -> int:
        if position is None:
            return self._log.earliest()
        if position.version > now.version:
            raise TableChanged(
                f"{self.table.uri} is at version {now.version}, and version {position.version} of the same table was announced",
                "the table was put back to an older state outside of Delta: versions are announced again once they are"
                f" past {position.version}; make it a new table to have all announced",
            )
        following = position.version + 1
        if position.version == now.version or self._log.exists(following):
            return following
        return max(following, self._log.earliest())

    def _place(self, table_id: str, position: Position | None, first: int) -> _Place | None:
        cursor = START if position is None else Cursor(position.version, table_id, "", position.schema)
        for version in (cursor.version, first):  # the one announced last may be cleaned away
            stamp = self._log.stamp(version) if version >= 0 else None
            if stamp is not None:
                return _Place(cursor, first, version, stamp)
        return None

    def _read(self, place: _Place, limit: int) -> list[LogEntry]:
        entries: list[LogEntry] = []
        if not self._log.exists(place.following):
            return entries
        for version in range(place.following, place.following + limit):
            try:
                entries.append(self._log.read(version))
            except VersionNotFound:
                break
        if entries and not place.cursor.schema and entries[0].schema is None:
            entries[0] = self._completed(entries[0])
        return entries

    def _completed(self, entry: LogEntry) -> LogEntry:
        """The first entry after attaching, with the id and schema that stand at its version."""
        try:
            snapshot = self._log.snapshot(entry.version)
        except VersionNotFound:
            # Log clean-up by age can leave entries that no snapshot can be made of: the newest one is the next best.
            snapshot = self._log.snapshot()
        return replace(entry, table_id=snapshot.table_id, schema=snapshot.schema)

    def _is_same_table(self, place: _Place, read_something: bool) -> bool:
        if not read_something and not self._is_recheck_due():
            return True
        return self._log.stamp(place.anchor) == place.stamp

    def _is_recheck_due(self) -> bool:
        now_s = self._clock.monotonic_s()
        if now_s < self._recheck_at_s:
            return False
        self._recheck_at_s = now_s + RECHECK_S
        return True
