"""Bitmaps of offsets against plain sets."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from audit.offsets import OffsetSet

# Around the edges of bytes, of blocks, and far away.
OFFSETS = st.one_of(
    st.integers(0, 40),
    st.integers(2**16 - 20, 2**16 + 20),
    st.integers(2**40, 2**40 + 20),
)
BATCHES = st.lists(st.lists(OFFSETS, max_size=30), max_size=6)


def array(offsets: list[int]) -> np.ndarray:
    return np.array(offsets, np.int64)


@given(BATCHES)
def test_adding_tells_what_was_there_before(batches: list[list[int]]) -> None:
    found, seen = OffsetSet(), set[int]()
    for batch in batches:
        again = []
        for offset in batch:
            if offset in seen:
                again.append(offset)
            seen.add(offset)
        assert found.add(array(batch)).tolist() == sorted(again)
    assert len(found) == len(seen)
    assert [offset for part in found.members() for offset in part.tolist()] == sorted(seen)


@given(BATCHES, st.lists(OFFSETS, max_size=30, unique=True).map(sorted), st.lists(OFFSETS, min_size=2).map(sorted))
def test_members_are_found_and_counted(batches: list[list[int]], asked: list[int], edges: list[int]) -> None:
    found, seen = OffsetSet(), set[int]()
    for batch in batches:
        found.add(array(batch))
        seen.update(batch)
    assert found.holds(array(asked)).tolist() == [offset in seen for offset in asked]
    counts = [sum(low <= offset < high for offset in seen) for low, high in itertools.pairwise(edges)]
    assert found.count(array(edges)).tolist() == counts


@given(st.lists(OFFSETS), st.lists(OFFSETS))
def test_what_two_sets_have_in_common_is_found(one: list[int], other: list[int]) -> None:
    left, right = OffsetSet(), OffsetSet()
    left.add(array(one))
    right.add(array(other))
    assert [offset for part in left.in_common(right) for offset in part.tolist()] == sorted(set(one) & set(other))
