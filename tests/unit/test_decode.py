"""What the decoder gives for records, good and bad, and what it costs."""

import gc
import json
import threading
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from unittest import mock

import fastavro
import numpy as np
import pyarrow as pa
import pytest

from ingest.decode import opcodes
from ingest.decode.compiled import KERNEL
from ingest.decode.decoder import Decoder, warm
from tests.properties.avro_strategies import block, encode
from tests.unit.decoding import DECIMAL, decode, schema_of, used_before

EVENT = {
    "type": "record",
    "name": "Event",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["view", "cart", "buy", "refund"]}},
        {"name": "product", "type": ["null", "long"]},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "properties", "type": {"type": "map", "values": "string"}},
    ],
}
AT = datetime(2013, 1, 31, 12, 30, 0, 250_000, tzinfo=UTC)


def event(n: int = 0, **other: Any) -> bytes:
    value = {
        "id": f"id-{n}",
        "kind": "cart",
        "product": None if n % 3 == 0 else n,
        "price": Decimal("19.99"),
        "at": AT,
        "properties": {"page": "home", "n": str(n)},
    }
    return encode(fastavro.parse_schema(json.loads(json.dumps(EVENT))), value | other)


def test_an_event_becomes_a_row() -> None:
    decoded = decode(json.dumps(EVENT), event(1))
    assert decoded.batch.to_pylist() == [
        {
            "id": "id-1",
            "kind": "cart",
            "product": 1,
            "price": Decimal("19.99"),
            "at": AT,
            "properties": [("page", "home"), ("n", "1")],
        }
    ]
    assert decoded.rows.tolist() == [0]


def test_an_enum_stays_a_dictionary_of_its_symbols() -> None:
    """So that Parquet writes the symbols once, and no string is made for a row."""
    column = decode(json.dumps(EVENT), event(1), event(2)).batch["kind"]
    assert column.type == pa.dictionary(pa.int32(), pa.string())
    assert column.dictionary.to_pylist() == ["view", "cart", "buy", "refund"]


@pytest.mark.parametrize("bodies", [[], [b"", b"\x07"]], ids=["no records", "only bad ones"])
def test_an_empty_batch_has_every_column(bodies: list[bytes]) -> None:
    decoded = decode(json.dumps(EVENT), *bodies)
    assert decoded.batch.num_rows == 0
    assert decoded.batch.schema == Decoder(json.dumps(EVENT)).arrow_schema
    assert len(decoded.rejects) == len(bodies)


@pytest.mark.parametrize("bad", [{0}, {99}, {50}, set(range(100)), set(range(0, 100, 2)), set()])
def test_bad_records_cost_only_themselves(bad: set[int]) -> None:
    """Wherever they stand: first, last, every other one, all."""
    bodies = [event(n) + (b"spoiled" if n in bad else b"") for n in range(100)]
    decoded = decode(json.dumps(EVENT), *bodies)
    assert [reject.row for reject in decoded.rejects] == sorted(bad)
    assert {reject.reason for reject in decoded.rejects} <= {"7 bytes left over"}
    assert decoded.batch["id"].to_pylist() == [f"id-{n}" for n in range(100) if n not in bad]
    assert decoded.rows.tolist() == [n for n in range(100) if n not in bad]


def test_bad_records_cost_no_further_pass() -> None:
    """The time of a block does not depend on how often it has to be begun again."""
    kernel, calls = KERNEL.load(), []

    def counting(*arguments: int) -> None:
        calls.append(arguments)
        kernel(*arguments)

    made = Decoder(json.dumps(EVENT))
    clean, spoiled = block([event(n) for n in range(500)]), block([event(n) + b"!" * (n % 2) for n in range(500)])
    made.decode(*clean)
    with mock.patch.object(KERNEL, "load", return_value=counting):
        assert len(made.decode(*spoiled).rejects) == 250
    assert len(calls) == 1


