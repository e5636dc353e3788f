"""How events of a writer's schema are read by a reader's: what changes, which records are refused, and which pairs."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from unittest import mock

import fastavro
import numpy as np
import pyarrow as pa
import pytest

from ingest.decode.decoder import Decoded, Decoder
from ingest.decode.place import Fault, Place
from tests.properties.avro_strategies import block, encode
from tests.unit.decoding import used_before
from thalweg.errors import UnsupportedSchema


def record(*fields: tuple[str, Any], name: str = "R", **more: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": field, "type": kind} for field, kind in fields], **more}


def resolve(writer: Any, reader: Any, *values: Any) -> Decoded:
    """Write field x of these values and read it by another schema. `writer` and `reader` are the field's type, or its record."""
    writer, reader = (s if isinstance(s, dict) and s.get("name") == "R" else record(("x", s)) for s in (writer, reader))
    parsed = fastavro.parse_schema(json.loads(json.dumps(writer)))
    bodies = [encode(parsed, value if isinstance(value, dict) and "x" in value else {"x": value}) for value in values]
    with mock.patch.object(pa, "allocate_buffer", used_before):
        decoded = Decoder(json.dumps(writer), json.dumps(reader)).decode(*block(bodies))
    decoded.batch.validate(full=True)
    return decoded


def refusal(writer: Any, reader: Any) -> str:
    with pytest.raises(UnsupportedSchema) as refused:
        resolve(writer, reader)
    assert refused.value.remedy
    return refused.value.message


def enum(*symbols: str, name: str = "E", **more: Any) -> dict[str, Any]:
    return {"type": "enum", "name": name, "symbols": list(symbols), **more}


def logical(kind: str, logical_type: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "logicalType": logical_type, **more}


