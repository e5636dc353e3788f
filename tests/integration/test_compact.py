"""The compactor beside a real broker and real ingest: once, as a service, and after a crash."""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from schemas.published import publish
from tests.ingest_world import Running, World
from tests.services import Service, thalweg, wait_until
from thalweg.settings import Settings
from thalweg.streams import compacted
from thalweg.streams.admin import Admin
from thalweg.streams.clients import LEASE_PARTITIONS, topics
from thalweg.tables.files import Snapshot, stored_files
from thalweg.tables.log import Log

pytestmark = pytest.mark.slow

QUICK = {"THALWEG_COMPACTOR__INTERVAL_S": "0.2", "THALWEG_COMPACTOR__VACUUM_INTERVAL_S": "0.2"}
KEEP_NOTHING = {"THALWEG_COMPACTOR__TIME_TRAVEL_HOURS": "0", "THALWEG_COMPACTOR__STAGED_HOURS": "0"}


@pytest.fixture
def worlds(settings: Settings) -> Iterator[Callable[..., World]]:
    """Makes worlds whose dataset is applied, and closes them."""

    def make(**declared: object) -> World:
        made = stack.enter_context(closing(World(settings, **declared)))
        publish(settings, made.dataset)
        return made

    with ExitStack() as stack:
        yield make


def land(world: World, landings: int, each: int = 30) -> None:
    """Land in so many commits that there is something to merge; one record in each is rejected."""
    start = len(world.ids()) if Log(world.uri).has_entries() else 0
    for number in range(landings):
        world.send_trips(range(start + number * each, start + (number + 1) * each))
        world.send([b"no avro"])
    world.ingest(commit_rows=each, block_rows=each)


def announced(world: World) -> None:
    """As if an announcer had announced everything."""
    settings = world.settings
    with Admin(settings.kafka) as admin:
        admin.ensure_own_topics()
    for name, uri in (("trips", world.uri), ("trips.quarantine", world.quarantine_uri)):
        snapshot = Snapshot(uri)
        key = f"{name}/{snapshot.table_id}".encode()
        value = json.dumps({"version": snapshot.version + 1000, "schema": ""}).encode()
        compacted.put(settings.kafka, topics(settings.kafka).announced, key, value, LEASE_PARTITIONS)


def verified(world: World) -> bool:
    done = thalweg(world.settings, "verify", "trips", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return bool(json.loads(done.stdout)["ok"])


def compact(world: World, *arguments: str, **more: str) -> dict[str, dict[str, object]]:
    done = thalweg(world.settings, "compact", "--once", "--json", *arguments, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return {table["table"]: table for table in json.loads(done.stdout)["tables"]}


def test_once_merges_both_tables_and_says_what_it_did(worlds: Callable[..., World]) -> None:
    world = worlds()
    land(world, 5)
    ids = world.ids()
    planned = compact(world, "--dry-run")
    assert planned["trips"]["after"] is None
    assert planned["trips"]["merges_planned"]
    assert len(Snapshot(world.uri).files) > 10, "a dry run changes nothing"
    done = compact(world, THALWEG_COMPACTOR__MIN_FILES="2")
    assert done["trips"]["before"]["files"] > done["trips"]["after"]["files"] == 4, "one for each date"
    assert done["trips.quarantine"]["after"]["files"] == 1
    assert world.ids() == ids
    assert len(world.rejected()) == 5
    assert verified(world)
    again = compact(world, "trips", THALWEG_COMPACTOR__MIN_FILES="2")
    assert again["trips"]["merges"] == []
    shown = thalweg(world.settings, "compact", "--once", "--dry-run")
    assert "trips.quarantine" in shown.stdout
    assert "Nothing was changed" in shown.stdout


def test_files_that_merges_replaced_go_when_nothing_needs_them(worlds: Callable[..., World]) -> None:
    world = worlds()
    land(world, 5)
    compact(world, **KEEP_NOTHING)
    assert len(stored_files(world.uri)) > len(Snapshot(world.uri).files), "nothing was announced yet, so nothing may go"
    announced(world)
    done = compact(world, **KEEP_NOTHING)
    assert done["trips"]["vacuum"]["files"] > 10
    for uri in (world.uri, world.quarantine_uri):
        assert {file.path for file in stored_files(uri)} == {file.path for file in Snapshot(uri).files}
    assert verified(world)


def test_retention_goes_by_what_is_declared_and_verify_knows(worlds: Callable[..., World]) -> None:
    world = worlds(retention={"class": "short", "days": 30})
    land(world, 2)
    rows = len(world.ids())
    planned = compact(world, "--dry-run")
    assert planned["trips"]["retention"]["rows"] == rows
    assert len(world.ids()) == rows
    done = compact(world)
    assert done["trips"]["retention"]["version"] is not None
    assert world.ids() == []
    answer = json.loads(thalweg(world.settings, "verify", "trips", "--json").stdout)
    assert answer["ok"], answer["problems"]
    assert sum(partition["retired"] for partition in answer["partitions"]) == rows
    assert compact(world)["trips"]["retention"]["dates"] == []


def test_what_a_dead_worker_left_unsettled_is_settled(worlds: Callable[..., World]) -> None:
    world = worlds()
    land(world, 1)
    for path in sorted(Path(world.quarantine_uri).rglob("_delta_log/*")):
        path.unlink()
    assert not Log(world.quarantine_uri).has_entries()
    assert verified(world), "the log still names the rejects' file"
    compact(world, **KEEP_NOTHING)
    assert len(world.rejected()) == 1
    assert verified(world)


def test_the_service_keeps_a_table_tidy_while_it_grows_and_stops_when_told(
    worlds: Callable[..., World], tmp_path: Path
) -> None:
    world = worlds()
    land(world, 1)
    running = Running(world.worker(commit_interval_s=0.1))
    try:
        with Service(world.settings, "compact", log=tmp_path / "compact.log", **QUICK, **KEEP_NOTHING) as service:
            numbers = iter(range(100, 100_000, 10))

            def merged() -> bool:
                start = next(numbers)
                world.send_trips(range(start, start + 10))
                return sum(entry.operation == "OPTIMIZE" for entry in Log(world.uri).entries(0)) >= 3

            wait_until(merged, "three merges beside the landings")
            assert service.stop() == 0, service.text()
    finally:
        running.stop()
    world.ingest()
    assert verified(world)


def test_a_compactor_killed_at_any_moment_leaves_a_whole_table(worlds: Callable[..., World], tmp_path: Path) -> None:
    world = worlds()
    land(world, 4)
    announced(world)
    for _ in range(3):
        before = Snapshot(world.uri).version
        with Service(world.settings, "compact", "--once", log=tmp_path / "compact.log", **KEEP_NOTHING) as service:
            wait_until(
                lambda: service.process.poll() is not None or Snapshot(world.uri).version > before,  # noqa: B023 - used at once
                "a merge, or the end",
            )
            service.kill()
        assert verified(world)
        land(world, 4)
        announced(world)
    compact(world, **KEEP_NOTHING)
    assert verified(world)


def test_options_that_do_not_go_together_are_refused(settings: Settings) -> None:
    done: subprocess.CompletedProcess[str] = thalweg(settings, "compact", "--dry-run")
    assert done.returncode == 2
    assert "--once" in done.stderr


def test_nothing_to_do_is_said(settings: Settings) -> None:
    done = thalweg(settings, "compact", "--once")
    assert done.returncode == 0, done.stderr
    assert "no table yet" in done.stdout
