"""The worker's own decisions, among stand-ins for Kafka and the registry, on real tables."""

import gc
import threading
from pathlib import Path

import pytest
from deltalake import DeltaTable

from ingest import worker as module
from ingest.landing import Landing
from ingest.pipeline import Pipeline
from ingest.report import Report
from tests.unit.ingest_fakes import DAY, TOPIC, TOPIC_ID, TRIP, Fixture, trips, value
from thalweg.clock import ManualClock
from thalweg.errors import OffsetsExpired, StorageUnavailable, TableChanged
from thalweg.tables.commit import Advance, TableWriter
from thalweg.tables.log import Log
from thalweg.tables.settle import Settler
from thalweg.tables.spans import Span, app_id
from thalweg.telemetry import Metrics


def rows(root: Path, *columns: str) -> list[dict[str, object]]:
    """What has landed, by offset."""
    found = DeltaTable(str(root / "trips")).to_pyarrow_table(columns=["_partition", "_offset", *columns])
    return list(found.sort_by([("_partition", "ascending"), ("_offset", "ascending")]).to_pylist())


def spans(root: Path) -> list[Span]:
    """All spans, in order."""
    return [span for entry in Log(str(root / "trips")).entries(0) for span in entry.spans]


def refuse_commits(patch: pytest.MonkeyPatch, times: int) -> None:
    """Let the first commits find that another writer moved the table."""
    commit = TableWriter.commit
    left = [times]

    def refused(self: TableWriter, *args: object) -> int:
        if left[0]:
            left[0] -= 1
            raise TableChanged("the schema changed", "start again")
        return commit(self, *args)  # type: ignore[arg-type]  # passed through

    patch.setattr(TableWriter, "commit", refused)


def test_once_does_not_end_before_a_batch_that_was_dropped_has_landed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another writer moves the table while the last batch is committed."""
    worker = Fixture(monkeypatch, str(tmp_path), trips(range(20)), commit_interval_s=3600.0)
    refuse_commits(monkeypatch, times=2)
    worker.run_once()
    assert [row["_offset"] for row in rows(tmp_path)] == list(range(20))


def test_a_worker_that_can_never_commit_does_not_end_as_if_all_were_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Fixture(monkeypatch, str(tmp_path), trips(range(5)))
    refuse_commits(monkeypatch, times=10**6)
    with pytest.raises(TableChanged, match="the schema changed"):
        worker.run_once()


def test_partitions_are_not_left_paused_when_a_batch_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """librdkafka keeps a partition paused though it is assigned anew: the worker would stand still."""
    monkeypatch.setattr(module, "HOLD_AFTER_S", 0.0)
    offers = iter([False])
    offer, drain = Pipeline.offer, Pipeline.drain

    def full_once(self: Pipeline, *args: object) -> bool:
        return next(offers, None) is None and offer(self, *args)  # type: ignore[arg-type]  # passed through

    def failing_while_full(self: Pipeline) -> None:
        drain(self)
        if worker.source.paused:
            raise TableChanged("the schema changed", "start again")

    monkeypatch.setattr(Pipeline, "offer", full_once)
    monkeypatch.setattr(Pipeline, "drain", failing_while_full)
    worker = Fixture(monkeypatch, str(tmp_path), trips(range(5)))
    worker.run_once()
    assert len(rows(tmp_path)) == 5


def test_a_commit_that_is_queued_is_not_made_after_partitions_were_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker fails while its writing thread is busy: what that thread was told to do next must not happen."""
    going_on = threading.Event()
    add = Landing.add

    def slow(self: Landing, *args: object) -> None:
        assert going_on.wait(30)
        add(self, *args)  # type: ignore[arg-type]  # passed through

    def fail() -> None:
        worker.worker._ask_for_commit()
        threading.Timer(0.2, going_on.set).start()
        raise ValueError("anything")

    monkeypatch.setattr(Landing, "add", slow)
    worker = Fixture(monkeypatch, str(tmp_path), trips(range(5)), commit_interval_s=3600.0, block_rows=3)
    worker.source.on_poll = [lambda: None, fail]
    at_close: list[bool] = []
    worker.source.on_close = lambda: at_close.append(worker.worker._pipeline._thread.is_alive())
    with pytest.raises(ValueError, match="anything"):
        worker.run_once()
    assert not spans(tmp_path)
    assert at_close == [False], "the writing thread ends before partitions are given back"


def test_what_was_read_before_kafka_removed_it_is_landed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def expire() -> None:
        raise OffsetsExpired("offset 5 is gone", "raise the retention")

    worker = Fixture(monkeypatch, str(tmp_path), trips(range(5)), commit_interval_s=3600.0, block_rows=3)
    worker.source.on_poll = [lambda: None, expire]
    with pytest.raises(OffsetsExpired):
        worker.run_once()
    assert [row["_offset"] for row in rows(tmp_path)] == list(range(3))


