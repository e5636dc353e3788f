"""A short history of a table, told in the events that our announcer would send: the tests' common ground.

flights: created (0), landings (1-4), compaction (5), landing (6), restore to 3 (7), landing (8).
flights.quarantine: created (0), settled from flights 2 (1). A Spark job reads flights 6 and makes delays 1.
"""

import functools
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lineage.events import read_event
from lineage.intake import Received
from lineage.store import Store
from schemas.openlineage import TableContext, encode, events_for, run_id
from thalweg.tables.log import LogEntry, parse_entry

TABLE_ID = "11111111-2222-3333-4444-555555555555"
QUARANTINE_ID = "66666666-2222-3333-4444-555555555555"
TOPIC_ID = "bXkgdG9waWMgaWQgMTYgYg"
TOPIC = "dataset:kafka://kafka:9092/flights"
FLIGHTS = "dataset:file//data/flights"
QUARANTINE = "dataset:file//data/flights.quarantine"
DELAYS = "dataset:file//data/delays"
LANDING = "job:thalweg/flights.ingest.landing"
SETTLE = "job:thalweg/flights.quarantine.settle"
SPARK_RUN = "0197a2c4-0000-7000-8000-000000000001"
START_MS = 1_700_000_000_000

_SCHEMA = json.dumps(
    {
        "type": "struct",
        "fields": [
            {"name": name, "type": kind, "nullable": True, "metadata": {}}
            for name, kind in {"date": "date", "carrier": "string", "_offset": "long"}.items()
        ],
    }
)
_FLIGHTS = TableContext(
    "thalweg", "kafka:9092", "flights", "/data/flights", TABLE_ID, _SCHEMA, "ops", "Departures", "date", ("time_hour",)
)
_QUARANTINE = TableContext(
    "thalweg", "kafka:9092", "flights.quarantine", "/data/flights.quarantine", QUARANTINE_ID, owner="ops"
)


def entry(version: int, info: Mapping[str, Any], *actions: Mapping[str, Any]) -> LogEntry:
    """One commit of the log, a second after the one before."""
    told = {"timestamp": START_MS + version * 1000, "engineInfo": "delta-rs:py-1.6.3", **info}
    return parse_entry(version, b"\n".join(json.dumps(line).encode() for line in ({"commitInfo": told}, *actions)))


def add(rows: int, date: str = "2013-01-01") -> dict[str, Any]:
    """An added file."""
    stats = json.dumps({"numRecords": rows})
    return {"add": {"path": "f.parquet", "size": 10 * rows, "partitionValues": {"date": date}, "stats": stats}}


def landing(
    version: int, first: int, end: int, *, quarantined: int = 0, topic_id: str = TOPIC_ID, date: str = "2013-01-01"
) -> LogEntry:
    """A landing of one partition's offsets."""
    landed = end - first - quarantined
    span = {"topic": "flights", "topic_id": topic_id, "partition": 0, "first": first, "next": end}
    info = {
        "operation": "WRITE",
        "thalweg.format": 1,
        "thalweg.dataset": "flights",
        "thalweg.spans": [span | {"landed": landed, "quarantined": quarantined, "filtered": 0}],
        "thalweg.schema_ids": [1],
        "thalweg.writer": "host:1:abc",
    }
    return entry(version, info, add(landed, date))


def flights(log_entry: LogEntry) -> list[bytes]:
    """Events of one commit to flights."""
    return [encode(event) for event in events_for(log_entry, _FLIGHTS)]


def quarantine(log_entry: LogEntry) -> list[bytes]:
    """Events of one commit to flights.quarantine."""
    return [encode(event) for event in events_for(log_entry, _QUARANTINE)]


def spark(state: str = "COMPLETE") -> bytes:
    """What a Spark job might send that reads flights at version 6 and writes version 1 of another table."""

    def dataset(name: str, version: int) -> dict[str, Any]:
        facet = {"_producer": "urn:spark", "_schemaURL": "urn:x", "datasetVersion": str(version)}
        return {"namespace": "file", "name": name, "facets": {"version": facet}}

    return json.dumps(
        {
            "eventType": state,
            "eventTime": "2023-11-14T23:00:00Z",
            "producer": "urn:spark",
            "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
            "run": {"runId": SPARK_RUN, "facets": None},
            "job": {"namespace": "spark", "name": "delays"},
            "inputs": [dataset("/data/flights", 6)],
            "outputs": [dataset("/data/delays", 1)],
        }
    ).encode()


def story() -> list[bytes]:
    """The whole history, in order."""
    settled = {"txn": {"appId": f"thalweg/flights/{TABLE_ID}/quarantine", "version": 2}}
    return [
        *flights(entry(0, {"operation": "CREATE TABLE"})),
        *flights(landing(1, 0, 100)),
        *flights(landing(2, 100, 200, quarantined=3)),
        *quarantine(entry(0, {"operation": "CREATE TABLE"})),
        *quarantine(entry(1, {"operation": "WRITE", "thalweg.settled": "flights"}, settled, add(3))),
        *flights(landing(3, 200, 300)),
        *flights(landing(4, 300, 400)),
        *flights(entry(5, {"operation": "OPTIMIZE"}, add(397))),
        *flights(landing(6, 400, 500, date="2013-01-02")),
        spark(),
        *flights(entry(7, {"operation": "RESTORE", "operationParameters": {"version": "3"}})),
        *flights(landing(8, 500, 600)),
    ]


def received(raws: list[bytes]) -> list[Received]:
    """The same as the collector hands them to the store."""
    return [Received(read_event(raw), f"topic/0/{number}", raw) for number, raw in enumerate(raws)]


def version_run(version: int) -> str:
    """Id of the run that made a version of flights."""
    return run_id(TABLE_ID, version)


@functools.cache
def database() -> bytes:
    """An SQLite store that holds the story: made once, copied by each test that wants it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lineage.db"
        with Store(f"sqlite:///{path}") as store:
            store.take(received(story()))
        return path.read_bytes()
