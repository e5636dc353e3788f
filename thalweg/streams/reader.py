"""Reading a topic in a group whose members keep their own positions, together with what they made of the records.

The group shares out partitions; its committed offsets are for lag tools only.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from thalweg.settings import KafkaSettings
from thalweg.streams.clients import consumer, kafka_error

_LOG = logging.getLogger("thalweg.streams")


@dataclass(frozen=True, slots=True)
class Record:
    """One record."""

    partition: int
    offset: int
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Expired:
    """Records from the position of this partition on are gone from the topic; reading goes on at the oldest there is."""

    partition: int


class Reader:
    """One member of the group. Not for several threads at once; poll it more often than every five minutes.

    `position_of` says where to go on in a partition that was just assigned; None means from the beginning.
    """

    def __init__(self, kafka: KafkaSettings, group: str, topic: str, position_of: Callable[[int], int | None]) -> None:
        self._kafka = kafka
        self._topic = topic
        self._position_of = position_of
        self._assigned: frozenset[int] = frozenset()
        self._consumer: Consumer = consumer(kafka, group)
        self._consumer.subscribe([topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke)

    @property
    def is_assigned(self) -> bool:
        """Whether the group has given this member a partition. Any thread may ask, also while another one polls."""
        # Kept here: the client's own `assignment()` waits for a lock that a polling thread hardly ever lets go.
        return bool(self._assigned)

    def poll(self, wait_s: float, limit: int) -> list[Record | Expired]:
        """Return at most `limit` records, waiting at most `wait_s` for the first one.

        Raises BrokerUnavailable and TopicNotFound for errors that the client does not mend by itself.
        """
        first = self._consumer.poll(wait_s)
        if first is None:
            return []
        taken = [self._take(message) for message in (first, *self._consumer.consume(limit - 1, 0))]
        return [record for record in taken if record is not None]

    def note(self, next_offsets: Mapping[int, int]) -> None:
        """Commit offsets to the group, for lag tools. It does not wait, and a refusal changes nothing."""
        offsets = [TopicPartition(self._topic, partition, offset) for partition, offset in next_offsets.items()]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            _LOG.info("noting offsets of %s: %s", self._topic, error.args[0].name())

    def close(self) -> None:
        """Leave the group: other members get its partitions at once."""
        self._consumer.close()

    def _take(self, message: Message) -> Record | Expired | None:
        error = message.error()
        partition, offset = message.partition(), message.offset()
        if error is None:
            assert partition is not None
            assert offset is not None
            return Record(partition, offset, message.value())
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE) and partition is not None:
            # The client has given up on the partition: it refuses to seek there, and takes it anew.
            self._consumer.incremental_unassign([TopicPartition(self._topic, partition)])
            self._consumer.incremental_assign([TopicPartition(self._topic, partition, OFFSET_BEGINNING)])
            return Expired(partition)
        if error.retriable():
            _LOG.warning("reading %s: %s: %s", self._topic, error.name(), error.str())
            return None
        raise kafka_error(error, f"reading {self._topic}", self._kafka)

    def _on_assign(self, reader: Consumer, partitions: Sequence[TopicPartition]) -> None:
        starts = []
        for each in partitions:
            position = self._position_of(each.partition)
            starts.append(
                TopicPartition(each.topic, each.partition, OFFSET_BEGINNING if position is None else position)
            )
        reader.incremental_assign(starts)
        self._assigned |= {each.partition for each in partitions}

    def _on_revoke(self, _: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self._assigned -= {each.partition for each in partitions}
