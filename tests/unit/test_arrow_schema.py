"""What Avro's types become in Arrow and in a Delta table, and what is refused before anything is read."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from ingest.decode.decoder import Decoder
from ingest.decode.plan import plan
from schemas.arrow import check_compatible, event_schema, table_schema
from schemas.columns import COLUMNS_MAX, DEPTH_MAX, DURATION_PARTS, columns, meaning
from tests.properties.avro_strategies import named
from thalweg.errors import SchemaClash, UnsupportedSchema


def record(*fields: tuple[str, Any], name: str = "R") -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": field, "type": kind} for field, kind in fields]}


def arrow(kind: Any) -> pa.Field:
    return event_schema(json.dumps(record(("x", kind)))).field("x")


def logical(kind: str, logical_type: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "logicalType": logical_type, **more}


def refusal(kind: Any) -> UnsupportedSchema:
    with pytest.raises(UnsupportedSchema) as caught:
        Decoder(json.dumps(record(("x", kind))))
    assert caught.value.remedy
    return caught.value


US = pa.timestamp("us")
UTC = pa.timestamp("us", "UTC")
ENUM = {"type": "enum", "name": "E", "symbols": ["A", "B"]}
MAPPING: list[tuple[Any, pa.DataType]] = [
    ("null", pa.bool_()),
    ("boolean", pa.bool_()),
    ("int", pa.int32()),
    ("long", pa.int64()),
    ("float", pa.float32()),
    ("double", pa.float64()),
    ("bytes", pa.binary()),
    ("string", pa.string()),
    ({"type": "fixed", "name": "F", "size": 3}, pa.binary()),
    (ENUM, pa.dictionary(pa.int32(), pa.string())),
    ({"type": "array", "items": "int"}, pa.list_(pa.int32())),
    ({"type": "map", "values": ["null", "int"]}, pa.map_(pa.string(), pa.int32())),
    (record(("y", "int"), name="S"), pa.struct([("y", pa.int32())])),
    (["null", "long"], pa.int64()),
    (["string", "null"], pa.string()),
    (logical("int", "date"), pa.date32()),
    (logical("int", "time-millis"), pa.int32()),
    (logical("long", "time-micros"), pa.int64()),
    (logical("long", "timestamp-millis"), UTC),
    (logical("long", "timestamp-micros"), UTC),
    (logical("long", "local-timestamp-millis"), US),
    (logical("long", "local-timestamp-micros"), US),
    (logical("bytes", "decimal", precision=38, scale=9), pa.decimal128(38, 9)),
    (logical("bytes", "decimal", precision=5), pa.decimal128(5, 0)),
    (logical("fixed", "decimal", name="D", size=4, precision=9, scale=2), pa.decimal128(9, 2)),
    (logical("long", "timestamp-nanos"), pa.int64()),
    (logical("long", "local-timestamp-nanos"), pa.int64()),
    (logical("fixed", "duration", name="P", size=12), pa.struct([(part, pa.int64()) for part in DURATION_PARTS])),
    (["int"], pa.int32()),
    (["null"], pa.bool_()),
    (["int", "string"], pa.struct([("int", pa.int32()), ("string", pa.string())])),
    (["string", "null", ENUM], pa.struct([("string", pa.string()), ("E", pa.dictionary(pa.int32(), pa.string()))])),
    (logical("string", "uuid"), pa.string()),
    (logical("fixed", "uuid", name="U", size=16), pa.string()),
    # Void logical types: Avro says that the underlying type counts.
    (logical("bytes", "decimal", precision=2, scale=3), pa.binary()),
    (logical("bytes", "decimal", precision=0), pa.binary()),
    (logical("fixed", "decimal", name="D", size=2, precision=5), pa.binary()),
    (logical("long", "date"), pa.int64()),
    (logical("string", "decimal", precision=4), pa.string()),
    (logical("fixed", "uuid", name="U", size=4), pa.binary()),
    (logical("fixed", "duration", name="U", size=4), pa.binary()),
    (logical("string", "somebody's own"), pa.string()),
]


@pytest.mark.parametrize(("kind", "expected"), MAPPING, ids=lambda case: str(case)[:60])
def test_every_type_has_a_column_type(kind: Any, expected: pa.DataType) -> None:
    field = arrow(kind)
    assert field.type == expected
    assert field.nullable


def test_a_time_of_day_says_what_it_counts() -> None:
    assert arrow(logical("int", "time-millis")).metadata == {b"thalweg.avro": b"time-millis"}
    assert arrow(logical("long", "time-micros")).metadata == {b"thalweg.avro": b"time-micros"}
    assert arrow("int").metadata is None


def test_a_number_of_nanoseconds_says_so() -> None:
    """Delta's timestamps have microseconds: as one of those a part of it would be lost."""
    assert meaning(arrow(logical("long", "timestamp-nanos"))) == "timestamp-nanos"
    assert meaning(arrow(logical("long", "local-timestamp-nanos"))) == "local-timestamp-nanos"
    assert meaning(arrow("long")) is None


