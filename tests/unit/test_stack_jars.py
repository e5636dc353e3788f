"""Only the locked jars reach a class path."""

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from thalweg.errors import StackUnavailable
from thalweg.stack.jars import LOCK_FILE, Jar, Lock, class_path, fetch_with_jgo
from thalweg.stack.ports import pick

CONTENT = {"g:one:1": b"first", "g:two:2": b"second", "h:one:1": b"other"}
LOCK = Lock("4.4.0", tuple(Jar(c, hashlib.sha256(b).hexdigest()) for c, b in CONTENT.items()))


class Repository:
    """Gives out jars, and remembers which."""

    def __init__(self, content: dict[str, bytes]) -> None:
        self.content = content
        self.asked: list[str] = []

    def fetch(self, coordinates: str, folder: Path) -> Path:
        """Write the jar."""
        self.asked.append(coordinates)
        path = folder / "some" / "where.jar"
        path.parent.mkdir()
        path.write_bytes(self.content[coordinates])
        return path


def read(paths: list[Path]) -> list[bytes]:
    """Return what is on a class path."""
    return [path.read_bytes() for path in paths]


def test_all_jars_are_there_in_the_locks_order_and_asked_for_once(tmp_path: Path) -> None:
    repository = Repository(CONTENT)
    seen: list[tuple[int, int]] = []

    paths = class_path(LOCK, tmp_path, repository.fetch, lambda done, total: seen.append((done, total)))

    assert read(paths) == list(CONTENT.values())
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert class_path(LOCK, tmp_path, repository.fetch) == paths
    assert sorted(repository.asked) == sorted(CONTENT)


def test_a_jar_that_is_not_the_locked_one_is_refused_and_not_kept(tmp_path: Path) -> None:
    with pytest.raises(StackUnavailable, match=r"g:two:2.*not the one that was locked"):
        class_path(LOCK, tmp_path, Repository(CONTENT | {"g:two:2": b"changed"}).fetch)

    assert b"changed" not in read([path for path in tmp_path.rglob("*") if path.is_file()])
    assert read(class_path(LOCK, tmp_path, Repository(CONTENT).fetch)) == list(CONTENT.values())


def test_a_jar_that_was_damaged_in_the_cache_is_fetched_again(tmp_path: Path) -> None:
    paths = class_path(LOCK, tmp_path, Repository(CONTENT).fetch)
    paths[1].write_bytes(b"seco")
    repository = Repository(CONTENT)

    assert read(class_path(LOCK, tmp_path, repository.fetch)) == list(CONTENT.values())
    assert repository.asked == ["g:two:2"]


def test_a_download_that_breaks_off_leaves_nothing_on_the_class_path(tmp_path: Path) -> None:
    def break_off(coordinates: str, folder: Path) -> Path:
        (folder / "half.jar").write_bytes(b"fir")
        raise StackUnavailable("the line is gone", "try again")

    with pytest.raises(StackUnavailable):
        class_path(LOCK, tmp_path, break_off)
    assert list((tmp_path / "jars").iterdir()) == []


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a Maven repository on this machine, which the user's jgo is set up with."""
    folder = tmp_path / "repository"
    folder.mkdir()
    handler = partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        config = tmp_path / "jgo.conf"
        config.write_text(f"[repositories]\ncentral = http://127.0.0.1:{server.server_port}\n")
        monkeypatch.setenv("JGO_CONFIG_FILE", str(config))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield folder
        server.shutdown()
        thread.join()


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, format: str, *args: object) -> None:  # the standard library's name
        """Say nothing."""


def test_jgo_fetches_from_the_repository_that_the_user_has_set_up(repository: Path, tmp_path: Path) -> None:
    jar = repository / "org" / "some" / "thing" / "1.2" / "thing-1.2.jar"
    jar.parent.mkdir(parents=True)
    jar.write_bytes(b"a jar")

    assert fetch_with_jgo("org.some:thing:1.2", tmp_path / "target").read_bytes() == b"a jar"


def test_a_repository_that_does_not_answer_is_an_error_that_says_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "jgo.conf").write_text(f"[repositories]\ncentral = http://127.0.0.1:{pick(None)}\n")
    monkeypatch.setenv("JGO_CONFIG_FILE", str(tmp_path / "jgo.conf"))

    with pytest.raises(StackUnavailable, match="cannot be downloaded") as refused:
        fetch_with_jgo("org.some:thing:1.2", tmp_path)
    assert "jgo.conf" in refused.value.remedy


def test_the_lock_file_names_kafka_and_its_log_binding_and_no_address() -> None:
    lock = Lock.read()
    named = [jar.coordinates for jar in lock.jars]

    assert f"org.apache.kafka:kafka_2.13:{lock.kafka}" in named
    assert any("log4j-slf4j-impl" in name for name in named)
    assert all(len(jar.sha256) == 64 for jar in lock.jars)
    assert "://" not in LOCK_FILE.read_text()


def test_a_lock_is_read_as_it_was_written(tmp_path: Path) -> None:
    LOCK.write(tmp_path / "lock.json")

    assert Lock.read(tmp_path / "lock.json") == LOCK
