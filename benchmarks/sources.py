"""What reading a record costs through each source, on a topic that is there: `python benchmarks/sources.py TOPIC RECORDS`.

Each source runs in a process of its own, turn by turn, from the topic's beginning. Processor time is what to compare: the rate
also depends on what else the machine does.
"""

import gc
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping

from ingest.sources.bulk import BulkSource
from ingest.sources.public import PublicSource
from ingest.sources.source import Partition
from thalweg.clock import SystemClock
from thalweg.settings import load_settings

SOURCES = {"public": PublicSource, "bulk": BulkSource}
ROUNDS = 3


class FromTheBeginning:
    """Every partition is read from its first offset."""

    def assigned(self, partitions: list[Partition]) -> Mapping[Partition, int]:
        """Start at 0."""
        return dict.fromkeys(partitions, 0)

    def revoked(self, partitions: list[Partition]) -> Mapping[Partition, int]:
        """Nothing is held."""
        return {}


def measure(name: str, topic: str, records: int) -> None:
    """Read so many records and print what that took, after the first ones."""
    limits = load_settings().ingest
    source = SOURCES[name](load_settings().kafka, uuid.uuid4().hex, [topic], FromTheBeginning(), SystemClock())
    gc.freeze()
    gc.disable()  # as a worker does
    read = first = value_bytes = 0
    began_s = cpu_s = thread_s = 0.0
    while read < records:
        block = source.poll(limits.block_rows, limits.block_bytes, 0.2)
        if block is None:
            continue
        read += len(block)
        value_bytes += block.value_bytes
        if not first:
            first, began_s, cpu_s, thread_s = read, time.perf_counter(), time.process_time(), time.thread_time()
    rest = read - first
    rate = rest / (time.perf_counter() - began_s)
    cpu_us, thread_us = (
        (now - then) / rest * 1e6 for now, then in ((time.process_time(), cpu_s), (time.thread_time(), thread_s))
    )
    print(
        f"{name:6} {rate:9,.0f} records/s  {cpu_us:.2f} µs all threads  {thread_us:.2f} µs consuming thread  {value_bytes / read:.0f} bytes"
    )
    source.close()
    gc.unfreeze()


if __name__ == "__main__":
    if len(sys.argv) == 4:
        measure(sys.argv[3], sys.argv[1], int(sys.argv[2]))
    else:
        for _ in range(ROUNDS):
            for each in SOURCES:
                subprocess.run([sys.executable, __file__, *sys.argv[1:3], each], check=True)
