"""The column-wise encoder writes what fastavro reads."""

import io
import json
from decimal import Decimal
from typing import Any

import fastavro
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from produce import encoding

LONGS = st.integers(-(2**63), 2**63 - 1)


def decoded(schema: Any, value: bytes) -> Any:
    """Return the only datum in `value`."""
    stream = io.BytesIO(value)
    datum = fastavro.schemaless_reader(stream, fastavro.parse_schema(schema), None)
    assert stream.read() == b""
    return datum


@given(st.lists(LONGS))
def test_longs_are_varints(values: list[int]) -> None:
    encoded = encoding.bodies([encoding.longs(np.array(values, np.int64))])
    assert [decoded("long", one) for one in encoded] == values
    assert encoded == [encoding.varint(value) for value in values]


@given(st.lists(st.none() | LONGS))
def test_an_optional_field_is_a_union_with_null_first(values: list[int | None]) -> None:
    numbers = encoding.longs(np.array([value or 0 for value in values], np.int64))
    null = np.array([value is None for value in values], bool)
    encoded = encoding.bodies([encoding.optional(numbers, null)])
    assert [decoded(["null", "long"], one) for one in encoded] == values


@given(st.lists(LONGS))
def test_decimals_are_exact_and_as_short_as_they_can_be(unscaled: list[int]) -> None:
    encoded = encoding.bodies([encoding.decimals(np.array(unscaled, np.int64))])
    kind = {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 2}
    assert [decoded(kind, one) for one in encoded] == [Decimal(value).scaleb(-2) for value in unscaled]
    shortest = [(max(value, ~value).bit_length() + 8) // 8 for value in unscaled]
    assert [len(decoded("bytes", one)) for one in encoded] == shortest


@given(st.lists(st.text(), min_size=1), st.data())
def test_chosen_texts_are_strings_side_by_side(texts: list[str], data: st.DataObject) -> None:
    index = np.array(data.draw(st.lists(st.integers(0, len(texts) - 1))), np.int64)
    cells = encoding.chosen([encoding.text(one) for one in texts], index)
    two = {"type": "record", "name": "r", "fields": [{"name": name, "type": "string"} for name in "ab"]}
    for place, one in zip(index, encoding.bodies([cells, cells]), strict=True):
        assert decoded(json.loads(json.dumps(two)), one) == {"a": texts[place], "b": texts[place]}


@given(st.lists(st.binary(min_size=6, max_size=6), min_size=1))
def test_hexadecimal_is_a_string_of_digits(rows: list[bytes]) -> None:
    raw = np.frombuffer(b"".join(rows), np.uint8).reshape(-1, 6)
    encoded = encoding.bodies([encoding.hexadecimal(raw)])
    assert [decoded("string", one) for one in encoded] == [row.hex() for row in rows]


@pytest.mark.parametrize("records", [0, 1, 3])
def test_a_constant_is_in_every_record(records: int) -> None:
    assert encoding.bodies([encoding.constant(b"\0abcd", records)]) == [b"\0abcd"] * records
