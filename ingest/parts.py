"""Parts: the open Parquet files of a landing, one for each date, written row group by row group as batches arrive.

Rows keep the order in which Kafka gave them, so files are clustered by offset, and by time as far as the stream is.
"""

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from ingest.encodings import choose
from ingest.statistics import Statistics
from thalweg.settings import IngestSettings
from thalweg.tables.commit import DataFile
from thalweg.tables.open import storage_errors
from thalweg.tables.place import filesystem

# Files that are written at once: encoding is native code, and what consuming and decoding leave of the processor is about one
# core more than the landing's own. Each holds one column's pages in memory.
WRITTEN_AT_ONCE = 2
# When memory is full the largest parts become row groups, until this share of it is left waiting: a few rows of many dates
# are worth keeping for a larger row group, at the price of a copy.
KEPT_WAITING = 1 / 8
T = TypeVar("T")

_EPOCH = np.datetime64("1970-01-01", "D")


class _Form:
    """How files of one schema are written and told of."""

    def __init__(self, sample: pa.RecordBatch) -> None:
        self.schema = sample.schema
        self.encodings = choose(sample)
        self.statistics = Statistics(sample.schema)


@dataclass(slots=True)
class _Part:
    """One open file and the rows that wait to become its next row group."""

    path: str
    partition: dict[str, str | None]
    form: _Form
    waiting: list[pa.RecordBatch] = field(default_factory=list)
    waiting_rows: int = 0
    waiting_bytes: int = 0
    rows: int = 0
    writer: pq.ParquetWriter | None = None
    footers: list[pq.FileMetaData] = field(default_factory=list)
    nan_columns: set[str] = field(default_factory=set)


