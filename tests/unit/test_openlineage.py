"""Our OpenLineage events: what they say, that they are always the same, and that OpenLineage's own client reads them."""

import importlib.resources
import json
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attr
import jsonschema  # type: ignore[import-untyped]  # its stubs are a package of their own; tests alone use it
import pytest
from openlineage.client import event_v2, facet_v2
from openlineage.client.generated import (
    column_lineage_dataset,
    data_quality_assertions_dataset,
    dataset_version_dataset,
    datasource_dataset,
    documentation_dataset,
    error_message_run,
    input_statistics_input_dataset,
    job_type_job,
    output_statistics_output_dataset,
    ownership_dataset,
    parent_run,
    processing_engine_run,
    schema_dataset,
    storage_dataset,
)
from openlineage.client.transport.kafka import KafkaTransport
from referencing import Registry, Resource

from schemas.openlineage import (
    TableContext,
    dates_of,
    encode,
    events_for,
    message_key,
    run_id,
    table_name,
    topic_name,
    worker_event,
    worker_run_id,
)
from thalweg.errors import BrokerUnavailable
from thalweg.tables.log import LogEntry, parse_entry

TOPIC_ID = "bXkgdG9waWMgaWQgMTYgYg"
WRITER = "host:42:7f3c"
OFFICIAL = {
    "columnLineage": column_lineage_dataset.ColumnLineageDatasetFacet,
    "dataQualityAssertions": data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet,
    "dataSource": datasource_dataset.DatasourceDatasetFacet,
    "documentation": documentation_dataset.DocumentationDatasetFacet,
    "errorMessage": error_message_run.ErrorMessageRunFacet,
    "inputStatistics": input_statistics_input_dataset.InputStatisticsInputDatasetFacet,
    "jobType": job_type_job.JobTypeJobFacet,
    "outputStatistics": output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet,
    "ownership": ownership_dataset.OwnershipDatasetFacet,
    "parent": parent_run.ParentRunFacet,
    "processing_engine": processing_engine_run.ProcessingEngineRunFacet,
    "schema": schema_dataset.SchemaDatasetFacet,
    "storage": storage_dataset.StorageDatasetFacet,
    "version": dataset_version_dataset.DatasetVersionDatasetFacet,
}
DELTA_SCHEMA = json.dumps(
    {
        "type": "struct",
        "fields": [
            {"name": name, "type": kind, "nullable": True, "metadata": {}}
            for name, kind in {
                "date": "date",
                "carrier": "string",
                "tags": {"type": "map", "keyType": "string", "valueType": "long", "valueContainsNull": True},
                "legs": {
                    "type": "array",
                    "containsNull": True,
                    "elementType": {
                        "type": "struct",
                        "fields": [{"name": "from", "type": "string", "nullable": True, "metadata": {}}],
                    },
                },
                "_offset": "long",
            }.items()
        ],
    }
)
CONTEXT = TableContext(
    namespace="thalweg",
    bootstrap="kafka-1:9092,kafka-2:9092",
    dataset="flights",
    uri="/data/flights",
    table_id="11111111-2222-3333-4444-555555555555",
    schema=DELTA_SCHEMA,
    owner="ops",
    description="Departures",
    partition_column="date",
    partition_fields=("time_hour",),
)


def entry(version: int, info: Mapping[str, Any], *actions: Mapping[str, Any]) -> LogEntry:
    lines = [{"commitInfo": {"timestamp": 1_700_000_000_123, "engineInfo": "delta-rs:py-1.6.3", **info}}, *actions]
    return parse_entry(version, b"\n".join(json.dumps(line).encode() for line in lines))


def add(date: str, rows: int | None, *, data_change: bool = True) -> dict[str, Any]:
    stats = {} if rows is None else {"stats": json.dumps({"numRecords": rows})}
    partition = {"date": date}
    return {
        "add": {
            "path": f"{date}.parquet",
            "size": 100,
            "partitionValues": partition,
            "dataChange": data_change,
            **stats,
        }
    }


