"""Where the registry's records are kept: one partition of a compacted topic, or memory."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from confluent_kafka import OFFSET_BEGINNING, KafkaError, Message, TopicPartition

from schemas.embedded.records import Record, encode
from thalweg.errors import BrokerUnavailable, ConfigurationError, TopicRecreated
from thalweg.settings import KafkaSettings
from thalweg.streams.admin import Admin, TopicSpec
from thalweg.streams.clients import consumer, kafka_error, producer

# Clients wait 5 s by default (THALWEG_REGISTRY__TIMEOUT_S): an error that says what is wrong must reach them before.
_ANSWER_S = 4.0

_WRITER, _HIGHEST_ID = "thalweg.writer", "thalweg.highest_id"


@dataclass(frozen=True, slots=True)
class Entry:
    """A record as it was read. `writer` names the registry process that wrote it; None is another product."""

    record: Record
    writer: str | None


class Log(Protocol):
    """An ordered, durable sequence of records with one reader: this process."""

    @property
    def writer(self) -> str:
        """The name that this process writes under."""
        ...

    def read(self) -> list[Entry]:
        """Everything appended, by anybody, since the last call. Raises ThalwegError."""
        ...

    def append(self, records: Sequence[Record]) -> None:
        """Return when the records are durable, in this order. After an error some may be, all the same."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


Stored = tuple[bytes, bytes | None, list[tuple[str, bytes]]]
"""Key, value and headers, as a topic would hold them."""


@dataclass
class MemoryLog:
    """A log that lives as long as `stored` does. Two with the same `stored` are two processes at one topic."""

    writer: str = "memory"
    stored: list[Stored] = field(default_factory=list)
    _read: int = 0

    def read(self) -> list[Entry]:
        """Everything appended since the last call."""
        new = self.stored[self._read :]
        self._read += len(new)
        return [_entry(*stored) for stored in new]

    def append(self, records: Sequence[Record]) -> None:
        """Keep the records' bytes."""
        for record in records:
            self.stored.append((encode(record.key) or b"", encode(record.value), _headers(self.writer, record)))

    def close(self) -> None:
        """Nothing to let go of."""


class KafkaLog:
    """The only partition of a compacted topic, which is created when it is missing.

    Raises BrokerUnavailable when nobody answers within `kafka.request_timeout_s`, and ConfigurationError when the topic
    has more than one partition: its records would have no order.
    """

    def __init__(self, kafka: KafkaSettings, topic: str, writer: str) -> None:
        self.writer = writer
        self._topic = topic
        self._next = self._written_to = 0
        self._unread: list[Entry] = []
        with Admin(kafka) as admin:
            admin.create_topics([TopicSpec(topic, 1, {"cleanup.policy": "compact"})])
            if (count := admin.partitions(topic)) != 1:
                raise ConfigurationError(
                    f"topic {topic} has {count} partitions, and a registry's log must have 1",
                    "name another topic with --topic",
                )
        self._timeout_s = min(kafka.request_timeout_s, _ANSWER_S)
        self._kafka = kafka.model_copy(update={"request_timeout_s": self._timeout_s})
        # Asks for the topic's end on a connection of its own: on the consumer's it would wait behind a long poll.
        self._admin = Admin(self._kafka)
        self._producer = producer(kafka, linger_ms=0, message_timeout_ms=round(self._timeout_s * 1000))
        self._consumer = consumer(kafka, f"{kafka.prefix}.registry", enable_partition_eof=True)
        self._consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])

    def read(self) -> list[Entry]:
        """Everything appended since the last call, up to the end of the topic as it is now.

        Raises BrokerUnavailable, TopicNotFound, and TopicRecreated when the topic is shorter than what was read before.
        """
        end = self._written_to if self._written_to > self._next else self._admin.watermarks(self._topic)[0][1]
        if end < self._next:
            raise TopicRecreated(
                f"topic {self._topic} ends at {end} and was read up to {self._next}: it was recreated",
                "restart the registry; schemas that were only in the old topic are gone",
            )
        while self._next < end:
            message = self._consumer.poll(self._timeout_s)
            if message is None:
                raise self._silent("was not read to its end")
            self._unread += self._take(message)
        entries, self._unread = self._unread, []
        return entries

    def append(self, records: Sequence[Record]) -> None:
        """Return when all brokers in sync have the records. Raises BrokerUnavailable."""
        failed: list[KafkaError] = []
        delivered: list[int] = []

        def on_delivery(error: KafkaError | None, message: Message) -> None:
            if error is None:
                delivered.append(message.offset())
            else:
                failed.append(error)

        for record in records:
            self._producer.produce(
                self._topic,
                partition=0,
                key=encode(record.key),
                value=encode(record.value),
                headers=_headers(self.writer, record),
                on_delivery=on_delivery,
            )
        # message.timeout.ms ends every record's tries; the second more is for the client's bookkeeping.
        self._producer.flush(self._timeout_s + 1)
        if failed:
            raise kafka_error(failed[0], f"writing to topic {self._topic}", self._kafka)
        if len(delivered) < len(records):
            raise self._silent("did not confirm a write")
        self._written_to = max(delivered) + 1

    def close(self) -> None:
        """Let go of the connections. Nothing is left to flush: every append waited."""
        self._producer.close()
        self._consumer.close()
        self._admin.close()

    def _take(self, message: Message) -> list[Entry]:
        error = message.error()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            raise kafka_error(error, f"reading topic {self._topic}", self._kafka)
        if error is not None:
            # Offsets before the end that hold no record (compacted away, transaction markers) are passed over by this.
            self._next = max(self._next, message.offset())
            return []
        self._next = message.offset() + 1
        try:
            entry = _entry(message.key(), message.value(), message.headers() or [])
        except ValueError as unreadable:
            raise ConfigurationError(
                f"topic {self._topic} holds no registry's record at offset {message.offset()}: {unreadable}",
                "name another topic with --topic",
            ) from unreadable
        return [entry]

    def _silent(self, what: str) -> BrokerUnavailable:
        return BrokerUnavailable(
            f"topic {self._topic} {what} within {self._timeout_s} s",
            "check that the broker runs (thalweg stack status)",
        )


def _headers(writer: str, record: Record) -> list[tuple[str, bytes]]:
    return [(_WRITER, writer.encode()), (_HIGHEST_ID, str(record.highest_id).encode())]


def _entry(key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, Any]]) -> Entry:
    """Read a record's bytes. Raises ValueError when they are not a registry's."""
    parsed = json.loads(key or b"null")
    if not isinstance(parsed, dict) or not isinstance(parsed.get("keytype"), str):
        raise ValueError("the key names no key type")
    found = dict(headers)
    writer = found.get(_WRITER)
    record = Record(parsed, None if value is None else json.loads(value), int(found.get(_HIGHEST_ID, b"0")))
    return Entry(record, None if writer is None else writer.decode())
