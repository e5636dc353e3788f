"""Admission: which rule rejects a row, why, and on which date the others land."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ingest.admit import Admission, Verdict
from schemas.arrow import event_schema
from schemas.datasets import Dataset
from thalweg.errors import DeclarationError

SCHEMA = pa.schema(
    {
        "at": pa.timestamp("us", "UTC"),
        "day": pa.date32(),
        "count": pa.int32(),
        "price": pa.decimal128(10, 2),
        "ratio": pa.float64(),
        "kind": pa.dictionary(pa.int32(), pa.string()),
        "text": pa.string(),
    }
)
NOON = datetime(2013, 1, 1, 12, tzinfo=UTC)


def _admission(rules: list[dict[str, Any]], partition: dict[str, Any] | None = None) -> Admission:
    declared = {
        "name": "clicks",
        "topics": ["clicks"],
        "owner": "me",
        "partition": partition or {"field": "at"},
        "contract": {"rules": rules},
    }
    return Admission(Dataset.from_json(json.dumps(declared)), SCHEMA)


def _batch(*rows: dict[str, Any]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{"at": NOON, **row} for row in rows], SCHEMA)


def _reasons(verdict: Verdict) -> list[tuple[int, str, str, str | None]]:
    return [(r.row, r.rule, r.reason, r.path) for r in verdict.rejected]


@pytest.mark.parametrize(
    ("rule", "good", "bad", "name", "reason"),
    [
        ({"not_null": "text"}, "", None, "not_null(text)", "text is null"),
        ({"range": {"field": "count", "min": 1, "max": 5}}, 5, 0, "range(count)", "count = 0 is below 1"),
        ({"range": {"field": "count", "min": 1, "max": 5}}, None, 6, "range(count)", "count = 6 is above 5"),
        (
            {"range": {"field": "price", "max": "0.1"}},
            Decimal("0.10"),
            Decimal("0.11"),
            "range(price)",
            "price = 0.11 is above 0.1",
        ),
        ({"range": {"field": "ratio", "min": 0.5}}, 0.5, 0.25, "range(ratio)", "ratio = 0.25 is below 0.5"),
        ({"range": {"field": "ratio", "min": 0.5}}, None, float("nan"), "range(ratio)", "ratio = nan is not a number"),
        (
            {"range": {"field": "day", "min": "2013-01-01"}},
            date(2013, 1, 1),
            date(2012, 12, 31),
            "range(day)",
            "day = 2012-12-31 is below 2013-01-01",
        ),
        (
            {"one_of": {"field": "text", "values": ["a", "b"]}},
            "b",
            "c",
            "one_of(text)",
            "text = 'c' is not one of a, b",
        ),
        ({"one_of": {"field": "text", "values": ["a"]}}, None, "c", "one_of(text)", "text = 'c' is not one of a"),
        ({"one_of": {"field": "kind", "values": ["A"]}}, "A", "B", "one_of(kind)", "kind = 'B' is not one of A"),
        ({"one_of": {"field": "kind", "values": ["A"]}}, None, "B", "one_of(kind)", "kind = 'B' is not one of A"),
        ({"one_of": {"field": "count", "values": [1, 2]}}, 2, 3, "one_of(count)", "count = 3 is not one of 1, 2"),
        (
            {"sql": {"name": "even", "expression": "count % 2 = 0"}},
            2,
            3,
            "even",
            "count % 2 = 0 is false for count = 3",
        ),
        (
            {"sql": {"name": "number", "expression": "text::INT > 0"}},
            "1",
            "one",
            "number",
            "text::INT > 0 cannot be evaluated for text = 'one'",
        ),
    ],
)
def test_a_row_that_breaks_a_rule_is_rejected_by_name_with_its_value(
    rule: dict[str, Any], good: Any, bad: Any, name: str, reason: str
) -> None:
    (body,) = rule.values()
    field = body if isinstance(body, str) else body.get("field", "count" if "count" in reason else "text")
    verdict = _admission([rule]).check(_batch({field: good}, {field: bad}, {field: good}))
    path = None if "sql" in rule else field
    assert _reasons(verdict) == [(1, name, reason, path)]
    assert verdict.admitted.tolist() == [True, False, True]
    assert verdict.days[verdict.admitted].tolist() == [15706, 15706]


def test_a_batch_without_a_fault_is_admitted_whole() -> None:
    rules = [{"not_null": "text"}, {"sql": {"name": "x", "expression": "count > 0"}}]
    verdict = _admission(rules).check(_batch({"text": "a", "count": 1}, {"text": "b", "count": None}))
    assert verdict.admitted.all()
    assert verdict.rejected == ()


def test_an_empty_batch_is_no_special_case() -> None:
    verdict = _admission([{"not_null": "text"}, {"sql": {"name": "x", "expression": "count > 0"}}]).check(_batch())
    assert (len(verdict.admitted), len(verdict.days), verdict.rejected) == (0, 0, ())


def test_the_first_rule_that_is_broken_is_named_and_the_date_comes_last() -> None:
    rules = [
        {"range": {"field": "count", "min": 0}},
        {"sql": {"name": "short", "expression": "len(text) < 3"}},
        {"not_null": "text"},
    ]
    verdict = _admission(rules).check(
        _batch(
            {"count": -1, "text": "long"},
            {"count": 1, "text": "long", "at": None},
            {"count": 1, "text": None, "at": None},
            {"count": 1, "text": "ok", "at": None},
            {"count": 1, "text": "ok"},
        )
    )
    assert [(r.row, r.rule) for r in verdict.rejected] == [
        (0, "range(count)"),
        (1, "short"),
        (2, "not_null(text)"),
        (3, "partition_date"),
    ]
    assert verdict.rejected[3].reason == "at is null"


def test_values_of_a_dictionary_that_no_row_uses_reject_nothing() -> None:
    """An enum's column brings all its symbols along, used or not."""
    column = pa.DictionaryArray.from_arrays(pa.array([0, None, 0], pa.int32()), pa.array(["A", "B"]))
    batch = _batch({}, {}, {})
    batch = batch.set_column(batch.schema.get_field_index("kind"), "kind", column)
    assert _admission([{"one_of": {"field": "kind", "values": ["A"]}}]).check(batch).admitted.all()


