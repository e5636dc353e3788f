"""Taking events into the store: what each one changes, inside the caller's transaction.

An event that is already known, by its bytes, changes nothing. Events may come in any order: see `lineage.statements`.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Table, delete, func, select, update
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from lineage import layout, statements
from lineage.events import Dataset, Event, Job, Refusal

# Refused events that are kept, and how much of each: for a person to look at, not an archive.
REFUSED_KEPT = 10_000
REFUSED_CHARACTERS = 16_384
_RANKS = {None: 0, "OTHER": 0, "START": 1, "RUNNING": 2, "ABORT": 3, "FAIL": 3, "COMPLETE": 3}


@dataclass(frozen=True, slots=True)
class Received:
    """One event as it came, and from where: `topic id/partition/offset`, or `http` and the bytes' digest."""

    content: Event | Refusal
    source: str
    raw: bytes


@dataclass(slots=True)
class Taken:
    """How many events of a batch were stored, were known already, or were refused."""

    stored: int = 0
    known: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Position:
    """Where a reader of one partition goes on."""

    topic_id: str
    partition: int
    next: int


class RefusedByDatabase(Exception):
    """One event holds something that the database cannot keep; the batch is written again, event by event."""


@dataclass(slots=True)
class BatchWriter:
    """Writes one batch. Remembers ids of datasets and jobs, so that each is looked up once."""

    connection: Connection
    now_ms: int
    taken: Taken = field(default_factory=Taken)
    _ids: dict[tuple[str, str, str], int] = field(default_factory=dict)
    _documents: set[str] = field(default_factory=set)
    _edges: set[tuple[int, int, bool]] = field(default_factory=set)
    _parents: set[str] = field(default_factory=set)

    def take(self, received: Received, *, guarded: bool) -> None:
        """Store one event, or set it aside. `guarded`: what the database refuses costs only itself, at some speed.

        Raises RefusedByDatabase when it is not guarded; the transaction is lost then.
        """
        if isinstance(received.content, Refusal):
            self._refuse(received, received.content.reason)
        elif guarded:
            self._take_guarded(received, received.content)
        else:
            try:
                self._store(received.content)
            except DBAPIError as error:
                if _is_about_values(error):
                    raise RefusedByDatabase from error
                raise

    def _take_guarded(self, received: Received, content: Event) -> None:
        before = (dict(self._ids), set(self._documents), set(self._edges), set(self._parents))
        try:
            with self.connection.begin_nested():
                self._store(content)
        except DBAPIError as error:
            if not _is_about_values(error):
                raise
            self._ids, self._documents, self._edges, self._parents = before
            self._refuse(received, f"the database refuses it: {error.orig}")

    def advance(self, position: Position) -> None:
        """Note where the reader goes on."""
        values = {"topic_id": position.topic_id, "partition": position.partition, "next_offset": position.next}
        self.connection.execute(statements.position(self._dialect), values)

    def finish(self) -> None:
        """Tell readers that something is new, and keep the refused ones bounded."""
        if self.taken.stored or self.taken.refused:
            number = layout.revision.c.number
            self.connection.execute(update(layout.revision).values(number=number + 1))
        if self.taken.refused:
            kept = select(func.max(layout.refused_events.c.id) - REFUSED_KEPT).scalar_subquery()
            self.connection.execute(delete(layout.refused_events).where(layout.refused_events.c.id <= kept))

    @property
    def _dialect(self) -> str:
        return self.connection.dialect.name

    def _add(self, table: Table, **values: Any) -> bool:
        """Add a row unless its key is there; tell whether it was added."""
        return self.connection.execute(statements.add(self._dialect, table), values).first() is not None

    def _refuse(self, received: Received, reason: str) -> None:
        body = received.raw[: REFUSED_CHARACTERS * 4].decode(errors="replace").replace("\0", "�")[:REFUSED_CHARACTERS]
        added = self._add(
            layout.refused_events,
            source=received.source,
            reason=reason.replace("\0", "�").encode(errors="replace").decode()[:REFUSED_CHARACTERS],
            body=body,
            received_ms=self.now_ms,
        )
        self.taken.refused += added

    def _store(self, event: Event) -> None:
        run_id = str(event.run.run_id) if event.run else None
        identity = {"run_id": run_id, "state": event.state, "time_ms": event.time_ms, "producer": event.producer}
        if not self._add(layout.known_events, digest=event.digest, **identity):
            self.taken.known += 1
            return
        if event.dataset is not None:
            self._dataset(event.dataset, event.time_ms)
        if event.job is not None:
            job_id = self._job(event.job)
            if run_id is not None:
                self._run(event, run_id, job_id)
            self._datasets(event, run_id, job_id)
        self.taken.stored += 1

    def _datasets(self, event: Event, run_id: str | None, job_id: int) -> None:
        inputs = [(dataset, self._dataset(dataset, event.time_ms)) for dataset in event.inputs]
        outputs = [(dataset, self._dataset(dataset, event.time_ms)) for dataset in event.outputs]
        for is_output, sides in ((False, inputs), (True, outputs)):
            for dataset, dataset_id in sides:
                self._edge(job_id, dataset_id, is_output)
                if run_id is not None:
                    self._run_dataset(run_id, dataset_id, is_output, dataset.version)
        if run_id is None or event.state not in (None, "COMPLETE"):
            return  # a version exists when the run that made it is complete
        for dataset, dataset_id in outputs:
            if dataset.version is not None:
                version_id = self._version(event, run_id, dataset, dataset_id)
                self._spans(inputs, dataset, dataset_id, version_id)

    def _edge(self, job_id: int, dataset_id: int, is_output: bool) -> None:
        edge = (job_id, dataset_id, is_output)
        if edge not in self._edges:
            self._add(layout.edges, job_id=job_id, dataset_id=dataset_id, is_output=is_output)
            self._edges.add(edge)

    def _job(self, job: Job) -> int:
        key = ("job", job.namespace, job.name)
        kind = job.facets.job_type
        told = {"processing": kind.processing_type, "integration": kind.integration}
        if key not in self._ids or any(told.values()):
            self._ids[key] = self._named(layout.jobs, namespace=job.namespace, name=job.name, **told)
        return self._ids[key]

    def _dataset(self, dataset: Dataset, time_ms: int) -> int:
        key = ("dataset", dataset.namespace, dataset.name)
        facets, known_as = dataset.facets, dataset.output_facets.table_version
        told = {
            "known_as": known_as.dataset if known_as else None,
            "table_id": known_as.table_id if known_as else None,
            "owner": ", ".join(owner.name for owner in facets.ownership.owners) or None if facets.ownership else None,
            "description": facets.documentation.description if facets.documentation else None,
            "schema_digest": self._document(facets.columns.fields) if facets.columns else None,
            "columns_digest": self._document(facets.column_lineage.fields) if facets.column_lineage else None,
        }
        tells = any(value is not None for value in told.values())
        if key not in self._ids or tells:
            # Who tells nothing must not seem newer than an event that does.
            fixed = {"kind": dataset.kind, "told_ms": time_ms if tells else 0}
            self._ids[key] = self._named(
                layout.datasets, namespace=dataset.namespace, name=dataset.name, **told, **fixed
            )
        return self._ids[key]

    def _named(self, table: Table, **values: Any) -> int:
        return int(self.connection.execute(statements.named(self._dialect, table), values).scalar_one())

    def _document(self, content: Any) -> str:
        body = json.dumps(content, sort_keys=True)
        digest = hashlib.sha256(body.encode()).hexdigest()
        if digest not in self._documents:
            self._add(layout.documents, digest=digest, body=body)
            self._documents.add(digest)
        return digest

    def _run(self, event: Event, run_id: str, job_id: int) -> None:
        assert event.run is not None  # the caller has its id
        facets = event.run.facets
        parent_id = str(facets.parent.run.run_id) if facets.parent else None
        if facets.parent and parent_id and parent_id not in self._parents:
            self._parents.add(parent_id)
            self._add(
                layout.runs,
                run_id=parent_id,
                job_id=self._job(facets.parent.job),
                state_rank=0,
                producer=event.producer,
                told_ms=event.time_ms,
            )
        rank = _RANKS[event.state]
        engine = " ".join(part for part in (facets.engine.name, facets.engine.version) if part) or None
        values = {
            "run_id": run_id,
            "job_id": job_id,
            "parent_id": parent_id,
            "state": event.state,
            "state_rank": rank,
            "started_ms": event.time_ms if event.state == "START" else None,
            "ended_ms": event.time_ms if rank == _RANKS["COMPLETE"] else None,
            "engine": engine,
            "error": facets.error.message if facets.error else None,
            "producer": event.producer,
            "told_ms": event.time_ms,
        }
        self.connection.execute(statements.run(self._dialect), values)

    def _run_dataset(self, run_id: str, dataset_id: int, is_output: bool, version: str | None) -> None:
        values = {
            "run_id": run_id,
            "dataset_id": dataset_id,
            "is_output": is_output,
            "version": version,
            "version_number": _number(version),
        }
        self.connection.execute(statements.run_dataset(self._dialect), values)

    def _version(self, event: Event, run_id: str, dataset: Dataset, dataset_id: int) -> int:
        made, numbers = dataset.output_facets.table_version, dataset.output_facets.statistics
        values = {
            "dataset_id": dataset_id,
            "table_id": made.table_id if made else "",
            "version": dataset.version,
            "version_number": _number(dataset.version),
            "based_on": made.based_on if made else None,
            "run_id": run_id,
            "made_ms": event.time_ms,
            "operation": made.operation if made else None,
            "data_change": made.data_change if made else None,
            "rows_added": numbers.row_count,
            "files_added": numbers.file_count,
            "bytes_added": numbers.size,
            "files_removed": made.files_removed if made else None,
            "bytes_removed": made.bytes_removed if made else None,
            "dates": json.dumps(made.dates) if made else None,
            "schema_digest": self._document(dataset.facets.columns.fields) if dataset.facets.columns else None,
        }
        return int(self.connection.execute(statements.version(self._dialect), values).scalar_one())

    def _spans(self, inputs: Sequence[tuple[Dataset, int]], dataset: Dataset, dataset_id: int, version_id: int) -> None:
        made = dataset.output_facets.table_version
        if made is None:
            return
        for topic, topic_dataset_id in inputs:
            offsets = topic.input_facets.offsets
            for span in offsets.spans if offsets else ():
                counts = {
                    "first_offset": span.first,
                    "next_offset": span.next,
                    "landed": span.landed,
                    "quarantined": span.quarantined,
                    "filtered": span.filtered,
                }
                place = {
                    "topic_dataset_id": topic_dataset_id,
                    "topic_id": span.topic_id,
                    "partition": span.partition,
                    "dataset_id": dataset_id,
                    "table_id": made.table_id,
                }
                if self._add(layout.spans, version_id=version_id, version_number=made.version, **place, **counts):
                    sums = {**place, **counts, "landings": 1}
                    self.connection.execute(statements.source(self._dialect), sums)


def _number(version: str | None) -> int | None:
    """A version as a number, when it is one that 64 bits hold; others are ids, as Iceberg's or a model's may be."""
    if version is None or not version.isascii() or not version.isdigit() or len(version) > 18:
        return None
    return int(version)


def _is_about_values(error: DBAPIError) -> bool:
    """Whether the database refused what was to be written, rather than to write."""
    return isinstance(error, (DataError, IntegrityError))
