"""The announcer under kill -9, SIGSTOP and rivals, on a real broker: every version exactly once and in order."""

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from schemas.openlineage import run_id
from tests.announcer_process import AnnouncerProcess, declare, eventually, told
from tests.properties.test_announcer_exactly_once import Announcing
from thalweg.settings import AnnouncerSettings, Settings
from thalweg.stack.kafka import LocalKafka
from thalweg.streams.clients import topics
from thalweg.streams.feed import Feed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROWS = pa.table({"date": ["2013-01-01"], "x": [1]})
KILLS = 6


@contextmanager
def committing(uri: str, pause_s: float) -> Iterator[None]:
    """Somebody commits to a table the whole time."""
    stop = threading.Event()

    def commit() -> None:
        while not stop.wait(pause_s):
            write_deltalake(uri, ROWS, mode="append", partition_by=["date"])

    writer = threading.Thread(target=commit)
    writer.start()
    try:
        yield
    finally:
        stop.set()
        writer.join()


def until_more_is_told(settings: Settings) -> None:
    """Wait for an announcer to be at work."""
    before = len(told(settings))
    eventually(lambda: len(told(settings)) > before, why=lambda: (settings.home / "announcer.log").read_text()[-3000:])


def is_exact(settings: Settings, uris: dict[str, str]) -> None:
    """Wait until all is announced, then look at what a read_committed consumer was told."""
    newest = {dataset: DeltaTable(uri).version() for dataset, uri in uris.items()}
    eventually(lambda: len(told(settings)) >= sum(newest.values()) + len(newest), 120)
    for dataset, version in newest.items():
        assert [event.version for event in told(settings, dataset)] == list(range(version + 1))
    feed = Feed(settings.kafka, topics(settings.kafka).lineage, start="earliest", follow=False)
    lineage = [record.value or b"" for record in feed]
    feed.close()
    for dataset, uri in uris.items():
        table_id = str(DeltaTable(uri).metadata().id)
        for version in range(DeltaTable(uri).version() + 1):
            run = run_id(table_id, version).encode()
            assert sum(run in value for value in lineage) == 2, (dataset, version)


def test_an_announcer_killed_at_random_tells_each_version_once(settings: Settings) -> None:
    """Small transactions and a writer that never rests, so that most kills hit one that is open."""
    seed = random.randrange(2**32)
    print(f"seed={seed}")  # noqa: T201  # a failing run is repeated with it
    chance = random.Random(seed)
    hasty = settings.model_copy(update={"announcer": AnnouncerSettings(versions_per_transaction=2)})
    uris = {name: declare(hasty, name) for name in ("flights", "weather")}
    with ExitStack() as writers:
        for uri in uris.values():
            writers.enter_context(committing(uri, 0.05))
        for _ in range(KILLS):
            with AnnouncerProcess(hasty) as process:
                until_more_is_told(hasty)
                time.sleep(chance.uniform(0, 1.5))
                process.kill()
    with AnnouncerProcess(hasty):
        is_exact(hasty, uris)


def test_a_zombie_that_wakes_up_tells_nothing_twice(settings: Settings) -> None:
    """Stopped beyond its session, its lease goes to another; then it goes on in the middle of its work."""
    uri = declare(settings, "flights")
    with AnnouncerProcess(settings) as zombie, committing(uri, 0.02):
        eventually(lambda: told(settings))
        zombie.send(signal.SIGSTOP)
        with AnnouncerProcess(settings, "heir"):
            until_more_is_told(settings)
            zombie.send(signal.SIGCONT)
            time.sleep(10)
    with AnnouncerProcess(settings, "last"):
        is_exact(settings, {"flights": uri})


def test_rivals_that_come_and_go_share_the_work_exactly(settings: Settings) -> None:
    """Each arrival and leave moves leases, while all tables are written to."""
    uris = {f"d{n}": declare(settings, f"d{n}") for n in range(6)}
    with AnnouncerProcess(settings, "a") as a, AnnouncerProcess(settings, "b"), ExitStack() as writers:
        for uri in uris.values():
            writers.enter_context(committing(uri, 0.3))
        eventually(lambda: len(told(settings)) > 10)
        with AnnouncerProcess(settings, "c") as c:
            time.sleep(3)
            a.send(signal.SIGTERM)
            time.sleep(3)
            c.kill()
        with AnnouncerProcess(settings, "d"):
            writers.close()
            is_exact(settings, uris)


def test_thousands_of_interleavings_in_memory() -> None:
    """The state machine of the fast tests, longer."""
    from hypothesis import settings as hypothesis_settings
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        Announcing, settings=hypothesis_settings(max_examples=1000, stateful_step_count=40, deadline=None)
    )


def test_a_broker_that_was_away_finds_the_announcer_still_at_work(
    settings: Settings, kafkas: Callable[[str], LocalKafka]
) -> None:
    """Versions committed meanwhile are announced when it is back, each once."""
    kafka = kafkas("own")
    own = settings.kafka.model_copy(update={"bootstrap": kafka.start(), "request_timeout_s": 5.0})
    own_settings = settings.model_copy(update={"kafka": own})
    uri = declare(own_settings, "flights")
    with AnnouncerProcess(own_settings) as process, committing(uri, 0.1):
        until_more_is_told(own_settings)
        kafka.kill()
        time.sleep(15)
        assert process.process.poll() is None, process.log.read_text()[-3000:]
        kafka.start()
        until_more_is_told(own_settings)
    with AnnouncerProcess(own_settings):
        is_exact(own_settings, {"flights": uri})


def test_an_announcer_can_be_stopped_while_its_broker_is_away(
    settings: Settings, kafkas: Callable[[str], LocalKafka]
) -> None:
    kafka = kafkas("own")
    own = settings.kafka.model_copy(update={"bootstrap": kafka.start(), "request_timeout_s": 5.0})
    own_settings = settings.model_copy(update={"kafka": own})
    uri = declare(own_settings, "flights")
    with AnnouncerProcess(own_settings) as process, committing(uri, 0.1):
        until_more_is_told(own_settings)
        kafka.kill()
        time.sleep(2)
        process.send(signal.SIGTERM)
        assert process.process.wait(60) == 0
