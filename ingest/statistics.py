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

# Longer strings are cut: bounds need not be values that occur.
STRING_CHARACTERS = 64
_LAST_CODE_POINT = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)


class Statistics:
    """Tells the statistics of files of one schema."""

    def __init__(self, schema: pa.Schema) -> None:
        """`schema` is the files' Arrow schema."""
        # Of the columns that are not nested: where in the footer, name, name as JSON, whether values have an order.
        self._columns: list[tuple[int, str, str, bool]] = []
        leaf = 0
        for field in schema:
            if not pa.types.is_nested(field.type):
                self._columns.append((leaf, field.name, _text(field.name), _has_order(field.type)))
            leaf += _leaves(field.type)

    def of(self, footer: pq.FileMetaData, without_bounds: Iterable[str] = ()) -> str:
        """Statistics JSON of one file: numRecords, minValues, maxValues, nullCount.

        `without_bounds` names columns whose bounds are not to be trusted (NaN was seen).

        A file with a column whose bounds cannot be told gets numRecords only: where other columns have bounds, delta-rs'
        pyarrow reader takes the missing ones for "matches nothing" (seen with 1.6.3). Columns that are all null need none.
        """
        lows, highs, nulls = [], [], []
        doubtful = set(without_bounds)
        groups = [footer.row_group(i) for i in range(footer.num_row_groups)]
        for leaf, name, key, has_order in self._columns:
            found = [group.column(leaf).statistics for group in groups]
            if any(s is None or not s.has_null_count for s in found):
                doubtful.add(name)
                continue
            nulls.append(f"{key}:{sum(s.null_count for s in found)}")
            bounded = [s for s in found if s.num_values > 0] if has_order else []
            if not bounded:
                continue
            told = None
            if name not in doubtful and all(s.has_min_max for s in bounded):
                told = _bounds(min(s.min for s in bounded), max(s.max for s in bounded))
            if told is None:
                doubtful.add(name)
            else:
                lows.append(f"{key}:{told[0]}")
                highs.append(f"{key}:{told[1]}")
        if doubtful:
            return f'{{"numRecords":{footer.num_rows}}}'
        members = (
            f'"minValues":{{{",".join(lows)}}}',
            f'"maxValues":{{{",".join(highs)}}}',
            f'"nullCount":{{{",".join(nulls)}}}',
        )
        return f'{{"numRecords":{footer.num_rows},{",".join(members)}}}'


def _leaves(kind: pa.DataType) -> int:
    """Columns that Parquet makes of one of this type."""
    if not pa.types.is_nested(kind):
        return 1
    if pa.types.is_map(kind):
        return _leaves(kind.key_type) + _leaves(kind.item_type)
    if pa.types.is_struct(kind):
        return sum(_leaves(field.type) for field in kind)
    return _leaves(kind.value_type)


def _has_order(kind: pa.DataType) -> bool:
    """Whether readers agree on an order of such values; of bytes they do not, and Delta keeps no bounds."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return not (pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind))


def _bounds(low: Any, high: Any) -> tuple[str, str] | None:
    """Both bounds as JSON text, or None where they cannot be told."""
    if isinstance(low, bool):
        return json.dumps(low), json.dumps(high)
    if isinstance(low, str):
        rounded = round_up(high)
        return None if rounded is None else (_text(low[:STRING_CHARACTERS]), _text(rounded))
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


def _text(value: str) -> str:
    """JSON text as UTF-8: delta-rs 1.6.3 misreads the escaped surrogate pairs of characters beyond the first plane."""
    return json.dumps(value, ensure_ascii=False)
