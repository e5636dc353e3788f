"""What the compactor would do: pure functions of what a table holds, the time, and what was declared. No disk, no network.

Merging costs as many bytes as it writes. A date's files are merged when at least `min_files` of them are small, and a
larger file is drawn in only when the smaller ones weigh as much as it does: so each merge that rewrites a byte at least
doubles the file it stands in, and a byte is rewritten a few times at most, however many small files keep coming.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from thalweg.tables.files import ActiveFile, StoredFile

# Below the target size by this factor, files are so small that rewriting them costs nothing worth counting.
TINY = 64
# Dates merged in one commit hold about this many bytes: what is lost when the commit conflicts with a delete.
COMMIT_BYTES = 2 * 2**30
HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class DateMerge:
    """Small files of one date that become fewer. `target_bytes` bounds what is drawn in and what comes out."""

    value: str | None
    files: int
    bytes: int
    into: int
    target_bytes: int


@dataclass(frozen=True, slots=True)
class MergeCommit:
    """Dates that are merged in one commit."""

    target_bytes: int
    dates: tuple[DateMerge, ...]

    @property
    def values(self) -> list[str | None]:
        """Their partition values."""
        return [date.value for date in self.dates]


def plan_merges(files: Iterable[ActiveFile], column: str, target_bytes: int, min_files: int) -> list[MergeCommit]:
    """Which dates to merge, and in which commits; the dates with most files to spare come first."""
    sizes: dict[str | None, list[int]] = defaultdict(list)
    for file in files:
        sizes[file.partition[column]].append(file.size)
    dates = [merge for value, found in sizes.items() if (merge := _plan_date(value, found, target_bytes, min_files))]
    dates.sort(key=lambda merge: (merge.into - merge.files, merge.value or ""))
    return _in_commits(dates)


def _plan_date(value: str | None, found: Sequence[int], target_bytes: int, min_files: int) -> DateMerge | None:
    """Two files above half the target cannot share a file: those are left alone for good."""
    small = sorted(size for size in found if size <= target_bytes // 2)
    tiny = target_bytes // TINY
    for count in range(len(small), min_files - 1, -1):
        chosen = small[:count]
        if chosen[-1] <= max(tiny, sum(chosen[:-1])):
            total = sum(chosen)
            next_size = min((size for size in found if size > chosen[-1]), default=target_bytes + 1)
            # Below the next larger file if all fit in there: then that one is left alone. If not, it may be drawn in.
            cap = next_size - 1 if total < next_size <= target_bytes else target_bytes
            return DateMerge(value, count, total, max(1, -(-total // cap)), cap)
    return None


def _in_commits(dates: Iterable[DateMerge]) -> list[MergeCommit]:
    """Dates of one target share commits; the null date has one to itself, for delta-rs cannot name it in a list."""
    commits: list[MergeCommit] = []
    groups: dict[tuple[int, bool], list[DateMerge]] = defaultdict(list)
    for date in dates:
        groups[date.target_bytes, date.value is None].append(date)
    for (target_bytes, _), group in groups.items():
        taken: list[DateMerge] = []
        for date in group:
            if taken and sum(merge.bytes for merge in taken) + date.bytes > COMMIT_BYTES:
                commits.append(MergeCommit(target_bytes, tuple(taken)))
                taken = []
            taken.append(date)
        commits.append(MergeCommit(target_bytes, tuple(taken)))
    return commits


def window_start(log_times: Mapping[int, int], now_ms: int, window_hours: int) -> int:
    """The oldest version that the time-travel window needs: what the table was when the window began.

    `log_times` tells when each version was written. Clocks may have jumped: every version written inside the window is
    kept, and the one before the first of them.
    """
    begin_ms = now_ms - window_hours * HOUR_MS
    inside = [version for version, written_ms in log_times.items() if written_ms > begin_ms]
    oldest, newest = min(log_times), max(log_times)
    return max(oldest, min(inside) - 1) if inside else newest


@dataclass(frozen=True, slots=True)
class Removal:
    """What a vacuum would delete, and what it leaves although the newest version does not need it."""

    files: tuple[StoredFile, ...]
    kept_for_versions: int
    kept_for_writers: int

    @property
    def bytes(self) -> int:
        """Their size together."""
        return sum(file.size for file in self.files)


def plan_removal(
    stored: Iterable[StoredFile],
    active: Collection[str],
    needed: Collection[str],
    staged_hours: int,
    now_ms: int,
) -> Removal:
    """What may be deleted: not in the newest version (`active`), not `needed` by another, and too old to be in the making."""
    old_ms = now_ms - staged_hours * HOUR_MS
    idle = [file for file in stored if file.path not in active]
    unneeded = [file for file in idle if file.path not in needed]
    gone = tuple(file for file in unneeded if file.modified_ms <= old_ms)
    return Removal(gone, len(idle) - len(unneeded), len(unneeded) - len(gone))


def retention_cutoff(now_ms: int, days: int, time_zone: str) -> str:
    """The first date (ISO) that is kept: `days` before today, as today is in the dates' own time zone."""
    today = dt.datetime.fromtimestamp(now_ms / 1000, ZoneInfo(time_zone)).date()
    try:
        return (today - dt.timedelta(days=days)).isoformat()
    except OverflowError:
        return dt.date.min.isoformat()


@dataclass(frozen=True, slots=True)
class Expiry:
    """Dates whose retention has ended: they come before `before`."""

    before: str
    dates: tuple[str, ...]
    files: int
    rows: int
    bytes: int


def plan_expiry(files: Iterable[ActiveFile], column: str, before: str) -> Expiry:
    """What retention would remove. Rows without a date are kept: nobody knows how old they are."""
    doomed = [(value, file) for file in files if (value := file.partition[column]) is not None and value < before]
    return Expiry(
        before,
        tuple(sorted({value for value, _ in doomed})),
        len(doomed),
        sum(file.rows or 0 for _, file in doomed),
        sum(file.size for _, file in doomed),
    )
