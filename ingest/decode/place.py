"""Where the values of a column stand while a batch is resolved: which of them count, and which record each belongs to.

A column's array also holds places without a value: under a null record, or in a union's members that were not written.
What stands there is nobody's fault. Values of arrays and maps are more, or fewer, than there are records. Both are found
only when a value is refused, so that batches without a fault do not pay for it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Fault:
    """A value that the reader's schema cannot take: the row of its record in the batch, the reader's path, and why."""

    row: int
    path: str
    reason: str


class Place:
    """Where the values of one array stand."""

    def __init__(self, faults: list[Fault], counting: Callable[[], Mask], rows: Callable[[], Rows]) -> None:
        self._faults, self._counting, self._rows = faults, counting, rows

    @classmethod
    def of_batch(cls, records: int, faults: list[Fault]) -> Self:
        """Of the records themselves. What is refused there and below is added to `faults`."""
        return cls(faults, lambda: np.ones(records, np.bool_), lambda: np.arange(records))

    def within(self, array: pa.Array) -> "Place":
        """The same places, of which those count where this array is not null."""
        if not array.null_count:
            return self
        return Place(self._faults, lambda: self._counting() & present(array), self._rows)

    def of_items(self, array: pa.Array) -> "Place":
        """The items of a list or the entries of a map, in the order of its child."""

        def spread(values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
            return np.repeat(values, np.diff(offsets(array)))

        inner = self.within(array)
        return Place(
            self._faults,
            lambda: spread(inner._counting()).astype(np.bool_),
            lambda: spread(self._rows()).astype(np.int64),
        )

    def refuse(self, failing: Mask, path: str, reason: Callable[[int], str]) -> None:
        """Refuse the values that fail and count; `reason` is asked for the number of the first one of each record."""
        found = np.flatnonzero(failing & self._counting())
        if len(found):
            # One record can hold millions of them, and is told about once.
            rows, firsts = np.unique(self._rows()[found], return_index=True)
            values = found[firsts].tolist()
            self._faults += [Fault(row, path, reason(n)) for row, n in zip(rows.tolist(), values, strict=True)]


def present(array: pa.Array) -> Mask:
    """Which values of an array are not null."""
    result: Mask = array.is_valid().to_numpy(zero_copy_only=False)
    return result


def offsets(array: pa.Array) -> npt.NDArray[np.int32]:
    """The offsets of a list, a map or strings: one more than there are values. The array is none that was sliced."""
    assert array.offset == 0  # the decoder's columns and their children are whole
    return np.frombuffer(array.buffers()[1], np.int32, len(array) + 1)
