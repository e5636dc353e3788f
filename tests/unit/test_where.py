"""Where a record went, told from the log, the files and, where they leave it open, from Kafka."""

import random
from pathlib import Path

import pytest

from audit.where import Chain, HeldByKafka, Where, Whereabouts, plain_version
from compactors.rewrite import merge_small_files
from compactors.vacuum import Vacuum
from tests.table_world import FIRST_DATE, TOPIC_ID, TableWorld
from thalweg.clock import SystemClock
from thalweg.errors import NotFound, TableNotFound, VersionNotFound
from thalweg.settings import CompactorSettings, TableSettings
from thalweg.tables.files import LANDED, QUARANTINED, Snapshot
from thalweg.tables.log import Log
from thalweg.tables.spans import Span

KEEPING_NOTHING = CompactorSettings(time_travel_hours=0, staged_hours=0)


@pytest.fixture
def world(tmp_path: Path) -> TableWorld:
    return TableWorld(tmp_path)


def opened(world: TableWorld) -> Where:
    return Where(world.dataset, TableSettings(root=str(world.folder.parent)))


def not_asked(span: Span, offset: int) -> bool | None:
    raise AssertionError(f"Kafka was asked for {offset}")


def where(world: TableWorld, partition: int, offset: int, held: HeldByKafka = not_asked) -> Whereabouts:
    return opened(world).record(world.topic, partition, offset, held)


def vacuum(uri: str) -> None:
    worker = Vacuum(uri, KEEPING_NOTHING, 10**6, (), SystemClock())
    worker.apply(worker.plan())


def test_a_landed_record_has_a_version_and_a_file(world: TableWorld) -> None:
    world.land({0: range(10), 1: range(5)})
    version = world.land({0: range(10, 20), 1: range(5, 8)})
    answer = where(world, 0, 13)
    assert (answer.state, answer.version, answer.dataset) == ("landed", version, "trips")
    assert answer.file == answer.now_in
    assert answer.file is not None
    assert answer.file.startswith(f"date={FIRST_DATE.replace(day=2)}/")
    assert answer.to_plain()["span"] == {
        "topic": world.topic,
        "partition": 0,
        "from": 10,
        "to": 20,
        "landed": 10,
        "quarantined": 0,
        "filtered": 0,
        "holes": 0,
    }


def test_after_a_merge_the_file_that_has_it_now_is_told_too(world: TableWorld) -> None:
    for landing in range(4):
        world.land({0: range(landing * 10, landing * 10 + 10)})
    merged = list(merge_small_files(world.uri, LANDED, KEEPING_NOTHING, SystemClock()))
    assert merged
    answer = where(world, 0, 13)
    (now,) = (file.path for file in Snapshot(world.uri).files if "date=2013-01-02" in file.path)
    assert (answer.version, answer.now_in) == (2, now)
    assert answer.file not in (None, now)
    vacuum(world.uri)
    answer = where(world, 0, 13)
    assert (answer.state, answer.version, answer.file, answer.now_in) == ("landed", 2, None, now)


def test_a_row_that_was_deleted_is_still_known_as_landed_while_its_file_is_there(world: TableWorld) -> None:
    world.land({0: range(10)})
    Snapshot(world.uri).table.delete("_offset = 4")
    answer = where(world, 0, 4)
    assert (answer.state, answer.now_in) == ("landed", None)
    assert answer.file is not None
    vacuum(world.uri)
    assert where(world, 0, 4).state == "removed"


def test_a_rejected_record_has_its_reason_settled_or_not_merged_or_not(world: TableWorld) -> None:
    version = world.land({0: range(10)}, rejected={0: [10]}, settle=False)
    told = {"rule": "decode", "reason": "2 bytes too many", "byte": 17}
    answer = where(world, 0, 10)
    assert (answer.state, answer.version, answer.verdict) == ("quarantined", version, told)
    for offset in range(11, 14):
        world.land({0: []}, rejected={0: [offset]})
    assert list(merge_small_files(world.quarantine_uri, QUARANTINED, KEEPING_NOTHING, SystemClock()))
    vacuum(world.quarantine_uri)
    answer = where(world, 0, 10)
    assert (answer.state, answer.version, answer.verdict) == ("quarantined", version, told)


def test_what_is_not_there_is_told_by_the_counts_alone_where_they_suffice(world: TableWorld) -> None:
    world.land({0: [0, 1]}, filtered={0: 2}, reach={0: 4})
    assert where(world, 0, 3).state == "filtered"
    world.land({0: [4, 5]}, reach={0: 8})
    assert where(world, 0, 7).state == "hole"


