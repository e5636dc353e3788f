"""The same Kafka in a container, where a Docker engine answers: `docker compose`, one project for each home folder.

Compose, not testcontainers: this broker is to outlive the command that starts it, and testcontainers is made to end what
it started. Everything that is asked of Docker goes through `DockerCli.run`. The choice, the compose file and the calls
are tested with a stand-in there; a run against a real engine is not part of the test suite.
"""

import hashlib
import json
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from thalweg.errors import BrokerUnavailable, StackUnavailable
from thalweg.stack import ports
from thalweg.stack.jars import Lock, Progress
from thalweg.stack.probe import broker_serves
from thalweg.stack.processes import write_whole
from thalweg.stack.properties import COMMON, as_environment

ENGINE_TIMEOUT_S = 10.0  # an engine that takes longer to say its version is as good as none
COMPOSE_TIMEOUT_S = 600.0  # the image is 400 MB, once
START_TIMEOUT_S = 120.0
_IN_CONTAINER = 9092
_DATA = "/var/lib/kafka/data"


class Docker(Protocol):
    """The seam to Docker's command line."""

    def run(self, arguments: Sequence[str], timeout_s: float) -> str:
        """Run `docker` with these arguments and return its output. Raises StackUnavailable."""
        ...


class DockerCli:
    """The `docker` on the path."""

    def run(self, arguments: Sequence[str], timeout_s: float) -> str:
        """Run `docker` with these arguments and return its output. Raises StackUnavailable."""
        try:
            done = subprocess.run(
                ["docker", *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=True,
            )
        except subprocess.CalledProcessError as error:
            raise _failed(arguments, error.stderr.strip()) from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _failed(arguments, str(error)) from error
        return done.stdout


def _failed(arguments: Sequence[str], why: str) -> StackUnavailable:
    return StackUnavailable(
        f"docker {' '.join(arguments)}: {why}",
        "start the Docker engine, or remove the folder `docker` of THALWEG_HOME to go on without it and its topics",
    )


class DockerKafka:
    """Apache Kafka in a container of its own, with its data in a volume."""

    kind = "docker"

    def __init__(self, home: Path, port: int | None = None, docker: Docker | None = None) -> None:
        self._folder = home.absolute() / "docker"
        self._wanted_port = port
        self._docker = docker or DockerCli()
        self._project = "thalweg-" + hashlib.sha256(str(self._folder).encode()).hexdigest()[:10]

    def available(self) -> bool:
        """Tell whether an engine answers, and compose is there."""
        try:
            self._docker.run(["version", "--format", "{{.Server.Version}}"], ENGINE_TIMEOUT_S)
            self._docker.run(["compose", "version"], ENGINE_TIMEOUT_S)
        except StackUnavailable:
            return False
        return True

    def holds_state(self) -> bool:
        """Tell whether this folder's broker was made in Docker: then its topics are there."""
        return self._compose_file.exists()

    @property
    def bootstrap(self) -> str | None:
        """`host:port` of the broker that was made last, or None."""
        port = self._port()
        return None if port is None else f"{ports.LOOPBACK}:{port}"

    def details(self) -> dict[str, Any]:
        """Return what `status` shows beside the address."""
        return {"project": self._project}

    def serves(self) -> bool:
        """Tell whether the broker answers."""
        port = self._port()
        return port is not None and broker_serves(ports.LOOPBACK, port)

    def start(self, progress: Progress = lambda done, total: None) -> str:
        """Start the container unless it serves, wait until it does, and return its bootstrap server.

        Raises PortTaken, StackUnavailable, BrokerUnavailable.
        """
        if self.serves() and self.bootstrap:
            return self.bootstrap
        self.stop()
        port = ports.pick(self._wanted_port, self._port())
        write_whole(self._compose_file, json.dumps(compose_document(port, Lock.read().kafka), indent=1))
        try:
            self._compose("up", "--detach")
            self._wait(port)
        except BaseException:
            self._compose("down")
            raise
        return f"{ports.LOOPBACK}:{port}"

    def _wait(self, port: int) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not broker_serves(ports.LOOPBACK, port):
            if time.monotonic() > deadline:
                tail = self._compose("logs", "--no-color", "--tail", "15")
                raise BrokerUnavailable(
                    f"the Kafka container does not answer after {START_TIMEOUT_S:.0f} s; its log ends:\n{tail}",
                    "thalweg stack down --wipe starts afresh, without the topics",
                )
            time.sleep(0.2)

    def stop(self) -> bool:
        """End the container and keep its volume. Returns whether it served. Raises StackUnavailable."""
        served = self.serves()
        if served or (self.holds_state() and self.available()):  # with the engine gone, the container is gone too
            self._compose("down")
        return served

    def wipe(self) -> None:
        """Remove the container and its volume. Raises StackUnavailable."""
        if self.holds_state():
            self._compose("down", "--volumes")
            shutil.rmtree(self._folder)

    @property
    def _compose_file(self) -> Path:
        return self._folder / "compose.json"

    def _compose(self, *arguments: str) -> str:
        file = ["--project-name", self._project, "--file", str(self._compose_file)]
        return self._docker.run(["compose", *file, *arguments], COMPOSE_TIMEOUT_S)

    def _port(self) -> int | None:
        if not self.holds_state():
            return None
        published: str = json.loads(self._compose_file.read_text())["services"]["kafka"]["ports"][0]
        return int(published.split(":")[1])


def compose_document(port: int, kafka: str) -> dict[str, Any]:
    """Return the compose file's content (JSON is YAML): one broker, listening on this machine's loopback only."""
    listeners = {
        "listeners": f"PLAINTEXT://:{_IN_CONTAINER},CONTROLLER://:9093",
        "advertised.listeners": f"PLAINTEXT://{ports.LOOPBACK}:{port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.quorum.voters": "1@localhost:9093",
        "log.dirs": _DATA,
    }
    return {
        "services": {
            "kafka": {
                "image": f"apache/kafka:{kafka}",
                "ports": [f"{ports.LOOPBACK}:{port}:{_IN_CONTAINER}"],
                "environment": as_environment(COMMON | listeners),
                "volumes": [f"data:{_DATA}"],
                "restart": "no",
            }
        },
        "volumes": {"data": {}},
    }
