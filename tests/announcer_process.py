"""`thalweg announce` as a real process, and what is announced, as a read_committed subscriber sees it."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from schemas.datasets import Dataset
from schemas.events import VersionCommitted
from schemas.published import publish
from thalweg.settings import Settings
from thalweg.tables.place import table_uri
from versions.subscribe import subscribe

THALWEG = Path(sys.executable).with_name("thalweg")


def environment(settings: Settings) -> dict[str, str]:
    """These settings for a process of its own."""
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith("THALWEG_")},
        "THALWEG_HOME": str(settings.home),
        "THALWEG_KAFKA__BOOTSTRAP": str(settings.kafka.bootstrap),
        "THALWEG_KAFKA__PREFIX": settings.kafka.prefix,
        "THALWEG_KAFKA__REQUEST_TIMEOUT_S": str(settings.kafka.request_timeout_s),
        "THALWEG_KAFKA__SESSION_TIMEOUT_S": str(settings.kafka.session_timeout_s),
        "THALWEG_REGISTRY__URL": str(settings.registry.url),
        "THALWEG_TABLES__ROOT": settings.tables.root,
        "THALWEG_HTTP__PORT": "0",
        "THALWEG_ANNOUNCER__VERSIONS_PER_TRANSACTION": str(settings.announcer.versions_per_transaction),
    }


class AnnouncerProcess:
    """One process, started at once. Killed at the end of the `with`, if it still runs."""

    def __init__(self, settings: Settings, name: str = "announcer") -> None:
        self.log = settings.home / f"{name}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [THALWEG, "announce"], env=environment(settings), stdin=subprocess.DEVNULL, stderr=log, stdout=log
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.send(signal.SIGCONT)
        self.kill()

    def send(self, number: int) -> None:
        """Send a signal, if there is still somebody to hear it."""
        if self.process.poll() is None:
            self.process.send_signal(number)

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def lines(self) -> list[dict[str, Any]]:
        """What it logged."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def get(self, path: str) -> str:
        """Ask its health server."""
        url = next(line["metrics"] for line in reversed(self.lines()) if "metrics" in line).removesuffix("/metrics")
        with urllib.request.urlopen(url + path) as answer:
            return str(answer.read().decode())


def declare(settings: Settings, name: str) -> str:
    """Publish a dataset and return its table's URI."""
    publish(
        settings, Dataset.model_validate({"name": name, "topics": (name,), "owner": "o", "partition": {"field": "at"}})
    )
    return table_uri(settings.tables, name)


def told(settings: Settings, dataset: str | None = None) -> list[VersionCommitted]:
    """Everything announced by now."""
    with subscribe(dataset, since="earliest", follow=False, settings=settings) as versions:
        return list(versions)


def eventually(what: Callable[[], object], timeout_s: float = 60.0, why: Callable[[], str] = str) -> None:
    """Wait until something is true."""
    end = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < end, why()
        time.sleep(0.2)
