"""Running our own commands as processes, as a user would, against a test's settings."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from thalweg.settings import Settings


def environment(settings: Settings, **more: str) -> dict[str, str]:
    """The environment that gives a process these settings."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("THALWEG_")},
        "THALWEG_HOME": str(settings.home),
        "THALWEG_KAFKA__BOOTSTRAP": settings.kafka.bootstrap or "",
        "THALWEG_KAFKA__PREFIX": settings.kafka.prefix,
        "THALWEG_KAFKA__SESSION_TIMEOUT_S": str(settings.kafka.session_timeout_s),
        "THALWEG_INGEST__SOURCE": settings.ingest.source,
        "THALWEG_REGISTRY__URL": settings.registry.url or "",
        "THALWEG_TABLES__ROOT": settings.tables.root,
        "THALWEG_LINEAGE__STORE": settings.lineage.store,
        **more,
    }


def thalweg(
    settings: Settings, *arguments: str, timeout_s: float = 120, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; its output is captured."""
    return subprocess.run(
        [sys.executable, "-m", "thalweg", *arguments],
        env=environment(settings, **more),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        stdin=subprocess.DEVNULL,
    )


class Service:
    """A long-running command of ours. Killed at the end of the block if it still runs."""

    def __init__(self, settings: Settings, *arguments: str, log: Path, **more: str) -> None:
        self.log = log
        self._file = log.open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "thalweg", *arguments],
            env=environment(settings, **more),
            stdout=self._file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._file.close()

    def kill(self) -> None:
        """End it as a power cut would: no handler runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def stop(self, timeout_s: float = 60) -> int:
        """Ask it to end (SIGTERM) and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def text(self) -> str:
        """What it has written so far."""
        return self.log.read_text(errors="replace")


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 45) -> None:
    """Look again and again; fail with `what` when it does not come true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.05)
