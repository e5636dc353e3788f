"""How long an event takes until its row can be queried, and a commit until subscribers have its version event.

Real processes: `thalweg ingest`, `thalweg announce`, `thalweg produce`, and a subscriber in this one. A row can be queried
from the moment when its version's log entry stands in the table's folder: that file's time of modification. The event's
own time is the timestamp that the producer's client gave it (milliseconds). Both are of one machine's clock. The first
events, with which everybody warms up, are not counted.

Run: python -m benchmarks.latency [--rates 1000 20000 100000] [--intervals 0.5 1 5]
"""

import argparse
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks import figures
from benchmarks.world import DECLARATION, World, ended, landed, wait_until, world
from produce import shop
from thalweg.settings import Settings
from thalweg.tables.files import log_times
from thalweg.tables.log import Log
from versions.subscribe import subscribe

WARM_UP_RECORDS = 1_000
LEAST_S = 20.0
# A p99 wants more than a few commits.
LEAST_COMMITS = 8
PATIENCE_S = 120.0


def main(rates: Sequence[int], intervals: Sequence[float]) -> None:
    """Measure, tell, keep."""
    found = []
    with world() as here:
        for interval in intervals:
            for rate in rates:
                found.append(_measure(here, rate, interval))
                print(_told(found[-1]), flush=True)
    result = {"machine": figures.machine(), "runs": found}
    rows = [
        [
            f"{each['rate_per_s']:,} events/s, committed each {each['commit_interval_s']} s",
            each["commits"],
            *(each[name][p] for name in ("queryable_ms", "announced_ms") for p in ("p50", "p99", "max")),
        ]
        for each in found
    ]
    columns = ["", "commits", "queryable p50 ms", "p99", "max", "announced p50 ms", "p99", "max"]
    figures.show("event → row can be queried; commit → version event received", columns, rows)
    print(figures.write("latency", result))


def _measure(here: World, rate: int, interval_s: float) -> dict[str, Any]:
    topic = f"latency-{uuid.uuid4().hex[:8]}"
    dataset, settings = here.declare({**DECLARATION, "topics": [topic]})
    environment = {**here.environment(settings), "THALWEG_INGEST__COMMIT_INTERVAL_S": str(interval_s)}
    table = Path(settings.tables.root) / dataset.name
    count = round(rate * max(LEAST_S, LEAST_COMMITS * interval_s))
    with ExitStack() as running:
        running.enter_context(_service(here, environment, "announce"))
        received = running.enter_context(_received(settings, dataset.name))
        here.fill(topic, shop.source(WARM_UP_RECORDS))
        running.enter_context(_service(here, environment, "ingest", dataset.name))
        wait_until(lambda: landed(table) == WARM_UP_RECORDS, f"{WARM_UP_RECORDS} rows in {table}", PATIENCE_S)
        began_ms = time.time() * 1000
        wanted = ["--topic", topic, "--count", str(count), "--rate", str(rate)]
        ended(here.start(["thalweg", "produce", "shop", *wanted], **environment))
        wait_until(lambda: landed(table) == WARM_UP_RECORDS + count, f"{count} rows in {table}", PATIENCE_S)
        versions = log_times(str(table))
        wait_until(lambda: max(received) >= max(versions), f"version {max(versions)} on the topic", PATIENCE_S)
    waited = np.concatenate(list(_waited(table, versions, began_ms)))
    announced = [received[version] - at_ms for version, at_ms in versions.items() if at_ms > began_ms]
    return {
        "rate_per_s": rate,
        "commit_interval_s": interval_s,
        "events": len(waited),
        "commits": len(announced),
        "queryable_ms": _percentiles(waited),
        "announced_ms": _percentiles(np.array(announced)),
    }


@contextmanager
def _service(here: World, environment: Mapping[str, str], *command: str) -> Iterator[None]:
    """One of our services, which runs while the block does."""
    process = here.start(["thalweg", *command], **environment)
    try:
        yield
    finally:
        process.terminate()
        ended(process)


@contextmanager
def _received(settings: Settings, dataset: str) -> Iterator[dict[int, float]]:
    """When each version's event was received, in milliseconds since 1970, while the block runs."""
    received: dict[int, float] = {-1: 0.0}
    subscription = subscribe(dataset, since="earliest", settings=settings)

    def listen() -> None:
        for event in subscription:
            received[event.version] = time.time() * 1000

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield received
    finally:
        subscription.close()
        thread.join(PATIENCE_S)
        received.pop(-1)


def _waited(table: Path, versions: Mapping[int, int], since_ms: float) -> Iterator[np.ndarray]:
    """For each row produced since then, the milliseconds until its version's log entry stood there."""
    for entry in Log(str(table)).entries(0):
        for file in entry.added:
            produced = pq.read_table(table / file.path, columns=["_timestamp"], partitioning=None)["_timestamp"]
            at_ms = produced.to_numpy().astype("datetime64[ms]").astype(np.int64)
            yield versions[entry.version] - at_ms[at_ms >= since_ms]


def _percentiles(values: np.ndarray) -> dict[str, float]:
    p50, p99 = np.percentile(values, [50, 99])
    return {"p50": round(float(p50), 1), "p99": round(float(p99), 1), "max": round(float(values.max()), 1)}


def _told(found: Mapping[str, Any]) -> str:
    return (
        f"{found['rate_per_s']:>7,}/s each {found['commit_interval_s']} s: queryable {found['queryable_ms']},"
        f" announced {found['announced_ms']} ({found['commits']} commits)"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", type=int, nargs="+", default=[1_000, 20_000, 100_000])
    parser.add_argument("--intervals", type=float, nargs="+", default=[0.5, 1.0, 5.0])
    main(**vars(parser.parse_args()))
