"""The ingest worker: all control flow of one dataset's way from Kafka to Delta, readable from top to bottom."""

import gc
import os
import signal
import socket
import sys
import threading
import uuid
from collections.abc import Mapping
from contextlib import ExitStack, closing
from types import FrameType

import pyarrow as pa
import structlog

from ingest.block import Block
from ingest.decode.resolve import landed_schema
from ingest.interpret import Interpreter
from ingest.landing import Landed, Landing
from ingest.patience import Patience
from ingest.pipeline import Pipeline
from ingest.report import Report
from ingest.run_events import RunEvents
from ingest.sources.opening import open_source
from ingest.sources.source import Partition, Source
from ingest.table import LandingTable
from ingest.watchdog import Watchdog
from schemas.arrow import event_schema
from schemas.datasets import Dataset
from schemas.quarantine import PARTITION_COLUMN, table_schema
from schemas.registry import Registry
from thalweg.clock import Clock, SystemClock
from thalweg.errors import OffsetsExpired, SchemaNotFound, TableChanged, TopicNotFound
from thalweg.settings import Settings
from thalweg.streams.admin import Admin
from thalweg.tables.settle import Settler

_LOG = structlog.get_logger("ingest")

# How long one poll gathers records: bounds how late a stop, a commit by time or a failure is seen.
POLL_S = 0.2
# A full queue for this long means that landing is slower than Kafka's patience with a silent member may last.
HOLD_AFTER_S = 10.0
# How often a worker that only waits for other members to land their partitions looks at the table.
LOOK_ELSEWHERE_S = 1.0
# Batches dropped in a row because another writer moved the table, before the worker gives up.
DROPS_IN_A_ROW = 20
# How long a thread may keep the interpreter while another waits for it. The writing thread needs it for a moment between two
# pieces of native code, and would wait Python's default of 5 ms each time for a consuming thread that never rests.
SWITCH_S = 0.000_05


