"""What the decoder refuses, and how it says so."""

import ctypes
import itertools
import mmap
from decimal import Decimal
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ingest.decode import opcodes
from ingest.decode.decoder import Decoder
from tests.properties.avro_strategies import block, encode
from tests.unit.decoding import DECIMAL, decode, schema_of


def refusal(schema: str, body: bytes) -> tuple[int, str, str]:
    """Decode one bad record: (byte, path, reason)."""
    decoded = decode(schema, body)
    assert decoded.batch.num_rows == 0
    (reject,) = decoded.rejects
    return reject.byte, reject.path, reject.reason


DURATION = {"type": "fixed", "name": "Span", "size": 12, "logicalType": "duration"}
INNER = {"type": "record", "name": "Inner", "fields": [{"name": "n", "type": "null"}]}
PROT_NONE = 0  # of sys/mman.h; Python does not name it
INTS = schema_of("int", "boolean")
MAP = schema_of({"type": "map", "values": "int"})
BLOCKS = schema_of({"type": "array", "items": "long"})
TIMESTAMP = schema_of({"type": "long", "logicalType": "timestamp-micros"})


@pytest.mark.parametrize(
    ("schema", "body", "byte", "path", "reason"),
    [
        (INTS, b"", 5, "f0", "the value ends before an int"),
        (INTS, b"\x80", 5, "f0", "the value ends within an int"),
        (INTS, b"\x02", 6, "f1", "the value ends before a boolean"),
        (INTS, b"\x02\x02", 6, "f1", "boolean byte 2, not 0 or 1"),
        (INTS, b"\x80\x80\x80\x80\x10\x01", 5, "f0", "number 2147483648 does not fit 32 bits"),
        (INTS, b"\xff" * 10 + b"\x01", 5, "f0", "a number of more than 64 bits"),
        (schema_of("long"), b"\x80" * 9 + b"\x02", 5, "f0", "a number of more than 64 bits"),
        (INTS, b"\x02\x01\x01", 7, "", "1 byte left over"),
        (schema_of("double"), bytes(7), 5, "f0", "the value ends within a double of 8 bytes"),
        (schema_of("string"), b"\x18hello", 5, "f0", "string runs 7 bytes past the end"),
        (schema_of("bytes"), b"\x01", 5, "f0", "bytes of -1 bytes"),
        (schema_of("string"), b"\x08ab\xffc", 8, "f0", "byte 0xff is not UTF-8 here (invalid start byte)"),
        (
            schema_of({"type": "enum", "name": "E", "symbols": ["A", "B"]}),
            b"\x04",
            5,
            "f0",
            "enum index 2 of 2 symbols",
        ),
        (schema_of(["null", "int"]), b"\x04", 5, "f0", "union index 2 of 2 branches"),
        (schema_of(["null", "int"]), b"\x01", 5, "f0", "union index -1 of 2 branches"),
        (schema_of(["int"]), b"\x02\x02", 5, "f0", "union index 1 of 1 branch"),
        (schema_of(["null"]), b"\x01", 5, "f0", "union index -1 of 1 branch"),
        (schema_of(["int", "string", "long"]), b"\x06\x02", 5, "f0", "union index 3 of 3 branches"),
        (schema_of(["int", "string", "null"]), b"\x01\x02", 5, "f0", "union index -1 of 3 branches"),
        (schema_of(["int", "string"]), b"\x80\x80\x80\x80\x20\x02", 5, "f0", f"union index {2**32} of 2 branches"),
        (schema_of(["int", "string"]), b"", 5, "f0", "the value ends before a union"),
        (schema_of(["int", "string"]), b"\x02\x04a", 6, "f0.string", "string runs 1 byte past the end"),
        (schema_of(DURATION), bytes(11), 5, "f0", "the value ends within a fixed of 12 bytes"),
        (schema_of({"type": "fixed", "name": "F", "size": 4}), b"abc", 5, "f0", "the value ends within a fixed of 4 bytes"),
        (schema_of({"type": "int", "logicalType": "date"}), b"\x80\x80\x80\x80\x08", 5, "f0", "date 1073741824 is not within the years 1 to 9999"),
        (TIMESTAMP, b"\xff" * 9 + b"\x01", 5, "f0", f"timestamp-micros {-(2**63)} is not within the years 1 to 9999"),
        (schema_of({"type": "int", "logicalType": "time-millis"}), b"\x01", 5, "f0", "time-millis -1 is no time of a day"),
        (schema_of(DECIMAL), b"\x04\x27\x10", 5, "f0", "decimal 0x2710 has more than 4 digits"),
        (schema_of(DECIMAL), b"\x00", 5, "f0", "a decimal of no bytes"),
        (schema_of({"type": "string", "logicalType": "uuid"}), b"\x06abc", 5, "f0", "no UUID: 'abc'"),
        (MAP, b"\x02\x02a\x04", 9, "f0", "the value ends before a block of a map"),
        (MAP, b"\x02\x02\xff\x04\x00", 7, "f0.key", "byte 0xff is not UTF-8 here (invalid start byte)"),
        (MAP, b"\x02\x02a\x80\x80\x80\x80\x10\x00", 8, "f0.value", "number 2147483648 does not fit 32 bits"),
        (MAP, b"\x02\x02a\x04\x02\x02a\x06\x00", 14, "f0.key", "the map holds a key twice"),
        (BLOCKS, b"\x08\x02\x00", 5, "f0", "a block of 4 items, and 2 bytes left"),
        (BLOCKS, b"\x01\x06\x02\x00", 5, "f0", "the block's size in bytes is not that of its items"),
        (BLOCKS, b"\x01\x00\x02\x00", 8, "f0", "the block's size in bytes is not that of its items"),
    ],
)  # fmt: skip
def test_a_refusal_names_byte_field_and_reason(schema: str, body: bytes, byte: int, path: str, reason: str) -> None:
    assert refusal(schema, body) == (byte, path, reason)


