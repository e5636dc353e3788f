"""The lineage store on SQLite: what it keeps, that it keeps it once, and what it answers."""

import json
import random
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from lineage import layout, nodes, offsets, questions
from lineage.events import read_event
from lineage.intake import REFUSED_KEPT, Position, Received
from lineage.store import Store
from lineage.trace import graph, trace_version
from tests.unit import lineage_story as told
from thalweg.errors import ConfigurationError, DatasetNotFound, NotFound, StorageUnavailable, VersionNotFound


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path}/lineage.db") as opened:
        yield opened


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Store]:
    (tmp_path / "full.db").write_bytes(told.database())
    with Store(f"sqlite:///{tmp_path}/full.db") as opened:
        yield opened


def contents(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table."""
    with store.reading() as connection:
        return {
            table.name: sorted(map(tuple, connection.execute(select(table))), key=repr)
            for table in layout.metadata.sorted_tables
        }


def test_every_event_of_the_story_is_taken(store: Store) -> None:
    taken = store.take(told.received(told.story()))
    assert (taken.stored, taken.known, taken.refused) == (len(told.story()), 0, 0)


def test_the_same_events_again_change_nothing(full: Store) -> None:
    before = contents(full)
    taken = full.take(told.received(told.story()))
    assert taken.stored == 0
    assert taken.known == len(told.story())
    assert contents(full) == before


def test_events_in_any_order_tell_the_same(full: Store, tmp_path: Path) -> None:
    """A topic with several partitions, or senders over HTTP, keep no order. Ids differ; answers do not."""
    asked = {"depth": 9}
    with full.reading() as connection:
        expected = [
            trace_version(connection, nodes.find(connection, "flights"), 8, "upstream", **asked),
            questions.describe_dataset(connection, nodes.find(connection, "flights")),
            questions.describe_run(connection, told.version_run(2)),
        ]
    for seed in range(5):
        raws = told.story()
        random.Random(seed).shuffle(raws)
        with Store(f"sqlite:///{tmp_path}/{seed}.db") as other:
            other.take(told.received(raws))
            with other.reading() as connection:
                found = [
                    trace_version(connection, nodes.find(connection, "flights"), 8, "upstream", **asked),
                    questions.describe_dataset(connection, nodes.find(connection, "flights")),
                    questions.describe_run(connection, told.version_run(2)),
                ]
        for answer in (found[0], expected[0]):
            answer["steps"].sort(key=lambda step: str(step["job"]))
        assert found == expected


def test_one_batch_or_many_end_the_same(full: Store, tmp_path: Path) -> None:
    with Store(f"sqlite:///{tmp_path}/single.db") as other:
        for one in told.received(told.story()):
            other.take([one])
        with full.reading() as here, other.reading() as there:
            assert graph(here, None, "both", depth=5) == graph(there, None, "both", depth=5)


def test_a_restart_keeps_everything(full: Store, tmp_path: Path) -> None:
    before = contents(full)
    full.close()
    with Store(f"sqlite:///{tmp_path}/full.db") as again:
        assert contents(again) == before


def test_what_a_version_was_made_from_follows_a_restore(full: Store) -> None:
    with full.reading() as connection:
        answer = trace_version(connection, nodes.find(connection, "flights"), 8, "upstream", depth=5)
    assert answer["made"]["spans"][0]["first"] == 500
    (cumulative,) = answer["offsets"]
    # 0-300 from versions 1-3, 500-600 from version 8; what the restore undid (300-500) does not count.
    assert (cumulative["first"], cumulative["next"], cumulative["landings"]) == (0, 600, 4)
    assert (cumulative["landed"], cumulative["quarantined"]) == (397, 3)
    steps = {step["job"]: step for step in answer["steps"]}
    assert steps[told.LANDING]["runs"] == 4
    assert steps[told.LANDING]["other"] == told.TOPIC
    assert "job:thalweg/flights.optimize" not in steps
    assert steps["job:thalweg/flights.restore"]["other_versions"] == {"first": 3, "last": 3}


def test_the_newest_version_is_meant_when_none_is_named(full: Store) -> None:
    with full.reading() as connection:
        node = nodes.find(connection, "flights")
        assert trace_version(connection, node, None, "upstream", depth=1)["version"] == 8


def test_upstream_of_another_jobs_table_goes_through_to_the_offsets(full: Store) -> None:
    with full.reading() as connection:
        answer = trace_version(connection, nodes.find(connection, told.DELAYS), 1, "upstream", depth=5)
    (step,) = answer["steps"]
    assert (step["job"], step["other"]) == ("job:spark/delays", told.FLIGHTS)
    assert step["trace"]["version"] == 6
    assert step["trace"]["offsets"][0]["next"] == 500


def test_a_depth_of_one_table_stops_there(full: Store) -> None:
    with full.reading() as connection:
        answer = trace_version(connection, nodes.find(connection, told.DELAYS), 1, "upstream", depth=1)
    assert "trace" not in answer["steps"][0]


@pytest.mark.parametrize(
    ("version", "kept_in", "dependents"),
    [
        (1, [{"first": 1, "last": 8}], {told.QUARANTINE, told.DELAYS}),
        (2, [{"first": 2, "last": 8}], {told.QUARANTINE, told.DELAYS}),
        (3, [{"first": 3, "last": 8}], {told.DELAYS}),
        (4, [{"first": 4, "last": 6}], {told.DELAYS}),  # the restore to 3 undid it; Spark had read it before
        (7, [{"first": 7, "last": 8}], set()),
    ],
)
def test_what_depends_on_a_version(
    full: Store, version: int, kept_in: list[dict[str, int]], dependents: set[str]
) -> None:
    with full.reading() as connection:
        answer = trace_version(connection, nodes.find(connection, "flights"), version, "downstream", depth=5)
    assert answer["kept_in"] == kept_in
    assert {step["other"] for step in answer["steps"]} == dependents


def test_tables_that_feed_each_other_end_the_trace(store: Store) -> None:
    event = json.loads(told.spark())
    back = {**event, "run": {"runId": told.SPARK_RUN.replace("1", "2")}, "job": {"namespace": "spark", "name": "back"}}
    back["inputs"], back["outputs"] = event["outputs"], event["inputs"]
    store.take(told.received([json.dumps(event).encode(), json.dumps(back).encode()]))
    with store.reading() as connection:
        for direction in ("upstream", "downstream"):
            node = nodes.find(connection, told.DELAYS)
            answer = trace_version(connection, node, 1, direction, depth=50)
            assert answer["steps"][0]["trace"]["steps"][0].get("trace") is None


@pytest.mark.parametrize(
    ("offset", "version", "verdict"), [(0, 1, "landed"), (99, 1, "landed"), (150, 2, "mixed"), (599, 8, "landed")]
)
def test_the_version_that_holds_an_offset(full: Store, offset: int, version: int, verdict: str) -> None:
    with full.reading() as connection:
        answer = offsets.holders(connection, "flights", 0, offset)
    (holder,) = answer["holders"]
    assert (holder["node"], holder["version"], holder["verdict"]) == (told.FLIGHTS, version, verdict)


def test_an_offset_that_was_not_read_yet_is_held_by_nothing(full: Store) -> None:
    with full.reading() as connection:
        assert offsets.holders(connection, "flights", 0, 600)["holders"] == []
        assert offsets.holders(connection, "flights", 1, 5)["holders"] == []


def test_a_recreated_topics_offsets_are_told_apart(full: Store) -> None:
    second = "YW5vdGhlciB0b3BpYyBpZA"
    full.take(told.received(told.flights(told.landing(9, 0, 50, topic_id=second))))
    with full.reading() as connection:
        held = offsets.holders(connection, "flights", 0, 10)["holders"]
    assert [(holder["version"], holder["span"]["topic_id"]) for holder in held] == [(1, told.TOPIC_ID), (9, second)]


def test_the_graph_leads_from_the_topic_to_the_quarantine(full: Store) -> None:
    with full.reading() as connection:
        whole = graph(connection, nodes.find(connection, "topic:flights"), "downstream", depth=9)
        short = graph(connection, nodes.find(connection, "topic:flights"), "downstream", depth=2)
        up = graph(connection, nodes.find(connection, "flights.quarantine"), "upstream", depth=9)
    edges = {(edge["source"], edge["target"]) for edge in whole["edges"]}
    assert {(told.TOPIC, told.LANDING), (told.LANDING, told.FLIGHTS), (told.FLIGHTS, told.SETTLE)} <= edges
    assert (told.SETTLE, told.QUARANTINE) in edges
    assert {node["id"] for node in short["nodes"]} == {told.TOPIC, told.LANDING, told.FLIGHTS}
    assert short["is_cut"]
    assert not whole["is_cut"]
    assert {told.TOPIC, told.FLIGHTS} <= {node["id"] for node in up["nodes"]}
    assert told.DELAYS not in {node["id"] for node in up["nodes"]}
    kinds = {node["id"]: node["kind"] for node in whole["nodes"]}
    assert [kinds[node] for node in (told.TOPIC, told.LANDING, told.FLIGHTS, told.QUARANTINE, told.DELAYS)] == [
        "topic",
        "streaming",
        "table",
        "quarantine",
        "table",
    ]


def test_a_dataset_is_told_with_owner_columns_and_offsets(full: Store) -> None:
    with full.reading() as connection:
        table = questions.describe_dataset(connection, nodes.find(connection, "flights"))
        topic = questions.describe_dataset(connection, nodes.find(connection, "topic:flights"))
    assert (table["owner"], table["description"], table["table_id"]) == ("ops", "Departures", told.TABLE_ID)
    assert [column["name"] for column in table["columns"]] == ["date", "carrier", "_offset"]
    assert table["column_lineage"]["date"]["inputFields"][0]["field"] == "time_hour"
    assert (table["versions"], table["newest"]["version"]) == (9, "8")
    assert table["written_by"][:2] == ["job:thalweg/flights.create_table", told.LANDING]
    assert topic["read_by"] == [told.LANDING]
    assert (topic["offsets"][0]["next"], topic["offsets"][0]["landed"]) == (600, 597)


def test_versions_come_newest_first_and_page_by_page(full: Store) -> None:
    with full.reading() as connection:
        node = nodes.find(connection, "flights")
        first = questions.list_versions(connection, node, limit=5)
        second = questions.list_versions(connection, node, before=first["next"], limit=5)
    assert [v["number"] for v in first["versions"]] == [8, 7, 6, 5, 4]
    assert [v["number"] for v in second["versions"]] == [3, 2, 1, 0]
    assert second["next"] is None
    assert first["versions"][2]["dates"] == ["2013-01-02"]
    assert first["versions"][2]["spans"][0]["next"] == 500


def test_datasets_come_page_by_page(full: Store) -> None:
    with full.reading() as connection:
        first = questions.list_datasets(connection, limit=3)
        second = questions.list_datasets(connection, after=first["next"], limit=3)
    assert len({dataset["id"] for dataset in first["datasets"] + second["datasets"]}) == 4
    assert second["next"] is None


def test_a_run_is_told_with_its_worker_and_what_it_read(full: Store) -> None:
    with full.reading() as connection:
        run = questions.describe_run(connection, told.version_run(2))
    assert (run["job"], run["state"], run["engine"]) == (told.LANDING, "COMPLETE", "delta-rs 1.6.3")
    assert run["parent"] is not None
    assert run["inputs"] == [{"node": told.TOPIC, "version": None}]
    assert run["outputs"] == [{"node": told.FLIGHTS, "version": "2"}]
    assert [event["state"] for event in run["events"]] == ["START", "COMPLETE"]


def test_a_table_made_anew_at_the_same_place_begins_a_new_history(full: Store) -> None:
    again = [raw.replace(told.TABLE_ID.encode(), b"new-table-id") for raw in told.flights(told.landing(1, 600, 700))]
    event = json.loads(again[1])
    event["eventTime"] = "2024-01-01T00:00:00Z"
    event["run"]["runId"] = told.SPARK_RUN.replace("1", "3")
    full.take(told.received([json.dumps(event).encode()]))
    with full.reading() as connection:
        node = nodes.find(connection, "flights")
        assert [v["number"] for v in questions.list_versions(connection, node)["versions"]] == [1]
        assert trace_version(connection, node, 1, "upstream", depth=1)["offsets"][0]["first"] == 600


@pytest.mark.parametrize(
    "name", ["flights", "/data/flights", "/data/flights/", "file//data/flights", "dataset:file//data/flights"]
)
def test_a_dataset_answers_to_several_names(full: Store, name: str) -> None:
    with full.reading() as connection:
        assert nodes.find(connection, name).key == told.FLIGHTS


def test_unknown_names_say_what_to_do(full: Store) -> None:
    with full.reading() as connection:
        with pytest.raises(DatasetNotFound, match="'fligths'"):
            nodes.find(connection, "fligths")
        with pytest.raises(NotFound, match="'job:thalweg/x'"):
            nodes.find(connection, "job:thalweg/x")
        with pytest.raises(VersionNotFound, match="version 99"):
            trace_version(connection, nodes.find(connection, "flights"), 99, "upstream", depth=1)
        with pytest.raises(NotFound, match="no run"):
            questions.describe_run(connection, "nope")


def test_a_name_that_two_topics_have_must_be_given_in_full(full: Store) -> None:
    elsewhere = [raw.replace(b"kafka:9092", b"other:9092") for raw in told.flights(told.landing(9, 0, 1))]
    full.take(told.received(elsewhere))
    with full.reading() as connection, pytest.raises(ConfigurationError, match="kafka://other:9092/flights"):
        nodes.find(connection, "topic:flights")


def test_positions_are_kept_with_what_was_read_and_never_go_back(store: Store) -> None:
    batch = told.received(told.story())
    store.take(batch[:3], [Position("t", 0, 3)])
    store.take(batch[3:], [Position("t", 0, 9), Position("t", 1, 4)])
    store.take(batch[:1], [Position("t", 0, 5)])  # a reader that lost its partition
    assert store.positions("t") == {0: 9, 1: 4}
    assert store.positions("another topic") == {}


def test_a_batch_that_fails_leaves_neither_rows_nor_position(store: Store) -> None:
    class Torn(Exception):
        pass

    class Clock:
        def now_ms(self) -> int:
            raise Torn

    before = contents(store)
    store._clock = Clock()  # type: ignore[assignment]  # the first thing that a write does inside its transaction
    with pytest.raises(Torn):
        store.take(told.received(told.story()), [Position("t", 0, 3)])
    assert contents(store) == before


def test_a_bad_event_is_set_aside_and_its_neighbours_are_stored(store: Store) -> None:
    raws = [told.story()[2], b"\xff not json \x00", b'{"eventTime": 5}', told.story()[3]]
    taken = store.take(told.received(raws), [Position("t", 0, 4)])
    assert (taken.stored, taken.refused) == (2, 2)
    assert store.positions("t") == {0: 4}
    with store.reading() as connection:
        refused = questions.list_refused(connection)["refused"]
    assert [each["source"] for each in refused] == ["topic/0/2", "topic/0/1"]
    assert "producer: Field required" in refused[0]["reason"]
    assert "not json" in refused[1]["body"]


def test_an_event_that_the_database_refuses_costs_only_itself(store: Store) -> None:
    """Made by hand, as the checks before the database let nothing of the kind through."""
    raws = told.story()[:4]
    batch = told.received(raws)
    broken = read_event(raws[0])
    object.__setattr__(broken, "producer", None)
    batch[1] = Received(broken, "topic/0/bad", raws[1])
    taken = store.take(batch)
    assert (taken.stored, taken.refused) == (3, 1)


def test_refused_events_are_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lineage.intake.REFUSED_KEPT", 10)
    for batch in range(5):
        store.take([Received(read_event(b"x"), f"{batch}/{number}", b"x") for number in range(8)])
    with store.reading() as connection:
        refused = questions.list_refused(connection, limit=1000)["refused"]
    assert len(refused) == 10
    assert refused[0]["source"] == "4/7"
    assert REFUSED_KEPT > 10


def test_threads_read_while_another_writes(store: Store) -> None:
    faults: list[Exception] = []
    done = threading.Event()

    def read() -> None:
        try:
            while not done.is_set():
                with store.reading() as connection:
                    graph(connection, None, "both", depth=3)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test tells it
            faults.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for one in told.received(told.story()):
            store.take([one])
    finally:
        done.set()
        for reader in readers:
            reader.join()
    assert faults == []


def test_two_writers_take_turns(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/lineage.db"
    batch = told.received(told.story())
    with Store(url) as first, Store(url) as second:
        writers = [threading.Thread(target=lambda s=each: [s.take([one]) for one in batch]) for each in (first, second)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        with first.reading() as connection:
            assert len(questions.list_versions(connection, nodes.find(connection, "flights"))["versions"]) == 9


def test_a_store_of_a_newer_layout_is_refused(store: Store, tmp_path: Path) -> None:
    store.close()
    with sqlite3.connect(tmp_path / "lineage.db") as database:
        database.execute("UPDATE thalweg_layout SET version = 99")
    database.close()
    with pytest.raises(ConfigurationError, match="layout 99"):
        Store(f"sqlite:///{tmp_path}/lineage.db")


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "other.db") as database:
        database.execute("CREATE TABLE jobs (id int)")
    database.close()
    with pytest.raises(ConfigurationError, match="jobs"):
        Store(f"sqlite:///{tmp_path}/other.db")


@pytest.mark.parametrize("url", ["nonsense", "mysql://host/db", "sqlite://", "sqlite:///:memory:"])
def test_a_url_that_cannot_be_a_store_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"lineage\.store"):
        Store(url)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.db").write_text("these are my notes, not a database\n" * 100)
    with pytest.raises(StorageUnavailable, match="not a database"):
        Store(f"sqlite:///{tmp_path}/notes.db")


def test_a_postgresql_that_does_not_answer_is_named_without_its_password() -> None:
    with pytest.raises(StorageUnavailable) as caught:
        Store("postgresql://thalweg:secret@127.0.0.1:1/lineage")
    assert "127.0.0.1:1" in str(caught.value)
    assert "secret" not in str(caught.value)
