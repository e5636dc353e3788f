"""Headers of records as the bulk source gathers them: one run of bytes, decoded for the few rows that are asked for."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ingest.block import Header
from ingest.sources.words import NULL_LENGTH, PREFIX_BYTES


class RawHeaders(Mapping[int, Sequence[Header]]):
    """Headers by row. Those of a record with a name that is not UTF-8 are left out, as the public client cannot read them.

    The headers of `rows[i]`, ascending, are `data[starts[i]:starts[i + 1]]`.
    """

    def __init__(self, rows: npt.NDArray[np.int64], starts: npt.NDArray[np.int64], data: npt.NDArray[np.uint8]) -> None:
        self._rows, self._starts, self._data = rows, starts, data

    def __getitem__(self, row: int) -> Sequence[Header]:
        at = int(np.searchsorted(self._rows, row))
        if at == len(self._rows) or self._rows[at] != row:
            raise KeyError(row)
        return _decoded(self._data[self._starts[at] : self._starts[at + 1]].tobytes())

    def __iter__(self) -> Iterator[int]:
        return iter(self._rows.tolist())

    def __len__(self) -> int:
        return len(self._rows)


def _decoded(data: bytes) -> Sequence[Header]:
    found: list[Header] = []
    at = 0
    while at < len(data):
        name_length = int.from_bytes(data[at : at + 4], "little")
        length = int.from_bytes(data[at + 4 : at + PREFIX_BYTES], "little")
        at += PREFIX_BYTES
        try:
            name = data[at : at + name_length].decode()
        except UnicodeDecodeError:
            return ()
        at += name_length
        if length == NULL_LENGTH:
            found.append((name, None))
            continue
        found.append((name, data[at : at + length]))
        at += length
    return found