def test_a_quarantine_that_cannot_be_settled_stops_the_worker_and_the_next_one_settles_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The storage of the quarantine table refuses right after the data commit, which has named the file."""
    events = [*trips(range(3)), b"bad", *trips(range(4, 6))]
    settle = Settler.settle
    left = [1]

    def refused(self: Settler, table_id: str, version: int) -> int:
        if version and left:
            left.pop()
            raise StorageUnavailable("no space left", "make some")
        return settle(self, table_id, version)

    monkeypatch.setattr(Settler, "settle", refused)
    with pytest.raises(StorageUnavailable):
        Fixture(monkeypatch, str(tmp_path), events, commit_interval_s=3600.0).run_once()
    again = Fixture(monkeypatch, str(tmp_path), events)
    again.run_once()
    assert [row["_offset"] for row in rows(tmp_path)] == [0, 1, 2, 4, 5]
    assert DeltaTable(str(tmp_path / "trips.quarantine")).to_pyarrow_table()["offset"].to_pylist() == [3]
    assert [(span.first, span.next, span.quarantined) for span in spans(tmp_path)] == [(0, 6, 1)]


def test_once_ends_without_partitions_when_other_members_have_landed_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_ELSEWHERE_S", 0.0)
    worker = Fixture(monkeypatch, str(tmp_path), trips(range(5)), given=(), partitions=2)
    looked: list[int] = []

    def other_member_lands() -> None:
        looked.append(1)
        other = TableWriter(str(tmp_path / "trips"))
        app = app_id("trips", TOPIC_ID, 0)
        other.commit([], {app: Advance(other.transaction(app), 3 if len(looked) == 1 else 5)}, {})

    worker.source.on_poll = [lambda: None, other_member_lands, lambda: None, other_member_lands]
    worker.run_once()
    assert len(looked) == 2, "it ended before everything had landed"


def test_once_ends_though_the_group_never_says_that_there_is_no_partition_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under KIP-848."""
    worker = Fixture(monkeypatch, str(tmp_path), trips(range(5)))
    worker.source.given = None
    TableWriter(str(tmp_path / "trips")).commit([], {app_id("trips", TOPIC_ID, 0): Advance(None, 5)}, {})
    worker.run_once()
    assert not worker.worker.positions(), "it held no partition, and ended all the same"


def test_once_waits_until_the_group_has_spoken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing to do is no reason not to look: whether offsets expired or the topic was made anew is asked at assignment."""
    worker = Fixture(monkeypatch, str(tmp_path))
    worker.run_once()
    assert (TOPIC, [0]) in worker.broker.asked


def test_assignment_asks_for_the_partitions_given_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A partition that was just added is not counted by every broker yet."""
    worker = Fixture(monkeypatch, str(tmp_path), partitions=3)
    worker.worker.assigned([(TOPIC, 2)])
    assert worker.broker.asked == [(TOPIC, [2])]
    worker.run_once()


def test_parquet_footers_do_not_pile_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is a cycle with its schema, and the collector is off while a worker runs."""
    worker = Fixture(monkeypatch, str(tmp_path), trips(range(30)), commit_interval_s=1e-9, block_rows=1)
    left: list[int] = []
    worker.source.on_close = lambda: left.append(sum(type(o).__name__ == "FileMetaData" for o in gc.get_objects()))
    worker.run_once()
    assert len(spans(tmp_path)) > 10
    assert left[0] < 5


def test_a_table_that_is_widened_within_a_landing_takes_old_and_new_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = {"type": "enum", "name": "Kind", "symbols": ["A", "B"]}
    wider = {**TRIP, "fields": [*TRIP["fields"], {"name": "kind", "type": ["null", kind]}]}
    events = trips(range(4)) + [value(2, wider, id=i, kind="B") for i in range(4, 8)] + trips(range(8, 12))
    worker = Fixture(
        monkeypatch, str(tmp_path), events, schemas={1: TRIP, 2: wider}, block_rows=4, commit_interval_s=3600.0
    )
    worker.run_once()
    assert [(row["id"], row["kind"]) for row in rows(tmp_path, "id", "kind")] == [
        (i, "B" if 4 <= i < 8 else None) for i in range(12)
    ]
    (span,) = spans(tmp_path)
    assert (span.first, span.next, span.landed) == (0, 12, 12)


def test_a_column_that_only_newer_events_have_does_not_split_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = {"type": "enum", "name": "Kind", "symbols": ["A", "B"]}
    wider = {**TRIP, "fields": [*TRIP["fields"], {"name": "kind", "type": kind}]}
    events = [value(2, wider, id=i, kind="B") if i // 4 % 2 else trips([i])[0] for i in range(40)]
    worker = Fixture(
        monkeypatch, str(tmp_path), events, schemas={1: TRIP, 2: wider}, block_rows=4, commit_interval_s=3600.0
    )
    worker.run_once()
    assert len(rows(tmp_path)) == 40
    assert len(DeltaTable(str(tmp_path / "trips")).file_uris()) <= 2


def test_events_that_no_table_can_hold_are_quarantined_and_stop_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Avro tells `id` from `ID`; Delta does not."""
    twins = {**TRIP, "fields": [*TRIP["fields"], {"name": "ID", "type": "long"}]}
    events = [*trips([0]), value(2, twins, id=1, ID=2), *trips([2])]
    Fixture(monkeypatch, str(tmp_path), events, schemas={1: TRIP, 2: twins, 3: DAY}).run_once()
    assert [row["_offset"] for row in rows(tmp_path)] == [0, 2]
    (rejected,) = DeltaTable(str(tmp_path / "trips.quarantine")).to_pyarrow_table().to_pylist()
    assert (rejected["offset"], rejected["rule"]) == (1, "schema")
    assert "'id'" in rejected["reason"]


