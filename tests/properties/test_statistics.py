"""Statistics never hide a row: what a reader prunes by them is what a full scan leaves out."""

import datetime as dt
import json
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from deltalake.transaction import AddAction
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.parts import Parts
from ingest.statistics import STRING_CHARACTERS, Statistics, round_up
from thalweg.settings import IngestSettings
from thalweg.tables.commit import Advance, TableWriter
from thalweg.tables.open import create_table

KINDS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "long": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "int": (pa.int32(), st.integers(-(2**31), 2**31 - 1)),
    "double": (pa.float64(), st.floats()),
    "float": (pa.float32(), st.floats(width=32)),
    "string": (pa.string(), st.text(st.characters(exclude_categories=["Cs"]), max_size=80)),
    "instant": (
        pa.timestamp("us", "UTC"),
        st.datetimes().map(lambda instant: instant.replace(tzinfo=dt.UTC)),
    ),
    "day": (pa.date32(), st.dates()),
    "flag": (pa.bool_(), st.booleans()),
    "price": (pa.decimal128(38, 2), st.decimals(-(10**35), 10**35, places=2)),
}


def file_of(folder: Path, kind: str, values: list[Any], row_group_rows: int = 3) -> str:
    """Write one file as parts do; return its statistics."""
    footers: list[pq.FileMetaData] = []
    rows = pa.table({"v": pa.array(values, KINDS[kind][0])})
    with pq.ParquetWriter(folder / "f.parquet", rows.schema, store_schema=False, metadata_collector=footers) as writer:
        writer.write_table(rows, row_group_size=row_group_rows)
    nan = ["v"] if any(isinstance(v, float) and math.isnan(v) for v in values) else []
    return Statistics(rows.schema).of(footers[0], nan)


def exact(value: Any) -> Any:
    """A JSON bound as the value that it stands for."""
    if isinstance(value, str) and len(value) == 10 and value[4] == "-":
        return dt.date.fromisoformat(value)
    return value


@pytest.mark.parametrize("kind", KINDS)
def test_every_value_lies_within_its_files_bounds(kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("bounds")

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.none() | KINDS[kind][1], min_size=1, max_size=12))
    def check(values: list[Any]) -> None:
        found = json.loads(file_of(folder, kind, values), parse_float=Decimal)
        present = [v for v in values if v is not None]
        assert found["numRecords"] == len(values)
        if "minValues" not in found:
            assert any(isinstance(v, float) and not math.isfinite(v) for v in present) or kind == "string"
            return
        assert found["nullCount"]["v"] == len(values) - len(present)
        low, high = found["minValues"].get("v"), found["maxValues"].get("v")
        if low is None:
            assert high is None
            assert not present
            return
        for value in present:
            if kind == "instant":
                assert dt.datetime.fromisoformat(low) <= value <= dt.datetime.fromisoformat(high)
            elif kind == "day":
                assert dt.date.fromisoformat(low) <= value <= dt.date.fromisoformat(high)
            elif kind == "string":
                assert low.encode() <= value.encode() <= high.encode()
            elif kind == "flag":
                assert low <= value <= high
            elif kind in ("double", "float"):
                assert math.isfinite(value)
                assert float(low) <= value <= float(high), "a reader parses the text back to the same double"
            else:
                assert low <= value <= high

    check()


@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=STRING_CHARACTERS + 1, max_size=STRING_CHARACTERS + 6)
)
def test_a_cut_maximum_is_rounded_up(text: str) -> None:
    rounded = round_up(text)
    assert rounded is None or (rounded.encode() > text.encode() and len(rounded) <= STRING_CHARACTERS)


def test_a_string_of_last_code_points_has_no_maximum() -> None:
    assert round_up(chr(0x10FFFF) * (STRING_CHARACTERS + 1)) is None


