"""A compacted topic as a small keyed table: put a value, read what stands.

Keys meet partitions as Java's default partitioner has it (murmur2), so that any client finds them; the partition is
computed here rather than left to a client's setting.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, Message, TopicPartition

from thalweg.clock import Clock, SystemClock
from thalweg.errors import BrokerUnavailable
from thalweg.settings import KafkaSettings
from thalweg.streams.clients import consumer, kafka_error, producer

# Reading may go on for this many request timeouts in all, as long as something arrives within each.
_PATIENCE = 10

_SEED, _MULTIPLIER, _SHIFT = 0x9747B28C, 0x5BD1E995, 24
_MASK = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Entry:
    """The last value written under a key, and where it stands."""

    key: bytes
    value: bytes
    partition: int
    offset: int


def murmur2(data: bytes) -> int:
    """Kafka's 32-bit hash of a key, unsigned (org.apache.kafka.common.utils.Utils.murmur2)."""
    length = len(data)
    h = (_SEED ^ length) & _MASK
    whole = length - length % 4
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * _MULTIPLIER & _MASK
        k = (k ^ k >> _SHIFT) * _MULTIPLIER & _MASK
        h = (h * _MULTIPLIER & _MASK) ^ k
    if rest := data[whole:]:
        h = (h ^ int.from_bytes(rest, "little")) * _MULTIPLIER & _MASK
    h = (h ^ h >> 13) * _MULTIPLIER & _MASK
    return h ^ h >> 15


def partition_of(key: bytes, partitions: int) -> int:
    """The partition where Java's default partitioner puts a key."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def put(kafka: KafkaSettings, topic: str, key: bytes, value: bytes | None, partitions: int) -> None:
    """Write a value under a key, or remove the key (`None`), and wait until the broker has it.

    Raises BrokerUnavailable when that is not certain.
    """
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failed.append(error)

    timeout_s = kafka.request_timeout_s
    writer = producer(kafka, message_timeout_ms=int(timeout_s * 1000))
    writer.produce(topic, key=key, value=value, partition=partition_of(key, partitions), on_delivery=delivered)
    # A little longer than the message may take, so that its failure is reported rather than overtaken.
    unsent = writer.flush(timeout_s + 1)
    if failed:
        raise kafka_error(failed[0], f"writing {key!r} to {topic}", kafka)
    if unsent:
        raise BrokerUnavailable(f"the broker did not confirm {key!r} on {topic} within {timeout_s} s", "try again")


def entries(kafka: KafkaSettings, topic: str, partitions: Sequence[int], clock: Clock | None = None) -> list[Entry]:
    """What stands in these partitions of a topic: the last value of each key in each partition, tombstones taken away.

    Reads committed records up to the end that each partition had on arrival there. Raises BrokerUnavailable when
    nothing more comes for `request_timeout_s`.
    """
    clock = clock or SystemClock()
    standing: dict[tuple[int, bytes], Entry] = {}
    unread = set(partitions)
    reader = consumer(kafka, f"{kafka.prefix}.reader", enable_partition_eof=True)
    try:
        reader.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
        end_s = clock.monotonic_s() + _PATIENCE * kafka.request_timeout_s
        while unread:
            # One by one: consume() would wait for a full batch, and our compacted topics hold a few thousand records.
            message = reader.poll(kafka.request_timeout_s)
            if message is None or clock.monotonic_s() > end_s:
                raise BrokerUnavailable(
                    f"{topic} could not be read to its end: nothing came for {kafka.request_timeout_s} s",
                    "check that the broker runs (thalweg stack status)",
                )
            _take(message, standing, unread, kafka)
    except KafkaException as error:
        raise kafka_error(error, f"reading {topic}", kafka) from error
    finally:
        reader.close()
    return list(standing.values())


def _take(message: Message, standing: dict[tuple[int, bytes], Entry], unread: set[int], kafka: KafkaSettings) -> None:
    partition, error = message.partition(), message.error()
    if error is not None:
        if error.code() != KafkaError._PARTITION_EOF:
            raise kafka_error(error, f"reading {message.topic()}[{partition}]", kafka)
        unread.discard(partition)
        return
    key, value = message.key() or b"", message.value()
    if value is None:
        standing.pop((partition, key), None)
    else:
        standing[partition, key] = Entry(key, value, partition, message.offset())
