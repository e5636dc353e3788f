"""The quarantine table is a function of the data table's log, whoever settles it and however often."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from ingest import quarantine
from ingest.block import Block, join, starts_of
from ingest.quarantine import QuarantineFile, Rejection
from schemas.quarantine import PARTITION_COLUMN, table_schema
from thalweg.clock import ManualClock
from thalweg.tables import settle
from thalweg.tables.commit import Advance, TableWriter
from thalweg.tables.log import Log
from thalweg.tables.open import create_table
from thalweg.tables.settle import Settler, encode_reject


def block_of(values: list[bytes | None], first: int = 0) -> Block:
    """Records of one partition, from offset `first`."""
    data, lengths, tombstones = join(values)
    keys, key_lengths, null_keys = join([None if i % 2 else b"k%d" % i for i in range(len(values))])
    n = len(values)
    return Block(
        topics=("t",),
        topic=np.zeros(n, np.int16),
        partition=np.zeros(n, np.int32),
        offset=np.arange(first, first + n),
        timestamp_ms=np.full(n, 1_357_016_400_000),
        data=data,
        starts=starts_of(lengths),
        tombstones=tombstones,
        keys=keys,
        key_starts=starts_of(key_lengths),
        null_keys=null_keys,
        headers={0: [("h", b"1"), ("h", None)]},
    )


class Place:
    """A data table, its quarantine, and a way to land rejects."""

    def __init__(self, folder: Path) -> None:
        self.data, self.quarantine = str(folder / "t"), str(folder / "t.quarantine")
        create_table(self.data, pa.schema([("x", pa.int64()), ("date", pa.date32())]), ["date"], {})
        self.writer = TableWriter(self.data)
        self.next = 0

    def land(self, rejected: int) -> int:
        """One commit whose records were all rejected; returns its version."""
        block = block_of([b"bad"] * rejected, self.next)
        file = QuarantineFile(self.quarantine, ManualClock())
        file.add(block, {"t": "id"}, [Rejection(row, "wire", "no framing") for row in range(rejected)])
        written = file.close()
        step = Advance(self.next or None, self.next + rejected + 1)
        self.next = step.after
        return self.writer.commit([], {"app": step}, {"thalweg.rejects": [encode_reject(written)] if written else []})

    def settler(self) -> Settler:
        return Settler("t", self.data, self.quarantine, table_schema(), PARTITION_COLUMN)

    def offsets(self) -> list[int]:
        return sorted(DeltaTable(self.quarantine).to_pyarrow_table()["offset"].to_pylist())


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_rejects_keep_bytes_place_and_reason(place: Place) -> None:
    file = QuarantineFile(place.quarantine, ManualClock())
    file.add(
        block_of([b"\x01\x02", None], 40),
        {"t": "id"},
        [Rejection(0, "wire", "why", "a.b", 7, 3), Rejection(1, "tombstone", "null")],
    )
    written = file.close()
    assert written is not None
    place.writer.commit([], {"app": Advance(None, 1)}, {"thalweg.rejects": [encode_reject(written)]})
    place.settler().settle(place.writer.table_id, place.writer.version)
    first, second = DeltaTable(place.quarantine).to_pyarrow_table().sort_by("offset").to_pylist()
    assert (first["value"], first["key"], first["offset"], first["topic_id"]) == (b"\x01\x02", b"k0", 40, "id")
    assert (first["rule"], first["reason"], first["path"], first["byte"], first["schema_id"]) == (
        "wire",
        "why",
        "a.b",
        7,
        3,
    )
    assert first["headers"] == [{"key": "h", "value": b"1"}, {"key": "h", "value": None}]
    assert (second["value"], second["key"], second["rule"]) == (None, None, "tombstone")


def test_settling_twice_adds_nothing(place: Place) -> None:
    version = place.land(3)
    settler = place.settler()
    assert settler.settle(place.writer.table_id, version) == 1
    assert settler.settle(place.writer.table_id, version) == 0
    assert place.settler().settle(place.writer.table_id, version) == 0
    assert place.offsets() == [0, 1, 2]


def test_what_a_killed_worker_left_is_settled_by_the_next(place: Place) -> None:
    place.land(2)
    place.land(0)
    place.land(2)
    assert place.settler().settle(place.writer.table_id, place.writer.version) == 2
    assert place.offsets() == [0, 1, 3 + 1, 5]


def test_two_that_settle_at_once_add_each_file_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.land(1)
    place.settler().settle(place.writer.table_id, place.writer.version)
    place.land(1)
    other = place.settler()
    start = Settler._start
    raced: list[int] = []

    def racing(self: Settler, app: str) -> object:
        found = start(self, app)
        if self is not other and not raced:
            raced.append(1)
            assert other.settle(place.writer.table_id, place.writer.version) == 1
        return found

    monkeypatch.setattr(Settler, "_start", racing)
    assert place.settler().settle(place.writer.table_id, place.writer.version) == 0
    assert raced
    assert len(place.offsets()) == 2


def test_a_file_of_a_landing_that_never_was_stays_out(place: Place) -> None:
    file = QuarantineFile(place.quarantine, ManualClock())
    file.add(block_of([b"zombie"]), {"t": "id"}, [Rejection(0, "wire", "no framing")])
    file.close()
    place.land(1)
    place.settler().settle(place.writer.table_id, place.writer.version)
    assert place.offsets() == [0]


def test_the_mark_follows_when_nothing_is_rejected_for_long(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settle, "MARK_EVERY", 3)
    for _ in range(4):
        place.land(0)
    place.settler().settle(place.writer.table_id, place.writer.version)
    assert Log(place.quarantine).read(Log(place.quarantine).latest()).transactions
    place.land(1)
    assert place.settler().settle(place.writer.table_id, place.writer.version) == 1


def test_timestamps_that_no_reader_takes_are_null_and_stop_nothing(place: Place) -> None:
    """Kafka takes any 64-bit number: microseconds sent as milliseconds are the year 50000, and -1 stands for none."""
    odd = [
        0,
        -1,
        -62_135_596_800_000,
        -62_135_596_800_001,
        253_402_300_799_999,
        253_402_300_800_000,
        2**63 - 1,
        -(2**63),
    ]
    block = block_of([b"bad"] * len(odd))
    block.timestamp_ms = np.array(odd, np.int64)
    file = QuarantineFile(place.quarantine, ManualClock())
    file.add(block, {"t": "id"}, [Rejection(row, "wire", "no framing") for row in range(len(odd))])
    written = file.close()
    assert written is not None
    stored = pq.read_table(Path(place.quarantine) / written.path, partitioning=None)["timestamp"]
    assert stored.cast(pa.int64()).to_pylist() == [
        0,
        None,
        -62_135_596_800_000_000,
        None,
        253_402_300_799_999_000,
        None,
        None,
        None,
    ]


def test_headers_count_as_bytes_that_wait(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "WAITING_BYTES", 10_000)
    block = block_of([b"bad"] * 10)
    block.headers = {row: [("h", b"x" * 4_000)] for row in range(10)}
    file = QuarantineFile(place.quarantine, ManualClock())
    for row in range(10):
        file.add(block, {"t": "id"}, [Rejection(row, "wire", "no framing")])
        assert file._waiting_bytes < 10_000
    file.abandon()


def test_many_rejects_of_one_block_keep_their_order_keys_and_nulls(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine, "TOGETHER", 3)
    block = block_of([b"%d" % row for row in range(10)])
    block.tombstones = np.array([4])
    file = QuarantineFile(place.quarantine, ManualClock())
    file.add(block, {"t": "id"}, [Rejection(row, "wire", f"reason {row}") for row in range(10)])
    written = file.close()
    assert written is not None
    read = pq.read_table(Path(place.quarantine) / written.path, partitioning=None).to_pylist()
    assert [row["value"] for row in read] == [None if row == 4 else b"%d" % row for row in range(10)]
    assert [row["key"] for row in read] == [block.key(row) for row in range(10)]
    assert [row["reason"] for row in read] == [f"reason {row}" for row in range(10)]
    assert [row["offset"] for row in read] == block.offset.tolist()
