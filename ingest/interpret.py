"""From a block of bytes to rows with a date, or to a reason: framing, writer schema, decoding, admission."""

from collections import OrderedDict

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import structlog

from ingest.admit import Admission
from ingest.block import Block
from ingest.decode.decoder import Decoder
from ingest.landing import Interpreted
from ingest.patience import Patience
from ingest.quarantine import Rejection
from schemas.arrow import table_schema
from schemas.datasets import Dataset
from schemas.registry import Registry
from schemas.wire import schema_ids
from thalweg.errors import DeclarationError, SchemaNotFound, ThalwegError, UnsupportedSchema

_LOG = structlog.get_logger("ingest")

# Names of the rules that are ours rather than the contract's.
TOMBSTONE, WIRE, SCHEMA, DECODE = "tombstone", "wire", "schema", "decode"

# Writer schemas whose readers are kept; the one used least lately is planned again when it is met again.
_READERS = 500


class _Reader:
    """What it takes to read the events of one writer schema."""

    __slots__ = ("admission", "decoder")

    def __init__(self, schema: str, dataset: Dataset) -> None:
        self.decoder = Decoder(schema, dataset.reader_schema)
        table_schema(self.decoder.arrow_schema)  # refuses what events may hold and a table cannot
        self.admission = Admission(dataset, self.decoder.arrow_schema)


class Interpreter:
    """Interprets one dataset's blocks. Not thread-safe."""

    def __init__(self, dataset: Dataset, registry: Registry, patience: Patience) -> None:
        self._dataset = dataset
        self._registry = registry
        self._patience = patience
        self._readers: OrderedDict[int, _Reader] = OrderedDict()
        self._refused: set[int] = set()
        self.steps = 0  # schemas that were read or refused: garbage with thousands of ids in a block takes minutes

    def read(self, block: Block, fresh: npt.NDArray[np.int64] | None) -> Interpreted:
        """Interpret the rows of a block that `fresh` names (all when None). Each ends as a row, a rejection or filtered.

        Raises RegistryUnavailable when the registry stays away for longer than the worker's patience.
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
            self.steps += 1
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
        try:
            reader = self._reader(schema_id)
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

    def _reader(self, schema_id: int) -> _Reader:
        """What reads this writer schema; waits while the registry is away."""
        reader = self._readers.get(schema_id)
        if reader is None:
            schema = self._patience.until_answered(lambda: self._registry.schema(schema_id))
            reader = self._readers[schema_id] = _Reader(schema, self._dataset)
            if len(self._readers) > _READERS:
                self._readers.popitem(last=False)
        self._readers.move_to_end(schema_id)
        return reader

    def _warn_once(self, schema_id: int, error: ThalwegError) -> None:
        if schema_id not in self._refused and len(self._refused) < 1000:
            self._refused.add(schema_id)
            _LOG.warning(
                "events of this schema go to the quarantine",
                schema_id=schema_id,
                reason=error.message,
                remedy=error.remedy,
            )


def _framing_fault(block: Block, row: int) -> str:
    head = block.data[block.starts[row] : min(block.starts[row] + 8, block.starts[row + 1])].tobytes()
    if len(head) < 5:
        return f"the value has {len(head)} bytes; a Confluent-framed one has at least 5 (0x00 and a schema id)"
    return f"the value begins with 0x{head.hex()}, not with 0x00 and a schema id: it was not written by a Confluent serializer"
