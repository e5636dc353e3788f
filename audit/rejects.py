"""Reading a dataset's quarantine."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from schemas.quarantine import PARTITION_COLUMN, quarantine_name, table_schema
from thalweg.errors import TableNotFound
from thalweg.settings import TableSettings
from thalweg.tables.commit import TableWriter
from thalweg.tables.open import open_table
from thalweg.tables.place import storage_options, table_uri
from thalweg.tables.settle import Settler


@dataclass(frozen=True, slots=True)
class RuleCount:
    """How many records one rule rejected, and one of its reasons."""

    rule: str
    records: int
    example: str


class Rejects:
    """The rejected records of one dataset. Settles first, so that it shows what the data table's log says."""

    def __init__(self, tables: TableSettings, dataset: str) -> None:
        """Raises TableNotFound when the dataset has no table yet."""
        options = storage_options(tables)
        data_uri, self._uri = table_uri(tables, dataset), table_uri(tables, quarantine_name(dataset))
        data = TableWriter(data_uri, options)
        settler = Settler(dataset, data_uri, self._uri, table_schema(), PARTITION_COLUMN, options)
        settler.settle(data.table_id, data.version)
        try:
            self._rows = open_table(self._uri, options).to_pyarrow_dataset()
        except TableNotFound:
            self._rows = None

    def by_rule(self) -> list[RuleCount]:
        """How many records each rule rejected, most first."""
        if self._rows is None:
            return []
        columns = self._rows.to_table(columns=["rule", "reason"])
        grouped = columns.group_by("rule", use_threads=False).aggregate([("reason", "count"), ("reason", "first")])
        found = [RuleCount(row["rule"], row["reason_count"], row["reason_first"]) for row in grouped.to_pylist()]
        return sorted(found, key=lambda count: (-count.records, count.rule))

    def records(self, limit: int, rule: str | None = None) -> Iterator[dict[str, Any]]:
        """At most `limit` records as dicts of the quarantine's columns, one batch in memory at a time."""
        if self._rows is None:
            return
        condition = None if rule is None else pc.field("rule") == rule
        for batch in self._rows.to_batches(filter=condition):
            for row in batch.slice(0, limit).to_pylist():
                yield row
                limit -= 1
            if limit <= 0:
                return

    def record(self, topic: str, partition: int, offset: int) -> dict[str, Any] | None:
        """The rejected record at that place; None when it was not rejected."""
        if self._rows is None:
            return None
        place = (pc.field("topic") == topic) & (pc.field("partition") == partition) & (pc.field("offset") == offset)
        rows = self._rows.to_table(filter=place).to_pylist()
        return rows[0] if rows else None
