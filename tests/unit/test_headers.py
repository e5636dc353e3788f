"""Headers as the kernel lays them out, decoded for the rows that are asked for."""

import numpy as np
import pytest

from ingest.sources.headers import RawHeaders


def laid_out(*headers: tuple[bytes, bytes | None]) -> bytes:
    """Some headers of one record."""
    return b"".join(
        len(name).to_bytes(4, "little")
        + (2**32 - 1 if value is None else len(value)).to_bytes(4, "little")
        + name
        + (value or b"")
        for name, value in headers
    )


def raw(**rows: bytes) -> RawHeaders:
    """Headers of some rows, named r<number>."""
    starts = np.cumsum([0, *map(len, rows.values())])
    return RawHeaders(
        np.array([int(name[1:]) for name in rows], np.int64),
        starts.astype(np.int64),
        np.frombuffer(b"".join(rows.values()) or b"\0", np.uint8),
    )


def test_each_row_has_its_own() -> None:
    found = raw(r3=laid_out((b"a", b"1"), (b"a", b"2")), r7=laid_out(("ü".encode(), None), (b"", b"")))
    assert dict(found) == {3: [("a", b"1"), ("a", b"2")], 7: [("ü", None), ("", b"")]}
    assert len(found) == 2


def test_a_row_without_headers_is_not_among_them() -> None:
    found = raw(r3=laid_out((b"a", b"1")))
    assert [found.get(row, ()) for row in (0, 2, 4)] == [(), (), ()]
    with pytest.raises(KeyError):
        found[4]
    assert list(raw()) == []


def test_a_name_that_is_not_utf_8_costs_that_row_its_headers() -> None:
    found = raw(r0=laid_out((b"a", b"1"), (b"\xff", b"2")), r1=laid_out((b"b", b"3")))
    assert (list(found[0]), list(found[1])) == ([], [("b", b"3")])
