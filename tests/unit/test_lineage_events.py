"""Reading OpenLineage events from anybody: what is taken, what is refused and why."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openlineage.client import event_v2, facet_v2
from openlineage.client.serde import Serde

from lineage.events import MAX_EVENT_BYTES, Event, Refusal, read_event
from lineage.intake import Received
from lineage.store import Store
from tests.unit import lineage_story as told


def event(**changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(told.spark())
    return plain | changes


def read(content: Any) -> Event | Refusal:
    return read_event(json.dumps(content).encode())


def test_our_own_events_are_read() -> None:
    for raw in told.story():
        assert isinstance(read_event(raw), Event)


def test_events_of_the_official_client_are_read() -> None:
    theirs = event_v2.RunEvent(
        eventType=event_v2.RunState.COMPLETE,
        eventTime="2024-05-01T10:00:00.123456+02:00",
        producer="https://example.org/mine",
        run=event_v2.Run("0197a2c4-0000-7000-8000-000000000001"),
        job=event_v2.Job("ns", "job"),
        inputs=[
            event_v2.InputDataset(
                "s3://lake", "a", facets={"version": facet_v2.dataset_version_dataset.DatasetVersionDatasetFacet("7")}
            )
        ],
        outputs=[
            event_v2.OutputDataset(
                "file",
                "/b",
                outputFacets={
                    "outputStatistics": facet_v2.output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
                        rowCount=5, size=10
                    )
                },
            )
        ],
    )
    read_back = read_event(Serde.to_json(theirs).encode())
    assert isinstance(read_back, Event)
    assert read_back.time_ms == 1_714_550_400_123
    assert read_back.inputs[0].version == "7"
    assert read_back.outputs[0].output_facets.statistics.row_count == 5


def test_static_events_need_no_run() -> None:
    job = event()
    del job["run"]
    dataset = {"namespace": "file", "name": "/a"}
    for content in (job, {"eventTime": "2024-01-01T00:00:00Z", "producer": "urn:x", "dataset": dataset}):
        assert isinstance(read(content), Event)


def test_unknown_facets_and_nulls_are_passed_over() -> None:
    content = event(
        inputs=[{"namespace": "n", "name": "d", "facets": {"theirs": {"x": 1}, "schema": None}, "inputFacets": None}]
    )
    assert isinstance(read(content), Event)


def test_a_time_without_a_zone_is_utc() -> None:
    found = read(event(eventTime="2023-11-14T22:13:20"))
    assert isinstance(found, Event)
    assert found.time_ms == 1_700_000_000_000


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([], "not a JSON object"),
        ({"eventTime": "2024-01-01T00:00:00Z", "producer": "p"}, "neither a run event"),
        (event(job=None), "neither a run event"),
        (event(eventTime="yesterday"), "eventTime"),
        (event(run={"runId": "7"}), "run.runId"),
        (event(eventType="DONE"), "eventType"),
        (event(job={"namespace": "", "name": "x"}), "job.namespace"),
        (event(job={"namespace": "n", "name": "x" * 2000}), "job.name: Value error, has more than 1500 bytes"),
        (event(job={"namespace": "n\0", "name": "x"}), "NUL"),
        (event(job={"namespace": "n", "name": "\ud800"}), "job.name"),
        (event(outputs=[{"namespace": "n", "name": "d"}] * 10_001), "outputs"),
        (
            event(outputs=[{"namespace": "n", "name": "d", "outputFacets": {"outputStatistics": {"rowCount": 2**63}}}]),
            "rowCount",
        ),
        (
            event(outputs=[{"namespace": "n", "name": "d", "outputFacets": {"outputStatistics": {"rowCount": -1}}}]),
            "rowCount",
        ),
    ],
)
def test_a_wrong_event_is_refused_with_its_place(content: Any, reason: str) -> None:
    found = read(content)
    assert isinstance(found, Refusal)
    assert reason in found.reason


@pytest.mark.parametrize("raw", [b"", b"\xff\xfe", b"{", b"[" * 200_000, b'{"a":' * 100_000, b"1e999", b"NaN"])
def test_bytes_that_are_no_json_object_are_refused(raw: bytes) -> None:
    assert isinstance(read_event(raw), Refusal)


def test_an_event_that_is_too_large_is_not_parsed() -> None:
    found = read_event(b" " * (MAX_EVENT_BYTES + 1))
    assert isinstance(found, Refusal)
    assert str(MAX_EVENT_BYTES) in found.reason


def test_the_reason_stays_short_however_much_is_wrong() -> None:
    found = read(event(inputs=[{"namespace": 1, "name": 2}] * 5000))
    assert isinstance(found, Refusal)
    assert len(found.reason) < 1000


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
places = st.lists(st.integers(0, 5), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path_factory.mktemp('any')}/lineage.db") as opened:
        yield opened


@given(place=places, value=json_values)
def test_any_value_anywhere_is_taken_or_refused_and_never_raises(store: Store, place: list[int], value: Any) -> None:
    content = json.loads(told.flights(told.landing(1, 0, 9))[1])
    at: Any = content
    for step in place[:-1]:
        keys = list(at) if isinstance(at, dict) else list(range(len(at))) if isinstance(at, list) else []
        if not keys or not isinstance(at[keys[step % len(keys)]], (dict, list)):
            break
        at = at[keys[step % len(keys)]]
    keys = list(at) if isinstance(at, dict) else list(range(len(at)))
    if keys:
        at[keys[place[-1] % len(keys)]] = value
    raw = json.dumps(content).encode()
    found = read_event(raw)
    taken = store.take([Received(found, raw.decode(), raw)])
    if isinstance(found, Event):
        assert taken.refused == 0  # what is read can be stored: the database never meets what it cannot keep


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_and_never_raise(raw: bytes) -> None:
    assert isinstance(read_event(raw), Refusal)
