"""The source over librdkafka's C interface: records go from its messages straight into a block's columns."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from confluent_kafka import KafkaException

from ingest.block import Block
from ingest.sources import words as g
from ingest.sources.headers import RawHeaders
from ingest.sources.membership import GroupSource, fetching
from ingest.sources.source import Handlers, Partition
from thalweg.clock import Clock
from thalweg.settings import KafkaSettings
from thalweg.streams import librdkafka
from thalweg.streams.bulk import BulkConsumer, Oddity, destroy, oddity, topic_name
from thalweg.streams.clients import kafka_error

# What a block's columns are made of, by the numbers that `ingest.sources.words` gives them.
_TYPES: Final[list[np.dtype[Any]]] = [np.dtype(np.int64)] * g.COLUMNS
_TYPES[g.PARTITION], _TYPES[g.TOPIC] = np.dtype(np.int32), np.dtype(np.int16)
_TYPES[g.VALUES] = _TYPES[g.KEYS] = _TYPES[g.HEADERS] = np.dtype(np.uint8)
# Room that the first block begins with, and what the next ones are given beyond what the last one used.
_FIRST_ITEMS, _MARGIN = 4_096, 1.25


class BulkSource(GroupSource["_Gathered"]):
    """Source over batches of messages that never become Python objects. For what `ingest.sources.layout` has checked.

    With `join=False` it stays out of the group, and reads what `seek` is told.
    """

    # Measured: what 2,000 to 4,000 messages hold stays in cache between being measured and being copied.
    CHUNK = 2_000

    def __init__(
        self,
        kafka: KafkaSettings,
        group: str,
        topics: Iterable[str],
        handlers: Handlers,
        clock: Clock,
        *,
        join: bool = True,
    ) -> None:
        super().__init__(kafka, topics, handlers, clock)
        self._topic_numbers = {name: number for number, name in enumerate(self._topics)}
        self._measure, self._gather = g.MEASURE.load(), g.GATHER.load()
        self._functions = np.array([librdkafka.address(name) for name in g.FUNCTIONS], np.int64)
        self._scratch = np.zeros(g.SCRATCH_WORDS, np.int64)
        self._findings = np.zeros(g.FINDINGS, np.int64)
        # For each message of a batch: its address; the places of errors; handles of topics, their numbers, and whose is whose.
        self._messages, self._errors, self._handles, self._numbers, self._topic_of = np.zeros((5, self.CHUNK), np.int64)
        self._taken = 0  # messages of the last batch; one that is destroyed leaves a 0
        self._room = np.full(g.COLUMNS, _FIRST_ITEMS, np.int64)
        self._consumer = BulkConsumer(kafka, group, self._assigned, self._revoked, **fetching(kafka))
        if join:
            try:
                self._consumer.subscribe(self._topics)
            except KafkaException as error:
                self._consumer.close()
                raise kafka_error(error, f"joining the group of {', '.join(self._topics)}", kafka) from error

    @property
    def handle(self) -> int | None:
        """The consumer's handle in librdkafka; None once it is closed."""
        return self._consumer.handle

    def _begin(self) -> "_Gathered":
        return _Gathered(self._topics, self._room)

    def _take(self, gathering: "_Gathered", count: int, timeout_s: float) -> int:
        self._taken = 0
        try:
            taken = self._taken = self._consumer.take(self._messages, count, timeout_s)
        except KafkaException as error:
            raise kafka_error(error, f"reading {', '.join(self._topics)}", self._kafka) from error
        messages = self._messages[:taken]
        # What came before the group moved may belong to an assignment that is gone.
        kept = not self._moved and self._failure is None
        oddities = self._measured(messages)
        if kept:
            gathering.reserve(taken, self._findings)
            self._gathered(gathering, taken)
        else:
            destroy(messages)
        self._raise_failure()
        for odd in oddities:
            self._check(odd.error, odd.topic, odd.partition, odd.offset)
        return taken - len(oddities)

    def _measured(self, messages: npt.NDArray[np.int64]) -> list[Oddity]:
        """Find out how much the messages hold, and what their topics are; return the errors among them."""
        many = len(self._topics) > 1
        self._measure(
            messages.ctypes.data,
            len(messages),
            self._functions.ctypes.data,
            self._scratch.ctypes.data,
            self._findings.ctypes.data,
            self._errors.ctypes.data,
            self._handles.ctypes.data if many else 0,
            self._topic_of.ctypes.data,
        )
        # Looked up for each batch: a handle that no message holds may be another topic's the next time.
        for place, handle in enumerate(self._handles[: self._findings[g.TOPICS]].tolist()):
            self._numbers[place] = self._topic_numbers[topic_name(handle)]
        return [oddity(int(messages[place])) for place in self._errors[: self._findings[g.ERRORS]].tolist()]

    def _gathered(self, gathering: "_Gathered", taken: int) -> None:
        """Copy what the messages hold, and destroy them."""
        self._gather(
            self._messages.ctypes.data,
            taken,
            self._functions.ctypes.data,
            self._scratch.ctypes.data,
            int(self._findings[g.HEADED]),
            self._topic_of.ctypes.data if len(self._topics) > 1 else 0,
            self._numbers.ctypes.data,
            gathering.cursors.ctypes.data,
            gathering.columns.ctypes.data,
        )

    def _restart(self, positions: Mapping[Partition, int]) -> None:
        self._consumer.restart(positions, self._held)

    def _commit(self, positions: Mapping[Partition, int]) -> None:
        self._consumer.commit(positions)

    def _end(self, partition: Partition) -> int:
        return self._consumer.end(partition)

    def _pause(self, partitions: Sequence[Partition], held: bool) -> None:
        self._consumer.pause(partitions, held)

    def _leave(self) -> None:
        destroy(self._messages[: self._taken])  # held if a batch was interrupted; the library would wait for them
        self._consumer.close()


