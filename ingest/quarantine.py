"""Rejected records: gathered while a landing is open, written as one Parquet file that the landing's commit names."""

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from ingest.block import Block
from ingest.parts import let_go
from ingest.statistics import Statistics
from schemas.quarantine import PARTITION_COLUMN, SCHEMA
from thalweg.clock import Clock
from thalweg.tables.commit import DataFile
from thalweg.tables.open import storage_errors
from thalweg.tables.place import filesystem

# Rejected records are held until there are this many bytes of them, then written as a row group.
WAITING_BYTES = 16 * 2**20
# So many are taken from a block at once.
TOGETHER = 2_000
# What a rejection says under the names that the table has for it.
_STATISTICS = Statistics(SCHEMA)
_VERDICT = ("schema_id", "rule", "reason", "path", "byte")


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why one record was rejected. `row` is its place in the block; `byte` counts from the start of the value."""

    row: int
    rule: str
    reason: str
    path: str | None = None
    byte: int | None = None
    schema_id: int | None = None


class QuarantineFile:
    """The quarantine file of one landing, in the quarantine table's folder but in no commit of it yet. Not thread-safe."""

    def __init__(self, uri: str, clock: Clock, storage_options: Mapping[str, str] | None = None) -> None:
        self._uri = uri
        self._clock = clock
        self._files = filesystem(uri, storage_options)
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_bytes = 0
        self._writer: pq.ParquetWriter | None = None
        self._footers: list[pq.FileMetaData] = []
        self._path = self._date = ""

    def add(self, block: Block, topic_ids: Mapping[str, str], rejections: Sequence[Rejection]) -> None:
        """Keep the original bytes, place and reason of each rejected record."""
        for start in range(0, len(rejections), TOGETHER):
            rows = self._rows(block, topic_ids, rejections[start : start + TOGETHER])
            self._waiting.append(rows)
            self._waiting_bytes += rows.nbytes
            if self._waiting_bytes > WAITING_BYTES:
                self._write()

    def _rows(self, block: Block, topic_ids: Mapping[str, str], rejections: Sequence[Rejection]) -> pa.RecordBatch:
        """What the table keeps of these records. Column by column: with many bad records each step counts."""
        rows = np.array([rejection.row for rejection in rejections], np.int64)
        topics = [block.topics[number] for number in block.topic[rows].tolist()]
        headers = [
            [{"key": name, "value": body} for name, body in block.headers.get(row, ())] if block.headers else []
            for row in rows.tolist()
        ]
        columns = {
            "topic": topics,
            "topic_id": [topic_ids[topic] for topic in topics],
            "partition": block.partition[rows],
            "offset": block.offset[rows],
            "timestamp": block.timestamps(rows),
            "key": block.keys_of(rows),
            "value": block.values_of(rows),
            "headers": headers,
            **{name: [getattr(each, name) for each in rejections] for name in _VERDICT},
            "first_seen": [dt.datetime.fromtimestamp(self._clock.now_ms() / 1000, dt.UTC)] * len(rows),
        }
        return pa.RecordBatch.from_pydict(columns, SCHEMA)

    def close(self) -> DataFile | None:
        """Write what is held and return the file, or None when nothing was rejected. The object is empty afterwards."""
        self._write()
        if self._writer is None:
            return None
        with storage_errors(self._uri):
            self._writer.close()
            size = self._files.get_file_info(self._path).size
        footer = self._footers.pop()
        self._writer = None
        return DataFile(self._path, size, footer.num_rows, {PARTITION_COLUMN: self._date}, _STATISTICS.of(footer))

    def abandon(self) -> None:
        """Forget everything. A file already begun stays, named by no commit: vacuum owns it."""
        if self._writer is not None:
            let_go(self._writer)
        self._writer, self._footers = None, []
        self._waiting, self._waiting_bytes = [], 0

    def _write(self) -> None:
        if not self._waiting:
            return
        rows = pa.Table.from_batches(self._waiting, SCHEMA)
        with storage_errors(self._uri):
            if self._writer is None:
                self._date = dt.datetime.fromtimestamp(self._clock.now_ms() / 1000, dt.UTC).date().isoformat()
                self._path = f"{PARTITION_COLUMN}={self._date}/rejects-{uuid.uuid4()}.parquet"
                if isinstance(self._files, pafs.SubTreeFileSystem):
                    # The table may not exist yet: its folder neither.
                    pafs.LocalFileSystem().create_dir(
                        f"{self._files.base_path}{PARTITION_COLUMN}={self._date}", recursive=True
                    )
                self._writer = pq.ParquetWriter(
                    self._path,
                    SCHEMA,
                    filesystem=self._files,
                    compression="zstd",
                    store_schema=False,
                    metadata_collector=self._footers,
                )
            try:
                self._writer.write_table(rows)
            except OSError:
                let_go(self._writer)
                raise
        self._waiting, self._waiting_bytes = [], 0
