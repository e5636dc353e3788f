"""Kafka through confluent-kafka's public consumer: group membership in, blocks of records out.

One thread uses a source: `poll` serves the rebalance callbacks, so what the handlers do happens on that thread.
"""

from collections.abc import Iterable, Mapping
from itertools import accumulate
from operator import itemgetter
from typing import Protocol

import numpy as np
import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from ingest.block import Block, Header, join, starts_of
from thalweg.clock import Clock
from thalweg.errors import OffsetsExpired, ThalwegError
from thalweg.settings import KafkaSettings
from thalweg.streams.clients import consumer, kafka_error

_LOG = structlog.get_logger("ingest")

# A source partition: its topic and its number.
Partition = tuple[str, int]

# Messages taken at once. Measured: 1,000 to 2,000 stay in cache while their values are joined; 20,000 cost a third more.
CHUNK = 1_000


class Handlers(Protocol):
    """What a source asks of its worker when the group moves partitions. Called from within `poll`."""

    def assigned(self, partitions: list[Partition]) -> Mapping[Partition, int]:
        """Partitions were given to this member: say from which offset to read each, and any other whose position changed."""
        ...

    def revoked(self, partitions: list[Partition]) -> Mapping[Partition, int]:
        """Partitions are about to be taken, or were lost: land what is held, now. Returns positions that changed."""
        ...


class Source(Protocol):
    """Where blocks come from."""

    def poll(self, rows: int, size: int, timeout_s: float) -> Block | None:
        """About `rows` records or `size` bytes at the most, after about `timeout_s`; None when nothing was read.

        A block without records says that a partition's end was met beyond its last record.
        """
        ...

    def seek(self, positions: Mapping[Partition, int]) -> None:
        """Read on from other offsets; what is already fetched is forgotten."""
        ...

    def acknowledge(self, positions: Mapping[Partition, int]) -> None:
        """Tell the group, for lag tools only, what has landed. Loses nothing if it fails."""
        ...

    def reached(self, ends: Mapping[Partition, int]) -> bool:
        """Whether every partition that this member holds, which may be none, has been read to that offset."""
        ...

    def lag(self) -> dict[Partition, int]:
        """For each partition held, the offsets between what was read and its end as last heard from the broker."""
        ...

    def starved(self) -> bool:
        """Whether the broker has records for this member that do not arrive. Those of open transactions do not count."""
        ...

    def hold(self, held: bool) -> None:
        """Stop fetching, or go on; the group membership is kept."""
        ...

    def close(self) -> None:
        """Leave the group."""
        ...


