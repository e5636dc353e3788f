"""Version events: what they say of a log entry, and how they travel."""

import io
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

import fastavro
import pytest

from schemas import wire
from schemas.events import (
    AVRO,
    GAP,
    EventCodec,
    VersionCommitted,
    event_id,
    from_log_entry,
    gap_event,
    schema_fingerprint,
)
from tests.announcer_world import entry
from thalweg.errors import ConfigurationError, SchemaNotFound
from thalweg.tables.log import AddedFile, LogEntry, RemovedFile
from thalweg.tables.spans import Span

TABLE = "c08f8375-0a41-4323-9dd9-c7adcb8a293d"
SCHEMA = '{"type":"struct","fields":[{"name":"x","type":"long","nullable":true,"metadata":{}}]}'
SPAN = {
    "topic": "t",
    "topic_id": "AAA",
    "partition": 3,
    "first": 5,
    "next": 9,
    "landed": 2,
    "quarantined": 1,
    "filtered": 0,
}


class Schemas:
    """A registry in memory."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.subjects: list[str] = []

    def register(self, subject: str, schema: str) -> int:
        """Remember it."""
        self.subjects.append(subject)
        if schema not in self.texts:
            self.texts.append(schema)
        return self.texts.index(schema) + 1

    def schema(self, schema_id: int) -> str:
        """Give it back."""
        if not 0 < schema_id <= len(self.texts):
            raise SchemaNotFound(f"no schema {schema_id}")
        return self.texts[schema_id - 1]


def log_entry(**changes: Any) -> LogEntry:
    """A landing of two files, one of them with a null date."""
    fields: dict[str, Any] = {
        "version": 7,
        "timestamp_ms": 1_357_016_400_123,
        "operation": "WRITE",
        "info": {"thalweg.format": 1, "thalweg.spans": [SPAN], "thalweg.schema_ids": [4], "thalweg.writer": "h:1:u"},
        "added": (
            AddedFile("a", 100, 10, {"date": "2013-01-02"}, True),
            AddedFile("b", 50, 1, {"date": None}, True),
        ),
        "removed": (),
        "schema": None,
        "table_id": None,
        "configuration": None,
        "transactions": {},
    }
    return LogEntry(**{**fields, **changes})


def event_of(found: LogEntry, schema_before: str = "before") -> VersionCommitted:
    """Its event, in the dataset `d`."""
    return from_log_entry(
        found, dataset="d", uri="/t/d", table_id=TABLE, schema_before=schema_before, partition_column="date"
    )


def test_an_event_says_what_its_log_entry_says() -> None:
    assert event_of(log_entry()) == VersionCommitted(
        event_id=uuid5(UUID(TABLE), "7"),
        dataset="d",
        table_uri="/t/d",
        table_id=TABLE,
        version=7,
        committed_at=datetime(2013, 1, 1, 5, 0, 0, 123_000, UTC),
        operation="WRITE",
        data_change=True,
        rows_added=11,
        rows_removed=0,
        files_added=2,
        bytes_added=150,
        bytes_removed=0,
        dates=("2013-01-02", "__HIVE_DEFAULT_PARTITION__"),
        schema_fingerprint="before",
        spans=(Span("t", "AAA", 3, 5, 9, 2, 1, 0),),
        schema_ids=(4,),
        writer="h:1:u",
    )


def test_rows_that_a_file_does_not_tell_are_unknown_not_zero() -> None:
    unknown = log_entry(
        added=(AddedFile("a", 1, None, {}, True),), removed=(RemovedFile("b", None, None, {}, True),), info={}
    )
    event = event_of(unknown)
    assert (event.rows_added, event.rows_removed, event.bytes_removed) == (None, None, None)
    assert (event.files_added, event.files_removed) == (1, 1)


def test_a_compaction_changes_no_data() -> None:
    moved = log_entry(
        added=(AddedFile("a", 1, 1, {}, False),), removed=(RemovedFile("b", 1, None, {}, False),), operation="OPTIMIZE"
    )
    assert not event_of(moved).data_change


def test_an_entry_with_metadata_brings_its_own_id_and_schema() -> None:
    event = event_of(log_entry(schema=SCHEMA, table_id="other"))
    assert (event.table_id, event.event_id) == ("other", event_id("other", "7"))
    assert event.schema_fingerprint == schema_fingerprint(SCHEMA)
    assert event.schema_changed


def test_metadata_that_sets_the_same_schema_is_no_change_of_schema() -> None:
    """A new table property rewrites metaData; engines differ in key order and white space."""
    reordered = json.dumps(json.loads(SCHEMA), indent=2, sort_keys=True)
    assert not event_of(log_entry(schema=reordered), schema_fingerprint(SCHEMA)).schema_changed


@pytest.mark.parametrize(
    ("info", "writer"),
    [
        ({"engineInfo": "Apache-Spark/4.0.0 Delta-Lake/4.0.0"}, "Apache-Spark/4.0.0 Delta-Lake/4.0.0"),
        ({"clientVersion": "delta-rs.0.29"}, "delta-rs.0.29"),
        ({}, None),
    ],
)
def test_a_foreign_commit_names_its_engine(info: dict[str, str], writer: str | None) -> None:
    event = event_of(log_entry(info=info))
    assert (event.writer, event.spans, event.schema_ids) == (writer, (), ())


def test_a_gap_names_its_ends() -> None:
    gap = gap_event(3, entry(9), dataset="d", uri="/t/d", table_id=TABLE, schema_before="f")
    assert (gap.kind, gap.gap_from, gap.gap_to, gap.version) == (GAP, 3, 8, 8)
    assert gap.event_id != event_of(log_entry(version=8)).event_id


def test_a_table_id_that_is_no_uuid_gives_ids_too() -> None:
    assert event_id("seven", "1") == event_id("seven", "1") != event_id("eight", "1")


def test_the_codec_registers_once_and_reads_back_what_it_wrote() -> None:
    schemas = Schemas()
    codec = EventCodec(schemas, "thalweg.versions")
    event = event_of(log_entry())
    assert codec.decode(codec.encode(event)) == codec.decode(codec.encode(event)) == event
    assert schemas.subjects == ["thalweg.versions-value"]


def test_a_reader_skips_what_a_newer_writer_added() -> None:
    newer = json.loads(AVRO)
    newer["fields"].append({"name": "mood", "type": ["null", "string"], "default": None})
    newer["fields"].sort(key=lambda field: field["name"])  # order is the writer's business
    schemas = Schemas()
    written = _write(schemas, json.dumps(newer), {**event_of(log_entry()).model_dump(), "mood": "sunny"})
    assert EventCodec(schemas, "v").decode(written) == event_of(log_entry())


def test_a_reader_fills_in_what_an_older_writer_did_not_know() -> None:
    older = json.loads(AVRO)
    older["fields"] = [field for field in older["fields"] if "default" not in field]
    schemas = Schemas()
    event = EventCodec(schemas, "v").decode(_write(schemas, json.dumps(older), event_of(log_entry()).model_dump()))
    assert (event.version, event.kind, event.dates, event.rows_added) == (7, "COMMITTED", (), None)


@pytest.mark.parametrize(
    "value",
    [None, b"", b"\x00\x00", b"\x01\x00\x00\x00\x01rest", b"{}", wire.frame(1, b""), wire.frame(1, b"\xff" * 40)],
)
def test_a_record_that_is_no_event_is_refused_with_a_remedy(value: bytes | None) -> None:
    schemas = Schemas()
    codec = EventCodec(schemas, "thalweg.versions")
    codec.register()
    with pytest.raises(ConfigurationError, match=r"thalweg\.versions.*\n.*only announcers may write"):
        codec.decode(value)


def test_a_record_of_another_schema_is_refused() -> None:
    schemas = Schemas()
    written = _write(schemas, '{"type":"record","name":"Cart","fields":[{"name":"n","type":"int"}]}', {"n": 1})
    with pytest.raises(ConfigurationError, match="schema 1 that is no version event"):
        EventCodec(schemas, "v").decode(written)


def test_every_field_of_the_model_is_in_the_schema_and_documented_or_plain() -> None:
    names = [field["name"] for field in json.loads(AVRO)["fields"]]
    assert names == list(VersionCommitted.model_fields)


def _write(schemas: Schemas, schema: str, record: dict[str, Any]) -> bytes:
    body = io.BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(json.loads(schema)), record)
    return wire.frame(schemas.register("s", schema), body.getvalue())
