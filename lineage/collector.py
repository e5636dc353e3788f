"""The collector: reads the lineage topic into the store.

Events and the position behind them are written in one transaction, so whatever crashes, each event takes effect once and
none is passed over. An event that cannot be read is set aside with the reason; it stops nobody.
"""

import logging
import threading
from collections.abc import Sequence

from lineage.events import Refusal, read_event
from lineage.intake import Position, Received
from lineage.store import Store
from thalweg.errors import TopicRecreated
from thalweg.settings import KafkaSettings
from thalweg.streams.admin import Admin
from thalweg.streams.clients import topics
from thalweg.streams.reader import Expired, Reader, Record
from thalweg.telemetry import METRICS, Metrics

_LOG = logging.getLogger("lineage.collector")

# One transaction of the store: a few hundred events take some 100 ms on SQLite, and readers hardly wait.
EVENTS_AT_ONCE = 500
# How soon a stop is noticed.
_WAIT_S = 0.5


class Collector:
    """Reads `<prefix>.lineage` as a member of the group `<prefix>.lineage.collector`."""

    def __init__(self, store: Store, kafka: KafkaSettings, metrics: Metrics = METRICS) -> None:
        self._store = store
        self._kafka = kafka
        self._metrics = metrics
        self._topic = topics(kafka).lineage
        self._reader: Reader | None = None

    @property
    def is_ready(self) -> bool:
        """Whether the broker has given it partitions to read."""
        return self._reader is not None and self._reader.is_assigned

    def run(self, stop: threading.Event) -> None:
        """Read until `stop` is set.

        Raises BrokerUnavailable and TopicNotFound when it cannot begin, StorageUnavailable when the store refuses, and
        TopicRecreated when the topic was deleted and made again; after that, a new start reads the new one.
        """
        with Admin(self._kafka) as admin:
            topic_id = admin.topic_id(self._topic)
            group = f"{self._topic}.collector"
            reader = Reader(self._kafka, group, self._topic, lambda part: self._store.positions(topic_id).get(part))
            self._reader = reader
            try:
                while not stop.is_set():
                    read = reader.poll(_WAIT_S, EVENTS_AT_ONCE)
                    if read:
                        self._check_same_topic(admin, topic_id)
                        reader.note(self._keep(read, topic_id))
            finally:
                self._reader = None
                reader.close()

    def _check_same_topic(self, admin: Admin, topic_id: str) -> None:
        """A topic that was made anew goes on being delivered without an error, from the middle."""
        now = admin.topic_id(self._topic)
        if now != topic_id:
            raise TopicRecreated(
                f"topic {self._topic} was deleted and made again (id {now}, was {topic_id})",
                "start the collector again: it reads the new topic from the beginning, and keeps what it has",
            )

    def _keep(self, read: Sequence[Record | Expired], topic_id: str) -> dict[int, int]:
        batch = [self._received(record, topic_id) for record in read]
        next_offsets = {record.partition: record.offset + 1 for record in read if isinstance(record, Record)}
        positions = [Position(topic_id, partition, offset) for partition, offset in next_offsets.items()]
        taken = self._store.take(batch, positions)
        for outcome in ("stored", "known", "refused"):
            self._metrics.lineage_events.labels(outcome).inc(getattr(taken, outcome))
        return next_offsets

    def _received(self, record: Record | Expired, topic_id: str) -> Received:
        if isinstance(record, Expired):
            reason = f"{self._topic}[{record.partition}]: events have expired that were never collected"
            _LOG.error("%s; what they told is missing from the store", reason)
            return Received(Refusal(reason), f"{topic_id}/{record.partition}/expired", b"")
        source = f"{topic_id}/{record.partition}/{record.offset}"
        content = read_event(record.value) if record.value is not None else Refusal("a record without a value")
        if isinstance(content, Refusal):
            _LOG.warning("set aside %s[%d]@%d: %s", self._topic, record.partition, record.offset, content.reason)
        return Received(content, source, record.value or b"")
