"""Parts: one file a date, bounded in memory and open files, nothing overwritten, types as the table has them."""

import datetime as dt
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from ingest import parts as parts_module
from ingest.parts import Parts, dictionary_columns
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


def test_open_files_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_module, "ROW_GROUP_ROWS", 1)
    parts = Parts(str(tmp_path), "date", IngestSettings(open_parts=3))
    most = 0
    for day in range(10):
        parts.append(batch(2), days(day, day))
        most = max(most, len(parts._open))
    assert most == 3
    assert sorted(str(file.partition["date"]) for file in parts.close()) == [
        f"1970-01-{day:02}" for day in range(1, 11)
    ]


def test_waiting_rows_are_bounded_in_bytes(tmp_path: Path) -> None:
    limit = 50_000
    parts = Parts(str(tmp_path), "date", IngestSettings(buffered_bytes=limit))
    for number in range(40):
        parts.append(batch(1000, number), days(*([number % 4] * 1000)))
        assert sum(part.waiting_bytes for part in parts._open.values()) <= limit
    assert sum(file.rows for file in parts.close()) == 40_000


def test_what_is_abandoned_is_in_no_later_landing_and_stays_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts_module, "ROW_GROUP_ROWS", 1)
    parts = Parts(str(tmp_path), "date", IngestSettings())
    parts.append(batch(2), days(0, 0))
    parts.abandon()
    assert parts.rows == 0
    assert len(list(tmp_path.rglob("*.parquet"))) == 1
    parts.append(batch(1, 7), days(0))
    (file,) = parts.close()
    assert pq.read_table(tmp_path / file.path, partitioning=None)["x"].to_pylist() == [7]


def test_a_dictionary_is_used_where_values_repeat() -> None:
    rows = pa.table(
        {
            "unique": pa.array([f"u{i}" for i in range(1000)]),
            "repeats": pa.array([f"r{i % 3}" for i in range(1000)]),
            "symbols": pa.array(["A", "B"] * 500).dictionary_encode(),
            "flag": pa.array([True, False] * 500),
            "tags": pa.array([["a"]] * 1000),
        }
    )
    assert dictionary_columns(rows) == ["repeats", "symbols"]


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