@pytest.mark.parametrize(
    ("branches", "members"),
    [
        (["int", record(("y", "int"), name="a.b.Address")], ["int", "Address"]),
        ([record(("y", "int"), name="a.Address"), record(("y", "int"), name="b.address")], ["Address", "b_address"]),
        (["string", {"type": "enum", "name": "String", "symbols": ["A"]}], ["string", "String_2"]),
        (
            [{"type": "fixed", "name": name, "size": 1} for name in ("a_B", "a.b", "b", "A.B")],
            ["a_B", "b", "b_2", "A_B_2"],
        ),
        (["null", {"type": "array", "items": "int"}, {"type": "map", "values": "int"}], ["array", "map"]),
        ([logical("long", "timestamp-nanos"), "string"], ["long", "string"]),
    ],
)
def test_members_of_a_union_are_called_after_its_branches(branches: list[Any], members: list[str]) -> None:
    """No two names differ only in case, so that a table can hold them."""
    field = arrow(branches)
    assert [member.name for member in field.type] == members
    table_schema(pa.schema([field]))


def test_a_delta_table_takes_every_type_and_gives_it_back(tmp_path: Path) -> None:
    """The table's schema, as Delta keeps it, is compatible with the events it was made for; nested dictionaries too."""
    kinds = [kind for kind, _ in MAPPING if kind != logical("int", "time-millis")]
    kinds.insert(0, logical("int", "time-millis"))
    nested = [{"type": "array", "items": ENUM}, {"type": "map", "values": ENUM}, record(("e", ENUM))]
    schema_json = json.dumps(named(record(*[(f"f{n}", kind) for n, kind in enumerate([*kinds, *nested])])))
    schema = table_schema(event_schema(schema_json))
    table = DeltaTable.create(str(tmp_path), schema)
    there = pa.schema(table.schema().to_arrow())
    check_compatible(there, event_schema(schema_json))
    assert [(field.name, field.type) for field in there] == [(field.name, field.type) for field in schema]
    assert there.field("f0").metadata == {b"thalweg.avro": b"time-millis"}


def test_an_enum_is_written_as_the_string_that_the_table_has(tmp_path: Path) -> None:
    """A dictionary column needs no cast: Parquet stores strings, and its symbols once as a dictionary page."""
    enum_column = pa.array(["A", "B", "A"]).dictionary_encode()
    pq.write_table(pa.table({"x": enum_column}), tmp_path / "x.parquet", store_schema=False)
    read = pq.ParquetFile(tmp_path / "x.parquet")
    assert read.schema_arrow.field("x").type == pa.string()
    assert read.metadata.row_group(0).column(0).has_dictionary_page
    check_compatible(pa.schema([("x", pa.string())]), pa.schema([("x", enum_column.type)]))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ([], "x: a union without branches"),
        (logical("bytes", "decimal", precision=39), "x: decimal of 39 digits"),
        ({"type": "array", "items": {"type": "map", "values": []}}, "x.item.value: a union without branches"),
        (["int", record(("y", ["int", "string", "R"]), name="S")], "x.S.y.R: record R contains itself"),
        (record(("y", ["null", "S"]), name="S"), "x.y: record S contains itself"),
        (["null", "R"], "x: record R contains itself"),
        (record(name="S"), "x: a record without fields"),
        ("nothing", "no type is named 'nothing'"),
    ],
)
def test_what_a_table_cannot_hold_is_refused_by_its_path(kind: Any, message: str) -> None:
    assert message in refusal(kind).message


