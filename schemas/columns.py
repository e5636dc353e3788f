"""The columns that an Avro schema's fields become: what is read from the bytes, and the Arrow type that a table can hold.

| Avro | Arrow | note |
|---|---|---|
| null | bool | always null: Delta has no type of nothing |
| boolean, int, long, float, double, string | bool, int32, int64, float32, float64, string | |
| bytes, fixed | binary | |
| enum | dictionary<int32, string> | string in the table; Parquet keeps the dictionary |
| array, map, record | list, map<string, …>, struct | |
| union of null and one other, union of one | the other, the one | |
| any other union | struct | one member for each branch but null, of which exactly one has a value; null when null was written |
| date | date32 | years 1 to 9999, as for timestamps: no reader takes more |
| time-millis, time-micros | int32, int64 | Delta has no time of day; the column's metadata says what it counts |
| timestamp-millis, timestamp-micros | timestamp[us, UTC] | milliseconds times 1000: Delta has microseconds |
| local-timestamp-millis, local-timestamp-micros | timestamp[us] | |
| timestamp-nanos, local-timestamp-nanos | int64 | nanoseconds since 1970-01-01; the column's metadata says so |
| duration on fixed(12) | struct<months, days, millis: int64> | Avro's are unsigned, 32 bits each; Delta has no such type |
| decimal on bytes or fixed | decimal128(precision, scale) | precision up to 38 |
| uuid on string or fixed(16) | string | |

Every column may be null, whatever the schema says: a later schema may drop the field. A logical type on a type that it is
not made for, or one that this table does not know, counts for nothing, as Avro's specification demands.

A union's members are called after their branches: `long`, `string`, a named type's name without its namespace. Where that
would be taken for an earlier member's name (Delta does not tell capitals from small letters) it is the full name, with `_`
for dots, and where that is taken too, with a number.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final

import pyarrow as pa

from schemas import avro_text
from thalweg.errors import ConfigurationError, UnsupportedSchema

MEANING: Final = (
    b"thalweg.avro"  # the key of a column's metadata that tells its logical type, where Arrow's type cannot
)
DECIMAL_DIGITS_MAX: Final = 38  # Delta's and decimal128's
# A schema of a few lines can describe billions of columns: a record twice in a record that stands twice in a record …
COLUMNS_MAX: Final = 10_000
# Arrays, maps and records in one another. The decoder and every reader walk them by recursion.
DEPTH_MAX: Final = 64

_UUID_BYTES: Final = 16
_DURATION_BYTES: Final = 12

_PLAIN: Final = {
    "null": pa.bool_(),
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "bytes": pa.binary(),
    "fixed": pa.binary(),
    "string": pa.string(),
}
_LOGICAL: Final = {
    ("int", "date"): pa.date32(),
    ("int", "time-millis"): pa.int32(),
    ("long", "time-micros"): pa.int64(),
    ("long", "timestamp-millis"): pa.timestamp("us", "UTC"),
    ("long", "timestamp-micros"): pa.timestamp("us", "UTC"),
    ("long", "local-timestamp-millis"): pa.timestamp("us"),
    ("long", "local-timestamp-micros"): pa.timestamp("us"),
    ("long", "timestamp-nanos"): pa.int64(),
    ("long", "local-timestamp-nanos"): pa.int64(),
    ("string", "uuid"): pa.string(),
}
NANOSECONDS: Final = frozenset({"timestamp-nanos", "local-timestamp-nanos"})
# Logical types that Arrow's type does not tell: they stand in the column's metadata.
_TOLD_BY_METADATA: Final = frozenset({"time-millis", "time-micros"}) | NANOSECONDS
DURATION_PARTS: Final = ("months", "days", "millis")


@dataclass(frozen=True, slots=True)
class Column:
    """One column, or a part of one: a record's field, an array's items, a map's keys or values."""

    name: str
    path: str  # "properties.value"; array items are ".item", union members ".long", the record itself is ""
    avro: str  # Avro's type; of a union of null and one other, or of one, that one's
    logical: str | None  # Avro's logical type, where it counts
    arrow: pa.DataType
    null_branch: int | None = None  # where null stands in the union, among others; None when it does not
    size: int = 0  # bytes of a fixed
    symbols: tuple[str, ...] = ()  # of an enum
    # A record's fields, an array's items, a map's keys and values, a union's branches but null, a duration's parts.
    children: tuple["Column", ...] = ()
    branches: int = 0  # of the union that the column stands for; 0 when there is no union
    # What only schema resolution asks for.
    named: str = ""  # full name of a record, enum or fixed
    aliases: tuple[str, ...] = ()  # its other full names
    fallback: str | None = None  # an enum's default symbol
    field_aliases: tuple[str, ...] = ()  # other names of the record's field
    default: str | None = None  # the field's default, as JSON text

    @property
    def field(self) -> pa.Field:
        """The column as a field of an Arrow schema."""
        told = {MEANING: self.logical.encode()} if self.logical in _TOLD_BY_METADATA else None
        return pa.field(self.name, self.arrow, metadata=told)

    @property
    def alternatives(self) -> tuple["Column | None", ...]:
        """What may stand here, in the order of the union's branches: None is null; without a union, the column itself."""
        if self.avro == "null":
            return (None,)
        if not self.branches:
            return (self,)
        bare = replace(self, branches=0, null_branch=None)
        found: list[Column | None] = [*self.children] if self.avro == "union" else [bare]
        if self.null_branch is not None:
            found.insert(self.null_branch, None)
        return tuple(found)


