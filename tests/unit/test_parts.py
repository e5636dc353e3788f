"""Parts: one file a date, bounded in memory and open files, nothing overwritten, types as the table has them."""

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from ingest.parts import Parts
from thalweg.settings import IngestSettings
from thalweg.tables.commit import Advance, TableWriter
from thalweg.tables.open import create_table


def days(*numbers: int) -> np.ndarray:
    """Partition days."""
    return np.array(numbers, np.int32)


def batch(count: int, start: int = 0) -> pa.RecordBatch:
    """Rows with one column."""
    return pa.record_batch({"x": pa.array(range(start, start + count), pa.int64())})


def test_rows_go_to_the_file_of_their_date_in_their_order(tmp_path: Path) -> None:
    parts = Parts(str(tmp_path), "date", IngestSettings())
    parts.append(batch(6), days(2, 1, 2, 1, 0, 2))
    files = {file.partition["date"]: file for file in parts.close()}
    read = {
        date: pq.read_table(tmp_path / file.path, partitioning=None)["x"].to_pylist() for date, file in files.items()
    }
    assert read == {"1970-01-01": [4], "1970-01-02": [1, 3], "1970-01-03": [0, 2, 5]}
    assert {date: file.rows for date, file in files.items()} == {"1970-01-01": 1, "1970-01-02": 2, "1970-01-03": 3}


def test_names_never_repeat_so_a_zombie_cannot_overwrite(tmp_path: Path) -> None:
    paths = []
    for _ in range(2):
        parts = Parts(str(tmp_path), "date", IngestSettings())
        parts.append(batch(1), days(0))
        paths += [file.path for file in parts.close()]
    assert len(set(paths)) == 2


def test_open_files_are_bounded(tmp_path: Path) -> None:
    parts = Parts(str(tmp_path), "date", IngestSettings(open_parts=3, buffered_bytes=1))
    most = 0
    for day in range(10):
        parts.append(batch(2), days(day, day))
        most = max(most, len(parts._open))
    assert most == 3
    assert sorted(str(file.partition["date"]) for file in parts.close()) == [
        f"1970-01-{day:02}" for day in range(1, 11)
    ]


def held(parts: Parts) -> int:
    """Bytes that waiting rows keep in memory: a slice keeps all of the rows that it was cut from."""
    waiting = (rows for part in parts._open.values() for rows in part.waiting)
    whole = {buffer.address: buffer.size for rows in waiting for column in rows.columns for buffer in roots(column)}
    return sum(whole.values())


def roots(column: pa.Array) -> Iterator[pa.Buffer]:
    """The allocations behind an array."""
    for buffer in column.buffers():
        while buffer is not None and buffer.parent is not None:
            buffer = buffer.parent
        if buffer is not None:
            yield buffer


@pytest.mark.parametrize("dates", [1, 4, 500])
def test_waiting_rows_are_bounded_in_bytes(tmp_path: Path, dates: int) -> None:
    limit, rows = 90_000, 5_000
    parts = Parts(str(tmp_path), "date", IngestSettings(buffered_bytes=limit))
    most = 0
    for number in range(40):
        parts.append(batch(rows, number * rows), (np.arange(rows) % dates).astype(np.int32))
        most = max(most, held(parts))
    assert limit / 2 < most <= limit
    assert sum(file.rows for file in parts.close()) == 40 * rows


def test_a_file_that_has_become_large_is_closed_and_another_begun(tmp_path: Path) -> None:
    parts = Parts(str(tmp_path), "date", IngestSettings(buffered_bytes=1, file_bytes=1))
    for start in range(3):
        parts.append(batch(1, start), days(0))
    files = parts.close()
    assert [pq.read_table(tmp_path / file.path, partitioning=None)["x"].to_pylist() for file in files] == [
        [0],
        [1],
        [2],
    ]


def test_a_few_rows_of_a_date_wait_for_more_while_others_are_written(tmp_path: Path) -> None:
    parts = Parts(str(tmp_path), "date", IngestSettings(buffered_bytes=8_000))
    for start in range(4):
        parts.append(batch(1_001, start), days(*[0] * 1_000, 1))
    files = {str(file.partition["date"]): tmp_path / file.path for file in parts.close()}
    assert pq.read_metadata(files["1970-01-01"]).num_row_groups == 4
    assert pq.read_metadata(files["1970-01-02"]).num_row_groups == 1
    assert pq.read_table(files["1970-01-02"], partitioning=None)["x"].to_pylist() == [1000, 1001, 1002, 1003]


def test_what_is_abandoned_is_in_no_later_landing_and_stays_on_disk(tmp_path: Path) -> None:
    parts = Parts(str(tmp_path), "date", IngestSettings(buffered_bytes=1))
    parts.append(batch(2), days(0, 0))
    parts.abandon()
    assert parts.rows == 0
    assert len(list(tmp_path.rglob("*.parquet"))) == 1
    parts.append(batch(1, 7), days(0))
    (file,) = parts.close()
    assert pq.read_table(tmp_path / file.path, partitioning=None)["x"].to_pylist() == [7]


def test_files_have_the_types_of_the_table(tmp_path: Path) -> None:
    """create_write_transaction does not compare them: rule 8.6."""
    columns = pa.schema(
        [
            ("s", pa.string()),
            ("b", pa.binary()),
            ("i", pa.int32()),
            ("f", pa.float32()),
            ("d", pa.date32()),
            ("n", pa.decimal128(10, 2)),
            ("t", pa.timestamp("us", "UTC")),
            ("l", pa.timestamp("us")),
            ("m", pa.map_(pa.string(), pa.string())),
            ("a", pa.list_(pa.int64())),
        ]
    )
    row = {
        "s": "x",
        "b": b"y",
        "i": 1,
        "f": 0.5,
        "d": dt.date(2013, 1, 1),
        "n": Decimal("1.25"),
        "t": dt.datetime(2013, 1, 1, tzinfo=dt.UTC),
        "l": dt.datetime(2013, 1, 1),
        "m": [("k", "v")],
        "a": [1, 2],
    }
    uri = str(tmp_path / "t")
    create_table(uri, columns.append(pa.field("date", pa.date32())), ["date"], {})
    parts = Parts(uri, "date", IngestSettings())
    parts.append(pa.RecordBatch.from_pylist([row], columns), days(0))
    TableWriter(uri).commit(parts.close(), {"app": Advance(None, 1)}, {})
    (read,) = DeltaTable(uri).to_pyarrow_table(columns=columns.names).to_pylist()
    assert read == row
