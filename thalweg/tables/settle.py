"""Settling: bringing a quarantine table up to what its data table's log says.

A landing names the quarantine files that its verdicts stand in (`thalweg.rejects`), so verdicts and rows are one atomic
commit. The files are added to the quarantine table afterwards, from the log, under one app transaction whose version is
the data version reached: whoever settles, and however often, each file is added once.
"""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from thalweg.errors import Fenced
from thalweg.tables.commit import Advance, DataFile, TableWriter
from thalweg.tables.log import Log
from thalweg.tables.open import create_table
from thalweg.tables.spans import FORMAT, quarantine_app_id

# The scan for unsettled files starts at the last version settled. Landings without rejects write nothing to the
# quarantine, so its mark is moved on, without files, when it falls this many versions behind.
MARK_EVERY = 1_000
# Another process may settle the same versions at the same moment; then what it left is looked at again.
ATTEMPTS = 5


def encode_reject(file: DataFile) -> dict[str, Any]:
    """A quarantine file as a landing's commitInfo names it. `path` is relative to the quarantine table."""
    return {
        "path": file.path,
        "size": file.size,
        "rows": file.rows,
        "partition": dict(file.partition),
        "stats": file.stats,
    }


class Settler:
    """Settles one dataset's quarantine. Remembers how far it has looked, so each log entry is read once. Not thread-safe."""

    def __init__(
        self,
        dataset: str,
        data_uri: str,
        quarantine_uri: str,
        schema: pa.Schema,
        partition_column: str,
        storage_options: Mapping[str, str] | None = None,
    ) -> None:
        self._dataset = dataset
        self._log = Log(data_uri, storage_options)
        self._uri = quarantine_uri
        self._schema = schema
        self._column = partition_column
        self._options = storage_options
        self._looked_at: dict[str, int] = {}

    def settle(self, table_id: str, version: int) -> int:
        """Add every quarantine file named by data versions up to `version`; return how many were added.

        `table_id` is the data table's. Raises VersionNotFound when log entries that were never settled are gone.
        """
        app = quarantine_app_id(self._dataset, table_id)
        for _ in range(ATTEMPTS):
            writer, settled = self._start(app)
            first = max(settled, self._looked_at.get(table_id, -1)) + 1
            files = [
                _decode(reject)
                for entry in self._log.entries(first, version)
                for reject in entry.info.get("thalweg.rejects", ())
            ]
            if not files and version - settled < MARK_EVERY:
                self._looked_at[table_id] = max(version, first - 1)
                return 0
            if writer is None:
                create_table(
                    self._uri, self._schema, [self._column], {"thalweg.quarantine_of": self._dataset}, self._options
                )
                continue
            try:
                step = Advance(None if settled < 0 else settled, version)
                writer.commit(files, {app: step}, {"thalweg.format": FORMAT, "thalweg.settled": self._dataset})
            except Fenced:
                continue
            self._looked_at[table_id] = version
            return len(files)
        raise Fenced(
            f"the quarantine {self._uri} was settled by others {ATTEMPTS} times in a row while this process tried",
            "nothing to do: they settle the same files; the next landing looks again",
        )

    def _start(self, app: str) -> tuple[TableWriter | None, int]:
        """A writer on the quarantine table as it is now, and the last data version settled; (None, -1) without a table."""
        if not self._table_exists():
            return None, -1
        writer = TableWriter(self._uri, self._options)
        settled = writer.transaction(app)
        return writer, -1 if settled is None else settled

    def _table_exists(self) -> bool:
        return Log(self._uri, self._options).has_entries()


def _decode(reject: Mapping[str, Any]) -> DataFile:
    return DataFile(reject["path"], reject["size"], reject["rows"], reject["partition"], reject["stats"])