def test_a_value_shorter_than_its_prefix_is_refused() -> None:
    data = np.zeros(3, np.uint8)
    (reject,) = Decoder(schema_of("null")).decode(data, np.array([0, 3])).rejects
    assert (reject.byte, reject.reason) == (5, "the value has only 3 bytes")


def test_paths_lead_through_records_arrays_and_maps() -> None:
    inner = {"type": "record", "name": "I", "fields": [{"name": "ok", "type": "boolean"}]}
    schema = schema_of({"type": "array", "items": {"type": "map", "values": ["null", inner]}})
    assert refusal(schema, b"\x02\x02\x02k\x02\x09\0\0") == (10, "f0.item.value.ok", "boolean byte 9, not 0 or 1")


def test_blocks_may_be_many_and_may_say_their_size() -> None:
    decoded = decode(BLOCKS, b"\x02\x02\x03\x04\x04\x06\x00", b"\x00")
    assert decoded.batch["f0"].to_pylist() == [[1, 2, 3], []]


@pytest.mark.parametrize(
    "schema",
    [
        schema_of({"type": "array", "items": "null"}),
        schema_of({"type": "array", "items": {"type": "fixed", "name": "Z", "size": 0}}),
        schema_of({"type": "array", "items": {"type": "array", "items": "null"}}),
        schema_of({"type": "map", "values": "null"}),
    ],
)
@pytest.mark.parametrize("count", [2**20, 2**60, 2**63 - 1, -(2**60), -(2**63)])
def test_a_count_without_bytes_neither_hangs_nor_eats_memory(schema: str, count: int) -> None:
    size = b"\x02" if count < 0 else b""
    before = pa.default_memory_pool().bytes_allocated()
    decoded = decode(schema, encode("long", count) + size + b"\x00\x00", b"\x00")
    assert [reject.row for reject in decoded.rejects] == [0]
    assert decoded.rows.tolist() == [1]
    assert pa.default_memory_pool().bytes_allocated() - before < 2**20


def test_items_that_take_no_bytes_are_believed_up_to_a_bound_for_the_whole_record() -> None:
    schema = schema_of({"type": "array", "items": "null"})
    half = encode("long", opcodes.EMPTY_ITEMS_MAX // 2)
    assert decode(schema, half + half + b"\x00").batch["f0"][0].as_py() == [None] * opcodes.EMPTY_ITEMS_MAX
    byte, _, reason = refusal(schema, half + half + b"\x02\x00")
    assert byte == 5 + 2 * len(half)
    assert reason == "a block of 1 items that take no bytes; at most 4096 in a record are believed"


def test_text_is_what_python_takes_for_utf8() -> None:
    """Every byte that begins a character, with every second byte, and all sorts to follow."""
    texts = [
        bytes([a, b]) + more
        for a in (0x41, 0x7F, 0x80, *range(0xBF, 256))
        for b in range(256)
        for more in (b"", b"\x80", b"\xbf\xbfz")
    ]
    bodies = [bytes([2 * len(text)]) + text for text in texts]
    decoded = decode(schema_of("string"), *bodies)
    faults = [utf8_fault(text) for text in texts]
    assert decoded.rows.tolist() == [row for row, fault in enumerate(faults) if fault is None]
    assert [reject.byte - 6 for reject in decoded.rejects] == [fault for fault in faults if fault is not None]


def utf8_fault(text: bytes) -> int | None:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return error.start
    return None


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 15, 16, 17, 100])
@pytest.mark.parametrize("at", ["first", "last"])
def test_one_bad_byte_is_found_wherever_it_is(length: int, at: str) -> None:
    """Strings are searched eight bytes at a time."""
    spot = 0 if at == "first" else length
    text = b"x" * spot + b"\xff" + b"x" * (length - spot)
    decoded = decode(schema_of("string"), encode("long", len(text)) + text, encode("string", "ä" * length))
    assert [reject.row for reject in decoded.rejects] == [0]
    assert decoded.batch["f0"].to_pylist() == ["ä" * length]


