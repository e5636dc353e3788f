"""A real Apache Kafka on this machine, without Docker: one process that is broker and controller (KRaft)."""

import base64
import os
import shutil
import subprocess
import time
import uuid
from pathlib import Path
from typing import Any

from thalweg.errors import BrokerUnavailable, StackUnavailable
from thalweg.stack import ports
from thalweg.stack.jars import Lock, Progress, class_path
from thalweg.stack.java import find_java
from thalweg.stack.probe import broker_serves
from thalweg.stack.processes import Processes, Record, end_strays, write_whole
from thalweg.stack.properties import COMMON, as_file

START_TIMEOUT_S = 90.0  # 3 s on a quiet machine; two busy cores take ten times that
STOP_GRACE_S = 20.0
PORT_TRIES = 3  # a picked port may be taken by another before the broker listens

_LOG4J = Path(__file__).with_name("log4j2.properties")
_JVM = (
    "-Xms64m",
    "-Xmx512m",
    "-XX:+UseSerialGC",  # least memory and fewest threads; a development broker's heap is small
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
    "-XX:TieredStopAtLevel=1",  # measured: ready 1.5 s sooner, and half the CPU over the first 1.5 M records
)
_ENVIRONMENT = {"LC_ALL": "C.UTF-8"}  # with the C locale Java cannot read paths that are not ASCII


class LocalKafka:
    """One broker in one folder: `start`, `stop`, and `kill` for those who want to see what a crash does.

    It runs in a session of its own and outlives the Python process; another LocalKafka on the same folder finds it.
    Not safe for two starts at once: `thalweg.stack.lifecycle` holds a lock.
    """

    kind = "local"
    name = "kafka"

    def __init__(self, home: Path, cache: Path, java_home: Path | None = None, port: int | None = None) -> None:
        self.home = home.absolute()
        self._cache = cache
        self._java_home = java_home
        self._wanted_port = port
        self._folder = self.home / "kafka"
        self._processes = Processes(self.home)

    @property
    def record(self) -> Record | None:
        """What is known of the running process, or None."""
        return self._processes.find(self.name)

    @property
    def bootstrap(self) -> str | None:
        """`host:port` of the running broker, or None."""
        record = self.record
        return None if record is None else f"{ports.LOOPBACK}:{record.details['port']}"

    def serves(self) -> bool:
        """Tell whether the broker runs and answers."""
        record = self.record
        return record is not None and broker_serves(ports.LOOPBACK, record.details["port"])

    def start(self, progress: Progress = lambda done, total: None) -> str:
        """Start the broker unless it serves, wait until it does, and return its bootstrap server.

        `progress` hears of jars that are downloaded. Raises PortTaken, StackUnavailable, BrokerUnavailable.
        """
        if self.serves() and self.bootstrap:
            return self.bootstrap
        self.stop()
        lock = Lock.read()
        jars = class_path(lock, self._cache, progress=progress)
        java = [str(find_java(self._java_home)), *_JVM, self._mark, f"-Dlog4j2.configurationFile={_LOG4J}"]
        java += ["-cp", os.pathsep.join(map(str, jars))]
        try:
            for _ in range(PORT_TRIES):
                port = ports.pick(self._wanted_port, self._port_before())
                if self._run(java, port, lock.kafka):
                    return f"{ports.LOOPBACK}:{port}"
                if ports.is_free(port):  # then the port was not the reason, and another try would fail likewise
                    break
        except BaseException:  # Ctrl-C too: a broker that nobody waited for is not left behind
            self.stop()
            raise
        raise BrokerUnavailable(
            f"the local Kafka did not start; its log {self._processes.log(self.name)} ends:\n{self._processes.log_tail(self.name)}",
            "thalweg stack down --wipe starts afresh, without the topics",
        )

    def _run(self, java: list[str], port: int, version: str) -> bool:
        """Start the process and wait until it answers. False when it does not."""
        self._configure(port)
        self._format(java)
        command = [*java, "kafka.Kafka", self._properties.name]
        details = {"port": port, "kafka": version}
        self._processes.start(self.name, command, details, folder=self._folder, env=_ENVIRONMENT)
        if not self._serves_in_time(port):
            self.stop()
            return False
        write_whole(self._folder / "port", str(port))
        return True

    def stop(self) -> bool:
        """Stop the broker in good order, and what a killed start has left. Returns whether it ran."""
        ran = self._processes.stop(self.name, STOP_GRACE_S)
        end_strays(self._mark)
        return ran

    def kill(self) -> bool:
        """End the broker as a crash would. Returns whether it ran."""
        return self._processes.kill(self.name)

    def wipe(self) -> None:
        """Remove topics and configuration of a stopped broker."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def holds_state(self) -> bool:
        """Tell whether this folder's broker has run here: then its topics are here."""
        return self._data.exists()

    def details(self) -> dict[str, Any]:
        """Return what `status` shows beside the address."""
        record = self.record
        return {} if record is None else {"pid": record.pid, "kafka": record.details["kafka"]}

    @property
    def _mark(self) -> str:
        """An argument that only this folder's broker has: a stray one is known by it."""
        return f"-Dthalweg.home={self.home}"

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @property
    def _properties(self) -> Path:
        return self._folder / "server.properties"

    def _port_before(self) -> int | None:
        """Return the port of the last run: clients that outlive a restart find the broker again."""
        try:
            return int((self._folder / "port").read_text())
        except (FileNotFoundError, ValueError):
            return None

    def _configure(self, port: int) -> None:
        controller = ports.pick(None)
        while controller == port:
            controller = ports.pick(None)
        listeners = {
            "listeners": f"PLAINTEXT://{ports.LOOPBACK}:{port},CONTROLLER://{ports.LOOPBACK}:{controller}",
            "advertised.listeners": f"PLAINTEXT://{ports.LOOPBACK}:{port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            # Named here, not in the data folder as `format --standalone` does: the port may change from run to run.
            "controller.quorum.voters": f"1@{ports.LOOPBACK}:{controller}",
            "log.dirs": self._data.name,  # relative: a path could hold commas, or letters that property files lack
        }
        write_whole(self._properties, as_file(COMMON | listeners))

    def _format(self, java: list[str]) -> None:
        """Make the data folder, unless it was made. It gets its name when it is whole: half of one is never used."""
        if self._data.exists():
            return
        half_made = self._folder / "data.new"
        shutil.rmtree(half_made, ignore_errors=True)
        for_half = self._folder / "format.properties"
        write_whole(for_half, self._properties.read_text() + f"log.dirs={half_made.name}\n")  # the last one counts
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        command = [*java, "kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "--config", for_half.name]
        done = subprocess.run(
            command,
            cwd=self._folder,
            env={**os.environ, **_ENVIRONMENT},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            raise StackUnavailable(
                f"Kafka's data folder {self._data} cannot be made: {(done.stderr or done.stdout).strip()}",
                "is there space, and may you write there?",
            )
        half_made.rename(self._data)

    def _serves_in_time(self, port: int) -> bool:
        """Wait until the broker answers. False when its process has ended or the time is up."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if broker_serves(ports.LOOPBACK, port):
                return True
            if self.record is None:
                return False
            time.sleep(0.1)
        return False