@pytest.mark.parametrize(("known", "state"), [(True, "filtered"), (False, "hole"), (None, "filtered or hole")])
def test_where_the_counts_leave_it_open_kafka_is_asked(world: TableWorld, known: bool | None, state: str) -> None:
    world.land({0: [0, 1]}, filtered={0: 1}, reach={0: 4})
    asked = []

    def held(span: Span, offset: int) -> bool | None:
        asked.append((span.topic, span.partition, offset))
        return known

    assert where(world, 0, 3, held).state == state
    assert asked == [(world.topic, 0, 3)]


def test_what_was_not_consumed_is_said_so(world: TableWorld) -> None:
    world.land({0: range(10)})
    assert where(world, 0, 10).state == "not consumed"
    assert where(world, 7, 0).state == "not consumed"


def test_offsets_outside_of_the_log_are_told_apart(world: TableWorld) -> None:
    world.next[0] = 5
    world.land({0: range(5, 10)})
    world.next[0] = 12
    world.land({0: range(12, 15)})
    assert where(world, 0, 2).state == "before"
    assert where(world, 0, 10).state == "gap"


def test_a_row_that_should_be_there_and_is_not_is_missing(world: TableWorld) -> None:
    world.land({0: range(10)}, spans=[Span(world.topic, TOPIC_ID, 0, 0, 11, 11, 0, 0)], reach={0: 11})
    assert where(world, 0, 10).state == "missing"


def test_the_commit_is_found_however_the_partitions_take_turns(world: TableWorld) -> None:
    """Versions in between are merges and landings of others."""
    random.seed(7)
    expected: dict[tuple[int, int], int] = {}
    for _ in range(40):
        partition = random.choice([0, 0, 0, 1, 2])
        start = world.next.get(partition, 0)
        offsets = range(start, start + random.randint(1, 3))
        version = world.land({partition: offsets}, date=lambda *_: FIRST_DATE, settle=False)
        expected.update({(partition, offset): version for offset in offsets})
        if random.random() < 0.2:
            list(merge_small_files(world.uri, LANDED, KEEPING_NOTHING, SystemClock()))
    log = Log(world.uri)
    for (partition, offset), version in expected.items():
        found = Chain(log, TOPIC_ID, partition).find(offset)
        assert found is not None
        assert found[0].version == version
    last = Chain(log, TOPIC_ID, 0).find(10**6)
    assert last is not None
    assert last[1].next == world.next[0]
    assert Chain(log, TOPIC_ID, 9).find(0) is None


def test_the_topic_may_be_known_from_the_log_alone(tmp_path: Path) -> None:
    world = TableWorld(tmp_path, topic="declared.later")
    world.topic = "landed.before"
    world.land({0: range(3)})
    assert where(world, 0, 1).state == "landed"
    with pytest.raises(NotFound, match=r"declared\.later"):
        opened(world).record("nobody.knows", 0, 1, not_asked)


def test_a_file_tells_which_records_it_is_made_of(world: TableWorld) -> None:
    world.land({0: range(10), 1: range(4)})
    world.land({0: range(10, 20)})
    list(merge_small_files(world.uri, LANDED, CompactorSettings(min_files=2), SystemClock()))
    (path,) = (file.path for file in Snapshot(world.uri).files if "date=2013-01-01" in file.path)
    first, second = opened(world).file(path)
    assert (first.partition, first.rows, first.first, first.last, first.versions) == (0, 7, 0, 18, (1, 2))
    assert (second.partition, second.rows, second.first, second.last, second.versions) == (1, 2, 0, 3, (1, 1))
    assert opened(world).file(f"{world.uri}/{path}") == [first, second]
    with pytest.raises(NotFound):
        opened(world).file("date=2013-01-01/nothing.parquet")
    with pytest.raises(NotFound):
        opened(world).file("../elsewhere.parquet")


def test_a_version_tells_its_spans(world: TableWorld) -> None:
    world.land({0: range(10)})
    plain = plain_version(opened(world).version(1))
    assert plain["operation"] == "WRITE"
    assert [(span["from"], span["to"]) for span in plain["spans"]] == [(0, 10)]
    with pytest.raises(VersionNotFound):
        opened(world).version(99)


def test_a_dataset_without_a_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(TableNotFound):
        Where("nothing", TableSettings(root=str(tmp_path)))
