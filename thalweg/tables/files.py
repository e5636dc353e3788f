"""The data files of a table: which ones a version has, which ones lie in its folder, and what really stands in them.

`count(*)` is answered from statistics, also for files that are gone. Whoever has to know reads columns: `scan`.
"""

import datetime as dt
import functools
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs as pafs

from thalweg.errors import StorageUnavailable, TableDamaged
from thalweg.tables.open import open_table, storage_errors
from thalweg.tables.place import filesystem

LOG_FOLDER = "_delta_log"
# Arrow's name for the path of the file that a row was read from.
FILE = "__filename"

# What a scan reads ahead: batches of 131,072 rows of a few narrow columns, some 3 MB each, of so many files at once.
_BATCHES_AHEAD, _FILES_AHEAD = 4, 4


@dataclass(frozen=True, slots=True)
class Origin:
    """The columns that say which record a row came from."""

    topic_id: str
    partition: str
    offset: str

    def fields(self) -> pa.Schema:
        """The columns as a scan reads them; topic ids as dictionaries, for there are few."""
        return pa.schema(
            [
                pa.field(self.topic_id, pa.dictionary(pa.int32(), pa.string())),
                pa.field(self.partition, pa.int32()),
                pa.field(self.offset, pa.int64()),
            ]
        )


LANDED = Origin("_topic_id", "_partition", "_offset")
QUARANTINED = Origin("topic_id", "partition", "offset")


@dataclass(frozen=True, slots=True)
class ActiveFile:
    """A data file of one version. `path` is relative to the table and decoded, `size` in bytes."""

    path: str
    size: int
    rows: int | None
    partition: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in a table's folder, whether any version has it or not. `modified_ms` since the Unix epoch."""

    path: str
    size: int
    modified_ms: int


class Snapshot:
    """One version of a table, newest by default.

    Raises what `open_table` raises.
    """

    def __init__(self, uri: str, storage_options: Mapping[str, str] | None = None, version: int | None = None) -> None:
        self.uri = uri
        self.table = open_table(uri, storage_options, version)
        self.version = int(self.table.version())
        metadata = self.table.metadata()
        self.table_id = str(metadata.id)
        self.configuration = {key: value for key, value in metadata.configuration.items() if value is not None}
        self.partition_columns = tuple(metadata.partition_columns)

    @cached_property
    def schema(self) -> pa.Schema:
        """The table's columns as Arrow types, partition columns included."""
        return pa.schema(self.table.schema().to_arrow())

    @cached_property
    def files(self) -> tuple[ActiveFile, ...]:
        """The version's data files."""
        columns = {name: self._actions[f"partition.{name}"].to_pylist() for name in self.partition_columns}
        return tuple(
            ActiveFile(path, size, rows, {name: _partition_value(values[index]) for name, values in columns.items()})
            for index, (path, size, rows) in enumerate(
                zip(
                    self._paths,
                    self._actions["size_bytes"].to_pylist(),
                    self._actions["num_records"].to_pylist(),
                    strict=True,
                )
            )
        )

    def transaction(self, app_id: str) -> int | None:
        """Version of an app transaction; None if it was never written."""
        return self.table.transaction_version(app_id)

    def has(self, path: str) -> bool:
        """Whether that file is one of the version's."""
        return path in self._path_set

    def may_hold(self, values: Mapping[str, Any]) -> list[str]:
        """Paths of the files whose statistics do not rule out a row with these values."""
        keep = np.ones(len(self._paths), bool)
        for column, value in values.items():
            if f"min.{column}" in self._actions.column_names:
                low, high = self._actions[f"min.{column}"], self._actions[f"max.{column}"]
                inside = pc.and_(
                    pc.fill_null(pc.less_equal(low, value), True), pc.fill_null(pc.greater_equal(high, value), True)
                )
                keep &= inside.to_numpy()
        return [self._paths[index] for index in np.flatnonzero(keep).tolist()]

    def bounded_columns(self, paths: Iterable[str]) -> set[str]:
        """Columns (not nested ones) whose smallest and largest value every one of these files tells, or that are all null there."""
        wanted = set(paths)
        rows = self._actions.filter(pa.array([path in wanted for path in self._paths]))
        return {
            field.name
            for field in self.schema
            if field.name not in self.partition_columns
            and not pa.types.is_nested(field.type)
            and _is_bounded(rows, field.name)
        }

    @cached_property
    def _actions(self) -> pa.Table:
        with storage_errors(self.uri):
            return pa.table(self.table.get_add_actions(flatten=True))

    @cached_property
    def _path_set(self) -> frozenset[str]:
        return frozenset(self._paths)

    @cached_property
    def _paths(self) -> list[str]:
        return [unquote(path) for path in self._actions["path"].to_pylist()]


def _is_bounded(actions: pa.Table, column: str) -> bool:
    if f"min.{column}" not in actions.column_names or f"null_count.{column}" not in actions.column_names:
        return False
    told = zip(
        actions[f"min.{column}"].to_pylist(),
        actions[f"max.{column}"].to_pylist(),
        actions[f"null_count.{column}"].to_pylist(),
        actions["num_records"].to_pylist(),
        strict=True,
    )
    return all((low is not None and high is not None) or nulls == rows for low, high, nulls, rows in told)


