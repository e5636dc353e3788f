"""Starts and stops of the local broker after every kind of crash, with a stand-in for Java: what is real is the stack."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.unit.stack_fakes import fake_java
from thalweg.errors import BrokerUnavailable, PortTaken, StackUnavailable
from thalweg.stack import kafka as module
from thalweg.stack.kafka import LocalKafka
from thalweg.stack.ports import pick


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., LocalKafka]]:
    """Makes brokers of one home folder; what runs is ended after the test."""
    java = fake_java(tmp_path)
    monkeypatch.setattr(module, "class_path", lambda lock, cache, progress: [])
    monkeypatch.setattr(module, "find_java", lambda java_home: java)
    home = tmp_path / "it's, höme"
    yield lambda port=None: LocalKafka(home, tmp_path, port=port)
    LocalKafka(home, tmp_path).kill()


def calls(kafka: LocalKafka) -> list[str]:
    """Return "format" and "run" in the order in which Java was called."""
    lines = (kafka.home / "kafka" / "calls").read_text().splitlines()
    return ["format" if "StorageTool" in line else "run" for line in lines]


def test_a_start_formats_once_and_a_second_start_finds_the_first(make: Callable[..., LocalKafka]) -> None:
    bootstrap = make().start()

    assert make().start() == bootstrap == make().bootstrap
    assert calls(make()) == ["format", "run"]


def test_a_killed_broker_starts_again_on_the_same_port_and_data(make: Callable[..., LocalKafka]) -> None:
    bootstrap = make().start()
    make().kill()

    assert make().start() == bootstrap
    assert calls(make()) == ["format", "run", "run"]


def test_a_port_that_was_taken_since_the_crash_is_given_up(make: Callable[..., LocalKafka]) -> None:
    bootstrap = make().start()
    make().kill()

    with socket.create_server(("127.0.0.1", int(bootstrap.split(":")[1]))):
        assert make().start() != bootstrap


def test_a_wanted_port_that_is_taken_is_an_error_and_starts_nothing(make: Callable[..., LocalKafka]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(PortTaken):
        make(server.getsockname()[1]).start()
    assert make().record is None


def test_a_wanted_port_is_used(make: Callable[..., LocalKafka]) -> None:
    port = pick(None)

    assert make(port).start() == f"127.0.0.1:{port}"


def test_a_half_formatted_data_folder_is_made_anew(make: Callable[..., LocalKafka]) -> None:
    """A crash while formatting leaves `data.new`; a failure too. Neither is ever run."""
    kafka = make()
    folder = kafka.home / "kafka"
    folder.mkdir(parents=True)
    (folder / "full-disk").touch()
    with pytest.raises(StackUnavailable, match="No space left"):
        kafka.start()
    assert not (folder / "data").exists()

    (folder / "full-disk").unlink()
    kafka.start()
    assert kafka.serves()


def test_a_broker_that_does_not_start_is_an_error_with_the_end_of_its_log(make: Callable[..., LocalKafka]) -> None:
    kafka = make()
    (kafka.home / "kafka").mkdir(parents=True)
    (kafka.home / "kafka" / "broken").touch()

    with pytest.raises(BrokerUnavailable, match="Exception in thread main: broken"):
        kafka.start()
    assert kafka.record is None


def test_a_broker_whose_record_was_lost_does_not_live_on_beside_the_next(make: Callable[..., LocalKafka]) -> None:
    make().start()
    record = make().record
    assert record is not None
    (make().home / "run" / "kafka.json").unlink()

    make().start()

    assert not psutil.pid_exists(record.pid) or psutil.Process(record.pid).status() == psutil.STATUS_ZOMBIE


def test_a_broker_that_hangs_is_replaced(make: Callable[..., LocalKafka], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STOP_GRACE_S", 0.2)
    make().start()
    record = make().record
    assert record is not None
    os.kill(record.pid, signal.SIGSTOP)

    make().start()

    assert make().serves()
    assert not psutil.pid_exists(record.pid)


def test_an_interrupted_start_leaves_no_process(
    make: Callable[..., LocalKafka], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def interrupt(host: str, port: int) -> bool:
        seen.append(make().record)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "broker_serves", interrupt)
    with pytest.raises(KeyboardInterrupt):
        make().start()
    assert len(seen) == 1
    assert seen[0] is not None
    assert make().record is None


def test_a_wiped_broker_starts_afresh(make: Callable[..., LocalKafka]) -> None:
    make().start()
    make().stop()
    make().wipe()
    assert not make().holds_state()

    make().start()
    assert calls(make()) == ["format", "run"]
