"""`thalweg versions` and `thalweg announce` as a user types them."""

import json
import subprocess
import threading

import pytest
from deltalake import write_deltalake

from tests.announcer_process import THALWEG, AnnouncerProcess, declare, environment, eventually, told
from tests.integration.test_announcer import ROWS
from thalweg.settings import Settings
from thalweg.tables.place import table_uri

pytestmark = pytest.mark.slow


def thalweg(settings: Settings, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [THALWEG, *words], env=environment(settings) | more, capture_output=True, text=True, check=False
    )


def test_versions_are_listed_and_tailed_live(settings: Settings) -> None:
    uri = declare(settings, "flights")
    with AnnouncerProcess(settings):
        write_deltalake(uri, ROWS, partition_by=["date"])
        eventually(lambda: len(told(settings)) == 1)
        with subprocess.Popen(
            [THALWEG, "versions", "tail", "flights", "--since", "earliest"],
            env=environment(settings),
            stdout=subprocess.PIPE,
            text=True,
        ) as tail:
            assert tail.stdout is not None
            lines: list[str] = []
            reader = threading.Thread(target=lambda: lines.extend(iter(tail.stdout.readline, "")))  # type: ignore[union-attr]
            reader.start()
            eventually(lambda: len(lines) == 1)
            write_deltalake(uri, ROWS, mode="append")
            eventually(lambda: len(lines) == 2)
            tail.terminate()
            reader.join(10)
    assert [line.split("  ")[0] for line in lines] == ["v0", "v1"]
    assert "+2 rows" in lines[1]
    assert "2013-01-01, 2013-01-02" in lines[1]

    listed = thalweg(settings, "versions", "list", "flights", "--json")
    assert [json.loads(line)["version"] for line in listed.stdout.splitlines()] == [0, 1]
    assert "WRITE" in thalweg(settings, "versions", "list", "flights").stdout
    assert thalweg(settings, "versions", "list", "flights", "--since", "1", "--json").stdout.count("\n") == 1


def test_a_dataset_without_versions_is_said_to_have_none(settings: Settings) -> None:
    declare(settings, "flights")
    listed = thalweg(settings, "versions", "list", "flights")
    assert (listed.returncode, listed.stdout) == (0, "")
    assert "no version of flights was announced yet" in listed.stderr


def test_a_misspelt_dataset_is_said_to_be_one(settings: Settings) -> None:
    declare(settings, "flights")
    listed = thalweg(settings, "versions", "list", "flight")
    assert listed.returncode == 4
    assert "did you mean" in listed.stderr
    assert "flights" in listed.stderr


@pytest.mark.parametrize("words", [["announce"], ["versions", "list", "flights"]])
def test_a_broker_that_is_down_is_named_with_what_to_do(settings: Settings, words: list[str]) -> None:
    down = thalweg(settings, *words, THALWEG_KAFKA__BOOTSTRAP="127.0.0.1:1", THALWEG_KAFKA__REQUEST_TIMEOUT_S="2")
    assert down.returncode == 3
    assert "127.0.0.1:1" in down.stderr
    assert "thalweg stack" in down.stderr
    assert "Traceback" not in down.stderr


def test_a_registry_that_is_down_is_named_with_what_to_do(settings: Settings) -> None:
    down = thalweg(settings, "announce", THALWEG_REGISTRY__URL="http://127.0.0.1:1", THALWEG_REGISTRY__RETRIES="0")
    assert down.returncode == 3
    assert "127.0.0.1:1" in down.stderr
    assert "Traceback" not in down.stderr


def test_a_table_that_nobody_declared_is_not_announced(settings: Settings) -> None:
    declared = declare(settings, "flights")
    write_deltalake(table_uri(settings.tables, "strangers"), ROWS)
    with AnnouncerProcess(settings):
        write_deltalake(declared, ROWS)
        eventually(lambda: len(told(settings)) == 1)
    assert [event.dataset for event in told(settings)] == ["flights"]
