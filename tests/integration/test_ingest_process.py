"""`thalweg ingest` as a process: how it ends, what it says when something it needs is not there, what it serves."""

import json
import random
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from deltalake import DeltaTable

from schemas.published import publish
from tests.ingest_world import World, trip
from tests.services import Service, environment, thalweg, wait_until
from thalweg.settings import Settings
from thalweg.tables.log import Log

pytestmark = pytest.mark.slow


@pytest.fixture
def world(settings: Settings) -> Iterator[World]:
    """A dataset that was applied, with 200 events in its topic."""
    with closing(World(settings)) as made:
        publish(settings, made.dataset)
        made.send_trips(range(200))
        yield made


def test_sigterm_lands_what_is_held_and_leaves_the_group(world: World, tmp_path: Path) -> None:
    slow = {"THALWEG_INGEST__COMMIT_INTERVAL_S": "3600"}
    with Service(world.settings, "ingest", "trips", log=tmp_path / "log", **slow) as service:
        metrics = served(service)
        wait_until(
            lambda: 'thalweg_records_consumed_total{dataset="trips"} 200.0' in httpx.get(metrics).text,
            "200 records read",
        )
        assert not world.landings()
        assert service.stop() == 0, service.text()
    assert world.ids() == list(range(200))
    world.check_accounts()
    # Left, not timed out: the next member gets the partitions at once instead of after the session timeout.
    group = f"{world.settings.kafka.prefix}.ingest.trips"
    assert not world.admin._client.describe_consumer_groups([group])[group].result().members


def test_it_serves_metrics_and_readiness_and_logs_json(world: World, tmp_path: Path) -> None:
    with Service(world.settings, "ingest", "trips", log=tmp_path / "log") as service:
        metrics = served(service)
        base = metrics.removesuffix("/metrics")
        assert httpx.get(f"{base}/livez").status_code == 200
        wait_until(lambda: httpx.get(f"{base}/readyz").status_code == 200, "readiness")
        wait_until(
            lambda: 'thalweg_records_landed_total{dataset="trips"} 200.0' in httpx.get(metrics).text, "200 rows landed"
        )
        text = httpx.get(metrics).text
        assert re.search(r'thalweg_lag_records\{dataset="trips",partition="0",topic="[^"]+"\} 0\.0', text)
        assert "thalweg_landing_seconds_count" in text
        assert service.stop() == 0
        for line in service.text().splitlines():
            assert "event" in json.loads(line)


def test_a_killed_worker_is_followed_by_one_that_settles_and_goes_on(world: World, tmp_path: Path) -> None:
    world.send([b"not avro"] * 5, partition=0)
    with Service(world.settings, "ingest", "trips", log=tmp_path / "log") as service:
        wait_until(lambda: Log(world.uri).has_entries() and bool(world.landings()), "a landing")
        service.kill()
    assert thalweg(world.settings, "ingest", "trips", "--once").returncode == 0
    assert world.ids() == list(range(200))
    assert len(world.rejected()) == 5
    world.check_accounts()


def test_a_broker_that_is_down_is_named(settings: Settings) -> None:
    ended = thalweg(
        settings, "ingest", "trips", THALWEG_KAFKA__BOOTSTRAP="127.0.0.1:1", THALWEG_KAFKA__REQUEST_TIMEOUT_S="3"
    )
    assert ended.returncode == 3
    assert "no Kafka broker answers at 127.0.0.1:1" in ended.stderr
    assert "thalweg stack status" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_registry_that_is_down_is_named(world: World) -> None:
    ended = thalweg(
        world.settings, "ingest", "trips", THALWEG_REGISTRY__URL="http://127.0.0.1:1", THALWEG_REGISTRY__RETRIES="1"
    )
    assert ended.returncode == 3
    assert "http://127.0.0.1:1" in ended.stderr
    assert "→" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_dataset_that_was_never_applied_is_named(world: World) -> None:
    ended = thalweg(world.settings, "ingest", "trips2")
    assert ended.returncode == 4
    assert "trips2" in ended.stderr
    assert "trips" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_port_that_is_taken_is_named(world: World) -> None:
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        ended = thalweg(world.settings, "ingest", "trips", THALWEG_HTTP__PORT=str(port))
    assert ended.returncode == 3
    assert f"127.0.0.1:{port}" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_full_disk_stops_ingest_and_nothing_is_lost(world: World, tmp_path: Path) -> None:
    """On a real file system with hardly any room, in a mount namespace of the test's own."""
    world.send(
        (
            world.value({**event, "place": random.Random(event["id"]).randbytes(10_000).hex()})
            for event in map(trip, range(200, 300))
        ),
        partition=0,
    )
    small = tmp_path / "small"
    small.mkdir()
    script = (
        f"mount -t tmpfs -o size=200k tmpfs {small} && {sys.executable} -m thalweg ingest trips --once;"
        f" code=$?; cp -r {small}/. {tmp_path}/kept; exit $code"
    )
    ended = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script],
        env=environment(world.settings, THALWEG_TABLES__ROOT=str(small), THALWEG_INGEST__BLOCK_ROWS="64"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 3, ended.stderr[-3000:]
    assert "No space left on device" in ended.stderr
    assert "free disk space" in ended.stderr
    assert "Traceback" not in ended.stderr
    # With room, the same table goes on from where it stood.
    shutil.copytree(tmp_path / "kept", world.settings.tables.root, dirs_exist_ok=True)
    assert thalweg(world.settings, "ingest", "trips", "--once").returncode == 0
    assert len(DeltaTable(world.uri).to_pyarrow_table()) == 300
    world.check_accounts()


def served(service: Service) -> str:
    """URL of the metrics that the service says it serves."""
    wait_until(
        lambda: '"serving"' in service.text() or service.process.poll() is not None, f"a start: {service.text()}"
    )
    found = re.search(r'"metrics": "([^"]+)"', service.text())
    assert found, service.text()
    return found[1]
