"""What a vacuum removes, and above all what it does not."""

import datetime as dt
import json
import threading
from pathlib import Path

import pytest

from compactors import vacuum as room
from compactors.rewrite import merge_small_files
from compactors.vacuum import Vacuum
from tests.table_world import TableWorld
from thalweg.clock import SystemClock
from thalweg.errors import ConfigurationError, NotFound, TableDamaged, TableNotFound, VersionNotFound
from thalweg.settings import CompactorSettings
from thalweg.tables.files import LANDED, Snapshot, stored_files
from thalweg.tables.log import Log
from thalweg.tables.pins import Pins

CLOCK = SystemClock()
SETTINGS = CompactorSettings(time_travel_hours=24, staged_hours=2)
ONE_DATE = dt.date(2013, 1, 1)


@pytest.fixture
def world(tmp_path: Path) -> TableWorld:
    """Four landings on one date, merged into one file: four files that the newest version does not need."""
    made = TableWorld(tmp_path)
    for landing in range(4):
        made.land({0: range(landing * 3, landing * 3 + 3)}, date=lambda *_: ONE_DATE)
    list(merge_small_files(made.uri, LANDED, SETTINGS, CLOCK))
    return made


def vacuum(world: TableWorld, announced: int | None = 10**6, settings: CompactorSettings = SETTINGS) -> Vacuum:
    return Vacuum(world.uri, settings, announced, (), CLOCK)


def run(world: TableWorld, announced: int | None = 10**6) -> int:
    worker = vacuum(world, announced)
    return len(worker.apply(worker.plan()).files)


def test_files_that_no_kept_version_needs_are_removed(world: TableWorld) -> None:
    world.age(25)
    plan = vacuum(world).plan()
    assert len(plan.removal.files) == 4
    assert len(stored_files(world.uri)) == 5, "a plan removes nothing"
    assert run(world) == 4
    assert [file.path for file in stored_files(world.uri)] == [file.path for file in Snapshot(world.uri).files]
    assert world.places() == [(0, offset) for offset in range(12)]


def test_every_version_inside_the_time_travel_window_stays_whole(world: TableWorld) -> None:
    world.age(23)
    assert run(world) == 0
    for version, rows in enumerate([0, 3, 6, 9, 12, 12]):
        assert len(world.places(version)) == rows


def test_what_the_table_was_when_the_window_began_stays_whole(world: TableWorld) -> None:
    """Versions 0 to 5 are old; a landing inside the window makes the one before it the state that the window began with."""
    world.age(25)
    world.land({0: range(12, 15)}, date=lambda *_: ONE_DATE)
    assert run(world) == 4
    assert len(world.places(5)) == 12


def test_a_file_that_a_restore_brought_back_into_the_window_stays(world: TableWorld) -> None:
    """It is old, the version before the window does not have it, and neither does the newest."""
    world.age(25)
    table = Snapshot(world.uri).table
    table.restore(2)
    Snapshot(world.uri).table.restore(5)
    assert run(world) == 2
    assert len(world.places(6)) == 6


def test_a_pinned_version_stays_whole_until_the_pin_is_taken_away(world: TableWorld) -> None:
    pins = Pins(world.uri)
    pins.create("quarter-end", 2, "ada", "the books", CLOCK)
    world.age(1000)
    assert run(world) == 2, "versions 1 to 4 had four files, and version 2 needs two of them"
    assert len(world.places(2)) == 6
    pins.remove("quarter-end")
    assert run(world) == 2


def test_nothing_goes_that_a_version_not_yet_announced_has(world: TableWorld) -> None:
    world.age(1000)
    assert run(world, announced=None) == 0
    assert run(world, announced=1) == 0, "version 2 was not announced, and all that came since is in its future"
    assert run(world, announced=5) == 4


def test_a_version_that_was_pinned_and_cannot_be_read_stops_the_vacuum(world: TableWorld) -> None:
    Pins(world.uri).create("mine", 2, "ada", "why", CLOCK)
    (Path(world.uri) / "_delta_log" / f"{2:020}.json").unlink()
    world.age(1000)
    with pytest.raises(VersionNotFound):
        vacuum(world).plan()
    assert len(stored_files(world.uri)) == 5


def test_a_pin_that_cannot_be_read_stops_the_vacuum(world: TableWorld) -> None:
    Pins(world.uri).create("mine", 2, "ada", "why", CLOCK)
    (Path(world.uri) / "_thalweg/pins/mine.json").write_text("{")
    world.age(1000)
    with pytest.raises(TableDamaged, match="no pin"):
        vacuum(world).plan()


def test_files_that_a_writer_may_be_about_to_commit_stay(world: TableWorld) -> None:
    staged = Path(world.uri) / "date=2013-01-01" / "part-staged.parquet"
    staged.write_bytes(b"not closed yet")
    world.age(1.9)
    assert vacuum(world).plan().removal.kept_for_writers == 1
    assert run(world) == 0
    world.age(0.2)
    assert run(world) == 1
    assert not staged.exists()


def test_only_data_files_are_touched(world: TableWorld) -> None:
    root = Path(world.uri)
    others = [
        root / "README.txt",
        root / "_symlink_format_manifest" / "x.parquet",
        root / "date=2013-01-01" / ".hidden.parquet",
        root / "_delta_log" / "x.parquet",
    ]
    for path in others:
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    in_hidden_partition = root / "_date=1" / "old.parquet"
    in_hidden_partition.parent.mkdir()
    in_hidden_partition.write_text("x")
    world.age(1000)
    logs = sorted((root / "_delta_log").iterdir())
    assert run(world) == 4, "delta-rs does not look into the folder `_date=1`, so what lies there is nobody's to remove"
    assert all(path.exists() for path in others)
    assert sorted((root / "_delta_log").iterdir()) == logs


