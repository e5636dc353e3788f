"""OpenLineage events as the collector receives them: from our announcer, from Spark, MLflow or anything that speaks it.

Only what the store keeps is read; unknown facets and fields are passed over, as the standard asks. What is read is
checked: an event that is wrong in a part that we use is refused as a whole, with the place of the fault.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

# Kafka's default bound is 1 MiB; Spark's events with column lineage of wide tables are larger over HTTP.
MAX_EVENT_BYTES = 4 * 2**20
MAX_DATASETS = 10_000  # inputs or outputs of one event


def _storable(text: str) -> str:
    """Refuse what PostgreSQL cannot keep: NUL, and half of a surrogate pair."""
    if "\0" in text:
        raise ValueError("holds a NUL character")
    text.encode()  # a lone surrogate raises UnicodeEncodeError, a ValueError
    return text


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _at_most(limit: int) -> AfterValidator:
    """Bound a text's bytes: what is looked up by stands in an index, and PostgreSQL bounds a row there at 2,704 bytes."""

    def check(value: str) -> str:
        if len(value.encode()) > limit:
            raise ValueError(f"has more than {limit} bytes")
        return value

    return AfterValidator(check)


Namespace = Annotated[str, StringConstraints(min_length=1), AfterValidator(_storable), _at_most(1000)]
Name = Annotated[str, StringConstraints(min_length=1), AfterValidator(_storable), _at_most(1500)]
Label = Annotated[str, StringConstraints(min_length=1), AfterValidator(_storable), _at_most(200)]
Text = Annotated[str, StringConstraints(max_length=65_536), AfterValidator(_storable)]
Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
Partition = Annotated[int, Field(ge=0, le=2**31 - 1)]
Moment = Annotated[datetime, AfterValidator(_in_utc)]
RunState = Literal["START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, content: Any) -> Any:
        """Take null as absent: some producers write out every field that they know."""
        if isinstance(content, dict):
            return {key: value for key, value in content.items() if value is not None}
        return content


class Span(_Part):
    """One entry of our facet `thalweg_kafkaOffsets`."""

    topic_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{22}$")] = Field(alias="topicId")
    partition: Partition
    first: Count
    next: Count
    landed: Count
    quarantined: Count
    filtered: Count


class _Offsets(_Part):
    spans: list[Span]
    schema_ids: list[int] = Field([], alias="schemaIds")


class _TableVersion(_Part):
    dataset: Label
    table_id: Label = Field(alias="tableId")
    version: Count
    based_on: Count | None = Field(None, alias="basedOn")
    operation: Label
    data_change: bool = Field(True, alias="dataChange")
    dates: list[Label] = []
    files_removed: Count = Field(0, alias="filesRemoved")
    bytes_removed: Count = Field(0, alias="bytesRemoved")


class _Statistics(_Part):
    row_count: Count | None = Field(None, alias="rowCount")
    size: Count | None = None
    file_count: Count | None = Field(None, alias="fileCount")


class _Owner(_Part):
    name: Text


class _Ownership(_Part):
    owners: list[_Owner] = []


class _Documentation(_Part):
    description: Text


class _Schema(_Part):
    fields: list[dict[str, Any]] = []


class _ColumnLineage(_Part):
    fields: dict[str, Any] = {}


class _Version(_Part):
    dataset_version: Annotated[Label, BeforeValidator(lambda v: str(v) if isinstance(v, int) else v)] = Field(
        alias="datasetVersion"
    )


class _Storage(_Part):
    storage_layer: Text = Field(alias="storageLayer")


class _DatasetFacets(_Part):
    ownership: _Ownership | None = None
    documentation: _Documentation | None = None
    columns: _Schema | None = Field(None, alias="schema")
    version: _Version | None = None
    storage: _Storage | None = None
    column_lineage: _ColumnLineage | None = Field(None, alias="columnLineage")


class _InputFacets(_Part):
    offsets: _Offsets | None = Field(None, alias="thalweg_kafkaOffsets")


class _OutputFacets(_Part):
    statistics: _Statistics = Field(_Statistics(), alias="outputStatistics")
    table_version: _TableVersion | None = Field(None, alias="thalweg_tableVersion")


class Dataset(_Part):
    """A dataset of an event, with those facets that the store keeps."""

    namespace: Namespace
    name: Name
    facets: _DatasetFacets = _DatasetFacets()
    input_facets: _InputFacets = Field(_InputFacets(), alias="inputFacets")
    output_facets: _OutputFacets = Field(_OutputFacets(), alias="outputFacets")

    @property
    def version(self) -> str | None:
        """The version that the event read or wrote, if it tells."""
        return self.facets.version.dataset_version if self.facets.version else None

    @property
    def kind(self) -> Literal["topic", "quarantine", "table", "dataset"]:
        """What sort of thing it is, as far as its name and facets tell."""
        known_as = self.output_facets.table_version
        if self.namespace.startswith("kafka://"):
            return "topic"
        if self.name.endswith(".quarantine") or (known_as is not None and known_as.dataset.endswith(".quarantine")):
            return "quarantine"
        return "table" if self.facets.storage or self.facets.version or known_as else "dataset"


class _JobType(_Part):
    processing_type: Text | None = Field(None, alias="processingType")
    integration: Text | None = None


class _JobFacets(_Part):
    job_type: _JobType = Field(_JobType(), alias="jobType")


class Job(_Part):
    """The job of an event."""

    namespace: Namespace
    name: Name
    facets: _JobFacets = _JobFacets()


class _RunRef(_Part):
    run_id: UUID = Field(alias="runId")


class _Parent(_Part):
    run: _RunRef
    job: Job


class _ErrorMessage(_Part):
    message: Text


class _Engine(_Part):
    name: Text | None = None
    version: Text | None = None


class _RunFacets(_Part):
    parent: _Parent | None = None
    error: _ErrorMessage | None = Field(None, alias="errorMessage")
    engine: _Engine = Field(_Engine(), alias="processing_engine")


class Run(_Part):
    """The run of an event."""

    run_id: UUID = Field(alias="runId")
    facets: _RunFacets = _RunFacets()


class Event(_Part):
    """A run event (run and job), a job event (job alone) or a dataset event (dataset alone)."""

    time: Moment = Field(alias="eventTime")
    state: RunState | None = Field(None, alias="eventType")
    producer: Name
    run: Run | None = None
    job: Job | None = None
    dataset: Dataset | None = None
    inputs: Annotated[list[Dataset], Field(max_length=MAX_DATASETS)] = []
    outputs: Annotated[list[Dataset], Field(max_length=MAX_DATASETS)] = []
    digest: str = ""  # SHA-256 of the bytes received, in hex: the event's identity

    @property
    def time_ms(self) -> int:
        """When it happened: milliseconds since the Unix epoch."""
        return round(self.time.timestamp() * 1000)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why bytes are no event that the store can keep."""

    reason: str


def read_event(raw: bytes) -> Event | Refusal:
    """Parse one event from JSON."""
    if len(raw) > MAX_EVENT_BYTES:
        return Refusal(f"{len(raw)} bytes; an event may have {MAX_EVENT_BYTES}")
    try:
        # The standard library's parser and pydantic's differ in what they take; one reads, the other checks.
        content = json.loads(raw)
    except (ValueError, RecursionError) as error:
        return Refusal(f"not JSON: {error}")
    if not isinstance(content, dict):
        return Refusal("not a JSON object")
    try:
        event = Event.model_validate({**content, "digest": hashlib.sha256(raw).hexdigest()})
    except (ValidationError, OverflowError, RecursionError) as error:
        return Refusal(_reason(error))
    if event.job is None and (event.run is not None or event.dataset is None):
        return Refusal("neither a run event (run, job), a job event (job) nor a dataset event (dataset)")
    return event


def _reason(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    shown = "; ".join(f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in faults[:5])
    return shown if len(faults) <= 5 else f"{shown}; and {len(faults) - 5} more"
