"""What a user declares: which topics become which table, by which date, under which contract.

A declaration is a YAML file. `thalweg apply` publishes it to the compacted topic `<prefix>.datasets`; services read it
from there (`schemas.published`). `docs/datasets.md` explains every key.
"""

import json
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

import pyarrow as pa
import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveInt,
    StringConstraints,
    ValidationError,
    model_validator,
)

from schemas import avro_text, contracts
from schemas.arrow import event_schema, table_schema
from schemas.columns import NANOSECONDS, meaning
from schemas.contracts import Contract
from schemas.declarations import Document, Path, read, refusal
from thalweg.errors import DeclarationError, UnsupportedSchema

# Of the table beside each dataset's that keeps what was rejected.
QUARANTINE_SUFFIX = ".quarantine"

_UTC_NAMES = frozenset({"UTC", "Etc/UTC"})


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"unknown time zone {name!r}: expected an IANA name such as America/New_York") from None
    return name


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True)


class PartitionBy(_Part):
    """How an event's date is found, and in which column of the table it is kept."""

    column: Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,99}$")] = Field(
        "date", description="a column name: letters, digits and _, at most 100, beginning with a letter"
    )
    field: contracts.FieldName | None = Field(None, description="a date or timestamp field of the event")
    sql: Annotated[str, StringConstraints(min_length=1, max_length=10_000)] | None = Field(
        None, description="or a DuckDB expression that gives a DATE"
    )
    time_zone: str = Field("UTC", description="a timestamp field's date is the local one there")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.field is None) == (self.sql is None):
            raise ValueError("expected either `field` or `sql`")
        _zone(self.time_zone)
        if self.sql is not None:
            if not self.is_utc:
                raise ValueError("`time_zone` belongs to `field`; in `sql` write timezone('America/New_York', …)::DATE")
            from schemas import expressions  # DuckDB takes 0.15 s to import, and most datasets name a field

            expressions.parse(self.sql)
        return self

    @property
    def is_utc(self) -> bool:
        """Whether timestamps have their date in UTC."""
        return self.time_zone in _UTC_NAMES

    def check(self, schema: pa.Schema) -> None:
        """Check that the date can be found in events of this schema. Raises DeclarationError."""
        if self.column.lower() in {name.lower() for name in schema.names}:  # Delta takes them for one
            raise DeclarationError(
                f"partition: the events have a field {self.column!r} already, and the table cannot have two such columns",
                "give the partition another name, such as `column: event_date`",
            )
        if self.sql is not None:
            from schemas.expressions import Expression, check  # see _one_way

            check([Expression("partition", self.sql, pa.date32())], schema)
            return
        assert self.field is not None  # _one_way
        kind = contracts.column_type(schema, self.field, "partition")
        logical = meaning(schema.field(self.field))
        is_instant = (pa.types.is_timestamp(kind) and kind.unit == "us") or logical in NANOSECONDS
        if not (pa.types.is_date32(kind) or is_instant):
            raise DeclarationError(
                f"partition: field {self.field} is {kind}, expected a date or a timestamp",
                "choose another field, or say how to make a date of it in `sql`",
            )
        has_zone = logical == "timestamp-nanos" or (pa.types.is_timestamp(kind) and kind.tz is not None)
        if not self.is_utc and not has_zone:
            raise DeclarationError(
                f"partition: field {self.field} is {logical or kind}, which is local already; time_zone {self.time_zone} cannot apply",
                "leave `time_zone` out",
            )


class Retention(_Part):
    """How long rows are kept. Nothing is removed from a dataset that declares no days."""

    class_name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,62}$")] = Field(alias="class")
    days: PositiveInt | None = Field(None, le=365_000, description="rows of dates older than this may be removed")


def _schema_text(declared: object) -> object:
    """A schema that was written as keys and values, or as JSON, as JSON on one line."""
    if isinstance(declared, str):
        try:
            declared = avro_text.read_json(declared)
        except ValueError as error:
            raise ValueError(f"expected an Avro schema, or in a YAML file the path of one: {error}") from None
    return json.dumps(declared, ensure_ascii=False) if isinstance(declared, dict) else declared


TopicName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,249}$")]


