"""Admission against a plain Python reading of the same declaration, row by row."""

import json
import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.admit import Admission
from schemas.datasets import Dataset
from thalweg.errors import DeclarationError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = date(1970, 1, 1)

SCHEMA = pa.schema(
    {
        "small": pa.int32(),
        "large": pa.int64(),
        "price": pa.decimal128(6, 2),
        "long_price": pa.decimal128(38, 10),
        "single": pa.float32(),
        "ratio": pa.float64(),
        "text": pa.string(),
        "kind": pa.dictionary(pa.int32(), pa.string()),
        "day": pa.date32(),
        "at": pa.timestamp("us", "UTC"),
        "flag": pa.bool_(),
    }
)
_FIRST_US, _PAST_LAST_US = -62_135_596_800_000_000, 253_402_300_800_000_000  # 0001-01-01 and 10000-01-01, in UTC
_HOURS_14_US = 14 * 3_600_000_000  # no time zone is further from UTC
# Values are kept as Python compares them exactly: dates as days, timestamps as microseconds, since 1970. Most lie near
# the bounds that are drawn below, the rest at the ends of what a column can hold.
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "small": st.integers(-4, 4) | st.sampled_from([-(2**31), 2**31 - 1]),
    "large": st.integers(-4, 4) | st.sampled_from([-(2**63), 2**63 - 1]),
    "price": st.decimals(-2, 2, places=2) | st.sampled_from([Decimal("-9999.99"), Decimal("9999.99")]),
    "long_price": st.decimals(-2, 2, places=10) | st.sampled_from([Decimal(-(10**27)), Decimal(10**27)]),
    "single": st.floats(-2, 2, width=32) | st.floats(width=32),
    "ratio": st.floats(-2, 2) | st.floats(),
    "text": st.sampled_from(["", "a", "b", "1", "-12", "one", "é", "a" * 300]),
    "kind": st.sampled_from(["A", "B", "C"]),
    "day": st.integers(15_700, 15_710)
    | st.sampled_from([-(2**31), 2**31 - 1, -719_163, -719_162, 2_932_896, 2_932_897]),
    "at": st.integers(1_356_998_399_999_990, 1_356_998_400_000_010)
    | st.integers(-(10**15), 10**16)
    | st.integers(_FIRST_US - _HOURS_14_US, _FIRST_US + _HOURS_14_US)
    | st.integers(_PAST_LAST_US - _HOURS_14_US, _PAST_LAST_US + _HOURS_14_US)
    | st.sampled_from([-(2**63), 2**63 - 1, _FIRST_US - 1, _FIRST_US, _PAST_LAST_US - 1, _PAST_LAST_US]),
    "flag": st.booleans(),
}
_ZONES = [
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "Africa/Casablanca",
    "Asia/Beirut",
]


def _rows() -> st.SearchStrategy[list[dict[str, Any]]]:
    row = st.fixed_dictionaries({name: st.none() | values for name, values in _VALUES.items()})
    return st.lists(row, min_size=1, max_size=20)


_NUMBERS = (
    st.integers(-4, 4)
    | st.decimals(-2, 2, places=3).map(str)
    | st.decimals(-2, 2, places=12).map(str)
    | st.floats(-2, 2)
    | st.integers(-(10**40), 10**40)
)
_DATES = st.integers(15_700, 15_710).map(lambda day: str(_EPOCH_DAY + timedelta(day))) | st.sampled_from(
    ["0001-01-01", "9999-12-31"]
)
_TIMES = st.integers(-10, 10).map(
    lambda us: (datetime(2013, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)).isoformat()
)
_BOUNDS = dict.fromkeys(("small", "large", "price", "long_price", "single", "ratio"), _NUMBERS) | {
    "day": _DATES,
    "at": _TIMES,
}
_LISTED = {
    "small": st.integers(-3, 3),
    "large": st.integers(-3, 3) | st.sampled_from([2**63 - 1, -(2**63)]),
    "price": st.sampled_from([0, 1, "1.25", -2.5]),
    "text": st.sampled_from(["", "a", "é", "x"]),
    "kind": st.sampled_from(["A", "B", "X"]),
    "day": st.sampled_from(["2013-01-01", "0001-01-01"]),
    "flag": st.booleans(),
}
# SQL, and what it means in Python: true, false, None where it raises.
_SQL: dict[str, Any] = {
    "small > 0": lambda row: row["small"] is None or row["small"] > 0,
    "small IS NULL OR large IS NOT NULL -- both": lambda row: row["small"] is None or row["large"] is not None,
    "text::INT > 0": lambda row: row["text"] is None or {"1": True, "-12": False}.get(row["text"]),
    "kind <> 'A' OR flag": lambda row: row["kind"] in (None, "B", "C") or row["flag"] is not False,
    "price >= 0.5": lambda row: row["price"] is None or row["price"] >= Decimal("0.5"),
}