class Parts:
    """Every part of one landing. Not thread-safe.

    Waiting rows are bounded by `buffered_bytes` and open files by `open_parts`; beyond, the largest parts become row groups
    and the idlest part is closed. So is one whose file has reached `file_bytes`.
    """

    _open: dict[int, _Part]  # by day since 1970-01-01, the one written last at the end
    _closed: list[DataFile]
    _form: _Form | None  # chosen anew for each landing: what a column holds may change

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
        self._threads = ThreadPoolExecutor(WRITTEN_AT_ONCE, thread_name_prefix="parts")
        self._reset()

    def append(self, batch: pa.RecordBatch, days: npt.NDArray[np.int32]) -> None:
        """Add rows. `days` gives each row's partition date as days since 1970-01-01.

        Raises StorageUnavailable when the storage refuses.
        """
        if not len(days):
            return
        self.rows += len(days)
        if self._form is None or self._form.schema != batch.schema:
            self._form = _Form(batch)
        size = batch.nbytes
        self._buffered_bytes += size
        for day, rows in _by_day(batch, days):
            # A share: asking each slice would take longer than writing a few rows.
            self._add(day, rows, size * rows.num_rows // len(days), self._form)
        if self._buffered_bytes > self._settings.buffered_bytes:
            self._make_room()

    def close(self) -> list[DataFile]:
        """Close every file and return what is to be committed. The object is empty afterwards."""
        self._close(list(self._open))
        closed = self._closed
        self._reset()
        return closed

    def abandon(self) -> None:
        """Forget everything. Files already written stay where they are, uncommitted: vacuum owns them."""
        for part in self._open.values():
            if part.writer is not None:
                let_go(part.writer)
        self._reset()

    def _reset(self) -> None:
        self._open, self._closed, self._form = {}, [], None
        self._buffered_bytes = self.rows = 0

    def _add(self, day: int, batch: pa.RecordBatch, size: int, form: _Form) -> None:
        if day in self._open and self._open[day].form.schema != batch.schema:
            self._close([day])  # the table was widened meanwhile: a file has one schema
        part = self._open.pop(day, None)
        if part is None:
            if len(self._open) >= self._settings.open_parts:
                self._close([next(iter(self._open))])
            # The random name is what keeps a fenced writer from overwriting a committed file.
            value = str(_EPOCH + day)
            path = f"{self._column}={value}/part-{uuid.uuid4()}.parquet"
            part = _Part(path, {self._column: value}, form)
        self._open[day] = part
        part.waiting.append(batch)
        part.waiting_rows += batch.num_rows
        part.waiting_bytes += size

    def _make_room(self) -> None:
        """Write the largest parts. What goes on waiting is copied: a slice would keep the whole batch in memory."""
        left = sum(part.waiting_bytes for part in self._open.values())
        writing = []
        for part in sorted(self._open.values(), key=lambda part: -part.waiting_bytes):
            if left > KEPT_WAITING * self._settings.buffered_bytes:
                left -= part.waiting_bytes
                writing.append(part)
            elif part.waiting:
                part.waiting = [pa.concat_batches(part.waiting)]
        self._together(self._write_row_group, writing)
        self._buffered_bytes = left
        large = self._settings.file_bytes
        self._close(
            [day for day, part in self._open.items() if part.writer and part.writer.file_handle.tell() >= large]
        )

    def _together(self, work: Callable[[_Part], T], parts: Iterable[_Part]) -> list[T]:
        """Do it for some parts at a time. Raises the first error, after all have ended."""
        started = [self._threads.submit(work, part) for part in parts]
        wait(started)
        return [each.result() for each in started]

    def _write_row_group(self, part: _Part) -> None:
        if not part.waiting:
            return
        rows = pa.Table.from_batches(part.waiting)
        part.nan_columns.update(_nan_columns(rows))
        with storage_errors(self._uri):
            if part.writer is None:
                part.writer = self._writer(part)
            try:
                part.writer.write_table(rows, row_group_size=part.waiting_rows)
            except OSError:
                let_go(part.writer)
                raise
        part.rows += part.waiting_rows
        part.waiting, part.waiting_rows, part.waiting_bytes = [], 0, 0

    def _writer(self, part: _Part) -> pq.ParquetWriter:
        if isinstance(self._files, pafs.SubTreeFileSystem):
            self._files.create_dir(part.path.rsplit("/", 1)[0], recursive=True)
        return pq.ParquetWriter(
            part.path,
            part.form.schema,
            filesystem=self._files,
            **part.form.encodings.options(),
            # Readers take types from the table, and a dictionary column is a string column there.
            store_schema=False,
            coerce_timestamps="us",
            metadata_collector=part.footers,
        )

    def _close(self, days: Iterable[int]) -> None:
        parts = [self._open.pop(day) for day in days]
        try:
            self._closed += self._together(self._closed_file, parts)
        except BaseException:
            for part in parts:
                if part.writer is not None and part.writer.is_open:
                    let_go(part.writer)
            raise

    def _closed_file(self, part: _Part) -> DataFile:
        self._write_row_group(part)
        assert part.writer is not None  # a part is made for rows
        with storage_errors(self._uri):
            part.writer.close()
            size = self._files.get_file_info(part.path).size
        text = part.form.statistics.of(part.footers[0], part.nan_columns)
        return DataFile(part.path, size, part.rows, part.partition, text)


def let_go(writer: pq.ParquetWriter) -> None:
    """Close the file below a writer without a footer: nobody will name this file, and the storage may refuse."""
    writer.is_open = False
    with suppress(OSError):
        writer.file_handle.close()


def _by_day(batch: pa.RecordBatch, days: npt.NDArray[np.int32]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The rows of each day, in their order."""
    first, last = int(days.min()), int(days.max())
    if first == last:
        yield first, batch
        return
    if not bool((days[1:] >= days[:-1]).all()):
        # Numbers of 16 bits are sorted by their digits, four times as fast as the others.
        keys = (days - first).astype(np.uint16) if last - first < 2**16 else days
        order = np.argsort(keys, kind="stable")
        batch, days = batch.take(pa.array(order)), days[order]
    edges = [0, *(np.flatnonzero(np.diff(days)) + 1).tolist(), len(days)]
    for start, stop in pairwise(edges):
        yield int(days[start]), batch.slice(start, stop - start)


def _nan_columns(rows: pa.Table) -> list[str]:
    """Float columns that hold a NaN: Parquet's bounds leave it out, and some readers sort it above every number."""
    floats = [column.name for column in rows.schema if pa.types.is_floating(column.type)]
    return [name for name in floats if np.isnan(pc.sum(rows[name]).as_py() or 0.0)]
