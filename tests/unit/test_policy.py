"""What the compactor would do, from numbers alone."""

import datetime as dt

from compactors.policy import (
    COMMIT_BYTES,
    plan_expiry,
    plan_merges,
    plan_removal,
    retention_cutoff,
    window_start,
)
from thalweg.tables.files import ActiveFile, StoredFile

MB = 2**20
TARGET = 128 * MB
HOUR_MS = 3_600_000


def files(*sizes: int, date: str | None = "2013-01-01") -> list[ActiveFile]:
    return [ActiveFile(f"date={date}/{n}.parquet", size, 10, {"date": date}) for n, size in enumerate(sizes)]


def test_a_date_with_few_small_files_is_left_alone() -> None:
    assert plan_merges(files(MB, MB, MB), "date", TARGET, 4) == []


def test_small_files_of_a_date_become_one() -> None:
    (commit,) = plan_merges(files(MB, MB, MB, MB), "date", TARGET, 4)
    (date,) = commit.dates
    assert (date.files, date.bytes, date.into, commit.target_bytes) == (4, 4 * MB, 1, TARGET)


def test_files_near_the_target_are_left_alone() -> None:
    """Two of them do not fit into one, so merging would write them and gain nothing, again and again."""
    assert plan_merges(files(*[70 * MB] * 10), "date", TARGET, 4) == []


def test_a_large_file_is_not_rewritten_for_a_few_small_ones() -> None:
    (commit,) = plan_merges(files(60 * MB, *[3 * MB] * 4), "date", TARGET, 4)
    assert commit.dates[0].files == 4
    assert commit.target_bytes < 60 * MB, "delta-rs leaves alone what is above its target"
    assert commit.dates[0].bytes <= commit.target_bytes, "and makes one file of the others"


def test_a_large_file_is_drawn_in_when_the_small_ones_weigh_as_much() -> None:
    (commit,) = plan_merges(files(60 * MB, *[15 * MB] * 4), "date", TARGET, 4)
    assert (commit.dates[0].files, commit.target_bytes) == (5, TARGET)


def test_files_so_small_that_nothing_is_lost_are_all_merged() -> None:
    """365 dates of a few kB each must not become 365 commits."""
    many = [file for day in range(365) for file in files(50_000 + day, *[9_000] * 4, date=f"d{day:03}")]
    (commit,) = plan_merges(many, "date", TARGET, 4)
    assert len(commit.dates) == 365
    assert all(date.files == 5 for date in commit.dates)


def test_dates_share_commits_up_to_a_bound() -> None:
    many = [file for day in range(100) for file in files(*[30 * MB] * 4, date=f"d{day:03}")]
    commits = plan_merges(many, "date", TARGET, 4)
    assert len(commits) == 6
    assert all(sum(date.bytes for date in commit.dates) <= COMMIT_BYTES for commit in commits)
    assert sorted(value for commit in commits for value in commit.values if value) == [f"d{n:03}" for n in range(100)]


def test_rows_without_a_date_are_merged_by_themselves() -> None:
    commits = plan_merges(files(*[MB] * 4) + files(*[MB] * 4, date=None), "date", TARGET, 4)
    assert sorted((commit.values for commit in commits), key=str) == [["2013-01-01"], [None]]


def test_the_window_begins_with_the_version_that_stood_when_it_began() -> None:
    times = {version: version * HOUR_MS for version in range(10)}
    assert window_start(times, 10 * HOUR_MS, 3) == 7  # written at 7 h; the window began at 7 h
    assert window_start(times, 10 * HOUR_MS + 1, 3) == 7
    assert window_start(times, 11 * HOUR_MS, 3) == 8
    assert window_start(times, 100 * HOUR_MS, 3) == 9, "the newest version is always kept"
    assert window_start(times, 10 * HOUR_MS, 1000) == 0


def test_a_clock_that_jumped_back_makes_the_window_longer_never_shorter() -> None:
    times = {0: 0, 1: 9 * HOUR_MS, 2: 1 * HOUR_MS, 3: 2 * HOUR_MS}
    assert window_start(times, 10 * HOUR_MS, 3) == 0, "version 1 is inside, so the one before it is needed"


def test_versions_whose_log_is_gone_are_not_asked_for() -> None:
    assert window_start({5: 9 * HOUR_MS, 6: 10 * HOUR_MS}, 10 * HOUR_MS, 100) == 5


def test_only_old_and_unneeded_files_are_removed() -> None:
    now = 1000 * HOUR_MS

    def stored(path: str, age_h: int) -> StoredFile:
        return StoredFile(path, 7, now - age_h * HOUR_MS)

    removal = plan_removal(
        [stored("active", 99), stored("pinned", 99), stored("staged", 23), stored("orphan", 24)],
        active={"active"},
        needed={"active", "pinned"},
        staged_hours=24,
        now_ms=now,
    )
    assert [file.path for file in removal.files] == ["orphan"]
    assert (removal.kept_for_versions, removal.kept_for_writers, removal.bytes) == (1, 1, 7)


def test_retention_counts_days_in_the_dates_own_time_zone() -> None:
    late = round(dt.datetime(2020, 3, 2, 3, 0, tzinfo=dt.UTC).timestamp() * 1000)
    assert retention_cutoff(late, 1, "UTC") == "2020-03-01"
    assert retention_cutoff(late, 1, "America/New_York") == "2020-02-29"
    assert retention_cutoff(late, 365_000 * 3, "UTC") == "0001-01-01"


def test_retention_takes_whole_dates_before_the_cutoff_and_leaves_rows_without_a_date() -> None:
    held = files(1, 2, date="2013-01-01") + files(4, date="2013-01-02") + files(8, date=None)
    expiry = plan_expiry(held, "date", "2013-01-02")
    assert (expiry.dates, expiry.files, expiry.rows, expiry.bytes) == (("2013-01-01",), 2, 20, 3)
