"""The announcer's rules, each by the shortest story that breaks an announcer without it."""

import pytest

from schemas.events import GAP
from tests.announcer_world import TOPICS, Crash, Record, World
from thalweg.errors import BrokerUnavailable, RegistryUnavailable, StorageUnavailable
from thalweg.streams.leases import Declared


def announced(world: World, dataset: str = "d") -> list[tuple[str, int]]:
    """Table id and version of each event of a dataset, gaps as their last version."""
    return [(event.table_id, event.version) for event in world.broker.events if event.dataset == dataset]


def at_once(world: World, place: str, what: BaseException | None = None, then=lambda: None) -> None:
    """At the first call of that name: do something, then raise, once."""

    def at(who: str, where: str) -> None:
        if where == place:
            world.at = lambda who, where: None
            then()
            if what is not None:
                raise what

    world.at = at


@pytest.fixture
def world() -> World:
    """One declared dataset with three versions."""
    made = World()
    made.declare("d")
    for _ in range(3):
        made.tables["d"].commit()
    made.give("a")
    return made


def test_every_version_is_announced_in_order_with_its_lineage(world: World) -> None:
    world.announcer("a").step(0)
    assert announced(world) == [("id-1", 0), ("id-1", 1), ("id-1", 2)]
    assert len(world.broker.committed(TOPICS.lineage)) == 6


def test_a_new_version_is_announced_live(world: World) -> None:
    a = world.announcer("a")
    a.step(0)
    world.tables["d"].commit("DELETE")
    a.step(0)
    assert [event.operation for event in world.broker.events] == ["WRITE", "WRITE", "WRITE", "DELETE"]


def test_the_next_owner_goes_on_where_the_last_one_stopped(world: World) -> None:
    world.announcer("a").step(0)
    world.tables["d"].commit()
    world.give("b")
    world.announcer("b").step(0)
    assert announced(world) == [("id-1", v) for v in range(4)]


@pytest.mark.parametrize(
    "place", ["start", "started", "read announced", "log", "begin", "half produced", "produced", "committed"]
)
def test_a_crash_anywhere_announces_nothing_twice_and_loses_nothing(world: World, place: str) -> None:
    at_once(world, place, Crash())
    with pytest.raises(Crash):
        world.announcer("a").step(0)
    world.settle()
    assert announced(world) == [("id-1", v) for v in range(3)]


@pytest.mark.parametrize(
    "place", ["start", "started", "read announced", "begin", "half produced", "produced", "committed"]
)
def test_an_unknown_outcome_gives_the_lease_up_and_reads_progress_again(world: World, place: str) -> None:
    a = world.announcer("a")
    at_once(world, place, BrokerUnavailable("no answer"))
    a.step(0)
    assert not a.is_ready
    assert announced(world) in ([], [("id-1", v) for v in range(3)])
    world.clock.sleep(60)
    a.step(0)
    assert a.is_ready
    assert announced(world) == [("id-1", v) for v in range(3)]


def test_a_zombie_that_wakes_inside_its_transaction_announces_nothing(world: World) -> None:
    def take_over() -> None:
        world.give("b")
        world.announcer("b").step(0)

    at_once(world, "produced", then=take_over)
    a = world.announcer("a")
    a.step(0)
    assert announced(world) == [("id-1", v) for v in range(3)]
    world.clock.sleep(60)
    a.step(0)  # hears that the lease is lost
    assert world.broker.epochs["announcer.0"] == 2, "the zombie must not fence the owner"


def test_the_id_is_taken_before_progress_is_read(world: World) -> None:
    """In the other order, what the last owner commits in between is announced twice."""
    a = world.announcer("a")
    order: list[str] = []
    world.at = lambda who, where: order.append(where)
    a.step(0)
    assert order.index("started") < order.index("read announced")


def test_a_silent_member_asks_before_it_fences_somebody(world: World) -> None:
    """It was fenced, and has not heard yet that the lease is another's: only the coordinator's answer lets it go on."""
    a = world.announcer("a")
    a.step(0)
    world.give("b")
    b = world.announcer("b")
    b.step(0)
    world.tables["d"].commit()
    world.told["a"] = False  # a's group says nothing at all
    a.step(0)
    world.clock.sleep(60)
    a.step(0)
    b.step(0)
    assert world.broker.epochs["announcer.0"] == 2
    assert announced(world) == [("id-1", v) for v in range(4)]


def test_a_lost_lease_is_not_taken_again_at_once(world: World) -> None:
    a = world.announcer("a")
    at_once(world, "begin", BrokerUnavailable("no answer"))
    for _ in range(5):
        a.step(0)
    assert world.broker.epochs["announcer.0"] == 1
    world.clock.sleep(5)
    a.step(0)
    assert world.broker.epochs["announcer.0"] == 2