def landing(version: int = 7, quarantined: int = 2) -> LogEntry:
    span = {"topic": "flights", "topic_id": TOPIC_ID, "partition": 3, "first": 10, "next": 20}
    counts = {"landed": 7, "quarantined": quarantined, "filtered": 0}
    info = {
        "operation": "WRITE",
        "thalweg.format": 1,
        "thalweg.dataset": "flights",
        "thalweg.spans": [span | counts],
        "thalweg.schema_ids": [4],
        "thalweg.writer": WRITER,
    }
    return entry(version, info, add("2013-01-02", 4), add("2013-01-01", 3))


def settle(version: int = 3) -> LogEntry:
    app = {"appId": f"thalweg/flights/{CONTEXT.table_id}/quarantine", "version": 7}
    return entry(version, {"operation": "WRITE", "thalweg.writer": WRITER}, {"txn": app}, add("2013-01-01", 2))


def quarantine_context() -> TableContext:
    return TableContext("thalweg", "kafka-1:9092", "flights.quarantine", "/data/flights.quarantine", "other-id")


FOREIGN = {
    "compaction": entry(8, {"operation": "OPTIMIZE"}, add("2013-01-01", 7, data_change=False)),
    "merge": entry(
        8, {"operation": "MERGE", "engineInfo": "Apache-Spark/4.0.0 Delta-Lake/4.0.0"}, add("2013-01-01", None)
    ),
    "delete": entry(8, {"operation": "DELETE"}),
    "restore": entry(8, {"operation": "RESTORE", "operationParameters": {"version": "5"}}),
    "overwrite": entry(8, {"operation": "WRITE", "operationParameters": {"mode": "Overwrite"}}, add("2013-01-01", 1)),
    "creation": entry(0, {"operation": "CREATE TABLE"}),
    "no commit info": entry(8, {}),
}


def everything() -> list[dict[str, Any]]:
    events = events_for(landing(), CONTEXT) + events_for(settle(), quarantine_context())
    for foreign in FOREIGN.values():
        events += events_for(foreign, CONTEXT)
    failure = BrokerUnavailable("no broker", "start one")
    facts: dict[str, Any] = {
        "namespace": "thalweg",
        "bootstrap": "kafka-1:9092",
        "dataset": "flights",
        "topics": ["flights"],
    }
    events.append(worker_event("FAIL", **facts, writer=WRITER, time_ms=1_700_000_000_000, error=failure))
    events.append(worker_event("START", **facts, writer=WRITER, time_ms=1_700_000_000_000))
    return events


