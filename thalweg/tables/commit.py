"""Committing data files to a table exactly once.

delta-rs may report a commit as failed that has landed, and fails one in flight for any metadata change of another
writer. So each commit carries a random commit id, and after any error the table is reopened: our id in the log means
success; nothing moved means that the same files are committed again; anything moved means that the caller's work is
stale and is dropped.
"""

import random
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction
from deltalake import Field as DeltaField
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction

from thalweg.errors import (
    Fenced,
    OutcomeUnknown,
    SchemaClash,
    StorageUnavailable,
    TableChanged,
    ThalwegError,
    VersionNotFound,
)
from thalweg.tables.log import Log
from thalweg.tables.open import open_table, storage_errors, table_id

COMMIT_ID = "thalweg.commit"
# Tries of one commit against other writers; with the waits below about 20 s.
ATTEMPTS = 12


@dataclass(frozen=True, slots=True)
class DataFile:
    """A closed Parquet file that waits to be committed. `path` is relative to the table, raw (not percent-encoded)."""

    path: str
    size: int
    rows: int
    partition: Mapping[str, str | None]
    stats: str  # Delta's statistics JSON


@dataclass(frozen=True, slots=True)
class Advance:
    """One app transaction's step: where the writer believes it stands (None: never written), and where it goes."""

    before: int | None
    after: int


