"""A real Apache Kafka on this machine, without Docker: one process that is broker and controller (KRaft)."""

import base64
import os
import shutil
import subprocess
import time
import uuid
from pathlib import Path

from thalweg.errors import BrokerUnavailable, StackUnavailable
from thalweg.stack import ports
from thalweg.stack.jars import Lock, Progress, class_path
from thalweg.stack.java import find_java
from thalweg.stack.probe import broker_serves
from thalweg.stack.processes import Processes, Record, end_strays, write_whole

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
    f"-Dlog4j2.configurationFile={_LOG4J}",
)
_SERVER = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}

# A topic that nobody made is a mistake to be told of.
auto.create.topics.enable=false
num.partitions=1

# One broker: every replication factor is 1, and internal topics are small.
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1

# Quick to join, quick to leave.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.min.heartbeat.interval.ms=500
"""


class LocalKafka:
    """One broker in one folder: `start`, `stop`, and `kill` for those who want to see what a crash does.

    It runs in a session of its own and outlives the Python process; another LocalKafka on the same folder finds it.
    Not safe for two starts at once: `thalweg.stack.lifecycle` holds a lock.
    """

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
        end_strays(str(self._properties))
        lock = Lock.read()
        jars = class_path(lock, self._cache, progress=progress)
        java = [str(find_java(self._java_home)), *_JVM, "-cp", os.pathsep.join(map(str, jars))]
        for _ in range(PORT_TRIES):
            port = ports.pick(self._wanted_port, self._port_before())
            self._configure(port)
            self._format(java)
            self._processes.start(
                self.name, [*java, "kafka.Kafka", str(self._properties)], {"port": port, "kafka": lock.kafka}
            )
            if self._serves_in_time(port):
                write_whole(self._folder / "port", str(port))
                return f"{ports.LOOPBACK}:{port}"
            self.stop()
            if ports.is_free(port):  # then the port was not the reason, and another try would fail likewise
                break
        raise BrokerUnavailable(
            f"the local Kafka did not start; its log {self._processes.log(self.name)} ends:\n{self._processes.log_tail(self.name)}",
            "thalweg stack down --wipe starts afresh, without the topics",
        )

    def stop(self) -> bool:
        """Stop the broker in good order. Returns whether it ran."""
        return self._processes.stop(self.name, STOP_GRACE_S)

    def kill(self) -> bool:
        """End the broker as a crash would. Returns whether it ran."""
        return self._processes.kill(self.name)

    def wipe(self) -> None:
        """Remove topics and configuration of a stopped broker."""
        shutil.rmtree(self._folder, ignore_errors=True)

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
        write_whole(self._properties, _SERVER.format(port=port, controller=controller, data=self._data))

    def _format(self, java: list[str]) -> None:
        """Make the data folder, unless it was made. It gets its name when it is whole: half of one is never used."""
        if self._data.exists():
            return
        half_made = self._folder / "data.new"
        shutil.rmtree(half_made, ignore_errors=True)
        properties = self._folder / "format.properties"
        write_whole(properties, self._properties.read_text().replace(str(self._data), str(half_made)))
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        command = [*java, "kafka.tools.StorageTool", "format", "--cluster-id", cluster, "--config", str(properties)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=START_TIMEOUT_S, check=False)
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
