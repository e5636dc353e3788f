"""Sets of offsets, a bit each: a hundred million offsets take 12 MB however they come."""

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Offsets = npt.NDArray[np.int64]

# Offsets of one block: 8 kB. Blocks without a member are not made.
_BLOCK_BITS = 16
_BLOCK = 1 << _BLOCK_BITS


class OffsetSet:
    """Offsets (not negative) of one source partition. Memory: one bit for each offset in the blocks that have a member."""

    def __init__(self) -> None:
        self._blocks: dict[int, npt.NDArray[np.uint8]] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, offsets: Offsets) -> Offsets:
        """Add offsets, in any order; return those that were there already, or come more than once, ascending."""
        if not len(offsets):
            return offsets
        if not bool((offsets[1:] > offsets[:-1]).all()):
            offsets = np.sort(offsets)
        again = np.empty(len(offsets), bool)
        again[0] = False
        np.equal(offsets[1:], offsets[:-1], out=again[1:])
        for block, start, stop in _by_block(offsets):
            bits = self._blocks.get(block)
            if bits is None:
                bits = self._blocks[block] = np.zeros(_BLOCK // 8, np.uint8)
            byte, bit = _place(offsets[start:stop])
            again[start:stop] |= (bits[byte] & bit) != 0
            firsts = np.concatenate([[0], np.flatnonzero(np.diff(byte)) + 1])
            bits[byte[firsts]] |= np.bitwise_or.reduceat(bit, firsts)
        self._size += int(len(offsets) - again.sum())
        return offsets[again]

    def holds(self, offsets: Offsets) -> npt.NDArray[np.bool_]:
        """For each of these ascending offsets: is it a member?"""
        found = np.zeros(len(offsets), bool)
        for block, start, stop in _by_block(offsets):
            if (bits := self._blocks.get(block)) is not None:
                byte, bit = _place(offsets[start:stop])
                found[start:stop] = (bits[byte] & bit) != 0
        return found

    def members(self) -> Iterator[Offsets]:
        """All members, ascending, block by block."""
        for block in sorted(self._blocks):
            bits = np.unpackbits(self._blocks[block], bitorder="little")
            yield np.flatnonzero(bits).astype(np.int64) + (block << _BLOCK_BITS)

    def count(self, edges: Offsets) -> Offsets:
        """How many members lie between each two neighbouring edges (ascending): len(edges) - 1 counts."""
        counts = np.zeros(len(edges) - 1, np.int64)
        for found in self.members():
            counts += np.diff(np.searchsorted(found, edges))
        return counts

    def in_common(self, other: "OffsetSet") -> Iterator[Offsets]:
        """Members of both, ascending, block by block; blocks without any are passed over."""
        for block in sorted(self._blocks.keys() & other._blocks.keys()):
            both = self._blocks[block] & other._blocks[block]
            if both.any():
                yield np.flatnonzero(np.unpackbits(both, bitorder="little")).astype(np.int64) + (block << _BLOCK_BITS)


def _by_block(offsets: Offsets) -> Iterator[tuple[int, int, int]]:
    """(block, start, stop) of each run of ascending offsets that lies in one block."""
    if not len(offsets):
        return
    blocks = offsets >> _BLOCK_BITS
    edges = np.concatenate([[0], np.flatnonzero(np.diff(blocks)) + 1, [len(offsets)]]).tolist()
    for start, stop in itertools.pairwise(edges):
        yield int(blocks[start]), start, stop


def _place(offsets: Offsets) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Byte of the block, and the bit in it, of each offset."""
    inside = offsets & (_BLOCK - 1)
    return inside >> 3, np.left_shift(np.uint8(1), (inside & 7).astype(np.uint8))
