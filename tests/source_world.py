"""A table without a table: what sources of one group have read, checked as it comes, and members that read on threads."""

import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from confluent_kafka import Producer

from ingest.block import Block
from ingest.sources.bulk import BulkSource
from ingest.sources.membership import GroupSource
from ingest.sources.public import PublicSource
from ingest.sources.source import Partition
from thalweg.clock import SystemClock
from thalweg.settings import KafkaSettings
from thalweg.streams.admin import Admin, TopicSpec
from thalweg.streams.clients import producer

SOURCES = {"public": PublicSource, "bulk": BulkSource}
# By name: what `kafka` settings make of it.
PROTOCOLS = {
    "cooperative": {},
    "eager": {"properties": {"partition.assignment.strategy": "range"}},
    "kip848": {"group_protocol": "consumer"},
}


class Table:
    """Says where each partition goes on, as a Delta table's app transactions do. Used by several threads."""

    def __init__(self) -> None:
        self.next: dict[Partition, int] = {}
        self.again = 0  # records that came although the table had them
        self._lock = threading.Lock()

    def position(self, partition: Partition) -> int:
        """Where to read on."""
        with self._lock:
            return self.next.get(partition, 0)

    def land(self, block: Block) -> None:
        """Take in a block of a topic without holes: whatever is new follows on what was there."""
        with self._lock:
            for (topic, number), _, _ in block.reach():
                rows = (block.partition == number) & (block.topic == block.topics.index(topic))
                reached = self.next.get((topic, number), 0)
                offsets = block.offset[rows]
                fresh = offsets[offsets >= reached].tolist()
                assert fresh == list(range(reached, reached + len(fresh))), (
                    f"{topic}[{number}] at {reached}: {fresh[:5]}"
                )
                self.next[topic, number] = reached + len(fresh)
                self.again += len(offsets) - len(fresh)

    @property
    def rows(self) -> int:
        """Records that were read."""
        return sum(self.next.values())


class Member:
    """Handlers that start where the table says, and know what is theirs."""

    def __init__(self, table: Table | None = None) -> None:
        self.table = table or Table()
        self.owned: set[Partition] = set()
        self.moves = 0
        self.fails_on: str | None = None

    def assigned(self, partitions: list[Partition]) -> Mapping[Partition, int]:
        """Start from the table's offsets."""
        self._note("assigned")
        self.owned |= set(partitions)
        return {partition: self.table.position(partition) for partition in partitions}

    def revoked(self, partitions: list[Partition]) -> Mapping[Partition, int]:
        """Each block has landed before the next call."""
        self._note("revoked")
        self.owned -= set(partitions)
        return {}

    def _note(self, what: str) -> None:
        self.moves += 1
        if self.fails_on == what:
            raise RuntimeError(what)


@dataclass(frozen=True)
class Topic:
    """A topic of a test's own, and a source of one kind for it."""

    kafka: KafkaSettings
    admin: Admin
    kind: str
    names: tuple[str, ...]

    @classmethod
    def made(
        cls, kafka: KafkaSettings, admin: Admin, kind: str, partitions: int = 1, topics: int = 1, **config: str
    ) -> "Topic":
        """Make one topic or several."""
        names = tuple(f"{kafka.prefix}.{uuid.uuid4().hex[:8]}" for _ in range(topics))
        admin.create_topics([TopicSpec(name, partitions, config) for name in names])
        return cls(kafka, admin, kind, names)

    @property
    def name(self) -> str:
        return self.names[0]

    def under(self, protocol: str) -> "Topic":
        """The same topic, read under another group protocol."""
        return replace(
            self,
            kafka=self.kafka.model_copy(
                update=KafkaSettings.model_validate(PROTOCOLS[protocol]).model_dump(exclude_unset=True)
            ),
        )

    def source(self, member: Member, group: str = "g") -> GroupSource:
        """A source that joins the group."""
        return SOURCES[self.kind](self.kafka, f"{self.name}.{group}", self.names, member, SystemClock())

    def send(self, values: Sequence[bytes | None], partition: int = 0, client: Producer | None = None) -> None:
        """Send values to the first topic and wait for the broker."""
        used = client or producer(self.kafka)
        for value in values:
            while True:
                try:
                    used.produce(self.name, value, partition=partition)
                    break
                except BufferError:
                    used.poll(0.1)
        assert used.flush(60) == 0


class Reading:
    """A member on a thread of its own, which lands what it reads until it is stopped."""

    def __init__(self, topic: Topic, table: Table, rows: int = 500) -> None:
        self.member = Member(table)
        self.failure: BaseException | None = None
        self._topic, self._rows = topic, rows
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            source = self._topic.source(self.member)
            try:
                while not self._end.is_set():
                    block = source.poll(self._rows, 2**20, 0.1)
                    if block is not None:
                        assert {partition for partition, _, _ in block.reach()} <= self.member.owned
                        self.member.table.land(block)
                        source.acknowledge({partition: last + 1 for partition, _, last in block.reach()})
            finally:
                source.close()
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.failure = error

    def stop(self) -> None:
        """Leave the group. Raises what the member met."""
        self._end.set()
        self._thread.join(60)
        assert not self._thread.is_alive(), "the member did not end"
        if self.failure is not None:
            raise self.failure


def read(source: GroupSource, rows: int, timeout_s: float = 45) -> list[Block]:
    """Poll until so many records came."""
    blocks: list[Block] = []
    clock = SystemClock()
    end = clock.monotonic_s() + timeout_s
    while sum(map(len, blocks)) < rows:
        assert clock.monotonic_s() < end, f"{sum(map(len, blocks))} of {rows} records came"
        block = source.poll(100_000, 2**26, 0.2)
        if block is not None:
            blocks.append(block)
    return blocks