def test_a_partition_that_went_to_another_member_is_not_reported_any_more() -> None:
    metrics = Metrics()
    report = Report("trips", ManualClock(), metrics=metrics)
    report.lag({(TOPIC, 0): 5, (TOPIC, 1): 7})
    report.lag({(TOPIC, 1): 8})
    told = {
        (s.labels["partition"], s.value) for m in metrics.lag.collect() for s in m.samples if s.labels.get("partition")
    }
    assert told == {("1", 8.0)}


KIND = {"type": "enum", "name": "Kind", "symbols": ["car", "bike"]}
LEG = {"type": "record", "name": "Leg", "fields": [{"name": "km", "type": ["int", "string"]}]}
ROUTE = {
    "type": "record",
    "name": "Trip",
    "fields": [
        DAY,
        {"name": "by", "type": ["null", KIND, "string"]},
        {"name": "legs", "type": {"type": "array", "items": ["null", LEG, "double"]}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-nanos"}},
        {"name": "took", "type": {"type": "fixed", "name": "Span", "size": 12, "logicalType": "duration"}},
    ],
}


def test_unions_nanoseconds_and_durations_land_as_they_were_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member that is an enum too, whose symbols the decoder gives as a dictionary."""
    events = [
        {"by": ("Kind", "bike"), "legs": [None, 1.5, {"km": 7}], "at": 1, "took": b"\1\0\0\0" * 3},
        {"by": ("string", "foot"), "legs": [], "at": -(2**63), "took": b"\xff" * 12},
        {"by": None, "legs": [{"km": "far"}], "at": 2**63 - 1, "took": bytes(12)},
    ]
    Fixture(monkeypatch, str(tmp_path), [value(1, ROUTE, **event) for event in events], schemas={1: ROUTE}).run_once()
    found = rows(tmp_path, "by", "legs", "at", "took")
    assert [row["by"] for row in found] == [{"Kind": "bike", "string": None}, {"Kind": None, "string": "foot"}, None]
    assert found[0]["legs"] == [
        None,
        {"Leg": None, "double": 1.5},
        {"Leg": {"km": {"int": 7, "string": None}}, "double": None},
    ]
    assert [row["at"] for row in found] == [1, -(2**63), 2**63 - 1]
    assert [row["took"]["months"] for row in found] == [1, 2**32 - 1, 0]


def test_a_field_that_was_widened_goes_on_landing_by_the_schema_to_read_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it the table, made of the older events, would be in the way of the newer ones."""
    old = {"type": "record", "name": "Trip", "fields": [DAY, {"name": "id", "type": "int"}]}
    values = [value(1, old, id=5), value(2, TRIP, id=2**40)]
    Fixture(monkeypatch, str(tmp_path), values, schemas={1: old, 2: TRIP}, reader_schema=TRIP).run_once()
    assert [row["id"] for row in rows(tmp_path, "id")] == [5, 2**40]


def test_a_table_without_events_has_the_columns_of_the_schema_to_read_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = TRIP | {"fields": [*TRIP["fields"], {"name": "note", "type": "string", "default": ""}]}
    Fixture(monkeypatch, str(tmp_path), [], schemas={1: TRIP}, reader_schema=reader)
    names = DeltaTable(str(tmp_path / "trips")).to_pyarrow_table().schema.names
    assert {"day", "id", "note"} <= set(names)
