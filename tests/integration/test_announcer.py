"""The announcer as a process, on a real broker and real tables."""

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid5

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake

from schemas.events import GAP
from tests.announcer_process import AnnouncerProcess, declare, eventually, told
from thalweg.settings import Settings
from thalweg.streams.clients import consumer, topics
from thalweg.streams.feed import Feed

pytestmark = pytest.mark.slow

ROWS = pa.table({"date": ["2013-01-01", "2013-01-02"], "x": [1, 2]})


@pytest.fixture
def announcing(settings: Settings) -> Iterator[AnnouncerProcess]:
    """One announcer."""
    with AnnouncerProcess(settings) as process:
        yield process


def wait_for(settings: Settings, dataset: str, count: int) -> None:
    """Until so many events are announced."""
    log = settings.home / "announcer.log"
    eventually(
        lambda: (settings.home / "announcer.log").exists() and _count(settings, dataset) >= count,
        why=lambda: f"{_count(settings, dataset)} of {count}: {log.read_text()[-3000:]}",
    )


def _count(settings: Settings, dataset: str) -> int:
    return len(told(settings, dataset))


def test_commits_of_anybody_are_announced_as_what_they_are(settings: Settings, announcing: AnnouncerProcess) -> None:
    uri = declare(settings, "flights")
    write_deltalake(uri, ROWS, partition_by=["date"])
    write_deltalake(
        uri, ROWS, mode="append", commit_properties=CommitProperties(custom_metadata={"thalweg.tags": ["gold"]})
    )
    table = DeltaTable(uri)
    table.optimize.compact()
    table.delete("x = 1")
    write_deltalake(uri, ROWS.append_column("y", pa.array([1, 2])), mode="overwrite", schema_mode="overwrite")
    table.update_incremental()
    table.restore(0)
    wait_for(settings, "flights", 6)

    events = told(settings, "flights")
    table_id = str(DeltaTable(uri).metadata().id)
    assert [e.version for e in events] == list(range(6))
    assert [e.operation for e in events] == ["WRITE", "WRITE", "OPTIMIZE", "DELETE", "WRITE", "RESTORE"]
    assert [e.data_change for e in events] == [True, True, False, True, True, True]
    assert [e.schema_changed for e in events] == [True, False, False, False, True, True]
    assert events[0].schema_fingerprint == events[5].schema_fingerprint != events[4].schema_fingerprint
    assert [e.event_id for e in events] == [uuid5(UUID(table_id), str(v)) for v in range(6)]
    assert events[1].dates == ("2013-01-01", "2013-01-02")
    assert events[3].dates == ("2013-01-01",)
    assert (events[1].rows_added, events[1].files_added, events[1].tags) == (2, 2, ("gold",))
    assert (events[2].files_added, events[2].files_removed) == (2, 4)
    assert {e.table_uri for e in events} == {uri}
    assert events[0].committed_at.timestamp() == pytest.approx(DeltaTable(uri).history()[-1]["timestamp"] / 1000)


def test_lineage_comes_with_each_version(settings: Settings, announcing: AnnouncerProcess) -> None:
    uri = declare(settings, "flights")
    write_deltalake(uri, ROWS, partition_by=["date"])
    wait_for(settings, "flights", 1)
    feed = Feed(settings.kafka, topics(settings.kafka).lineage, start="earliest", follow=False)
    runs = [json.loads(record.value or b"") for record in feed]
    feed.close()
    assert [run["eventType"] for run in runs] == ["START", "COMPLETE"]
    assert runs[0]["run"]["runId"] == runs[1]["run"]["runId"]
    assert [f["name"] for f in runs[1]["outputs"][0]["facets"]["schema"]["fields"]] == ["date", "x"]


def test_a_quarantine_table_is_announced_under_its_own_name(settings: Settings, announcing: AnnouncerProcess) -> None:
    uri = declare(settings, "flights")
    write_deltalake(uri + ".quarantine", ROWS, partition_by=["date"])
    wait_for(settings, "flights.quarantine", 1)
    assert told(settings, "flights") == []


