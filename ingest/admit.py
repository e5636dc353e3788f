"""Admission: which decoded events may land, on which date, and why the others may not.

A record is rejected alone: neighbours never see it. What rejects it is the first rule it breaks, in the order of the
declaration; last comes `partition_date`, for events whose date is null, cannot be computed, or lies outside of
0001-01-01 to 9999-12-31, which readers of Delta tables cannot take.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingest.dates import DAY_US, FIRST_DAY, LAST_DAY, LocalDates
from ingest.rules import Mask, Test, mask, shown, shown_fields, test_of
from schemas.columns import NANOSECONDS, meaning
from schemas.contracts import PARTITION_DATE, Sql
from schemas.datasets import Dataset, PartitionBy
from schemas.expressions import Expression, Expressions

Days = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that may not land: its place in the batch, the rule it broke, and why. `path` is the field, if it is one."""

    row: int
    rule: str
    reason: str
    path: str | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What admission says about a batch of n rows.

    `admitted` bool[n]; `days` int32[n], the partition date as days since 1970-01-01, 0 where the row is rejected;
    `rejected` in the order of the rows.
    """

    admitted: Mask
    days: Days
    rejected: tuple[Rejected, ...]


class Admission:
    """A dataset's contract and partition date, compiled for one schema of events. Not thread-safe."""

    def __init__(self, dataset: Dataset, schema: pa.Schema) -> None:
        """Compile. Raises DeclarationError when a rule or the partition does not fit the events' fields."""
        dataset.check(schema)
        self._rules = dataset.contract.rules
        self._tests: dict[int, Test] = {}
        sql: dict[int, Expression] = {}
        for place, rule in enumerate(self._rules):
            if isinstance(rule, Sql):
                sql[place] = Expression(f"rule {rule.name}", rule.expression, pa.bool_())
            else:
                self._tests[place] = test_of(rule, schema.field(rule.field).type)
        if dataset.partition.sql is not None:
            # A date is just one more result of the same query, in the place after the last rule's.
            sql[len(self._rules)] = Expression("partition", dataset.partition.sql, pa.date32())
            self._dates: _FieldDates | _SqlDates = _SqlDates()
        else:
            self._dates = _FieldDates(dataset.partition, schema)
        self._sql_places = tuple(sql)
        self._expressions = Expressions(schema, tuple(sql.values())) if sql else None

    def check(self, batch: pa.RecordBatch) -> Verdict:
        """Try the rules, and find the dates, of a batch of events of the schema."""
        results = self._evaluated(batch)
        broken = self._broken(batch, results)
        days, undated = self._dates.of(batch, results.get(len(self._rules)))
        if undated is not None:
            broken.append((len(self._rules), undated))
        if not broken:
            return Verdict(np.ones(batch.num_rows, np.bool_), days, ())
        admitted_place = len(self._rules) + 1
        first = np.full(batch.num_rows, admitted_place)
        for place, failing in sorted(broken, key=lambda found: -found[0]):
            first[failing] = place
        admitted = first == admitted_place
        rejected = [self._rejected(row, int(first[row]), batch, results) for row in np.flatnonzero(~admitted).tolist()]
        return Verdict(admitted, np.where(admitted, days, np.int32(0)), tuple(rejected))

    def _evaluated(self, batch: pa.RecordBatch) -> dict[int, pa.Array]:
        """What the SQL expressions give, by the place of their rule."""
        if self._expressions is None:
            return {}
        return dict(zip(self._sql_places, self._expressions.evaluate(batch), strict=True))

    def _broken(self, batch: pa.RecordBatch, results: dict[int, pa.Array]) -> list[tuple[int, Mask]]:
        """Places of the rules that some row breaks, and which rows."""
        found = []
        for place, test in self._tests.items():
            failing = test.failing(batch.column(test.field))
            if failing is not None:
                found.append((place, failing))
        for place, result in results.items():
            if place < len(self._rules) and result.true_count < batch.num_rows:
                found.append((place, ~mask(result)))
        return found

    def _rejected(self, row: int, place: int, batch: pa.RecordBatch, results: dict[int, pa.Array]) -> Rejected:
        if place == len(self._rules):
            return Rejected(row, PARTITION_DATE, *self._why_undated(row, batch))
        rule = self._rules[place]
        if not isinstance(rule, Sql):
            return Rejected(row, rule.name, self._tests[place].reason(batch.column(rule.field)[row]), rule.field)
        verdict = "is false" if results[place][row].is_valid else "cannot be evaluated"
        return Rejected(row, rule.name, f"{rule.expression} {verdict}{self._with(place, batch, row)}", None)

    def _why_undated(self, row: int, batch: pa.RecordBatch) -> tuple[str, str | None]:
        """Reason and field."""
        bounds = "no date between 0001-01-01 and 9999-12-31"
        if isinstance(self._dates, _SqlDates):
            return f"the partition's expression gives {bounds}{self._with(len(self._rules), batch, row)}", None
        field = self._dates.field
        value = batch.column(field)[row]
        return (f"{field} = {shown(value)} gives {bounds}" if value.is_valid else f"{field} is null"), field

    def _with(self, place: int, batch: pa.RecordBatch, row: int) -> str:
        """` for a = 1, b = 'x'`: the values of the fields that the expression at this place refers to."""
        assert self._expressions is not None  # it gave the result at this place
        names = self._expressions.columns[self._sql_places.index(place)]
        return f" for {shown_fields(names, batch, row)}" if names else ""