def test_nothing_is_read_beyond_the_block() -> None:
    """Whole words are copied, so the last string's end matters: here the next page of memory must not be touched."""
    page = mmap.PAGESIZE
    area = mmap.mmap(-1, 2 * page)
    buffer = (ctypes.c_char * (2 * page)).from_buffer(area)
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mprotect(ctypes.c_void_p(ctypes.addressof(buffer) + page), page, PROT_NONE) == 0
    made = Decoder(schema_of("string"))
    for length in range(1, 20):
        data, starts = block([encode("string", "x" * length)])
        place = np.frombuffer(area, np.uint8)[page - len(data) : page]
        place[:] = data
        assert made.decode(place, starts).batch["f0"].to_pylist() == ["x" * length]
        del place
    assert libc.mprotect(ctypes.c_void_p(ctypes.addressof(buffer) + page), page, mmap.PROT_READ) == 0


@pytest.mark.parametrize("items", [["null", "int", "string"], ["null"], ["int", "string"], [INNER, "int"]])
def test_an_array_of_unions_is_believed_no_more_items_than_it_has_bytes(items: Any) -> None:
    """A union's item takes a byte at least, whatever its branches hold."""
    claimed = encode("long", 2**40)
    _, path, reason = refusal(schema_of({"type": "array", "items": items}), claimed + b"\x00" * 20)
    assert path == "f0"
    assert reason == f"a block of {2**40} items, and 20 bytes left"


def test_a_hostile_union_costs_no_more_memory_than_its_columns_are_wide() -> None:
    """Each item of one byte takes a place in every member's column, and nothing that grows beyond that."""
    members = [*["int", "double", "string"], {"type": "array", "items": "long"}]
    schema = schema_of({"type": "array", "items": ["null", *members]})
    nulls = 100_000
    data, starts = block([encode("long", nulls) + b"\x00" * nulls + b"\x00"])
    before = pa.default_memory_pool().max_memory()
    batch = Decoder(schema).decode(data, starts).batch
    assert batch["f0"][0].as_py() == [None] * nulls
    assert pa.default_memory_pool().max_memory() - before < 100 * nulls


@pytest.mark.parametrize("precision", range(1, 39))
def test_a_decimal_has_as_many_digits_as_declared_and_no_more(precision: int) -> None:
    schema = schema_of({"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": 0})

    def body(value: int, size: int) -> bytes:
        return encode("bytes", value.to_bytes(size, "big", signed=True))

    most = 10**precision - 1
    sizes = [size for size in (1, 4, 8, 9, 16, 17, 30) if most < 2 ** (8 * size - 1)]
    good = [body(sign * most, size) for size in sizes for sign in (1, -1)]
    bad = [body(sign * (most + 1), size) for size in (17, 30) for sign in (1, -1)]
    bad += [body(sign << 136, 18) for sign in (1, -1)]
    decoded = decode(schema, body(1, 1), *good, *bad)
    assert decoded.batch["f0"].to_pylist() == [1, *[Decimal(sign * most) for _ in sizes for sign in (1, -1)]]
    assert len(decoded.rejects) == len(bad)


@pytest.mark.parametrize("size", [2, 3, 31, 32, 33, 34, 40])
def test_a_key_twice_is_found_wherever_it_stands(size: int) -> None:
    """Few keys are compared in pairs, more than 32 are sorted."""
    random = Random(size)
    bodies = []
    for twice in [(None, None), *itertools.combinations(range(size), 2)]:
        keys = random.sample(range(100_000), size)
        if twice[0] is not None:
            keys[twice[1]] = keys[twice[0]]
        entries = b"".join(encode("string", f"key-{key}") for key in keys)
        bodies.append(encode("long", size) + entries + b"\x00")
    decoded = decode(schema_of({"type": "map", "values": "null"}), *bodies)
    assert decoded.rows.tolist() == [0]
    assert {reject.reason for reject in decoded.rejects} == {"the map holds a key twice"}


def test_a_map_of_very_many_keys_is_read() -> None:
    keys = [f"key-{n * 7919 % 50_021}" for n in range(50_000)]
    body = encode("long", len(keys)) + b"".join(encode("string", key) for key in keys) + b"\x00"
    decoded = decode(schema_of({"type": "map", "values": "null"}), body)
    assert [key for key, _ in decoded.batch["f0"][0].as_py()] == keys


@pytest.mark.parametrize(
    "text",
    [
        "123e4567-e89b-12d3-a456-42661417400g",
        "123e4567_e89b-12d3-a456-426614174000",
        "123e4567-e89b-12d3-a456-4266141740000",
        "{123e4567-e89b-12d3-a456-42661417400}",
    ],
)
def test_what_is_no_uuid_is_refused(text: str) -> None:
    schema = schema_of({"type": "string", "logicalType": "uuid"})
    good = "123E4567-e89b-12d3-a456-426614174000"
    decoded = decode(schema, encode("string", text), encode("string", good))
    assert [reject.reason for reject in decoded.rejects] == [f"no UUID: {text!r}"]
    assert decoded.batch["f0"].to_pylist() == [good]
