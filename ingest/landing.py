"""A landing: one Delta commit that holds a batch's rows, the spans they came from, and the verdicts on what was rejected."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingest.block import Block
from ingest.parts import Parts
from ingest.patience import Patience
from ingest.quarantine import QuarantineFile, Rejection
from ingest.sources.source import Partition
from ingest.table import LandingTable
from schemas.datasets import Dataset
from thalweg.clock import Clock
from thalweg.errors import OffsetsExpired, TopicRecreated, TopicTruncated
from thalweg.settings import Settings
from thalweg.streams.admin import Admin
from thalweg.tables.commit import Advance
from thalweg.tables.settle import encode_reject
from thalweg.tables.spans import FORMAT, Span, app_id, encode_spans


@dataclass(slots=True)
class _Progress:
    """Where one source partition stands in the open landing."""

    topic_id: str
    before: int | None  # the app transaction's version; None when the table has never heard of this partition
    first: int
    next: int
    landed: int = 0
    quarantined: int = 0
    filtered: int = 0

    def span(self, partition: Partition) -> Span:
        return Span(
            *partition[:1],
            self.topic_id,
            partition[1],
            self.first,
            self.next,
            self.landed,
            self.quarantined,
            self.filtered,
        )


@dataclass(frozen=True, slots=True)
class Landed:
    """What one commit did."""

    version: int
    rows: int
    files: int
    spans: tuple[Span, ...]
    rejected_rules: Mapping[str, int]
    conflicts: int = 0  # commits of other writers that this one met

    @property
    def positions(self) -> dict[Partition, int]:
        """Next offset of each partition that moved."""
        return {(span.topic, span.partition): span.next for span in self.spans}


@dataclass(slots=True)
class Interpreted:
    """A block as decoding and admission left it."""

    batches: list[
        tuple[pa.RecordBatch, npt.NDArray[np.int32], npt.NDArray[np.int64]]
    ]  # rows, their days, their places in the block
    rejections: list[Rejection]
    filtered: npt.NDArray[np.int64]  # places in the block
    schema_ids: set[int] = field(default_factory=set)


class Landing:
    """One dataset's open landing, and the offsets that its table vouches for. Not thread-safe."""

    def __init__(
        self,
        dataset: Dataset,
        settings: Settings,
        table: LandingTable,
        admin: Admin,
        writer_name: str,
        clock: Clock,
        patience: Patience,
    ) -> None:
        self._dataset = dataset
        self._settings = settings
        self._admin = admin
        self._table = table
        self._writer_name = writer_name
        self._patience = patience
        self._progress: dict[Partition, _Progress] = {}
        self._parts = Parts(table.uri, dataset.partition.column, settings.ingest, table.storage_options)
        self._quarantine = QuarantineFile(table.quarantine_uri, clock, table.storage_options)
        self._schema_ids: set[int] = set()
        self._rules: dict[str, int] = {}

    @property
    def positions(self) -> dict[Partition, int]:
        """Next offset of each partition held, what is not yet committed included. Safe to ask from any thread."""
        return {partition: progress.next for partition, progress in list(self._progress.items())}

    def take(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """Start to land these partitions, from where the table says. Returns the offset to read each from.

        Raises TopicRecreated, OffsetsExpired or TopicTruncated when the topic is not what the table's offsets speak of.
        """
        topics = sorted({topic for topic, _ in partitions})
        ids = self._admin.topic_ids(topics)
        self._table.bind_topics(ids)
        for topic in topics:
            held = [number for name, number in partitions if name == topic]
            for partition, (low, high) in self._admin.watermarks(topic, held).items():
                before = self._table.writer.transaction(app_id(self._dataset.name, ids[topic], partition))
                start = low if before is None else before
                _check_reach(topic, partition, start, low, high)
                self._progress[topic, partition] = _Progress(ids[topic], before, start, start)
        return {partition: self._progress[partition].next for partition in partitions}

    def release(self, partitions: Sequence[Partition]) -> None:
        """Stop to land these partitions. What was held of them has been committed or abandoned before."""
        for partition in partitions:
            self._progress.pop(partition, None)

    def fresh(self, block: Block) -> npt.NDArray[np.int64] | None:
        """Rows of the block that are to be landed; None for all of them.

        The group may deliver a record again after it moved partitions, or deliver one of a partition that was taken away:
        the table's offsets decide, so those rows are passed over.
        """
        keep: npt.NDArray[np.bool_] | None = None
        for (topic, partition), lowest, _ in block.reach():
            progress = self._progress.get((topic, partition))
            if progress is not None and lowest >= progress.next:
                continue
            keep = np.ones(len(block), bool) if keep is None else keep
            rows = (block.partition == partition) & (block.topic == block.topics.index(topic))
            keep[rows & (block.offset < (progress.next if progress else np.iinfo(np.int64).max))] = False
        return None if keep is None else np.flatnonzero(keep)

    def add(self, block: Block, fresh: npt.NDArray[np.int64] | None, interpreted: Interpreted) -> None:
        """Take in a block: rows to their parts, rejected records to the quarantine file, everything to the spans."""
        for batch, days, rows in interpreted.batches:
            if len(rows):
                self._parts.append(self._table.conform(batch, block, rows, self._topic_ids()), days)
        self._quarantine.add(block, self._topic_ids(), interpreted.rejections)
        self._schema_ids |= interpreted.schema_ids
        for rejection in interpreted.rejections:
            self._rules[rejection.rule] = self._rules.get(rejection.rule, 0) + 1
        landed = [rows for _, _, rows in interpreted.batches]
        rejected = np.array([rejection.row for rejection in interpreted.rejections], np.int64)
        self._account(block, "landed", np.concatenate(landed) if landed else rejected[:0])
        self._account(block, "quarantined", rejected)
        self._account(block, "filtered", interpreted.filtered)
        for partition, _, highest in block.reach() if fresh is None else _reach_of(block, fresh):
            self._progress[partition].next = highest + 1
        for partition, end in block.ends.items():
            # Markers and aborted records go with the span: Kafka may remove them before another record follows.
            if partition in self._progress:
                self._progress[partition].next = max(self._progress[partition].next, end)

    def commit(self) -> Landed | None:
        """Commit what is held; None when nothing was consumed.

        Raises TopicRecreated when the topic is another one now, BrokerUnavailable when nobody can be asked about that for
        longer than the worker's patience, and what TableWriter.commit raises. After an error the
        caller abandons this landing: nothing of it counts unless the table says so.
        """
        moved = {
            partition: progress for partition, progress in self._progress.items() if progress.next > progress.first
        }
        if not moved:
            return None
        self._check_topic_ids(moved)
        rows = self._parts.rows
        files = self._parts.close()
        rejects = self._quarantine.close()
        spans = tuple(progress.span(partition) for partition, progress in moved.items())
        steps = {
            app_id(self._dataset.name, progress.topic_id, partition): Advance(progress.before, progress.next)
            for (_, partition), progress in moved.items()
        }
        conflicts = self._table.writer.conflicts
        version = self._table.writer.commit(
            files,
            steps,
            {
                "thalweg.format": FORMAT,
                "thalweg.dataset": self._dataset.name,
                "thalweg.spans": encode_spans(spans),
                "thalweg.rejects": [encode_reject(rejects)] if rejects else [],
                "thalweg.schema_ids": sorted(self._schema_ids),
                "thalweg.writer": self._writer_name,
            },
        )
        for progress in moved.values():
            progress.before = progress.first = progress.next
            progress.landed = progress.quarantined = progress.filtered = 0
        landed = Landed(version, rows, len(files), spans, self._rules, self._table.writer.conflicts - conflicts)
        self._schema_ids, self._rules = set(), {}
        return landed

    def abandon(self) -> dict[Partition, int]:
        """Drop what is held and return, for each partition held, the offset that the table now says to read from."""
        self._parts.abandon()
        self._quarantine.abandon()
        self._schema_ids, self._rules = set(), {}
        held = list(self._progress)
        self._progress.clear()
        self._table.reopen()
        return self.take(held) if held else {}

    def _topic_ids(self) -> dict[str, str]:
        return {topic: progress.topic_id for (topic, _), progress in self._progress.items()}

    def _account(self, block: Block, kind: str, rows: npt.NDArray[np.int64]) -> None:
        for partition, count in _counts(block, rows).items():
            progress = self._progress[partition]
            setattr(progress, kind, getattr(progress, kind) + count)

    def _check_topic_ids(self, moved: Mapping[Partition, _Progress]) -> None:
        """A re-created topic is delivered from the middle without an error, so it is asked for after the last record."""
        topics = sorted({topic for topic, _ in moved})
        now = self._patience.until_answered(lambda: self._admin.topic_ids(topics))
        for (topic, _), progress in moved.items():
            if now[topic] != progress.topic_id:
                raise recreated(topic, progress.topic_id, now[topic])


def recreated(topic: str, known: str, now: str) -> TopicRecreated:
    """The error for a topic whose id is not the one that the table's offsets speak of."""
    return TopicRecreated(
        f"topic {topic} was deleted and made again: its id is {now}, and the table's offsets speak of {known}",
        "offsets of the new topic would be taken for those of the old one, so nothing was landed. Declare a new dataset for the"
        " new topic; to land it in the same table, name it in `topics` under a new name",
    )


def _check_reach(topic: str, partition: int, start: int, low: int, high: int) -> None:
    if start < low:
        raise OffsetsExpired(
            f"{topic}[{partition}]: offsets {start} to {low - 1} were removed by Kafka before they were landed",
            "they are lost to this topic. Raise the topic's retention; land the rest in a new dataset, or restore the records from a mirror",
        )
    if start > high:
        raise TopicTruncated(
            f"{topic}[{partition}]: the table has landed offsets up to {start - 1}, and the topic ends at {high}",
            "the broker lost records that were landed (unclean leader election?): the table keeps them; move the topic's producers"
            " to a new topic and declare a dataset for it",
        )


def _counts(block: Block, rows: npt.NDArray[np.int64]) -> dict[Partition, int]:
    """How many of these rows each source partition has."""
    found: dict[Partition, int] = {}
    if not len(rows):
        return found
    topic, partition = block.topic[rows], block.partition[rows]
    for index, name in enumerate(block.topics):
        per_partition = np.bincount(partition[topic == index] if len(block.topics) > 1 else partition)
        for number in np.flatnonzero(per_partition).tolist():
            found[name, number] = int(per_partition[number])
    return found


def _reach_of(block: Block, rows: npt.NDArray[np.int64]) -> list[tuple[Partition, int, int]]:
    """As Block.reach, of some rows only."""
    found = {}
    for (topic, partition), _, _ in block.reach():
        index = block.topics.index(topic)
        offsets = block.offset[rows[(block.partition[rows] == partition) & (block.topic[rows] == index)]]
        if len(offsets):
            found[topic, partition] = (int(offsets.min()), int(offsets.max()))
    return [(partition, low, high) for partition, (low, high) in found.items()]