def test_bounds_are_left_out_where_a_nan_was_seen(tmp_path: Path) -> None:
    found = json.loads(file_of(tmp_path, "double", [1.0, float("nan")]))
    assert found == {"numRecords": 2}
    assert json.loads(file_of(tmp_path, "double", [1.0, 2.0]))["maxValues"]["v"] == 2.0


@settings(max_examples=12, deadline=None)
@given(
    days=st.lists(st.integers(-719_162, 2_932_896), min_size=1, max_size=40),
    probe=st.integers(-(2**63), 2**63 - 1),
    data=st.data(),
)
def test_a_pruned_read_finds_what_a_full_scan_finds(
    days: list[int], probe: int, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Rows go through parts into a real table; delta-rs prunes by our statistics and partition values."""
    uri = str(tmp_path_factory.mktemp("pruning") / "t")
    values = data.draw(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=len(days), max_size=len(days)))
    rows = pa.record_batch({"v": pa.array(values, pa.int64()), "d": pa.array(days, pa.int32())})
    create_table(uri, pa.schema([("v", pa.int64()), ("d", pa.int32()), ("date", pa.date32())]), ["date"], {})
    parts = Parts(uri, "date", IngestSettings(open_parts=3, buffered_bytes=64))
    parts.append(rows, rows["d"].to_numpy())
    assert parts.rows == len(days)
    files = parts.close()
    TableWriter(uri).commit(files, {"app": Advance(None, 1)}, {})
    table = DeltaTable(uri)
    everything = table.to_pyarrow_dataset().to_table()
    assert sorted(everything["v"].to_pylist()) == sorted(values)
    assert everything["date"].cast(pa.int32()).to_pylist() == everything["d"].to_pylist()
    for target in (probe, values[0]):
        pruned = table.to_pyarrow_dataset().to_table(filter=pc.field("v") >= target)
        assert sorted(pruned["v"].to_pylist()) == sorted(v for v in values if v >= target)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_no_column_of_an_odd_file_hides_another(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """NaN, infinities, bytes, nulls only, flags: a filter on any column finds what a full scan finds."""
    uri = str(tmp_path_factory.mktemp("odd") / "t")
    kinds = {name: KINDS[name] for name in ("long", "double", "flag", "string")} | {
        "bytes": (pa.binary(), st.binary(max_size=3))
    }
    columns = pa.schema([(name, kind) for name, (kind, _) in kinds.items()])
    create_table(uri, columns.append(pa.field("date", pa.date32())), ["date"], {})
    rows = data.draw(
        st.lists(st.fixed_dictionaries({n: st.none() | v for n, (_, v) in kinds.items()}), min_size=1, max_size=6)
    )
    parts = Parts(uri, "date", IngestSettings())
    parts.append(pa.RecordBatch.from_pylist(rows, columns), np.zeros(len(rows), np.int32))
    TableWriter(uri).commit(parts.close(), {"app": Advance(None, 1)}, {})
    dataset = DeltaTable(uri).to_pyarrow_dataset()
    everything = dataset.to_table()
    for name in kinds:
        for condition in (
            pc.field(name) == next((r[name] for r in rows if r[name] is not None), None),
            pc.field(name).is_null(),
        ):
            assert dataset.to_table(filter=condition).num_rows == everything.filter(condition).num_rows, name


def test_add_actions_are_raw_paths(tmp_path: Path) -> None:
    """create_write_transaction encodes a path; one that was encoded before would be encoded twice (rule 8.6)."""
    uri = str(tmp_path / "t")
    create_table(uri, pa.schema([("x", pa.int64()), ("date", pa.date32())]), ["date"], {})
    parts = Parts(uri, "date", IngestSettings())
    parts.append(pa.record_batch({"x": pa.array([1])}), pa.array([0], pa.int32()).to_numpy())
    (file,) = parts.close()
    assert "%" not in file.path
    assert (Path(uri) / file.path).stat().st_size == file.size
    assert isinstance(AddAction(file.path, file.size, dict(file.partition), 0, True, file.stats).path, str)