def test_hidden_progress_is_waited_for(world: World) -> None:
    """Another id's open transaction in the progress partition hides what was announced: going on would announce it twice."""
    world.announcer("a").step(0)
    alien = Record(b"x", b"y", "alien", "open")
    world.broker.logs[(TOPICS.announced, 0)].insert(0, alien)
    world.give("b")
    b = world.announcer("b")
    b.step(0)
    assert not b.is_ready
    alien.state = "aborted"
    world.clock.sleep(60)
    b.step(0)
    assert b.is_ready
    assert announced(world) == [("id-1", v) for v in range(3)]


def test_one_transaction_holds_a_bounded_number_of_versions(world: World) -> None:
    for _ in range(20):
        world.tables["d"].commit()
    a = world.announcer("a", versions_per_transaction=4)
    assert a.step(0)
    assert len(announced(world)) == 4
    while a.step(0):
        pass
    assert announced(world) == [("id-1", v) for v in range(23)]


def test_a_busy_table_does_not_starve_its_neighbour(world: World) -> None:
    world.declare("e")
    for _ in range(20):
        world.tables["d"].commit()
        world.tables["e"].commit()
    a = world.announcer("a", versions_per_transaction=4)
    for _ in range(4):
        a.step(0)
    assert announced(world, "d")
    assert announced(world, "e")


def test_a_recreated_table_starts_from_its_first_version(world: World) -> None:
    a = world.announcer("a")
    a.step(0)
    world.tables["d"].drop()
    for _ in range(5):  # already beyond the version that stood last
        world.tables["d"].commit()
    while not a.step(0):
        pass  # the first look only notices
    while a.step(0):
        pass
    assert announced(world) == [("id-1", v) for v in range(3)] + [("id-2", v) for v in range(5)]


def test_a_recreated_table_with_fewer_versions_is_noticed(world: World) -> None:
    a = world.announcer("a")
    a.step(0)
    world.tables["d"].drop()
    world.tables["d"].commit()
    world.clock.sleep(2)
    a.step(0)
    a.step(0)
    assert announced(world)[3:] == [("id-2", 0)]


@pytest.mark.parametrize("call", range(12))
@pytest.mark.parametrize("restarted", [False, True])
def test_a_table_recreated_between_two_looks_at_its_log_is_not_mixed_up(
    world: World, call: int, restarted: bool
) -> None:
    a = world.announcer("a")
    a.step(0)
    if restarted:
        a = world.announcer("a")
    world.tables["d"].commit()
    calls = iter(range(call + 1))

    def recreate() -> None:
        world.tables["d"].drop()
        for _ in range(6):
            world.tables["d"].commit()

    def at(who: str, where: str) -> None:
        if where == "log" and next(calls, None) == call:
            recreate()

    world.at = at
    a.step(0)
    if world.tables["d"].table_id == "id-1":
        recreate()  # the round did not look that often
    world.settle()
    assert [v for v in announced(world)[3:] if v != ("id-1", 3)] == [("id-2", v) for v in range(6)]


def test_an_id_that_changes_inside_a_log_announces_no_version_twice(world: World) -> None:
    """As racing creations leave behind; the owner stops right before the version that changes it."""
    world.announcer("a").step(0)
    world.tables["d"].commit(new_id=True)
    world.tables["d"].commit()
    world.give("b")
    world.announcer("b").step(0)
    world.settle()
    assert announced(world) == [("id-1", 0), ("id-1", 1), ("id-1", 2), ("id-2", 3), ("id-2", 4)]