def test_a_slice_of_a_batch_is_judged_by_its_own_rows() -> None:
    rules = [{"range": {"field": "count", "min": 0}}, {"one_of": {"field": "kind", "values": ["A"]}}]
    batch = _batch({"count": -1, "kind": "B"}, {"count": 1, "kind": "A"}, {"count": -2, "kind": "A"}).slice(1)
    assert [(r.row, r.reason) for r in _admission(rules).check(batch).rejected] == [(1, "count = -2 is below 0")]


def test_a_reason_stays_short_however_long_the_value() -> None:
    values = [f"v{i}" for i in range(1000)]
    (found,) = (
        _admission([{"one_of": {"field": "text", "values": values}}]).check(_batch({"text": "x" * 10**6})).rejected
    )
    assert len(found.reason) < 300
    assert "or 988 more" in found.reason


@pytest.mark.parametrize(
    ("partition", "at", "expected"),
    [
        ({"field": "at"}, datetime(2013, 1, 1, 4, 59, tzinfo=UTC), "2013-01-01"),
        ({"field": "at", "time_zone": "America/New_York"}, datetime(2013, 1, 1, 4, 59, tzinfo=UTC), "2012-12-31"),
        ({"field": "at", "time_zone": "America/New_York"}, datetime(2013, 1, 1, 5, 0, tzinfo=UTC), "2013-01-01"),
        ({"field": "at", "time_zone": "America/New_York"}, datetime(2013, 7, 1, 3, 59, tzinfo=UTC), "2013-06-30"),
        ({"field": "at", "time_zone": "America/New_York"}, datetime(2013, 7, 1, 4, 0, tzinfo=UTC), "2013-07-01"),
        # Arrow's own conversion takes winter time for ever after 2037.
        ({"field": "at", "time_zone": "America/New_York"}, datetime(2050, 7, 1, 4, 30, tzinfo=UTC), "2050-07-01"),
        ({"sql": '"at"::DATE + 1'}, datetime(2013, 1, 1, 23, tzinfo=UTC), "2013-01-02"),
        ({"sql": "make_date(count, 2, 28)"}, NOON, "2020-02-28"),
    ],
)
def test_the_date_is_the_local_one_where_the_declaration_says(
    partition: dict[str, Any], at: datetime, expected: str
) -> None:
    verdict = _admission([], partition).check(_batch({"at": at, "count": 2020}))
    assert str(np.datetime64(int(verdict.days[0]), "D")) == expected


@pytest.mark.parametrize(
    ("partition", "columns", "reason"),
    [
        ({"field": "at"}, {"at": None}, "at is null"),
        ({"field": "at"}, {"at": 2**62}, "at = 4611686018427387904 (timestamp[us, tz=UTC]) gives no date between"),
        ({"field": "at"}, {"at": -(2**63)}, "gives no date between 0001-01-01 and 9999-12-31"),
        (
            {"field": "at", "time_zone": "Asia/Tokyo"},
            {"at": 253402300799_000_000},
            "at = 9999-12-31 23:59:59+00:00 gives no date",
        ),
        (
            {"field": "at", "time_zone": "America/New_York"},
            {"at": -62135596800_000_000},
            "at = 0001-01-01 00:00:00+00:00 gives no",
        ),
        ({"field": "day"}, {"day": 2932897}, "day = 2932897 (date32[day]) gives no date between"),
        ({"field": "day"}, {"day": -719163}, "day = -719163 (date32[day]) gives no date between"),
        (
            {"sql": "make_date(count, 1, 1)"},
            {"count": 10000},
            "the partition's expression gives no date between 0001-01-01 and 9999-12-31 for count = 10000",
        ),
        (
            {"sql": "make_date(count, 13, 1)"},
            {"count": 2013},
            "gives no date between 0001-01-01 and 9999-12-31 for count = 2013",
        ),
        (
            {"sql": "'infinity'::DATE"},
            {"count": 1},
            "the partition's expression gives no date between 0001-01-01 and 9999-12-31",
        ),
    ],
)
def test_a_row_without_a_date_that_readers_take_is_rejected_alone(
    partition: dict[str, Any], columns: dict[str, int | None], reason: str
) -> None:
    batch = _batch({"day": date(2013, 1, 1), "count": 2013}, {"day": date(2013, 1, 1), "count": 2013})
    for name, value in columns.items():
        kind = SCHEMA.field(name).type
        bad = pa.array([value], pa.int64() if name == "at" else pa.int32()).cast(kind)
        batch = batch.set_column(SCHEMA.get_field_index(name), name, pa.concat_arrays([batch.column(name)[:1], bad]))
    verdict = _admission([], partition).check(batch)
    assert verdict.rejected[-1].row == 1
    assert verdict.rejected[-1].rule == "partition_date"
    assert reason in verdict.rejected[-1].reason
    assert verdict.days[1] == 0


