"""Delta's per-file statistics, from the footer of a closed Parquet file.

Readers skip files by these, so a wrong bound silently hides rows: whatever is doubtful is left out, string maxima are
rounded up, and integers, decimals and times are written as exact text, never through a float. Format: the "Per-file
Statistics" section of the Delta protocol.
"""

import datetime as dt
import json
import math
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

# Delta's default of delta.dataSkippingNumIndexedCols.
INDEXED_COLUMNS = 32
# Longer strings are cut: bounds need not be values that occur.
STRING_CHARACTERS = 64
_LAST_CODE_POINT = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)


def statistics(footer: pq.FileMetaData, schema: pa.Schema, without_bounds: Iterable[str] = ()) -> str:
    """Statistics JSON of one file: numRecords, minValues, maxValues, nullCount.

    `schema` is the file's Arrow schema; `without_bounds` names columns whose bounds are not to be trusted (NaN was seen).
    """
    low: dict[str, str] = {}
    high: dict[str, str] = {}
    nulls: dict[str, int] = {}
    doubtful = set(without_bounds)
    groups = [footer.row_group(i) for i in range(footer.num_row_groups)]
    for path, name in _primitive_columns(footer, schema)[:INDEXED_COLUMNS]:
        columns = [group.column(path) for group in groups]
        if not all(column.is_stats_set for column in columns):
            continue
        found = [column.statistics for column in columns]
        if all(s.has_null_count for s in found):
            nulls[name] = sum(s.null_count for s in found)
        bounded = [s for s in found if s.num_values > 0]
        if name in doubtful or not bounded or not all(s.has_min_max for s in bounded):
            continue
        bounds = _bounds(min(s.min for s in bounded), max(s.max for s in bounded), schema.field(name).type)
        if bounds is not None:
            low[name], high[name] = bounds
    return f'{{"numRecords":{footer.num_rows},"minValues":{_object(low)},"maxValues":{_object(high)},"nullCount":{json.dumps(nulls)}}}'


def _primitive_columns(footer: pq.FileMetaData, schema: pa.Schema) -> list[tuple[int, str]]:
    """(leaf index, name) of the columns that are not nested, in file order."""
    nested = {field.name for field in schema if pa.types.is_nested(field.type)}
    leaves = (footer.schema.column(i).path for i in range(footer.num_columns))
    return [(i, path) for i, path in enumerate(leaves) if path.split(".")[0] not in nested]


def _bounds(low: Any, high: Any, kind: pa.DataType) -> tuple[str, str] | None:
    """Both bounds as JSON text, or None for types that have no order readers agree on."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_boolean(kind) or pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return None
    if isinstance(low, str):
        rounded = round_up(high)
        return None if rounded is None else (json.dumps(low[:STRING_CHARACTERS]), json.dumps(rounded))
    if isinstance(low, float):
        if not (math.isfinite(low) and math.isfinite(high)):
            return None
        # -0.0 and 0.0 are one value to some readers and two, in this order, to others.
        return repr(low or -0.0), repr(high or 0.0)
    if isinstance(low, Decimal):
        return f"{low:f}", f"{high:f}"
    if isinstance(low, dt.datetime):
        return json.dumps(_instant(low)), json.dumps(_instant(high))
    if isinstance(low, dt.date):
        return json.dumps(low.isoformat()), json.dumps(high.isoformat())
    return (str(low), str(high)) if type(low) is int else None


def round_up(text: str) -> str | None:
    """The text itself if short, else a short text that sorts after it (by code point); None if there is none."""
    if len(text) <= STRING_CHARACTERS:
        return text
    prefix = text[:STRING_CHARACTERS]
    while prefix:
        following = ord(prefix[-1]) + 1
        if following in _SURROGATES:
            following = _SURROGATES.stop
        if following <= _LAST_CODE_POINT:
            return prefix[:-1] + chr(following)
        prefix = prefix[:-1]
    return None


def _instant(value: dt.datetime) -> str:
    text = value.replace(tzinfo=None).isoformat(timespec="microseconds")
    return f"{text}Z" if value.tzinfo is not None else text


def _object(members: dict[str, str]) -> str:
    return "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in members.items()) + "}"
