"""Readers skip files by the statistics in our add actions.

Shown by taking the other files away: their bytes are overwritten, so that whoever opens one fails. A query for rows of the
one good file gives exactly its rows, and a query that needs the others fails.
"""

import datetime as dt
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable, QueryBuilder

from benchmarks.peers import spark_environment
from tests.ingest_world import START, World, trip
from thalweg.settings import Settings

pytestmark = pytest.mark.slow

ROWS, LANDINGS = 100, 4
FIRST, LAST = 120, 129  # rows of the second landing
ASKED = list(range(FIRST, LAST + 1))
UNREADABLE = b"not a Parquet file"


def place(number: int) -> str:
    return f"p{number:04}"


def moment(number: int) -> dt.datetime:
    """All on one date, so that partition values do not tell files apart."""
    return START + dt.timedelta(minutes=number)


SQL = [  # `at` alone is a keyword of DuckDB
    f"id BETWEEN {FIRST} AND {LAST}",
    f"distance BETWEEN {FIRST + 1}.0 AND {LAST + 1}.0",
    f"place BETWEEN '{place(FIRST)}' AND '{place(LAST)}'",
    f"trips.at BETWEEN TIMESTAMP '{moment(FIRST):%Y-%m-%d %H:%M:%S}' AND TIMESTAMP '{moment(LAST):%Y-%m-%d %H:%M:%S}'",
]
SQL_OF_ALL = "id >= 0"


@pytest.fixture
def uri(settings: Settings) -> Iterator[str]:
    """A table of four landings with one file each; all but the second's cannot be read."""
    with closing(World(settings, partitions=1)) as world:
        for landing in range(LANDINGS):
            numbers = range(landing * ROWS, (landing + 1) * ROWS)
            world.send(world.value(trip(number, place=place(number), at=moment(number))) for number in numbers)
            world.ingest(commit_interval_s=3600)
        files = pa.table(DeltaTable(world.uri).get_add_actions(flatten=True)).to_pylist()
        assert [(file["min.id"], file["max.id"]) for file in sorted(files, key=lambda file: file["min.id"])] == [
            (landing * ROWS, (landing + 1) * ROWS - 1) for landing in range(LANDINGS)
        ]
        for file in files:
            if not file["min.id"] <= FIRST <= file["max.id"]:
                path = Path(world.uri) / file["path"]
                path.write_bytes((UNREADABLE * path.stat().st_size)[: path.stat().st_size])
        yield world.uri


def test_delta_rs_skips(uri: str) -> None:
    query = QueryBuilder().register("trips", DeltaTable(uri))

    def read(condition: str) -> list[int]:
        return ids(pa.table(query.execute(f"SELECT id FROM trips WHERE {condition}").read_all()))

    check(read, SQL, SQL_OF_ALL)


def test_pyarrow_skips(uri: str) -> None:
    dataset = DeltaTable(uri).to_pyarrow_dataset()
    bounds = {
        "id": (FIRST, LAST),
        "distance": (FIRST + 1.0, LAST + 1.0),
        "place": (place(FIRST), place(LAST)),
        "at": (moment(FIRST), moment(LAST)),
    }
    conditions = [(pc.field(name) >= low) & (pc.field(name) <= high) for name, (low, high) in bounds.items()]
    check(lambda condition: ids(dataset.to_table(columns=["id"], filter=condition)), conditions, pc.field("id") >= 0)


def test_duckdb_over_the_arrow_dataset_skips(uri: str) -> None:
    """As a user without DuckDB's Delta extension does it. It hands bounds of doubles over as "or NaN", which skips nothing."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("trips", DeltaTable(uri).to_pyarrow_dataset())

        def read(condition: str) -> list[int]:
            return [row[0] for row in connection.execute(f"SELECT id FROM trips WHERE {condition}").fetchall()]

        check(read, [condition for condition in SQL if "distance" not in condition], SQL_OF_ALL)


def test_polars_skips(uri: str) -> None:
    table = pl.scan_delta(uri)
    conditions = [
        pl.col("id").is_between(FIRST, LAST),
        pl.col("distance").is_between(FIRST + 1.0, LAST + 1.0),
        pl.col("place").is_between(pl.lit(place(FIRST)), pl.lit(place(LAST))),
        pl.col("at").is_between(moment(FIRST), moment(LAST)),
    ]
    check(
        lambda condition: table.filter(condition).select("id").collect()["id"].to_list(), conditions, pl.col("id") >= 0
    )


@pytest.mark.timeout(900)  # the first time, half a gigabyte is installed
def test_spark_skips(uri: str) -> None:
    check_elsewhere("spark", uri, SQL)


@pytest.mark.timeout(900)
def test_duckdb_with_its_delta_extension_skips(uri: str) -> None:
    """By all but times: of no writer's table does it skip files by those (seen with 1.5.5)."""
    check_elsewhere("duckdb", uri, [condition for condition in SQL if "TIMESTAMP" not in condition])


def ids(table: pa.Table) -> list[int]:
    return table["id"].to_pylist()


def check(read: Callable[[Any], list[int]], conditions: list[Any], of_all: Any) -> None:
    """Each condition gives the rows that were asked for; the one that all files meet cannot be answered."""
    for condition in conditions:
        assert sorted(read(condition)) == ASKED, condition
    with pytest.raises(Exception, match=r"(?i)parquet|magic"):
        read(of_all)


def check_elsewhere(reader: str, uri: str, conditions: list[str]) -> None:
    """The same as `check`, with a reader that is not in this environment."""
    python, environment = spark_environment.ready()
    done = subprocess.run(
        [python, "-m", "tests.delta_readers", reader, uri, *conditions, SQL_OF_ALL],
        cwd=spark_environment.REPOSITORY,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    failed = seen.pop(SQL_OF_ALL)
    assert seen == dict.fromkeys(conditions, ASKED)
    assert "parquet" in failed.lower()
