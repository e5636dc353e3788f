"""A consumer made wholly through librdkafka's C interface: whole batches of messages as addresses, no object a message.

Its handle is its own. One taken out of the public client's Consumer would run that client's callbacks outside their state
(a deleted topic aborts the process) and lose messages when partitions are forwarded anew.
"""

import atexit
import contextlib
import ctypes
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from confluent_kafka import KafkaError, KafkaException

from thalweg.settings import KafkaSettings
from thalweg.streams import librdkafka as c
from thalweg.streams.clients import consumer_properties

Partition = tuple[str, int]

# How long the end of the process waits for a thread that is within a call.
_END_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Oddity:
    """An error that came where a message would."""

    error: KafkaError
    topic: str | None
    partition: int
    offset: int


class BulkConsumer:
    """A member of a group. One thread uses it; what it asks of its owner it asks on that thread, from within a call.

    `on_assign` says from which offset to read each partition given, or None when that cannot be said; `on_revoke` is told
    before partitions are let go. Neither raises: its owner keeps what went wrong, and looks after the call. The constructor
    and the methods raise KafkaException.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        group: str,
        on_assign: Callable[[list[Partition]], Mapping[Partition, int] | None],
        on_revoke: Callable[[list[Partition]], None],
        **properties: Any,
    ) -> None:
        self._on_assign, self._on_revoke = on_assign, on_revoke
        self._raised: BaseException | None = None
        self._using = threading.Lock()
        chosen = consumer_properties(kafka, group, **properties)
        told: Callable[[KafkaError], None] = chosen.pop("error_cb")
        # Held here, for the library holds addresses only.
        self._rebalance = c.RebalanceCallback(self._rebalanced)
        self._errors = c.ErrorCallback(lambda _, code, text, __: told(KafkaError(code, _text(text or b""))))
        conf = c.configuration(chosen)
        c.library().rd_kafka_conf_set_rebalance_cb(conf, self._rebalance)
        c.library().rd_kafka_conf_set_error_cb(conf, self._errors)
        self.handle: int | None = c.consumer_handle(conf)
        c.check_code(c.library().rd_kafka_poll_set_consumer(self.handle))
        self._queue: int | None = c.library().rd_kafka_queue_get_consumer(self.handle)
        _open.add(self)

    def subscribe(self, topics: Iterable[str]) -> None:
        """Join the group for these topics."""
        with c.Listed(list(topics)) as listed:
            c.check_code(c.library().rd_kafka_subscribe(self.handle, listed))

    def take(self, messages: npt.NDArray[np.int64], count: int, timeout_s: float) -> int:
        """Put the addresses of up to `count` messages into `messages`; return how many came within `timeout_s`.

        Each must be destroyed by the caller, soon and in any case: the library cannot close while one is held. What stands
        behind them is nobody's: the library takes messages back, and leaves their addresses, when the group moves meanwhile.
        """
        with self._using:
            taken = int(
                c.library().rd_kafka_consume_batch_queue(
                    self._queue, round(timeout_s * 1000), messages.ctypes.data, count
                )
            )
        if taken < 0:
            raise KafkaException(KafkaError(KafkaError._FAIL, "a batch could not be taken"))
        if self._raised is not None:
            destroy(messages[:taken])
            self._raise()
        return taken

    def restart(self, positions: Mapping[Partition, int], held: Mapping[Partition, int]) -> None:
        """Fetch some partitions from other offsets, and go on with the rest of those held."""
        if self._cooperative():
            with c.Listed(positions) as listed:
                c.check_error(c.library().rd_kafka_incremental_unassign(self.handle, listed))
                c.check_error(c.library().rd_kafka_incremental_assign(self.handle, listed))
        else:
            self.assign({**held, **positions})

    def assign(self, positions: Mapping[Partition, int]) -> None:
        """Read exactly these partitions, whether a group gave them or not."""
        with c.Listed(positions) as listed:
            c.check_code(c.library().rd_kafka_assign(self.handle, listed))

    def commit(self, positions: Mapping[Partition, int]) -> None:
        """Commit group offsets, and do not wait."""
        with c.Listed(positions) as listed:
            c.check_code(c.library().rd_kafka_commit(self.handle, listed, 1))

    def end(self, partition: Partition) -> int:
        """Give the partition's end as last heard from the broker; 0 when it was not heard of."""
        low, high = ctypes.c_int64(), ctypes.c_int64()
        found = c.library().rd_kafka_get_watermark_offsets(
            self.handle, partition[0].encode(), partition[1], ctypes.byref(low), ctypes.byref(high)
        )
        return 0 if found else max(high.value, 0)

    def pause(self, partitions: Sequence[Partition], held: bool) -> None:
        """Stop to fetch these partitions, or go on."""
        with c.Listed(dict.fromkeys(partitions, c.OFFSET_INVALID)) as listed:
            pause = c.library().rd_kafka_pause_partitions if held else c.library().rd_kafka_resume_partitions
            c.check_code(pause(self.handle, listed))

    def close(self) -> None:
        """Leave the group. Every message must have been destroyed."""
        self._close()
        self._raise()

    def end_with_process(self) -> None:
        """Leave the group without asking anybody: the process ends. Another thread's next `take` never comes back."""
        if self._using.acquire(timeout=_END_S):
            self._on_assign = self._on_revoke = _nothing
            self._close()

    def _close(self) -> None:
        """Let go of the queue, then of the consumer, then of its memory: in this order nothing waits for anything."""
        handle, queue = self.handle, self._queue
        _open.discard(self)
        if handle is None:
            return
        c.library().rd_kafka_queue_destroy(queue)
        self._queue = None
        try:
            c.library().rd_kafka_consumer_close(handle)  # a fatal error is told by `take`, and closed nonetheless
        finally:
            c.library().rd_kafka_destroy(handle)
            self.handle = None

    def _cooperative(self) -> bool:
        return bool(c.library().rd_kafka_rebalance_protocol(self.handle) == b"COOPERATIVE")

    def _rebalanced(self, handle: int, code: int, partitions: Any, _: Any) -> None:
        """The group moves partitions. Nothing may be raised into the library, and it waits for an answer in any case."""
        lib = c.library()
        try:
            cooperative = self._cooperative()
            moved = c.partitions_of(partitions)
            if code == c.ASSIGN_PARTITIONS:
                starts = self._on_assign(moved)
                with c.Listed(dict.fromkeys(moved, c.OFFSET_INVALID) if starts is None else starts) as listed:
                    if cooperative:
                        c.check_error(lib.rd_kafka_incremental_assign(handle, listed))
                    else:
                        c.check_code(lib.rd_kafka_assign(handle, listed))
                return
            if code == c.REVOKE_PARTITIONS:
                self._on_revoke(moved)
            if cooperative and code == c.REVOKE_PARTITIONS:
                c.check_error(lib.rd_kafka_incremental_unassign(handle, partitions))
            else:
                c.check_code(lib.rd_kafka_assign(handle, None))
        except BaseException as error:  # noqa: BLE001 - raised after the call
            self._raised = error

    def _raise(self) -> None:
        if self._raised is not None:
            raised, self._raised = self._raised, None
            raise raised


def oddity(message: int) -> Oddity:
    """Read the error message at an address."""
    found = c.Message.from_address(message)
    text = ctypes.string_at(found.payload, found.length) if found.payload else c.library().rd_kafka_err2str(found.err)
    topic = topic_name(found.topic) if found.topic else None
    return Oddity(KafkaError(found.err, _text(text)), topic, found.partition, found.offset)


def topic_name(topic: int) -> str:
    """Give the name of a message's topic by its handle, while the message is held."""
    return str(c.library().rd_kafka_topic_name(topic).decode())


def destroy(messages: npt.NDArray[np.int64]) -> None:
    """Destroy messages that nobody will read; `messages` is 0 afterwards, and where it was 0 there was none."""
    for place in np.flatnonzero(messages).tolist():
        message, messages[place] = int(messages[place]), 0
        c.library().rd_kafka_message_destroy(message)


def _text(text: bytes) -> str:
    return text.decode(errors="replace")


def _nothing(_: list[Partition]) -> None:
    return None


# Not closed yet: an owner that forgets one leaves its group when the process ends, not a session's time later.
_open: set[BulkConsumer] = set()


@atexit.register
def _end() -> None:
    for consumer in list(_open):
        with contextlib.suppress(Exception):
            consumer.end_with_process()
