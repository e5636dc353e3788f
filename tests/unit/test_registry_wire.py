import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.wire import MAX_SCHEMA_ID, frame, schema_ids


def joined(values: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    starts = np.concatenate([[0], np.cumsum([len(value) for value in values])]).astype(np.int64)
    return np.frombuffer(b"".join(values), dtype=np.uint8), starts


def test_a_frame_is_a_zero_byte_the_id_and_the_body() -> None:
    assert frame(258, b"body") == b"\x00\x00\x00\x01\x02body"


@pytest.mark.parametrize("schema_id", [-1, MAX_SCHEMA_ID + 1])
def test_an_id_that_no_registry_gives_is_not_framed(schema_id: int) -> None:
    with pytest.raises(ValueError, match=str(schema_id)):
        frame(schema_id, b"")


def test_no_values_have_no_ids() -> None:
    ids, ok = schema_ids(*joined([]))
    assert (len(ids), len(ok)) == (0, 0)


def test_a_short_last_value_is_not_read_beyond_the_buffer() -> None:
    ids, ok = schema_ids(*joined([frame(7, b""), b"\x00\x00\x00\x01"]))
    assert (ids.tolist(), ok.tolist()) == ([7, 0], [True, False])


FRAMED = st.builds(frame, st.integers(0, MAX_SCHEMA_ID), st.binary(max_size=4))
NEGATIVE_ID = st.integers(-(2**31), -1).map(lambda number: struct.pack(">bi", 0, number))


@given(st.lists(FRAMED | NEGATIVE_ID | st.binary(max_size=8)), st.binary(max_size=3))
def test_many_values_read_at_once_say_what_each_says_alone(values: list[bytes], before: bytes) -> None:
    """`before` moves all values: they need not begin where the buffer begins."""
    data, starts = joined([before, *values])
    ids, ok = schema_ids(data, starts[1:])
    assert ids.dtype == np.int32
    for value, schema_id, good in zip(values, ids.tolist(), ok.tolist(), strict=True):
        expected = len(value) >= 5 and value[0] == 0 and value[1] < 128
        assert good is expected
        assert schema_id == (struct.unpack(">i", value[1:5])[0] if expected else 0)