def test_a_table_that_was_recreated_starts_anew(settings: Settings, announcing: AnnouncerProcess) -> None:
    uri = declare(settings, "flights")
    for _ in range(3):
        write_deltalake(uri, ROWS, mode="append", partition_by=["date"])
    wait_for(settings, "flights", 3)
    shutil.rmtree(uri)
    for _ in range(5):
        write_deltalake(uri, ROWS, mode="append", partition_by=["date"])
    wait_for(settings, "flights", 8)
    events = told(settings, "flights")
    assert [e.version for e in events] == [0, 1, 2, 0, 1, 2, 3, 4]
    assert len({e.table_id for e in events}) == 2
    assert len({e.event_id for e in events}) == 8


def test_a_log_cleaned_while_nobody_announced_is_a_gap(settings: Settings) -> None:
    uri = declare(settings, "flights")
    write_deltalake(uri, ROWS, partition_by=["date"])
    with AnnouncerProcess(settings) as first:
        wait_for(settings, "flights", 1)
        first.send(signal.SIGTERM)
        assert first.process.wait(30) == 0
    for _ in range(4):
        write_deltalake(uri, ROWS, mode="append")
    DeltaTable(uri).create_checkpoint()
    for version in range(4):
        (Path(uri) / "_delta_log" / f"{version:020}.json").unlink()
    with AnnouncerProcess(settings) as second:
        wait_for(settings, "flights", 3)
        events = told(settings, "flights")
        assert [(e.kind, e.version, e.gap_from, e.gap_to) for e in events[1:]] == [
            (GAP, 3, 1, 3),
            ("COMMITTED", 4, None, None),
        ]
        assert not events[2].schema_changed
        assert any("versions 1 to 3 were cleaned" in line["event"] for line in second.lines())
        assert 'thalweg_log_gaps_total{dataset="flights"} 1.0' in second.get("/metrics")


def test_a_stopped_announcer_hands_over_at_once(settings: Settings) -> None:
    """SIGTERM: it leaves the group, so that the other goes on without waiting for a session to expire."""
    uri = declare(settings, "flights")
    write_deltalake(uri, ROWS, partition_by=["date"])
    with AnnouncerProcess(settings) as first, AnnouncerProcess(settings, "second") as second:
        wait_for(settings, "flights", 1)
        eventually(lambda: _serves(first) and _serves(second))
        for process in (first, second):
            process.send(signal.SIGTERM)
            write_deltalake(uri, ROWS, mode="append")
            assert process.process.wait(30) == 0
        with AnnouncerProcess(settings, "third"):
            wait_for(settings, "flights", 3)
    assert [e.version for e in told(settings, "flights")] == [0, 1, 2]


def test_an_announcer_says_that_it_is_ready_and_counts(settings: Settings, announcing: AnnouncerProcess) -> None:
    uri = declare(settings, "flights")
    write_deltalake(uri, ROWS, partition_by=["date"])
    wait_for(settings, "flights", 1)
    eventually(lambda: _serves(announcing))
    metrics = announcing.get("/metrics")
    assert 'thalweg_versions_announced_total{dataset="flights"} 1.0' in metrics
    assert 'thalweg_announce_seconds_count{dataset="flights"} 1.0' in metrics


def test_any_consumer_with_a_stock_deserializer_reads_it(settings: Settings, announcing: AnnouncerProcess) -> None:
    from confluent_kafka.schema_registry import SchemaRegistryClient
    from confluent_kafka.schema_registry.avro import AvroDeserializer
    from confluent_kafka.serialization import MessageField, SerializationContext

    uri = declare(settings, "flights")
    write_deltalake(uri, ROWS, partition_by=["date"])
    wait_for(settings, "flights", 1)
    topic = topics(settings.kafka).versions
    reader = consumer(settings.kafka, "stock", auto_offset_reset="earliest")
    reader.subscribe([topic])
    try:
        record = reader.poll(30)
        assert record is not None
        with SchemaRegistryClient({"url": settings.registry.url}) as client:
            value = AvroDeserializer(client)(record.value(), SerializationContext(topic, MessageField.VALUE))
        assert (record.key(), value["dataset"], value["version"]) == (b"flights", "flights", 0)
    finally:
        reader.close()


def _serves(process: AnnouncerProcess) -> bool:
    try:
        return process.get("/readyz") == "ready\n"
    except (OSError, StopIteration):
        return False
