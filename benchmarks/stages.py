"""Where a landing's time goes: each stage alone, over the same blocks of shop events, on one thread, without a broker.

Processor time a record, the least of the rounds: what a stage costs when nothing disturbs it. Consuming is not in it:
see `benchmarks.sources` for both clients.

Run: python -m benchmarks.stages [--blocks N]
"""

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

import ingest.allocator  # noqa: F401 - first of all that imports Arrow
from benchmarks import figures
from benchmarks.cases import RULES
from benchmarks.world import DECLARATION, TOPIC
from ingest.admit import Admission
from ingest.block import Block, starts_of
from ingest.decode.decoder import Decoder, warm
from ingest.parts import Parts
from ingest.table import LandingTable
from produce import shop
from schemas.datasets import Dataset
from schemas.wire import schema_ids
from thalweg.settings import IngestSettings, TableSettings

ROUNDS = 5
BLOCK_ROWS = IngestSettings().block_rows
IDS = {TOPIC: "a-topic-id"}
T = TypeVar("T")


class Clock:
    """Adds up processor time by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def __call__(self, stage: str, work: Callable[[], T]) -> T:
        """Do it, and count its time for the stage."""
        began = time.process_time()
        done = work()
        self.seconds[stage] += time.process_time() - began
        return done


def main(blocks: int) -> None:
    """Measure, tell, keep."""
    warm(print)
    made = _blocks(blocks)
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        stages = _Stages(folder)
        for _ in range(ROUNDS):
            clock = Clock()
            stages.run(made, clock)
            for stage, seconds in clock.seconds.items():
                cost = seconds / (blocks * BLOCK_ROWS) * 1e6
                found[stage] = min(found.get(stage, cost), cost)
    total = sum(cost for stage, cost in found.items() if "rules" not in stage)
    rows = [[stage, round(cost, 3), cost / total if "rules" not in stage else None] for stage, cost in found.items()]
    figures.show(f"{blocks * BLOCK_ROWS:,} shop events", ["", "µs a record", "share"], [*rows, ["in all", total, 1.0]])
    print(figures.write("stages", {"machine": figures.machine(), "us_per_record": found, "total": total}))


def _blocks(count: int) -> list[Block]:
    """Blocks of shop events of four partitions, as a source gives them."""
    values = [value for batch in shop.source(count * BLOCK_ROWS).encoded(1) for value in batch.values]
    none = np.empty(0, np.int64)
    found = []
    for first in range(0, count * BLOCK_ROWS, BLOCK_ROWS):
        some = values[first : first + BLOCK_ROWS]
        found.append(
            Block(
                topics=(TOPIC,),
                topic=np.zeros(BLOCK_ROWS, np.int16),
                partition=np.repeat(np.arange(4, dtype=np.int32), BLOCK_ROWS // 4),
                offset=np.arange(first, first + BLOCK_ROWS),
                timestamp_ms=np.full(BLOCK_ROWS, 1_767_571_200_000),
                data=np.frombuffer(b"".join(some), np.uint8),
                starts=starts_of(np.array([len(value) for value in some], np.int64)),
                tombstones=none,
                keys=np.empty(0, np.uint8),
                key_starts=np.zeros(BLOCK_ROWS + 1, np.int64),
                null_keys=np.arange(BLOCK_ROWS),
                headers={},
            )
        )
    return found


class _Stages:
    """What a landing does with a block, stage by stage."""

    def __init__(self, folder: str) -> None:
        plain, ruled = (self._dataset(more) for more in ({}, {"contract": {"rules": RULES}}))
        self._decoder = Decoder(shop.SCHEMA)
        schema = self._decoder.arrow_schema
        self._table = LandingTable(plain, TableSettings(root=folder), schema, IDS)
        self._admission, self._ruled = Admission(plain, schema), Admission(ruled, schema)

    def run(self, blocks: list[Block], clock: Clock) -> None:
        """Let the blocks go all the way to closed files."""
        parts = Parts(self._table.uri, "date", IngestSettings())
        for block in blocks:
            ids, framed = clock("framing, schema ids", lambda b=block: schema_ids(b.data, b.starts))
            rows = np.flatnonzero(framed & (ids == 1))
            decoded = clock("decode", lambda b=block, r=rows: self._decoder.decode(b.data, b.starts, r))
            verdict = clock("date", lambda d=decoded: self._admission.check(d.batch))
            clock("ten rules and the date", lambda d=decoded: self._ruled.check(d.batch))
            batch = clock(
                "the table's columns",
                lambda b=block, d=decoded: self._table.conform(d.batch, b, d.rows, IDS),
            )
            clock("by date, and Parquet", lambda b=batch, v=verdict: parts.append(b, v.days))
        clock("closing files, statistics", parts.close)

    @staticmethod
    def _dataset(more: dict[str, Any]) -> Dataset:
        return Dataset.model_validate_json(json.dumps({**DECLARATION, **more}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=16)
    main(**vars(parser.parse_args()))