class Worker:
    """Lands one dataset until told to stop. Runs on the thread that calls `run`; one other thread writes."""

    def __init__(self, dataset: Dataset, settings: Settings, report: Report, clock: Clock | None = None) -> None:
        self._dataset = dataset
        self._settings = settings
        self._clock = clock or SystemClock()
        self._report = report
        self._stopping = threading.Event()
        self._name = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4()}"
        with ExitStack() as opened:
            self._admin = opened.enter_context(Admin(settings.kafka))
            self._registry = opened.enter_context(closing(Registry(settings.registry)))
            self._table = LandingTable(dataset, settings.tables, self._newest_event_schema(), self._topic_ids())
            # Half of what the watchdog allows: what is away is named before the worker counts as stalled.
            patience = Patience(self._clock, settings.ingest.stall_s / 2, self._stopping)
            self._landing = Landing(dataset, settings, self._table, self._admin, self._name, self._clock, patience)
            self._settler = Settler(
                dataset.name,
                self._table.uri,
                self._table.quarantine_uri,
                table_schema(),
                PARTITION_COLUMN,
                self._table.storage_options,
            )
            interpreter = Interpreter(dataset, self._registry, patience)
            self._pipeline = Pipeline(
                self._landing, self._table, interpreter, settings.ingest.queued_blocks, self._clock, self._settle
            )
            self._opened = opened.pop_all()
        self._source: Source | None = None
        # When to look at what other members have landed, in monotonic seconds: at the latest when a group that waits for a
        # member that was killed has had its time. Under KIP-848 a member that gets no partition is not told so.
        self._look_elsewhere_at_s = self._clock.monotonic_s() + settings.kafka.session_timeout_s
        self._held_rows = self._held_bytes = self._drops = self._beats = 0
        self._giving_up = False
        self._switch_interval_s = sys.getswitchinterval()
        self._commit_at: float | None = None  # monotonic seconds

    def stop(self) -> None:
        """Land what is held, leave the group, end. Safe from any thread and from a signal handler."""
        self._stopping.set()

    def positions(self) -> dict[Partition, int]:
        """Next offset of each partition held, records not yet committed included."""
        return self._landing.positions

    def is_ready(self) -> bool:
        """Whether this worker is a member of its group and has partitions to land."""
        return not self._stopping.is_set() and bool(self._landing.positions)

    def stop_on_signals(self) -> None:
        """Stop on SIGTERM and SIGINT."""

        def on_signal(number: int, frame: FrameType | None) -> None:
            del number, frame
            self.stop()

        signal.signal(signal.SIGTERM, on_signal)
        signal.signal(signal.SIGINT, on_signal)

    def run(self, *, until_caught_up: bool = False) -> None:
        """Consume, land, commit, until `stop`; with `until_caught_up`, also once everything that is in the topics now has landed,
        through this worker or through other members of its group.

        Raises what stops it for good: TopicRecreated, OffsetsExpired, RegistryUnavailable, StorageUnavailable …
        """
        with RunEvents(self._settings.kafka, self._dataset, self._name, self._clock) as told:
            try:
                self._settle_leftovers()
                ends = self._ends() if until_caught_up else None
                self._source = self._open_source()
                # Records are freed by reference counts; looking for cycles among their many objects costs throughput.
                gc.collect()
                gc.freeze()
                gc.disable()
                sys.setswitchinterval(SWITCH_S)
                with Watchdog(self._settings.ingest.stall_s, self._clock, lambda: self._beats + self._pipeline.steps):
                    self._consume(self._source, ends, told)
            finally:
                self._giving_up = True
                self._stopping.set()
                self._close()

    def _close(self) -> None:
        """Leave the group, end the writing thread, let go of connections: also when one of these fails."""
        with self._opened as opened:
            opened.callback(sys.setswitchinterval, self._switch_interval_s)
            opened.callback(gc.enable)
            opened.callback(gc.unfreeze)
            opened.callback(self._report.close)
            if self._source is not None:
                opened.callback(self._source.close)
            # First of all: what is queued must not be committed when partitions are given back.
            opened.callback(self._pipeline.close)

    def _consume(self, source: Source, ends: Mapping[Partition, int] | None, told: RunEvents) -> None:
        """Step by step, until told to stop or until `ends` have landed."""
        while not self._stopping.is_set():
            if ends is not None and self._caught_up(source, ends):
                try:
                    self._finish()
                except TableChanged as change:
                    self._drop(source, change)
                else:
                    return
            self._step(source)
            told.beat()
        try:
            self._finish()
        except TableChanged as change:
            _LOG.warning("dropped the last batch: another writer moved the table", reason=change.message)

    def _caught_up(self, source: Source, ends: Mapping[Partition, int]) -> bool:
        """Whether this member has read its partitions to their ends, and other members have landed theirs."""
        held = self._landing.positions
        elsewhere = {partition: end for partition, end in ends.items() if partition not in held}
        if not source.reached(ends):
            return False
        if held and not elsewhere:
            return True
        now_s = self._clock.monotonic_s()
        if now_s < self._look_elsewhere_at_s:
            return False
        self._look_elsewhere_at_s = now_s + LOOK_ELSEWHERE_S
        return self._table.has_landed(elsewhere, self._topic_ids())

    def _step(self, source: Source) -> None:
        """One round: take a block, hand it over, commit when due, pass on what has landed."""
        try:
            block = source.poll(self._settings.ingest.block_rows, self._settings.ingest.block_bytes, POLL_S)
            if block is not None or not source.starved():
                self._beats += 1  # waiting for records that the broker says are there is no progress
            if block is not None:
                self._hand_over(source, block)
            if self._due():
                self._ask_for_commit()
            self._pass_on(source)
        except TableChanged as change:
            self._drop(source, change)
        except OffsetsExpired:
            self._finish()  # what was read before is gone from Kafka too: it is nowhere else
            raise

    def _drop(self, source: Source, change: TableChanged) -> None:
        """Another writer moved the table: read again from where it now stands. Raises when that happens again and again."""
        self._drops += 1
        if self._drops > DROPS_IN_A_ROW:
            raise change
        _LOG.warning(
            "dropped a batch, reading it again from the table's offsets", reason=change.message, drops=self._drops
        )
        source.seek(self._abandon())

    def _hand_over(self, source: Source, block: Block) -> None:
        """Give the block to the writing thread; while that is busy, keep the membership and stop fetching."""
        waited_s = 0.0
        while not self._pipeline.offer(block, POLL_S):
            waited_s += POLL_S
            if waited_s >= HOLD_AFTER_S:
                source.hold(True)
                try:
                    self._pipeline.drain()
                finally:
                    source.hold(False)  # reading again from other offsets would not lift it
        self._held_rows += len(block)
        self._held_bytes += block.value_bytes
        if self._commit_at is None:
            self._commit_at = self._clock.monotonic_s() + self._settings.ingest.commit_interval_s
        self._report.consumed(len(block))

    def _due(self) -> bool:
        limits = self._settings.ingest
        if self._held_rows >= limits.commit_rows or self._held_bytes >= limits.commit_bytes:
            return True
        return self._commit_at is not None and self._clock.monotonic_s() >= self._commit_at

    def _ask_for_commit(self) -> None:
        while not self._pipeline.commit(POLL_S):
            pass  # bounded: the writing thread makes room or fails, and the watchdog watches it
        self._nothing_held()

    def _pass_on(self, source: Source) -> None:
        """Tell the group and the report what has landed."""
        self._pipeline.check()
        for landed in self._pipeline.landed():
            self._drops = 0
            source.acknowledge(landed.positions)
            # Libraries make cycles (each Parquet footer is one), which nobody else looks for while the collector is off.
            gc.collect()
        self._report.lag(source.lag())

    def assigned(self, partitions: list[Partition]) -> Mapping[Partition, int]:
        """Handler of the source: start to land these partitions, from where the table says."""
        moved: Mapping[Partition, int] = {}
        try:
            self._pipeline.drain()
            self._table.writer.refresh()
        except TableChanged as change:
            _LOG.warning("dropped a batch while partitions were assigned", reason=change.message)
            moved = self._abandon()
        starts = self._landing.take(partitions)
        self._look_elsewhere_at_s = self._clock.monotonic_s()
        _LOG.info(
            "partitions assigned", dataset=self._dataset.name, starts={f"{t}[{p}]": o for (t, p), o in starts.items()}
        )
        return {**moved, **starts}

    def revoked(self, partitions: list[Partition]) -> Mapping[Partition, int]:
        """Handler of the source: land what is held before another member reads these partitions."""
        moved: Mapping[Partition, int] = {}
        if not self._giving_up:
            try:
                self._finish()
            except TableChanged as change:
                # Another member was faster. What is held is stale; what stays ours is read again.
                _LOG.warning("dropped a batch while partitions were taken away", reason=change.message)
                self._pipeline.reset()
                self._landing.release(partitions)
                moved = self._abandon()
        self._landing.release(partitions)
        _LOG.info("partitions revoked", dataset=self._dataset.name, partitions=[f"{t}[{p}]" for t, p in partitions])
        return moved

    def _finish(self) -> None:
        """Land what is held, now, and wait for it."""
        self._pipeline.drain()
        self._ask_for_commit()
        self._pipeline.drain()
        if self._source is not None:
            self._pass_on(self._source)

    def _abandon(self) -> Mapping[Partition, int]:
        """Forget what is held; return where the table says that each partition is to be read from."""
        self._pipeline.reset()
        self._nothing_held()
        return self._landing.abandon()

    def _nothing_held(self) -> None:
        self._held_rows = self._held_bytes = 0
        self._commit_at = None

    def _settle(self, landed: Landed, seconds: float) -> None:
        """After each commit, on the writing thread: report it and bring the quarantine table up to it."""
        if any(span.quarantined for span in landed.spans):
            self._settler.settle(self._table.writer.table_id, landed.version)
        self._report.landed(landed, seconds)

    def _settle_leftovers(self) -> None:
        """A worker that was killed between its commit and its settling left files that the log names: add them."""
        added = self._settler.settle(self._table.writer.table_id, self._table.writer.version)
        if added:
            _LOG.info("settled quarantine files that an earlier worker left", files=added)

    def _open_source(self) -> Source:
        group = f"{self._settings.kafka.prefix}.ingest.{self._dataset.name}"
        return open_source(self._settings, group, self._dataset.topics, self, self._clock)

    def _topic_ids(self) -> dict[str, str]:
        """The ids of the dataset's topics. Raises TopicNotFound."""
        found = {}
        for topic in self._dataset.topics:
            try:
                found[topic] = self._admin.topic_id(topic)
            except TopicNotFound as error:
                raise TopicNotFound(
                    f"dataset {self._dataset.name} reads topic {topic}, which does not exist on {self._settings.kafka.bootstrap}",
                    f"create it (thalweg apply FILE --create-topics 4, or your own tools), or mend `topics` of {self._dataset.name}",
                ) from error
        return found

    def _newest_event_schema(self) -> pa.Schema | None:
        """Fields of the newest registered events, for a table that is not there yet; None when nothing is registered.

        Where the dataset declares a schema to read by, these are its fields, whatever is registered.

        Raises UnsupportedSchema or DeclarationError: better at start than a quarantine full of good events.
        """
        for topic in self._dataset.topics:
            try:
                registered = self._registry.latest(f"{topic}-value").schema
            except SchemaNotFound:
                continue
            schema = landed_schema(registered, self._dataset.reader_schema)
            self._dataset.check(schema)
            return schema
        if self._dataset.reader_schema is None:
            return None
        schema = event_schema(self._dataset.reader_schema)
        self._dataset.check(schema)
        return schema

    def _ends(self) -> dict[Partition, int]:
        """Where partitions end that hold anything."""
        return {
            (topic, partition): high
            for topic in self._dataset.topics
            for partition, (low, high) in self._admin.watermarks(topic).items()
            if high > low
        }
