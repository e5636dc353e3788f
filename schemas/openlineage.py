"""OpenLineage run events, derived from a table's Delta log.

Each commit gives a START and a COMPLETE event of one run. Everything in them comes from the log entry and from
`TableContext`, so announcing a version again gives the same bytes. A landing's run is the child of its worker's
long-lived run; a foreign commit (Spark's MERGE, a compaction, a restore) reads the version before and writes its own.

Formats: OpenLineage 2-0-2 and its facets as listed in `_FACETS` (github.com/OpenLineage/OpenLineage, `spec/`), names by
its naming conventions; our two own facets, `thalweg_kafkaOffsets` and `thalweg_tableVersion`, by the JSON schemas in
`schemas/openlineage/`.
"""

import json
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, unquote, urlparse

from schemas.datasets import QUARANTINE_SUFFIX
from schemas.events import NULL_PARTITION
from thalweg.tables.log import AddedFile, LogEntry, RemovedFile
from thalweg.tables.spans import Span

PRODUCER = "urn:thalweg"
_EVENT_SCHEMA = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
# Facet -> where its schema is. Versions are those of OpenLineage 1.54.
_FACETS = {
    "columnLineage": "https://openlineage.io/spec/facets/1-2-0/ColumnLineageDatasetFacet.json#/$defs/ColumnLineageDatasetFacet",
    "dataQualityAssertions": "https://openlineage.io/spec/facets/1-1-0/DataQualityAssertionsDatasetFacet.json#/$defs/DataQualityAssertionsDatasetFacet",
    "dataSource": "https://openlineage.io/spec/facets/1-0-1/DatasourceDatasetFacet.json#/$defs/DatasourceDatasetFacet",
    "documentation": "https://openlineage.io/spec/facets/1-1-0/DocumentationDatasetFacet.json#/$defs/DocumentationDatasetFacet",
    "errorMessage": "https://openlineage.io/spec/facets/1-0-1/ErrorMessageRunFacet.json#/$defs/ErrorMessageRunFacet",
    "inputStatistics": "https://openlineage.io/spec/facets/1-0-0/InputStatisticsInputDatasetFacet.json#/$defs/InputStatisticsInputDatasetFacet",
    "jobType": "https://openlineage.io/spec/facets/2-0-4/JobTypeJobFacet.json#/$defs/JobTypeJobFacet",
    "outputStatistics": "https://openlineage.io/spec/facets/1-0-2/OutputStatisticsOutputDatasetFacet.json#/$defs/OutputStatisticsOutputDatasetFacet",
    "ownership": "https://openlineage.io/spec/facets/1-0-1/OwnershipDatasetFacet.json#/$defs/OwnershipDatasetFacet",
    "parent": "https://openlineage.io/spec/facets/1-2-0/ParentRunFacet.json#/$defs/ParentRunFacet",
    "processing_engine": "https://openlineage.io/spec/facets/1-1-1/ProcessingEngineRunFacet.json#/$defs/ProcessingEngineRunFacet",
    "schema": "https://openlineage.io/spec/facets/1-2-0/SchemaDatasetFacet.json#/$defs/SchemaDatasetFacet",
    "storage": "https://openlineage.io/spec/facets/1-0-1/StorageDatasetFacet.json#/$defs/StorageDatasetFacet",
    "thalweg_kafkaOffsets": "urn:thalweg:openlineage:kafkaOffsets:1-0-0#/$defs/KafkaOffsetsInputDatasetFacet",
    "thalweg_tableVersion": "urn:thalweg:openlineage:tableVersion:1-0-0#/$defs/TableVersionOutputDatasetFacet",
    "version": "https://openlineage.io/spec/facets/1-0-1/DatasetVersionDatasetFacet.json#/$defs/DatasetVersionDatasetFacet",
}
# Namespace of our derived run ids (RFC 9562, version 5): a constant, so that every process derives the same id.
_RUNS = uuid.UUID("6b7d2f6e-9a55-5a0c-8f43-0d5b3c1f7e21")
# Columns that ingest adds to the event's fields; they come from the record, not from a field of the topic's schema.
_METADATA_COLUMNS = frozenset({"_topic_id", "_partition", "_offset", "_timestamp", "_schema_id"})
# Operations that move or drop whole rows and change no value: each column still comes from itself.
_KEEPS_VALUES = frozenset({"OPTIMIZE", "DELETE", "RESTORE", "VACUUM START", "VACUUM END", "FSCK"})

