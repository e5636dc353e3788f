"""The merge policy, driven with any sizes that arrive in any order."""

from hypothesis import given, settings
from hypothesis import strategies as st

from compactors.policy import TINY, plan_merges
from thalweg.tables.files import ActiveFile

TARGET, MIN_FILES = 12_800, 4
SIZES = st.integers(1, 2 * TARGET)


def as_files(sizes: list[int]) -> list[ActiveFile]:
    return [ActiveFile(str(number), size, 1, {"date": "d"}) for number, size in enumerate(sizes)]


def merged(sizes: list[int], target: int) -> tuple[list[int], int]:
    """As delta-rs: neighbours in a row share a file up to the target, larger ones are passed over. New sizes, bytes written."""
    bins: list[list[int]] = [[]]
    for size in sizes:
        if size > target or sum(bins[-1]) + size > target:
            bins.append([])
        bins[-1].append(size)
    full = [found for found in bins if found]
    return [sum(found) for found in full], sum(sum(found) for found in full if len(found) > 1)


@given(st.lists(SIZES, max_size=60))
def test_a_plan_never_draws_in_more_than_it_says_and_always_gains(sizes: list[int]) -> None:
    for commit in plan_merges(as_files(sizes), "date", TARGET, MIN_FILES):
        (date,) = commit.dates
        assert MIN_FILES <= date.files <= len(sizes)
        assert commit.target_bytes <= TARGET
        assert date.into < date.files
        assert sum(size <= commit.target_bytes for size in sizes) >= date.files


@given(st.lists(SIZES, max_size=60))
def test_merging_comes_to_an_end(sizes: list[int]) -> None:
    for _ in range(len(sizes) + 1):
        plan = plan_merges(as_files(sizes), "date", TARGET, MIN_FILES)
        if not plan:
            break
        before = list(sizes)
        # Sorted, as if all small files were neighbours: the order in which most files are merged.
        sizes, _ = merged(sorted(sizes), plan[0].target_bytes)
        assert len(sizes) < len(before)
        assert sum(sizes) == sum(before)
    else:
        raise AssertionError("there was always something more to merge")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(TARGET // TINY, TARGET // 8), min_size=40, max_size=400))
def test_a_byte_is_rewritten_a_few_times_however_many_files_arrive(arriving: list[int]) -> None:
    """log2(target / smallest) = 6 doublings from the smallest size that counts to the target, and one for the last merge."""
    sizes: list[int] = []
    written = 0
    for size in arriving:
        sizes.append(size)
        for commit in plan_merges(as_files(sizes), "date", TARGET, MIN_FILES):
            sizes, rewritten = merged(sorted(sizes, reverse=True), commit.target_bytes)
            written += rewritten
    assert written <= 7 * sum(arriving)
    small = [size for size in sizes if size <= TARGET // 2]
    assert len(small) <= MIN_FILES * 8
