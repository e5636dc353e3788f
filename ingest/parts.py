"""Parts: the open Parquet files of a landing, one for each date, written row group by row group as batches arrive."""

import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from ingest.statistics import statistics
from thalweg.settings import IngestSettings
from thalweg.tables.commit import DataFile
from thalweg.tables.open import storage_errors
from thalweg.tables.place import filesystem

# Rows of one row group: large enough for readers' vectors, small enough that a few dates at once stay in memory.
ROW_GROUP_ROWS = 131_072
# A column gets a dictionary when a sample of this many rows has fewer distinct values than the share below.
SAMPLE_ROWS = 8_192
DICTIONARY_SHARE = 0.2

_EPOCH = np.datetime64("1970-01-01", "D")


@dataclass(slots=True)
class _Part:
    """One open file and the rows that wait to become its next row group."""

    path: str
    partition: dict[str, str | None]
    schema: pa.Schema
    waiting: list[pa.RecordBatch] = field(default_factory=list)
    waiting_rows: int = 0
    waiting_bytes: int = 0
    rows: int = 0
    writer: pq.ParquetWriter | None = None
    footers: list[pq.FileMetaData] = field(default_factory=list)
    nan_columns: set[str] = field(default_factory=set)


class Parts:
    """Every part of one landing. Not thread-safe.

    Memory is bounded by `buffered_bytes` and open files by `open_parts`; beyond, the largest part becomes a row group and
    the idlest part is closed.
    """

    def __init__(
        self,
        uri: str,
        partition_column: str,
        settings: IngestSettings,
        storage_options: Mapping[str, str] | None = None,
    ) -> None:
        self._uri = uri
        self._column = partition_column
        self._settings = settings
        self._files = filesystem(uri, storage_options)
        self._open: dict[int, _Part] = {}  # by day since 1970-01-01, the one written last at the end
        self._closed: list[DataFile] = []
        self._buffered_bytes = 0
        self.rows = 0

    def append(self, batch: pa.RecordBatch, days: npt.NDArray[np.int32]) -> None:
        """Add rows. `days` gives each row's partition date as days since 1970-01-01.

        Raises StorageUnavailable when the storage refuses.
        """
        if not len(days):
            return
        self.rows += len(days)
        first, last = int(days.min()), int(days.max())
        if first == last:
            self._add(first, batch)
        else:
            if not bool((days[1:] >= days[:-1]).all()):
                order = np.argsort(days, kind="stable")
                batch, days = batch.take(pa.array(order)), days[order]
            edges = np.flatnonzero(np.diff(days)) + 1
            for start, stop in zip([0, *edges.tolist()], [*edges.tolist(), len(days)], strict=True):
                self._add(int(days[start]), batch.slice(start, stop - start))
        while self._buffered_bytes > self._settings.buffered_bytes:
            self._write_row_group(max(self._open.values(), key=lambda part: part.waiting_bytes))

    def close(self) -> list[DataFile]:
        """Close every file and return what is to be committed. The object is empty afterwards."""
        for day in list(self._open):
            self._close(day)
        closed, self._closed, self.rows = self._closed, [], 0
        return closed

    def abandon(self) -> None:
        """Forget everything. Files already written stay where they are, uncommitted: vacuum owns them."""
        for part in self._open.values():
            if part.writer is not None:
                let_go(part.writer)
        self._open, self._closed, self._buffered_bytes, self.rows = {}, [], 0, 0

    def _add(self, day: int, batch: pa.RecordBatch) -> None:
        if day in self._open and self._open[day].schema != batch.schema:
            self._close(day)  # the table was widened meanwhile: a file has one schema
        part = self._open.pop(day, None)
        if part is None:
            if len(self._open) >= self._settings.open_parts:
                self._close(next(iter(self._open)))
            # The random name is what keeps a fenced writer from overwriting a committed file.
            value = str(_EPOCH + day)
            path = f"{self._column}={value}/part-{uuid.uuid4()}.parquet"
            part = _Part(path, {self._column: value}, batch.schema)
        self._open[day] = part
        size = batch.nbytes
        part.waiting.append(batch)
        part.waiting_rows += batch.num_rows
        part.waiting_bytes += size
        self._buffered_bytes += size
        if part.waiting_rows >= ROW_GROUP_ROWS:
            self._write_row_group(part)

    def _write_row_group(self, part: _Part) -> None:
        if not part.waiting:
            return
        rows = pa.Table.from_batches(part.waiting)
        part.nan_columns.update(_nan_columns(rows))
        with storage_errors(self._uri):
            if part.writer is None:
                part.writer = self._writer(part, rows)
            try:
                part.writer.write_table(rows, row_group_size=part.waiting_rows)
            except OSError:
                let_go(part.writer)
                raise
        part.rows += part.waiting_rows
        self._buffered_bytes -= part.waiting_bytes
        part.waiting, part.waiting_rows, part.waiting_bytes = [], 0, 0

    def _writer(self, part: _Part, rows: pa.Table) -> pq.ParquetWriter:
        if isinstance(self._files, pafs.SubTreeFileSystem):
            self._files.create_dir(part.path.rsplit("/", 1)[0], recursive=True)
        return pq.ParquetWriter(
            part.path,
            rows.schema,
            filesystem=self._files,
            compression="snappy",
            use_dictionary=dictionary_columns(rows),
            # Readers take types from the table, and a dictionary column is a string column there.
            store_schema=False,
            coerce_timestamps="us",
            metadata_collector=part.footers,
        )

    def _close(self, day: int) -> None:
        part = self._open.pop(day)
        self._write_row_group(part)
        if part.writer is None:
            return
        with storage_errors(self._uri):
            part.writer.close()
            size = self._files.get_file_info(part.path).size
        text = statistics(part.footers[0], part.writer.schema, part.nan_columns)
        self._closed.append(DataFile(part.path, size, part.rows, part.partition, text))


def let_go(writer: pq.ParquetWriter) -> None:
    """Close the file below a writer without a footer: nobody will name this file, and the storage may refuse."""
    writer.is_open = False
    with suppress(OSError):
        writer.file_handle.close()


def dictionary_columns(rows: pa.Table) -> list[str]:
    """Columns whose values repeat enough in a sample for a Parquet dictionary to pay. Nested columns never do."""
    sample = rows.slice(0, SAMPLE_ROWS)

    def repeats(column: pa.Field) -> bool:
        if pa.types.is_dictionary(column.type):
            return True
        if pa.types.is_nested(column.type) or pa.types.is_boolean(column.type):
            return False
        distinct: int = pc.count_distinct(sample[column.name], mode="all").as_py()
        return bool(distinct <= DICTIONARY_SHARE * sample.num_rows)

    return [column.name for column in rows.schema if repeats(column)]


def _nan_columns(rows: pa.Table) -> list[str]:
    """Float columns that hold a NaN: Parquet's bounds leave it out, and some readers sort it above every number."""
    floats = [column.name for column in rows.schema if pa.types.is_floating(column.type)]
    return [name for name in floats if np.isnan(pc.sum(rows[name]).as_py() or 0.0)]