def facets_in(event: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    holders = [event["run"].get("facets"), event["job"].get("facets")]
    for dataset in (*event["inputs"], *event["outputs"]):
        holders += [dataset.get("facets"), dataset.get("inputFacets"), dataset.get("outputFacets")]
    return [item for holder in holders if holder for item in holder.items()]


def official(kind: Any, value: Any) -> Any:
    """Build an object of OpenLineage's client from JSON, all the way down: an unknown or missing field is a TypeError."""
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        kinds = [k for k in typing.get_args(kind) if k is not type(None)]
        return None if value is None else official(kinds[0], value)
    if typing.get_origin(kind) is list:
        return [official(typing.get_args(kind)[0], each) for each in value]
    if typing.get_origin(kind) is dict:
        return {key: official(typing.get_args(kind)[1], each) for key, each in value.items()}
    if isinstance(kind, type) and attr.has(kind):
        attr.resolve_types(kind)
        fields = {field.name: field.type for field in attr.fields(kind)}
        return kind(**{name.lstrip("_"): official(fields[name], each) for name, each in value.items()})
    return value


def test_the_official_client_knows_every_facet_field_and_its_schema() -> None:
    seen = set()
    for event in everything():
        for name, facet in facets_in(event):
            if name.startswith("thalweg_"):
                continue
            seen.add(name)
            fields = {key: value for key, value in facet.items() if key not in ("_producer", "_schemaURL")}
            built = official(OFFICIAL[name], fields)
            assert facet["_schemaURL"] == built._schemaURL, name
    assert seen == set(OFFICIAL)


def test_the_official_client_accepts_every_event() -> None:
    for event in everything():
        built = event_v2.RunEvent(
            eventType=event_v2.RunState(event["eventType"]),
            eventTime=event["eventTime"],
            producer=event["producer"],
            run=event_v2.Run(**event["run"]),
            job=event_v2.Job(**event["job"]),
            inputs=[event_v2.InputDataset(**dataset) for dataset in event["inputs"]],
            outputs=[event_v2.OutputDataset(**dataset) for dataset in event["outputs"]],
        )
        assert built.schemaURL == event["schemaURL"]


def test_the_kafka_key_is_the_one_that_the_official_transport_gives() -> None:
    transport = KafkaTransport.__new__(KafkaTransport)  # its key needs no producer
    for event in everything():
        facets = dict(event["run"]["facets"])
        if "parent" in facets:
            parent = {k: v for k, v in facets["parent"].items() if not k.startswith("_")}
            facets["parent"] = official(facet_v2.parent_run.ParentRunFacet, parent)
        theirs = event_v2.RunEvent(
            eventTime=event["eventTime"],
            run=event_v2.Run(event["run"]["runId"], facets),
            job=event_v2.Job(event["job"]["namespace"], event["job"]["name"]),
        )
        assert message_key(event) == transport._get_run_message_key(theirs)


def test_events_of_other_kinds_have_keys_too() -> None:
    assert message_key({"dataset": {"namespace": "file", "name": "/a"}}) == "dataset:file//a"
    assert message_key({"job": {"namespace": "n", "name": "j"}}) == "job:n/j"


def own_facet_schemas() -> Registry[Any]:
    base = {
        "$defs": {
            name: {"required": ["_producer", "_schemaURL"]} for name in ("InputDatasetFacet", "OutputDatasetFacet")
        }
    }
    published = [
        json.loads(file.read_text())
        for file in Path(str(importlib.resources.files("schemas") / "openlineage")).glob("*.json")
    ]
    resources = [(schema["$id"], Resource.from_contents(schema)) for schema in published]
    home = {"$schema": "https://json-schema.org/draft/2020-12/schema", **base}
    resources.append(("https://openlineage.io/spec/2-0-2/OpenLineage.json", Resource.from_contents(home)))
    return Registry().with_resources(resources)


def test_our_own_facets_are_as_their_published_schemas_say() -> None:
    registry = own_facet_schemas()
    checked = set()
    for event in everything():
        for name, facet in facets_in(event):
            if name.startswith("thalweg_"):
                jsonschema.Draft202012Validator({"$ref": facet["_schemaURL"]}, registry=registry).validate(facet)
                checked.add(name)
    assert checked == {"thalweg_kafkaOffsets", "thalweg_tableVersion"}


def test_a_span_with_an_unknown_key_breaks_our_schema() -> None:
    """The schema can say no: otherwise the test above proves nothing."""
    complete = events_for(landing(), CONTEXT)[1]
    facet = complete["inputs"][0]["inputFacets"]["thalweg_kafkaOffsets"]
    facet["spans"][0]["offset"] = 1
    validator = jsonschema.Draft202012Validator({"$ref": facet["_schemaURL"]}, registry=own_facet_schemas())
    with pytest.raises(jsonschema.ValidationError, match="offset"):
        validator.validate(facet)


def test_a_landing_says_which_offsets_became_which_rows() -> None:
    start, complete = events_for(landing(), CONTEXT)

    assert (start["eventType"], complete["eventType"]) == ("START", "COMPLETE")
    assert start["run"] == complete["run"]
    assert complete["run"]["runId"] == run_id(CONTEXT.table_id, 7)
    assert complete["run"]["facets"]["parent"]["run"]["runId"] == worker_run_id(WRITER)
    assert complete["job"]["name"] == "flights.ingest.landing"
    assert complete["job"]["facets"]["jobType"]["processingType"] == "STREAMING"
    assert complete["run"]["facets"]["processing_engine"]["name"] == "delta-rs"
    assert complete["run"]["facets"]["processing_engine"]["version"] == "1.6.3"
    (topic,), (table,) = complete["inputs"], complete["outputs"]
    assert (topic["namespace"], topic["name"]) == ("kafka://kafka-1:9092", "flights")
    assert topic["inputFacets"]["inputStatistics"]["rowCount"] == 9
    assert topic["inputFacets"]["dataQualityAssertions"]["assertions"][0]["success"] is False
    assert topic["inputFacets"]["dataQualityAssertions"]["assertions"][0]["actual"] == "2"
    span = topic["inputFacets"]["thalweg_kafkaOffsets"]["spans"][0]
    assert (span["topicId"], span["partition"], span["first"], span["next"]) == (TOPIC_ID, 3, 10, 20)
    assert (table["namespace"], table["name"]) == ("file", "/data/flights")
    assert table["facets"]["version"]["datasetVersion"] == "7"
    assert table["facets"]["ownership"]["owners"] == [{"name": "ops", "type": "OWNER"}]
    assert table["outputFacets"]["outputStatistics"]["rowCount"] == 7
    assert table["outputFacets"]["outputStatistics"]["size"] == 200
    assert table["outputFacets"]["thalweg_tableVersion"]["dates"] == ["2013-01-01", "2013-01-02"]
    assert complete["eventTime"] == "2023-11-14T22:13:20.123Z"


def test_a_landing_without_rejects_passes_its_assertion() -> None:
    complete = events_for(landing(quarantined=0), CONTEXT)[1]
    assert complete["inputs"][0]["inputFacets"]["dataQualityAssertions"]["assertions"][0]["success"] is True


def test_columns_come_from_the_topics_fields_and_the_date_from_what_it_is_computed_of() -> None:
    origins = events_for(landing(), CONTEXT)[1]["outputs"][0]["facets"]["columnLineage"]["fields"]
    assert set(origins) == {"date", "carrier", "tags", "legs"}  # not _offset: no field of an event
    assert [f["field"] for f in origins["date"]["inputFields"]] == ["time_hour"]
    assert origins["date"]["inputFields"][0]["transformations"] == [{"type": "DIRECT", "subtype": "TRANSFORMATION"}]
    assert origins["carrier"]["inputFields"][0]["transformations"] == [{"type": "DIRECT", "subtype": "IDENTITY"}]
    assert origins["carrier"]["inputFields"][0]["namespace"] == "kafka://kafka-1:9092"


def test_nested_columns_are_told_by_openlineages_names_of_their_parts() -> None:
    fields = events_for(landing(), CONTEXT)[1]["outputs"][0]["facets"]["schema"]["fields"]
    by_name = {field["name"]: field for field in fields}
    assert by_name["tags"]["fields"] == [{"name": "key", "type": "string"}, {"name": "value", "type": "long"}]
    element = {"name": "_element", "type": "struct", "fields": [{"name": "from", "type": "string"}]}
    assert by_name["legs"] == {"name": "legs", "type": "array", "fields": [element]}


@pytest.mark.parametrize(
    ("what", "job", "base"),
    [
        ("compaction", "flights.optimize", "7"),
        ("merge", "flights.merge", "7"),
        ("delete", "flights.delete", "7"),
        ("restore", "flights.restore", "5"),
        ("overwrite", "flights.write", None),
        ("creation", "flights.create_table", None),
        ("no commit info", "flights.unknown", "7"),
    ],
)
def test_a_foreign_commit_makes_its_version_from_the_one_it_builds_upon(what: str, job: str, base: str | None) -> None:
    complete = events_for(FOREIGN[what], CONTEXT)[1]
    assert complete["job"]["name"] == job
    assert [d["facets"]["version"]["datasetVersion"] for d in complete["inputs"]] == ([] if base is None else [base])
    assert all(d["name"] == "/data/flights" for d in complete["inputs"])
    told = complete["outputs"][0]["outputFacets"]["thalweg_tableVersion"]["basedOn"]
    assert told == (None if base is None else int(base))
    assert "parent" not in complete["run"]["facets"]


def test_rows_are_not_guessed_when_a_file_has_no_statistics() -> None:
    output = events_for(FOREIGN["merge"], CONTEXT)[1]["outputs"][0]
    assert "rowCount" not in output["outputFacets"]["outputStatistics"]
    assert "columnLineage" not in output["facets"]  # what a MERGE computed is not in the log


def test_a_settled_quarantine_comes_from_the_data_version_that_rejected_its_rows() -> None:
    complete = events_for(settle(), quarantine_context())[1]
    assert complete["job"]["name"] == "flights.quarantine.settle"
    assert complete["inputs"][0]["name"] == "/data/flights"
    assert complete["inputs"][0]["facets"]["version"]["datasetVersion"] == "7"
    assert complete["outputs"][0]["name"] == "/data/flights.quarantine"
    assert complete["run"]["facets"]["parent"]["job"]["name"] == "flights.ingest"


def test_the_same_log_entry_gives_the_same_bytes() -> None:
    first = [encode(event) for event in events_for(landing(), CONTEXT)]
    assert first == [encode(event) for event in events_for(landing(), CONTEXT)]


def test_two_tables_and_two_versions_have_different_runs() -> None:
    assert len({run_id("a", 1), run_id("a", 2), run_id("b", 1)}) == 3


def test_a_failed_worker_says_why() -> None:
    failure = BrokerUnavailable("no broker answers", "thalweg stack up")
    event = worker_event(
        "FAIL", namespace="n", bootstrap="b:1", dataset="d", topics=["t"], writer=WRITER, time_ms=0, error=failure
    )
    assert event["run"]["runId"] == worker_run_id(WRITER)
    assert "no broker answers" in event["run"]["facets"]["errorMessage"]["message"]
    assert event["outputs"] == []


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("/data/flights", ("file", "/data/flights")),
        ("/data/flights/", ("file", "/data/flights")),
        ("/data/50% off", ("file", "/data/50% off")),
        ("file:///data/my%20flights", ("file", "/data/my flights")),
        ("s3://lake/bronze/flights", ("s3://lake", "bronze/flights")),
        ("s3a://lake/bronze/flights/", ("s3://lake", "bronze/flights")),
        ("gs://lake/flights", ("gs://lake", "flights")),
        ("abfss://c@account.dfs.core.windows.net/flights", ("abfss://c@account.dfs.core.windows.net", "flights")),
    ],
)
def test_tables_are_named_as_openlineage_names_them(uri: str, name: tuple[str, str]) -> None:
    assert table_name(uri) == name


@pytest.mark.parametrize("bootstrap", ["a:1", "a:1,b:2", " a:1 , b:2", "PLAINTEXT://a:1"])
def test_topics_are_named_by_the_first_broker(bootstrap: str) -> None:
    assert topic_name(bootstrap, "flights") == ("kafka://a:1", "flights")


def test_dates_are_told_once_and_rows_without_a_date_by_deltas_name_for_none() -> None:
    none = {"add": {"path": "x", "size": 1, "partitionValues": {"date": None}}}
    found = entry(1, {}, add("2013-02-01", 1), add("2013-01-01", 1), add("2013-02-01", 1), none)
    assert dates_of(found.added, "date") == ["2013-01-01", "2013-02-01", "__HIVE_DEFAULT_PARTITION__"]
