"""Encodings are chosen from what columns hold, and whatever is chosen, every reader gets back what was written."""

import string
import tempfile
import uuid

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.encodings import choose

NESTED = pa.struct([("n", pa.int64()), ("m", pa.map_(pa.string(), pa.list_(pa.string())))])


def test_values_that_repeat_get_a_dictionary() -> None:
    rows = pa.record_batch(
        {
            "unique": [f"u{i}" for i in range(1000)],
            "repeats": [f"r{i % 3}" for i in range(1000)],
            "symbols": pa.array(["A", "B"] * 500).dictionary_encode(),
            "flag": [True, False] * 500,
            "nothing": pa.nulls(1000, pa.int64()),
        }
    )
    assert choose(rows).dictionary == ["repeats", "symbols"]


def test_numbers_that_repeat_get_a_dictionary_only_where_they_lie_far_apart() -> None:
    rows = pa.record_batch(
        {
            "close": [i % 60 for i in range(1000)],
            "far": [10**9 * (i % 60) for i in range(1000)],
            "hours": pa.array([3_600_000_000 * (i % 24) for i in range(1000)]).cast(pa.timestamp("us", "UTC")),
            "days": pa.array([i % 24 for i in range(1000)], pa.int32()).cast(pa.date32()),
        }
    )
    assert choose(rows).dictionary == ["far", "hours"]


def test_whole_numbers_and_instants_that_do_not_repeat_are_stored_as_differences() -> None:
    numbers = pa.array(range(1000), pa.int64())
    rows = pa.record_batch(
        {"n": numbers, "at": numbers.cast(pa.timestamp("us", "UTC")), "x": numbers.cast(pa.float64())}
    )
    assert choose(rows).delta == ["n", "at"]


def test_what_does_not_shrink_is_not_compressed() -> None:
    rows = pa.record_batch(
        {
            "random": [uuid.UUID(int=i * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128).hex for i in range(1000)],
            "alike": [string.ascii_lowercase * 3 + str(i) for i in range(1000)],
        }
    )
    assert choose(rows).compression == {"random": "NONE", "alike": "SNAPPY"}


def test_parts_of_nested_columns_are_looked_at_like_columns() -> None:
    value = {"n": 1, "m": [("key", ["same", "same"])]}
    found = choose(pa.record_batch({"s": pa.array([value | {"n": i} for i in range(100)], NESTED)}))
    assert found.delta == ["s.n"]
    assert found.dictionary == ["s.m.key_value.key", "s.m.key_value.value.list.element"]
    assert found.statistics == ["s.n"]  # bounds of list items help nobody


def test_no_rows_at_all_can_be_chosen_for() -> None:
    assert choose(pa.RecordBatch.from_pylist([], pa.schema([("a", pa.int64()), ("s", NESTED)]))).dictionary == []


DUCKDB = duckdb.connect()

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
ROWS = st.fixed_dictionaries(
    {
        "i": st.none() | st.integers(-(2**31), 2**31 - 1),
        "l": st.none() | st.integers(-(2**63), 2**63 - 1),
        "f": st.none() | st.floats(allow_nan=False),
        "t": st.none() | TEXT,
        "d": st.none() | st.decimals(-(10**8), 10**8, places=2, allow_nan=False),
        "at": st.none() | st.datetimes(),
        "s": st.none()
        | st.fixed_dictionaries({"n": st.none() | st.integers(-(2**63), 2**63 - 1), "m": st.lists(st.tuples(TEXT, st.lists(TEXT)), max_size=1)}),
    }
)  # fmt: skip
SCHEMA = pa.schema(
    [
        ("i", pa.int32()),
        ("l", pa.int64()),
        ("f", pa.float64()),
        ("t", pa.string()),
        ("d", pa.decimal128(12, 2)),
        ("at", pa.timestamp("us")),
        ("s", NESTED),
    ]
)


@given(st.lists(ROWS, max_size=30), st.integers(0, 30))
@settings(max_examples=100, deadline=None)
def test_what_was_written_is_read_back_by_arrow_and_duckdb(rows: list[dict[str, object]], sampled: int) -> None:
    """Also where the sample, the first rows, tells little about the rest."""
    batch = pa.RecordBatch.from_pylist(rows, SCHEMA)
    written = pa.Table.from_batches([batch])
    with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
        with pq.ParquetWriter(file.name, SCHEMA, **choose(batch.slice(0, sampled)).options()) as writer:
            writer.write_batch(batch)
        assert pq.read_table(file.name).equals(written)
        read = DUCKDB.sql(f"SELECT * FROM read_parquet('{file.name}')").to_arrow_table()
    assert read.to_pylist() == written.to_pylist()
