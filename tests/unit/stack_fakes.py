"""Stand-ins for the stack's heavy parts: a broker that knows one answer, a `java` that runs it, a Docker without an engine."""

import json
import socketserver
import struct
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from thalweg.errors import StackUnavailable


def metadata(brokers: int) -> bytes:
    """Return a Metadata response, version 4: correlation id, throttle time, brokers (id, host, port, no rack), the rest."""
    one = struct.pack(">ih9sih", 1, 9, b"127.0.0.1", 9092, -1)
    body = struct.pack(">iii", 1, 0, brokers) + one * brokers + struct.pack(">hii", -1, 1, 0)
    return struct.pack(">i", len(body)) + body


class FakeBroker:
    """Listens on a loopback port and answers every request with the same bytes."""

    def __init__(self, answer: bytes, port: int = 0) -> None:
        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                if self.request.recv(1000):
                    self.request.sendall(answer)

        socketserver.ThreadingTCPServer.allow_reuse_address = True
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


FAKE_JAVA = """
import os, re, socket, sys
folder = os.getcwd()
properties = dict(line.strip().split("=", 1) for line in open(sys.argv[-1]) if "=" in line)
with open(os.path.join(folder, "calls"), "a") as calls:
    calls.write(" ".join(sys.argv[1:]) + "\\n")
if "kafka.tools.StorageTool" in sys.argv:
    os.mkdir(properties["log.dirs"])
    if os.path.exists("full-disk"):
        sys.exit("No space left on device")
    open(os.path.join(properties["log.dirs"], "meta.properties"), "w").close()
elif os.path.exists("broken"):
    sys.exit("Exception in thread main: broken")
else:
    assert os.path.exists(os.path.join(properties["log.dirs"], "meta.properties")), "not formatted"
    server = socket.create_server(("127.0.0.1", int(re.search(r"PLAINTEXT://127.0.0.1:(\\d+)", properties["listeners"])[1])))
    while True:
        connection, _ = server.accept()
        connection.recv(1000)
        connection.sendall(ANSWER)
        connection.close()
"""


def fake_java(folder: Path) -> Path:
    """Write a `java` that formats and serves as far as the stack looks, and return its path."""
    java = folder / "java"
    java.write_text(f"#!{sys.executable} -IS\nANSWER = {metadata(1)!r}\n{FAKE_JAVA}")
    java.chmod(0o755)
    return java


class FakeDocker:
    """Remembers what it is asked. `docker compose up` starts a FakeBroker on the published port, `down` ends it."""

    def __init__(self, engine: bool = True, answer: bytes | None = None) -> None:
        self.engine = engine
        self.calls: list[list[str]] = []
        self._answer = answer
        self._broker: FakeBroker | None = None

    def run(self, arguments: Sequence[str], timeout_s: float) -> str:
        """Answer like Docker's command line."""
        self.calls.append(list(arguments))
        if not self.engine:
            raise StackUnavailable(f"docker {' '.join(arguments)}: Cannot connect to the Docker daemon", "start it")
        if "up" in arguments and self._answer is not None:
            compose = json.loads(Path(arguments[arguments.index("--file") + 1]).read_text())
            port = int(compose["services"]["kafka"]["ports"][0].split(":")[1])
            self._broker = FakeBroker(self._answer, port)
        if "down" in arguments:
            self.end()
        return "28.2.2\n"

    def verbs(self) -> list[str]:
        """Return the compose commands in order, without the questions whether an engine is there."""
        known = ("up", "down", "logs")
        return [word for call in self.calls if call[0] == "compose" for word in call if word in known]

    def end(self) -> None:
        """End the container."""
        if self._broker is not None:
            self._broker.close()
            self._broker = None
