"""What verify reads from tables and their logs; what Kafka holds is added by the tests with a broker."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from audit.verify import Audit, Report
from compactors.policy import Expiry
from compactors.retention import apply_retention
from compactors.rewrite import merge_small_files
from schemas.datasets import Dataset
from tests.table_world import FIRST_DATE, TABLE, TOPIC_ID, TableWorld
from thalweg.clock import SystemClock
from thalweg.errors import ConfigurationError, TableNotFound
from thalweg.settings import CompactorSettings, Settings, TableSettings
from thalweg.tables.files import LANDED, QUARANTINED, Snapshot
from thalweg.tables.log import Log
from thalweg.tables.spans import Span

KEEPING_LITTLE = CompactorSettings(time_travel_hours=0, staged_hours=0)


@pytest.fixture
def world(tmp_path: Path) -> TableWorld:
    return TableWorld(tmp_path)


def audit(world: TableWorld) -> Report:
    work = Audit(world.dataset, Settings(tables=TableSettings(root=str(world.folder.parent))))
    work.read_log()
    work.read_rows()
    return work.report()


def expiring(world: TableWorld, days: int = 1) -> Dataset:
    return Dataset.model_validate_json(
        json.dumps(
            {
                "name": world.dataset,
                "topics": [world.topic],
                "owner": "ada",
                "partition": {"field": "at"},
                "retention": {"class": "short", "days": days},
            }
        )
    )


def retire(world: TableWorld, before: dt.date) -> None:
    apply_retention(world.uri, expiring(world), Expiry(before.isoformat(), (), 1, 1, 1))


def damage(world: TableWorld, change: Any) -> None:
    path = Path(world.uri) / Snapshot(world.uri).files[0].path
    change(path)


def test_a_table_that_is_in_order_is_clean_and_counted(world: TableWorld) -> None:
    world.land({0: range(30), 1: range(10)}, rejected={1: [10, 11]}, filtered={1: 2}, reach={1: 16})
    world.land({0: range(30, 40)})
    report = audit(world)
    assert report.ok, report.problems
    assert report.to_plain()["partitions"] == [
        {
            "topic": world.topic,
            "partition": partition,
            "from": 0,
            "to": to,
            "landed": landed,
            "quarantined": quarantined,
            "filtered": filtered,
            "holes": holes,
            "retired": 0,
            "unverifiable": 0,
            "missing": 0,
            "duplicate": 0,
        }
        for partition, to, landed, quarantined, filtered, holes in [(0, 40, 40, 0, 0, 0), (1, 16, 10, 2, 2, 2)]
    ]


def test_merges_change_nothing(world: TableWorld) -> None:
    for landing in range(5):
        world.land({0: range(landing * 10, landing * 10 + 9)}, rejected={0: [landing * 10 + 9]})
    before = audit(world).to_plain()
    assert list(merge_small_files(world.uri, LANDED, KEEPING_LITTLE, SystemClock()))
    assert list(merge_small_files(world.quarantine_uri, QUARANTINED, KEEPING_LITTLE, SystemClock()))
    after = audit(world).to_plain()
    assert before["ok"]
    assert after["partitions"] == before["partitions"]
    assert after["problems"] == []


def test_rejects_that_are_not_settled_yet_are_read_where_the_log_names_them(world: TableWorld) -> None:
    world.land({0: range(5)}, rejected={0: [5]})
    world.land({0: range(6, 9)}, rejected={0: [9]}, settle=False)
    report = audit(world)
    assert report.ok, report.problems
    assert any("1 rejected records in 1 files" in note for note in report.notes)
    world.settle()
    assert audit(world).notes == ()


def test_before_the_first_reject_is_settled_there_need_be_no_quarantine_table(world: TableWorld) -> None:
    world.land({0: range(5)}, rejected={0: [5]}, settle=False)
    assert audit(world).ok


def test_an_unsettled_quarantine_file_that_is_gone_shows(world: TableWorld) -> None:
    world.land({0: range(5)}, rejected={0: [5]}, settle=False)
    for path in Path(world.quarantine_uri).rglob("*.parquet"):
        path.unlink()
    report = audit(world)
    assert not report.ok
    assert report.partitions[0].missing == 1


def test_a_data_file_that_is_gone_is_seen_although_the_statistics_still_count_its_rows(world: TableWorld) -> None:
    world.land({0: range(30)})
    damage(world, Path.unlink)
    report = audit(world)
    assert report.partitions[0].missing == 10
    assert any("is missing" in problem for problem in report.problems)


def test_a_data_file_that_is_not_what_it_was_is_named_and_the_others_are_read(world: TableWorld) -> None:
    world.land({0: range(30)})
    damage(world, lambda path: path.write_bytes(b"PAR1" + b"x" * (path.stat().st_size - 4)))
    name = Snapshot(world.uri).files[0].path
    report = audit(world)
    assert report.partitions[0].missing == 10
    assert any(name in problem and "cannot be read" in problem for problem in report.problems)


def test_a_data_file_that_was_replaced_by_another_shows(world: TableWorld) -> None:
    world.land({0: range(30)})
    damage(world, lambda path: pq.write_table(pq.read_table(path, partitioning=None).slice(1), path))
    report = audit(world)
    assert any("bytes, not" in problem for problem in report.problems)


def test_statistics_that_count_other_rows_than_there_are_show(world: TableWorld) -> None:
    version = world.land({0: range(30)})
    path = Path(world.uri) / "_delta_log" / f"{version:020}.json"
    path.write_text(path.read_text().replace('\\"numRecords\\": 10', '\\"numRecords\\": 11'))
    assert any("counts 33 rows" in problem and "30 are there" in problem for problem in audit(world).problems)


def test_rows_that_a_delete_removed_are_missing_and_the_delete_is_named(world: TableWorld) -> None:
    world.land({0: range(30)})
    Snapshot(world.uri).table.delete("_offset in (3, 4)")
    report = audit(world)
    assert report.partitions[0].missing == 2
    assert any("version 2 (DELETE)" in problem for problem in report.problems)


def test_rows_that_a_restore_took_back_are_missing(world: TableWorld) -> None:
    """Offsets stay landed when rows go: rule 8.5."""
    world.land({0: range(30)})
    world.land({0: range(30, 40)})
    Snapshot(world.uri).table.restore(1)
    report = audit(world)
    assert report.partitions[0].missing == 10
    assert any("(RESTORE)" in problem for problem in report.problems)


def test_rows_that_retention_removed_are_retired(world: TableWorld) -> None:
    world.land({0: range(30), 1: range(6)})
    retire(world, FIRST_DATE + dt.timedelta(days=1))
    report = audit(world)
    assert report.ok, report.problems
    assert [(p.landed, p.retired, p.missing) for p in report.partitions] == [(30, 10, 0), (6, 2, 0)]


def test_a_delete_beside_a_retention_is_not_covered_by_it(world: TableWorld) -> None:
    world.land({0: range(30)})
    retire(world, FIRST_DATE + dt.timedelta(days=1))
    Snapshot(world.uri).table.delete("_offset = 4")
    report = audit(world)
    assert (report.partitions[0].retired, report.partitions[0].missing) == (10, 1)


def test_rows_that_were_appended_twice_are_duplicates(world: TableWorld) -> None:
    world.land({0: range(30)})
    again = world._data_files([(0, 3), (0, 4)], lambda *_: FIRST_DATE, TOPIC_ID)
    world.writer.adopt()
    world.writer.commit(again, {}, {})
    report = audit(world)
    assert report.partitions[0].duplicate == 2
    assert not report.ok


def test_rows_of_another_writer_show(world: TableWorld) -> None:
    world.land({0: range(30)})
    row = {"date": FIRST_DATE, "id": 1, "_topic_id": None, "_partition": None, "_offset": None}
    write_deltalake(world.uri, pa.Table.from_pylist([row], TABLE), mode="append")
    row = {**row, "_topic_id": "somebody's", "_partition": 0, "_offset": 3}
    write_deltalake(world.uri, pa.Table.from_pylist([row], TABLE), mode="append")
    report = audit(world)
    assert any("do not say which record" in problem for problem in report.problems)
    assert any("somebody's" in problem for problem in report.problems)


def test_a_reject_that_landed_too_is_twice(world: TableWorld) -> None:
    world.land({0: range(5)}, rejected={0: [4]}, spans=[Span(world.topic, TOPIC_ID, 0, 0, 5, 5, 1, 0)])
    report = audit(world)
    assert report.partitions[0].duplicate == 1


def test_rejects_that_nobody_counted_show(world: TableWorld) -> None:
    world.land({0: range(5)}, rejected={0: [5]}, spans=[Span(world.topic, TOPIC_ID, 0, 0, 6, 5, 0, 0)])
    assert any("counts 0 rejected records" in problem for problem in audit(world).problems)


def test_a_span_that_does_not_follow_on_shows(world: TableWorld) -> None:
    world.land({0: range(5)})
    world.next[0] = 7
    world.land({0: range(7, 9)})
    report = audit(world)
    assert any("no commit covers offsets 5 to 6, between versions 1 and 2" in problem for problem in report.problems)


def test_a_span_that_its_own_transaction_contradicts_shows(world: TableWorld) -> None:
    world.land({0: range(5)}, reach={0: 8}, spans=[Span(world.topic, TOPIC_ID, 0, 0, 5, 5, 0, 0)])
    report = audit(world)
    assert any("its transaction says 8" in problem for problem in report.problems)
    assert any("transaction stands at 8" in problem for problem in report.problems)


def test_a_log_whose_beginning_was_cleaned_is_told_and_the_rest_still_checked(world: TableWorld) -> None:
    for landing in range(4):
        world.land({0: range(landing * 10, landing * 10 + 10)})
    Snapshot(world.uri).table.create_checkpoint()
    for version in range(3):
        (Path(world.uri) / "_delta_log" / f"{version:020}.json").unlink()
    report = audit(world)
    assert report.ok, report.problems
    assert any("begins with version 3" in note for note in report.notes)
    assert (report.partitions[0].start, report.partitions[0].unverifiable) == (20, 20)


def test_a_log_entry_that_is_gone_from_the_middle_shows(world: TableWorld) -> None:
    for landing in range(4):
        world.land({0: range(landing * 10, landing * 10 + 10)})
    Snapshot(world.uri).table.create_checkpoint()
    (Path(world.uri) / "_delta_log" / f"{2:020}.json").unlink()
    report = audit(world)
    assert any("log entry 2 is gone" in problem for problem in report.problems)


def test_a_topic_that_was_made_again_has_accounts_of_its_own(world: TableWorld) -> None:
    world.land({0: range(5)})
    world.next.clear()
    world.land({0: range(3)}, topic_id="B" * 22)
    report = audit(world)
    assert report.ok, report.problems
    assert [(p.start, p.end) for p in report.partitions] == [(0, 5), (0, 3)]


def test_spans_of_a_newer_thalweg_are_not_guessed_at(world: TableWorld) -> None:
    version = world.land({0: range(5)})
    path = Path(world.uri) / "_delta_log" / f"{version:020}.json"
    path.write_text(path.read_text().replace('"thalweg.format":1', '"thalweg.format":2'))
    with pytest.raises(ConfigurationError, match="upgrade"):
        audit(world)


def test_problems_are_told_up_to_a_bound(world: TableWorld) -> None:
    spans = [Span(world.topic, TOPIC_ID, partition, 0, 5, 1, 0, 0) for partition in range(60)]
    world.land({partition: [5] for partition in range(60)}, spans=spans)
    report = audit(world)
    assert len(report.problems) == 101
    assert report.problems[-1].startswith("and ")


def test_a_dataset_without_a_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(TableNotFound):
        Audit("nothing", Settings(tables=TableSettings(root=str(tmp_path))))


def test_the_log_counts_what_was_retired_by_partition(world: TableWorld) -> None:
    world.land({0: range(30), 1: range(6)})
    retire(world, FIRST_DATE + dt.timedelta(days=2))
    entry = Log(world.uri).read(2)
    assert entry.info["thalweg.retired"] == {
        "before": "2013-01-03",
        "class": "short",
        "rows": 24,
        "partitions": [
            {"topic_id": TOPIC_ID, "partition": 0, "rows": 20},
            {"topic_id": TOPIC_ID, "partition": 1, "rows": 4},
        ],
    }
