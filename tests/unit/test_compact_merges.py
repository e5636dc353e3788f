"""Merging small files: rows stay, statistics do not lie, other writers do not matter."""

import datetime as dt
import decimal
import json
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError
from deltalake.table import TableOptimizer

from compactors import rewrite
from compactors.rewrite import contents, merge_small_files
from tests.table_world import TableWorld, by_offset
from thalweg.clock import SystemClock
from thalweg.errors import TableDamaged
from thalweg.settings import CompactorSettings
from thalweg.tables import rewrite as seam
from thalweg.tables.commit import DataFile, TableWriter
from thalweg.tables.files import LANDED, QUARANTINED, Snapshot
from thalweg.tables.log import Log
from thalweg.tables.open import create_table
from thalweg.tables.pins import Pins

SETTINGS = CompactorSettings()


@pytest.fixture
def world(tmp_path: Path) -> TableWorld:
    return TableWorld(tmp_path)


def merge_all(world: TableWorld, uri: str | None = None) -> list[rewrite.Merged]:
    origin = LANDED if uri is None else QUARANTINED
    return list(merge_small_files(uri or world.uri, origin, SETTINGS, SystemClock()))


def test_files_become_one_for_each_date_and_every_row_stays(world: TableWorld) -> None:
    for landing in range(5):
        world.land({p: range(landing * 30, landing * 30 + 30) for p in (0, 1)})
    before = world.places()
    (merged,) = merge_all(world)
    assert world.places() == before
    assert len(Snapshot(world.uri).files) == 3
    assert (merged.files_before, merged.files_after, merged.rows) == (15, 3, 300)
    entry = Log(world.uri).read(merged.version)
    assert not any(file.data_change for file in (*entry.added, *entry.removed))


def test_a_tidy_table_is_left_alone(world: TableWorld) -> None:
    for landing in range(5):
        world.land({0: range(landing * 30, landing * 30 + 30)})
    merge_all(world)
    version = Snapshot(world.uri).version
    assert merge_all(world) == []
    assert Snapshot(world.uri).version == version


def test_rows_without_a_date_are_merged_too(tmp_path: Path) -> None:
    uri = str(tmp_path / "t")
    rows = pa.table({"date": pa.nulls(3, pa.date32()), "_offset": [1, 2, 3]})
    for _ in range(4):
        write_deltalake(uri, rows, partition_by=["date"], mode="append")
    (merged,) = merge_small_files(uri, LANDED, SETTINGS, SystemClock())
    assert (merged.files_before, merged.files_after, merged.rows) == (4, 1, 12)


def test_the_quarantine_is_merged_like_any_table(world: TableWorld) -> None:
    for landing in range(5):
        world.land({0: []}, rejected={0: range(landing * 3, landing * 3 + 3)})
    (merged,) = merge_all(world, world.quarantine_uri)
    assert (merged.files_before, merged.files_after, merged.rows) == (5, 1, 15)


def test_a_table_that_is_not_partitioned_by_one_column_is_left_alone(tmp_path: Path) -> None:
    uri = str(tmp_path / "t")
    for _ in range(6):
        write_deltalake(uri, pa.table({"x": [1]}), mode="append")
    assert list(merge_small_files(uri, LANDED, SETTINGS, SystemClock())) == []


def test_landings_go_on_while_files_are_merged(world: TableWorld) -> None:
    for landing in range(4):
        world.land({0: range(landing * 30, landing * 30 + 30)})
    stop = threading.Event()

    def land() -> None:
        while not stop.is_set():
            world.land({0: range(world.next[0], world.next[0] + 9)})

    writer = threading.Thread(target=land)
    writer.start()
    try:
        merged = [done for _ in range(3) for done in merge_all(world)]
    finally:
        stop.set()
        writer.join()
    assert merged
    assert world.places() == [(0, offset) for offset in range(world.next[0])]


