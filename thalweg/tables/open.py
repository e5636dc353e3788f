"""Opening and creating tables, with delta-rs' errors mapped to ours."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from thalweg.errors import ConfigurationError, StorageUnavailable, TableNotFound, VersionNotFound
from thalweg.tables.place import local_folder

# delta-rs would delete log entries at a checkpoint that nobody has announced yet: rule 8.11 of the architecture.
OUR_CONFIGURATION = {"delta.enableExpiredLogCleanup": "false"}


def open_table(uri: str, storage_options: Mapping[str, str] | None = None, version: int | None = None) -> DeltaTable:
    """Open a table, at its newest version or at `version`.

    Raises TableNotFound, VersionNotFound, StorageUnavailable, and ConfigurationError for a table whose properties would
    let another engine forget our transactions (rule 8.14).
    """
    with storage_errors(uri):
        try:
            table = DeltaTable(uri, version=version, storage_options=dict(storage_options or {}))
        except TableNotFoundError as error:
            raise TableNotFound(
                f"there is no Delta table at {uri}",
                "is the name right, and the folder (thalweg datasets list)? Ingest makes the table when it first starts",
            ) from error
        except DeltaError as error:
            if version is None:
                raise
            raise VersionNotFound(
                f"{uri} has no version {version} that can be read",
                f"thalweg versions list shows what is there ({error})",
            ) from error
    retention = table.metadata().configuration.get("delta.setTransactionRetentionDuration")
    if retention is not None:
        raise ConfigurationError(
            f"{uri} sets delta.setTransactionRetentionDuration={retention}: other engines may then drop the transactions"
            " that say which offsets have landed, and everything would land again",
            "unset that table property: ALTER TABLE … UNSET TBLPROPERTIES ('delta.setTransactionRetentionDuration')",
        )
    return table


def create_table(
    uri: str,
    schema: pa.Schema,
    partition_by: list[str],
    configuration: Mapping[str, str],
    storage_options: Mapping[str, str] | None = None,
) -> DeltaTable:
    """Create a table, or open the one that another process made first: the first creation stands (rule 8.12)."""
    folder = local_folder(uri)
    if folder is not None:
        with storage_errors(uri):
            folder.mkdir(parents=True, exist_ok=True)
    with storage_errors(uri):
        try:
            DeltaTable.create(
                uri,
                schema=schema,
                mode="error",
                partition_by=partition_by,
                configuration={**OUR_CONFIGURATION, **configuration},
                storage_options=dict(storage_options or {}),
                raise_if_key_not_exists=False,
            )
        except DeltaError:
            # Lost the race, or the creation's answer was lost: whichever table is there now is the table.
            if not DeltaTable.is_deltatable(uri, dict(storage_options or {})):
                raise
    return open_table(uri, storage_options)


def table_id(uri: str, storage_options: Mapping[str, str] | None = None) -> str:
    """Id of the table that is there now. Cheap: no data file is listed. Raises as `open_table` does."""
    with storage_errors(uri):
        try:
            return str(DeltaTable(uri, storage_options=dict(storage_options or {}), without_files=True).metadata().id)
        except TableNotFoundError as error:
            raise TableNotFound(
                f"there is no Delta table at {uri}", "it was there before: restore it, or start again"
            ) from error


@contextmanager
def storage_errors(place: str) -> Iterator[None]:
    """Map what delta-rs and pyarrow raise for a storage that refuses to StorageUnavailable. Leaves our own errors alone."""
    try:
        yield
    except OSError as error:
        raise StorageUnavailable(f"the storage of {place} refuses: {_first_line(error)}", _remedy(error)) from error
    except DeltaError as error:
        raise StorageUnavailable(
            f"{place} cannot be read or written: {_first_line(error)}",
            "check that the table is whole, then start again",
        ) from error


def _remedy(error: OSError) -> str:
    text = str(error).lower()
    if "no space" in text or "os error 28" in text:
        return "free disk space and start again: nothing was lost, ingest goes on from the table's offsets"
    if "permission" in text or "read-only" in text:
        return "give this user write permission on the table's folder and start again"
    return "check the storage and start again"


def _first_line(error: Exception) -> str:
    lines = [line.strip(" ↳\x1b[31m0") for line in str(error).splitlines() if line.strip()]
    return "; ".join(line for line in lines if line)[:500]
