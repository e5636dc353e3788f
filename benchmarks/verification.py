"""What really stands in a table that a benchmark has filled."""

import tempfile

import duckdb
from deltalake import DeltaTable

ID = "event_id"
MEMORY = "1GB"


def count(table_uri: str) -> tuple[int, int]:
    """Return (rows, distinct event ids) of a table on local disk, from a real scan of the column.

    Never `count(*)`: readers answer that from statistics, also for files that are gone. Each id's rows are counted, so no
    row is told that was not read; a row without an id counts as a row and not as an id. What does not fit into memory is
    spilled.
    """
    files = DeltaTable(table_uri).file_uris()
    if not files:
        return 0, 0
    with tempfile.TemporaryDirectory() as spilled:
        limits = {"memory_limit": MEMORY, "temp_directory": spilled}
        with duckdb.connect(config=limits) as connection:
            found = connection.execute(
                "SELECT sum(n)::BIGINT, count(id) "
                f"FROM (SELECT {ID} AS id, count(*) AS n FROM read_parquet(?, hive_partitioning = false) GROUP BY {ID})",
                [files],
            ).fetchone()
    assert found is not None  # an aggregate has one row
    return found[0] or 0, found[1]
