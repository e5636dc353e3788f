"""Announcing under everything at once: a state machine over the real announcer code and a world in memory.

Rules commit, clean, delete and recreate tables, and let two announcers do rounds while something happens in the middle of
them: a crash, a failure, an outcome that nobody hears of, the other announcer taking over, a table changing under its
reader. The model knows what was ever committed; what subscribers see must be that, once and in order.
"""

from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from schemas.events import GAP, VersionCommitted
from tests.announcer_world import TOPICS, Crash, World
from thalweg.errors import BrokerUnavailable
from versions.announcer import Announcer
from versions.progress import decode_progress

DATASETS = ("d", "d.quarantine", "e")
NAMES = st.sampled_from(DATASETS)
WHO = st.sampled_from(["a", "b"])


class Announcing(RuleBasedStateMachine):
    """Two announcers, three tables, one lease."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.announcers: dict[str, Announcer] = {}

    @initialize()
    def start(self) -> None:
        """Both processes run, and one has the lease."""
        self.world.declare("d")
        self.world.declare("e")
        for who in ("a", "b"):
            self.announcers[who] = self.world.announcer(who)
        self.world.give("a")

    @rule(name=NAMES, count=st.integers(1, 6))
    def commit(self, name: str, count: int) -> None:
        """Any writer commits."""
        for _ in range(count):
            self.world.tables[name].commit()

    @rule(name=NAMES)
    def commit_with_another_id(self, name: str) -> None:
        """Two processes raced to create the table."""
        self.world.tables[name].commit(new_id=True)

    @rule(name=NAMES, keep=st.integers(1, 4))
    def clean(self, name: str, keep: int) -> None:
        """Somebody cleans the log, announced or not."""
        self.world.tables[name].clean(self.world.tables[name].latest - keep + 1)

    @rule(name=NAMES, longer=st.integers(-3, 4))
    def recreate(self, name: str, longer: int) -> None:
        """The table is deleted, and perhaps made again, perhaps beyond where the old one stood."""
        self._recreate(name, longer)

    @rule(who=WHO)
    def assign(self, who: str) -> None:
        """A rebalance; whoever had the lease hears of it at its next poll."""
        self.world.give(who)

    @rule(seconds=st.floats(0.1, 70))
    def wait(self, seconds: float) -> None:
        """Time passes: backoffs and rechecks are due."""
        self.world.clock.sleep(seconds)

    @rule(who=WHO)
    def restart(self, who: str) -> None:
        """kill -9 between two rounds."""
        self.announcers[who] = self.world.announcer(who)

    @rule(who=WHO, rounds=st.integers(1, 4))
    def work(self, who: str, rounds: int) -> None:
        """Rounds that nothing disturbs."""
        for _ in range(rounds):
            self.announcers[who].step(0)

    @rule(who=WHO, call=st.integers(0, 40))
    def crash(self, who: str, call: int) -> None:
        """kill -9 at any call to the outside."""
        try:
            self._disturbed_step(who, call, self._die)
        except Crash:
            self.announcers[who] = self.world.announcer(who)

    @rule(
        who=WHO,
        place=st.sampled_from(
            ["start", "started", "read announced", "begin", "half produced", "produced", "committed"]
        ),
    )
    def fail(self, who: str, place: str) -> None:
        """The broker does not answer; whether it did what it was asked is unknown."""

        def at(_: str, where: str) -> None:
            if where == place:
                raise BrokerUnavailable("no answer")

        self.world.at = at
        self.announcers[who].step(0)
        self.world.at = lambda who, where: None

    @rule(who=WHO, call=st.integers(0, 40), rounds=st.integers(1, 3))
    def fall_asleep(self, who: str, call: int, rounds: int) -> None:
        """In the middle of a round the process stands still, its lease goes to the other, and then it wakes up."""
        other = "b" if who == "a" else "a"

        def take_over() -> None:
            self.world.give(other)
            self.world.clock.sleep(61)
            for _ in range(rounds):
                self.announcers[other].step(0)

        self._disturbed_step(who, call, take_over)

    @rule(who=WHO, call=st.integers(0, 40), name=NAMES, longer=st.integers(-3, 4))
    def recreate_under_the_reader(self, who: str, call: int, name: str, longer: int) -> None:
        """In the middle of a round a table is made anew."""
        self._disturbed_step(who, call, lambda: self._recreate(name, longer))

    @rule(who=WHO, call=st.integers(0, 40), name=NAMES, count=st.integers(0, 6), keep=st.integers(1, 3))
    def clean_under_the_reader(self, who: str, call: int, name: str, count: int, keep: int) -> None:
        """In the middle of a round a table grows and its log is cleaned."""

        def change() -> None:
            table = self.world.tables[name]
            for _ in range(count):
                table.commit()
            table.clean(table.latest - keep + 1)

        self._disturbed_step(who, call, change)

    @invariant()
    def nothing_is_told_twice_or_out_of_order(self) -> None:
        """At every moment, for every subscriber."""
        for name in DATASETS:
            told = [event for event in self.world.broker.events if event.dataset == name]
            assert len({event.event_id for event in told}) == len(told)
            order = {place: n for n, place in enumerate(self.world.tables[name].committed)} if told else {}
            versions = [order[event.table_id, event.version] for event in told if event.kind != GAP]
            assert versions == sorted(set(versions))

    @invariant()
    def progress_and_events_agree(self) -> None:
        """They are committed together, so the last event of each table id is its progress."""
        progress = decode_progress({r.key: r.value for r in self.world.broker.committed(TOPICS.announced)})
        last: dict[str, int] = {}
        for event in self.world.broker.events:
            if event.kind != GAP:
                last[f"{event.dataset}/{event.table_id}"] = event.version
        assert {key: position.version for key, position in progress.items()} == last

    @invariant()
    def a_gap_holds_nothing_that_was_told(self) -> None:
        """What is told to be gone was not told before, and is not told after."""
        told = self.world.broker.events
        for gap in (event for event in told if event.gap_from is not None and event.gap_to is not None):
            inside = range(gap.gap_from, gap.gap_to + 1)
            assert not [
                e
                for e in told
                if e.kind != GAP and e.table_id == gap.table_id and e.dataset == gap.dataset and e.version in inside
            ]

    def teardown(self) -> None:
        """Whatever happened, one healthy announcer then tells all that the logs still hold, and says what they do not."""
        if not self.announcers:
            return
        self.world.clock.sleep(120)
        self.world.settle()
        self.nothing_is_told_twice_or_out_of_order()
        for name in DATASETS:
            table = self.world.tables[name]
            told = [event for event in self.world.broker.events if event.dataset == name]
            seen = {(event.table_id, event.version) for event in told if event.kind != GAP}
            for version in range(table.latest + 1):
                assert (table.id_at[version], version) in seen or _is_in_gap(told, version), (name, version)
            assert len(self.world.broker.committed(TOPICS.lineage)) == 2 * len(
                [e for e in self.world.broker.events if e.kind != GAP]
            )

    def _disturbed_step(self, who: str, call: int, what: Callable[[], None]) -> None:
        calls = iter(range(call + 1))

        def at(caller: str, _: str) -> None:
            if caller == who and next(calls, None) == call:
                self.world.at = lambda who, where: None
                what()

        self.world.at = at
        try:
            self.announcers[who].step(0)
        finally:
            self.world.at = lambda who, where: None

    def _recreate(self, name: str, longer: int) -> None:
        table = self.world.tables[name]
        versions = table.latest + 1 + longer
        table.drop()
        for _ in range(versions):
            table.commit()

    def _die(self) -> None:
        raise Crash


def _is_in_gap(told: list[VersionCommitted], version: int) -> bool:
    return any(
        event.gap_from <= version <= event.gap_to
        for event in told
        if event.gap_from is not None and event.gap_to is not None
    )


TestAnnouncing = Announcing.TestCase
TestAnnouncing.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