class _Gathered:
    """A block of the bulk source: one buffer a column, from Arrow's pool, whose pages are not faulted in anew for each block."""

    def __init__(self, topics: tuple[str, ...], room: npt.NDArray[np.int64]) -> None:
        """`room` says for each column how many items to make room for, and is told for the next block."""
        self._topics = topics
        self._next_room = room
        self._room = room.copy()
        self._buffers = [
            pa.allocate_buffer(int(self._room[column]) * _TYPES[column].itemsize, resizable=True)
            for column in range(g.COLUMNS)
        ]
        self.columns = np.array([buffer.address for buffer in self._buffers], np.int64)
        self.cursors = np.zeros(g.CURSORS, np.int64)
        for column in (g.STARTS, g.KEY_STARTS, g.HEADER_STARTS):
            self._items(column, 1)[0] = 0

    @property
    def rows(self) -> int:
        """Records so far."""
        return int(self.cursors[g.ROWS])

    @property
    def size(self) -> int:
        """Bytes of their keys and values."""
        return int(self.cursors[g.VALUES_USED] + self.cursors[g.KEYS_USED])

    def reserve(self, rows: int, findings: npt.NDArray[np.int64]) -> None:
        """Make room for so many more records that hold what was found. Addresses change."""
        needed = self._used(rows, findings)
        for column in np.flatnonzero(needed > self._room).tolist():
            self._room[column] = max(int(needed[column]), 2 * int(self._room[column]))
            self._buffers[column].resize(int(self._room[column]) * _TYPES[column].itemsize)
            self.columns[column] = self._buffers[column].address

    def block(self) -> Block:
        """Give the block."""
        used = self._used(0, np.zeros(g.FINDINGS, np.int64))
        rows, headed = self.rows, int(self.cursors[g.HEADED_ROWS])
        if rows:
            self._next_room[:] = np.maximum(used * _MARGIN, _FIRST_ITEMS)
        return Block(
            topics=self._topics,
            topic=self._items(g.TOPIC, rows) if len(self._topics) > 1 else np.zeros(rows, np.int16),
            partition=self._items(g.PARTITION, rows),
            offset=self._items(g.OFFSET, rows),
            timestamp_ms=self._items(g.TIMESTAMP, rows),
            data=self._items(g.VALUES, int(used[g.VALUES])),
            starts=self._items(g.STARTS, rows + 1),
            tombstones=self._items(g.TOMBSTONE, int(self.cursors[g.TOMBSTONES])),
            keys=self._items(g.KEYS, int(used[g.KEYS])),
            key_starts=self._items(g.KEY_STARTS, rows + 1),
            null_keys=self._items(g.NULL_KEY, int(self.cursors[g.NULL_KEYS])),
            headers=RawHeaders(
                self._items(g.HEADER_ROW, headed),
                self._items(g.HEADER_STARTS, headed + 1),
                self._items(g.HEADERS, int(used[g.HEADERS])),
            ),
        )

    def _used(self, rows: int, more: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """How many items each column has once so many more records are in it; rows with a null count for all."""
        used = np.full(g.COLUMNS, self.rows + rows + 1, np.int64)
        used[g.VALUES] = self.cursors[g.VALUES_USED] + more[g.VALUE_BYTES]
        used[g.KEYS] = self.cursors[g.KEYS_USED] + more[g.KEY_BYTES]
        used[g.HEADERS] = self.cursors[g.HEADERS_USED] + more[g.HEADER_BYTES]
        used[[g.HEADER_STARTS, g.HEADER_ROW]] = self.cursors[g.HEADED_ROWS] + more[g.HEADED] + 1
        return used

    def _items(self, column: int, count: int) -> Any:
        return np.frombuffer(self._buffers[column], _TYPES[column], count)
