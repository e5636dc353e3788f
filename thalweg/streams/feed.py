"""Reading a topic of ours from a chosen start, committed records only, with or without a remembered position."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from thalweg.errors import OffsetsExpired
from thalweg.settings import KafkaSettings
from thalweg.streams.admin import Admin
from thalweg.streams.clients import consumer, kafka_error
from thalweg.streams.compacted import partition_of

# How long one wait for a record may be: a closing thread and Ctrl-C wait as long.
_POLL_S = 0.2
# A position is written to the group this often; what came since a crash comes again.
_COMMIT_INTERVAL_MS = 1000
# Handling one record may take hours (a training run); after the default of five minutes the group would take the
# partition away, and the same record would come again for ever. A process that died is known by its silent heartbeat.
# The price: a member that joins waits for busy ones. A day is librdkafka's limit.
_MAX_POLL_INTERVAL_MS = 86_400_000

_LOG = logging.getLogger("thalweg.streams")

Start = Literal["earliest", "latest"] | datetime


@dataclass(frozen=True, slots=True)
class FeedRecord:
    """One record, and where it stands."""

    key: bytes | None
    value: bytes | None
    partition: int
    offset: int


class Feed(Iterator[FeedRecord]):
    """The records of a topic; with `key`, only that key's.

    Without a group it reads from `start`, all partitions or the key's own. With a group, partitions are shared out among
    its members, and each is read from where the group stopped, the first time from `start`. A record counts as handled
    when the next one is asked for. `follow` False ends at what is committed by now.

    Raises TopicNotFound and BrokerUnavailable; OffsetsExpired when the remembered position is not in the topic any more.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        topic: str,
        *,
        start: Start,
        group: str | None = None,
        key: bytes | None = None,
        follow: bool = True,
    ) -> None:
        self._kafka, self._topic, self._start, self._key, self._follow = kafka, topic, start, key, follow
        self._grouped = group is not None
        self._polling = threading.Lock()
        self._closed = False
        self._handled: FeedRecord | None = None
        self._unfinished: set[int] | None = None  # partitions whose end was not reached; None: none assigned yet
        with Admin(kafka) as admin:
            count = admin.partitions(topic)
        if group is None:
            self._consumer = consumer(kafka, f"{kafka.prefix}.feed", enable_partition_eof=True)
            chosen = range(count) if key is None else [partition_of(key, count)]
            try:
                self._consumer.assign(self._positions(list(chosen)))
            except KafkaException as error:
                raise kafka_error(error, f"asking {topic} where to begin", kafka) from error
            self._unfinished = set(chosen)
        else:
            self._consumer = consumer(
                kafka,
                group,
                enable_partition_eof=True,
                enable_auto_commit=True,
                auto_commit_interval_ms=_COMMIT_INTERVAL_MS,
                max_poll_interval_ms=_MAX_POLL_INTERVAL_MS,
            )
            self._consumer.subscribe([topic], on_assign=self._on_assign, on_revoke=self._on_revoke)

    def __next__(self) -> FeedRecord:
        self._remember(self._handled)
        self._handled = None
        while not self._closed and (self._follow or self._unfinished is None or self._unfinished):
            message = self._poll()
            if message is None or self._is_event(message):
                continue
            record = FeedRecord(message.key(), message.value(), message.partition(), message.offset())
            if self._key is None or record.key == self._key:
                self._handled = record
                return record
            self._remember(record)
        raise StopIteration

    def close(self) -> None:
        """Write the position down, if there is a group, and let go. Safe from another thread."""
        self._closed = True
        with self._polling:
            self._consumer.close()

    def _poll(self) -> Message | None:
        with self._polling:
            try:
                return None if self._closed else self._consumer.poll(_POLL_S)
            except KafkaException as error:  # from the assignment's questions to the broker
                raise kafka_error(error, f"reading {self._topic}", self._kafka) from error

    def _is_event(self, message: Message) -> bool:
        """Whether this is no record but news of the client: an end, an error."""
        error = message.error()
        if error is None:
            return False
        if error.code() == KafkaError._PARTITION_EOF:
            if self._unfinished is not None:
                self._unfinished.discard(message.partition())
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:
            raise OffsetsExpired(
                f"{self._topic}[{message.partition()}]: the position to read from is not in the topic any more",
                "read on under another group name, from since='earliest'",
            )
        elif error.code() == KafkaError._MAX_POLL_EXCEEDED:
            _LOG.warning("reading %s: %s", self._topic, error.str())
        else:
            raise kafka_error(error, f"reading {self._topic}", self._kafka)
        return True

    def _remember(self, record: FeedRecord | None) -> None:
        if record is None or not self._grouped or self._closed:
            return
        # Of a partition that went to another member meanwhile, the position is that member's business.
        with suppress(KafkaException):
            self._consumer.store_offsets(offsets=[TopicPartition(self._topic, record.partition, record.offset + 1)])

    def _positions(self, partitions: Sequence[int]) -> list[TopicPartition]:
        """Where reading begins. Raises KafkaException."""
        timeout_s = self._kafka.request_timeout_s
        places = [TopicPartition(self._topic, partition, OFFSET_BEGINNING) for partition in partitions]
        for place in places:
            if self._start == "latest":
                place.offset = self._consumer.get_watermark_offsets(place, timeout=timeout_s)[1]
            elif isinstance(self._start, datetime):
                place.offset = int(self._start.timestamp() * 1000)
        if isinstance(self._start, datetime) and places:
            return list(
                self._consumer.offsets_for_times(places, timeout=timeout_s)
            )  # the end where nothing is that new
        return places

    def _on_assign(self, reader: Consumer, partitions: Sequence[TopicPartition]) -> None:
        known: list[TopicPartition] = []
        if partitions:
            committed = reader.committed(list(partitions), timeout=self._kafka.request_timeout_s)
            known = [place for place in committed if place.offset >= 0]
        remembered = {place.partition for place in known}
        new = self._positions([p.partition for p in partitions if p.partition not in remembered])
        reader.incremental_assign([*known, *new])
        # "Latest" is now, not when the group comes back after a crash.
        if chosen := [place for place in new if place.offset >= 0]:
            reader.store_offsets(offsets=chosen)
        self._unfinished = (self._unfinished or set()) | {p.partition for p in partitions}

    def _on_revoke(self, _: Consumer, partitions: Sequence[TopicPartition]) -> None:
        if self._unfinished is not None:
            self._unfinished -= {p.partition for p in partitions}
