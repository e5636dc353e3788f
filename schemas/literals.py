"""Values that a declaration writes down, turned exactly into values of an Arrow column.

A declaration may hold numbers and text. Text stands for what YAML and JSON have no number for: `2013-01-31` is a date,
`2013-01-31T00:00:00Z` a timestamp, `"0.10"` a decimal that must not go through binary floating point.
Comparing is done where it is exact and cheap: integers, dates and timestamps as the integers that Arrow stores.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal, InvalidOperation
from typing import Any

import numpy as np
import pyarrow as pa

Literal = bool | int | float | str

# Microseconds are what Python's datetime resolves; Arrow's other units are multiples or parts.
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_INT64 = range(-(2**63), 2**63)
# Bounds are written by people; this many characters hold any number that a column can, with room to spare.
_LONGEST = 100
# More digits than a bound's characters and a decimal's 38 together: arithmetic on bounds never rounds by itself.
_EXACT = Context(prec=4 * _LONGEST)


@dataclass(frozen=True, slots=True)
class Limits:
    """Inclusive bounds in the terms that the column's values are compared in; None where it is open.

    `int` for integers, dates (days since 1970) and timestamps (the column's own unit since 1970), `Decimal` for
    decimals, `float` for floating point.
    """

    low: int | float | Decimal | None
    high: int | float | Decimal | None


def parse(value: object) -> Decimal | date | datetime:
    """What a bound means. Raises ValueError saying what was expected."""
    expected = f"expected a number, a date (2013-01-31) or a timestamp (2013-01-31T00:00:00Z), got {value!r}"
    if isinstance(value, bool) or not isinstance(value, (int, float, str)) or len(str(value)) > _LONGEST:
        raise ValueError(expected)
    try:
        number = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        pass
    else:
        if not number.is_finite():
            raise ValueError(f"expected a finite number, got {value!r}")
        return number
    try:
        return date.fromisoformat(str(value)) if len(str(value)) == 10 else datetime.fromisoformat(str(value))
    except ValueError:
        raise ValueError(expected) from None


def plain(value: object) -> object:
    """A value as JSON can hold it and Avro's `long`, `double` and `string` too: dates and great integers as text."""
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    if isinstance(value, int) and value not in _INT64:
        return str(value)
    return value


def limits(low: Literal | None, high: Literal | None, kind: pa.DataType) -> Limits:
    """Turn declared bounds into those of a column of type `kind`, without widening or narrowing what passes.

    A bound between two values that the column can hold moves inwards to the next one (`min: 0.5` of whole numbers is
    1); a bound of a floating point column is rounded to the nearest value that the column can hold, so that
    `max: 0.1` lets the column's own 0.1 pass. Raises ValueError when the type has no order, the bound is of another
    kind, or no value at all could pass.
    """
    a = None if low is None else _bound(parse(low), kind, ROUND_CEILING)
    b = None if high is None else _bound(parse(high), kind, ROUND_FLOOR)
    if (a is not None and b is not None and a > b) or not _reachable(a, b, kind):
        raise ValueError(f"no value of type {kind} lies between {low} and {high}")
    return Limits(a, b)


def values(declared: Sequence[Literal], kind: pa.DataType) -> pa.Array:
    """Turn declared values into an array of type `kind` (of its values, when it is a dictionary).

    Raises ValueError naming a value that a column of this type cannot hold.
    """
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.array([_value(value, kind) for value in declared], kind)


def integer_like(kind: pa.DataType) -> bool:
    """Whether Arrow stores values of this type as integers in the same order."""
    return bool(pa.types.is_integer(kind) or pa.types.is_date32(kind) or pa.types.is_timestamp(kind))


def _bound(meant: Decimal | date | datetime, kind: pa.DataType, rounding: str) -> int | float | Decimal:
    if pa.types.is_timestamp(kind):
        if not isinstance(meant, datetime):
            raise ValueError(f"a {kind} needs a timestamp such as {_timestamp_example(kind)}, got {meant}")
        return _stored(_since_1970_us(meant, kind), kind.unit, rounding)
    if pa.types.is_date32(kind):
        if isinstance(meant, datetime) or not isinstance(meant, date):
            raise ValueError(f"a date needs a date such as 2013-01-31, got {meant}")
        return (meant - date(1970, 1, 1)).days
    if not (pa.types.is_integer(kind) or pa.types.is_decimal(kind) or pa.types.is_floating(kind)):
        raise ValueError(f"{kind} has no order to compare by; a range needs numbers, dates or timestamps")
    if not isinstance(meant, Decimal):
        raise ValueError(f"{kind} needs a number, got {meant}")
    if pa.types.is_integer(kind):
        return int(meant.to_integral_value(rounding))
    if pa.types.is_decimal(kind):
        whole = meant.scaleb(kind.scale, _EXACT).to_integral_value(rounding, _EXACT)
        return whole.scaleb(-kind.scale, _EXACT)
    with np.errstate(over="ignore"):  # told below, in our words
        rounded = float(kind.to_pandas_dtype()(float(meant)))
    if not math.isfinite(rounded):
        raise ValueError(f"{meant} is beyond what {kind} can hold")
    return rounded


def _reachable(low: Any, high: Any, kind: pa.DataType) -> bool:
    """Whether any value of the type lies within the bounds."""
    if pa.types.is_floating(kind):
        return True
    if pa.types.is_decimal(kind):
        most: Any = (Decimal(10) ** kind.precision - 1).scaleb(-kind.scale)
        least: Any = -most
    else:
        info = np.iinfo(kind.to_pandas_dtype() if pa.types.is_integer(kind) else f"int{kind.bit_width}")
        least, most = int(info.min), int(info.max)
    return (low is None or low <= most) and (high is None or high >= least)


def _value(value: Literal, kind: pa.DataType) -> object:
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        if isinstance(value, bool):
            raise ValueError(f"the field holds text and YAML read {value}: quote it, such as 'NO' or 'on'")
        if not isinstance(value, str):
            raise ValueError(f"the field holds text, got the number {value}: quote it")
        return value
    if pa.types.is_boolean(kind):
        if not isinstance(value, bool):
            raise ValueError(f"the field holds true or false, got {value!r}")
        return value
    exact = _bound(parse(value), kind, ROUND_FLOOR)
    if exact != _bound(parse(value), kind, ROUND_CEILING) or not _reachable(exact, exact, kind):
        raise ValueError(f"a {kind} cannot hold {value!r}")
    if integer_like(kind):
        return pa.scalar(exact, pa.int64()).cast(pa.int32() if pa.types.is_date32(kind) else pa.int64()).cast(kind)
    return exact


def _since_1970_us(meant: datetime, kind: pa.DataType) -> int:
    if (meant.tzinfo is None) != (kind.tz is None):
        needs = "needs no zone: it is local time" if kind.tz is None else "needs its zone"
        raise ValueError(f"a {kind} {needs}, such as {_timestamp_example(kind)}, got {meant.isoformat()}")
    difference = meant.replace(tzinfo=meant.tzinfo or UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (difference.days * 86_400 + difference.seconds) * 1_000_000 + difference.microseconds


def _stored(microseconds: int, unit: str, rounding: str) -> int:
    times, per = _PER_SECOND[unit], _PER_SECOND["us"]
    scaled = microseconds * times
    return -(-scaled // per) if rounding == ROUND_CEILING else scaled // per


def _timestamp_example(kind: pa.DataType) -> str:
    return "2013-01-31T00:00:00" if kind.tz is None else "2013-01-31T00:00:00Z"
