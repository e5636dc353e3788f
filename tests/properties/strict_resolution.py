"""Schema resolution value by value, written from the specification: what the decoder's resolution of columns is held against.

fastavro is the first oracle, but it takes the first branch of a union that a value can be promoted to before the one of the
value's own type, reads numbers as a float with a double's precision, and gives defaults as JSON has them. Values are as Arrow's
`to_pylist` gives them. It knows nothing of `schemas.columns` nor of `ingest.decode`.
"""

import io
from datetime import date, datetime, timedelta
from typing import Any

import fastavro
import numpy as np

from tests.properties.strict_avro import Bad, name_of, read_value

_PROMOTIONS = {
    "int": ("long", "float", "double"),
    "long": ("float", "double"),
    "float": ("double",),
    "string": ("bytes",),
    "bytes": ("string",),
}


def readable(writer: Any, reader: Any) -> bool:
    """Whether some value that is not null can be read; a pair of which this is not so is refused as a pair."""
    if isinstance(writer, list):
        branches = [branch for branch in writer if branch != "null"] or writer
        return any(readable(branch, reader) for branch in branches)
    if isinstance(reader, list):
        return any(readable(writer, branch) for branch in reader)
    kind, other = _kind(writer), _kind(reader)
    if not _meaning_fits(writer, reader):
        return False
    if kind != other:
        return other in _PROMOTIONS.get(kind, ())
    if kind in ("record", "enum", "fixed") and writer["name"] not in (reader["name"], *reader.get("aliases", ())):
        return False
    if kind == "record":
        return all(
            "default" in field if source is None else readable(source["type"], field["type"])
            for field, source in _sources(writer, reader)
        )
    if kind == "enum":
        return "default" in reader or bool(set(writer["symbols"]) & set(reader["symbols"]))
    if kind in ("array", "map"):
        inner = "items" if kind == "array" else "values"
        return readable(writer[inner], reader[inner])
    return True


def resolve(writer: Any, reader: Any, value: Any, lax: set[str]) -> Any:
    """The writer's value as the reader has it. `lax` is told where fastavro is known to differ. Raises Bad."""
    if isinstance(writer, list):
        members = {name_of(branch): branch for branch in writer if branch != "null"}
        if value is None:
            return resolve("null", reader, None, lax)
        if len(members) == 1:
            return resolve(*members.values(), reader, value, lax)
        (chosen,) = (name for name, member in value.items() if member is not None)
        return resolve(members[chosen], reader, value[chosen], lax)
    if isinstance(reader, list):
        own = [branch for branch in reader if _is_own(writer, branch)]
        found = next((branch for branch in [*own, *reader] if readable(writer, branch)), None)
        if found is None:
            raise Bad("no branch")
        if found is not next(branch for branch in reader if _kind(branch) == _kind(found) or branch is found):
            lax.add("one of several branches of a kind")
        if reader.index(found) > 0:
            lax.add("not the first branch")
        return in_union(reader, found, resolve(writer, found, value, lax))
    if not readable(writer, reader):
        raise Bad("types")
    kind, other = _kind(writer), _kind(reader)
    if kind == "record":
        return {
            field["name"]: plain_default(field["type"], field["default"])
            if source is None
            else resolve(source["type"], field["type"], value[source["name"]], lax)
            for field, source in _sources(writer, reader)
        }
    if kind == "array":
        return [resolve(writer["items"], reader["items"], item, lax) for item in value]
    if kind == "map":
        return [(key, resolve(writer["values"], reader["values"], item, lax)) for key, item in value]
    if kind == "enum" and value not in reader["symbols"]:
        if "default" not in reader:
            raise Bad("symbol")
        return reader["default"]
    if _logical(writer) != _logical(reader):
        lax.add("logical types are the writer's")
        return _reinterpreted(writer, reader, value)
    return _promoted(kind, other, value)


