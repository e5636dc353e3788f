"""What `thalweg stack` prints, and how it exits."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.unit.stack_fakes import fake_java
from thalweg.commands import stack as module
from thalweg.settings import KafkaSettings, RegistrySettings, Settings
from thalweg.stack import docker as docker_module
from thalweg.stack import kafka as local_kafka


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings with a registry of the user's own and no broker: the stack runs one, by a stand-in for Java."""
    java = fake_java(tmp_path)
    monkeypatch.setattr(local_kafka, "class_path", _download)
    monkeypatch.setattr(local_kafka, "find_java", lambda java_home: java)
    monkeypatch.setattr(docker_module.DockerKafka, "available", lambda self: False)
    monkeypatch.setattr(module, "_ask_broker", lambda kafka: None)
    monkeypatch.setattr(module, "_ask_registry", lambda registry: None)
    yield Settings(home=tmp_path / "home", kafka=KafkaSettings(), registry=RegistrySettings(url="http://yours:8081"))
    local_kafka.LocalKafka(tmp_path / "home", tmp_path).kill()


def _download(lock: object, cache: Path, progress: Any) -> list[Path]:
    for done in range(46):
        progress(done, 45)
    return []


def run(settings: Settings, *arguments: str) -> Result:
    """Run `thalweg stack …`."""
    return CliRunner().invoke(module.command, list(arguments), obj=settings)


def test_up_says_what_it_is_at_and_then_what_runs(settings: Settings) -> None:
    done = run(settings, "up")

    assert done.exit_code == 0
    assert "starting Kafka" in done.stderr
    assert "downloading Kafka, once: 45 of 45 jars" in done.stderr
    assert "● up" in done.stdout
    assert "127.0.0.1:" in done.stdout
    assert "http://yours:8081" in done.stdout


def test_without_a_terminal_progress_is_few_lines(settings: Settings) -> None:
    assert len(run(settings, "up").stderr.splitlines()) < 10


def test_json_goes_to_standard_output_alone(settings: Settings) -> None:
    told = json.loads(run(settings, "up", "--json").stdout)

    assert told["up"]
    assert told["broker"]["kind"] == "local"
    assert json.loads(run(settings, "status", "--json").stdout) == told


def test_status_exits_with_3_when_nothing_runs_and_says_what_to_do(settings: Settings) -> None:
    done = run(settings, "status")

    assert done.exit_code == 3
    assert "not there" in done.stdout
    assert run(settings, "up").exit_code == 0
    assert run(settings, "status").exit_code == 0


def test_down_says_what_it_stopped_and_what_it_removed(settings: Settings) -> None:
    run(settings, "up")

    assert run(settings, "down").stdout == "stopped: broker\n"
    assert run(settings, "down", "--wipe").stdout == "nothing ran\nremoved: topics, schemas, logs\n"


@pytest.mark.parametrize("port", ["0", "-1", "65536", "kafka"])
def test_a_port_that_is_none_is_refused(settings: Settings, port: str) -> None:
    assert run(settings, "up", "--port", port).exit_code == 2