@st.composite
def _rules(draw: st.DrawFn) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for number in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["not_null", *["range"] * 5, *["one_of"] * 3, "sql"]))
        name = f"rule_{number}"
        if kind == "sql":
            found.append({kind: {"name": name, "expression": draw(st.sampled_from(sorted(_SQL)))}})
            continue
        field = draw(st.sampled_from(sorted({"not_null": _VALUES, "range": _BOUNDS, "one_of": _LISTED}[kind])))
        body: dict[str, Any] = {"name": name, "field": field}
        if kind == "range":
            body |= draw(
                st.fixed_dictionaries({"min": _BOUNDS[field]}, optional={"max": _BOUNDS[field]})
                | st.fixed_dictionaries({"max": _BOUNDS[field]})
            )
        elif kind == "one_of":
            body["values"] = draw(st.lists(_LISTED[field], min_size=1, max_size=4))
        found.append({kind: body})
    return found


def _meaning(declared: int | float | str, field: str) -> Any:
    """A declared value as the values of `_VALUES` are."""
    if field == "day":
        return (date.fromisoformat(str(declared)) - _EPOCH_DAY).days
    if field == "at":
        return (datetime.fromisoformat(str(declared)) - _EPOCH) // timedelta(microseconds=1)
    if field in ("text", "kind", "flag"):
        return declared
    number = Decimal(str(declared))
    # A floating point field's bound is the number nearest to it that the field can hold.
    return float(np.float32(float(number))) if field == "single" else float(number) if field == "ratio" else number


def _passes(rule: dict[str, Any], row: dict[str, Any]) -> bool:
    ((kind, body),) = rule.items()
    if kind == "sql":
        return bool(_SQL[body["expression"]](row))
    value, field = row[body["field"]], body["field"]
    if value is None:
        return kind != "not_null"
    if kind == "one_of":
        return any(value == _meaning(listed, field) for listed in body["values"])
    if kind == "range":
        if isinstance(value, float) and math.isnan(value):
            return False
        return ("min" not in body or value >= _meaning(body["min"], field)) and (
            "max" not in body or value <= _meaning(body["max"], field)
        )
    return True


def _date(row: dict[str, Any], partition: dict[str, Any]) -> date | None:
    try:
        if partition["field"] == "day":
            return None if row["day"] is None else _EPOCH_DAY + timedelta(days=row["day"])
        if row["at"] is None:
            return None
        return (_EPOCH + timedelta(microseconds=row["at"])).astimezone(ZoneInfo(partition["time_zone"])).date()
    except OverflowError:
        return None


def _batch(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    stored = {"day": pa.int32(), "at": pa.int64(), "kind": pa.string()}
    arrays = []
    for field in SCHEMA:
        array = pa.array([row[field.name] for row in rows], stored.get(field.name, field.type))
        arrays.append(
            array.dictionary_encode()
            if field.name == "kind"
            else array.view(field.type)
            if field.name in stored
            else array
        )
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def _admission(rules: list[dict[str, Any]], partition: dict[str, Any]) -> Admission:
    declared = {"name": "d", "topics": ["d"], "owner": "me", "partition": partition, "contract": {"rules": rules}}
    return Admission(Dataset.from_json(json.dumps(declared)), SCHEMA)


def _agrees(rows: list[dict[str, Any]], rules: list[dict[str, Any]], partition: dict[str, Any]) -> None:
    """Compare the verdict with that of reading row by row. Raises DeclarationError when the rules are refused."""
    verdict = _admission(rules, partition).check(_batch(rows))
    expected: dict[int, str] = {}
    for number, row in enumerate(rows):
        name = next((next(iter(rule.values()))["name"] for rule in rules if not _passes(rule, row)), None)
        day = _date(row, partition)
        if name is not None or day is None:
            expected[number] = name or "partition_date"
        else:
            assert _EPOCH_DAY + timedelta(days=int(verdict.days[number])) == day
    assert {r.row: r.rule for r in verdict.rejected} == expected
    assert [r.row for r in verdict.rejected] == sorted(expected)
    assert np.flatnonzero(~verdict.admitted).tolist() == sorted(expected)
    assert all(r.reason for r in verdict.rejected)


def _lets_nothing_pass(rule: dict[str, Any], rows: list[dict[str, Any]]) -> bool:
    field = rule["range"]["field"]
    return not any(row[field] is not None and _passes(rule, row) for row in rows)


@settings(max_examples=250, deadline=None)
@given(rows=_rows(), rules=_rules())
def test_the_first_broken_rule_is_the_one_that_reading_row_by_row_finds(
    rows: list[dict[str, Any]], rules: list[dict[str, Any]]
) -> None:
    try:
        _agrees(rows, rules, {"field": "day"})
    except DeclarationError:
        # Only a range that nothing can pass is refused, and then nothing does.
        if not any("range" in rule and _lets_nothing_pass(rule, rows) for rule in rules):
            raise


@settings(max_examples=400, deadline=None)
@given(rows=_rows(), zone=st.sampled_from(_ZONES))
def test_the_date_is_the_one_that_reading_row_by_row_gives(rows: list[dict[str, Any]], zone: str) -> None:
    _agrees(rows, [], {"field": "at", "time_zone": zone})
