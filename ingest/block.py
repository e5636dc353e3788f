"""A block: consecutive records as consumed, held as columns so that a batch costs what a record used to cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

# Instants of 0001-01-01 and 10000-01-01, in milliseconds since 1970-01-01 UTC: beyond them, readers of tables stumble.
_FIRST_MS, _END_MS = -62_135_596_800_000, 253_402_300_800_000

Header = tuple[str, bytes | None]


@dataclass(slots=True)
class Block:
    """`n` records of one or several source partitions, in the order in which Kafka gave them.

    Values are joined in `data`; record i is `data[starts[i]:starts[i + 1]]`. A tombstone (null value) has no bytes and
    stands in `tombstones`. Keys are joined likewise; a null key has length 0 and stands in `null_keys`.
    """

    topics: tuple[str, ...]
    topic: npt.NDArray[np.int16]  # index into `topics`
    partition: npt.NDArray[np.int32]
    offset: npt.NDArray[np.int64]
    timestamp_ms: npt.NDArray[np.int64]
    data: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int64]
    tombstones: npt.NDArray[np.int64]  # rows whose value is null, ascending
    keys: npt.NDArray[np.uint8]
    key_starts: npt.NDArray[np.int64]
    null_keys: npt.NDArray[np.int64]  # rows whose key is null, ascending
    headers: Mapping[int, Sequence[Header]]  # by row, only where there are any
    # Next offset of the partitions whose end was met beyond the last record: after it come markers or aborted records.
    ends: Mapping[tuple[str, int], int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.offset)

    @property
    def value_bytes(self) -> int:
        """Bytes of all values."""
        return int(self.starts[-1])

    def reach(self) -> list[tuple[tuple[str, int], int, int]]:
        """For each source partition in the block: ((topic, partition), lowest offset, highest offset)."""
        found = []
        for index, topic in enumerate(self.topics):
            of_topic = self.topic == index if len(self.topics) > 1 else slice(None)
            partition, offset = self.partition[of_topic], self.offset[of_topic]
            for number in np.flatnonzero(np.bincount(partition)).tolist() if len(partition) else []:
                offsets = offset[partition == number]
                found.append(((topic, number), int(offsets.min()), int(offsets.max())))
        return found

    def timestamps(self, rows: npt.NDArray[np.int64]) -> pa.Array:
        """The records' timestamps as timestamp[us, UTC]; null where there is none (-1) or none that readers can take."""
        found = self.timestamp_ms[rows]
        unknown = (found == -1) | (found < _FIRST_MS) | (found >= _END_MS)
        return pa.array(np.where(unknown, 0, found) * 1000, pa.int64(), mask=unknown).cast(pa.timestamp("us", "UTC"))

    def values_of(self, rows: npt.NDArray[np.int64]) -> pa.Array:
        """The values of these rows, as binary; null for tombstones. Raises pyarrow.ArrowInvalid beyond 2 GiB of them."""
        return _taken(self.data, self.starts, self.tombstones, rows)

    def keys_of(self, rows: npt.NDArray[np.int64]) -> pa.Array:
        """The keys of these rows, as binary; null for null keys."""
        return _taken(self.keys, self.key_starts, self.null_keys, rows)

    def value(self, row: int) -> bytes | None:
        """The record's value as Kafka holds it; None for a tombstone."""
        if _contains(self.tombstones, row):
            return None
        return self.data[self.starts[row] : self.starts[row + 1]].tobytes()

    def key(self, row: int) -> bytes | None:
        """The record's key as Kafka holds it; None for a null key."""
        if _contains(self.null_keys, row):
            return None
        return self.keys[self.key_starts[row] : self.key_starts[row + 1]].tobytes()


def join(values: list[bytes | None]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Join byte strings: (bytes, lengths, rows that were null)."""
    # Topics without keys are common, and what follows costs as much for a null as for a value.
    if values and values[0] is None and values.count(None) == len(values):
        return np.empty(0, np.uint8), np.zeros(len(values), np.int64), np.arange(len(values))
    try:
        joined = b"".join(values)  # type: ignore[arg-type]  # nulls are rare, and raise
        nulls: list[int] = []
    except TypeError:
        nulls = [row for row, value in enumerate(values) if value is None]
        values = [value or b"" for value in values]
        joined = b"".join(values)  # type: ignore[arg-type]  # no nulls left
    lengths = np.fromiter(map(len, values), np.int64, len(values))  # type: ignore[arg-type]  # no nulls left
    return np.frombuffer(joined, np.uint8), lengths, np.asarray(nulls, np.int64)


def starts_of(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Where each of the joined values starts, and where the last one ends."""
    starts = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    return starts


def _taken(
    data: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    nulls: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
) -> pa.Array:
    joined = pa.Array.from_buffers(
        pa.large_binary(), len(starts) - 1, [None, pa.py_buffer(starts), pa.py_buffer(np.ascontiguousarray(data))]
    )
    found = joined.take(pa.array(rows)).cast(pa.binary())
    return pc.if_else(pa.array(np.isin(rows, nulls)), None, found) if len(nulls) else found


def _contains(rows: npt.NDArray[np.int64], row: int) -> bool:
    at = int(np.searchsorted(rows, row))
    return at < len(rows) and int(rows[at]) == row
