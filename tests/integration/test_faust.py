"""The Faust example, as a real worker on a real broker."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from deltalake import write_deltalake

from schemas.events import EventCodec
from schemas.registry import Registry
from tests.announcer_process import AnnouncerProcess, declare, environment, eventually, told
from tests.integration.test_announcer import ROWS
from tests.integration.test_subscribe import event
from thalweg.settings import Settings
from thalweg.streams.clients import LEASE_PARTITIONS, producer, topics
from thalweg.streams.compacted import partition_of

pytestmark = pytest.mark.slow

FAUST = Path(sys.executable).with_name("faust")
WORKER = ["-A", "examples.version_watcher_faust", "worker", "--web-host", "127.0.0.1"]
ROOT = Path(__file__).parents[2]


def test_the_faust_example_hears_of_each_version_once(settings: Settings) -> None:
    """And of nothing that was not committed."""
    uri = declare(settings, "flights")
    _leave_an_aborted_record(settings)
    with (settings.home / "faust.log").open("wb") as log, AnnouncerProcess(settings):
        worker = subprocess.Popen(
            [FAUST, "--datadir", settings.home / "faust", *WORKER, "--web-port", str(_free_port())],
            cwd=ROOT,
            env=environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            for _ in range(5):
                write_deltalake(uri, ROWS, mode="append", partition_by=["date"])
            eventually(lambda: len(told(settings, "flights")) == 5)
            eventually(lambda: len(_heard(settings)) >= 5 or worker.poll() is not None, why=lambda: _log(settings))
            assert _heard(settings) == [f"flights v{v} WRITE +2 rows" for v in range(5)], _log(settings)
        finally:
            worker.terminate()
            worker.wait(30)


def _leave_an_aborted_record(settings: Settings) -> None:
    topic = topics(settings.kafka).versions
    with Registry(settings.registry) as registry:
        value = EventCodec(registry, topic).encode(event("flights", 99))
    aborting = producer(settings.kafka, transactional_id=f"{settings.kafka.prefix}.aborting")
    aborting.init_transactions(10)
    aborting.begin_transaction()
    aborting.produce(topic, key=b"flights", value=value, partition=partition_of(b"flights", LEASE_PARTITIONS))
    aborting.flush(10)
    aborting.abort_transaction(10)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _log(settings: Settings) -> str:
    return (settings.home / "faust.log").read_text(errors="replace")


def _heard(settings: Settings) -> list[str]:
    return [line[line.index("flights v") :].strip() for line in _log(settings).splitlines() if "flights v" in line]
