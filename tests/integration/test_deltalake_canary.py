"""What we rely on deltalake for, asked of the version that is installed. docs/decisions/0005 says why it is pinned."""

import threading
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError

from thalweg.tables.files import LANDED, Snapshot, scan

pytestmark = pytest.mark.slow

ROWS, FILES = 1_000, 20


@pytest.fixture
def uri(tmp_path: Path) -> str:
    """A table of 20 small files and 20,000 rows."""
    place = str(tmp_path / "table")
    for number in range(FILES):
        offsets = range(number * ROWS, (number + 1) * ROWS)
        rows = {"day": ["a"] * ROWS, "_offset": pa.array(offsets, pa.int64())}
        write_deltalake(place, pa.table(rows), partition_by=["day"], mode="append")
    return place


def rows_read(uri: str) -> int:
    """By a real scan: `count(*)` is answered from statistics."""
    paths = [file.path for file in Snapshot(uri).files]
    return sum(batch.num_rows for batch in scan(uri, paths, LANDED.fields()))


def test_two_merges_from_one_snapshot_do_not_double_rows(uri: str) -> None:
    """deltalake 1.6.6 commits both: 20,000 rows become 40,000."""
    first, second = DeltaTable(uri), DeltaTable(uri)
    first.optimize.compact()
    with pytest.raises(CommitFailedError):
        second.optimize.compact()
    assert rows_read(uri) == ROWS * FILES


def test_two_merges_at_the_same_moment_do_not_double_rows(uri: str) -> None:
    tables = [DeltaTable(uri) for _ in range(2)]
    start = threading.Barrier(len(tables))
    refused: list[CommitFailedError] = []

    def merge(table: DeltaTable) -> None:
        start.wait()
        try:
            table.optimize.compact()
        except CommitFailedError as error:
            refused.append(error)

    threads = [threading.Thread(target=merge, args=(table,)) for table in tables]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1
    assert rows_read(uri) == ROWS * FILES


def test_a_merge_and_an_append_go_together_in_either_order(uri: str) -> None:
    more = pa.table({"day": ["a"], "_offset": pa.array([10**6], pa.int64())})
    stale = DeltaTable(uri)
    write_deltalake(uri, more, mode="append")
    stale.optimize.compact()
    assert rows_read(uri) == ROWS * FILES + 1
    stale = DeltaTable(uri)
    write_deltalake(uri, more, mode="append")
    DeltaTable(uri).optimize.compact()
    write_deltalake(stale, more, mode="append")
    assert rows_read(uri) == ROWS * FILES + 3


def test_a_merge_does_not_bring_back_what_a_delete_removed(uri: str) -> None:
    stale = DeltaTable(uri)
    DeltaTable(uri).delete("_offset = 7")
    with pytest.raises(CommitFailedError):
        stale.optimize.compact()
    assert rows_read(uri) == ROWS * FILES - 1
