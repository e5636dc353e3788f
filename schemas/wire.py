"""Confluent's wire format: one zero byte, the schema id in four bytes, the Avro body.

https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format
"""

import struct

import numpy as np
import numpy.typing as npt

MAGIC = 0
"""The first byte of every framed value."""

HEADER_BYTES = 5
"""Magic byte and schema id; the Avro body begins here."""

MAX_SCHEMA_ID = 2**31 - 1
"""Ids are Java ints on the wire, big-endian; registries give only positive ones."""

_HEADER = struct.Struct(">bi")


def frame(schema_id: int, body: bytes) -> bytes:
    """Return the Avro `body` behind its header.

    Raises ValueError for an id that no registry gives: below 0 or beyond 2**31 - 1.
    """
    if not 0 <= schema_id <= MAX_SCHEMA_ID:
        raise ValueError(f"schema id {schema_id} is not between 0 and {MAX_SCHEMA_ID}")
    return _HEADER.pack(MAGIC, schema_id) + body


def schema_ids(
    data: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """Read the schema ids of n framed values that lie end to end in one buffer.

    `data` uint8: the values' bytes. `starts` int64[n + 1], never falling: value i is `data[starts[i]:starts[i + 1]]`.

    Returns ids int32[n] and ok bool[n]. A value is not ok, and its id is 0, when it is shorter than the header, does
    not begin with the magic byte, or its id would be negative.
    """
    heads = starts[:-1]
    framed = np.flatnonzero(np.diff(starts) >= HEADER_BYTES)
    at = heads[framed]
    found = (
        (data[at + 1].astype(np.int32) << 24)
        | (data[at + 2].astype(np.int32) << 16)
        | (data[at + 3].astype(np.int32) << 8)
        | data[at + 4].astype(np.int32)
    )
    good = (data[at] == MAGIC) & (found >= 0)
    ids = np.zeros(len(heads), dtype=np.int32)
    ok = np.zeros(len(heads), dtype=np.bool_)
    ids[framed[good]] = found[good]
    ok[framed[good]] = True
    return ids, ok
