"""Reading a table's Delta log, commit by commit, on local disks and object stores alike.

Follows the Delta protocol's log entries (commitInfo, add, remove, metaData, txn). delta-rs reads snapshots, not single
commits, and commitInfo is not kept in checkpoints, so the JSON files are read here.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import unquote

import pyarrow.fs as pafs

from thalweg.errors import StorageUnavailable, TableNotFound, VersionNotFound
from thalweg.tables.place import filesystem
from thalweg.tables.spans import Span, decode_spans


@dataclass(frozen=True, slots=True)
class AddedFile:
    """A data file that a commit adds. `path` is relative to the table and decoded; sizes in bytes."""

    path: str
    size: int
    rows: int | None
    partition: Mapping[str, str | None]
    data_change: bool
    stats: str | None = None  # Delta's statistics JSON, as the log has it

    def may_hold(self, values: Mapping[str, int]) -> bool:
        """Whether the statistics do not rule out a row with these values."""
        told = json.loads(self.stats) if self.stats else {}
        low, high = told.get("minValues") or {}, told.get("maxValues") or {}
        return all(low.get(name, value) <= value <= high.get(name, value) for name, value in values.items())


@dataclass(frozen=True, slots=True)
class RemovedFile:
    """A data file that a commit removes. `rows` is None: a remove action seldom says it."""

    path: str
    size: int | None
    rows: int | None
    partition: Mapping[str, str | None]
    data_change: bool


@dataclass(frozen=True)
class LogEntry:
    """One commit of a Delta log."""

    version: int
    timestamp_ms: int
    operation: str
    info: Mapping[str, Any]  # the whole commitInfo
    added: tuple[AddedFile, ...]
    removed: tuple[RemovedFile, ...]
    schema: str | None  # schemaString, when the commit sets the table's metadata
    table_id: str | None  # likewise
    configuration: Mapping[str, str] | None  # likewise
    transactions: Mapping[str, int]

    @cached_property
    def spans(self) -> tuple[Span, ...]:
        """The source offsets that this commit covers; empty for foreign commits."""
        return decode_spans(self.info)

    @property
    def is_landing(self) -> bool:
        """Whether the commit was written by ingest."""
        return "thalweg.spans" in self.info


class Log:
    """The log of the table at `uri`."""

    def __init__(self, uri: str, storage_options: Mapping[str, str] | None = None) -> None:
        self.uri = uri
        self._files = filesystem(uri, storage_options)

    def read(self, version: int) -> LogEntry:
        """Return one commit.

        Raises VersionNotFound when there is no such log entry: not yet, or not any more.
        """
        path = f"_delta_log/{version:020}.json"
        try:
            with self._files.open_input_file(path) as file:
                raw = file.read()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise VersionNotFound(
                f"{self.uri} has no log entry for version {version}",
                "it is not written yet, or log clean-up removed it",
            ) from error
        except OSError as error:
            raise StorageUnavailable(
                f"cannot read {path} of {self.uri}: {error}", "check the storage, then try again"
            ) from error
        try:
            return parse_entry(version, raw)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StorageUnavailable(
                f"{path} of {self.uri} is not a Delta log entry: {error!r}",
                "the file is damaged or half written: look at who writes it",
            ) from error

    def exists(self, version: int) -> bool:
        """Whether that log entry is there. One request."""
        return bool(self._files.get_file_info(f"_delta_log/{version:020}.json").type == pafs.FileType.File)

    def has_entries(self) -> bool:
        """Whether there is a table at all."""
        return bool(self._versions())

    def stamp(self, version: int) -> tuple[int, int | None] | None:
        """Size in bytes and time of change (ns) of that log file; None when there is none. Tells it from another one of the same name."""
        found = self._files.get_file_info(f"_delta_log/{version:020}.json")
        return (found.size, found.mtime_ns) if found.type == pafs.FileType.File else None

    def latest(self, after: int = -1) -> int:
        """Newest version. With `after`, a version known to exist, only what came since is looked at.

        Raises TableNotFound when there is no table.
        """
        version = after
        if version < 0:
            versions = self._versions()
            if not versions:
                raise TableNotFound(
                    f"there is no Delta table at {self.uri}",
                    "is the name right, and the folder (thalweg datasets list)? Ingest makes the table when it first starts",
                )
            return versions[-1]
        while self.exists(version + 1):
            version += 1
        return version

    def earliest(self) -> int:
        """Oldest version whose log entry is still there. Raises TableNotFound when there is no table."""
        versions = self._versions()
        if not versions:
            raise TableNotFound(
                f"there is no Delta table at {self.uri}",
                "is the name right, and the folder (thalweg datasets list)? Ingest makes the table when it first starts",
            )
        return versions[0]

    def entries(self, first: int, last: int | None = None) -> Iterator[LogEntry]:
        """Commits from `first` to `last` (to the newest when None), in order. Raises VersionNotFound at a gap."""
        end = self.latest() if last is None else last
        for version in range(first, end + 1):
            yield self.read(version)

    def _versions(self) -> list[int]:
        try:
            files = self._files.get_file_info(pafs.FileSelector("_delta_log", allow_not_found=True))
        except NotADirectoryError:
            return []
        names = (file.base_name for file in files)
        return sorted(
            int(name[:20]) for name in names if len(name) == 25 and name.endswith(".json") and name[:20].isdigit()
        )


def parse_entry(version: int, raw: bytes) -> LogEntry:
    """Parse one log file's newline-delimited actions."""
    info: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    added: list[AddedFile] = []
    removed: list[RemovedFile] = []
    transactions: dict[str, int] = {}
    for line in raw.splitlines():
        if not line.strip():
            continue
        for action, body in json.loads(line).items():
            if action == "add":
                added.append(_added(body))
            elif action == "remove":
                removed.append(_removed(body))
            elif action == "commitInfo":
                info = body
            elif action == "metaData":
                metadata = body
            elif action == "txn":
                transactions[body["appId"]] = body["version"]
    return LogEntry(
        version=version,
        timestamp_ms=info.get("inCommitTimestamp", info.get("timestamp", 0)),
        operation=info.get("operation", "UNKNOWN"),
        info=info,
        added=tuple(added),
        removed=tuple(removed),
        schema=metadata.get("schemaString"),
        table_id=metadata.get("id"),
        configuration=metadata.get("configuration"),
        transactions=transactions,
    )


def _added(body: Mapping[str, Any]) -> AddedFile:
    rows = json.loads(body["stats"]).get("numRecords") if body.get("stats") else None
    return AddedFile(
        unquote(body["path"]),
        body["size"],
        rows,
        body.get("partitionValues") or {},
        body.get("dataChange", True),
        body.get("stats"),
    )


def _removed(body: Mapping[str, Any]) -> RemovedFile:
    return RemovedFile(
        unquote(body["path"]), body.get("size"), None, body.get("partitionValues") or {}, body.get("dataChange", True)
    )
