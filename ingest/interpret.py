"""From a block of bytes to rows with a date, or to a reason: framing, writer schema, decoding, admission."""

import threading
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import structlog

from ingest.admit import Admission
from ingest.block import Block
from ingest.decode.decoder import Decoder
from ingest.landing import Interpreted
from ingest.quarantine import Rejection
from schemas.datasets import Dataset
from schemas.registry import Registry
from schemas.wire import schema_ids
from thalweg.clock import Clock
from thalweg.errors import DeclarationError, RegistryUnavailable, SchemaNotFound, ThalwegError, UnsupportedSchema

_LOG = structlog.get_logger("ingest")

# Names of the rules that are ours rather than the contract's.
TOMBSTONE, WIRE, SCHEMA, DECODE = "tombstone", "wire", "schema", "decode"

# Waits between tries while the registry is away, in seconds; the last one is repeated.
_WAITS_S = (0.2, 0.5, 1.0, 2.0, 5.0)


class _Reader:
    """What it takes to read the events of one writer schema."""

    __slots__ = ("admission", "decoder")

    def __init__(self, schema: str, dataset: Dataset) -> None:
        self.decoder = Decoder(schema)
        self.admission = Admission(dataset, self.decoder.arrow_schema)


class Interpreter:
    """Interprets one dataset's blocks. Not thread-safe."""

    def __init__(
        self, dataset: Dataset, registry: Registry, clock: Clock, patience_s: float, stopping: threading.Event
    ) -> None:
        self._dataset = dataset
        self._registry = registry
        self._clock = clock
        self._patience_s = patience_s
        self._stopping = stopping
        self._readers: dict[int, _Reader] = {}
        self._refused: set[int] = set()

    def read(self, block: Block, fresh: npt.NDArray[np.int64] | None) -> Interpreted:
        """Interpret the rows of a block that `fresh` names (all when None). Each ends as a row, a rejection or filtered.

        Raises RegistryUnavailable when the registry stays away for longer than `patience_s`.
        """
        rows = np.arange(len(block)) if fresh is None else fresh
        found = Interpreted([], [], rows[:0])
        if len(block.tombstones):
            rows, found.filtered = self._tombstones(block, rows, found.rejections)
        ids, framed = schema_ids(block.data, block.starts)
        if not framed[rows].all():
            found.rejections += [
                Rejection(row, WIRE, _framing_fault(block, row)) for row in rows[~framed[rows]].tolist()
            ]
            rows = rows[framed[rows]]
        for schema_id in np.unique(ids[rows]).tolist():
            self._read_schema(block, schema_id, rows[ids[rows] == schema_id], found)
        return found

    def _tombstones(
        self, block: Block, rows: npt.NDArray[np.int64], rejections: list[Rejection]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(rows that have a value, tombstones filtered by declaration); the other tombstones become rejections."""
        null = np.isin(rows, block.tombstones)
        if self._dataset.tombstones == "filter":
            return rows[~null], rows[null]
        reason = "the value is null, and the dataset does not declare `tombstones: filter`"
        rejections += [Rejection(row, TOMBSTONE, reason) for row in rows[null].tolist()]
        return rows[~null], rows[:0]

    def _read_schema(self, block: Block, schema_id: int, rows: npt.NDArray[np.int64], found: Interpreted) -> None:
        reader = self._readers.get(schema_id)
        if reader is None:
            try:
                reader = self._readers[schema_id] = _Reader(self._schema(schema_id), self._dataset)
            except (SchemaNotFound, UnsupportedSchema, DeclarationError) as error:
                self._warn_once(schema_id, error)
                reason = f"schema {schema_id}: {error.message}"
                found.rejections += [Rejection(row, SCHEMA, reason, schema_id=schema_id) for row in rows.tolist()]
                return
        found.schema_ids.add(schema_id)
        decoded = reader.decoder.decode(block.data, block.starts, rows)
        found.rejections += [Rejection(r.row, DECODE, r.reason, r.path, r.byte, schema_id) for r in decoded.rejects]
        if not len(decoded.rows):
            return
        verdict = reader.admission.check(decoded.batch)
        batch, days, admitted = decoded.batch, verdict.days, decoded.rows
        if verdict.rejected:
            found.rejections += [
                Rejection(int(admitted[r.row]), r.rule, r.reason, r.path, None, schema_id) for r in verdict.rejected
            ]
            batch, days, admitted = (
                batch.filter(pa.array(verdict.admitted)),
                days[verdict.admitted],
                admitted[verdict.admitted],
            )
        found.batches.append((batch, days, admitted))

    def _schema(self, schema_id: int) -> str:
        """The writer schema; waits while the registry is away."""
        deadline = self._clock.monotonic_s() + self._patience_s
        for wait_s in _waits():
            try:
                return self._registry.schema(schema_id)
            except RegistryUnavailable as error:
                if self._stopping.is_set() or self._clock.monotonic_s() + wait_s > deadline:
                    raise
                _LOG.warning("waiting for the registry", schema_id=schema_id, problem=error.message, next_try_s=wait_s)
                self._clock.sleep(wait_s)
        raise AssertionError("unreachable: waits never end")

    def _warn_once(self, schema_id: int, error: ThalwegError) -> None:
        if schema_id not in self._refused and len(self._refused) < 1000:
            self._refused.add(schema_id)
            _LOG.warning(
                "events of this schema go to the quarantine",
                schema_id=schema_id,
                reason=error.message,
                remedy=error.remedy,
            )


def _waits() -> Iterator[float]:
    yield from _WAITS_S
    while True:
        yield _WAITS_S[-1]


def _framing_fault(block: Block, row: int) -> str:
    head = block.data[block.starts[row] : min(block.starts[row] + 8, block.starts[row + 1])].tobytes()
    if len(head) < 5:
        return f"the value has {len(head)} bytes; a Confluent-framed one has at least 5 (0x00 and a schema id)"
    return f"the value begins with 0x{head.hex()}, not with 0x00 and a schema id: it was not written by a Confluent serializer"
