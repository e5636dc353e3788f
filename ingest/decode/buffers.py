"""The buffers of one decoding: how large they are made, how they grow, and the Arrow arrays that they become."""

from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingest.decode import opcodes as o
from ingest.decode.plan import NONE, Layout, Plan

# Behind each buffer: one more offset than there are values, and what copying whole words overwrites.
_SLACK_BYTES: Final = 16


class Buffers:
    """Memory for one decoding, from Arrow's own pool: it lives exactly as long as an array that uses it.

    `limits` say how much each cursor may count before a buffer must grow.
    """

    def __init__(self, plan: Plan, limits: npt.NDArray[np.int64]) -> None:
        self._plan = plan
        self.limits = limits
        self._buffers = [pa.allocate_buffer(self._size(n), resizable=True) for n in range(len(plan.buffers))]

    def grow(self, cursor: int, least: int) -> None:
        """Let a cursor count up to `least`, or twice as far as before. What was written stays, addresses do not.

        Raises ValueError at Arrow's limit.
        """
        if self.limits[cursor] == o.OFFSET_MAX or least > o.OFFSET_MAX:
            raise ValueError("a column of more than 2 GiB of strings, or of 2**31 items: decode fewer records at once")
        self.limits[cursor] = min(max(least, 2 * int(self.limits[cursor])), o.OFFSET_MAX)
        for number, buffer in enumerate(self._plan.buffers):
            if buffer.cursor == cursor:
                self._buffers[number].resize(self._size(number))

    def program(self) -> npt.NDArray[np.int64]:
        """The plan's program with the addresses as they are now."""
        program = self._plan.program.copy()
        rows, words, buffers = self._plan.addresses.T
        addresses = np.array([buffer.address for buffer in self._buffers], np.int64)
        program[rows, words] = addresses[buffers]
        return program

    def array(self, layout: Layout, cursors: npt.NDArray[np.int64]) -> pa.Array:
        """What a column's buffers hold, without a copy. `cursors` say how much that is."""
        column, length = layout.column, int(cursors[layout.length])
        if column.avro == "null":
            return pa.nulls(length, column.arrow)
        bits = self._used(layout.bits, cursors) if layout.bits != NONE else None
        children = [self.array(child, cursors) for child in layout.children]
        if pa.types.is_struct(column.arrow):
            return pa.Array.from_buffers(column.arrow, length, [bits], children=children)
        values = self._used(layout.values, cursors, 1 if layout.data != NONE or children else 0)
        if column.avro == "map":
            entries = pa.StructArray.from_arrays(children, fields=[column.arrow.key_field, column.arrow.item_field])
            children = [entries]
        if column.avro == "enum":
            return pa.DictionaryArray.from_buffers(column.arrow, length, [bits, values], layout.symbols)
        if layout.data != NONE:
            return pa.Array.from_buffers(column.arrow, length, [bits, values, self._used(layout.data, cursors)])
        return pa.Array.from_buffers(column.arrow, length, [bits, values], children=children)

    def _size(self, number: int) -> int:
        buffer = self._plan.buffers[number]
        return int(self.limits[buffer.cursor]) * buffer.bits // 8 + _SLACK_BYTES

    def _used(self, number: int, cursors: npt.NDArray[np.int64], more: int = 0) -> pa.Buffer:
        buffer = self._plan.buffers[number]
        return self._buffers[number].slice(0, ((int(cursors[buffer.cursor]) + more) * buffer.bits + 7) // 8)
