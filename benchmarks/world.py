"""What every benchmark stands on: a real broker and registry of its own, topics filled once, programs run as processes."""

import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from produce.batches import Source
from produce.producer import produce
from schemas.datasets import Dataset
from schemas.published import publish
from thalweg.settings import KafkaSettings, RegistrySettings, Settings, StackSettings, TableSettings
from thalweg.stack.kafka import LocalKafka
from thalweg.stack.registry import LocalRegistry
from thalweg.streams.admin import Admin
from thalweg.tables.log import Log

REPOSITORY = Path(__file__).parent.parent
# Where topics, tables and jars of a run lie: on the disk of the repository, for /tmp may be memory.
SCRATCH = REPOSITORY / "benchmarks" / ".scratch"
# Nothing that is measured takes longer, on the slowest machine that was tried.
TIMEOUT_S = 1800


# What is landed unless a benchmark says otherwise: no rules, three dates.
TOPIC = "shop"
DECLARATION = {
    "name": "shop",
    "topics": [TOPIC],
    "owner": "benchmarks@example.com",
    "partition": {"field": "event_time"},
}


@dataclass(frozen=True, slots=True)
class Run:
    """A worker that landed a topic: what it said of itself, and where its table is."""

    figures: Mapping[str, Any]
    dataset: str
    settings: Settings

    @property
    def table(self) -> Path:
        """The table's folder."""
        return Path(self.settings.tables.root) / self.dataset


class World:
    """A broker, a registry and a folder for tables."""

    def __init__(self, bootstrap: str, registry: str, folder: Path) -> None:
        self.bootstrap = bootstrap
        self.registry = registry
        self.folder = folder
        self.record_bytes: dict[str, float] = {}  # by topic, the mean size of a value
        self._held: dict[str, int] = {}  # by topic, records in it

    def settings(self, prefix: str = "bench") -> Settings:
        """Settings with topics, groups and tables under `prefix`."""
        return Settings(
            home=self.folder / prefix,
            kafka=KafkaSettings(bootstrap=self.bootstrap, prefix=prefix),
            registry=RegistrySettings(url=self.registry),
            tables=TableSettings(root=str(self.folder / prefix / "tables")),
        )

    def fill(self, topic: str, records: Source, partitions: int = 4, poison: int = 0) -> int:
        """Make a topic and send records; how many are in it, bad ones included."""
        made = produce(topic, records, partitions=partitions, poison=poison, settings=self.settings())
        self.record_bytes[topic] = made.bytes / made.count
        self._held[topic] = made.count + len(made.poison)
        return self._held[topic]

    def fill_once(self, topic: str, records: Source, poison: int = 0) -> int:
        """As `fill`, unless the topic is filled already."""
        return self._held.get(topic) or self.fill(topic, records, poison=poison)

    def declare(self, declaration: Mapping[str, Any]) -> tuple[Dataset, Settings]:
        """Publish a dataset under a prefix of its own: no offset and no table is there yet."""
        settings = self.settings(f"bench-{uuid.uuid4().hex[:8]}")
        dataset = Dataset.model_validate_json(json.dumps(declaration))
        with Admin(settings.kafka) as admin:
            admin.ensure_own_topics()
        publish(settings, dataset)
        return dataset, settings

    def land(self, declaration: Mapping[str, Any], records: int, **environment: str) -> Run:
        """Let a worker land a declared dataset, from the start, in a table of its own.

        Raises RuntimeError when it does not account for all records.
        """
        dataset, settings = self.declare(declaration)
        found = self.run(["benchmarks.worker", "--dataset", dataset.name], **self.environment(settings), **environment)
        if (told := found["rows"] + found["quarantined"]) != records:
            raise RuntimeError(f"{dataset.name}: {told} of {records} records were accounted for")
        return Run(found, dataset.name, settings)

    def verify(self, run: Run) -> None:
        """Prove from Kafka and the table that no offset is missing and none is there twice. Raises RuntimeError."""
        ended(self.start(["thalweg", "verify", run.dataset], **self.environment(run.settings)))

    def environment(self, settings: Settings) -> dict[str, str]:
        """The environment that gives a process these settings."""
        return {
            "THALWEG_HOME": str(settings.home),
            "THALWEG_KAFKA__BOOTSTRAP": self.bootstrap,
            "THALWEG_KAFKA__PREFIX": settings.kafka.prefix,
            "THALWEG_REGISTRY__URL": self.registry,
            "THALWEG_TABLES__ROOT": settings.tables.root,
        }

    def run(self, module: list[str], python: str = sys.executable, **environment: str) -> dict[str, Any]:
        """Run a module as a process to its end; the last line that it prints is its result."""
        return result(self.start(module, python, **environment))

    def start(self, module: list[str], python: str = sys.executable, **environment: str) -> subprocess.Popen[str]:
        """Start a module as a process."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("THALWEG_")}
        return subprocess.Popen(
            [python, "-m", *module],
            cwd=REPOSITORY,
            env={**inherited, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def ended(process: subprocess.Popen[str]) -> str:
    """Wait for a process; what it printed. Raises RuntimeError with what it said when it failed."""
    try:
        said, complained = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    if process.returncode:
        raise RuntimeError(f"{process.args} exited with {process.returncode}:\n{said}\n{complained}")
    return said


def result(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for a process; the last line that it printed is its result."""
    figures: dict[str, Any] = json.loads(ended(process).strip().splitlines()[-1])
    return figures


def landed(table: Path) -> int:
    """Records that have landed in a table, by its log."""
    log = Log(str(table))
    return sum(span.landed for entry in log.entries(0) for span in entry.spans) if log.has_entries() else 0


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float) -> None:
    """Look again and again. Raises RuntimeError when it does not come true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {timeout_s:.0f} s: {what}")
        time.sleep(0.2)


@contextmanager
def world() -> Iterator[World]:
    """Start what is needed; stop and remove it afterwards."""
    folder = SCRATCH / uuid.uuid4().hex[:8]
    stack = StackSettings()
    kafka = LocalKafka(folder / "kafka", stack.cache, stack.java_home)
    try:
        bootstrap = kafka.start()
        registry = LocalRegistry(folder / "registry", bootstrap)
        try:
            yield World(bootstrap, registry.start(), folder)
        finally:
            registry.kill()
    finally:
        kafka.kill()
        shutil.rmtree(folder, ignore_errors=True)