def test_only_the_rows_asked_for_are_decoded() -> None:
    """Several schemas stand in one block; the rows of another one are none of this decoder's business."""
    other = schema_of("long", "double")
    data, starts = block([event(0), b"\x02" + bytes(8), event(2), b"\x04" + bytes(8), event(4)])
    events = Decoder(json.dumps(EVENT)).decode(data, starts, np.array([0, 2, 4]))
    others = Decoder(other).decode(data, starts, np.array([1, 3]))
    assert events.batch["id"].to_pylist() == ["id-0", "id-2", "id-4"]
    assert events.rows.tolist() == [0, 2, 4]
    assert others.batch["f0"].to_pylist() == [1, 2]
    assert others.rows.tolist() == [1, 3]
    assert events.rejects == others.rejects == []


def test_rejects_name_the_row_of_the_block() -> None:
    data, starts = block([b"", event(1), event(2) + b"!"])
    (reject,) = Decoder(json.dumps(EVENT)).decode(data, starts, np.array([1, 2])).rejects
    assert (reject.row, reject.byte, reject.path) == (2, 5 + len(event(2)), "")


def test_strings_larger_than_any_guess_fit() -> None:
    schema = schema_of("string", {"type": "array", "items": "string"})
    texts = ["x", "y" * 3_000_000, "ä" * 1_000_000]
    bodies = [
        encode(fastavro.parse_schema(json.loads(schema)), {"f0": text, "f1": [text] * n})
        for n, text in enumerate(texts)
    ]
    decoded = decode(schema, *bodies)
    assert decoded.batch.to_pylist() == [{"f0": text, "f1": [text] * n} for n, text in enumerate(texts)]


def test_a_column_beyond_arrows_offsets_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is 2 GiB; here it is lowered for the host's side, which alone decides how far buffers grow."""
    warm()
    monkeypatch.setattr(opcodes, "OFFSET_MAX", 1000)
    made = Decoder(schema_of("string"))
    assert made.decode(*block([encode("string", "x" * 400)] * 2)).batch.num_rows == 2
    with pytest.raises(ValueError, match="decode fewer records at once"):
        made.decode(*block([encode("string", "x" * 400)] * 3))


@pytest.mark.parametrize(
    ("starts", "rows"),
    [
        ([], None),
        ([-1, 5], None),
        ([0, 11], None),
        ([0, 8, 5], None),
        ([0, 5, 10], [2]),
        ([0, 5, 10], [-1]),
    ],
)
def test_places_outside_of_the_block_are_refused(starts: list[int], rows: list[int] | None) -> None:
    """The kernel checks no address: whoever calls it must."""
    with pytest.raises(ValueError, match=r"^(starts|rows) must"):
        Decoder(schema_of("int")).decode(
            np.zeros(10, np.uint8), np.array(starts, np.int64), None if rows is None else np.array(rows, np.int64)
        )


def test_nulls_take_their_place_in_every_column_of_a_record() -> None:
    inner = {
        "type": "record",
        "name": "Inner",
        "fields": [
            {"name": "a", "type": "boolean"},
            {"name": "b", "type": ["int", "null"]},
            {"name": "c", "type": "double"},
            {"name": "d", "type": DECIMAL},
            {"name": "e", "type": "string"},
            {"name": "f", "type": {"type": "map", "values": "int"}},
            {"name": "g", "type": {"type": "record", "name": "G", "fields": [{"name": "h", "type": "null"}]}},
        ],
    }
    schema = schema_of(["null", inner])
    value = {"a": True, "b": None, "c": 1.5, "d": Decimal("1.00"), "e": "x", "f": {"k": 1}, "g": {"h": None}}
    parsed = fastavro.parse_schema(json.loads(schema))
    values = [value, None, value, None, None, value]
    decoded = decode(schema, *[encode(parsed, {"f0": v}) for v in values])
    assert decoded.batch["f0"].to_pylist() == [v and v | {"f": [("k", 1)]} for v in values]


