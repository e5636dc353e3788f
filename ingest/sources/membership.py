"""What every source does alike: follow the group's moves, know how far each partition was read, say what went wrong.

One thread uses a source: `poll` serves the rebalance callbacks, so what the handlers do happens on that thread.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import structlog
from confluent_kafka import KafkaError, KafkaException

from ingest.block import Block
from ingest.sources.source import Handlers, Partition
from thalweg.clock import Clock
from thalweg.errors import OffsetsExpired
from thalweg.settings import KafkaSettings
from thalweg.streams.clients import assignor, kafka_error

_LOG = structlog.get_logger("ingest")

# How long one call into the client waits at the most: bounds how late a stop is seen.
_CALL_S = 0.1


class Gathering(Protocol):
    """A block while its records are gathered."""

    @property
    def rows(self) -> int:
        """Records so far."""
        ...

    @property
    def size(self) -> int:
        """Bytes of their keys and values."""
        ...

    def block(self) -> Block:
        """Give the block. Nothing is gathered afterwards."""
        ...


G = TypeVar("G", bound=Gathering)


def fetching(kafka: KafkaSettings) -> dict[str, Any]:
    """Properties of every source's consumer, as `thalweg.streams.clients.consumer` takes them."""
    chosen = assignor(kafka)
    return {
        "enable_partition_eof": True,
        "queued_max_messages_kbytes": 16_384,
        "queued_min_messages": 100_000,
        "max_partition_fetch_bytes": 2**20,
        **({"partition_assignment_strategy": chosen} if chosen else {}),
    }


