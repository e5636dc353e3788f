"""The compose file, the image and the dashboard say nothing that the code does not know.

No container is started here: that needs an engine. What can be checked without one is.
"""

import json
import re
import shutil
import subprocess
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from packaging.requirements import Requirement
from starlette.testclient import TestClient

from lineage.api import make_app
from lineage.store import Store
from thalweg.cli import main_group
from thalweg.settings import Settings
from thalweg.stack.jars import Lock
from thalweg.telemetry import METRICS, HealthServer

TOP = Path(__file__).parents[2]
DEPLOY = TOP / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((TOP / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
SERVING = {name: service for name, service in OURS.items() if "test" in service["healthcheck"]}
OTHERS = {name: service for name, service in SERVICES.items() if name not in OURS}
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana/dashboards/thalweg.json").read_text())


def interpolated(text: str) -> str:
    """Put in the defaults that compose takes where a variable is not set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def mounts(service: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield source and target of each volume; a source that begins with a dot is a path beside the compose file."""
    for volume in service.get("volumes", []):
        source, target = volume.split(":")[:2]
        yield source, target


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """What our services read from the environment that the compose file gives all of them."""
    monkeypatch.chdir(tmp_path)
    for name, value in next(iter(OURS.values()))["environment"].items():
        monkeypatch.setenv(name, interpolated(value))
    return Settings()


def test_our_services_share_one_image_and_one_environment() -> None:
    assert len(OURS) >= 6
    assert all(service["image"] == "thalweg:local" for service in OURS.values())
    assert len({json.dumps(service["environment"]) for service in OURS.values()}) == 1


@pytest.mark.parametrize("name", OURS)
def test_each_command_is_one_of_ours_with_arguments_that_it_takes(name: str) -> None:
    arguments = [str(argument) for argument in OURS[name]["command"]]
    for source, target in mounts(OURS[name]):
        arguments = [argument.replace(target, str(TOP / source)) for argument in arguments]
    assert all(Path(argument).exists() for argument in arguments if "/" in argument)
    command: click.Command = main_group
    context = command.make_context("thalweg", arguments)
    while isinstance(command, click.Group):
        word, found, arguments = command.resolve_command(context, arguments)
        assert found is not None
        command = found
        context = command.make_context(word, list(arguments), parent=context)  # raises for what it does not take


def test_each_variable_of_ours_is_a_setting_and_takes_effect(settings: Settings) -> None:
    for name, value in next(iter(OURS.values()))["environment"].items():
        if not name.startswith("THALWEG_"):
            continue
        found: Any = settings
        for part in name.removeprefix("THALWEG_").lower().split("__"):
            assert part in type(found).model_fields, name
            found = getattr(found, part)
        assert str(found) == interpolated(value), name


def test_addresses_are_those_of_the_services_beside(settings: Settings) -> None:
    environment = next(iter(OURS.values()))["environment"]
    addresses = [
        f"kafka://{settings.kafka.bootstrap}",
        str(settings.registry.url),
        settings.lineage.store,
        settings.lineage.api,
        environment["AWS_ENDPOINT_URL"],
    ]
    hosts = [re.fullmatch(r"[\w+]+://(?:[^@/]*@)?([\w-]+):\d+(?:/.*)?", address) for address in addresses]
    assert [host and host[1] for host in hosts] == ["kafka", "registry", "postgres", "lineage", "objects"]


@pytest.mark.parametrize("name", SERVING)
def test_health_is_asked_where_the_service_answers(name: str, settings: Settings) -> None:
    asked = re.search(r"http://127\.0\.0\.1:(\d+)(/\w+)'", SERVING[name]["healthcheck"]["test"][-1])
    assert asked is not None
    assert int(asked[1]) == settings.http.port
    with (
        HealthServer("127.0.0.1", 0, ready=lambda: True) as health,
        urllib.request.urlopen(health.url + asked[2]) as answer,
    ):
        assert answer.status == 200
    for port in SERVING[name].get("ports", []):
        assert port.split(":")[-1] == str(settings.http.port)


def test_the_lineage_service_has_its_own_web_server_and_answers_there_too(tmp_path: Path) -> None:
    asked = re.search(r"http://127\.0\.0\.1:\d+(/\w+)'", SERVING["lineage"]["healthcheck"]["test"][-1])
    assert asked is not None
    with (
        Store(f"sqlite:///{tmp_path}/lineage.db") as store,
        TestClient(make_app(store, ready=lambda: True, host="0.0.0.0"), base_url="http://lineage:8000") as client,
    ):
        assert client.get(asked[1]).status_code == 200
        assert client.get("/metrics").status_code == 200


def test_every_port_is_published_on_loopback_only_and_once() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in published)
    assert len({port.split(":")[1] for port in published}) == len(published)


def test_what_is_waited_for_exists_and_can_come_true() -> None:
    for name, service in SERVICES.items():
        for target, wanted in service.get("depends_on", {}).items():
            other = SERVICES[target]
            if wanted["condition"] == "service_healthy":
                assert "test" in other["healthcheck"], (name, target)
            else:
                assert wanted["condition"] == "service_completed_successfully"
                assert other["restart"] == "on-failure", (name, target)  # one that is restarted always never completes


def test_nothing_waits_for_itself_in_a_circle() -> None:
    def reached(name: str, on_the_way: tuple[str, ...]) -> None:
        assert name not in on_the_way, on_the_way
        for target in SERVICES[name].get("depends_on", {}):
            reached(target, (*on_the_way, name))

    for name in SERVICES:
        reached(name, ())


def test_images_are_pinned_and_kafka_is_the_one_that_the_suite_runs() -> None:
    tags = {name: service["image"].rpartition(":")[2] for name, service in OTHERS.items()}
    assert all(re.match(r"v?\d+(\.\d+)?", tag) for tag in tags.values())
    assert tags["kafka"] == Lock.read().kafka


def test_every_volume_is_declared_used_and_there() -> None:
    sources = {source for service in SERVICES.values() for source, _ in mounts(service)}
    named = {source for source in sources if not source.startswith(".")}
    assert named == set(COMPOSE["volumes"])
    assert all((TOP / source).exists() for source in sources - named)


def test_passwords_come_from_the_environment() -> None:
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET", name) or "://thalweg:" in value:
                assert re.search(r"\$\{THALWEG_\w+:-local-only\}", value), name
                assert interpolated(value).count("local-only") == 1


def test_the_dockerfile_copies_what_is_there_and_every_package() -> None:
    text = (TOP / "Dockerfile").read_text()
    copied = [word for line in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE) for word in line.split()]
    assert all((TOP / path).exists() for path in copied)
    project = tomllib.loads((TOP / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    wanted = {*packages, project["project"]["readme"], *project["project"]["license-files"], "pyproject.toml"}
    assert set(copied) == {*wanted, "deploy/docker/requirements.lock"}
    let_through = {line[1:] for line in (TOP / ".dockerignore").read_text().split() if line.startswith("!")}
    assert let_through == set(copied)
    assert re.search(r"^USER (?!root)\w+$", text, re.MULTILINE)


def pins(lock: Path) -> dict[str, set[str]]:
    """Return for each `name==version` of a lock file its hashes."""
    found: dict[str, set[str]] = {}
    for block in re.split(r"\n(?=\w)", lock.read_text()):
        if pin := re.match(r"([\w.-]+==[^\s;]+)", block):
            found[pin[1]] = set(re.findall(r"sha256:\w+", block))
    return found


def test_the_image_has_the_versions_that_the_suite_runs_and_all_it_needs() -> None:
    image, suite = pins(DEPLOY / "docker/requirements.lock"), pins(TOP / "requirements.lock")
    assert image.items() <= suite.items()
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *extras["postgres"], *extras["flights"]]
    names = {pin.partition("==")[0] for pin in image}
    assert {Requirement(one.split("#")[0]).name.lower() for one in needed} <= names


def test_prometheus_scrapes_every_service_of_ours() -> None:
    configuration = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    (job,) = configuration["scrape_configs"]
    assert set(job["static_configs"][0]["targets"]) == {f"{name}:8000" for name in SERVING}


def test_the_dashboard_asks_for_metrics_that_there_are() -> None:
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",), "info": ("_info",)}
    known = {family.name + end for family in METRICS.registry.collect() for end in suffixes[family.type]}
    expressions = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
    expressions += [variable["query"]["query"] for variable in DASHBOARD["templating"]["list"]]
    asked = {name for text in expressions for name in re.findall(r"\b(?:thalweg|process)_\w+", text)}
    assert asked - known == set()
    ours = {name.removesuffix("_sum") for name in known if name.startswith("thalweg_") and not name.endswith("_bucket")}
    shown = {name.removesuffix("_bucket") for name in asked}
    assert {name for name in ours if not name.endswith("_count")} <= shown, "a metric that no panel shows"


def test_grafana_finds_its_data_and_its_dashboard() -> None:
    (source,) = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"]
    asked = {panel["datasource"]["uid"] for panel in DASHBOARD["panels"] if "datasource" in panel}
    assert asked == {source["uid"]}
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/thalweg.yml").read_text())["providers"]
    grafana = SERVICES["grafana"]
    inside = {target: source for source, target in mounts(grafana)}
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/thalweg.json"
    assert (TOP / inside[provider["options"]["path"]] / "thalweg.json").exists()


def test_compose_itself_accepts_the_file() -> None:
    """Where Docker's compose plugin is installed, it reads the file too; it needs no engine for that."""
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True).returncode != 0:
        return
    told = subprocess.run(
        [docker, "compose", "--profile", "samples", "config", "--quiet"], cwd=TOP, capture_output=True, text=True
    )
    assert told.returncode == 0, told.stderr
