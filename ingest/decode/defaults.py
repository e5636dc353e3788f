"""A field's default, as a schema writes it in JSON, as a value of the field's column."""

import json
import re
import struct
import uuid
from decimal import Context, Decimal
from typing import Any, Final

import numpy as np
import pyarrow as pa

from ingest.decode.plan import number_range
from schemas.columns import DURATION_PARTS, Column
from thalweg.errors import UnsupportedSchema

UUID: Final = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_EXACT = Context(prec=60)  # more digits than a column's 38: nothing is rounded
_INT_BITS: Final = {"int": 32, "long": 64}


def default(column: Column) -> pa.Array:
    """Give the default of a record's field, which it must have, as an array of one value.

    Raises UnsupportedSchema, naming the field's path, when the default is none of the field's type.
    """
    assert column.default is not None  # the caller has looked
    try:
        return _one(column, json.loads(column.default))
    except ValueError as error:
        raise UnsupportedSchema(
            f"{column.path}: the default {column.default} is not of the field's type: {error}",
            "mend the default in the reader's schema",
        ) from error


def _one(column: Column, value: Any) -> pa.Array:
    """An array of one value. Raises ValueError when JSON's value is none of the column's type."""
    if column.branches:
        return _of_union(column, value)
    if column.avro == "null":
        _expect(value is None, "null", value)
        return pa.nulls(1, column.arrow)
    if column.avro == "record":
        return _of_record(column, value)
    if column.avro == "array":
        _expect(isinstance(value, list), "a list", value)
        items = _all(column.children[0], value)
        return pa.Array.from_buffers(column.arrow, 1, [None, _extent(len(value))], children=[items])
    if column.avro == "map":
        _expect(isinstance(value, dict), "an object", value)
        entries = [_all(column.children[0], list(value)), _all(column.children[1], list(value.values()))]
        both = pa.StructArray.from_arrays(entries, fields=[column.arrow.key_field, column.arrow.item_field])
        return pa.Array.from_buffers(column.arrow, 1, [None, _extent(len(value))], children=[both])
    return _scalar(column, value)


def _all(column: Column, values: list[Any]) -> pa.Array:
    return pa.concat_arrays([_one(column, value) for value in values]) if values else pa.nulls(0, column.arrow)


def _extent(items: int) -> pa.Buffer:
    return pa.py_buffer(np.array([0, items], np.int32))


def _of_union(column: Column, value: Any) -> pa.Array:
    """The first branch that the value fits."""
    members = [member for member in column.alternatives if member is not None]
    for branch in column.alternatives:
        if branch is None:
            if value is None:
                return pa.nulls(1, column.arrow)
            continue
        try:
            found = _one(branch, value)
        except ValueError:
            continue
        if column.avro != "union":
            return found
        arrays = [found if member is branch else pa.nulls(1, member.arrow) for member in members]
        return pa.StructArray.from_arrays(arrays, fields=list(column.arrow))
    raise ValueError(f"{json.dumps(value)} fits no branch of the union")


def _of_record(column: Column, value: Any) -> pa.Array:
    _expect(isinstance(value, dict), "an object", value)
    arrays = []
    for child in column.children:
        if child.name not in value and child.default is None:
            raise ValueError(f"field {child.name} is missing")
        arrays.append(_one(child, value[child.name]) if child.name in value else default(child))
    return pa.StructArray.from_arrays(arrays, fields=list(column.arrow))


def _scalar(column: Column, value: Any) -> pa.Array:
    match column.avro:
        case "boolean":
            _expect(isinstance(value, bool), "true or false", value)
        case "int" | "long":
            return _number(column, value)
        case "float" | "double":
            _expect(isinstance(value, (int, float)) and not isinstance(value, bool), "a number", value)
            return pa.array(np.array([float(value)]), pa.float64()).cast(column.arrow, safe=False)
        case "enum":
            _expect(isinstance(value, str) and value in column.symbols, "one of the symbols", value)
            return pa.DictionaryArray.from_arrays(
                pa.array([column.symbols.index(value)], pa.int32()), pa.array(column.symbols, pa.string())
            )
        case "string":
            _expect(isinstance(value, str), "a text", value)
            if column.logical == "uuid":
                _expect(re.fullmatch(UUID, value) is not None, "a UUID", value)
        case _:
            value = _bytes(column, value)
    return pa.array([value], column.arrow)


def _number(column: Column, value: Any) -> pa.Array:
    beyond = 2 ** (_INT_BITS[column.avro] - 1)
    least, greatest, factor = number_range(column) or (-beyond, beyond - 1, 1)
    whole = isinstance(value, int) and not isinstance(value, bool)
    _expect(whole and least <= value <= greatest, f"a whole number from {least} to {greatest}", value)
    return pa.array([value * factor], pa.int32() if column.avro == "int" else pa.int64()).view(column.arrow)


def _bytes(column: Column, value: Any) -> Any:
    """The bytes that a text of characters up to U+00FF stands for, as the column's logical type has them."""
    _expect(isinstance(value, str) and all(ord(c) < 256 for c in value), "a text of characters up to U+00FF", value)
    data = value.encode("latin-1")
    if column.avro == "fixed":
        _expect(len(data) == column.size, f"{column.size} bytes", value)
    match column.logical:
        case "decimal":
            unscaled = int.from_bytes(data, "big", signed=True)
            fits = bool(data) and abs(unscaled) < 10**column.arrow.precision
            _expect(fits, f"a decimal of {column.arrow.precision} digits", value)
            return Decimal(unscaled).scaleb(-column.arrow.scale, _EXACT)
        case "uuid":
            return str(uuid.UUID(bytes=data))
        case "duration":
            return dict(zip(DURATION_PARTS, struct.unpack("<III", data), strict=True))
    return data


def _expect(met: bool, what: str, value: Any) -> None:
    if not met:
        raise ValueError(f"expected {what}, got {json.dumps(value)}")