RunState = Literal["START", "RUNNING", "COMPLETE", "ABORT", "FAIL"]
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TableContext:
    """What a log entry does not say about its table."""

    namespace: str  # of our jobs: the prefix of our topics, `settings.kafka.prefix`
    bootstrap: str  # host:port,… of the brokers; the first one names the topics' namespace
    dataset: str  # `flights`, or `flights.quarantine`
    uri: str  # of the table; absolute
    table_id: str  # Delta's, at this version
    schema: str | None = None  # Delta's schemaString in force at this version
    owner: str = ""
    description: str = ""
    partition_column: str = "date"
    partition_fields: tuple[str, ...] = ()  # event fields that the partition column is computed from


def run_id(table_id: str, version: int) -> str:
    """Id of the run that made a table version. The same for whoever derives it."""
    return str(uuid.uuid5(_RUNS, f"version/{table_id}/{version}"))


def worker_run_id(writer: str) -> str:
    """Id of a worker's long-lived run, from the writer string that its commits carry."""
    return str(uuid.uuid5(_RUNS, f"worker/{writer}"))


def events_for(entry: LogEntry, context: TableContext) -> list[Json]:
    """Return the START and the COMPLETE event of the run that wrote `entry`."""
    job = _job(entry, context)
    run = {"runId": run_id(context.table_id, entry.version), "facets": _run_facets(entry, context)}
    inputs = _inputs(entry, context)
    output = _table(context.uri, entry.version)
    moment = _time(entry.timestamp_ms)
    start = _event("START", moment, run, job, [_bare(dataset) for dataset in inputs], [_bare(output)])
    full = {
        **output,
        "facets": {**output["facets"], **_table_facets(entry, context, inputs)},
        "outputFacets": _output_facets(entry, context),
    }
    return [start, _event("COMPLETE", moment, run, job, inputs, [full])]


def worker_event(
    state: RunState,
    *,
    namespace: str,
    bootstrap: str,
    dataset: str,
    topics: Sequence[str],
    writer: str,
    time_ms: int,
    error: BaseException | None = None,
) -> Json:
    """Return an event of a worker's own run: it started, goes on, ended, or failed with `error`.

    `time_ms` is the wall clock's milliseconds since the Unix epoch. Such an event names no output: versions are told by
    the log alone.
    """
    facets = _engine("thalweg", installed_version("thalweg"))
    if error is not None:
        facets |= _facet("errorMessage", message=str(error), programmingLanguage="PYTHON")
    run = {"runId": worker_run_id(writer), "facets": facets}
    job = {"namespace": namespace, "name": f"{dataset}.ingest", "facets": _job_type("SERVICE", "JOB")}
    return _event(state, _time(time_ms), run, job, [_topic(bootstrap, topic) for topic in topics], [])


def message_key(event: Mapping[str, Any]) -> str:
    """Return the Kafka key that OpenLineage's own Kafka transport gives: events of a job's chain meet one partition."""
    if "dataset" in event:
        return "dataset:{namespace}/{name}".format_map(event["dataset"])
    if "run" not in event:
        return "job:{namespace}/{name}".format_map(event["job"])
    parent = event["run"].get("facets", {}).get("parent")
    job = (parent.get("root") or parent)["job"] if parent else event["job"]
    return "run:{namespace}/{name}".format_map(job)


