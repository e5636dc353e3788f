"""Ending the life of dates: planned for every dataset that declares days, applied as one commit that says what went.

Files stay in the folder until a vacuum finds that no kept version needs them, so a date that was removed by mistake can
be restored within the time-travel window.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from compactors.policy import Expiry, plan_expiry, retention_cutoff
from schemas.datasets import Dataset
from thalweg.clock import Clock
from thalweg.errors import TableDamaged
from thalweg.tables.files import LANDED, Snapshot, scan
from thalweg.tables.log import LogEntry
from thalweg.tables.rewrite import delete_before

RETIRED = "thalweg.retired"


def plan_retention(snapshot: Snapshot, dataset: Dataset, clock: Clock) -> Expiry | None:
    """What the dataset's retention would remove now; None when it declares no days."""
    if dataset.retention is None or dataset.retention.days is None:
        return None
    before = retention_cutoff(clock.now_ms(), dataset.retention.days, dataset.partition.time_zone)
    return plan_expiry(snapshot.files, dataset.partition.column, before)


def apply_retention(
    uri: str, dataset: Dataset, expiry: Expiry, storage_options: Mapping[str, str] | None = None
) -> LogEntry | None:
    """Remove the dates of a plan that has some. None when another process did it meanwhile.

    Raises TableDamaged when a file that is to go cannot be read, for then nobody can say what it held.
    """
    doomed: set[str] = set()

    def describe(snapshot: Snapshot) -> dict[str, Any]:
        doomed.clear()
        doomed.update(
            file.path
            for file in snapshot.files
            if (value := file.partition[dataset.partition.column]) is not None and value < expiry.before
        )
        return {RETIRED: _retired(snapshot, sorted(doomed), dataset, expiry.before, storage_options)}

    entry = delete_before(uri, expiry.before, f"thalweg/{dataset.name}/retention", describe, storage_options)
    if entry is not None and {file.path for file in entry.removed} != doomed:
        raise TableDamaged(
            f"retention of {uri} removed other files in version {entry.version} than it had counted",
            f"restore version {entry.version - 1} and report this",
        )
    return entry


def _retired(
    snapshot: Snapshot, paths: list[str], dataset: Dataset, before: str, storage_options: Mapping[str, str] | None
) -> dict[str, Any]:
    """What `thalweg verify` needs to tell retired rows from lost ones: how many of each source partition, by a real scan."""
    counts: Counter[tuple[str, int]] = Counter()
    for batch in scan(snapshot.uri, paths, LANDED.fields(), storage_options):
        topic, partition, _ = batch.columns
        codes = topic.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        numbers = partition.fill_null(-1).to_numpy(zero_copy_only=False)
        found, times = np.unique(np.stack([codes, numbers]), axis=1, return_counts=True)
        names = topic.dictionary.to_pylist()
        for (code, number), count in zip(found.T.tolist(), times.tolist(), strict=True):
            counts[names[code] if code >= 0 else "", number] += count
    assert dataset.retention is not None
    return {
        "before": before,
        "class": dataset.retention.class_name,
        "rows": counts.total(),
        "partitions": [
            {"topic_id": topic_id, "partition": partition, "rows": rows}
            for (topic_id, partition), rows in sorted(counts.items())
        ],
    }
