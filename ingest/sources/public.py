"""The source over confluent-kafka's public consumer: every platform, every version of the client that Thalweg takes."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

import numpy as np
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from ingest.block import Block, Header, join, starts_of
from ingest.sources.membership import GroupSource, fetching
from ingest.sources.source import Handlers, Partition
from thalweg.clock import Clock
from thalweg.settings import KafkaSettings
from thalweg.streams.clients import COOPERATIVE, assignor, consumer, kafka_error


class PublicSource(GroupSource["_Gathered"]):
    """Source over confluent-kafka's `consume()`."""

    # Measured: 1,000 to 2,000 messages stay in cache while their values are joined; 20,000 cost a third more.
    CHUNK = 1_000

    def __init__(
        self, kafka: KafkaSettings, group: str, topics: Iterable[str], handlers: Handlers, clock: Clock
    ) -> None:
        super().__init__(kafka, topics, handlers, clock)
        # The client does not tell by which protocol its group moves partitions.
        self._eager = assignor(kafka) not in (None, COOPERATIVE)
        self._consumer: Consumer = consumer(kafka, group, **fetching(kafka))
        self._consumer.subscribe(
            list(self._topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
        )

    def _begin(self) -> "_Gathered":
        return _Gathered(self._topics)

    def _take(self, gathering: "_Gathered", count: int, timeout_s: float) -> int:
        try:
            messages: list[Message] = self._consumer.consume(count, timeout_s)
        except KafkaException as error:
            raise kafka_error(error, f"reading {', '.join(self._topics)}", self._kafka) from error
        self._raise_failure()
        if any(map(Message.error, messages)):
            for message in messages:
                if message.error() is not None:
                    self._check(message.error(), message.topic(), message.partition(), message.offset())
            messages = [message for message in messages if message.error() is None]
        if messages and not self._moved:
            gathering.add(messages)
        return len(messages)

    def _restart(self, positions: Mapping[Partition, int]) -> None:
        if self._eager:
            self._consumer.assign(_listed({**self._held, **positions}))
            return
        self._consumer.incremental_unassign([TopicPartition(t, p) for t, p in positions])
        self._consumer.incremental_assign(_listed(positions))

    def _commit(self, positions: Mapping[Partition, int]) -> None:
        self._consumer.commit(offsets=_listed(positions), asynchronous=True)

    def _end(self, partition: Partition) -> int:
        _, high = self._consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)
        return high if high is not None else 0

    def _pause(self, partitions: Sequence[Partition], held: bool) -> None:
        (self._consumer.pause if held else self._consumer.resume)([TopicPartition(t, p) for t, p in partitions])

    def _leave(self) -> None:
        self._consumer.close()

    def _on_assign(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        starts = self._assigned([(p.topic, p.partition) for p in partitions])
        if starts is None:
            return  # the client answers the group in our place
        (self._consumer.assign if self._eager else self._consumer.incremental_assign)(_listed(starts))

    def _on_revoke(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._revoked([(p.topic, p.partition) for p in partitions])
        if self._eager:
            self._consumer.unassign()
        else:
            self._consumer.incremental_unassign(partitions)


def _listed(positions: Mapping[Partition, int]) -> list[TopicPartition]:
    return [TopicPartition(topic, partition, offset) for (topic, partition), offset in positions.items()]


class _Gathered:
    """A block of the public source, as chunks that are joined at its end."""

    def __init__(self, topics: tuple[str, ...]) -> None:
        self._topics = topics
        self._topic_index = {name: index for index, name in enumerate(topics)}
        self._chunks: list[_Chunk] = []
        self.rows = self.size = 0

    def add(self, messages: list[Message]) -> None:
        """Take over what a call returned."""
        chunk = _Chunk(messages, self._topic_index)
        self._chunks.append(chunk)
        self.rows += len(messages)
        self.size += len(chunk.values) + len(chunk.keys)

    def block(self) -> Block:
        """Give the block."""
        return _block(self._topics, self._chunks or [_Chunk([], self._topic_index)])


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
        self.timestamps = np.fromiter([time_ms for _, time_ms in map(Message.timestamp, messages)], np.int64, n)
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
