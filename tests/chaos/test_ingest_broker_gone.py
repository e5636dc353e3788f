"""A broker or a registry that goes away under a running worker and comes back."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from schemas.published import publish
from tests.ingest_world import TRIP, Sending, World, trip
from tests.services import Service, wait_until
from thalweg.settings import Settings
from thalweg.stack.kafka import LocalKafka
from thalweg.stack.registry import LocalRegistry

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

AWAY_S = 20.0


@pytest.fixture
def kafka(kafkas: Callable[[str], LocalKafka]) -> LocalKafka:
    """A broker of this test's own."""
    return kafkas("own")


@pytest.fixture
def world(settings: Settings, kafka: LocalKafka) -> Iterator[World]:
    """A dataset on that broker; its schemas are where the session's are."""
    own = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"bootstrap": kafka.start()})})
    with closing(World(own)) as made:
        publish(own, made.dataset)
        yield made


@pytest.mark.parametrize(("leave", "source"), [(LocalKafka.stop, "public"), (LocalKafka.kill, "bulk")])
def test_a_worker_outlives_its_broker_and_goes_on(
    world: World, kafka: LocalKafka, tmp_path: Path, leave: Callable[[LocalKafka], object], source: str
) -> None:
    limits = {"THALWEG_INGEST__COMMIT_INTERVAL_S": "0.5", "THALWEG_INGEST__SOURCE": source}
    with (
        Service(world.settings, "ingest", "trips", log=tmp_path / "log", **limits) as worker,
        Sending(world) as sending,
    ):
        wait_until(lambda: world.accounted() > 200, f"landings: {worker.text()[-2000:]}", 60)
        leave(kafka)
        before = world.accounted()
        time.sleep(AWAY_S)
        assert worker.process.poll() is None, worker.text()[-3000:]
        kafka.start()
        wait_until(lambda: world.accounted() > before + 500, f"landings afterwards: {worker.text()[-2000:]}", 90)
        sending.stop()
        wait_until(lambda: world.accounted() >= sending.sent, f"all: {worker.text()[-2000:]}", 60)
        assert worker.stop() == 0, worker.text()[-3000:]
    assert world.ids() == sending.good()
    world.check_accounts()


def test_a_worker_whose_broker_stays_away_can_be_stopped(world: World, kafka: LocalKafka, tmp_path: Path) -> None:
    """What it holds cannot be landed: which topic it came from cannot be asked. It says so, and the next worker reads it again."""
    world.send_trips(range(50))
    with Service(
        world.settings,
        *("ingest", "trips"),
        log=tmp_path / "log",
        THALWEG_INGEST__COMMIT_INTERVAL_S="3600",
        THALWEG_KAFKA__REQUEST_TIMEOUT_S="2",
    ) as worker:
        wait_until(lambda: '"partitions assigned"' in worker.text(), "partitions")
        time.sleep(2)
        kafka.stop()
        assert worker.stop(60) == 3
        assert "no Kafka broker answers" in worker.text()
        assert "Traceback" not in worker.text()
    kafka.start()
    world.ingest()
    assert world.ids() == list(range(50))
    world.check_accounts()


def test_events_of_a_new_schema_wait_for_a_registry_that_is_away(
    settings: Settings, kafka: LocalKafka, tmp_path: Path
) -> None:
    """They land once it is back; nothing goes to the quarantine for it, and events of known schemas landed meanwhile."""
    bootstrap = kafka.start()
    registry = LocalRegistry(tmp_path / "registry", bootstrap)
    try:
        own = settings.model_copy(
            update={
                "kafka": settings.kafka.model_copy(update={"bootstrap": bootstrap}),
                "registry": settings.registry.model_copy(update={"url": registry.start(), "retries": 1}),
            }
        )
        with closing(World(own)) as world:
            publish(own, world.dataset)
            world.send_trips(range(50))
            wider = {**TRIP, "fields": [*TRIP["fields"], {"name": "note", "type": ["null", "string"], "default": None}]}
            wider_id = world.register(wider)
            with Service(own, "ingest", "trips", log=tmp_path / "log") as worker:
                wait_until(lambda: world.accounted() == 50, f"50 landed: {worker.text()[-2000:]}")
                registry.stop()
                world.send_trips(range(50, 60))
                wait_until(lambda: world.accounted() == 60, "events of a known schema")
                world.send([world.value(trip(i, note="n"), wider, wider_id) for i in range(60, 80)])
                wait_until(lambda: "waiting for an answer" in worker.text(), "a warning")
                assert world.accounted() == 60
                registry.start()
                wait_until(lambda: world.accounted() == 80, f"all: {worker.text()[-2000:]}")
                assert worker.stop() == 0, worker.text()[-3000:]
            assert world.ids() == list(range(80))
            world.check_accounts()
    finally:
        registry.stop()
