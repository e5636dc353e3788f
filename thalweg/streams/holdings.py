"""What a topic still holds: which offsets a reader gets, without looking at what is in the records."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from thalweg.clock import Clock
from thalweg.errors import BrokerUnavailable, OffsetsExpired
from thalweg.settings import KafkaSettings
from thalweg.streams.clients import _client, consumer, kafka_error

# Larger chunks fall out of the processor's cache; the wait lets slow partitions fill one.
_MESSAGES_AT_ONCE, _WAIT_S = 2_000, 0.1


@dataclass(frozen=True, slots=True)
class Reach:
    """Offsets from `first` up to but not including `end` of one partition."""

    partition: int
    first: int
    end: int


def offsets_held(
    kafka: KafkaSettings, topic: str, reaches: Sequence[Reach], clock: Clock
) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """Read these reaches as a committed reader does, and give each partition's offsets, ascending, piece by piece.

    Offsets of aborted transactions, of control records and of records that were compacted away are not among them.
    Raises OffsetsExpired when Kafka removes the first ones meanwhile, and BrokerUnavailable when nothing comes for
    `request_timeout_s`.
    """
    open_reaches = {reach.partition: reach for reach in reaches if reach.first < reach.end}
    if not open_reaches:
        return
    reader = consumer(kafka, f"{kafka.prefix}.audit", enable_partition_eof=True)
    try:
        reader.assign([TopicPartition(topic, reach.partition, reach.first) for reach in open_reaches.values()])
        heard_s = clock.monotonic_s()
        while open_reaches:
            messages = reader.consume(_MESSAGES_AT_ONCE, _WAIT_S)
            if messages:
                heard_s = clock.monotonic_s()
            elif clock.monotonic_s() - heard_s > kafka.request_timeout_s:
                missing = ", ".join(f"[{reach.partition}] up to {reach.end - 1}" for reach in open_reaches.values())
                raise BrokerUnavailable(
                    f"{topic} could not be read: nothing came for {kafka.request_timeout_s} s of {missing}",
                    "check that the broker runs (thalweg stack status); an open transaction of a producer hides what follows it",
                )
            yield from _sorted_out(messages, open_reaches, topic, kafka, reader)
    except KafkaException as error:
        raise kafka_error(error, f"reading {topic}", kafka) from error
    finally:
        reader.close()


def _sorted_out(
    messages: Sequence[Message], open_reaches: dict[int, Reach], topic: str, kafka: KafkaSettings, reader: Consumer
) -> list[tuple[int, npt.NDArray[np.int64]]]:
    found: dict[int, list[int]] = {}
    ended = set()
    for message in messages:
        partition, offset = message.partition(), message.offset()
        reach = open_reaches.get(partition)
        if message.error() is not None and message.error().code() != KafkaError._PARTITION_EOF:
            _refuse(message, topic, kafka)
        elif reach is None:
            continue
        elif offset >= reach.end:  # a record after the reach, or the end of the partition behind it
            ended.add(partition)
        elif message.error() is None:
            found.setdefault(partition, []).append(offset)
            if offset + 1 == reach.end:
                ended.add(partition)
    for partition in ended:
        del open_reaches[partition]
        reader.incremental_unassign([TopicPartition(topic, partition)])
    return [(partition, np.array(offsets, np.int64)) for partition, offsets in found.items()]


def _refuse(message: Message, topic: str, kafka: KafkaSettings) -> None:
    error = message.error()
    if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
        raise OffsetsExpired(
            f"{topic}[{message.partition()}]: Kafka removed the offsets that were being read",
            "read again from the first offset that is left",
        )
    if not error.retriable():
        raise kafka_error(error, f"reading {topic}[{message.partition()}]", kafka)


def is_compacted(kafka: KafkaSettings, topic: str) -> bool:
    """Whether Kafka may take records out of the middle of this topic: `cleanup.policy` has `compact` in it."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    client = AdminClient(_client(kafka))  # its answers go with it
    try:
        asked = client.describe_configs([resource], request_timeout=kafka.request_timeout_s)
        entries = asked[resource].result()
    except KafkaException as error:
        raise kafka_error(error, f"asking how {topic} is cleaned", kafka) from error
    return "compact" in str(entries["cleanup.policy"].value)
