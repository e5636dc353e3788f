"""`thalweg stack` as a user runs it: real Kafka, real registry, real processes, and every way to be interrupted."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from schemas.registry import Registry
from tests.integration.test_stack_broker import read_one, send_one
from thalweg.settings import RegistrySettings

pytestmark = pytest.mark.slow


class Command:
    """Runs `thalweg stack …` in a home folder of its own, with no setting from outside, and without Docker."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._env = {name: value for name, value in os.environ.items() if not name.startswith("THALWEG_")}
        self._env |= {"THALWEG_HOME": str(home), "DOCKER_HOST": "unix:///nowhere"}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command and don't wait."""
        return subprocess.Popen(
            [sys.executable, "-m", "thalweg", "stack", *arguments],
            env=self._env,
            cwd=self.home.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Run a command to its end: exit code, output, errors."""
        process = self.start(*arguments)
        output, errors = process.communicate(timeout=200)
        return process.returncode, output, errors

    def up(self) -> dict[str, dict[str, str]]:
        """Run `up` and return the status that it tells."""
        code, output, errors = self.run("up", "--json")
        assert code == 0, errors
        told: dict[str, dict[str, str]] = json.loads(output)
        return told

    def pids(self) -> set[int]:
        """Return the processes that work for this home folder."""
        found = set()
        for process in psutil.process_iter(["pid", "cmdline", "status"]):
            if process.info["status"] != psutil.STATUS_ZOMBIE and any(
                word in (f"-Dthalweg.home={self.home}", f"thalweg_home={self.home}")
                for word in process.info["cmdline"] or ()
            ):
                found.add(process.info["pid"])
        return found


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Command]:
    """A stack that is down, and is down again after the test."""
    command = Command(tmp_path / "home")
    yield command
    command.run("down", "--wipe")


def answers(address: str) -> bool:
    """Tell whether somebody listens at `host:port` or `http://host:port`."""
    host, port = address.removeprefix("http://").split(":")
    with socket.socket() as client:
        return client.connect_ex((host, int(port))) == 0


def test_up_use_up_again_and_down_leaves_nothing_and_keeps_the_topics(stack: Command) -> None:
    first = stack.up()
    bootstrap, url = first["broker"]["address"], first["registry"]["address"]
    send_one(bootstrap, "kept", b"a record")
    with Registry(RegistrySettings(url=url)) as registry:
        schema_id = registry.register("kept-value", '"string"')

    assert stack.up() == first
    assert read_one(bootstrap, "kept") == b"a record"
    assert len(stack.pids()) == 2

    assert stack.run("down")[:2] == (0, "stopped: registry, broker\n")
    assert stack.pids() == set()
    assert not answers(bootstrap)
    assert not answers(url)
    assert not (stack.home / "stack.json").exists()
    assert list((stack.home / "run").iterdir()) == []

    assert stack.up()["broker"]["address"] == bootstrap
    assert read_one(bootstrap, "kept") == b"a record"
    with Registry(RegistrySettings(url=url)) as registry:
        assert registry.latest("kept-value").schema_id == schema_id


def test_up_after_kill_9_of_everything_goes_on_where_it_was(stack: Command) -> None:
    first = stack.up()
    send_one(first["broker"]["address"], "kept", b"a record")
    for pid in stack.pids():
        os.kill(pid, signal.SIGKILL)
    assert stack.run("status")[0] == 3

    second = stack.up()

    assert second["broker"]["address"] == first["broker"]["address"]
    assert second["registry"]["address"] == first["registry"]["address"]
    assert read_one(second["broker"]["address"], "kept") == b"a record"


def test_two_ups_at_once_start_one_stack(stack: Command) -> None:
    both = [stack.start("up", "--json") for _ in range(2)]
    told = [json.loads(process.communicate(timeout=200)[0]) for process in both]

    assert told[0] == told[1]
    assert len(stack.pids()) == 2


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_up_that_is_interrupted_confuses_no_later_command(stack: Command, how: signal.Signals) -> None:
    """Ctrl-C ends what it started. A killed `up` cannot; the next `down` does."""
    process = stack.start("up")
    deadline = time.monotonic() + 100
    while not stack.pids() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, how)
    process.communicate(timeout=100)
    assert not (stack.home / "stack.json").exists()
    if how == signal.SIGKILL:
        stack.run("down")

    assert stack.pids() == set()
    assert stack.up()["broker"]["answers"]


def test_a_port_of_somebody_else_is_an_error_that_says_so_and_starts_nothing(stack: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code, _, errors = stack.run("up", "--port", str(port))

    assert code == 3
    assert f"port {port} of 127.0.0.1 is in use" in errors
    assert "name another port" in errors
    assert stack.pids() == set()
