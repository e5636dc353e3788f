"""Where the rows of a table came from, by reading the columns that say so. Statistics are not asked: they outlive their files."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from audit.offsets import Offsets, OffsetSet
from thalweg.errors import TableDamaged
from thalweg.tables.files import Origin, scan, stored_files

Source = tuple[str, int]
"""Topic id and partition."""


@dataclass(slots=True)
class Found:
    """The rows of one source partition."""

    offsets: OffsetSet = field(default_factory=OffsetSet)
    repeated: int = 0  # rows whose offset was there already
    examples: list[int] = field(default_factory=list)  # a few of those


@dataclass(slots=True)
class Rows:
    """The rows of a table, by source partition."""

    by_source: dict[Source, Found] = field(default_factory=dict)
    total: int = 0
    without_origin: int = 0

    def take(self, batch: pa.RecordBatch) -> None:
        """Take in a batch of topic id (dictionary), partition and offset."""
        self.total += batch.num_rows
        for source, offsets in self._split(batch):
            found = self.by_source.setdefault(source, Found())
            again = found.offsets.add(offsets)
            if len(again):
                found.repeated += len(again)
                found.examples = [*found.examples, *again[:5].tolist()][:5]

    def _split(self, batch: pa.RecordBatch) -> Iterator[tuple[Source, Offsets]]:
        topic, partition, offset = batch.columns
        names = topic.dictionary.to_pylist()
        codes = topic.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        numbers = partition.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        offsets = offset.fill_null(-1).to_numpy(zero_copy_only=False)
        known = (codes >= 0) & (numbers >= 0) & (offsets >= 0)
        if not known.all():
            self.without_origin += int(len(known) - known.sum())
            codes, numbers, offsets = codes[known], numbers[known], offsets[known]
        if not len(codes):
            return
        keys = codes << 32 | numbers
        if bool((keys == keys[0]).all()):
            yield (names[codes[0]], int(numbers[0])), offsets
            return
        order = np.argsort(keys, kind="stable")
        sorted_keys = keys[order]
        edges = np.flatnonzero(np.diff(sorted_keys)) + 1
        for rows in np.split(order, edges):
            yield (names[codes[rows[0]]], int(numbers[rows[0]])), offsets[rows]


def read_rows(
    uri: str, sizes: Mapping[str, int], origin: Origin, storage_options: Mapping[str, str] | None = None
) -> tuple[Rows, list[str]]:
    """Read these files (size in bytes by path); return their rows, and what is wrong with files, in a user's words."""
    stored = {file.path: file.size for file in stored_files(uri, storage_options)} if sizes else {}
    problems = [
        f"file {path} of {uri} is missing"
        if path not in stored
        else f"file {path} of {uri} has {stored[path]} bytes, not {size}"
        for path, size in sizes.items()
        if stored.get(path) != size
    ]
    paths = [path for path, size in sizes.items() if stored.get(path) == size]
    rows = Rows()
    try:
        for batch in scan(uri, paths, origin.fields(), storage_options):
            rows.take(batch)
    except TableDamaged:
        # Which file it was is not told, and its first rows may be in: begin again, one file at a time.
        rows = Rows()
        for path in paths:
            try:
                batches = list(scan(uri, [path], origin.fields(), storage_options))
            except TableDamaged as error:
                problems.append(f"file {path} cannot be read: {error.message}")
                continue
            for batch in batches:
                rows.take(batch)
    return rows, problems