def test_what_lies_under_a_null_is_nothing() -> None:
    """Not what the memory held before: some readers look at values before they look whether there are any."""
    kinds: list[Any] = [
        "boolean",
        ["null", "int"],
        "int",
        "double",
        DECIMAL,
        "string",
        {"type": "array", "items": "int"},
    ]
    inner = json.loads(schema_of(*kinds)) | {"name": "Inner"}
    full = b"\x02\x01\x02\x02\x02" + b"x" * 8 + b"\x02\x01\x02y\x02\x02\x00"
    with mock.patch.object(pa, "allocate_buffer", used_before):
        column = decode(schema_of(["null", inner]), *[full, b"\x00"] * 50).batch["f0"]
    under = [column.field(n)[99].as_py() for n in range(len(kinds))]
    assert under == [False, None, 0, 0.0, Decimal("0.00"), "", []]


ADDRESS = {"type": "record", "name": "Address", "fields": [{"name": "city", "type": ["null", "string"]}]}
ANYTHING = ["string", "null", "long", ADDRESS, {"type": "array", "items": ["int", "string"]}]
NOTHING: dict[str, Any] = {"string": None, "long": None, "Address": None, "array": None}


def test_a_union_becomes_a_record_of_which_one_member_has_a_value() -> None:
    bodies = [b"\x00\x02a", b"\x02", b"\x04\x0e", b"\x06\x02\x02b", b"\x06\x00", b"\x08\x04\x00\x02\x02\x02c\x00"]
    column = decode(schema_of(ANYTHING), *bodies).batch["f0"]
    assert column.to_pylist() == [
        NOTHING | {"string": "a"},
        None,
        NOTHING | {"long": 7},
        NOTHING | {"Address": {"city": "b"}},
        NOTHING | {"Address": {"city": None}},
        NOTHING | {"array": [{"int": 1, "string": None}, {"int": None, "string": "c"}]},
    ]


def test_members_of_a_union_that_were_not_written_are_nothing_wherever_the_union_stands() -> None:
    """Within a null, an array, a map, and the member of another union; in memory that was used before."""
    outer = {"type": "record", "name": "Outer", "fields": [{"name": "u", "type": ANYTHING}]}
    schema = schema_of(
        ["null", outer], {"type": "array", "items": "Outer"}, {"type": "map", "values": ["int", "Outer"]}
    )
    long_ = {"u": NOTHING | {"long": 1}}
    bodies = [
        b"\x00" + b"\x00" + b"\x02\x02k\x00\x04\x00",
        b"\x02\x04\x02" + b"\x04\x02\x04\x02\x00" + b"\x02\x02k\x02\x04\x02\x00",
    ]
    with mock.patch.object(pa, "allocate_buffer", used_before):
        batch = decode(schema, *bodies * 20).batch
    assert (
        batch.to_pylist()
        == [
            {"f0": None, "f1": [], "f2": [("k", {"int": 2, "Outer": None})]},
            {"f0": long_, "f1": [{"u": None}, long_], "f2": [("k", {"int": None, "Outer": long_})]},
        ]
        * 20
    )
    under = batch["f0"].field("u")
    assert [under.field(n)[38].as_py() for n in range(4)] == [None] * 4


@pytest.mark.parametrize(("kind", "body", "value"), [(["long"], b"\x00\x0e", 7), (["null"], b"\x00", None)])
def test_a_union_of_one_is_that_one_behind_its_number(kind: Any, body: bytes, value: Any) -> None:
    assert decode(schema_of(kind, "int"), body + b"\x02").batch.to_pylist() == [{"f0": value, "f1": 1}]


def test_nanoseconds_are_kept() -> None:
    """The least and the greatest are in the years 1677 and 2262: no number is out of range."""
    kind = {"type": "long", "logicalType": "timestamp-nanos"}
    numbers = [-(2**63), -1, 0, 1_359_635_400_000_000_001, 2**63 - 1]
    assert decode(schema_of(kind), *[encode("long", n) for n in numbers]).batch["f0"].to_pylist() == numbers