def encode(event: Mapping[str, Any]) -> bytes:
    """Return the event as JSON; the same event gives the same bytes."""
    return json.dumps(event, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def topic_name(bootstrap: str, topic: str) -> tuple[str, str]:
    """Return a topic's OpenLineage namespace and name. Of several bootstrap servers the first one counts."""
    first = bootstrap.split(",")[0].strip()
    return f"kafka://{re.sub(r'^[A-Za-z_]+://', '', first)}", topic


def table_name(uri: str) -> tuple[str, str]:
    """Return a table's OpenLineage namespace and name: `file` and the absolute path, `s3://bucket` and the key."""
    parsed = urlparse(uri)
    if parsed.scheme in ("", "file"):
        path = unquote(parsed.path) if parsed.scheme else uri
        return "file", str(Path(path).absolute())
    scheme = "s3" if parsed.scheme in ("s3a", "s3n") else parsed.scheme
    return f"{scheme}://{parsed.netloc}", parsed.path.strip("/")


def dates_of(files: Iterable[AddedFile | RemovedFile], column: str) -> list[str]:
    """Partition values that files of a commit belong to, in order, each once; a null one by Delta's name for it."""
    values = {file.partition[column] for file in files if column in file.partition}
    return sorted(NULL_PARTITION if value is None else value for value in values)


def _event(state: str, moment: str, run: Json, job: Json, inputs: list[Json], outputs: list[Json]) -> Json:
    return {
        "eventType": state,
        "eventTime": moment,
        "producer": PRODUCER,
        "schemaURL": _EVENT_SCHEMA,
        "run": run,
        "job": job,
        "inputs": inputs,
        "outputs": outputs,
    }


def _facet(facet: str, /, **fields: Any) -> Json:
    return {facet: {"_producer": PRODUCER, "_schemaURL": _FACETS[facet], **fields}}


def _time(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# -- run and job


def _run_facets(entry: LogEntry, context: TableContext) -> Json:
    # Spark says "Apache-Spark/4.0.0 Delta-Lake/4.0.0", delta-rs "delta-rs:py-1.6.3".
    told = str(entry.info.get("engineInfo") or entry.info.get("clientVersion") or "unknown").split(" ")[0]
    parts = re.fullmatch(r"(.+?)[/:](?:py-)?(.+)", told)
    facets = _engine(parts[1], parts[2]) if parts else _engine(told, "unknown")
    if writer := entry.info.get("thalweg.writer"):
        base = context.dataset.removesuffix(QUARANTINE_SUFFIX)
        parent = {
            "run": {"runId": worker_run_id(str(writer))},
            "job": {"namespace": context.namespace, "name": f"{base}.ingest"},
        }
        facets |= _facet("parent", **parent, root=parent)
    return facets


def _engine(name: str, number: str) -> Json:
    return _facet(
        "processing_engine", name=name, version=number, openlineageAdapterVersion=installed_version("thalweg")
    )


def _job(entry: LogEntry, context: TableContext) -> Json:
    if entry.is_landing:
        name, kind = f"{context.dataset}.ingest.landing", _job_type("STREAMING", "TASK")
    elif _settled(entry, context) is not None:
        name, kind = f"{context.dataset}.settle", _job_type("STREAMING", "TASK")
    else:
        operation = re.sub(r"\W+", "_", entry.operation.lower()).strip("_") or "unknown"
        name, kind = f"{context.dataset}.{operation}", _job_type("BATCH", "COMMAND")
    return {"namespace": context.namespace, "name": name, "facets": kind}


def _job_type(processing: str, kind: str) -> Json:
    return _facet("jobType", processingType=processing, integration="THALWEG", jobType=kind)


# -- inputs


def _inputs(entry: LogEntry, context: TableContext) -> list[Json]:
    if entry.is_landing:
        schema_ids = list(entry.info.get("thalweg.schema_ids") or ())
        topics = sorted({span.topic for span in entry.spans})
        return [
            _landed_topic(context, topic, [span for span in entry.spans if span.topic == topic], schema_ids)
            for topic in topics
        ]
    if (data_version := _settled(entry, context)) is not None:
        return [_table(context.uri.rstrip("/").removesuffix(QUARANTINE_SUFFIX), data_version)]
    base = _base(entry)
    return [] if base is None else [_table(context.uri, base)]


def _base(entry: LogEntry) -> int | None:
    """The version whose rows a commit builds upon; None when it begins anew."""
    parameters = entry.info.get("operationParameters") or {}
    if entry.operation == "RESTORE" and parameters.get("version") is not None:
        return int(parameters["version"])
    replaced = "REPLACE TABLE" in entry.operation or (
        parameters.get("mode") == "Overwrite" and parameters.get("predicate") in (None, "", "[]")
    )
    return None if entry.version == 0 or replaced else entry.version - 1


def _settled(entry: LogEntry, context: TableContext) -> int | None:
    """The data table's version whose rejects a commit to a quarantine table settles; None for any other commit."""
    if not context.dataset.endswith(QUARANTINE_SUFFIX):
        return None
    base = context.dataset.removesuffix(QUARANTINE_SUFFIX)
    settled = [
        version
        for app, version in entry.transactions.items()
        if app.startswith(f"thalweg/{base}/") and app.endswith("/quarantine")
    ]
    return max(settled, default=None)


def _topic(bootstrap: str, topic: str) -> Json:
    namespace, name = topic_name(bootstrap, topic)
    return {"namespace": namespace, "name": name, "facets": _facet("dataSource", name=namespace, uri=namespace)}


def _landed_topic(context: TableContext, topic: str, spans: Sequence[Span], schema_ids: list[int]) -> Json:
    rejected = sum(span.quarantined for span in spans)
    assertion = {
        "assertion": "rows_quarantined",
        "success": rejected == 0,
        "severity": "error",
        "name": f"{context.dataset} contract",
        "expected": "0",
        "actual": str(rejected),
    }
    offsets = [
        {
            "topicId": span.topic_id,
            "partition": span.partition,
            "first": span.first,
            "next": span.next,
            "landed": span.landed,
            "quarantined": span.quarantined,
            "filtered": span.filtered,
        }
        for span in spans
    ]
    return {
        **_topic(context.bootstrap, topic),
        "inputFacets": _facet("inputStatistics", rowCount=sum(span.consumed for span in spans))
        | _facet("dataQualityAssertions", assertions=[assertion])
        | _facet("thalweg_kafkaOffsets", spans=offsets, schemaIds=schema_ids),
    }


# -- tables


def _table(uri: str, version: int) -> Json:
    namespace, name = table_name(uri)
    source = f"file://{quote(name)}" if namespace == "file" else f"{namespace}/{quote(name)}"
    facets = _facet("version", datasetVersion=str(version)) | _facet("dataSource", name=namespace, uri=source)
    return {"namespace": namespace, "name": name, "facets": facets}


def _bare(dataset: Json) -> Json:
    """A dataset as a START event names it: numbers are known at the end only."""
    return {"namespace": dataset["namespace"], "name": dataset["name"], "facets": dataset["facets"]}


def _table_facets(entry: LogEntry, context: TableContext, inputs: Sequence[Json]) -> Json:
    facets = _facet("storage", storageLayer="delta", fileFormat="parquet")
    if context.owner:
        facets |= _facet("ownership", owners=[{"name": context.owner, "type": "OWNER"}])
    if context.description:
        facets |= _facet("documentation", description=context.description)
    if context.schema:
        columns = json.loads(context.schema)["fields"]
        facets |= _facet("schema", fields=[_column(c["name"], c["type"]) for c in columns])
        origins = _column_origins(entry, context, [c["name"] for c in columns], inputs)
        if origins:
            facets |= _facet("columnLineage", fields=origins)
    return facets


def _column(name: str, kind: Any) -> Json:
    """A column of Delta's schema JSON as the schema facet has it; nested types by OpenLineage's names of their parts."""
    if isinstance(kind, str):
        return {"name": name, "type": kind}
    parts = {
        "struct": lambda: [_column(f["name"], f["type"]) for f in kind["fields"]],
        "array": lambda: [_column("_element", kind["elementType"])],
        "map": lambda: [_column("key", kind["keyType"]), _column("value", kind["valueType"])],
    }
    return {"name": name, "type": kind["type"], "fields": parts[kind["type"]]()}


def _column_origins(entry: LogEntry, context: TableContext, columns: list[str], inputs: Sequence[Json]) -> Json:
    origins: dict[str, tuple[str, ...]]
    if entry.is_landing:
        own = _METADATA_COLUMNS | {context.partition_column}
        origins = {name: (name,) for name in columns if name not in own}
        if context.partition_column in columns and context.partition_fields:
            origins[context.partition_column] = context.partition_fields
    elif entry.operation in _KEEPS_VALUES:
        origins = {name: (name,) for name in columns}
    else:
        return {}
    return {
        column: {
            "inputFields": [
                {
                    "namespace": dataset["namespace"],
                    "name": dataset["name"],
                    "field": field,
                    "transformations": [
                        {"type": "DIRECT", "subtype": "IDENTITY" if fields == (column,) else "TRANSFORMATION"}
                    ],
                }
                for dataset in inputs
                for field in fields
            ]
        }
        for column, fields in origins.items()
    }


def _output_facets(entry: LogEntry, context: TableContext) -> Json:
    added = entry.added
    rows = [file.rows for file in added if file.rows is not None]
    known = {"rowCount": sum(rows)} if len(rows) == len(added) else {}
    touched: tuple[AddedFile | RemovedFile, ...] = (*added, *entry.removed)
    return _facet("outputStatistics", **known, size=sum(file.size for file in added), fileCount=len(added)) | _facet(
        "thalweg_tableVersion",
        dataset=context.dataset,
        tableId=context.table_id,
        version=entry.version,
        basedOn=_base(entry),
        operation=entry.operation,
        dataChange=any(file.data_change for file in touched),
        dates=dates_of(touched, context.partition_column),
        filesRemoved=len(entry.removed),
        bytesRemoved=sum(file.size or 0 for file in entry.removed),
    )
