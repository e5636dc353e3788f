"""A broker, a consumer group and Delta tables in memory, for driving announcers through everything that can happen.

They keep the rules that exactly-once rests on: a transactional id's `start` ends the last owner's open transaction and
fences it; a read_committed reader stops at the first open transaction; group membership can be lost without being told.
Every call of an announcer passes `World.at`, where a test can crash it, fail it, or let somebody else go first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from schemas.datasets import QUARANTINE_SUFFIX, Dataset
from schemas.events import VersionCommitted
from thalweg.clock import ManualClock
from thalweg.errors import BrokerUnavailable, DeclarationError, LeaseLost, TableNotFound, VersionNotFound
from thalweg.streams.clients import Topics
from thalweg.streams.leases import Declared, Gained, LeaseEvent, Lost
from thalweg.streams.transactions import Message
from thalweg.tables.log import AddedFile, LogEntry
from versions.announcer import Announcer
from versions.follow import Follower, Snapshot
from versions.lease import Lease, LeaseParts, Writer
from versions.plan import FollowedTable

TOPICS = Topics("datasets", "versions", "lineage", "announced")
SCHEMA = '{"type":"struct","fields":[]}'


class Crash(BaseException):
    """The process is gone. No `except` of the code under test sees it."""


@dataclass
class Record:
    """One record of a partition."""

    key: bytes
    value: bytes
    owner: str
    state: Literal["open", "committed", "aborted"]


@dataclass
class Broker:
    """Topics, and who owns which transactional id."""

    logs: dict[tuple[str, int], list[Record]] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)

    def start(self, owner: str) -> int:
        """Fence, end what is open, and return the new epoch."""
        self.epochs[owner] = self.epochs.get(owner, 0) + 1
        self.end(owner, "aborted")
        return self.epochs[owner]

    def append(self, owner: str, messages: Sequence[Message]) -> None:
        """Write into the open transaction."""
        for message in messages:
            self.logs.setdefault((message.topic, message.partition or 0), []).append(
                Record(message.key, message.value, owner, "open")
            )

    def end(self, owner: str, state: Literal["committed", "aborted"]) -> None:
        """Commit or abort what is open."""
        for log in self.logs.values():
            for record in log:
                if record.owner == owner and record.state == "open":
                    record.state = state

    def committed(self, topic: str, partition: int = 0) -> list[Record]:
        """What a read_committed consumer gets: nothing behind the first open transaction."""
        seen = []
        for record in self.logs.get((topic, partition), []):
            if record.state == "open":
                break
            if record.state == "committed":
                seen.append(record)
        return seen

    def latest(self, topic: str, partition: int) -> dict[bytes, bytes]:
        """What `read_latest` returns: all up to the high watermark, or an error."""
        if any(record.state == "open" for record in self.logs.get((topic, partition), [])):
            raise BrokerUnavailable("an open transaction hides the end")
        return {record.key: record.value for record in self.committed(topic, partition)}

    @property
    def events(self) -> list[VersionCommitted]:
        """What subscribers have been told, in order."""
        return [VersionCommitted.model_validate_json(record.value) for record in self.committed(TOPICS.versions)]


@dataclass
class Table:
    """A Delta table: its files by number, each with a stamp that no other file ever gets."""

    files: dict[int, tuple[LogEntry, int]] = field(default_factory=dict)
    latest: int = -1
    table_id: str = ""
    id_at: list[str] = field(default_factory=list)  # the id in force at each version
    made: int = 0  # ids that were ever given out at that place
    committed: list[tuple[str, int]] = field(default_factory=list)  # every (id, version) ever committed
    stamps: int = 0
    unreadable: set[int] = field(default_factory=set)  # versions that no snapshot can be made of

    def commit(self, operation: str = "WRITE", *, new_id: bool = False) -> None:
        """One more version; with a new id, as when two processes race to create a table and one is let win twice."""
        self.latest += 1
        if new_id or self.latest == 0:
            self.made += 1
            self.table_id = f"id-{self.made}"
        table_id = self.table_id if new_id or self.latest == 0 else None
        self.id_at.append(self.table_id)
        self.stamps += 1
        self.files[self.latest] = (
            entry(self.latest, table_id, operation=operation, schema=SCHEMA if table_id else None),
            self.stamps,
        )
        self.committed.append((self.table_id, self.latest))

    def clean(self, below: int) -> None:
        """Remove log files, never the newest: a checkpoint has what they said."""
        self.files = {version: file for version, file in self.files.items() if version >= min(below, self.latest)}

    def drop(self) -> None:
        """Delete the table."""
        self.files, self.latest, self.table_id, self.id_at = {}, -1, "", []


def entry(
    version: int,
    table_id: str | None = None,
    *,
    operation: str = "WRITE",
    schema: str | None = None,
    timestamp_ms: int = 1_357_016_400_000,
) -> LogEntry:
    """A log entry that adds one file of ten rows."""
    added = (AddedFile(f"date=2013-01-01/{version}.parquet", 100, 10, {"date": "2013-01-01"}, True),)
    return LogEntry(version, timestamp_ms + version, operation, {}, added, (), schema, table_id, None, {})


@dataclass
class World:
    """Everything outside of the announcers."""

    broker: Broker = field(default_factory=Broker)
    clock: ManualClock = field(default_factory=ManualClock)
    tables: dict[str, Table] = field(default_factory=dict)
    declared: list[Declared] = field(default_factory=list)
    owner: str = ""  # of the one lease there is
    told: dict[str, bool] = field(default_factory=dict)  # who believes to be the owner
    at: Callable[[str, str], None] = lambda who, where: None

    def give(self, who: str) -> None:
        """Assign the lease. The last owner is not told: it may be asleep."""
        self.owner = who

    def declare(self, name: str, *, withdraw: bool = False) -> None:
        """Publish or withdraw a dataset; both its tables come to be known."""
        for table in (name, name + QUARANTINE_SUFFIX):
            self.tables.setdefault(table, Table())
        self.declared.append(Declared(0, len(self.declared), name.encode(), None if withdraw else b"{}"))

    def announcer(self, who: str, versions_per_transaction: int = 3) -> Announcer:
        """A new process."""
        self.told[who] = False
        group = _Group(self, who)

        def make_lease(partition: int) -> Lease:
            parts = LeaseParts(
                writer=self.writer(who, "announcer.0"),
                read_announced=lambda: self.read_announced(who, partition),
                still_assigned=lambda: self.owner == who,
                encode_event=lambda event: event.model_dump_json().encode(),
                topics=TOPICS,
                clock=self.clock,
                versions_per_transaction=versions_per_transaction,
            )
            return Lease(partition, parts)

        def make_followers(dataset: Dataset) -> list[Follower]:
            return [
                Follower(FollowedTable(name, f"/tables/{name}", "thalweg", "b:1"), _Log(self, who, name), self.clock)
                for name in (dataset.name, dataset.quarantine_name)
            ]

        def read_declaration(key: bytes, value: bytes, partition: int) -> Dataset:
            self.at(who, "registry")
            return _declaration(key, value, partition)

        return Announcer(group, make_lease, make_followers, read_declaration, self.clock)

    def writer(self, who: str, owner: str) -> Writer:
        """A transactional writer of process `who` for the id `owner`."""
        return _Writer(self, who, owner)

    def read_announced(self, who: str, partition: int) -> dict[bytes, bytes]:
        """The seam that reads progress."""
        self.at(who, "read announced")
        return self.broker.latest(TOPICS.announced, partition)

    def settle(self, who: str = "last") -> None:
        """Let one healthy announcer finish everything."""
        self.at = lambda who, where: None
        last = self.announcer(who, versions_per_transaction=100)
        self.give(who)
        for _ in range(8):
            last.step(0)
            self.clock.sleep(2)
        assert last.is_ready
        last.close()


def _declaration(key: bytes, value: bytes, partition: int) -> Dataset:
    if value == b"misplaced":
        raise DeclarationError("it stands in the wrong partition")
    return Dataset.from_json(
        f'{{"name": "{key.decode()}", "topics": ["t"], "owner": "o", "partition": {{"field": "f"}}}}'
    )


class _Group:
    def __init__(self, world: World, who: str) -> None:
        self._world, self._who, self._read = world, who, 0
        self.is_member = False

    def poll(self, wait_s: float) -> list[LeaseEvent]:
        world, who = self._world, self._who
        world.at(who, "poll")
        self.is_member = True
        events: list[LeaseEvent] = []
        if world.told[who] and world.owner != who:
            world.told[who] = False
            return [Lost(0)]
        if not world.told[who] and world.owner == who:
            world.told[who], self._read = True, 0
            events.append(Gained(0))
        if world.told[who]:
            events.extend(world.declared[self._read :])
            self._read = len(world.declared)
        return events

    def close(self) -> None:
        if self._world.owner == self._who:
            self._world.owner = ""


class _Writer:
    def __init__(self, world: World, who: str, owner: str) -> None:
        self._world, self._who, self._owner, self._epoch = world, who, owner, 0

    def start(self) -> None:
        self._world.at(self._who, "start")
        self._epoch = self._world.broker.start(self._owner)
        self._world.at(self._who, "started")

    def write(self, messages: Sequence[Message]) -> None:
        broker = self._world.broker
        self._world.at(self._who, "begin")
        self._check()
        # Records of one transaction arrive one by one, and the process may die or sleep in between.
        half = len(messages) // 2
        broker.append(self._owner, messages[:half])
        self._world.at(self._who, "half produced")
        self._check()
        broker.append(self._owner, messages[half:])
        self._world.at(self._who, "produced")
        self._check()
        broker.end(self._owner, "committed")
        self._world.at(self._who, "committed")

    def close(self) -> None:
        self._epoch = 0

    def _check(self) -> None:
        if self._epoch != self._world.broker.epochs.get(self._owner):
            raise LeaseLost("fenced")


class _Log:
    def __init__(self, world: World, who: str, name: str) -> None:
        self._world, self._who, self._name = world, who, name

    @property
    def _table(self) -> Table:
        self._world.at(self._who, "log")
        return self._world.tables[self._name]

    def read(self, version: int) -> LogEntry:
        table = self._table
        if version not in table.files:
            raise VersionNotFound(f"no {version}")
        return table.files[version][0]

    def exists(self, version: int) -> bool:
        return version in self._table.files

    def stamp(self, version: int) -> tuple[int, int | None] | None:
        table = self._table
        return (1, table.files[version][1]) if version in table.files else None

    def earliest(self) -> int:
        table = self._table
        if not table.files:
            raise TableNotFound("no table")
        return min(table.files)

    def snapshot(self, version: int | None = None) -> Snapshot:
        table = self._table
        if table.latest < 0:
            raise TableNotFound("no table")
        at = table.latest if version is None else version
        if at > table.latest or at < min(table.files) or at in table.unreadable:
            raise VersionNotFound(f"no {at}")
        return Snapshot(at, table.id_at[at], SCHEMA)