class TableWriter:
    """One table, held open by one writer. Not thread-safe."""

    def __init__(self, uri: str, storage_options: Mapping[str, str] | None = None) -> None:
        self.uri = uri
        self._options = dict(storage_options or {})
        self._log = Log(uri, storage_options)
        self._table = open_table(uri, storage_options)
        self._remember_identity()
        self.conflicts = 0
        """Other writers' commits that came between what this writer had seen and its own: for each one it tried again."""

    @property
    def table(self) -> DeltaTable:
        """The table as this writer last saw it."""
        return self._table

    @property
    def table_id(self) -> str:
        """The Delta table id that this writer was opened on."""
        return self._table_id

    @property
    def version(self) -> int:
        """The version that this writer last saw."""
        return int(self._table.version())

    def transaction(self, app_id: str) -> int | None:
        """Version of an app transaction in the snapshot last seen; None if it was never written."""
        return self._table.transaction_version(app_id)

    def refresh(self) -> None:
        """See what other writers have committed."""
        with storage_errors(self.uri):
            self._table.update_incremental()

    def adopt(self) -> None:
        """Reopen and take the table as it now is, with whatever identity and schema it has."""
        self._table = open_table(self.uri, self._options)
        self._remember_identity()

    def schema(self) -> pa.Schema:
        """The table's columns as Arrow types, partition columns included, as this writer last saw them."""
        return pa.schema(self._table.schema().to_arrow())

    def configuration(self) -> dict[str, str]:
        """The table's properties."""
        return {key: value for key, value in self._table.metadata().configuration.items() if value is not None}

    def set_properties(self, properties: Mapping[str, str]) -> None:
        """Set table properties. Repeating it changes nothing."""
        self._until(
            lambda: properties.items() <= self.configuration().items(),
            lambda: self._table.alter.set_table_properties(dict(properties), raise_if_not_exists=False),
        )

    def add_columns(self, fields: Sequence[pa.Field]) -> None:
        """Add nullable columns, and take the table's new schema as this writer's. Repeating it changes nothing.

        Raises SchemaClash when a column of that name and another type is there.
        """
        wanted = DeltaSchema.from_arrow(pa.schema([field.with_nullable(True) for field in fields])).fields

        def missing() -> list[DeltaField]:
            present = {field.name: field for field in self._table.schema().fields}
            for field in wanted:
                if field.name in present and present[field.name].type != field.type:
                    raise SchemaClash(
                        f"column {field.name} of {self.uri} is {present[field.name].type}, and events have {field.type}",
                        "give the field another name, or land these events in another dataset",
                    )
            return [field for field in wanted if field.name not in present]

        self._until(lambda: not missing(), lambda: self._table.alter.add_columns(missing()))
        self._remember_identity()

    def _until(self, done: Callable[[], bool], change: Callable[[], None]) -> None:
        """Make a change of metadata whose outcome the table itself shows, trying again after conflicts."""
        for attempt in range(ATTEMPTS):
            self._table = open_table(self.uri, self._options)
            if done():
                return
            try:
                change()
            except (DeltaError, OSError):
                if attempt + 1 == ATTEMPTS:
                    with storage_errors(self.uri):
                        raise
                time.sleep(random.uniform(0.2, 1.0) * min(0.05 * 2**attempt, 3.0))
        raise OutcomeUnknown(f"a change of {self.uri} was accepted and does not show", "start again: the table decides")

    def commit(
        self,
        files: Sequence[DataFile],
        transactions: Mapping[str, Advance],
        metadata: Mapping[str, Any],
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> int:
        """Append `files`, advance `transactions`, and return the version that did it.

        Raises Fenced when one of the transactions is not where the caller believes, TableChanged when the table is
        another one now or its schema changed, StorageUnavailable when the storage refuses, and
        OutcomeUnknown when the storage cannot be asked whether the commit happened. Data files are never deleted here.
        """
        commit_id = uuid.uuid4().hex
        self._check_same_table()
        for attempt in range(ATTEMPTS):
            before = self.version
            self._check_unmoved(transactions)
            try:
                self._attempt(files, transactions, {**metadata, COMMIT_ID: commit_id})
            except (DeltaError, OSError) as error:
                landed = self._find_after_failure(commit_id, before, error)
                if landed is None:
                    self._check_same_table()
                    self._check_unmoved(transactions)
                    if attempt + 1 == ATTEMPTS or (isinstance(error, OSError) and attempt >= 2):
                        with storage_errors(self.uri):
                            raise
                    self.conflicts += 1
                    sleep(random.uniform(0.2, 1.0) * min(0.05 * 2**attempt, 3.0))
                    continue
                return landed
            landed = self._find(commit_id, before)
            if landed is None:
                raise OutcomeUnknown(
                    f"{self.uri} accepted commit {commit_id}, and its log after version {before} does not show it",
                    "check whether two object stores or caches serve this table, then start again: the table's offsets decide",
                )
            self.conflicts += landed - before - 1  # delta-rs met these and went on by itself
            self.refresh()
            return landed
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _attempt(
        self, files: Sequence[DataFile], transactions: Mapping[str, Advance], metadata: dict[str, Any]
    ) -> None:
        now_ms = time.time_ns() // 1_000_000
        self._table.create_write_transaction(
            [AddAction(f.path, f.size, dict(f.partition), now_ms, True, f.stats) for f in files],
            "append",
            self._table.schema(),
            partition_by=self._table.metadata().partition_columns,
            commit_properties=CommitProperties(
                custom_metadata=metadata,
                app_transactions=[Transaction(name, step.after, now_ms) for name, step in transactions.items()],
            ),
            post_commithook_properties=PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False),
        )

    def _find_after_failure(self, commit_id: str, before: int, error: Exception) -> int | None:
        """Reopen and look for our commit. The version, or None when it did not happen."""
        try:
            self._table = open_table(self.uri, self._options)
            return self._find(commit_id, before)
        except ThalwegError as unreadable:
            if isinstance(unreadable, TableChanged):
                raise
            if isinstance(error, OSError) and isinstance(unreadable, StorageUnavailable):
                raise StorageUnavailable(
                    f"a commit to {self.uri} failed and the storage does not answer: {unreadable.message}",
                    unreadable.remedy,
                ) from error
            raise OutcomeUnknown(
                f"a commit to {self.uri} failed ({error}), and its log cannot be read to learn whether it happened: {unreadable.message}",
                "mend the storage and start again: the table's own offsets say where to go on",
            ) from error

    def _find(self, commit_id: str, before: int) -> int | None:
        """Version after `before` whose commitInfo carries `commit_id`."""
        version = before + 1
        while True:
            try:
                entry = self._log.read(version)
            except VersionNotFound:
                return None
            if entry.info.get(COMMIT_ID) == commit_id:
                return version
            version += 1

    def _check_same_table(self) -> None:
        """Look at what is there now: a table made anew at the same place does not show in a handle on the old one."""
        now = table_id(self.uri, self._options)
        if now != self._table_id:
            raise TableChanged(
                f"the table at {self.uri} is another one now (id {now}, was {self._table_id})",
                "somebody re-created it: start again, from what the new table says",
            )

    def _check_unmoved(self, transactions: Mapping[str, Advance]) -> None:
        if self._table.schema().to_json() != self._schema_json:
            raise TableChanged(
                f"the schema of {self.uri} changed under a running writer",
                "the writer starts again with the new schema",
            )
        for name, step in transactions.items():
            now = self._table.transaction_version(name)
            if now != step.before:
                raise Fenced(
                    f"{name} of {self.uri} stands at {now}, and this writer believed {step.before}: another worker landed these offsets",
                    "nothing to do: this worker drops its batch and reads on from the table's offset",
                )

    def _remember_identity(self) -> None:
        self._table_id = str(self._table.metadata().id)
        self._schema_json = self._table.schema().to_json()