def in_union(union: list[Any], branch: Any, value: Any) -> Any:
    """A value of a branch, as the union's column has it."""
    members = [name_of(member) for member in union if member != "null"]
    if branch == "null" or len(members) == 1:
        return value
    return dict.fromkeys(members) | {name_of(branch): value}


def plain_default(kind: Any, default: Any) -> Any:
    """A default as a value; only of types that JSON has, of records of them, and of unions of which it is the first branch."""
    if isinstance(kind, list):
        return in_union(kind, kind[0], plain_default(kind[0], default))
    match _kind(kind):
        case "record":
            return {field["name"]: plain_default(field["type"], default[field["name"]]) for field in kind["fields"]}
        case "array":
            return [plain_default(kind["items"], item) for item in default]
        case "map":
            return [(key, plain_default(kind["values"], item)) for key, item in default.items()]
        case "bytes":
            return default.encode("latin-1")
        case "float" | "double":
            return float(default)
    return default


def _meaning_fits(writer: Any, reader: Any) -> bool:
    """Decimals are read as the same decimals; other logical types as themselves, or as what they are made of and back."""
    ours, theirs = _logical(writer), _logical(reader)
    if "decimal" in (ours, theirs):
        parts = ("type", "precision", "scale")
        return ours == theirs and [writer.get(part) for part in parts] == [reader.get(part) for part in parts]
    if "fixed" in (_kind(writer), _kind(reader)):
        return _kind(writer) == _kind(reader) and ours == theirs and writer["size"] == reader["size"]
    if not ours or not theirs:
        return True
    return ours.removesuffix("millis").removesuffix("micros") == theirs.removesuffix("millis").removesuffix("micros")


def _reinterpreted(writer: Any, reader: Any, value: Any) -> Any:
    """What a value is made of, promoted, as another logical type has it."""
    kind, other = _kind(writer), _kind(reader)
    if kind in ("string", "bytes"):
        text = _promoted(kind, other, value)
        if _logical(reader) == "uuid":
            try:
                return read_value(reader, encoded("string", text))
            except UnicodeEncodeError as error:
                raise Bad("text") from error
        return text
    if _logical(writer) and _logical(reader):
        return value
    if isinstance(value, datetime):
        since = value - datetime(1970, 1, 1, tzinfo=value.tzinfo)
        value = (
            since // timedelta(milliseconds=1)
            if _logical(writer).endswith("millis")
            else since // timedelta(microseconds=1)
        )
    elif isinstance(value, date):
        value = (value - date(1970, 1, 1)).days
    if _logical(reader):
        return read_value(reader, encoded("long", value))
    return _promoted(kind, other, value)


def encoded(kind: str, value: Any) -> bytes:
    """A value as Avro writes it."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, kind, value)
    return out.getvalue()


def _logical(schema: Any) -> str:
    return "" if isinstance(schema, str) else str(schema.get("logicalType", ""))


def _promoted(kind: str, other: str, value: Any) -> Any:
    if other == "float" and kind in ("int", "long"):
        return float(np.float32(np.int64(value)))
    if other == "double":
        return float(value)
    if kind == "bytes" and other == "string":
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise Bad("UTF-8") from error
    return value.encode() if kind == "string" and other == "bytes" else value


def _sources(writer: dict[str, Any], reader: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any] | None]]:
    """Each field of the reader's, and the writer's field that it is read from."""
    fields = {field["name"]: field for field in writer["fields"]}
    found = []
    for field in reader["fields"]:
        names = [name for name in (field["name"], *field.get("aliases", ())) if name in fields]
        found.append((field, fields[names[0]] if names else None))
    return found


def _is_own(writer: Any, branch: Any) -> bool:
    named = _kind(writer) in ("record", "enum", "fixed")
    return _kind(writer) == _kind(branch) and (not named or writer["name"] == branch["name"])


def _kind(schema: Any) -> str:
    return schema if isinstance(schema, str) else str(schema["type"])