def meaning(column: pa.Field) -> str | None:
    """Give the logical type of a column whose Arrow type does not tell it: times of a day, nanoseconds."""
    found = (column.metadata or {}).get(MEANING)
    return None if found is None else found.decode()


def columns(schema_json: str) -> tuple[Column, ...]:
    """Lay out the fields of a record schema, in their order.

    Raises UnsupportedSchema, naming the path of the field, for what is no schema, no record, or holds a type that a table
    cannot.
    """
    return event(schema_json).children


def event(schema_json: str) -> Column:
    """Lay out a record schema as a column without a name, whose children are the fields. Raises as `columns` does."""
    try:
        schema = avro_text.resolve(schema_json)
    except ConfigurationError as error:
        raise UnsupportedSchema(error.message, error.remedy) from error
    if not isinstance(schema, dict) or schema["type"] != "record":
        kind = "a union" if isinstance(schema, list) else schema if isinstance(schema, str) else schema["type"]
        raise UnsupportedSchema(
            f"The schema is {kind}; an event must be a record", "wrap it in a record with one field"
        )
    return _Walk().record(schema, "", "")


@dataclass(slots=True)
class _Walk:
    """A walk through a schema with its names resolved, which bounds how much it may describe."""

    seen: int = 0
    named: dict[str, dict[str, Any]] = field(default_factory=dict)
    within: list[str] = field(default_factory=list)  # what encloses the current place: records by name

    def record(self, schema: dict[str, Any], name: str, path: str) -> Column:
        self.named[schema["name"]] = schema
        self._enter(schema["name"], path)
        fields = tuple(self._field(field, path) for field in schema["fields"])
        self.within.pop()
        if not fields:
            raise UnsupportedSchema(
                f"{path or schema['name']}: a record without fields; a table cannot hold it", "give it a field"
            )
        arrow = pa.struct([child.field for child in fields])
        return Column(name, path, "record", None, arrow, children=fields, **_names(schema))

    def _field(self, field: dict[str, Any], path: str) -> Column:
        column = self.column(field["type"], field["name"], f"{path}.{field['name']}" if path else field["name"])
        default = json.dumps(field["default"]) if "default" in field else None
        return replace(column, field_aliases=tuple(field.get("aliases", ())), default=default)

    def column(self, schema: Any, name: str, path: str) -> Column:
        self.seen += 1
        if self.seen > COLUMNS_MAX:
            raise UnsupportedSchema(f"The schema has more than {COLUMNS_MAX:,} columns", "split the event")
        if isinstance(schema, list):
            return self.union(schema, name, path)
        if isinstance(schema, str):
            schema = self.named.get(schema, {"type": schema})
        if "name" in schema:
            self.named[schema["name"]] = schema
        kind = schema["type"]
        if kind == "record":
            return self.record(schema, name, path)
        if kind == "array":
            items = self._held(schema["items"], "element", f"{path}.item")
            return Column(name, path, kind, None, pa.list_(items.field), children=(items,))
        if kind == "map":
            key = Column("key", f"{path}.key", "string", None, pa.string())
            values = self._held(schema["values"], "value", f"{path}.value")
            arrow = pa.map_(pa.string(), values.field)
            return Column(name, path, kind, None, arrow, children=(key, values))
        logical, arrow = _scalar(schema, path)
        if logical == "duration":
            parts = tuple(Column(part, f"{path}.{part}", "long", None, pa.int64()) for part in DURATION_PARTS)
            arrow = pa.struct([part.field for part in parts])
            return Column(name, path, kind, logical, arrow, size=schema["size"], children=parts, **_names(schema))
        if kind == "enum":
            symbols, fallback = tuple(schema["symbols"]), schema.get("default")
            return Column(name, path, kind, None, arrow, symbols=symbols, fallback=fallback, **_names(schema))
        if kind == "fixed":
            return Column(name, path, kind, logical, arrow, size=schema["size"], **_names(schema))
        return Column(name, path, kind, logical, arrow)

    def union(self, union: list[Any], name: str, path: str) -> Column:
        types = [_type(branch) for branch in union]
        if not types:
            raise UnsupportedSchema(f"{path}: a union without branches; it has no values", "give it a branch")
        null_branch = types.index("null") if "null" in types else None
        others = [branch for branch, kind in zip(union, types, strict=True) if kind != "null"]
        if len(others) < 2:
            column = self.column(others[0] if others else "null", name, path)
            return replace(column, null_branch=null_branch if others else None, branches=len(union))
        self._enter("", path)
        names = _member_names(kind for kind in types if kind != "null")
        members = tuple(
            self.column(branch, member, f"{path}.{member}") for branch, member in zip(others, names, strict=True)
        )
        self.within.pop()
        arrow = pa.struct([member.field for member in members])
        return Column(name, path, "union", None, arrow, null_branch, children=members, branches=len(union))

    def _held(self, schema: Any, name: str, path: str) -> Column:
        self._enter("", path)
        column = self.column(schema, name, path)
        self.within.pop()
        return column

    def _enter(self, record: str, path: str) -> None:
        if record and record in self.within:
            raise UnsupportedSchema(
                f"{path}: record {record} contains itself; a table's columns cannot",
                "flatten it to a fixed depth, or carry the inner part as a string of JSON",
            )
        if len(self.within) == DEPTH_MAX:
            raise UnsupportedSchema(f"{path}: nested more than {DEPTH_MAX} deep", "flatten the event")
        self.within.append(record)


