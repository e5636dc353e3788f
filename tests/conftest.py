"""What tests share: one real broker and one registry for a session, started when the first test asks for them.

The broker is a real Apache Kafka, never a mock: see `thalweg.stack.kafka`. Fast tests ask for none of this, and run first.
However a session ends, it leaves no process behind; a test that does fails the session.
"""

import contextlib
import signal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import psutil
import pytest

from thalweg.settings import KafkaSettings, LineageSettings, RegistrySettings, Settings, StackSettings, TableSettings
from thalweg.stack.kafka import LocalKafka
from thalweg.stack.registry import LocalRegistry


def pytest_configure(config: pytest.Config) -> None:
    """End on SIGTERM as on Ctrl-C: fixtures stop what they have started."""

    def end(number: int, frame: FrameType | None) -> None:
        pytest.exit("SIGTERM", returncode=128 + number)

    signal.signal(signal.SIGTERM, end)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the fast tests first: most mistakes show within seconds, before a broker starts."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """End processes that tests have left behind, and fail for them. Set up before all others, so it looks last."""
    yield
    left = []
    for process in _processes_of(tmp_path_factory.getbasetemp()):
        with contextlib.suppress(psutil.NoSuchProcess):
            left.append(f"{process.pid} {' '.join(process.cmdline())[:300]}")
            process.kill()
    assert not left, "left behind by tests, ended now:\n" + "\n".join(left)


def _processes_of(folder: Path) -> list[psutil.Process]:
    """Return the processes that work in a folder of this session: by argument, by environment, or by where they run."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = [*process.cmdline(), process.cwd(), *process.environ().values()]
            if process != psutil.Process() and any(_within(word, folder) for word in words):
                found.append(process)
    return found


def _within(word: str, folder: Path) -> bool:
    return str(folder) + "/" in word + "/"


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`host:port` of a real Kafka that lives as long as the session."""
    kafka = LocalKafka(tmp_path_factory.mktemp("broker"), StackSettings().cache, StackSettings().java_home)
    try:
        yield kafka.start()
    finally:
        kafka.kill()
        kafka.wipe()  # pytest keeps the folders of three sessions


@pytest.fixture(scope="session")
def registry(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of our embedded registry on that broker."""
    local = LocalRegistry(tmp_path_factory.mktemp("registry"), broker)
    try:
        yield local.start()
    finally:
        local.kill()


@pytest.fixture
def settings(broker: str, registry: str, tmp_path: Path) -> Settings:
    """Settings of a test's own: the session's broker and registry, its own folder, its own topics and groups."""
    return Settings(
        home=tmp_path,
        kafka=KafkaSettings(bootstrap=broker, prefix=f"t{uuid.uuid4().hex[:10]}", session_timeout_s=6.0),
        registry=RegistrySettings(url=registry),
        tables=TableSettings(root=str(tmp_path / "tables")),
        lineage=LineageSettings(store=f"sqlite:///{tmp_path}/lineage.db"),
    )


@pytest.fixture
def kafkas(tmp_path: Path) -> Iterator[Callable[[str], LocalKafka]]:
    """Makes brokers of a test's own, to be stopped, killed and started again: `kafkas("second").start()`."""
    made: list[LocalKafka] = []

    def make(name: str = "kafka") -> LocalKafka:
        kafka = LocalKafka(tmp_path / name, StackSettings().cache, StackSettings().java_home)
        made.append(kafka)
        return kafka

    yield make
    for kafka in made:
        kafka.kill()
        kafka.wipe()
