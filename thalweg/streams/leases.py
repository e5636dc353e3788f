"""Sharing out work by a consumer group: who is assigned a partition of a compacted topic has the lease of that number.

The topic's records say what there is to do under each lease; they are read from the beginning by every new owner, and
live from then on. Group offsets mean nothing here.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from thalweg.settings import KafkaSettings
from thalweg.streams.clients import consumer, kafka_error

_LOG = logging.getLogger("thalweg.streams")

# The client mends these by itself: metadata of a topic that was just created, and a process that slept for long, which is
# told that it lost its leases and joins again.
_PASSING = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._MAX_POLL_EXCEEDED}
# Records taken in one go: the caller gets to its leases in between.
_RECORDS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Gained:
    """The lease of this partition is ours from now on. Its records follow, from the first one on."""

    partition: int


@dataclass(frozen=True, slots=True)
class Lost:
    """The lease of this partition is no longer ours: given back in good order, or taken because we were silent."""

    partition: int


@dataclass(frozen=True, slots=True)
class Declared:
    """A record of a partition whose lease we have. `value` None: what `key` declared is withdrawn."""

    partition: int
    offset: int
    key: bytes
    value: bytes | None


LeaseEvent = Gained | Lost | Declared


class LeaseGroup:
    """Membership of one process. Not for several threads at once; poll it more often than every five minutes."""

    def __init__(self, kafka: KafkaSettings, group: str, topic: str) -> None:
        self._kafka = kafka
        self._topic = topic
        self._events: list[LeaseEvent] = []
        self.is_member = False  # whether the group has given us our share, which may be none
        self._consumer: Consumer = consumer(kafka, group)
        self._consumer.subscribe([topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke)

    def poll(self, wait_s: float) -> list[LeaseEvent]:
        """Return what happened, in order; wait at most `wait_s` for the first thing.

        Raises BrokerUnavailable for errors that the client does not mend by itself, such as a missing right.
        """
        message, taken = self._consumer.poll(wait_s), 0
        while message is not None:
            self._take(message)
            taken += 1
            message = self._consumer.poll(0) if taken < _RECORDS_AT_ONCE else None
        events, self._events = self._events, []
        return events

    def confirm(self, partition: int) -> bool:
        """Ask the group's coordinator whether we are still a member of the group's current generation.

        It answers by taking or refusing an offset commit; the offset itself is of no use to anybody.
        """
        try:
            self._consumer.commit(offsets=[TopicPartition(self._topic, partition, 0)], asynchronous=False)
        except KafkaException as error:
            _LOG.info("%s[%d]: still ours? The coordinator says %s", self._topic, partition, error.args[0].name())
            return False
        return True

    def close(self) -> None:
        """Leave the group: its leases go to other members at once."""
        self._consumer.close()

    def _take(self, message: Message) -> None:
        error = message.error()
        if error is None:
            self._events.append(Declared(message.partition(), message.offset(), message.key() or b"", message.value()))
        elif error.code() in _PASSING:
            _LOG.warning("reading %s: %s: %s", self._topic, error.name(), error.str())
        else:
            raise kafka_error(error, f"reading {self._topic}", self._kafka)

    def _on_assign(self, reader: Consumer, partitions: Sequence[TopicPartition]) -> None:
        reader.incremental_assign([TopicPartition(p.topic, p.partition, OFFSET_BEGINNING) for p in partitions])
        self.is_member = True
        self._events.extend(Gained(p.partition) for p in partitions)

    def _on_revoke(self, _: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self._events.extend(Lost(p.partition) for p in partitions)
