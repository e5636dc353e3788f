"""Readers that are not in Thalweg's own environment, as a program: which ids of a table they see under a condition.

Runs in the environment of `benchmarks.peers.spark_environment`. Prints one JSON object: condition to ids in order, or to
the error as text.
"""

import json
import sys
from collections.abc import Callable
from typing import Any


def spark(uri: str) -> Callable[[str], list[Any]]:
    """Spark with Delta's own library."""
    from benchmarks.peers.spark_session import session

    table = session("reading").read.format("delta").load(uri).alias("trips")
    return lambda condition: [row["id"] for row in table.where(condition).select("id").collect()]


def duckdb(uri: str) -> Callable[[str], list[Any]]:
    """DuckDB with its Delta extension, here from a package: DuckDB itself would fetch it from a place of its own."""
    from importlib.resources import files

    import duckdb as library

    extension = next(files("duckdb_extension_delta").joinpath("extensions").rglob("delta.duckdb_extension"))
    connection = library.connect()
    connection.execute(f"LOAD '{extension}'")
    connection.execute("SET TimeZone = 'UTC'")
    return lambda condition: [
        row[0]
        for row in connection.execute(f"SELECT id FROM delta_scan('{uri}') AS trips WHERE {condition}").fetchall()
    ]


READERS = {"spark": spark, "duckdb": duckdb}


def main(reader: str, uri: str, conditions: list[str]) -> None:
    """Read and print."""
    read = READERS[reader](uri)
    seen: dict[str, Any] = {}
    for condition in conditions:
        try:
            seen[condition] = sorted(read(condition))
        except Exception as error:  # noqa: BLE001 - the test looks at it
            seen[condition] = f"{type(error).__name__}: {error}"
    print(json.dumps(seen))  # noqa: T201 - for the test that started it


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
