"""The embedded registry as a process of its own: the development stack's, where no registry was given."""

import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from thalweg.errors import RegistryUnavailable
from thalweg.stack import ports
from thalweg.stack.processes import Processes, Record, end_strays, write_whole

START_TIMEOUT_S = 60.0  # 1 s on a quiet machine, most of it imports
STOP_GRACE_S = 10.0
PORT_TRIES = 3  # a picked port may be taken by another before the registry listens


class LocalRegistry:
    """One embedded registry, on the broker at `bootstrap`, where it keeps its subjects in the topic `_schemas`.

    It outlives the Python process; another LocalRegistry on the same home folder finds it.
    """

    name = "registry"

    def __init__(self, home: Path, bootstrap: str, port: int | None = None) -> None:
        self._home = home.absolute()
        self._bootstrap = bootstrap
        self._wanted_port = port
        self._processes = Processes(self._home)

    @property
    def record(self) -> Record | None:
        """What is known of the running process, or None."""
        return self._processes.find(self.name)

    @property
    def url(self) -> str | None:
        """Where the running registry is, or None."""
        record = self.record
        return None if record is None else _url(record.details["port"])

    def answers(self) -> bool:
        """Tell whether a registry runs in this folder and answers."""
        return self.url is not None and _answers(self.url)

    def serves(self) -> bool:
        """Tell whether the registry that answers is on this broker."""
        record = self.record
        return record is not None and record.details["bootstrap"] == self._bootstrap and self.answers()

    def start(self) -> str:
        """Start the registry unless it serves, wait until it does, and return its URL.

        Raises PortTaken and RegistryUnavailable.
        """
        if self.serves() and self.url:
            return self.url
        self.stop()
        try:
            for _ in range(PORT_TRIES):
                port = ports.pick(self._wanted_port, self._port_before())
                if self._run(port):
                    return _url(port)
                if ports.is_free(port):  # then the port was not the reason, and another try would fail likewise
                    break
        except BaseException:  # Ctrl-C too: a registry that nobody waited for is not left behind
            self.stop()
            raise
        raise RegistryUnavailable(
            f"the embedded registry did not start; its log {self._processes.log(self.name)} ends:\n{self._processes.log_tail(self.name)}",
            "thalweg stack down, then up",
        )

    def _run(self, port: int) -> bool:
        """Start the process and wait until it answers. False when it does not."""
        command = [sys.executable, "-X", self._mark, "-m", "schemas.embedded", "--host", ports.LOOPBACK]
        command += ["--port", str(port), "--bootstrap", self._bootstrap]
        self._processes.start(self.name, command, {"port": port, "bootstrap": self._bootstrap})
        if not self._serves_in_time(port):
            self.stop()
            return False
        write_whole(self._port_file, str(port))
        return True

    def stop(self) -> bool:
        """Stop the registry, and what a killed start has left. Returns whether it ran."""
        ran = self._processes.stop(self.name, STOP_GRACE_S)
        end_strays(self._mark)
        return ran

    def kill(self) -> bool:
        """End the registry as a crash would. Returns whether it ran."""
        return self._processes.kill(self.name)

    @property
    def _mark(self) -> str:
        """An argument that only this folder's registry has, and that Python lets pass: a stray one is known by it."""
        return f"thalweg_home={self._home}"

    @property
    def _port_file(self) -> Path:
        return self._home / "registry" / "port"

    def _port_before(self) -> int | None:
        """Return the port of the last run: clients that outlive a restart find the registry again."""
        try:
            return int(self._port_file.read_text())
        except (FileNotFoundError, ValueError):
            return None

    def _serves_in_time(self, port: int) -> bool:
        """Wait until the registry answers. False when its process has ended or the time is up."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if _answers(_url(port)):
                return True
            if self.record is None:
                return False
            time.sleep(0.1)
        return False


def _answers(url: str) -> bool:
    """Tell whether a registry at that URL lists its subjects. Any failure is a no."""
    try:
        with urllib.request.urlopen(f"{url}/subjects", timeout=5) as answer:  # loopback, plain HTTP
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _url(port: int) -> str:
    return f"http://{ports.LOOPBACK}:{port}"