def test_a_merge_that_meets_a_delete_is_done_again_on_what_is_left(
    world: TableWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    for landing in range(4):
        world.land({0: range(landing * 30, landing * 30 + 30)})
    met = []

    class Stale(Snapshot):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            if not met:
                met.append(DeltaTable(world.uri).delete("_offset = 30"))

    monkeypatch.setattr(seam, "Snapshot", Stale)
    entry = seam.merge(world.uri, ["2013-01-01"], 10**8, {}, sleep=lambda _: None)
    assert entry is not None
    assert met
    assert world.places() == [(0, offset) for offset in range(120) if offset != 30]


def test_a_merge_that_was_reported_as_failed_and_happened_is_found(
    world: TableWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    for landing in range(4):
        world.land({0: range(landing * 30, landing * 30 + 30)})
    compact = TableOptimizer.compact
    calls = []

    def lying(self: TableOptimizer, *arguments: Any, **named: Any) -> dict[str, Any]:
        calls.append(compact(self, *arguments, **named))
        raise CommitFailedError("Concurrent transaction failed.")

    monkeypatch.setattr(TableOptimizer, "compact", lying)
    before = Snapshot(world.uri).version
    entry = seam.merge(world.uri, ["2013-01-01", "2013-01-02", "2013-01-03"], 10**8, {}, sleep=lambda _: None)
    assert entry is not None
    assert entry.version == before + 1
    assert len(calls) == 1


def test_a_merge_that_cannot_win_gives_up(world: TableWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    for landing in range(4):
        world.land({0: range(landing * 30, landing * 30 + 30)})
    calls = []

    def losing(self: TableOptimizer, *arguments: Any, **named: Any) -> dict[str, Any]:
        calls.append(1)
        raise CommitFailedError("a concurrent transaction deleted data this operation read")

    monkeypatch.setattr(TableOptimizer, "compact", losing)
    with pytest.raises(Exception, match="deleted data"):
        seam.merge(world.uri, ["2013-01-01"], 10**8, {}, sleep=lambda _: None)
    assert len(calls) == seam.ATTEMPTS


def test_a_merge_that_loses_a_row_is_loud_and_the_version_before_is_pinned(
    world: TableWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    for landing in range(4):
        world.land({0: range(landing * 30, landing * 30 + 30)})
    before = Snapshot(world.uri).version

    def careless(*arguments: Any) -> Any:
        entry = seam.merge(*arguments)
        assert entry is not None
        path = Path(world.uri) / entry.added[0].path
        rows = pq.read_table(path, partitioning=None)
        pq.write_table(rows.slice(1), path)
        return entry

    monkeypatch.setattr(rewrite, "merge", careless)
    with pytest.raises(TableDamaged, match="120 before, 119 after"):
        merge_all(world)
    (pin,) = Pins(world.uri).all()
    assert pin.version == before
    assert world.places(before) == [(0, offset) for offset in range(120)]


def test_a_row_that_was_swapped_for_another_shows(world: TableWorld) -> None:
    """The same count is not the same rows."""
    world.land({0: [0, 3, 6]})
    world.land({0: [9, 12, 18]})
    world.land({1: [0, 3, 6]})
    files = [[file.path for file in Log(world.uri).read(version).added] for version in (1, 2, 3)]
    first, second, other_partition = (contents(world.uri, paths, LANDED) for paths in files)
    assert first.rows == second.rows == other_partition.rows == 3
    assert len({first.records, second.records, other_partition.records}) == 3
    assert contents(world.uri, [*files[0], *files[1]], LANDED) == contents(world.uri, [*files[1], *files[0]], LANDED)


def test_merged_files_claim_no_bounds_that_would_mislead_readers(tmp_path: Path) -> None:
    """delta-rs puts decimals through a double, and Parquet's bounds pass over a NaN, for which sources claim none."""
    uri = str(tmp_path / "t")
    price, amount = "123456789012345678.91", "12.34"
    row = {
        "price": decimal.Decimal(price),
        "ratio": float("nan"),
        "paid": True,
        "amount": decimal.Decimal(amount),
    }
    types = [pa.decimal128(20, 2), pa.float64(), pa.bool_(), pa.decimal128(10, 2)]
    body = pa.schema(list(zip(row, types, strict=True)))
    create_table(uri, pa.schema([("date", pa.date32()), *body]), ["date"], {})
    writer = TableWriter(uri)
    for number in range(4):
        path = f"date=2013-01-01/{number}.parquet"
        (tmp_path / "t" / path).parent.mkdir(exist_ok=True)
        pq.write_table(
            pa.Table.from_pylist([row, {**row, "ratio": 1.0}], body), tmp_path / "t" / path, store_schema=False
        )
        bounds = f'{{"price":{price},"amount":{amount}}}'
        nulls = json.dumps(dict.fromkeys(row, 0))
        stats = f'{{"numRecords":2,"minValues":{bounds},"maxValues":{bounds},"nullCount":{nulls}}}'
        writer.commit(
            [DataFile(path, (tmp_path / "t" / path).stat().st_size, 2, {"date": "2013-01-01"}, stats)], {}, {}
        )
    sources = [file.path for file in Snapshot(uri).files]
    assert Snapshot(uri).bounded_columns(sources) == {"price", "amount"}
    (merged,) = merge_small_files(uri, LANDED, SETTINGS, SystemClock())
    actions = (tmp_path / "t" / f"_delta_log/{merged.version:020}.json").read_text().splitlines()
    (stats,) = (json.loads(action["add"]["stats"]) for action in map(json.loads, actions) if "add" in action)
    assert stats["numRecords"] == 8
    assert stats["minValues"].keys() == stats["maxValues"].keys() == {"paid", "amount"}


def test_readers_skip_merged_files_by_where_rows_came_from(world: TableWorld) -> None:
    for landing in range(4):
        world.land(
            {0: range(landing * 30, landing * 30 + 30)}, date=lambda _, offset: dt.date(2013, 1, 1 + offset // 60)
        )
    for landing in range(4, 8):
        world.land(
            {0: range(landing * 30, landing * 30 + 30)}, date=lambda _, offset: dt.date(2013, 1, 1 + offset // 60)
        )
    list(merge_small_files(world.uri, LANDED, CompactorSettings(min_files=2), SystemClock()))
    snapshot = Snapshot(world.uri)
    assert len(snapshot.files) == 4
    (path,) = snapshot.may_hold({"_offset": 70})
    assert "2013-01-02" in path


def test_merging_can_be_stopped_between_two_commits(world: TableWorld) -> None:
    for landing in range(4):
        world.land({0: range(landing * 30, landing * 30 + 30)}, date=by_offset)
    version = Snapshot(world.uri).version
    assert list(merge_small_files(world.uri, LANDED, SETTINGS, SystemClock(), None, lambda: True)) == []
    assert Snapshot(world.uri).version == version
