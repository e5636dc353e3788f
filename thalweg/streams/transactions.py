"""Writing to Kafka in transactions, and reading what such transactions committed.

Whoever owns a transactional id fences its predecessor at `start`. So a process that follows "start, then read what was
committed, then write" continues exactly where the last owner stopped, even when that one is still running somewhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition

from thalweg.errors import BrokerUnavailable, LeaseLost, ThalwegError
from thalweg.settings import KafkaSettings
from thalweg.streams.clients import consumer, kafka_error, producer

# How the broker says that another producer took the transactional id over, or that it gave our transaction up (timeout).
_FENCED = {
    KafkaError._FENCED,
    KafkaError.PRODUCER_FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.INVALID_PRODUCER_ID_MAPPING,
    KafkaError.INVALID_TXN_STATE,
}
# A partition that was just created, or whose broker just went, has no leader for a moment.
_UNSETTLED = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_PARTITION,
}
# Above a commit's longest wait (`request_timeout_s`, 15 s by default), below the broker's limit of 15 minutes.
_TRANSACTION_TIMEOUT_MS = 60_000
# Before compression; the broker's own limit (1 MB by default) is on the compressed batch.
_MESSAGE_MAX_BYTES = 8 * 2**20
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Message:
    """A record to be written. Without a partition, the key's murmur2 hash chooses it, as in Java."""

    topic: str
    key: bytes
    value: bytes
    partition: int | None = None


class TransactionalWriter:
    """The owner of one transactional id. Not for several threads at once.

    After any error the writer is of no more use: what happened to the last transaction is unknown until a new `start`.
    """

    def __init__(self, kafka: KafkaSettings, transactional_id: str) -> None:
        self._kafka = kafka
        self._id = transactional_id
        self._producer: Producer | None = None

    def start(self) -> None:
        """Take the id over: fences every earlier owner and ends its open transaction, one way or the other.

        Raises BrokerUnavailable, and LeaseLost when somebody else is just taking it over.
        """
        self.close()
        self._producer = producer(
            self._kafka,
            transactional_id=self._id,
            transaction_timeout_ms=_TRANSACTION_TIMEOUT_MS,
            # Lineage of a wide table is long and repeats itself. Gzip, because every client can read it.
            compression_type="gzip",
            message_max_bytes=_MESSAGE_MAX_BYTES,
        )
        try:
            self._producer.init_transactions(self._kafka.request_timeout_s)
        except KafkaException as error:
            raise self._given_up(error, "taking over") from error

    def write(self, messages: Sequence[Message]) -> None:
        """Write all messages in one transaction, in order per partition, and wait until it is committed.

        Raises LeaseLost when another owner fenced this one, and BrokerUnavailable for everything else. Either way the
        messages may have been committed: only `start` and reading on tell.
        """
        if self._producer is None:
            raise LeaseLost(f"transactional id {self._id} was not taken over", "call start first")
        try:
            self._producer.begin_transaction()
            for message in messages:
                place = {} if message.partition is None else {"partition": message.partition}
                self._producer.produce(message.topic, key=message.key, value=message.value, **place)
            self._producer.commit_transaction(self._kafka.request_timeout_s)
        except KafkaException as error:
            raise self._given_up(error, "writing a transaction") from error

    def close(self) -> None:
        """Let go of the connections. A transaction that is open stays so until the next owner's `start`, or its timeout."""
        if self._producer is not None:
            self._producer.purge()
            # Dropping it ends it. Its own close() raises SystemError after a fatal error (confluent-kafka 2.16).
            self._producer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _given_up(self, error: KafkaException, doing: str) -> ThalwegError:
        self.close()
        code = error.args[0]
        if code.fatal() or code.code() in _FENCED:
            return LeaseLost(
                f"another process took transactional id {self._id} over, or the broker gave it up: {code.str()}",
                "nothing to do: the new owner goes on; this process takes part again if it still has the lease",
            )
        return kafka_error(error, f"{doing} ({self._id})", self._kafka)


def read_latest(kafka: KafkaSettings, topic: str, partition: int) -> dict[bytes, bytes]:
    """The newest committed value of each key in one partition of a compacted topic, up to its end as of now.

    The end is the high watermark, not the last stable offset: an open transaction of somebody else would hide committed
    records behind it, so this waits for that transaction's end, at most `request_timeout_s`.
    Raises BrokerUnavailable when the broker does not answer, or the wait is over.
    """
    end = _high_watermark(kafka, topic, partition)
    reader = consumer(kafka, f"{kafka.prefix}.read-latest", enable_partition_eof=True)
    try:
        reader.assign([TopicPartition(topic, partition, OFFSET_BEGINNING)])
        return _read_up_to(end, reader, kafka, f"{topic}[{partition}]")
    finally:
        reader.close()


def _high_watermark(kafka: KafkaSettings, topic: str, partition: int) -> int:
    # A read_committed client would be told the last stable offset.
    asker = consumer(kafka, f"{kafka.prefix}.read-latest", isolation_level="read_uncommitted")
    waited_s = 0.0
    try:
        while True:
            try:
                return int(asker.get_watermark_offsets(TopicPartition(topic, partition), kafka.request_timeout_s)[1])
            except KafkaException as error:
                if error.args[0].code() not in _UNSETTLED or waited_s > kafka.request_timeout_s:
                    raise kafka_error(error, f"asking for the end of {topic}[{partition}]", kafka) from error
                asker.poll(_POLL_S)  # waits: it is assigned nothing
                waited_s += _POLL_S
    finally:
        asker.close()


def _read_up_to(end: int, reader: Consumer, kafka: KafkaSettings, where: str) -> dict[bytes, bytes]:
    """The end is told by the "end of partition" event: commit markers have offsets, and never come as records."""
    latest: dict[bytes, bytes] = {}
    reached, waited_s = 0, 0.0
    while reached < end:
        record = reader.poll(_POLL_S)
        if record is None:
            waited_s += _POLL_S
            if waited_s > kafka.request_timeout_s:
                raise BrokerUnavailable(
                    f"{where} was read up to offset {reached} of {end}: the rest did not come within {kafka.request_timeout_s} s",
                    "an open transaction of another producer hides it, or the broker is slow: it is tried again",
                )
        elif record.error() is not None:
            if record.error().code() != KafkaError._PARTITION_EOF:
                raise kafka_error(record.error(), f"reading {where}", kafka)
            reached = record.offset()
        elif record.value() is None:
            latest.pop(record.key(), None)
        else:
            latest[record.key()] = record.value()
    return latest