class PublicSource:
    """Source over confluent-kafka's `consume()`.

    Raises TopicNotFound, OffsetsExpired and BrokerUnavailable from `poll`. An error raised by a handler leaves `poll` too.
    """

    def __init__(
        self, kafka: KafkaSettings, group: str, topics: Iterable[str], handlers: Handlers, clock: Clock
    ) -> None:
        self._kafka = kafka
        self._clock = clock
        self._handlers = handlers
        self._topics = tuple(topics)
        self._topic_index = {name: index for index, name in enumerate(self._topics)}
        self._held: dict[Partition, int] = {}  # next offset of each partition held
        # Where the reader met the end: beyond the last record if markers follow it, before it if a transaction is open.
        self._ends: dict[Partition, int] = {}
        self._moved = False
        self._failure: ThalwegError | None = None
        self._consumer: Consumer = consumer(
            kafka,
            group,
            enable_partition_eof=True,
            queued_max_messages_kbytes=65_536,
            queued_min_messages=100_000,
            max_partition_fetch_bytes=8 * 2**20,
        )
        self._consumer.subscribe(
            list(self._topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
        )

    def poll(self, rows: int, size: int, timeout_s: float) -> Block | None:
        """About `rows` records or `size` bytes at the most, gathered for about `timeout_s`; None when nothing was read."""
        deadline = self._clock.monotonic_s() + timeout_s
        chunks: list[_Chunk] = []
        count = held = 0
        while count < rows and held < size:
            left = deadline - self._clock.monotonic_s()
            messages = self._consume(min(CHUNK, rows - count), max(left, 0.0))
            if self._moved:
                # The group moved in the middle of this block: what was gathered may belong to an assignment that is
                # gone. Forget it and read every partition that is still held from where the last block ended.
                self._moved = False
                self._read_again(self._held)
                chunks, count, held = [], 0, 0
            elif messages:
                chunks.append(_Chunk(messages, self._topic_index))
                count += len(messages)
                held += len(chunks[-1].values) + len(chunks[-1].keys)
            elif left <= 0:
                break
        block = _block(self._topics, chunks or [_Chunk([], self._topic_index)])
        for partition, _, last in block.reach():
            self._held[partition] = last + 1
        block.ends = {p: end for p, end in self._ends.items() if end > self._held.get(p, end)}
        self._held.update(block.ends)
        return block if count or block.ends else None

    def seek(self, positions: Mapping[Partition, int]) -> None:
        """Read on from other offsets."""
        self._held.update(positions)
        self._read_again(positions)

    def acknowledge(self, positions: Mapping[Partition, int]) -> None:
        """Commit group offsets, asynchronously: the table decides where to go on, these are for lag tools."""
        held = [TopicPartition(t, p, offset) for (t, p), offset in positions.items() if (t, p) in self._held]
        try:
            if held:
                self._consumer.commit(offsets=held, asynchronous=True)
        except KafkaException as error:
            _LOG.warning("the group was not told what has landed: lag tools are behind", reason=str(error))

    def reached(self, ends: Mapping[Partition, int]) -> bool:
        """Whether every partition that this member holds, which may be none, has been read to that offset."""
        return all(read_to >= ends.get(partition, 0) for partition, read_to in self._held.items())

    def lag(self) -> dict[Partition, int]:
        """For each partition held, offsets between what was read and its end, from what the last fetches said: no request."""
        found = {}
        for (topic, partition), read_to in self._held.items():
            _, high = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), cached=True)
            found[topic, partition] = max(high - read_to, 0) if high is not None and high >= 0 else 0
        return found

    def starved(self) -> bool:
        """Whether the broker has records for this member that do not arrive.

        The end as last heard lies beyond an open transaction; the reader meets its own end before it.
        """
        return any(behind and self._ends.get(p, -1) < self._held[p] for p, behind in self.lag().items())

    def hold(self, held: bool) -> None:
        """Pause or resume every held partition."""
        parts = [TopicPartition(t, p) for t, p in self._held]
        (self._consumer.pause if held else self._consumer.resume)(parts)

    def close(self) -> None:
        """Leave the group. The revocation callback runs within."""
        self._consumer.close()
        self._raise_failure()

    def _consume(self, count: int, timeout_s: float) -> list[Message]:
        try:
            messages: list[Message] = self._consumer.consume(count, min(timeout_s, 0.1))
        except KafkaException as error:
            raise kafka_error(error, f"reading {', '.join(self._topics)}", self._kafka) from error
        self._raise_failure()
        if any(map(Message.error, messages)):
            for message in messages:
                self._check(message)
            messages = [message for message in messages if message.error() is None]
        return messages

    def _check(self, message: Message) -> None:
        """Errors arrive as messages; their value is a text, not a record."""
        error = message.error()
        if error is None or error.code() == KafkaError._MAX_POLL_EXCEEDED:  # a revocation follows by itself
            return
        if error.code() == KafkaError._PARTITION_EOF:
            self._ends[message.topic(), message.partition()] = message.offset()
            return
        where = f"{message.topic()}[{message.partition()}]"
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            raise OffsetsExpired(
                f"the offset that {where} should be read from is not there: {error.str()}",
                "Kafka's retention removed it or the topic was re-created; thalweg verify says which offsets are affected",
            )
        if error.retriable():
            return
        raise kafka_error(error, f"reading {where}", self._kafka)

    def _on_assign(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        given = [(p.topic, p.partition) for p in partitions]
        try:
            starts = self._handlers.assigned(given)
        except ThalwegError as error:  # a callback cannot raise through librdkafka: kept, and raised after the call
            self._failure = error
            return
        self._held.update(starts)
        self._moved = True
        self._consumer.incremental_assign([TopicPartition(t, p, starts[t, p]) for t, p in given])

    def _on_revoke(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        taken = [(p.topic, p.partition) for p in partitions]
        try:
            self._held.update(self._handlers.revoked(taken))
        except ThalwegError as error:
            self._failure = error
        for partition in taken:
            self._held.pop(partition, None)
            self._ends.pop(partition, None)
        self._moved = True
        self._consumer.incremental_unassign(partitions)

    def _read_again(self, positions: Mapping[Partition, int]) -> None:
        """Assign anew with explicit offsets: unlike seek() this also works before the first fetch."""
        if not positions:
            return
        for partition in positions:
            self._ends.pop(partition, None)  # it was met by a reader that is no more
        try:
            self._consumer.incremental_unassign([TopicPartition(t, p) for t, p in positions])
            self._consumer.incremental_assign([TopicPartition(t, p, offset) for (t, p), offset in positions.items()])
        except KafkaException as error:
            raise kafka_error(error, "reading again from the table's offsets", self._kafka) from error

    def _raise_failure(self) -> None:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure


class _Chunk:
    """What is kept of one `consume()` call; the messages themselves are let go while they are still in cache."""

    __slots__ = (
        "headers",
        "key_lengths",
        "keys",
        "null_keys",
        "offsets",
        "partitions",
        "timestamps",
        "tombstones",
        "topics",
        "value_lengths",
        "values",
    )

    def __init__(self, messages: list[Message], topic_index: Mapping[str, int]) -> None:
        n = len(messages)
        self.offsets = np.fromiter(map(Message.offset, messages), np.int64, n)
        self.partitions = np.fromiter(map(Message.partition, messages), np.int32, n)
        self.timestamps = np.fromiter(map(itemgetter(1), map(Message.timestamp, messages)), np.int64, n)
        self.values, self.value_lengths, self.tombstones = join(list(map(Message.value, messages)))
        self.keys, self.key_lengths, self.null_keys = join(list(map(Message.key, messages)))
        self.topics = (
            np.zeros(n, np.int16)
            if len(topic_index) == 1
            else np.fromiter(map(topic_index.__getitem__, map(Message.topic, messages)), np.int16, n)
        )
        headers = _headers(messages)
        self.headers: dict[int, list[Header]] = {i: h for i, h in enumerate(headers) if h} if any(headers) else {}


def _headers(messages: list[Message]) -> list[list[Header] | None]:
    """Each message's headers; None for one with a key that is not UTF-8, which the client cannot read.

    No message is asked twice: after the error the client's list has a hole that crashes whoever looks at it.
    """
    found: list[list[Header] | None] = []
    left = iter(messages)
    while len(found) < len(messages):
        try:
            found.extend(map(Message.headers, left))
        except (SystemError, UnicodeDecodeError):
            found.append(None)
    return found


def _block(topics: tuple[str, ...], chunks: list[_Chunk]) -> Block:
    sizes = [len(chunk.offsets) for chunk in chunks]
    before = list(accumulate(sizes, initial=0))
    keys = np.concatenate([chunk.keys for chunk in chunks])
    return Block(
        topics=topics,
        topic=np.concatenate([chunk.topics for chunk in chunks]),
        partition=np.concatenate([chunk.partitions for chunk in chunks]),
        offset=np.concatenate([chunk.offsets for chunk in chunks]),
        timestamp_ms=np.concatenate([chunk.timestamps for chunk in chunks]),
        data=np.concatenate([chunk.values for chunk in chunks]),
        starts=starts_of(np.concatenate([chunk.value_lengths for chunk in chunks])),
        tombstones=np.concatenate([chunk.tombstones + start for chunk, start in zip(chunks, before, strict=False)]),
        keys=keys,
        key_starts=starts_of(np.concatenate([chunk.key_lengths for chunk in chunks])),
        null_keys=np.concatenate([chunk.null_keys + start for chunk, start in zip(chunks, before, strict=False)]),
        headers={
            start + row: h for chunk, start in zip(chunks, before, strict=False) for row, h in chunk.headers.items()
        },
    )