def test_a_duration_is_three_unsigned_numbers() -> None:
    kind = {"type": "fixed", "name": "Span", "size": 12, "logicalType": "duration"}
    body = (2**32 - 1).to_bytes(4, "little") + (7).to_bytes(4, "little") + (2**31).to_bytes(4, "little")
    with mock.patch.object(pa, "allocate_buffer", used_before):
        batch = decode(schema_of(["null", kind]), b"\x02" + body, b"\x00").batch
    assert batch["f0"].to_pylist() == [{"months": 2**32 - 1, "days": 7, "millis": 2**31}, None]
    assert batch["f0"].field("days")[1].as_py() == 0


def test_a_fixed_that_is_too_long_for_a_duration_is_bytes() -> None:
    kind = {"type": "fixed", "name": "Span", "size": 13, "logicalType": "duration"}
    assert decode(schema_of(kind), bytes(13)).batch["f0"].to_pylist() == [bytes(13)]


def test_dates_and_times_reach_to_the_ends_of_the_calendar() -> None:
    schema = schema_of(
        {"type": "int", "logicalType": "date"},
        {"type": "long", "logicalType": "timestamp-millis"},
        {"type": "long", "logicalType": "local-timestamp-micros"},
    )
    parsed = fastavro.parse_schema(json.loads(schema))
    first = {"f0": date.min, "f1": datetime.min.replace(tzinfo=UTC), "f2": datetime.min}
    last = {
        "f0": date.max,
        "f1": datetime.max.replace(tzinfo=UTC, microsecond=999_000),
        "f2": datetime.max,
    }
    assert decode(schema, encode(parsed, first), encode(parsed, last)).batch.to_pylist() == [first, last]


def test_a_type_may_be_named_again() -> None:
    address = {"type": "record", "name": "Address", "namespace": "a.b", "fields": [{"name": "city", "type": "string"}]}
    decoded = decode(schema_of(address, "a.b.Address", ["null", "a.b.Address"]), b"\x02x\x02y\x02\x02z")
    assert decoded.batch.to_pylist() == [{"f0": {"city": "x"}, "f1": {"city": "y"}, "f2": {"city": "z"}}]


def test_memory_is_given_back_with_the_batch() -> None:
    made, (data, starts) = Decoder(json.dumps(EVENT)), block([event(n) for n in range(2000)])
    gc.collect()
    before = pa.default_memory_pool().bytes_allocated()
    batch = made.decode(data, starts).batch
    assert pa.default_memory_pool().bytes_allocated() > before
    column = batch["id"]
    del batch
    gc.collect()
    assert column[1999].as_py() == "id-1999"
    del column
    gc.collect()
    assert pa.default_memory_pool().bytes_allocated() == before


def test_a_batch_holds_little_more_memory_than_its_values() -> None:
    made, (data, starts) = Decoder(json.dumps(EVENT)), block([event(n) for n in range(20_000)])
    made.decode(data, starts)
    before = pa.default_memory_pool().bytes_allocated()
    batch = made.decode(data, starts).batch
    assert pa.default_memory_pool().bytes_allocated() - before < 1.5 * batch.nbytes


def test_one_odd_record_does_not_make_the_next_block_huge() -> None:
    """Room is guessed from the last decoding, but never beyond the bytes at hand."""
    made = Decoder(schema_of("string"))
    made.decode(*block([encode("string", "x" * 1_000_000)]))
    before = pa.default_memory_pool().bytes_allocated()
    batch = made.decode(*block([encode("string", "x")] * 10_000)).batch
    assert batch.num_rows == 10_000
    assert pa.default_memory_pool().bytes_allocated() - before < 10 * 10_000 * 8


def test_several_threads_share_a_decoder() -> None:
    made = Decoder(json.dumps(EVENT))
    blocks = [block([event(n, id=f"{thread}-{n}") for n in range(3000)]) for thread in range(4)]
    found: dict[tuple[int, int], list[str]] = {}

    def work(thread: int) -> None:
        for turn in range(10):
            found[thread, turn] = made.decode(*blocks[thread]).batch["id"].to_pylist()

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(found[t, turn] == [f"{t}-{n}" for n in range(3000)] for t in range(4) for turn in range(10))
