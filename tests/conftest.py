"""What tests share: one real broker and one registry for a session, started when the first test asks for them.

The broker is a real Apache Kafka, never a mock: see `thalweg.stack.kafka`. Fast tests ask for none of this.
"""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from thalweg.settings import KafkaSettings, LineageSettings, RegistrySettings, Settings, StackSettings, TableSettings
from thalweg.stack.kafka import LocalKafka
from thalweg.stack.registry import LocalRegistry


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`host:port` of a real Kafka that lives as long as the session."""
    kafka = LocalKafka(tmp_path_factory.mktemp("broker"), StackSettings().cache, StackSettings().java_home)
    try:
        yield kafka.start()
    finally:
        kafka.kill()


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
