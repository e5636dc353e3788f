"""kill -9 of a real worker process, at random moments, on all flights of a year: nothing lost, nothing twice."""

import json
import random
import time
from pathlib import Path

import pytest
import yaml
from deltalake import DeltaTable

from produce.producer import produce
from schemas.datasets import Dataset
from schemas.published import publish
from tests.services import Service, thalweg, wait_until
from thalweg.settings import Settings
from thalweg.tables.log import Log
from thalweg.tables.place import table_uri

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

FLIGHTS = 336_776
POISON = 20
KILLS = 6
# Small landings, so that a kill meets one in many states.
LIMITS = {
    "THALWEG_INGEST__COMMIT_INTERVAL_S": "0.2",
    "THALWEG_INGEST__BLOCK_ROWS": "4096",
    "THALWEG_INGEST__COMMIT_ROWS": "12000",
}


def test_all_flights_land_once_though_the_worker_is_killed_again_and_again(settings: Settings, tmp_path: Path) -> None:
    topic = f"{settings.kafka.prefix}.flights"
    declared = yaml.safe_load(Path("examples/flights.yaml").read_text()) | {"topics": [topic]}
    publish(settings, Dataset.model_validate_json(json.dumps(declared)))
    produced = produce(topic, sample="flights", poison=POISON, seed=7, partitions=4, settings=settings)
    assert produced.count == FLIGHTS
    uri = table_uri(settings.tables, "flights")
    chance = random.Random(20_130_101)
    kills = 0
    while kills < KILLS:
        before = Log(uri).latest() if Log(uri).has_entries() else -1
        # Turn by turn: what one source has landed, the other goes on from.
        source = {"THALWEG_INGEST__SOURCE": ("public", "bulk")[kills % 2]}
        with Service(settings, "ingest", "flights", log=tmp_path / "worker.log", **LIMITS, **source) as worker:
            wait_until(
                lambda before=before, worker=worker: (
                    worker.process.poll() is not None or (Log(uri).has_entries() and Log(uri).latest() > before)
                ),
                f"a landing after version {before}: {worker.text()[-2000:]}",
            )
            assert worker.process.poll() is None, worker.text()[-2000:]
            time.sleep(chance.uniform(0.0, 0.25))
            worker.kill()
        kills += 1
    landed_before_the_end = DeltaTable(uri).to_pyarrow_dataset().count_rows()
    assert landed_before_the_end < FLIGHTS, "the kills came too late to prove anything"
    last = thalweg(settings, "ingest", "flights", "--once", **LIMITS)
    assert last.returncode == 0, last.stderr[-2000:]
    verdict = thalweg(settings, "verify", "flights", "--json")
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr
    partitions = json.loads(verdict.stdout)["partitions"]
    assert sum(p["landed"] for p in partitions) == FLIGHTS
    assert sum(p["quarantined"] for p in partitions) == POISON
    assert all(p["missing"] == p["duplicate"] == p["unverifiable"] == p["holes"] == 0 for p in partitions)
    rows = DeltaTable(uri).to_pyarrow_table(columns=["date"])
    assert rows.num_rows == FLIGHTS
    assert len(set(rows["date"].to_pylist())) == 365
