"""Workers that are stopped in their tracks (SIGSTOP) for longer than the group waits, and wake up when another has taken over."""

import random
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from schemas.published import publish
from tests.ingest_world import Sending, World
from tests.services import Service, wait_until
from thalweg.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PARTITIONS = 4
# Small landings, so that a worker is stopped in many states: reading, writing files, committing.
LIMITS = {"THALWEG_INGEST__COMMIT_INTERVAL_S": "0.2", "THALWEG_INGEST__BLOCK_ROWS": "64"}


@pytest.fixture
def world(settings: Settings) -> Iterator[World]:
    """A dataset that was applied; the group waits 6 s for a member."""
    with closing(World(settings, partitions=PARTITIONS)) as made:
        publish(settings, made.dataset)
        yield made


@pytest.mark.parametrize(
    ("protocol", "source", "rounds"), [("classic", "public", 2), ("classic", "bulk", 2), ("consumer", "bulk", 1)]
)
def test_a_worker_that_slept_while_another_took_over_lands_nothing_twice(
    world: World, tmp_path: Path, protocol: str, source: str, rounds: int
) -> None:
    """Under KIP-848 the broker says how long it waits: 45 s."""
    chance = random.Random(f"{protocol} 7")
    more = {**LIMITS, "THALWEG_KAFKA__GROUP_PROTOCOL": protocol, "THALWEG_INGEST__SOURCE": source}
    with (
        Service(world.settings, "ingest", "trips", log=tmp_path / "one.log", **more) as one,
        Service(world.settings, "ingest", "trips", log=tmp_path / "other.log", **more) as other,
    ):
        workers = [one, other]
        wait_until(lambda: all("trips[" in worker.text() for worker in workers), "partitions for both")
        with Sending(world) as sending:
            for number in range(rounds):
                sleeper = workers[number % 2]
                time.sleep(chance.uniform(0.5, 1.5))
                sleeper.process.send_signal(signal.SIGSTOP)
                sent = sending.sent
                reach(world, sent, "while one sleeps, the other lands what both had")
                sleeper.process.send_signal(signal.SIGCONT)
                sent = sending.sent
                reach(world, sent, "both go on")
            sending.stop()
            wait_until(lambda: world.accounted() == sending.sent, "everything")
        for worker in workers:
            assert worker.process.poll() is None, worker.text()[-3000:]
            assert worker.stop() == 0, worker.text()[-3000:]
    assert world.ids() == sending.good()
    world.check_accounts()


def reach(world: World, sent: int, what: str) -> None:
    """Wait until the table has passed what had been sent to every partition."""

    def passed() -> bool:
        reached = {span.partition: span.next for entry in world.landings() for span in entry.spans}
        return len(reached) == PARTITIONS and min(reached.values()) >= sent // PARTITIONS

    wait_until(passed, what, 120)
