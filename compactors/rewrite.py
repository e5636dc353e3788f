"""Merging small files, and proving that the rows are the same afterwards."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from compactors.policy import MergeCommit, plan_merges
from thalweg.clock import Clock
from thalweg.errors import TableDamaged, ThalwegError
from thalweg.settings import CompactorSettings
from thalweg.tables.files import Origin, Snapshot, scan
from thalweg.tables.log import LogEntry
from thalweg.tables.pins import Pins
from thalweg.tables.rewrite import merge

# A merge can leave files that are to be merged once more, with what was landed meanwhile. Then the next run goes on.
ROUNDS = 4

# Odd 64-bit constants (of splitmix64) that spread neighbouring offsets over all bits.
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class Merged:
    """One commit that merged files."""

    version: int
    files_before: int
    files_after: int
    bytes_before: int
    bytes_after: int
    rows: int


@dataclass(frozen=True, slots=True)
class Contents:
    """What files hold: how many rows, and a sum over the records that they came from, whatever their order."""

    rows: int
    records: int


def merge_small_files(
    uri: str,
    origin: Origin,
    settings: CompactorSettings,
    clock: Clock,
    storage_options: Mapping[str, str] | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> Iterator[Merged]:
    """Merge until the policy has nothing more to merge, or a round brings nothing; gives each commit once it is checked.

    Raises TableDamaged when rows are not the same afterwards; the version before is pinned then, so nothing is lost.
    """
    for _ in range(ROUNDS):
        snapshot = Snapshot(uri, storage_options)
        if len(snapshot.partition_columns) != 1:
            return  # not a table of ours: whoever made it knows how it wants to be kept
        progress = False
        for planned in plan_merges(
            snapshot.files, snapshot.partition_columns[0], settings.target_file_bytes, settings.min_files
        ):
            if stopping():
                return
            entry = _merge(uri, planned, settings.target_file_bytes, storage_options)
            if entry is not None:
                progress = True
                yield _check(uri, origin, entry, clock, storage_options)
        if not progress:
            return


def _merge(
    uri: str, planned: MergeCommit, target_bytes: int, storage_options: Mapping[str, str] | None
) -> LogEntry | None:
    entry = merge(uri, planned.values, planned.target_bytes, {"thalweg.merge": len(planned.dates)}, storage_options)
    if entry is None and planned.target_bytes < target_bytes:
        # delta-rs merges neighbours only, and the larger files that were to be left alone lie in between: draw them in.
        entry = merge(uri, planned.values, target_bytes, {"thalweg.merge": len(planned.dates)}, storage_options)
    return entry


def _check(
    uri: str, origin: Origin, entry: LogEntry, clock: Clock, storage_options: Mapping[str, str] | None
) -> Merged:
    before = contents(uri, [file.path for file in entry.removed], origin, storage_options)
    after = contents(uri, [file.path for file in entry.added], origin, storage_options)
    if before != after:
        raise TableDamaged(
            f"merging files of {uri} in version {entry.version} changed its rows: {before.rows} before, {after.rows} after",
            f"stop the compactor and restore version {entry.version - 1}: {_keep(uri, entry.version - 1, clock, storage_options)}",
        )
    return Merged(
        entry.version,
        len(entry.removed),
        len(entry.added),
        sum(file.size or 0 for file in entry.removed),
        sum(file.size for file in entry.added),
        after.rows,
    )


def _keep(uri: str, version: int, clock: Clock, storage_options: Mapping[str, str] | None) -> str:
    try:
        Pins(uri, storage_options).create(
            f"before-merge-{version + 1}", version, "thalweg compact", "the merge changed rows", clock
        )
    except ThalwegError as error:  # the merge's failure is what has to be told
        return f"it could not be pinned ({error.message})"
    return f"it is pinned as before-merge-{version + 1}"


def contents(
    uri: str, paths: Sequence[str], origin: Origin, storage_options: Mapping[str, str] | None = None
) -> Contents:
    """Read what these files hold. Raises TableDamaged when one cannot be read."""
    rows = records = 0
    for batch in scan(uri, paths, origin.fields(), storage_options):
        rows += batch.num_rows
        records = (records + _sum_of_records(batch)) % 2**64
    return Contents(rows, records)


def _sum_of_records(batch: pa.RecordBatch) -> int:
    topic, partition, offset = batch.columns
    topics = np.array([_hash(name) for name in topic.dictionary.to_pylist()] + [0], np.uint64)
    which = pc.fill_null(topic.indices, len(topics) - 1).to_numpy(zero_copy_only=False)
    place = pc.fill_null(offset, -1).to_numpy(zero_copy_only=False).view(np.uint64)
    numbers = pc.fill_null(partition, -1).to_numpy(zero_copy_only=False).astype(np.int64).view(np.uint64)
    mixed = (place + numbers * _GOLDEN) ^ topics[which]
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX_1
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX_2
    return int(np.sum(mixed ^ (mixed >> np.uint64(31)), dtype=np.uint64))


def _hash(name: str | None) -> int:
    return int.from_bytes(hashlib.blake2b((name or "").encode(), digest_size=8).digest())
