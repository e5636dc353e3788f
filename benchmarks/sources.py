"""What reading a record costs through each source: consuming alone, without decoding or landing.

Each source runs in a process of its own, in turn, from the topic's beginning. Processor time is what to compare: the rate
also depends on what else the machine does.

Run: python -m benchmarks.sources [--records N] [--rounds N]
"""

import argparse
import gc
import json
import time
import uuid
from collections.abc import Mapping

import ingest.allocator  # noqa: F401 - first of all that imports Arrow
from benchmarks import figures
from benchmarks.world import TOPIC, world
from ingest.sources.bulk import BulkSource
from ingest.sources.public import PublicSource
from ingest.sources.source import Partition
from produce import shop
from thalweg.clock import SystemClock
from thalweg.settings import load_settings

SOURCES = {"public": PublicSource, "bulk": BulkSource}
MEASURED = ("rate_per_s", "cpu_us_per_record", "consuming_thread_us_per_record")


class FromTheBeginning:
    """Every partition is read from its first offset."""

    def assigned(self, partitions: list[Partition]) -> Mapping[Partition, int]:
        """Start at 0."""
        return dict.fromkeys(partitions, 0)

    def revoked(self, partitions: list[Partition]) -> Mapping[Partition, int]:
        """Nothing is held."""
        return {}


def main(records: int, rounds: int) -> None:
    """Measure, tell, keep."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in SOURCES}
    with world() as here:
        here.fill(TOPIC, shop.source(records))
        environment = here.environment(here.settings())
        for _ in range(rounds):
            for name, found in runs.items():
                arguments = ["--records", str(records), "--measure", name]
                found.append(here.run(["benchmarks.sources", *arguments], **environment))
    result = {name: figures.summed_up(found, MEASURED) for name, found in runs.items()}
    columns = ["", "records/s", "CPU µs, all threads", "consuming thread"]
    figures.show(
        f"{records:,} shop events, consumed", columns, [[name, *map(run.get, MEASURED)] for name, run in result.items()]
    )
    print(figures.write("sources", {"machine": figures.machine(), "records": records, "runs": result}))


def measure(name: str, records: int) -> str:
    """Read so many records; what that took, after the first block."""
    settings = load_settings()
    limits = settings.ingest
    source = SOURCES[name](settings.kafka, uuid.uuid4().hex, [TOPIC], FromTheBeginning(), SystemClock())
    gc.freeze()
    gc.disable()  # as a worker does
    read = first = 0
    began_s = cpu_s = thread_s = 0.0
    while read < records:
        block = source.poll(limits.block_rows, limits.block_bytes, 0.2)
        if block is None:
            continue
        read += len(block)
        if not first:
            first, began_s, cpu_s, thread_s = read, time.perf_counter(), time.process_time(), time.thread_time()
    rest = read - first
    taken = (
        rest / (time.perf_counter() - began_s),
        (time.process_time() - cpu_s) / rest * 1e6,
        (time.thread_time() - thread_s) / rest * 1e6,
    )
    source.close()
    gc.unfreeze()
    return json.dumps(dict(zip(MEASURED, taken, strict=True)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", choices=SOURCES, help="one source, in this process, on what the environment names")
    told = parser.parse_args()
    if told.measure:
        print(measure(told.measure, told.records))
    else:
        main(told.records, told.rounds)