@pytest.mark.parametrize("text", ["", "{", '"int"', '["null", "int"]', '{"type": "record"}', "[" * 100_000])
def test_what_is_no_record_schema_is_refused(text: str) -> None:
    with pytest.raises(UnsupportedSchema) as caught:
        Decoder(text)
    assert caught.value.remedy


def test_a_schema_that_describes_endless_columns_is_refused_quickly() -> None:
    """Each record holds the one before twice: a few lines, 2**40 columns."""
    kind: Any = record(("a", "int"), ("b", "int"), name="R0")
    for n in range(1, 40):
        kind = record(("a", kind), ("b", f"R{n - 1}"), name=f"R{n}")
    assert f"more than {COLUMNS_MAX:,} columns" in refusal(kind).message


def test_the_program_of_a_union_grows_with_its_members_and_not_with_their_square() -> None:
    members = [{"type": "fixed", "name": f"F{n}", "size": n + 1} for n in range(2000)]
    few, many = (len(plan(columns(json.dumps(record(("x", members[:n]))))).program) for n in (1000, 2000))
    assert many < 2.1 * few


def test_a_schema_that_nests_too_deep_is_refused() -> None:
    """By names, so that its text is shallow."""
    fields = [("f0", record(("a", "int"), name="R0"))]
    fields += [(f"f{n}", record(("a", f"R{n - 1}"), name=f"R{n}")) for n in range(1, DEPTH_MAX + 1)]
    with pytest.raises(UnsupportedSchema, match=f"nested more than {DEPTH_MAX} deep"):
        event_schema(json.dumps(record(*fields)))


def test_the_table_stores_plain_types() -> None:
    inner = pa.struct([("e", pa.dictionary(pa.int32(), pa.string()))])
    schema = pa.schema(
        [
            ("a", pa.dictionary(pa.int32(), pa.string())),
            ("b", pa.list_(inner)),
            ("c", pa.map_(pa.string(), inner)),
            ("d", pa.large_string()),
            pa.field("e", pa.large_list(pa.large_binary()), nullable=False),
        ]
    )
    plain = pa.struct([("e", pa.string())])
    assert table_schema(schema) == pa.schema(
        [
            ("a", pa.string()),
            ("b", pa.list_(plain)),
            ("c", pa.map_(pa.string(), plain)),
            ("d", pa.string()),
            ("e", pa.list_(pa.binary())),
        ]
    )


@pytest.mark.parametrize(
    "fields",
    [
        [("Id", "int"), ("id", "int")],
        [("x", {"type": "array", "items": record(("A", "int"), ("a", "int"), name="S")})],
    ],
)
def test_names_that_delta_takes_for_one_are_refused(fields: list[tuple[str, Any]]) -> None:
    with pytest.raises(UnsupportedSchema, match="differ only in case"):
        table_schema(event_schema(json.dumps(record(*fields))))


@pytest.mark.parametrize(
    ("table", "batch"),
    [
        ([("a", pa.int64())], [("a", pa.int32())]),
        ([("a", US)], [("a", UTC)]),
        ([("a", pa.decimal128(9, 2))], [("a", pa.decimal128(9, 3))]),
        ([("a", pa.struct([("b", pa.int32())]))], [("a", pa.struct([("c", pa.int32())]))]),
        ([("a", pa.int32())], [("A", pa.int32())]),
    ],
)
def test_a_column_of_another_type_clashes_by_name(
    table: list[tuple[str, pa.DataType]], batch: list[tuple[str, pa.DataType]]
) -> None:
    with pytest.raises(SchemaClash) as caught:
        check_compatible(pa.schema(table), pa.schema(batch))
    assert repr(batch[0][0]) in caught.value.message
    assert repr(table[0][0]) in caught.value.message or str(table[0][1]) in caught.value.message
    assert caught.value.remedy


def test_columns_of_one_side_do_not_clash() -> None:
    """The table is widened by the one, and holds null for the other."""
    check_compatible(
        pa.schema([("a", pa.int32()), ("b", pa.int32())]), pa.schema([("b", pa.int32()), ("c", pa.int32())])
    )