@pytest.mark.parametrize(
    ("logical", "time_zone", "number", "day"),
    [
        ("timestamp-nanos", "UTC", -1, date(1969, 12, 31)),
        ("timestamp-nanos", "UTC", 0, date(1970, 1, 1)),
        ("timestamp-nanos", "UTC", -(2**63), date(1677, 9, 21)),
        ("timestamp-nanos", "UTC", 2**63 - 1, date(2262, 4, 11)),
        ("timestamp-nanos", "America/New_York", 5 * 3600 * 10**9 - 1, date(1969, 12, 31)),
        ("timestamp-nanos", "America/New_York", 5 * 3600 * 10**9, date(1970, 1, 1)),
        ("local-timestamp-nanos", "UTC", 86_400 * 10**9 - 1, date(1970, 1, 1)),
    ],
)
def test_the_date_of_nanoseconds_is_that_of_the_instant(logical: str, time_zone: str, number: int, day: date) -> None:
    avro = {"type": ["null", {"type": "long", "logicalType": logical}], "name": "at"}
    schema = event_schema(json.dumps({"type": "record", "name": "R", "fields": [avro]}))
    partition = {"field": "at", "time_zone": time_zone}
    declared = {"name": "clicks", "topics": ["clicks"], "owner": "me", "partition": partition}
    admission = Admission(Dataset.from_json(json.dumps(declared)), schema)
    verdict = admission.check(pa.RecordBatch.from_pylist([{"at": number}, {"at": None}], schema))
    assert _reasons(verdict) == [(1, "partition_date", "at is null", "at")]
    assert verdict.days.tolist() == [(day - date(1970, 1, 1)).days, 0]


def test_a_range_of_nanoseconds_is_one_of_numbers() -> None:
    kind = {"type": "long", "logicalType": "timestamp-nanos"}
    schema = event_schema(json.dumps({"type": "record", "name": "R", "fields": [{"name": "at", "type": kind}]}))
    rule = {"range": {"field": "at", "min": 10}}
    declared = {
        "name": "clicks",
        "topics": ["clicks"],
        "owner": "me",
        "partition": {"field": "at"},
        "contract": {"rules": [rule]},
    }
    admission = Admission(Dataset.from_json(json.dumps(declared)), schema)
    verdict = admission.check(pa.RecordBatch.from_pylist([{"at": 9}, {"at": 10}], schema))
    assert _reasons(verdict) == [(0, "range(at)", "at = 9 is below 10", "at")]


def test_a_rule_in_sql_reaches_into_a_union() -> None:
    kinds = [{"type": "int", "logicalType": "date"}, ["null", "long", "string"]]
    fields = [{"name": name, "type": kind} for name, kind in zip(("at", "u"), kinds, strict=True)]
    schema = event_schema(json.dumps({"type": "record", "name": "R", "fields": fields}))
    declared = {
        "name": "clicks",
        "topics": ["clicks"],
        "owner": "me",
        "partition": {"field": "at"},
        "contract": {
            "rules": [
                {"sql": {"name": "few", "expression": "coalesce(u.long, 0) < 5 AND coalesce(u.string, 'few') = 'few'"}}
            ]
        },
    }
    admission = Admission(Dataset.from_json(json.dumps(declared)), schema)
    unions = [{"long": 1}, {"long": 9}, {"string": "few"}, None, {"string": "many"}]
    batch = pa.RecordBatch.from_pylist([{"at": date(2013, 1, 1), "u": u} for u in unions], schema)
    assert admission.check(batch).admitted.tolist() == [True, False, True, True, False]


def test_rules_and_partition_are_checked_against_the_events_before_the_first_one() -> None:
    with pytest.raises(DeclarationError, match="dataset clicks: rule not_null\\(nosuch\\): the events have no field"):
        _admission([{"not_null": "nosuch"}])
    with pytest.raises(DeclarationError, match="dataset clicks: partition: the events have no field"):
        _admission([], {"field": "nosuch"})
