"""How fast the decoder is beside fastavro, on the same shop events, in the same run. No broker: only bytes to Arrow.

Run: python benchmarks/decode.py [records]

fastavro gives Python dicts, the decoder an Arrow batch; from dicts to Arrow (`from_pylist`) is shown apart. Figures are
CPU time of the one thread, medians of the rounds, so that a busy machine does not spoil them much; ratios are what counts.
"""

import io
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable

import fastavro
import numpy as np
import pyarrow as pa

from ingest.decode.decoder import Decoder, warm
from produce import shop

ROUNDS = 7
BLOCK_ROWS = 32_768  # as a worker decodes them
FASTAVRO_RECORDS = 20_000  # enough for a steady figure; it is the slow one


def main(count: int) -> None:
    """Measure and print."""
    values = [value for batch in shop.source(count).encoded(1) for value in batch.values]
    data = np.frombuffer(b"".join(values), np.uint8)
    starts = np.concatenate([[0], np.cumsum([len(value) for value in values])]).astype(np.int64)
    schema = fastavro.parse_schema(json.loads(shop.SCHEMA))
    decoder = Decoder(shop.SCHEMA)
    warm(print)

    def thalweg() -> int:
        for first in range(0, count, BLOCK_ROWS):
            decoded = decoder.decode(data, starts[first : first + BLOCK_ROWS + 1])
            assert not decoded.rejects
        return count

    def dicts() -> list[object]:
        return [fastavro.schemaless_reader(io.BytesIO(value[5:]), schema, None) for value in values[:FASTAVRO_RECORDS]]

    read = dicts()
    thalweg()
    seconds: dict[str, list[float]] = {"thalweg": [], "fastavro": [], "fastavro + from_pylist": []}
    for _ in range(ROUNDS):
        seconds["thalweg"].append(_seconds_a_record(thalweg, count))
        seconds["fastavro"].append(_seconds_a_record(dicts, len(read)))
        arrow = _seconds_a_record(lambda: pa.RecordBatch.from_pylist(read, _plain(decoder.arrow_schema)), len(read))
        seconds["fastavro + from_pylist"].append(seconds["fastavro"][-1] + arrow)
    ours = statistics.median(seconds["thalweg"])
    print(f"{count:,} shop events, {len(data) / count:.0f} bytes each")
    for name, rounds in seconds.items():
        middle = statistics.median(rounds)
        spread = f"{1e-6 / max(rounds):.3f} to {1e-6 / min(rounds):.3f}"
        print(
            f"{name:24} {1e-6 / middle:7.3f} M records/s of CPU ({spread})   thalweg is {middle / ours:.1f} times as fast"
        )
    print(
        f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB, with all events in memory twice"
    )


def _seconds_a_record(work: Callable[[], object], records: int) -> float:
    start = time.thread_time()
    work()
    return (time.thread_time() - start) / records


def _plain(schema: pa.Schema) -> pa.Schema:
    """`from_pylist` makes no dictionaries."""
    return pa.schema([(f.name, pa.string() if pa.types.is_dictionary(f.type) else f.type) for f in schema])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500_000)
