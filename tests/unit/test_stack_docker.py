"""The broker in Docker, with a stand-in for Docker's command line. A real engine is not part of the suite."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.stack_fakes import FakeDocker, metadata
from thalweg.errors import BrokerUnavailable, PortTaken, StackUnavailable
from thalweg.stack import docker as module
from thalweg.stack.docker import DockerCli, DockerKafka, compose_document
from thalweg.stack.jars import Lock


@pytest.fixture
def docker() -> Iterator[FakeDocker]:
    """An engine whose containers answer."""
    engine = FakeDocker(answer=metadata(1))
    yield engine
    engine.end()


def test_a_container_goes_on_until_it_is_stopped_and_is_found_by_the_next_command(
    docker: FakeDocker, tmp_path: Path
) -> None:
    bootstrap = DockerKafka(tmp_path, docker=docker).start()
    again = DockerKafka(tmp_path, docker=docker)

    assert again.serves()
    assert again.start() == bootstrap
    assert docker.verbs() == ["up"]
    assert again.stop()
    assert not again.serves()
    assert docker.verbs() == ["up", "down"]


def test_only_a_wipe_removes_the_volume(docker: FakeDocker, tmp_path: Path) -> None:
    kafka = DockerKafka(tmp_path, docker=docker)
    kafka.start()
    kafka.stop()
    assert not any("--volumes" in call for call in docker.calls)
    assert kafka.holds_state()

    kafka.wipe()
    assert "--volumes" in docker.calls[-1]
    assert not kafka.holds_state()


def test_two_folders_are_two_projects(docker: FakeDocker, tmp_path: Path) -> None:
    one, two = (DockerKafka(tmp_path / name, docker=docker).details()["project"] for name in ("one", "two"))

    assert one != two


def test_the_compose_file_publishes_on_loopback_only_and_advertises_what_it_publishes(
    docker: FakeDocker, tmp_path: Path
) -> None:
    kafka = DockerKafka(tmp_path, docker=docker)
    bootstrap = kafka.start()
    service = json.loads((tmp_path / "docker" / "compose.json").read_text())["services"]["kafka"]

    assert service["ports"] == [f"{bootstrap}:9092"]
    assert service["environment"]["KAFKA_ADVERTISED_LISTENERS"] == f"PLAINTEXT://{bootstrap}"
    assert service["environment"]["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert service["environment"]["KAFKA_LOG_DIRS"] == service["volumes"][0].split(":")[1]


def test_the_image_is_of_the_locked_version() -> None:
    assert compose_document(1, "4.4.0")["services"]["kafka"]["image"] == "apache/kafka:4.4.0"
    assert Lock.read().kafka.startswith("4.")


def test_a_container_that_does_not_answer_is_ended_and_its_log_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "START_TIMEOUT_S", 0.0)
    silent = FakeDocker()

    with pytest.raises(BrokerUnavailable, match=r"28\.2\.2"):  # what the stand-in prints for a log
        DockerKafka(tmp_path, docker=silent).start()
    assert silent.verbs() == ["up", "logs", "down"]


def test_a_wanted_port_that_is_taken_is_an_error_and_starts_nothing(docker: FakeDocker, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(PortTaken):
        DockerKafka(tmp_path, server.getsockname()[1], docker).start()
    assert docker.verbs() == []


def test_without_an_engine_it_is_not_available_and_stopping_is_no_error(tmp_path: Path, docker: FakeDocker) -> None:
    kafka = DockerKafka(tmp_path, docker=docker)
    kafka.start()
    docker.end()
    docker.engine = False

    assert not kafka.available()
    assert not kafka.stop()


def test_a_docker_that_is_not_there_or_refuses_is_an_error_that_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackUnavailable, match="No such file"):
        DockerCli().run(["version"], 10)

    (tmp_path / "docker").write_text("#!/bin/sh\necho no engine >&2; exit 1\n")
    (tmp_path / "docker").chmod(0o755)
    with pytest.raises(StackUnavailable, match="docker version: no engine") as refused:
        DockerCli().run(["version"], 10)
    assert "Docker engine" in refused.value.remedy


def test_what_docker_prints_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docker").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    assert DockerCli().run(["compose", "up"], 10) == "compose up\n"
