"""What a worker tells lineage about itself: that it started, goes on, ended or failed. Versions are told by the log alone."""

from types import TracebackType
from typing import Self

import structlog

from schemas.datasets import Dataset
from schemas.openlineage import RunState, encode, message_key, worker_event
from thalweg.clock import Clock
from thalweg.settings import KafkaSettings
from thalweg.streams.clients import bootstrap, producer, topics

_LOG = structlog.get_logger("ingest")

# How often a running worker says so.
BEAT_EVERY_S = 60.0
# How long an event may wait for the broker, and the end of the worker for its last event.
PATIENCE_S = 5.0


class RunEvents:
    """The run events of one worker, around its work. Lineage that cannot be told is logged; ingest goes on."""

    def __init__(self, kafka: KafkaSettings, dataset: Dataset, writer: str, clock: Clock) -> None:
        self._kafka = kafka
        self._dataset = dataset
        self._writer = writer
        self._clock = clock
        self._told_s = 0.0
        self._producer = producer(kafka, message_timeout_ms=round(PATIENCE_S * 1000))

    def __enter__(self) -> Self:
        self._tell("START")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tell("COMPLETE" if error is None else "FAIL", error)
        if left := self._producer.flush(PATIENCE_S):
            _LOG.warning("lineage was not told about this worker", events=left, remedy="see whether the broker runs")

    def beat(self) -> None:
        """Say that the worker goes on, if it has not for a while. Cheap: call it as often as you like."""
        self._producer.poll(0)
        if self._clock.monotonic_s() - self._told_s >= BEAT_EVERY_S:
            self._tell("RUNNING")

    def _tell(self, state: RunState, error: BaseException | None = None) -> None:
        self._told_s = self._clock.monotonic_s()
        event = worker_event(
            state,
            namespace=self._kafka.prefix,
            bootstrap=bootstrap(self._kafka),
            dataset=self._dataset.name,
            topics=self._dataset.topics,
            writer=self._writer,
            time_ms=self._clock.now_ms(),
            error=error,
        )
        self._producer.produce(topics(self._kafka).lineage, encode(event), message_key(event))