def test_a_gap_is_announced_and_then_the_log_goes_on(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.announcer("a").step(0)
    for _ in range(5):
        world.tables["d"].commit()
    world.tables["d"].clean(below=6)
    world.give("b")
    world.announcer("b").step(0)
    world.settle()
    gap = world.broker.events[3]
    assert (gap.kind, gap.gap_from, gap.gap_to, gap.table_id) == (GAP, 3, 5, "id-1")
    assert announced(world)[4:] == [("id-1", 6), ("id-1", 7)]
    assert "versions 3 to 5 were cleaned" in caplog.text


def test_a_gap_before_an_id_that_changed_begins_where_announcing_stood(world: World) -> None:
    world.announcer("a").step(0)
    world.tables["d"].commit()
    world.tables["d"].commit()
    world.tables["d"].commit(new_id=True)
    world.tables["d"].clean(below=4)
    world.settle()
    assert [(e.gap_from, e.gap_to) for e in world.broker.events if e.kind == GAP] == [(3, 3)]
    assert announced(world)[3:] == [("id-1", 3), ("id-1", 4), ("id-2", 5)]


def test_a_version_that_no_snapshot_can_be_made_of_is_announced_all_the_same(world: World) -> None:
    """Log clean-up by age leaves such entries behind: their checkpoint is gone."""
    world.announcer("a").step(0)
    world.tables["d"].commit()
    world.tables["d"].commit()
    world.tables["d"].clean(below=3)
    world.tables["d"].unreadable.add(3)
    world.settle()
    assert announced(world) == [("id-1", v) for v in range(5)]


def test_a_log_that_is_cleaned_behind_the_announcer_is_no_gap(world: World) -> None:
    a = world.announcer("a")
    a.step(0)
    world.tables["d"].commit()
    world.tables["d"].clean(below=3)
    a.step(0)
    a.step(0)
    assert announced(world) == [("id-1", v) for v in range(4)]
    assert all(event.kind != GAP for event in world.broker.events)


def test_a_table_whose_first_versions_are_gone_begins_with_a_gap(world: World) -> None:
    world.tables["d"].clean(below=2)
    world.settle()
    assert [(e.kind, e.gap_from, e.gap_to, e.version) for e in world.broker.events] == [
        (GAP, 0, 1, 1),
        ("COMMITTED", None, None, 2),
    ]
    assert world.broker.events[1].schema_fingerprint


def test_a_table_that_does_not_exist_yet_is_waited_for() -> None:
    world = World()
    world.declare("d")
    world.give("a")
    a = world.announcer("a")
    a.step(0)
    assert a.is_ready
    world.tables["d"].commit()
    a.step(0)
    assert announced(world) == [("id-1", 0)]


def test_a_declaration_is_picked_up_live_with_its_quarantine_table(world: World) -> None:
    a = world.announcer("a")
    a.step(0)
    world.declare("e")
    world.tables["e"].commit()
    world.tables["e.quarantine"].commit()
    a.step(0)
    assert announced(world, "e") == [("id-1", 0)]
    assert announced(world, "e.quarantine") == [("id-1", 0)]


def test_a_withdrawn_dataset_is_left_alone(world: World) -> None:
    a = world.announcer("a")
    a.step(0)
    world.declare("d", withdraw=True)
    world.tables["d"].commit()
    world.tables["d.quarantine"].commit()
    a.step(0)
    assert len(world.broker.events) == 3


def test_a_declaration_that_cannot_be_read_is_left_out_loudly(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A misplaced one would be announced by two owners; the others must not suffer from it."""
    world.declared.insert(0, Declared(0, 0, b"e", b"misplaced"))
    a = world.announcer("a")
    a.step(0)
    assert len(announced(world)) == 3
    assert "declaration b'e' is left out: it stands in the wrong partition" in caplog.text


def test_declarations_wait_for_a_registry_that_is_down_and_the_rest_goes_on(world: World) -> None:
    a = world.announcer("a")
    a.step(0)
    world.declare("e")
    world.tables["e"].commit()
    world.tables["d"].commit()
    at_once(world, "registry", RegistryUnavailable("no answer"))
    a.step(0)
    assert not a.is_ready
    assert (len(announced(world, "d")), len(announced(world, "e"))) == (4, 0)
    world.clock.sleep(3)
    a.step(0)
    assert a.is_ready
    assert len(announced(world, "e")) == 1


def test_a_process_without_a_lease_is_ready_to_take_over(world: World) -> None:
    b = world.announcer("b")
    assert not b.is_ready
    b.step(0)
    assert b.is_ready


def test_a_table_that_cannot_be_read_stalls_alone_and_loudly(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.declare("e")
    world.tables["e"].commit()
    broken = True

    def at(who: str, where: str) -> None:
        if where == "log" and broken:
            raise StorageUnavailable("disk on fire")

    a = world.announcer("a")
    at_first = iter([True])

    def only_d(who: str, where: str) -> None:
        if where == "log" and next(at_first, False):
            at(who, where)

    world.at = only_d
    a.step(0)
    assert announced(world, "d") == []
    assert announced(world, "e") == [("id-1", 0)]
    assert not a.is_ready
    assert "disk on fire" in caplog.text
    world.clock.sleep(60)
    a.step(0)
    assert len(announced(world, "d")) == 3
    assert a.is_ready


def test_a_table_behind_what_was_announced_is_loud(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.announcer("a").step(0)
    table = world.tables["d"]
    table.files.pop(2)
    table.latest = 1
    world.give("b")
    b = world.announcer("b")
    b.step(0)
    assert not b.is_ready
    assert "is at version 1, and version 2 of the same table was announced" in caplog.text


def test_progress_is_written_to_the_partition_of_the_lease(world: World) -> None:
    world.announcer("a").step(0)
    assert {key for key, log in world.broker.logs.items() if key[0] == TOPICS.announced and log} == {("announced", 0)}
    assert set(world.broker.latest(TOPICS.announced, 0)) == {b"d/id-1"}


def test_a_stopped_announcer_leaves_nothing_open(world: World) -> None:
    a = world.announcer("a")
    a.step(0)
    a.close()
    assert all(r.state == "committed" for log in world.broker.logs.values() for r in log)
    assert world.owner == ""