def array(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


def fixed(size: int) -> dict[str, Any]:
    return {"type": "fixed", "name": "F", "size": size}


def decimal(scale: int) -> dict[str, Any]:
    return logical("bytes", "decimal", precision=4, scale=scale)


S = record(("a", "int"), name="S")
DATE = logical("int", "date")
MILLIS = logical("long", "timestamp-millis")
MICROS = logical("long", "timestamp-micros")
NANOS = logical("long", "timestamp-nanos")
AT = datetime(2013, 1, 31, 12, 30, 0, 250_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("writer", "reader", "values", "expected"),
    [
        ("int", "long", [2**31 - 1], [2**31 - 1]),
        ("long", "float", [2**24 + 1, 2**62 + 2**38 + 1], [2.0**24, 2.0**62 + 2.0**39]),
        ("long", "double", [2**53 + 1], [2.0**53]),
        ("float", "double", [0.5], [0.5]),
        ("string", "bytes", ["ä"], ["ä".encode()]),
        (["null", "int"], ["null", "double"], [None, 1], [None, 1.0]),
        ("int", ["null", "long"], [1], [1]),
        ("int", DATE, [5], [date(1970, 1, 6)]),
        (DATE, "long", [5], [5]),
        (MILLIS, "long", [AT], [1_359_635_400_250]),
        (MICROS, "double", [AT], [1_359_635_400_250_000.0]),
        (MILLIS, MICROS, [AT], [AT]),
        ("long", MILLIS, [1_359_635_400_250], [AT]),
        ("long", NANOS, [7], [7]),
        (enum("A", "B"), enum("B", "A", "C"), ["A", "B"], ["A", "B"]),
        (enum("A", "B"), enum("A", "U", default="U"), ["A", "B"], ["A", "U"]),
        (enum("A", name="Old"), enum("A", aliases=["Old"]), ["A"], ["A"]),
        ({"type": "array", "items": "int"}, {"type": "array", "items": "double"}, [[1], []], [[1.0], []]),
        ({"type": "map", "values": "int"}, {"type": "map", "values": "long"}, [{"k": 1}], [[("k", 1)]]),
        (["int", "string"], ["string", "long", "null"], [1, "a"], [{"string": None, "long": 1}, {"string": "a", "long": None}]),
        (["double", "int"], ["double", "int", "null"], [("int", 1)], [{"double": None, "int": 1}]),
        ("int", ["string", "double"], [1], [{"string": None, "double": 1.0}]),
        (["int", "long"], "double", [("int", 1), ("long", 2)], [1.0, 2.0]),
    ],
)  # fmt: skip
def test_a_value_is_read_as_the_readers_type(writer: Any, reader: Any, values: list[Any], expected: list[Any]) -> None:
    assert resolve(writer, reader, *values).batch["x"].to_pylist() == expected


def test_fields_are_matched_by_name_then_by_alias_and_the_others_dropped() -> None:
    writer = record(("old", "int"), ("x", "int"), ("dropped", "string"))
    reader = record(("x", "long"), ("new", "long"))
    reader["fields"][1]["aliases"] = ["x", "old"]
    decoded = resolve(writer, reader, {"x": 2, "old": 1, "dropped": "gone"})
    assert decoded.batch.to_pylist() == [{"x": 2, "new": 1}]


@pytest.mark.parametrize(
    ("kind", "default", "expected"),
    [
        ("long", 5, 5),
        ("float", 1, 1.0),
        ("bytes", "\u00ff", b"\xff"),
        ("string", "ä", "ä"),
        (["null", "int"], None, None),
        (["int", "null"], 3, 3),
        (["int", "string"], "a", {"int": None, "string": "a"}),
        (["int", "string", "null"], None, None),
        (enum("A", "B"), "B", "B"),
        (DATE, 5, date(1970, 1, 6)),
        (MILLIS, 1_359_635_400_250, AT),
        (logical("bytes", "decimal", precision=4, scale=2), "\u0001\u0000", Decimal("2.56")),
        ({"type": "fixed", "name": "F", "size": 2}, "ab", b"ab"),
        (logical("fixed", "duration", name="F", size=12), "\u0001" + "\0" * 11, {"months": 1, "days": 0, "millis": 0}),
        ({"type": "array", "items": enum("A", "B")}, ["A", "B"], ["A", "B"]),
        ({"type": "map", "values": ["null", "long"]}, {"a": 1, "b": None}, [("a", 1), ("b", None)]),
        (record(("a", "int"), ("b", ["null", "string"]), name="S"), {"a": 1, "b": None}, {"a": 1, "b": None}),
    ],
)
def test_a_field_that_the_writer_has_not_holds_the_default(kind: Any, default: Any, expected: Any) -> None:
    """At the top, and in records within arrays."""
    field = {"name": "new", "type": kind, "default": default}
    inner = {"type": "record", "name": "Inner", "fields": [{"name": "y", "type": "int"}]}
    writer = {**record(("x", {"type": "array", "items": inner}))}
    reader = {**record(("x", {"type": "array", "items": {**inner, "fields": [field, *inner["fields"]]}}))}
    again = kind
    if isinstance(kind, dict):  # a type is defined once and named from then on
        again = {**kind, "items": "E"} if kind.get("items") == enum("A", "B") else kind.get("name", kind)
    reader["fields"].append({**field, "type": again})
    decoded = resolve(writer, reader, {"x": [{"y": 1}, {"y": 2}]}, {"x": []})
    items = [{"new": expected, "y": 1}, {"new": expected, "y": 2}]
    assert decoded.batch.to_pylist() == [{"x": items, "new": expected}, {"x": [], "new": expected}]


@pytest.mark.parametrize(
    ("kind", "default"),
    [
        ("int", 2**31), ("int", True), ("int", None), ("string", 5), ("boolean", 0), ("bytes", "€"), ("float", "x"),
        (enum("A"), "B"), (DATE, 10**7), ({"type": "fixed", "name": "F", "size": 2}, "a"), (["int", "null"], "x"),
        (logical("string", "uuid"), "x"), (logical("bytes", "decimal", precision=1), "\u000a"),
        ({"type": "array", "items": "int"}, [None]), (record(("a", "int"), name="S"), {}),
    ],
)  # fmt: skip
def test_a_default_of_another_type_is_refused_by_its_path(kind: Any, default: Any) -> None:
    reader = record(("x", "int"))
    reader["fields"].append({"name": "new", "type": kind, "default": default})
    assert refusal("int", reader).startswith(f"new: the default {json.dumps(default)} is not of the field's type: ")


@pytest.mark.parametrize(
    ("writer", "reader", "bad", "path", "reason"),
    [
        ("bytes", "string", b"a\xff", "x", "byte 0xff is not UTF-8 here (invalid start byte)"),
        (enum("A", "B"), enum("A"), "B", "x", "the reader's enum has no B"),
        (["null", "int"], "int", None, "x", "null cannot be read as the reader's type"),
        (["int", "string"], "int", "a", "x", "string cannot be read as int"),
        (["null", "int", "string"], ["null", "int", "long"], "a", "x", "the writer's string is none of the reader's branches"),
        ("int", DATE, 2**31 - 1, "x", "date 2147483647 is out of its range"),
        ("long", logical("long", "time-micros"), -1, "x", "time-micros -1 is out of its range"),
        ("string", logical("string", "uuid"), "b", "x", "no UUID: 'b'"),
        (array("bytes"), array("string"), [b"", b"\xff"], "x.item", "byte 0xff is not UTF-8 here (invalid start byte)"),
        ({"type": "map", "values": enum("A", "B")}, {"type": "map", "values": enum("A")}, {"k": "B"}, "x.value", "the reader's enum has no B"),
    ],
)  # fmt: skip
def test_a_value_without_a_counterpart_costs_its_record_only(
    writer: Any, reader: Any, bad: Any, path: str, reason: str
) -> None:
    good: Any = {"bytes": b"ok", "long": 1}.get(str(writer), 1)
    if isinstance(writer, dict):
        good = {"enum": "A", "array": [b"ok"], "map": {"k": "A"}}[writer["type"]]
    if writer == "string":
        good = "123e4567-e89b-12d3-a456-426614174000"
    decoded = resolve(writer, reader, good, bad, good, bad)
    assert decoded.rows.tolist() == [0, 2]
    assert [(r.row, r.byte, r.path, r.reason) for r in decoded.rejects] == [
        (1, None, path, reason),
        (3, None, path, reason),
    ]


def test_refusals_of_both_schemas_come_in_the_order_of_the_records() -> None:
    writer, reader = json.dumps(record(("x", "bytes"))), json.dumps(record(("x", "string")))
    bodies = [b"\x02\xff", b"\x02", b"\x02a", b"\x02\xff", b""]
    data, starts = block(bodies)
    decoded = Decoder(writer, reader).decode(data, starts)
    assert [reject.row for reject in decoded.rejects] == [0, 1, 3, 4]
    assert decoded.batch["x"].to_pylist() == ["a"]
    turned = Decoder(writer, reader).decode(data, starts, np.array([4, 2, 3, 0, 2, 1, 4]))
    assert [reject.row for reject in turned.rejects] == [4, 3, 0, 1, 4]
    assert turned.rows.tolist() == [2, 2]


def test_what_stands_under_a_null_or_in_a_member_not_written_is_refused_to_nobody() -> None:
    inner = record(("e", enum("A", "B")), ("i", "int"), name="S")
    slim = record(("e", enum("B")), ("i", DATE), name="S")
    decoded = resolve(["null", inner, "string"], ["null", slim, "string"], None, "a", ("S", {"e": "B", "i": 1}), None)
    assert decoded.rejects == []
    day = {"e": "B", "i": date(1970, 1, 2)}
    assert decoded.batch["x"].to_pylist() == [None, {"S": None, "string": "a"}, {"S": day, "string": None}, None]


@pytest.mark.parametrize(
    ("writer", "reader", "message"),
    [
        ("string", "int", "x: string cannot be read as int"),
        ("long", "int", "x: long cannot be read as int"),
        (enum("A"), "string", "x: enum cannot be read as string"),
        (enum("A"), enum("B"), "x: the writer's enum has no symbol that the reader's has"),
        (enum("A"), enum("A", name="F"), "x: enum E is not F"),
        (["int", "string"], "boolean", "x: int cannot be read as boolean"),
        (["null", "int"], "null", "x: the writer's int is none of the reader's branches"),
        ({"type": "array", "items": "string"}, {"type": "array", "items": "int"}, "x.item: string cannot be read as int"),
        (fixed(2), fixed(3), "x: a fixed of 2 bytes cannot be read as one of 3"),
        (decimal(2), decimal(1), "x: decimal(4, 2) on bytes cannot be read as decimal(4, 1) on bytes"),
        (decimal(0), "bytes", "x: decimal(4, 0) on bytes cannot be read as bytes"),
        (MILLIS, NANOS, "x: timestamp-millis on long cannot be read as timestamp-nanos on long"),
        (MILLIS, logical("long", "local-timestamp-millis"), "x: timestamp-millis on long cannot be read as local-timestamp-millis on long"),
        (S, record(("b", "int"), name="S"), "x.b: the writer's record S has no such field, and the reader's has no default"),
        ("int", {**record(("x", "int")), "name": "R", "fields": [{"name": "y", "type": "int"}]}, "y: the writer's record R has no such field"),
    ],
)  # fmt: skip
def test_a_pair_that_no_value_can_bridge_is_refused_by_its_path(writer: Any, reader: Any, message: str) -> None:
    assert message in refusal(writer, reader)


def test_events_of_another_name_are_refused_unless_it_is_an_alias() -> None:
    writer = json.dumps(record(("x", "int"), name="shop.Old"))
    with pytest.raises(UnsupportedSchema, match=r"the event: record shop\.Old is not R"):
        Decoder(writer, json.dumps(record(("x", "int"))))
    assert (
        Decoder(writer, json.dumps(record(("x", "long"), aliases=["shop.Old"]))).arrow_schema.field("x").type
        == pa.int64()
    )


def test_schemas_nested_deeply_are_planned_at_once() -> None:
    """Each pair is looked at once, however deep it stands."""

    def nested(kind: Any) -> Any:
        for depth in range(30):
            kind = record(("a", kind), name=f"N{depth}")
        return kind

    assert resolve(nested("int"), nested("long")).batch.num_rows == 0


def test_a_record_of_many_values_without_a_counterpart_is_told_about_once() -> None:
    """A hostile record must not make a list of reasons as long as itself."""
    made: list[int] = []

    def told(number: int) -> str:
        made.append(number)
        return "no"

    faults: list[Fault] = []
    items = pa.array([["a"] * 1000, [], ["b"] * 1000])
    place = Place.of_batch(3, faults).of_items(items)
    place.refuse(np.arange(2000) % 2 == 1, "x.item", told)
    assert faults == [Fault(0, "x.item", "no"), Fault(2, "x.item", "no")]
    assert made == [1, 1001]


def test_no_records_are_resolved_to_no_rows() -> None:
    kinds = [
        ("bytes", "string"),
        (enum("A", "B"), enum("B")),
        ({"type": "array", "items": "int"}, {"type": "array", "items": "long"}),
    ]
    for writer, reader in kinds:
        decoded = resolve(writer, reader)
        assert decoded.batch.num_rows == 0
        assert decoded.rejects == []