class _FieldDates:
    """Dates from a date field, or from a timestamp field (microseconds, or nanoseconds that are so by meaning) in a time zone."""

    def __init__(self, partition: PartitionBy, schema: pa.Schema) -> None:
        assert partition.field is not None  # the declaration has either a field or SQL
        self.field = partition.field
        field = schema.field(self.field)
        self._are_dates = pa.types.is_date32(field.type)
        self._per_us = 1000 if meaning(field) in NANOSECONDS else 1
        self._zone = None if partition.is_utc or self._are_dates else LocalDates(partition.time_zone)

    def of(self, batch: pa.RecordBatch, _result: None) -> tuple[Days, Mask | None]:
        """(days, which rows have none; None when all have one)."""
        column = batch.column(self.field)
        stored = column.view(pa.int32() if self._are_dates else pa.int64())
        known = stored.fill_null(0).to_numpy() if stored.null_count else stored.to_numpy()
        if self._are_dates:
            return _bounded(known, mask(column.is_null()) if column.null_count else None)
        if self._per_us > 1:
            known = known // self._per_us
        # Within these bounds the time zone can be asked; those outside are never dates.
        instants = np.clip(known, FIRST_DAY * DAY_US, (LAST_DAY + 1) * DAY_US - 1)
        undated = mask(column.is_null()) if column.null_count else None
        if not np.array_equal(instants, known):
            undated = _either(undated, instants != known)
        return _bounded(instants // DAY_US if self._zone is None else self._zone.days(instants), undated)


class _SqlDates:
    """Dates that an SQL expression gave."""

    def of(self, _batch: pa.RecordBatch, result: pa.Array) -> tuple[Days, Mask | None]:
        """(days, which rows have none; None when all have one)."""
        stored = result.view(pa.int32())
        undated = mask(result.is_null()) if result.null_count else None
        return _bounded(stored.fill_null(0).to_numpy(), undated)


def _bounded(days: npt.NDArray[np.integer], undated: Mask | None) -> tuple[Days, Mask | None]:
    if len(days) and (days.min() < FIRST_DAY or days.max() > LAST_DAY):
        undated = _either(undated, (days < FIRST_DAY) | (days > LAST_DAY))
    return days.astype(np.int32, copy=False), undated


def _either(a: Mask | None, b: Mask) -> Mask:
    return b if a is None else a | b
