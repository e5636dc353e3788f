"""Where lineage is kept: SQLite for one machine, PostgreSQL for many.

The collector writes a batch of events and its Kafka position in one transaction, so each event takes effect once
whatever crashes. An event that is already known, by its bytes, changes nothing; events of one run may come in any order.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, Engine, create_engine, event, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from lineage import layout
from lineage.intake import BatchWriter, Position, Received, RefusedByDatabase, Taken
from thalweg.clock import Clock, SystemClock
from thalweg.errors import ConfigurationError, StorageUnavailable, ThalwegError

# A writer waits this long for another one's transaction on SQLite.
_BUSY_S = 30
# Any constant: PostgreSQL's advisory lock that makes writers take turns, as SQLite does by itself.
_WRITERS_LOCK = 7_104_915


class Store:
    """An open lineage store. Threads may share it."""

    def __init__(self, url: str, clock: Clock | None = None) -> None:
        """Open the store, making it when it is not there.

        Raises ConfigurationError for a URL that is wrong or a database that is not ours, and StorageUnavailable when the
        database does not answer.
        """
        self._clock = clock or SystemClock()
        self._url = _checked(url)
        self.where = self._url.render_as_string(hide_password=True)
        self._engine = _engine(self._url)
        try:
            with self.writing() as connection:
                layout.bring_up(connection, self.where)
        except ThalwegError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection whose questions see one state of the store. Maps the database's faults to ours."""
        with self._faults(), self._engine.connect() as connection, connection.begin():
            if self._url.get_backend_name() == "postgresql":
                connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A connection in a transaction that is committed at the end. Writers take turns."""
        with self._faults(), self._engine.connect() as connection:
            connection = connection.execution_options(thalweg_writes=True)
            with connection.begin():
                if self._url.get_backend_name() == "postgresql":
                    connection.execute(text(f"SELECT pg_advisory_xact_lock({_WRITERS_LOCK})"))
                yield connection

    def positions(self, topic_id: str) -> dict[int, int]:
        """For each partition that was read before: where to go on."""
        with self.reading() as connection:
            found = connection.execute(
                select(layout.positions.c.partition, layout.positions.c.next_offset).where(
                    layout.positions.c.topic_id == topic_id
                )
            )
            return {row.partition: row.next_offset for row in found}

    def take(self, batch: Sequence[Received], positions: Sequence[Position] = ()) -> Taken:
        """Write a batch and where its reader stands now, in one transaction.

        An event that the database refuses is set aside alone; its neighbours are stored.
        """
        try:
            return self._take(batch, positions, guarded=False)
        except RefusedByDatabase:
            return self._take(batch, positions, guarded=True)

    def _take(self, batch: Sequence[Received], positions: Sequence[Position], *, guarded: bool) -> Taken:
        with self.writing() as connection:
            batch_writer = BatchWriter(connection, self._clock.now_ms())
            for received in batch:
                batch_writer.take(received, guarded=guarded)
            for position in positions:
                batch_writer.advance(position)
            batch_writer.finish()
            return batch_writer.taken

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise StorageUnavailable(
                f"the lineage store {self.where} refuses: {error.orig}",
                "check that the database runs, that its disk has room, and lineage.store",
            ) from error


def _checked(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigurationError(f"lineage.store is no database URL: {error}", _URLS) from error
    backend = parsed.get_backend_name()
    if backend not in ("sqlite", "postgresql"):
        raise ConfigurationError(f"lineage.store names {backend}, and lineage is kept in SQLite or PostgreSQL", _URLS)
    if backend == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise ConfigurationError("lineage.store names no file, and SQLite in memory would forget everything", _URLS)
        return parsed
    return parsed.set(drivername="postgresql+psycopg")


_URLS = "use sqlite:///path/lineage.db or postgresql://user@host/database"


def _engine(url: URL) -> Engine:
    if url.get_backend_name() == "postgresql":
        try:
            return create_engine(url, pool_pre_ping=True, pool_size=5, max_overflow=10)
        except (ModuleNotFoundError, NoSuchModuleError) as error:
            raise ConfigurationError(
                "lineage.store names PostgreSQL, and its driver is not installed", "pip install 'thalweg[postgres]'"
            ) from error
    assert url.database is not None  # _checked
    try:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageUnavailable(
            f"cannot make the folder of {url.database}: {error}", "set lineage.store to a place that can be written"
        ) from error
    engine = create_engine(url, connect_args={"timeout": _BUSY_S})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _: object) -> None:
    # The driver would begin transactions late and in the wrong mode; `_begin_sqlite` does it.
    connection.isolation_level = None
    for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A writer that begins as a reader meets SQLITE_BUSY without waiting when another one writes in between.
    writes = connection.get_execution_options().get("thalweg_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
