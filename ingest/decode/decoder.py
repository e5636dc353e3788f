"""Decoders: framed Avro bodies in, Arrow columns and named rejects out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingest.decode import opcodes as o
from ingest.decode.buffers import Buffers
from ingest.decode.compiled import KERNEL
from ingest.decode.plan import plan
from ingest.decode.rejects import Reject, explain, varint
from ingest.decode.resolve import Resolution, resolution
from schemas.columns import event

# Bytes of a string column, or items of an array, that room is made for at first, for each record. Buffers grow when
# that is too little, and the next decoding knows.
_FIRST_GUESS: Final = 16.0
# Room beyond what the last decoding used, for records differ.
_MARGIN: Final = 1.25
_LEAST_ROOM: Final = 64

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Decoded:
    """What came of some records: a batch of the good ones and the reasons of the others."""

    batch: pa.RecordBatch
    rows: Rows  # for each row of the batch, which record of the block it was
    rejects: list[Reject]  # in the order of the records


def warm(progress: Callable[[str], None] | None = None) -> None:
    """Load the kernel ahead of the first decoding, or compile it; `progress` is told before it takes long."""
    KERNEL.load(progress)


class Decoder:
    """Decodes the records of one writer schema. Safe to use from several threads at once: nothing is shared but a guess.

    `arrow_schema` is that of its batches: the reader's columns, where there is a reader schema.
    """

    def __init__(self, writer_json: str, reader_json: str | None = None) -> None:
        """Plan for a writer schema, and for a reader schema that what was written is resolved to.

        Raises UnsupportedSchema, naming the path of the field, for what is no record schema, holds a type that a table
        cannot, or cannot be read by the reader schema whatever the values.
        """
        writer = event(writer_json)
        reader = writer if reader_json is None else event(reader_json)
        self._plan = plan(writer.children)
        self._resolution = None if reader_json is None else resolution(writer, reader)
        self._writer_schema = pa.schema([column.field for column in writer.children])
        self.arrow_schema = pa.schema([column.field for column in reader.children])
        self._used_per_record = np.full(self._plan.cursors, _FIRST_GUESS)

    def decode(self, data: npt.NDArray[np.uint8], starts: Rows, rows: Rows | None = None) -> Decoded:
        """Decode the records that `rows` names (all when None) of a block.

        Record i is `data[starts[i]:starts[i + 1]]`: Confluent's prefix of 5 bytes, which the caller has checked, and the
        body. `rows` may be in any order; each ends in the batch, in that order, or among the rejects. The batch owns its
        memory. Runs without the GIL but for a share that does not grow with the records.

        Raises ValueError when `starts` or `rows` point outside, or when one column gets more than 2 GiB of strings or
        2**31 - 1 items, which Arrow's offsets do not reach.
        """
        data, starts = np.ascontiguousarray(data, np.uint8), np.ascontiguousarray(starts, np.int64)
        rows = np.arange(len(starts) - 1) if rows is None else np.ascontiguousarray(rows, np.int64)
        _check_within(data, starts, rows)
        buffers = Buffers(self._plan, self._guess(len(rows), int(starts[-1] - starts[0])))
        cursors = np.zeros(self._plan.cursors, np.int64)
        kept, rejects = self._run(buffers, cursors, data, starts, rows)
        if len(kept):
            self._used_per_record = cursors / len(kept)
        arrays = [buffers.array(layout, cursors) for layout in self._plan.layouts]
        batch = pa.RecordBatch.from_arrays(arrays, schema=self._writer_schema)
        decoded = Decoded(batch, kept, [self._explain(data, starts, *reject) for reject in rejects.tolist()])
        return decoded if self._resolution is None else _resolved(self._resolution, decoded, rows)

    def _run(
        self, buffers: Buffers, cursors: Rows, data: npt.NDArray[np.uint8], starts: Rows, rows: Rows
    ) -> tuple[Rows, Rows]:
        """Let the kernel fill the buffers, making room where it asks for it: (rows kept, rejects)."""
        kernel = KERNEL.load()
        kept = np.empty(len(rows), np.int64)
        rejects = np.empty((len(rows), o.REJECT_WORDS), np.int64)
        scratch = np.empty(len(cursors) + o.FRAME_WORDS * self._plan.depth, np.int64)
        progress = np.zeros(o.PROGRESS_WORDS, np.int64)
        while True:
            program = buffers.program()
            kernel(
                data.ctypes.data,
                data.ctypes.data + len(data),
                starts.ctypes.data,
                rows.ctypes.data,
                len(rows),
                program.ctypes.data,
                cursors.ctypes.data,
                buffers.limits.ctypes.data,
                len(cursors),
                scratch.ctypes.data,
                kept.ctypes.data,
                rejects.ctypes.data,
                progress.ctypes.data,
            )
            _, accepted, rejected, full_row, full_at = progress.tolist()
            if full_row < 0:
                cursors[0] = accepted
                return kept[:accepted], rejects[:rejected]
            cursor = int(self._plan.program[full_row, o.CURSOR // 8])
            buffers.grow(cursor, int(cursors[cursor]) + self._needed(full_row, data, full_at))

    def _guess(self, records: int, data_bytes: int) -> Rows:
        """How much each cursor will count, give or take. No more than there are bytes: the last records may have been odd."""
        guess = np.minimum(self._used_per_record * (records * _MARGIN), data_bytes) + _LEAST_ROOM
        guess[0] = records
        limits: Rows = np.minimum(guess, o.OFFSET_MAX).astype(np.int64)
        return limits

    def _needed(self, step: int, data: npt.NDArray[np.uint8], at: int) -> int:
        """How much the value that a buffer was too full for adds to its cursor."""
        column = self._plan.steps[step]
        if column is not None and column.avro == "fixed":
            return o.UUID_TEXT_BYTES if column.logical == "uuid" else column.size
        number, _ = varint(data.data, at)
        return abs(number)

    def _explain(self, data: npt.NDArray[np.uint8], starts: Rows, row: int, at: int, step: int, fault: int) -> Reject:
        start = int(starts[row])
        value = data[start : starts[row + 1]].data
        return explain(row, value, at - start, self._plan.steps[step], fault)


def _resolved(resolution: Resolution, decoded: Decoded, rows: Rows) -> Decoded:
    """What the reader's schema makes of decoded records. `rows` are all that were asked for, in their order."""
    found = resolution.apply(decoded.batch)
    if found.kept is None:
        return Decoded(found.batch, decoded.rows, decoded.rejects)
    # A row is refused wherever it is asked for, so its number tells which of the places in `rows` were.
    undecodable = np.isin(rows, [reject.row for reject in decoded.rejects])
    read = np.flatnonzero(~undecodable)[~found.kept].tolist()
    refused = [Reject(int(decoded.rows[fault.row]), None, fault.path, fault.reason) for fault in found.faults]
    both = sorted(
        [*zip(np.flatnonzero(undecodable).tolist(), decoded.rejects, strict=True), *zip(read, refused, strict=True)],
        key=lambda placed: placed[0],
    )
    return Decoded(found.batch, decoded.rows[found.kept], [reject for _, reject in both])


def _check_within(data: npt.NDArray[np.uint8], starts: Rows, rows: Rows) -> None:
    """Refuse what would lead the kernel, which checks no address, astray."""
    if not len(starts) or starts[0] < 0 or starts[-1] > len(data) or (np.diff(starts) < 0).any():
        raise ValueError(
            f"starts must ascend from 0 to at most the {len(data)} bytes of data, with one more than records"
        )
    if len(rows) and (rows.min() < 0 or rows.max() >= len(starts) - 1):
        raise ValueError(f"rows must be numbers of the block's {len(starts) - 1} records")
