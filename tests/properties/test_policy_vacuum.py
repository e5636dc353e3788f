"""Whatever happens to a table, in any order, a vacuum never breaks a version that somebody may still ask for."""

import contextlib
import datetime as dt
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from compactors.rewrite import merge_small_files
from compactors.vacuum import Vacuum
from tests.table_world import FIRST_DATE, TableWorld
from thalweg.clock import SystemClock
from thalweg.errors import TableDamaged
from thalweg.settings import CompactorSettings
from thalweg.tables.commit import DataFile
from thalweg.tables.files import LANDED, Snapshot, stored_files
from thalweg.tables.pins import Pins

CLOCK = SystemClock()
WINDOW_H, STAGED_H = 24, 3
SETTINGS = CompactorSettings(time_travel_hours=WINDOW_H, staged_hours=STAGED_H, min_files=2)
DATES = st.integers(0, 1)


class Vacuumed(RuleBasedStateMachine):
    """A model of what each version holds and how old it is, beside a real table. Hours pass by making all files older."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.now_h = self.names = 0

    @initialize()
    def make(self) -> None:
        self.world = TableWorld(Path(self.folder.name))
        self.pins = Pins(self.world.uri)
        self.held: dict[int, list[tuple[int, int]]] = {}  # rows by version
        self.written_h: dict[int, int] = {}
        self.pinned: dict[str, int] = {}
        self.staged: list[tuple[DataFile, int]] = []
        self.announced = -1
        self.announcing = True
        self.vacuumed = False
        self.note()

    def teardown(self) -> None:
        self.folder.cleanup()

    def note(self) -> None:
        """Write down what the versions that came since hold."""
        for version in range(max(self.held, default=-1) + 1, Snapshot(self.world.uri).version + 1):
            self.held[version] = self.world.places(version)
            self.written_h[version] = self.now_h
        if self.announcing:
            self.announced = max(self.held)

    def promised(self) -> set[int]:
        """Versions that were the table at some moment of the window, or are pinned, or have still to be announced."""
        newest = max(self.held)
        alive = {v for v in self.held if v == newest or self.written_h[v + 1] > self.now_h - WINDOW_H}
        return alive | set(self.pinned.values()) | {v for v in self.held if v > self.announced}

    @rule(date=DATES, rows=st.integers(1, 3))
    def land(self, date: int, rows: int) -> None:
        start = self.world.next.get(0, 0)
        self.world.land({0: range(start, start + rows)}, date=lambda *_: FIRST_DATE + dt.timedelta(days=date))
        self.note()

    @rule(date=DATES)
    def stage(self, date: int) -> None:
        """A writer closes a file that it has not committed yet."""
        offset = 10_000 + self.world.next.setdefault(9, 0)
        self.world.next[9] += 1
        file = self.world._data_file(FIRST_DATE + dt.timedelta(days=date), [(9, offset)], self.world.topic_id)
        self.staged.append((file, self.now_h))

    @precondition(lambda self: self.staged)
    @rule()
    def commit_staged(self) -> None:
        file, since_h = self.staged.pop()
        if self.now_h - since_h < STAGED_H:
            self.world.writer.adopt()
            self.world.writer.commit([file], {}, {})
            self.note()

    @rule()
    def merge(self) -> None:
        list(merge_small_files(self.world.uri, LANDED, SETTINGS, CLOCK))
        self.note()

    @rule(date=DATES)
    def delete(self, date: int) -> None:
        Snapshot(self.world.uri).table.delete(f"date = '{FIRST_DATE + dt.timedelta(days=date)}'")
        self.note()

    @precondition(lambda self: len(self.promised()) > 1)
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        back_to = data.draw(st.sampled_from(sorted(self.promised())[:-1]))
        Snapshot(self.world.uri).table.restore(back_to)
        self.note()

    @rule(data=st.data())
    def pin(self, data: st.DataObject) -> None:
        version = data.draw(st.sampled_from(sorted(self.held)))
        self.names += 1
        name = f"pin-{self.names}"
        with contextlib.suppress(TableDamaged):
            self.pins.create(name, version, "ada", "why", CLOCK)
            self.pinned[name] = version
            return
        assert version not in self.promised()

    @precondition(lambda self: self.pinned)
    @rule(data=st.data())
    def unpin(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.pinned)))
        self.pins.remove(name)
        del self.pinned[name]

    @rule()
    def the_announcer_stops_or_comes_back(self) -> None:
        self.announcing = not self.announcing
        self.note()

    @rule(hours=st.sampled_from([0, 1, 2, 11, 25]))
    def vacuum_after(self, hours: int) -> None:
        self.world.age(hours)
        self.now_h += hours
        worker = Vacuum(self.world.uri, SETTINGS, None if self.announced < 0 else self.announced, (), CLOCK)
        worker.apply(worker.plan())
        self.vacuumed = True

    @invariant()
    def every_promise_is_kept(self) -> None:
        if not self.vacuumed:
            return
        self.vacuumed = False
        for version in self.promised():
            assert self.world.places(version) == self.held[version], f"version {version}"
        there = {file.path for file in stored_files(self.world.uri)}
        assert all(file.path in there for file, since_h in self.staged if self.now_h - since_h < STAGED_H)


TestVacuumed = Vacuumed.TestCase
TestVacuumed.settings = settings(
    max_examples=12, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