def test_a_quarantine_file_that_a_landing_names_stays_however_old_until_it_is_settled(world: TableWorld) -> None:
    world.land({0: []}, rejected={0: [12]})
    world.land({0: []}, rejected={0: [13]}, settle=False)
    world.age(1000)
    named = Log(world.uri).read(7).info["thalweg.rejects"][0]["path"]
    worker = Vacuum(world.quarantine_uri, SETTINGS, 10**6, [named], CLOCK)
    assert worker.apply(worker.plan()).files == ()
    careless = Vacuum(world.quarantine_uri, SETTINGS, 10**6, (), CLOCK)
    assert [file.path for file in careless.plan().removal.files] == [named]


def test_a_folder_without_a_log_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "precious.parquet").write_text("x")
    with pytest.raises(TableNotFound):
        Vacuum(str(tmp_path / "t"), SETTINGS, 5, (), CLOCK).plan()


def test_a_pin_made_between_the_plan_and_the_removal_counts(world: TableWorld) -> None:
    world.age(1000)
    worker = vacuum(world)
    plan = worker.plan()
    Pins(world.uri).create("late", 4, "ada", "why", CLOCK)
    assert worker.apply(plan).files == ()
    assert len(world.places(4)) == 12


def test_a_pin_on_files_that_are_being_removed_is_refused(world: TableWorld) -> None:
    pins = Pins(world.uri)
    paths = [file.path for file in Snapshot(world.uri, version=2).files]
    with pins.removing(paths, CLOCK) as seen:
        assert seen == []
        with pytest.raises(TableDamaged, match="vacuum is removing 2"):
            pins.create("late", 2, "ada", "why", CLOCK)
        assert pins.all() == []
    assert pins.create("late", 2, "ada", "why", CLOCK).version == 2


def test_what_a_crashed_vacuum_said_is_forgotten_after_a_day(world: TableWorld) -> None:
    crashed = Path(world.uri) / "_thalweg/vacuums/dead.json"
    crashed.parent.mkdir(parents=True)
    crashed.write_text(json.dumps([file.path for file in Snapshot(world.uri, version=2).files]))
    with pytest.raises(TableDamaged):
        Pins(world.uri).create("late", 2, "ada", "why", CLOCK)
    world.age(25)
    run(world, announced=None)
    with Pins(world.uri).removing([], CLOCK):
        pass
    assert Pins(world.uri).create("late", 2, "ada", "why", CLOCK).version == 2


def test_a_version_whose_files_are_gone_cannot_be_pinned(world: TableWorld) -> None:
    world.age(1000)
    run(world)
    with pytest.raises(TableDamaged, match="2 of its 2 files are gone"):
        Pins(world.uri).create("late", 2, "ada", "why", CLOCK)
    assert Pins(world.uri).all() == []


def test_a_vacuum_that_took_too_much_says_so(world: TableWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.age(1000)
    needed = Snapshot(world.uri).files[0].path
    delete = room.delete_stored

    def careless(uri: str, path: str, options: object = None) -> bool:
        (Path(uri) / needed).unlink(missing_ok=True)
        return delete(uri, path)

    monkeypatch.setattr(room, "delete_stored", careless)
    with pytest.raises(TableDamaged, match="1 files"):
        run(world)


def test_files_that_were_gone_before_do_not_stop_the_vacuum(world: TableWorld) -> None:
    """A foreign vacuum took a file of a version inside the window: that is told, and the rest goes on."""
    gone = Snapshot(world.uri, version=4).files[0].path
    (Path(world.uri) / gone).unlink()
    orphan = Path(world.uri) / "date=2013-01-01" / "orphan.parquet"
    orphan.write_bytes(b"x")
    world.age(3)
    assert gone in vacuum(world).plan().lost_before
    assert run(world) == 1
    assert not orphan.exists()


def test_pins_have_names_that_are_taken_once(world: TableWorld) -> None:
    pins = Pins(world.uri)
    won: list[int] = []
    refused: list[ConfigurationError] = []

    def create(version: int) -> None:
        try:
            won.append(pins.create("first", version, "ada", "why", CLOCK).version)
        except ConfigurationError as error:
            refused.append(error)

    racers = [threading.Thread(target=create, args=(version,)) for version in range(1, 5)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert len(won) == 1
    assert len(refused) == 3
    assert pins.read("first").version == won[0]
    assert sorted(path.name for path in (Path(world.uri) / "_thalweg/pins").iterdir()) == ["first.json"]


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 101, "a b", "é"])
def test_pins_have_plain_names(world: TableWorld, name: str) -> None:
    with pytest.raises(ConfigurationError):
        Pins(world.uri).create(name, 2, "ada", "why", CLOCK)
    with pytest.raises(NotFound):
        Pins(world.uri).read(name)


def test_a_pin_says_who_and_why(world: TableWorld) -> None:
    made = Pins(world.uri).create("q1", 2, "ada", "the books", CLOCK)
    assert Pins(world.uri).all() == [made]
    assert (made.author, made.reason, made.version) == ("ada", "the books", 2)
    with pytest.raises(VersionNotFound):
        Pins(world.uri).create("q2", 99, "ada", "the books", CLOCK)
