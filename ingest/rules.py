"""Contract rules as tests over whole columns: a few Arrow kernels each, and no array at all while nothing fails."""

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas import contracts, literals

Mask = npt.NDArray[np.bool_]

# A reason is for people: a value of a megabyte is in the quarantine table's `value` already.
_SHOWN_CHARACTERS = 120
_SHOWN_VALUES = 12


class Test(Protocol):
    """One rule, ready to be tried on batches of one schema."""

    rule: str
    """The rule's name."""
    field: str
    """The field that it looks at."""

    def failing(self, column: pa.Array) -> Mask | None:
        """Which values break the rule; None when none does."""
        ...

    def reason(self, value: pa.Scalar) -> str:
        """Why this value breaks the rule."""
        ...


def test_of(rule: contracts.NotNull | contracts.Range | contracts.OneOf, kind: pa.DataType) -> Test:
    """The test of a rule over a column of type `kind`. Raises ValueError when they do not fit, as Contract.check tells."""
    if isinstance(rule, contracts.NotNull):
        return _NotNull(rule)
    if isinstance(rule, contracts.OneOf):
        return _OneOf(rule, kind)
    found = literals.limits(rule.min, rule.max, kind)
    return _FloatRange(rule, found) if pa.types.is_floating(kind) else _Range(rule, found, kind)


class _NotNull:
    def __init__(self, rule: contracts.NotNull) -> None:
        self.rule, self.field = rule.name, rule.field

    def failing(self, column: pa.Array) -> Mask | None:
        return mask(column.is_null()) if column.null_count else None

    def reason(self, value: pa.Scalar) -> str:
        return f"{self.field} is null"


class _Range:
    """Of types whose every value has a place in the order: the smallest and the greatest tell about all."""

    def __init__(self, rule: contracts.Range, limits: literals.Limits, kind: pa.DataType) -> None:
        self.rule, self.field, self._declared, self._limits = rule.name, rule.field, rule, limits
        # Dates and timestamps compare as the integers that they are stored as; Python's reach only to the year 9999.
        self._stored = pa.int32() if pa.types.is_date32(kind) else pa.int64() if pa.types.is_timestamp(kind) else kind

    def failing(self, column: pa.Array) -> Mask | None:
        stored = column if self._stored.equals(column.type) else column.view(self._stored)
        seen = pc.min_max(stored)
        low, high = seen["min"].as_py(), seen["max"].as_py()
        if low is None or not (self._below(low) or self._above(high)):
            return None
        outside = []
        if self._below(low):
            outside.append(pc.less(stored, pa.scalar(self._limits.low, self._stored)))
        if self._above(high):
            outside.append(pc.greater(stored, pa.scalar(self._limits.high, self._stored)))
        return mask(outside[0] if len(outside) == 1 else pc.or_(*outside))

    def reason(self, value: pa.Scalar) -> str:
        stored = value.cast(self._stored).as_py() if not self._stored.equals(value.type) else value.as_py()
        side = f"below {self._declared.min}" if self._below(stored) else f"above {self._declared.max}"
        return f"{self.field} = {shown(value)} is {side}"

    def _below(self, stored: Any) -> bool:
        return self._limits.low is not None and stored < self._limits.low

    def _above(self, stored: Any) -> bool:
        return self._limits.high is not None and stored > self._limits.high


class _FloatRange:
    """NaN lies in no range, and tells nothing as a smallest or greatest: each value is compared."""

    def __init__(self, rule: contracts.Range, limits: literals.Limits) -> None:
        self.rule, self.field, self._declared, self._limits = rule.name, rule.field, rule, limits

    def failing(self, column: pa.Array) -> Mask | None:
        # Nulls become NaN, and NaN compares as false; a range has at least one bound.
        numbers = column.to_numpy(zero_copy_only=False)
        inside = np.ones(len(numbers), np.bool_)
        if self._limits.low is not None:
            inside &= numbers >= self._limits.low
        if self._limits.high is not None:
            inside &= numbers <= self._limits.high
        if column.null_count:
            inside |= mask(column.is_null())
        return None if inside.all() else ~inside

    def reason(self, value: pa.Scalar) -> str:
        number = value.as_py()
        if np.isnan(number):
            return f"{self.field} = nan is not a number"
        low = self._limits.low
        side = f"below {self._declared.min}" if low is not None and number < low else f"above {self._declared.max}"
        return f"{self.field} = {number!r} is {side}"


class _OneOf:
    """Of a dictionary, as enums are decoded, only the few distinct values are looked up."""

    def __init__(self, rule: contracts.OneOf, kind: pa.DataType) -> None:
        self.rule, self.field, self._declared = rule.name, rule.field, rule
        self._values = literals.values(rule.values, kind)

    def failing(self, column: pa.Array) -> Mask | None:
        if pa.types.is_dictionary(column.type):
            known = mask(self._found(column.dictionary))
            if known.all():
                return None
            # The last place stands for null, which passes.
            found = np.append(known, True)[column.indices.fill_null(len(known)).to_numpy()]
        else:
            found = mask(self._found(column))
            if column.null_count:
                found |= mask(column.is_null())
        return None if found.all() else ~found

    def reason(self, value: pa.Scalar) -> str:
        listed = [str(v) for v in self._declared.values[:_SHOWN_VALUES]]
        more = len(self._declared.values) - len(listed)
        rest = f" or {more} more" if more else ""
        return f"{self.field} = {shown(value)} is not one of {', '.join(listed)}{rest}"

    def _found(self, column: pa.Array) -> pa.BooleanArray:
        return pc.is_in(column, value_set=self._values)


def mask(flags: pa.BooleanArray) -> Mask:
    """Arrow's flags as numpy's; null counts as false."""
    flags = flags.fill_null(False) if flags.null_count else flags
    # A copy: Arrow packs bits, and what numpy sees is not writable.
    result: Mask = np.array(flags.to_numpy(zero_copy_only=False), np.bool_)
    return result


def shown(value: pa.Scalar) -> str:
    """A value as a reason shows it: short, and also where Python has no such date."""
    if not value.is_valid:
        return "null"
    try:
        plain = value.as_py()
    except (ValueError, OverflowError):
        return f"{value.cast(pa.int32() if pa.types.is_date32(value.type) else pa.int64()).as_py()} ({value.type})"
    text = str(plain) if isinstance(plain, (int, Decimal, date, timedelta)) else repr(plain)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def shown_fields(names: Sequence[str], batch: pa.RecordBatch, row: int) -> str:
    """`a = 1, b = 'x'` of some fields of one row."""
    return ", ".join(f"{name} = {shown(batch.column(name)[row])}" for name in names)