def _partition_value(value: Any) -> str | None:
    if value is None:
        return None
    return value.isoformat() if isinstance(value, dt.date) else str(value)


def scan(
    uri: str, paths: Sequence[str], columns: pa.Schema, storage_options: Mapping[str, str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Read these columns of these files, a batch at a time, in no particular order. A column that a file lacks is null.

    Raises TableDamaged when a file is missing or cannot be read; what came before it has been given by then.
    """
    dictionaries = [field.name for field in columns if pa.types.is_dictionary(field.type)]
    source = ds.FileSystemDataset.from_paths(
        list(paths), columns, ds.ParquetFileFormat(dictionary_columns=dictionaries), filesystem(uri, storage_options)
    )
    try:
        yield from source.to_batches(batch_readahead=_BATCHES_AHEAD, fragment_readahead=_FILES_AHEAD)
    except (pa.ArrowException, OSError) as error:
        raise TableDamaged(
            f"a data file of {uri} cannot be read: {_short(error)}",
            "thalweg verify tells which; restore the file from a backup, or the rows from Kafka",
        ) from error


def find_rows(
    uri: str,
    paths: Sequence[str],
    values: Mapping[str, Any],
    columns: pa.Schema,
    storage_options: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Rows of these files with these values, as dicts of `columns` and, under `FILE`, the file's path. Files that are gone have none.

    `columns` must hold what `values` names. Raises TableDamaged when a file that is there cannot be read.
    """
    files = filesystem(uri, storage_options)
    with storage_errors(uri):
        there = [info.path for info in files.get_file_info(list(paths)) if info.type == pafs.FileType.File]
    if not there:
        return []
    source = ds.FileSystemDataset.from_paths(there, columns, ds.ParquetFileFormat(), files)
    wanted = [ds.field(name) == value for name, value in values.items()]
    try:
        found = source.to_table(columns=[*columns.names, FILE], filter=functools.reduce(operator.and_, wanted))
    except (pa.ArrowException, OSError) as error:
        raise TableDamaged(
            f"a data file of {uri} cannot be read: {_short(error)}", "thalweg verify tells which"
        ) from error
    rows: list[dict[str, Any]] = found.to_pylist()
    return rows


def stored_files(uri: str, storage_options: Mapping[str, str] | None = None) -> list[StoredFile]:
    """Every Parquet file in the table's folder. Hidden folders and files (`_…`, `.…`) are not data, unless a partition's."""
    files = filesystem(uri, storage_options)
    with storage_errors(uri):
        found = files.get_file_info(pafs.FileSelector("", recursive=True, allow_not_found=True))
    return [
        StoredFile(info.path, info.size, modified_ms(info))
        for info in found
        if info.type == pafs.FileType.File and info.path.endswith(".parquet") and not _is_hidden(info.path)
    ]


def stored_size(uri: str, path: str, storage_options: Mapping[str, str] | None = None) -> int | None:
    """Size in bytes of one file in the table's folder; None when it is not there."""
    with storage_errors(uri):
        info = filesystem(uri, storage_options).get_file_info(path)
    return int(info.size) if info.type == pafs.FileType.File else None


def log_times(uri: str, storage_options: Mapping[str, str] | None = None) -> dict[int, int]:
    """When each log entry that is still there was written (milliseconds since the Unix epoch, by the storage), by version."""
    files = filesystem(uri, storage_options)
    with storage_errors(uri):
        found = files.get_file_info(pafs.FileSelector(LOG_FOLDER, allow_not_found=True))
    return {
        int(info.base_name[:20]): modified_ms(info)
        for info in sorted(found, key=lambda info: str(info.base_name))
        if len(info.base_name) == 25 and info.base_name.endswith(".json") and info.base_name[:20].isdigit()
    }


def delete_stored(uri: str, path: str, storage_options: Mapping[str, str] | None = None) -> bool:
    """Delete one file. False when it was gone already."""
    try:
        filesystem(uri, storage_options).delete_file(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StorageUnavailable(
            f"{path} of {uri} cannot be deleted: {_short(error)}", "give this user the right to delete files there"
        ) from error
    return True


def _is_hidden(path: str) -> bool:
    """As Delta has it: names that begin with `_` or `.` are not the table's data; a partition column may be called `_x`."""
    *folders, name = path.split("/")
    return name[0] in "_." or any(folder[0] in "_." and "=" not in folder for folder in folders)


def modified_ms(info: pafs.FileInfo) -> int:
    """When a file was written, by the storage's clock: milliseconds since the Unix epoch, 0 when it does not say."""
    return int(info.mtime_ns // 1_000_000) if info.mtime_ns is not None else 0


def _short(error: Exception) -> str:
    return str(error).splitlines()[0][:300] if str(error) else type(error).__name__
