"""What changes which files hold a table's rows: merging small files, removing whole dates, finding files that nothing needs.

delta-rs' `optimize.compact` drops app transactions (1.6.3), so a merge is fenced by what it removes: a second commit that
removes the same files is refused. After any error the log is asked for our commit id, as everywhere (see `commit`).
"""

import random
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
from deltalake import (
    ColumnProperties,
    CommitProperties,
    PostCommitHookProperties,
    Transaction,
    WriterProperties,
)
from deltalake.exceptions import CommitFailedError, DeltaError

from thalweg.errors import OutcomeUnknown, ThalwegError, VersionNotFound
from thalweg.tables.commit import COMMIT_ID
from thalweg.tables.files import Snapshot
from thalweg.tables.log import Log, LogEntry
from thalweg.tables.open import open_table, storage_errors

# Tries against deletes, overwrites and schema changes of other writers; appends do not conflict.
ATTEMPTS = 6
# Files of so many bins are read and written at once; each holds a row group in memory.
_MERGING_AT_ONCE = 2
# Beyond this many digits a decimal does not go through the double that delta-rs makes of it in statistics.
_EXACT_DECIMAL_DIGITS = 15

# Log entries are never cleaned by the way: the announcer may not have read them (rule 8.11 of the architecture).
_AFTER_COMMIT = PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False)


def merge(
    uri: str,
    values: Sequence[str | None],
    target_bytes: int,
    metadata: Mapping[str, Any],
    storage_options: Mapping[str, str] | None = None,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> LogEntry | None:
    """Merge files below `target_bytes` of these values of the partition column; None when there was nothing to merge.

    Appends may go on meanwhile. Raises StorageUnavailable, and OutcomeUnknown when the log cannot be asked.
    """

    def attempt(snapshot: Snapshot, properties: CommitProperties) -> None:
        (column,) = snapshot.partition_columns
        chosen = [file.path for file in snapshot.files if file.partition[column] in values]
        # delta-rs calls null the empty string, and does not find it in a list.
        where = [(column, "=", values[0] or "")] if len(values) == 1 else [(column, "in", list(values))]
        snapshot.table.optimize.compact(
            partition_filters=where,
            target_size=target_bytes,
            max_concurrent_tasks=_MERGING_AT_ONCE,
            writer_properties=_writer(snapshot, chosen),
            commit_properties=properties,
            post_commithook_properties=_AFTER_COMMIT,
        )

    if None in values and len(values) > 1:
        raise ValueError("the null partition is merged by itself")
    return _commit(uri, storage_options, lambda _: dict(metadata), {}, attempt, sleep)


def delete_before(
    uri: str,
    before: str,
    app_id: str,
    describe: Callable[[Snapshot], Mapping[str, Any]],
    storage_options: Mapping[str, str] | None = None,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> LogEntry | None:
    """Remove every row whose partition date is before `before` (ISO), in one commit; None when there was none.

    Files are left where they are, vacuum owns them. `describe` gives the commit's metadata, for the snapshot that it
    commits from. Raises StorageUnavailable, and OutcomeUnknown when the log cannot be asked.
    """

    def attempt(snapshot: Snapshot, properties: CommitProperties) -> None:
        (column,) = snapshot.partition_columns
        snapshot.table.delete(
            f"{column} < DATE '{before}'",
            commit_properties=properties,
            post_commithook_properties=_AFTER_COMMIT,
        )

    return _commit(uri, storage_options, describe, {app_id: lambda snapshot: snapshot.version}, attempt, sleep)


def unreferenced(uri: str, keep_versions: Sequence[int], storage_options: Mapping[str, str] | None = None) -> set[str]:
    """Files in the table's folder, of any age, that neither the newest version nor one of `keep_versions` has.

    This is delta-rs' own answer (a full vacuum's dry run): a second opinion for whoever wants to delete something.
    """
    with storage_errors(uri):
        table = open_table(uri, storage_options)
        listed = table.vacuum(
            retention_hours=0,
            dry_run=True,
            enforce_retention_duration=False,
            full=True,
            keep_versions=list(keep_versions) or None,
        )
    # Removed files come as the log has them, percent-encoded; files never committed as the storage has them.
    return {path for name in listed for path in (name, unquote(name))}


def _commit(
    uri: str,
    storage_options: Mapping[str, str] | None,
    describe: Callable[[Snapshot], Mapping[str, Any]],
    transactions: Mapping[str, Callable[[Snapshot], int]],
    attempt: Callable[[Snapshot, CommitProperties], None],
    sleep: Callable[[float], None],
) -> LogEntry | None:
    """Let delta-rs commit something of its own making, and find out whether it did: the log entry, None when it made none."""
    commit_id = uuid.uuid4().hex
    log = Log(uri, storage_options)
    for number in range(ATTEMPTS):
        snapshot = Snapshot(uri, storage_options)
        properties = CommitProperties(
            custom_metadata={**describe(snapshot), COMMIT_ID: commit_id},
            app_transactions=[
                Transaction(name, version(snapshot), time.time_ns() // 1_000_000)
                for name, version in transactions.items()
            ]
            or None,
        )
        try:
            attempt(snapshot, properties)
        except (DeltaError, OSError) as error:
            if (found := _find_after(error, log, commit_id, snapshot.version)) is not None:
                return found
            if not isinstance(error, CommitFailedError) or number + 1 == ATTEMPTS:
                with storage_errors(uri):
                    raise
            sleep(random.uniform(0.2, 1.0) * min(0.1 * 2**number, 3.0))
        else:
            return _find(log, commit_id, snapshot.version)
    raise AssertionError("unreachable: the last attempt returns or raises")


def _find_after(error: Exception, log: Log, commit_id: str, before: int) -> LogEntry | None:
    try:
        return _find(log, commit_id, before)
    except ThalwegError as unreadable:
        raise OutcomeUnknown(
            f"a commit to {log.uri} failed ({error}), and its log cannot be read to learn whether it happened: {unreadable.message}",
            "mend the storage and start again: a merge or removal that happened is seen in the log, and not done again",
        ) from error


def _find(log: Log, commit_id: str, before: int) -> LogEntry | None:
    version = before + 1
    while True:
        try:
            entry = log.read(version)
        except VersionNotFound:
            return None
        if entry.info.get(COMMIT_ID) == commit_id:
            return entry
        version += 1


def _writer(snapshot: Snapshot, paths: Sequence[str]) -> WriterProperties:
    """Merged files may claim bounds only where all their sources did, and where delta-rs tells them exactly.

    A source leaves bounds out where they would mislead readers (a NaN, say); Parquet's own would not know.
    """
    bounded = snapshot.bounded_columns(paths)
    claimed = [field.name for field in snapshot.schema if _may_be_claimed(field, field.name in bounded)]
    return WriterProperties(
        compression="ZSTD",
        default_column_properties=ColumnProperties(statistics_enabled="NONE"),
        column_properties={name: ColumnProperties(statistics_enabled="PAGE") for name in claimed},
    )


def _may_be_claimed(field: pa.Field, by_sources: bool) -> bool:
    if pa.types.is_boolean(field.type):
        return True
    return by_sources and not (pa.types.is_decimal(field.type) and field.type.precision > _EXACT_DECIMAL_DIGITS)