class GroupSource(ABC, Generic[G]):
    """A source whose partitions a consumer group gives and takes; how records are fetched is left to its subclasses.

    Raises TopicNotFound, OffsetsExpired and BrokerUnavailable from `poll`. An error raised by a handler leaves `poll` too.
    """

    # Records taken in one call.
    CHUNK: int

    def __init__(self, kafka: KafkaSettings, topics: Iterable[str], handlers: Handlers, clock: Clock) -> None:
        self._kafka = kafka
        self._clock = clock
        self._handlers = handlers
        self._topics = tuple(topics)
        self._held: dict[Partition, int] = {}  # next offset of each partition held
        # Where the reader met the end: beyond the last record if markers follow it, before it if a transaction is open.
        self._ends: dict[Partition, int] = {}
        self._moved = False
        self._failure: BaseException | None = None

    def poll(self, rows: int, size: int, timeout_s: float) -> Block | None:
        """About `rows` records or `size` bytes at the most, gathered for about `timeout_s`; None when nothing was read."""
        deadline = self._clock.monotonic_s() + timeout_s
        gathering = self._begin()
        while gathering.rows < rows and gathering.size < size:
            left = deadline - self._clock.monotonic_s()
            taken = self._take(gathering, min(self.CHUNK, rows - gathering.rows), min(max(left, 0.0), _CALL_S))
            if self._moved:
                # The group moved in the middle of this block: what was gathered may belong to an assignment that is
                # gone. Forget it and read every partition that is still held from where the last block ended.
                self._moved = False
                self._again(self._held)
                gathering = self._begin()
            elif not taken and left <= 0:
                break
        block = gathering.block()
        for partition, _, last in block.reach():
            self._held[partition] = last + 1
        block.ends = {p: end for p, end in self._ends.items() if end > self._held.get(p, end)}
        self._held.update(block.ends)
        return block if len(block) or block.ends else None

    def seek(self, positions: Mapping[Partition, int]) -> None:
        """Read on from other offsets."""
        self._held.update(positions)
        self._again(positions)

    def acknowledge(self, positions: Mapping[Partition, int]) -> None:
        """Commit group offsets, asynchronously: the table decides where to go on, these are for lag tools."""
        held = {partition: offset for partition, offset in positions.items() if partition in self._held}
        try:
            if held:
                self._commit(held)
        except KafkaException as error:
            _LOG.warning("the group was not told what has landed: lag tools are behind", reason=str(error))

    def reached(self, ends: Mapping[Partition, int]) -> bool:
        """Whether every partition that this member holds, which may be none, has been read to that offset."""
        return all(read_to >= ends.get(partition, 0) for partition, read_to in self._held.items())

    def lag(self) -> dict[Partition, int]:
        """For each partition held, offsets between what was read and its end, from what the last fetches said: no request."""
        return {partition: max(self._end(partition) - read_to, 0) for partition, read_to in self._held.items()}

    def starved(self) -> bool:
        """Whether the broker has records for this member that do not arrive.

        The end as last heard lies beyond an open transaction; the reader meets its own end before it.
        """
        return any(behind and self._ends.get(p, -1) < self._held[p] for p, behind in self.lag().items())

    def hold(self, held: bool) -> None:
        """Pause or resume every held partition."""
        self._pause(list(self._held), held)

    def close(self) -> None:
        """Leave the group. The revocation handler is called within."""
        self._leave()
        self._raise_failure()

    @abstractmethod
    def _begin(self) -> G:
        """Begin a block."""

    @abstractmethod
    def _take(self, gathering: G, count: int, timeout_s: float) -> int:
        """Let at most `count` records be added that came within `timeout_s`; return how many.

        Raises what a handler raised meanwhile, and what `_check` makes of the errors that came instead of records.
        """

    @abstractmethod
    def _restart(self, positions: Mapping[Partition, int]) -> None:
        """Make the client fetch these partitions from other offsets. Raises KafkaException."""

    @abstractmethod
    def _commit(self, positions: Mapping[Partition, int]) -> None:
        """Commit group offsets and do not wait. Raises KafkaException."""

    @abstractmethod
    def _end(self, partition: Partition) -> int:
        """Return the partition's end as last heard from the broker; 0 when it was not heard of."""

    @abstractmethod
    def _pause(self, partitions: Sequence[Partition], held: bool) -> None:
        """Stop to fetch these partitions, or go on."""

    @abstractmethod
    def _leave(self) -> None:
        """Leave the group and let go of the client."""

    def _check(self, error: KafkaError, topic: str | None, partition: int, offset: int) -> None:
        """Judge an error that came where a record would: raise it, note it, or leave it to the client."""
        if error.code() == KafkaError._MAX_POLL_EXCEEDED:  # a revocation follows by itself
            return
        if error.code() == KafkaError._PARTITION_EOF:
            self._ends[topic or "", partition] = offset
            return
        where = f"{topic}[{partition}]"
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            raise OffsetsExpired(
                f"the offset that {where} should be read from is not there: {error.str()}",
                "Kafka's retention removed it or the topic was re-created; thalweg verify says which offsets are affected",
            )
        if error.retriable():
            return
        raise kafka_error(error, f"reading {where}", self._kafka)

    def _assigned(self, given: list[Partition]) -> dict[Partition, int] | None:
        """Ask the handler where to begin. None when it failed: a callback cannot raise through librdkafka, `_take` does."""
        try:
            starts = self._handlers.assigned(given)
        except BaseException as error:  # noqa: BLE001 - kept, and raised after the call
            self._failure = error
            return None
        self._held.update(starts)
        self._moved = True
        return {partition: starts[partition] for partition in given}

    def _revoked(self, taken: Sequence[Partition]) -> None:
        """Let the handler land what is held, and forget the partitions."""
        try:
            self._held.update(self._handlers.revoked(list(taken)))
        except BaseException as error:  # noqa: BLE001 - kept, and raised after the call
            self._failure = error
        for partition in taken:
            self._held.pop(partition, None)
            self._ends.pop(partition, None)
        self._moved = True

    def _again(self, positions: Mapping[Partition, int]) -> None:
        """Read partitions from other offsets. Unlike a seek this also works before the first fetch."""
        if not positions:
            return
        for partition in positions:
            self._ends.pop(partition, None)  # it was met by a reader that is no more
        try:
            self._restart(positions)
        except KafkaException as error:
            raise kafka_error(error, "reading again from the table's offsets", self._kafka) from error

    def _raise_failure(self) -> None:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
