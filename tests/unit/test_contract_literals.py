"""Bounds and listed values as a column's own: exact, and never wider or narrower than what was written."""

from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from schemas.literals import Limits, limits, values

US = pa.timestamp("us", "UTC")
PRICE = pa.decimal128(10, 2)


@pytest.mark.parametrize(
    ("low", "high", "kind", "expected"),
    [
        (1, 6000, pa.int32(), (1, 6000)),
        (0.5, 2.5, pa.int32(), (1, 2)),
        (-2.5, -0.5, pa.int64(), (-2, -1)),
        ("0.5", None, pa.int32(), (1, None)),
        (-(10**30), 10**30, pa.int32(), (-(10**30), 10**30)),
        (9007199254740993, 9007199254740993, pa.int64(), (2**53 + 1, 2**53 + 1)),
        ("0.001", "0.999", PRICE, (Decimal("0.01"), Decimal("0.99"))),
        ("-0.999", "-0.001", PRICE, (Decimal("-0.99"), Decimal("-0.01"))),
        (
            "12345678901234567890123456.789",
            None,
            pa.decimal128(38, 2),
            (Decimal("12345678901234567890123456.79"), None),
        ),
        (0.1, 0.1, PRICE, (Decimal("0.10"), Decimal("0.10"))),
        (0.1, 0.1, pa.float64(), (0.1, 0.1)),
        (0.1, 0.1, pa.float32(), (float(np.float32(0.1)), float(np.float32(0.1)))),
        ("1970-01-02", "1969-12-31", pa.date32(), None),
        ("1969-12-31", "1970-01-02", pa.date32(), (-1, 1)),
        ("1970-01-01T00:00:00Z", "1970-01-01T01:00:00.000001+01:00", US, (0, 1)),
        ("1969-12-31T23:59:59.999999Z", None, US, (-1, None)),
        ("1970-01-01T00:00:01", None, pa.timestamp("us"), (1_000_000, None)),
        ("1970-01-01T00:00:00.0005Z", "1970-01-01T00:00:00.0005Z", pa.timestamp("ms", "UTC"), None),
        ("1970-01-01T00:00:00.0005Z", "1970-01-01T00:00:00.0015Z", pa.timestamp("ms", "UTC"), (1, 1)),
    ],
)
def test_a_bound_that_the_column_cannot_hold_moves_inwards(
    low: Any, high: Any, kind: pa.DataType, expected: Any
) -> None:
    if expected is None:
        with pytest.raises(ValueError, match="no value of type"):
            limits(low, high, kind)
    else:
        assert limits(low, high, kind) == Limits(*expected)


@pytest.mark.parametrize(
    ("declared", "kind", "expected"),
    [
        (["a", "é"], pa.string(), ["a", "é"]),
        (["a"], pa.dictionary(pa.int32(), pa.string()), ["a"]),
        ([True], pa.bool_(), [True]),
        ([1, 2.0, "3"], pa.int64(), [1, 2, 3]),
        ([1, 0.1, "0.10"], PRICE, [Decimal("1.00"), Decimal("0.10"), Decimal("0.10")]),
        ([1, 0.5], pa.float32(), [1.0, 0.5]),
        (["1e+2"], PRICE, [Decimal("100.00")]),
    ],
)
def test_listed_values_take_the_columns_type(declared: list[Any], kind: pa.DataType, expected: list[Any]) -> None:
    assert values(declared, kind).to_pylist() == expected


def test_listed_dates_and_timestamps_are_stored_as_the_column_stores_them() -> None:
    assert values(["1970-01-02"], pa.date32()).cast(pa.int32()).to_pylist() == [1]
    assert values(["1970-01-01T00:00:01Z"], US).cast(pa.int64()).to_pylist() == [1_000_000]
    assert values(["9999-12-31"], pa.date32()).cast(pa.int32()).to_pylist() == [2_932_896]
