"""Several workers of one group land one topic in one table: exactly once, and how much more than one of them.

1, 2 and 4 processes share 12 partitions, and then all records appear at once: they were produced in one Kafka transaction,
which is committed when every worker has its partitions. From the first record that any of them read to the last commit of
any. Conflicts are commits of other workers that a commit met. On a machine with fewer cores than processes, more of them
cannot be faster: what counts there is that they are not slower, and lose nothing.

Run: python -m benchmarks.scaling [--records N] [--workers 1 2 4] [--rounds N]
"""

import argparse
import shutil
import statistics
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from confluent_kafka import ConsumerGroupState
from confluent_kafka.admin import AdminClient

from benchmarks import figures
from benchmarks.verification import count
from benchmarks.world import DECLARATION, World, landed, result, wait_until, world
from produce import shop
from schemas.registry import Registry
from thalweg.settings import Settings
from thalweg.streams.admin import Admin, TopicSpec
from thalweg.streams.clients import producer

PARTITIONS = 12
PATIENCE_S = 180.0
# More commits than usual, so that they meet; and the last one does not wait for long.
COMMITS = {"THALWEG_INGEST__COMMIT_ROWS": "200000", "THALWEG_INGEST__COMMIT_INTERVAL_S": "0.5"}


def main(records: int, workers: Sequence[int], rounds: int) -> None:
    """Measure, tell, keep."""
    found = []
    with world() as here:
        for number in workers:
            measured = [_measure(here, records, number) for _ in range(rounds)]
            found.append(_middle(measured))
            print(found[-1], flush=True)
    one = found[0]["rate_per_s"]
    rows = [
        [
            f"{each['workers']} workers",
            *(each[key] for key in ("rate_per_s", "per_core_per_s")),
            each["rate_per_s"] / one,
            *(each[key] for key in ("cpu_us_per_record", "commits", "conflicts", "rows", "distinct")),
        ]
        for each in found
    ]
    columns = ["", "records/s", "a core", "× one", "CPU µs", "commits", "conflicts", "rows", "distinct"]
    figures.show(f"{records:,} shop events, {PARTITIONS} partitions, one table", columns, rows)
    print(figures.write("scaling", {"machine": figures.machine(), "records": records, "runs": found}))


def _measure(here: World, records: int, workers: int) -> dict[str, Any]:
    topic = f"scaling-{uuid.uuid4().hex[:8]}"
    dataset, settings = here.declare({**DECLARATION, "topics": [topic]})
    table = Path(settings.tables.root) / dataset.name
    with Admin(settings.kafka) as admin:
        admin.create_topics([TopicSpec(topic, PARTITIONS)])
        with _uncommitted(settings, topic, records) as commit:
            command = ["benchmarks.worker", "--dataset", dataset.name, "--follow"]
            given = {**here.environment(settings), **COMMITS}
            running = [here.start(command, **given) for _ in range(workers)]
            client = AdminClient({"bootstrap.servers": here.bootstrap})
            group = f"{settings.kafka.prefix}.ingest.{dataset.name}"
            wait_until(lambda: _shared(client, group, workers), f"partitions shared by {workers} workers", PATIENCE_S)
            commit()
        wait_until(lambda: landed(table) == records, f"{records} rows in {table}", PATIENCE_S)
    for worker in running:
        worker.terminate()
    found = [each for each in map(result, running) if each["records"]]
    rows, distinct = count(str(table))
    shutil.rmtree(table)
    if (rows, distinct) != (records, records):
        raise RuntimeError(f"{table}: {rows} rows and {distinct} distinct ids of {records} events")
    counted = sum(each["records"] for each in found)
    seconds = max(each["ended"] for each in found) - min(each["began"] for each in found)
    return {
        "workers": workers,
        "rate_per_s": counted / seconds,
        "per_core_per_s": counted / seconds / min(workers, psutil.cpu_count() or 1),
        "cpu_us_per_record": sum(each["cpu_seconds"] for each in found) / counted * 1e6,
        "peak_rss_mb": max(each["peak_rss_mb"] for each in found),
        "shares": sorted(each["rows"] for each in found),
        "commits": sum(each["commits"] for each in found),
        "conflicts": sum(each["conflicts"] for each in found),
        "rows": rows,
        "distinct": distinct,
    }


def _shared(client: AdminClient, group: str, workers: int) -> bool:
    """Whether so many members hold all partitions between them, none more than its share."""
    told = client.describe_consumer_groups([group])[group].result(PATIENCE_S)
    held = [len(member.assignment.topic_partitions) for member in told.members if member.assignment]
    return told.state == ConsumerGroupState.STABLE and sorted(held) == [PARTITIONS // workers] * workers


@contextmanager
def _uncommitted(settings: Settings, topic: str, records: int) -> Iterator[Callable[[], None]]:
    """Produce records in one Kafka transaction; call what is given to commit it."""
    with Registry(settings.registry) as registry:
        schema_id = registry.register(f"{topic}-value", shop.SCHEMA)
    client = producer(settings.kafka, transactional_id=topic, transaction_timeout_ms=900_000)
    client.init_transactions(PATIENCE_S)
    client.begin_transaction()
    for batch in shop.source(records).encoded(schema_id):
        for key, value in zip(batch.keys, batch.values, strict=True):
            while True:
                try:
                    client.produce(topic, value, key)
                    break
                except BufferError:
                    client.poll(0.1)
        client.poll(0)
    client.flush(PATIENCE_S)
    yield lambda: client.commit_transaction(PATIENCE_S)


def _middle(measured: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The round with the median rate, and the spread of the rates."""
    rates = [each["rate_per_s"] for each in measured]
    middle = statistics.median_low(rates)
    chosen = next(each for each in measured if each["rate_per_s"] == middle)
    return {**chosen, "rate_per_s_min": min(rates), "rate_per_s_max": max(rates)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=4_000_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--rounds", type=int, default=3)
    main(**vars(parser.parse_args()))
