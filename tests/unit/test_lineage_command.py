"""`thalweg lineage upstream|downstream`: from the store's file, or from the API when there is none."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from click.testing import CliRunner, Result

from lineage.api import make_app
from lineage.store import Store
from tests.unit import lineage_story as told
from thalweg.cli import main_group
from thalweg.errors import ConfigurationError, DatasetNotFound, NotFound, Unavailable, VersionNotFound
from thalweg.telemetry import Metrics, listen


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "lineage.db"
    path.write_bytes(told.database())
    return path


@pytest.fixture
def api(file: Path) -> Iterator[str]:
    with Store(f"sqlite:///{file}") as store, listen("127.0.0.1", 0) as opened:
        app = make_app(store, ready=lambda: True, host="127.0.0.1", metrics=Metrics())
        server = uvicorn.Server(uvicorn.Config(app, http="h11", ws="none", lifespan="off", log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]})
        thread.start()
        yield f"http://127.0.0.1:{opened.getsockname()[1]}"
        server.should_exit = True
        thread.join()


def ask(*arguments: str, **settings: str) -> Result:
    names = {f"THALWEG_LINEAGE__{name.upper()}": value for name, value in settings.items()}
    return CliRunner(env=names).invoke(main_group, ["lineage", *arguments])


def test_upstream_is_a_tree_down_to_the_topic(file: Path) -> None:
    shown = ask("upstream", "flights.quarantine", store=f"sqlite:///{file}")
    assert shown.exit_code == 0, shown.output
    lines = shown.output.splitlines()
    depths = [
        next(len(line) - len(line.lstrip("│├└─ ")) for line in lines if name in line)
        for name in ("flights.quarantine quarantine", "settle", "flights table", "ingest.landing", "flights topic")
    ]
    assert depths == sorted(set(depths))
    assert "600 offsets read from 1 partition" in shown.output


def test_a_version_is_traced_to_its_offsets(file: Path) -> None:
    shown = ask("upstream", "flights", "--version", "8", store=f"sqlite:///{file}")
    assert shown.exit_code == 0, shown.output
    own, everything = (shown.output.index(words) for words in ("its own rows come from", "all its rows come from"))
    assert "500   600     100" in shown.output[own:everything]
    assert "0   600     397" in shown.output[everything:]
    assert "4 × flights.ingest.landing from topic flights" in shown.output


def test_what_depends_on_a_version(file: Path) -> None:
    shown = ask("downstream", "flights", "--version", "1", store=f"sqlite:///{file}")
    assert "its rows are in versions 1–8 of this table" in shown.output
    assert "1 × flights.quarantine.settle into quarantine flights.quarantine version 1" in shown.output
    assert "1 × delays into table delays version 1" in shown.output


def test_the_api_is_asked_when_no_file_is_there_and_says_the_same(file: Path, api: str, tmp_path: Path) -> None:
    elsewhere = {"store": f"sqlite:///{tmp_path}/none.db", "api": api}
    for question in (
        ["upstream", "flights.quarantine"],
        ["downstream", "topic:flights", "--depth", "2"],
        ["upstream", "flights", "--version", "newest"],
        ["downstream", "flights", "--version", "4"],
    ):
        here = ask(*question, "--json", store=f"sqlite:///{file}")
        there = ask(*question, "--json", **elsewhere)
        assert json.loads(here.output) == json.loads(there.output)
    assert not (tmp_path / "none.db").exists()


def test_errors_of_store_and_api_are_told_alike(file: Path, api: str, tmp_path: Path) -> None:
    here = {"store": f"sqlite:///{file}"}
    there = {"store": f"sqlite:///{tmp_path}/none.db", "api": api}
    assert isinstance(ask("upstream", "nope", **here).exception, DatasetNotFound)
    assert isinstance(ask("upstream", "flights", "--version", "99", **here).exception, VersionNotFound)
    for question in (["upstream", "nope"], ["upstream", "flights", "--version", "99"]):
        answer = ask(*question, **there)
        assert isinstance(answer.exception, NotFound)
        assert str(answer.exception) == str(ask(*question, **here).exception)
    assert isinstance(ask("upstream", "topic:flights", "--version", "1", **there).exception, NotFound)
    assert isinstance(ask("upstream", "job:spark/delays", "--version", "1", **there).exception, ConfigurationError)


def test_a_job_has_no_versions(file: Path) -> None:
    answer = ask("upstream", "job:spark/delays", "--version", "1", store=f"sqlite:///{file}")
    assert isinstance(answer.exception, ConfigurationError)


def test_neither_store_nor_api_says_how_to_start_one(tmp_path: Path) -> None:
    answer = ask("upstream", "flights", store=f"sqlite:///{tmp_path}/none.db", api="http://127.0.0.1:1")
    assert isinstance(answer.exception, Unavailable)
    assert "thalweg lineage serve" in str(answer.exception)


@pytest.mark.parametrize("wrong", [["--version", "first"], ["--depth", "0"], ["--version", "-1"]])
def test_arguments_are_checked(file: Path, wrong: list[str]) -> None:
    assert ask("upstream", "flights", *wrong, store=f"sqlite:///{file}").exit_code == 2
