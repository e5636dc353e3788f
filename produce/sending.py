"""To the broker: bounded queue, bounded waits, each record accounted for."""

from collections import Counter
from collections.abc import Callable, Sequence

from confluent_kafka import KafkaError, KafkaException, Message

from produce.poison import Poisoned
from thalweg.clock import Clock
from thalweg.errors import ThalwegError
from thalweg.settings import KafkaSettings
from thalweg.streams import clients

# A record that the broker has not taken by then has failed; so every wait for the queue to drain ends.
DELIVERY_TIMEOUT_S = 60
_QUEUED_RECORDS = 100_000
_QUEUED_KB = 64 * 1024
_WAIT_S = 0.1


class Sender:
    """Queues records of one topic, and counts what the broker says of each.

    `partitions`: good records that the broker took, by partition; `poison`: where the bad ones lie; `failed`: records
    that it did not take.
    """

    def __init__(self, kafka: KafkaSettings, topic: str, clock: Clock) -> None:
        self._kafka = kafka
        self._topic = topic
        self._clock = clock
        self._producer = clients.producer(
            kafka,
            queue_buffering_max_messages=_QUEUED_RECORDS,
            queue_buffering_max_kbytes=_QUEUED_KB,
            message_timeout_ms=DELIVERY_TIMEOUT_S * 1000,
        )
        self.bytes = 0
        self.partitions: Counter[int] = Counter()
        self.poison: list[Poisoned] = []
        self.failed = 0
        self._first_error: KafkaError | None = None

    @property
    def taken(self) -> int:
        """Good records that the broker has confirmed."""
        return self.partitions.total()

    def queue(self, keys: Sequence[bytes | None], values: Sequence[bytes]) -> None:
        """Queue good records, waiting while the queue is full. Raises what the broker's refusal maps to."""
        produce, topic, report = self._producer.produce, self._topic, self._report
        for key, value in zip(keys, values, strict=True):
            try:
                produce(topic, value, key, on_delivery=report)
            except BufferError:
                self._queue_later(value, key, report)
            except KafkaException as error:
                raise self._mapped(error) from error
        self.bytes += sum(map(len, values))
        self._producer.poll(0)

    def queue_bad(self, key: bytes | None, value: bytes, kind: str) -> None:
        """Queue one bad record. Once the broker has it, its place is in `poison`."""

        def report(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                self._fail(error)
            else:
                self.poison.append(Poisoned(self._topic, message.partition(), message.offset(), kind))

        self._queue_later(value, key, report)

    def finish(self, told: Callable[[int], None] = lambda delivered: None) -> None:
        """Wait until the broker has answered for every record, or the delivery timeout has passed for all, and close."""
        deadline_s = self._clock.monotonic_s() + DELIVERY_TIMEOUT_S + 5
        while self._producer.flush(_WAIT_S) and self._clock.monotonic_s() < deadline_s:
            told(self.taken)
        told(self.taken)
        self._producer.purge()  # what is left is reported as failed
        self._producer.flush(_WAIT_S)
        self._producer.close()

    def check(self) -> None:
        """Raise what the first refusal maps to, if the broker did not take every record."""
        if self.failed:
            mapped = self._mapped(self._first_error or KafkaError(KafkaError._TIMED_OUT))
            asked = self.taken + len(self.poison) + self.failed
            message = f"{self.failed} of {asked} records did not reach {self._topic}: {mapped.message}"
            raise type(mapped)(message, mapped.remedy)

    def _queue_later(
        self, value: bytes, key: bytes | None, report: Callable[[KafkaError | None, Message], None]
    ) -> None:
        while True:  # ends: within the delivery timeout each queued record is taken or has failed
            try:
                self._producer.produce(self._topic, value, key, on_delivery=report)
            except BufferError:
                self._producer.poll(_WAIT_S)
            except KafkaException as error:
                raise self._mapped(error) from error
            else:
                return

    def _report(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._fail(error)
        else:
            self.partitions[message.partition()] += 1

    def _fail(self, error: KafkaError) -> None:
        self.failed += 1
        self._first_error = self._first_error or error

    def _mapped(self, error: KafkaError | KafkaException) -> ThalwegError:
        return clients.kafka_error(error, f"producing to {self._topic}", self._kafka)
