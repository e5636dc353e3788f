"""Upkeep of one dataset: settle its quarantine, end the life of expired dates, merge small files, remove what nothing needs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from compactors.announced import Announced
from compactors.policy import Expiry, MergeCommit, Removal, plan_merges
from compactors.retention import apply_retention, plan_retention
from compactors.rewrite import Merged, merge_small_files
from compactors.vacuum import Vacuum
from schemas.datasets import Dataset
from schemas.quarantine import PARTITION_COLUMN, table_schema
from thalweg.clock import Clock
from thalweg.errors import TableNotFound
from thalweg.settings import Settings
from thalweg.tables.files import LANDED, QUARANTINED, Origin, Snapshot
from thalweg.tables.log import Log
from thalweg.tables.place import storage_options, table_uri
from thalweg.tables.settle import Settler
from thalweg.tables.spans import quarantine_app_id
from thalweg.telemetry import METRICS

_LOG = structlog.get_logger("compact")


@dataclass(frozen=True, slots=True)
class Size:
    """Data files of a table's newest version."""

    files: int
    bytes: int

    @classmethod
    def of(cls, snapshot: Snapshot) -> "Size":
        """What a snapshot has."""
        return cls(len(snapshot.files), sum(file.size for file in snapshot.files))


@dataclass(slots=True)
class TableReport:
    """What was found and done, or what would be done, to one table."""

    table: str
    uri: str
    before: Size
    after: Size | None = None  # None when nothing was to be done but planning
    merges_planned: list[MergeCommit] = field(default_factory=list)
    merged: list[Merged] = field(default_factory=list)
    expiry: Expiry | None = None
    retired_in: int | None = None  # the version that removed the expired dates
    removal: Removal | None = None

    def to_plain(self) -> dict[str, Any]:
        """As JSON could hold it."""
        return {
            "table": self.table,
            "uri": self.uri,
            "before": {"files": self.before.files, "bytes": self.before.bytes},
            "after": self.after and {"files": self.after.files, "bytes": self.after.bytes},
            "merges_planned": [
                {"date": date.value, "files": date.files, "bytes": date.bytes, "into": date.into}
                for commit in self.merges_planned
                for date in commit.dates
            ],
            "merges": [
                {"version": done.version, "files": done.files_before, "into": done.files_after, "rows": done.rows}
                for done in self.merged
            ],
            "retention": self.expiry
            and {
                "before": self.expiry.before,
                "dates": list(self.expiry.dates),
                "files": self.expiry.files,
                "rows": self.expiry.rows,
                "version": self.retired_in,
            },
            "vacuum": self.removal
            and {
                "files": len(self.removal.files),
                "bytes": self.removal.bytes,
                "kept_for_versions": self.removal.kept_for_versions,
                "kept_for_writers": self.removal.kept_for_writers,
            },
        }


class Upkeep:
    """What the compactor does for one dataset, once. A dataset that has no table yet needs none: no reports."""

    def __init__(
        self,
        dataset: Dataset,
        settings: Settings,
        clock: Clock,
        read_announced: Callable[[], Announced],
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._dataset = dataset
        self._settings = settings.compactor
        self._clock = clock
        self._read_announced = read_announced
        self._stopping = stopping
        self._options: Mapping[str, str] = storage_options(settings.tables)
        self._uri = table_uri(settings.tables, dataset.name)
        self._quarantine_uri = table_uri(settings.tables, dataset.quarantine_name)

    def run(self, vacuum: bool = True) -> list[TableReport]:
        """Do it. Raises what the parts raise; what was done until then stands.

        Each commit is whole by itself: to be stopped between two of them leaves nothing to mend.
        """
        if not Log(self._uri, self._options).has_entries():
            return []
        self._settle()
        reports = [self._begin(name, uri) for name, uri, _ in self._tables()]
        for report, (name, uri, origin) in zip(reports, self._tables(), strict=True):
            if report.expiry is not None and report.expiry.files:
                done = apply_retention(uri, self._dataset, report.expiry, self._options)
                report.retired_in = None if done is None else done.version
            for merged in merge_small_files(uri, origin, self._settings, self._clock, self._options, self._stopping):
                report.merged.append(merged)
                METRICS.compactions.labels(name).inc()
                METRICS.compacted_files.labels(name).inc(merged.files_before)
                _LOG.info(
                    "merged", table=name, version=merged.version, files=merged.files_before, into=merged.files_after
                )
            if vacuum and not self._stopping():
                worker = self._vacuum(name, uri)
                report.removal = worker.apply(worker.plan())
                METRICS.vacuumed_files.labels(name).inc(len(report.removal.files))
            report.after = Size.of(Snapshot(uri, self._options))
        return reports

    def plan(self) -> list[TableReport]:
        """Say what would be done. Changes nothing."""
        if not Log(self._uri, self._options).has_entries():
            return []
        reports = []
        for name, uri, _ in self._tables():
            report = self._begin(name, uri)
            report.removal = self._vacuum(name, uri).plan().removal
            reports.append(report)
        return reports

    def _tables(self) -> list[tuple[str, str, Origin]]:
        tables = [(self._dataset.name, self._uri, LANDED)]
        if Log(self._quarantine_uri, self._options).has_entries():
            tables.append((self._dataset.quarantine_name, self._quarantine_uri, QUARANTINED))
        return tables

    def _begin(self, name: str, uri: str) -> TableReport:
        snapshot = Snapshot(uri, self._options)
        report = TableReport(name, uri, Size.of(snapshot))
        if name == self._dataset.name:
            report.expiry = plan_retention(snapshot, self._dataset, self._clock)
        if len(snapshot.partition_columns) == 1:
            report.merges_planned = plan_merges(
                snapshot.files,
                snapshot.partition_columns[0],
                self._settings.target_file_bytes,
                self._settings.min_files,
            )
        return report

    def _settle(self) -> None:
        """What a worker that died left between its landing and the quarantine is settled before anything is removed."""
        data = Snapshot(self._uri, self._options)
        settler = Settler(
            self._dataset.name, self._uri, self._quarantine_uri, table_schema(), PARTITION_COLUMN, self._options
        )
        settler.settle(data.table_id, data.version)

    def _vacuum(self, name: str, uri: str) -> Vacuum:
        announced = self._read_announced().get((name, Snapshot(uri, self._options).table_id))
        unsettled = self._unsettled() if uri == self._quarantine_uri else set()
        return Vacuum(uri, self._settings, announced, unsettled, self._clock, self._options)

    def _unsettled(self) -> set[str]:
        """Quarantine files that the data log names and the quarantine table has not taken in."""
        data = Snapshot(self._uri, self._options)
        try:
            settled = Snapshot(self._quarantine_uri, self._options).transaction(
                quarantine_app_id(self._dataset.name, data.table_id)
            )
        except TableNotFound:
            settled = None
        log = Log(self._uri, self._options)
        first = log.earliest() if settled is None else settled + 1
        return {
            reject["path"]
            for entry in log.entries(first, log.latest(data.version))
            for reject in entry.info.get("thalweg.rejects", ())
        }