class Dataset(_Part):
    """A dataset's declaration: topics in, table out."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,99}$")] = Field(
        description="a name: small letters, digits, '.', '_' and '-', at most 100, beginning with a letter or digit"
    )
    topics: Annotated[tuple[TopicName, ...], Field(min_length=1, max_length=1000)] = Field(
        description="a topic's name: letters, digits, '.', '_' and '-', at most 249"
    )
    owner: Annotated[str, StringConstraints(min_length=1, max_length=1000)]
    description: Annotated[str, StringConstraints(max_length=10_000)] = ""
    partition: PartitionBy
    contract: Contract = Contract()
    retention: Retention | None = None
    tombstones: Literal["quarantine", "filter"] = "quarantine"
    # A whole record must fit a Kafka message of the default size.
    reader_schema: Annotated[str, StringConstraints(max_length=500_000), BeforeValidator(_schema_text)] | None = Field(
        None, description="an Avro schema, as keys and values or as the path of a file, that all events are read by"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if ".." in self.name or self.name.endswith((".", QUARANTINE_SUFFIX)):
            raise ValueError(f"name: {self.name!r} must not hold '..' nor end with '.' or {QUARANTINE_SUFFIX!r}")
        if len(set(self.topics)) != len(self.topics):
            raise ValueError("topics: a topic is named twice")
        if set(self.topics) & {".", ".."}:
            raise ValueError("topics: Kafka has no topics called '.' or '..'")
        if self.reader_schema is not None:
            try:
                table_schema(event_schema(self.reader_schema))
            except UnsupportedSchema as error:
                raise ValueError(f"reader_schema: {error.message}") from None
        return self

    @property
    def quarantine_name(self) -> str:
        """The quarantine table's name."""
        return self.name + QUARANTINE_SUFFIX

    def check(self, schema: pa.Schema) -> None:
        """Check partition and rules against the events' Arrow schema. Raises DeclarationError, naming the dataset."""
        try:
            self.partition.check(schema)
            self.contract.check(schema)
        except DeclarationError as error:
            raise DeclarationError(f"dataset {self.name}: {error.message}", error.remedy) from error

    @classmethod
    def from_yaml(cls, path: FilePath | str) -> Self:
        """Read a declaration from a file. Raises DeclarationError naming file, line, key, and what is expected."""
        try:
            text = FilePath(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DeclarationError(f"{path}: cannot be read: {error}", "give the path of a YAML file") from error
        document = read(text, str(path))
        _inline_schema(document, FilePath(path).parent)
        return cls.from_document(document)

    @classmethod
    def from_json(cls, text: str | bytes, origin: str = "declaration") -> Self:
        """Read a declaration from JSON; `origin` names it in errors. Raises DeclarationError."""
        try:
            content = json.loads(text)
        except ValueError as error:
            raise DeclarationError(
                f"{origin}: not JSON: {error}", "publish the declaration again: thalweg apply"
            ) from error
        return cls.from_document(Document(origin, content, {}))

    @classmethod
    def from_document(cls, document: Document) -> Self:
        """Check what a document says. Raises DeclarationError."""
        try:
            # By way of JSON, where strict models take a list for a tuple and nothing else for anything else.
            return cls.model_validate_json(json.dumps(document.content))
        except ValidationError as error:
            raise refusal(document, error, _model_at) from error

    def to_plain(self) -> dict[str, Any]:
        """The declaration as it would be written: what is default is left out."""
        plain = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        if self.reader_schema is not None:
            plain["reader_schema"] = json.loads(self.reader_schema)
        return plain

    def to_json(self) -> str:
        """The declaration as JSON, on one line."""
        return json.dumps(self.to_plain(), ensure_ascii=False)

    def to_yaml(self) -> str:
        """The declaration as YAML. Comments of the file that it came from are not kept."""
        return yaml.dump(self.to_plain(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def _inline_schema(document: Document, folder: FilePath) -> None:
    """Put the text of the file that `reader_schema` names in its place: what is published stands alone."""
    named = document.content.get("reader_schema") if isinstance(document.content, dict) else None
    if not isinstance(named, str) or named.lstrip().startswith("{"):
        return
    try:
        document.content["reader_schema"] = (folder / named).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DeclarationError(
            f"{document.place(('reader_schema',))}: reader_schema: {folder / named} cannot be read: {error}",
            "give the path of an Avro schema file, from the folder of the declaration",
        ) from error


class _Dumper(yaml.SafeDumper):
    """PyYAML writes Unicode's line breaks as they are and reads some of them as \\n; between double quotes it escapes them."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if set(text) & _UNICODE_BREAKS else None)


_UNICODE_BREAKS = frozenset("\x85\u2028\u2029\ufeff")
_Dumper.add_representer(str, _text)


def _model_at(path: Path) -> type[BaseModel] | None:
    """The model whose keys stand at a path of a declaration."""
    match path:
        case ():
            return Dataset
        case ("partition",):
            return PartitionBy
        case ("retention",):
            return Retention
        case ("contract",):
            return Contract
        case ("contract", "rules", int(), str(kind)):
            return contracts.RULES.get(kind)
    return None
