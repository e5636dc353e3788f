"""Where records went, asked as a user would, with a real broker behind it."""

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from schemas.published import publish
from tests.ingest_world import World, trip
from tests.integration.test_verify import send_aborted
from tests.services import thalweg
from thalweg.settings import Settings
from thalweg.tables.files import Snapshot

pytestmark = pytest.mark.slow


@pytest.fixture
def world(settings: Settings) -> Iterator[World]:
    """Offsets 0 and 1 landed, 2 rejected, 3 filtered, 4 to 6 aborted and a marker, 7 landed, 8 not consumed."""
    with closing(World(settings, tombstones="filter")) as made:
        publish(settings, made.dataset)
        made.send([made.value(trip(0)), made.value(trip(1)), made.value(trip(2))[:-3], None], partition=0)
        send_aborted(made, 2, partition=0)
        made.send([made.value(trip(7))], partition=0)
        made.ingest()
        made.send_trips([8], partition=0)
        yield made


def ask(world: World, *arguments: str) -> Any:
    done = thalweg(world.settings, "where", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_record_is_found_whatever_became_of_it(world: World) -> None:
    answers = {offset: ask(world, f"{world.topic}/0/{offset}") for offset in (1, 2, 3, 5, 8)}
    assert {offset: answer["state"] for offset, answer in answers.items()} == {
        1: "landed",
        2: "quarantined",
        3: "filtered",
        5: "hole",
        8: "not consumed",
    }
    paths = [file.path for file in Snapshot(world.uri).files]
    assert answers[1]["dataset"] == "trips"
    assert answers[1]["file"] in paths
    assert answers[2]["rule"] == "decode"
    assert answers[2]["reason"]
    assert answers[3]["version"] == answers[5]["version"] == answers[1]["version"]
    shown = thalweg(world.settings, "where", f"{world.topic}/0/2", "--dataset", "trips")
    assert "was rejected" in shown.stdout
    assert answers[2]["reason"] in shown.stdout


def test_a_version_and_a_file_lead_back_to_offsets(world: World) -> None:
    landed = ask(world, f"{world.topic}/0/1")
    version = ask(world, "--dataset", "trips", "--version", str(landed["version"]))
    assert [(span["from"], span["to"]) for span in version["spans"]] == [(0, 8)]
    origins = ask(world, "--dataset", "trips", "--file", landed["file"])
    assert origins[0]["partition"] == 0
    assert origins[0]["versions"] == [landed["version"], landed["version"]]
    for arguments in (["--version", str(landed["version"])], ["--file", landed["file"]]):
        shown = thalweg(world.settings, "where", "--dataset", "trips", *arguments)
        assert shown.returncode == 0, shown.stderr
        assert "offsets" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "give a record"),
        (("not-a-place",), 2, "does not name a record"),
        (("nobody/0/1",), 4, "no dataset declares the topic nobody"),
        (("--version", "1"), 2, "which dataset"),
        (("--dataset", "trips", "--version", "99"), 4, "no log entry for version 99"),
        (("--dataset", "trips", "--file", "x.parquet"), 4, "has no file x.parquet"),
        (("a/0/1", "--dataset", "nothing"), 4, "no Delta table"),
    ],
)
def test_what_cannot_be_answered_says_why(world: World, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = thalweg(world.settings, "where", *arguments)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
