"""How the columns of a file are encoded and compressed: decided from a sample of what they hold, not from their names.

| what the sample shows | encoding | codec |
|---|---|---|
| an enum, or values that repeat, unless they are numbers that lie close together | dictionary | none |
| other integers, dates, timestamps | DELTA_BINARY_PACKED: half of snappy's bytes at half of its cost | none |
| anything else | plain | snappy where it saves enough to be worth its time, else none |

Leaves within lists, maps and structs are looked at like columns. All of it is read by delta-rs, DuckDB, polars and
Spark from 3.3 on; encodings that Spark's vectorised reader lacks (BYTE_STREAM_SPLIT) are left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

# Rows, or items of a list, that are looked at. More tells little more and costs time in every landing.
SAMPLE_ROWS = 8_192
# A leaf gets a dictionary when no more than this share of the sample are distinct.
DICTIONARY_SHARE = 0.2
# Snappy costs 0.1 µs for 36 bytes of hexadecimal digits: it must bring a leaf's bytes below this share.
WORTH_COMPRESSING = 0.85


@dataclass(frozen=True, slots=True)
class Encodings:
    """Arguments of a ParquetWriter for files of one schema, by the path of a leaf."""

    dictionary: list[str]
    delta: list[str]
    compression: dict[str, str]
    statistics: list[str]

    def options(self) -> dict[str, Any]:
        """As `pyarrow.parquet.ParquetWriter` takes them."""
        return {
            "use_dictionary": self.dictionary,
            "column_encoding": dict.fromkeys(self.delta, "DELTA_BINARY_PACKED"),
            "compression": self.compression,
            "write_statistics": self.statistics,
            # Decimals of up to 18 digits as integers: half the bytes, and every reader's own way to write them.
            "store_decimal_as_integer": True,
        }


def choose(sample: pa.RecordBatch) -> Encodings:
    """Choose from a batch of some rows, of which the first SAMPLE_ROWS are looked at."""
    rows = sample.slice(0, SAMPLE_ROWS)
    found = Encodings([], [], {}, [])
    paths = iter(leaf_paths(sample.schema))
    for column in rows.columns:
        for leaf, is_repeated in _leaves(column, is_repeated=False):
            path, values = next(paths), leaf.slice(0, SAMPLE_ROWS)
            if not is_repeated:
                found.statistics.append(path)  # nobody can skip by the bounds of a list's items
            if _repeats(values):
                found.dictionary.append(path)
                found.compression[path] = "NONE"
            elif _is_whole(leaf.type):
                found.delta.append(path)
                found.compression[path] = "NONE"
            else:
                found.compression[path] = "SNAPPY" if _compresses(values) else "NONE"
    return found


def leaf_paths(schema: pa.Schema) -> list[str]:
    """Parquet's paths of a schema's leaves, in order: `price`, `tags.list.element`, `properties.key_value.key`."""
    sink = pa.BufferOutputStream()
    pq.ParquetWriter(sink, schema).close()
    columns = pq.ParquetFile(pa.BufferReader(sink.getvalue())).schema
    return [columns.column(i).path for i in range(len(columns))]


def _leaves(array: pa.Array, *, is_repeated: bool) -> Iterator[tuple[pa.Array, bool]]:
    """The leaves of a column in Parquet's order, and whether a row may have several of their values."""
    if pa.types.is_struct(array.type):
        for child in array.flatten():
            yield from _leaves(child, is_repeated=is_repeated)
    elif pa.types.is_map(array.type):
        yield from _leaves(array.keys, is_repeated=True)
        yield from _leaves(array.items, is_repeated=True)
    elif pa.types.is_list(array.type):
        yield from _leaves(array.flatten(), is_repeated=True)
    else:
        yield array, is_repeated


def _is_whole(kind: pa.DataType) -> bool:
    """Whether values are stored as whole numbers."""
    return bool(pa.types.is_integer(kind) or pa.types.is_temporal(kind))


def _repeats(values: pa.Array) -> bool:
    """Whether a dictionary pays."""
    if pa.types.is_dictionary(values.type):
        return True
    if pa.types.is_boolean(values.type) or not len(values):
        return False
    distinct: int = pc.count_distinct(values, mode="all").as_py()
    if distinct > DICTIONARY_SHARE * len(values):
        return False
    if not _is_whole(values.type):
        return True
    # Differences take about as many bits as the span of the values has, and a quarter of a dictionary's time.
    ends = pc.min_max(values.view(pa.int32() if values.type.bit_width == 32 else pa.int64()))
    span = 0 if values.null_count == len(values) else ends["max"].as_py() - ends["min"].as_py()
    return 2 * distinct.bit_length() <= span.bit_length()


def _compresses(values: pa.Array) -> bool:
    sink = pa.BufferOutputStream()
    pq.write_table(
        pa.table([values], ["values"]),
        sink,
        use_dictionary=False,
        write_statistics=False,
        store_decimal_as_integer=True,
    )
    chunk = pq.read_metadata(pa.BufferReader(sink.getvalue())).row_group(0).column(0)
    return bool(chunk.total_compressed_size <= WORTH_COMPRESSING * chunk.total_uncompressed_size)