def _member_names(types: Iterable[str]) -> list[str]:
    """Name a union's members after its branches' types, which are full names."""
    names: list[str] = []
    taken: set[str] = set()
    for kind in types:
        full = kind.replace(".", "_")
        numbered = (f"{full}_{n}" for n in range(2, len(taken) + 3))
        name = next(name for name in (kind.rpartition(".")[2], full, *numbered) if name.lower() not in taken)
        taken.add(name.lower())
        names.append(name)
    return names


def _names(schema: dict[str, Any]) -> dict[str, Any]:
    return {"named": schema["name"], "aliases": tuple(schema.get("aliases", ()))}


def _type(schema: Any) -> str:
    return schema if isinstance(schema, str) else str(schema.get("name", schema["type"]))


def _scalar(schema: dict[str, Any], path: str) -> tuple[str | None, pa.DataType]:
    """Say which logical type counts, if any, and the Arrow type."""
    kind, logical = schema["type"], schema.get("logicalType")
    if isinstance(logical, str):
        key = (kind, logical)
        if key in _LOGICAL:
            return logical, _LOGICAL[key]
        if key == ("fixed", "duration") and schema["size"] == _DURATION_BYTES:
            return logical, pa.struct([(part, pa.int64()) for part in DURATION_PARTS])
        if key == ("fixed", "uuid") and schema["size"] == _UUID_BYTES:
            return logical, pa.string()
        if logical == "decimal" and kind in ("bytes", "fixed"):
            decimal = _decimal(schema, path)
            if decimal is not None:
                return logical, decimal
    if kind == "enum":
        return None, pa.dictionary(pa.int32(), pa.string())
    return None, _PLAIN[kind]


def _decimal(schema: dict[str, Any], path: str) -> pa.DataType | None:
    """Give the Arrow type; None when Avro's rules make the logical type void."""
    precision, scale = schema.get("precision"), schema.get("scale", 0)
    if not isinstance(precision, int) or not isinstance(scale, int) or not 0 <= scale <= precision or precision < 1:
        return None
    # The largest number of n bytes has floor(log10(2 ** (8 n - 1) - 1)) digits that are free.
    if schema["type"] == "fixed" and (schema["size"] == 0 or 10 ** min(precision, 999) > 2 ** (8 * schema["size"] - 1)):
        return None
    if precision > DECIMAL_DIGITS_MAX:
        raise UnsupportedSchema(
            f"{path}: decimal of {precision} digits; a Delta table holds {DECIMAL_DIGITS_MAX}",
            f"declare a precision of at most {DECIMAL_DIGITS_MAX}, or a string",
        )
    return pa.decimal128(precision, scale)
