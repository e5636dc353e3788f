"""SQL expressions over one event: DuckDB, shut in.

An expression is a plain scalar expression over the event's fields, as in a CHECK constraint. It cannot hold a subquery,
aggregate, window or table function, so it sees one event and nothing else; and the database that it runs in has no
files, no network, no extensions to load and a bounded memory, so that what slips through finds nothing there.
"""

import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from thalweg.errors import DeclarationError

# Intermediate results of one batch of rows. Arrow's own columns are scanned where they are and do not count.
_MEMORY = "256MB"
# In this order: without external access the temporary folder can no longer be set, and the lock comes last.
_SHUT_IN = (
    "SET threads = 1",  # the worker's own thread; its cores belong to decoding and writing
    # Eight threads for files, which there are none of. Versions before 2 have no such threads and no such setting.
    *(["SET async_threads = 0"] if int(duckdb.__version__.split(".")[0]) >= 2 else []),
    f"SET memory_limit = '{_MEMORY}'",
    "SET temp_directory = ''",
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET python_enable_replacements = false",
    "SET TimeZone = 'UTC'",  # not the machine's: a cast to DATE must mean the same everywhere
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)
_EVENTS = "events"

# Node classes of DuckDB's parse tree that compute from the row alone. Whatever is not listed is refused.
_PLAIN = frozenset(
    {
        "BETWEEN",
        "CASE",
        "CAST",
        "COLLATE",
        "COLUMN_REF",
        "COMPARISON",
        "CONJUNCTION",
        "CONSTANT",
        "FUNCTION",
        "LAMBDA",
        "LAMBDA_REF",
        "OPERATOR",
        "TYPE",
    }
)

# Functions that make a value of any size out of a small number: one event could take all memory, DuckDB's limit or not.
_UNBOUNDED = frozenset(
    {
        "array_resize",
        "bar",
        "bitstring",
        "format",
        "generate_series",
        "list_resize",
        "lpad",
        "printf",
        "range",
        "repeat",
        "rpad",
    }
)


def _sandbox() -> duckdb.DuckDBPyConnection:
    sandbox = duckdb.connect(":memory:")
    for setting in _SHUT_IN:
        sandbox.execute(setting)
    return sandbox


def _first_line(error: Exception) -> str:
    """What DuckDB says, without the excerpt of the query that follows it."""
    return str(error).split("\n", 1)[0]


@functools.lru_cache(maxsize=1024)
def parse(expression: str) -> frozenset[str]:
    """Return the names that an expression refers to. Raises ValueError when it is not one plain expression."""
    if "\0" in expression:
        raise ValueError("not a plain SQL expression: it holds a NUL character")
    # Between parentheses nothing but an expression may stand; between brackets `a) + (b` cannot.
    tree, bracketed = _trees(f"SELECT {_enclosed(expression)}", f"SELECT [\n{expression}\n]")
    for found in (tree, bracketed):
        if found["error"]:
            raise ValueError(f"not a plain SQL expression: {found['error_message']}")
    names = set()
    for part in _nodes(tree["statements"]):
        if part["class"] not in _PLAIN:
            raise ValueError(
                f"not a plain SQL expression: {part['class'].lower()} is not allowed; an expression sees one event and no tables"
            )
        if part["class"] == "FUNCTION" and part["function_name"] in _UNBOUNDED:
            raise ValueError(f"not a plain SQL expression: {part['function_name']} can make values of any size")
        if part["class"] == "COLUMN_REF":
            names.add(part["column_names"][0])
    return frozenset(names)


def _trees(*queries: str) -> list[dict[str, Any]]:
    """DuckDB's parse trees. No error is raised from here: its traceback would keep the database alive."""
    with _sandbox() as sandbox:
        return [
            json.loads(sandbox.execute("SELECT json_serialize_sql(?::VARCHAR)", [query]).fetchall()[0][0])
            for query in queries
        ]


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression to evaluate, what to call it in errors, and the type that it must give."""

    where: str
    text: str
    gives: pa.DataType


class _Events:
    """What the table `events` is while a query runs. DuckDB asks for the stream anew each time."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.batch = batch

    def __arrow_c_schema__(self) -> object:
        return self.batch.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return pa.Table.from_batches([self.batch]).__arrow_c_stream__(requested_schema)


class Expressions:
    """Expressions bound to one schema of events, evaluated together over batches of them. Not for two threads at once."""

    def __init__(self, schema: pa.Schema, expressions: Sequence[Expression]) -> None:
        """Bind. Raises DeclarationError for unknown fields, a wrong type, or what is no plain expression."""
        self._expressions = tuple(expressions)
        self.columns: tuple[tuple[str, ...], ...] = tuple(_columns(e, schema) for e in expressions)
        self._sandbox = _sandbox()
        # Without any column the scan would not know how many rows there are.
        self._needed = sorted({name for names in self.columns for name in names}) or schema.names[:1]
        self._events = _Events(pa.RecordBatch.from_pylist([], schema=schema))
        self._sandbox.register(_EVENTS, self._events)
        for expression in expressions:
            self._bind(expression, schema)
        self._sandbox.unregister(_EVENTS)
        # Registered once: to register each block of records would take longer than to run a simple rule over it.
        self._events.batch = self._events.batch.select(self._needed)
        self._sandbox.register(_EVENTS, self._events)

    def close(self) -> None:
        """Let go of the database."""
        self._sandbox.close()

    def evaluate(self, batch: pa.RecordBatch) -> list[pa.Array]:
        """One array for each expression. Where an expression raises on a row, that row is null and others are not touched.

        Of a BOOLEAN expression, null therefore means that it raised: a null result counts as true, as in a CHECK.
        """
        return self._evaluate(self._expressions, batch.select(self._needed))

    def _evaluate(self, expressions: Sequence[Expression], batch: pa.RecordBatch) -> list[pa.Array]:
        terms = ", ".join(f"{_guarded(e)} AS c{i}" for i, e in enumerate(expressions))
        before, self._events.batch = self._events.batch, batch
        try:
            table = self._sandbox.sql(f"SELECT {terms} FROM {_EVENTS}").to_arrow_table()
        except (duckdb.InternalException, duckdb.FatalException) as error:
            raise DeclarationError(
                f"DuckDB failed on {', '.join(e.where for e in expressions)}: {_first_line(error)}",
                "this is a fault of DuckDB's: write the expression in another way",
            ) from error
        except duckdb.Error:
            # Not one of those that TRY catches, such as an unknown time zone: find the expression, then the row.
            return self._apart(expressions, batch)
        finally:
            self._events.batch = before
        return [_only_chunk(column) for column in table.columns]

    def _apart(self, expressions: Sequence[Expression], batch: pa.RecordBatch) -> list[pa.Array]:
        if len(expressions) > 1:
            return [self._evaluate([expression], batch)[0] for expression in expressions]
        if batch.num_rows == 1:
            return [pa.nulls(1, expressions[0].gives)]
        half = batch.num_rows // 2
        parts = [self._evaluate(expressions, part)[0] for part in (batch.slice(0, half), batch.slice(half))]
        return [pa.concat_arrays(parts)]

    def _bind(self, expression: Expression, schema: pa.Schema) -> None:
        text = _enclosed(expression.text)
        try:
            found = self._sandbox.sql(f"SELECT {text} AS c FROM {_EVENTS}").to_arrow_table().schema.field(0).type
            # WHERE refuses aggregates and windows, TRY what is random: both would make a verdict depend on other events.
            self._sandbox.sql(f"SELECT TRY({text}) AS c FROM {_EVENTS} WHERE {text} IS NULL").to_arrow_table()
        except duckdb.Error as error:
            raise DeclarationError(
                f"{expression.where}: {_first_line(error)}", f"the events have {', '.join(schema.names)}"
            ) from error
        if found != expression.gives:
            needed = "true or false" if pa.types.is_boolean(expression.gives) else "a DATE"
            raise DeclarationError(
                f"{expression.where}: the expression gives {found}, expected {needed}: {expression.text}",
                "compare with something" if pa.types.is_boolean(expression.gives) else "cast it: (…)::DATE",
            )


def check(expressions: Sequence[Expression], schema: pa.Schema) -> None:
    """Check expressions against the events' fields. Raises DeclarationError saying where and what is wrong."""
    if expressions:
        Expressions(schema, expressions).close()


def _columns(expression: Expression, schema: pa.Schema) -> tuple[str, ...]:
    """The event's fields that an expression refers to. SQL does not tell capitals from small letters."""
    try:
        names = {name.lower() for name in parse(expression.text)}
    except ValueError as error:
        raise DeclarationError(f"{expression.where}: {error}", "see docs/datasets.md for what rules may say") from error
    return tuple(name for name in schema.names if name.lower() in names)


def _guarded(expression: Expression) -> str:
    text = _enclosed(expression.text)
    return f"TRY(coalesce({text}, true))" if pa.types.is_boolean(expression.gives) else f"TRY({text})"


def _enclosed(expression: str) -> str:
    # On lines of its own: a comment at its end must not swallow the parenthesis.
    return f"(\n{expression}\n)"


def _nodes(node: object) -> Iterator[dict[str, Any]]:
    """Each node of a parse tree that has a class."""
    if isinstance(node, dict):
        if isinstance(node.get("class"), str):
            yield node
        for child in node.values():
            yield from _nodes(child)
    elif isinstance(node, list):
        for child in node:
            yield from _nodes(child)


def _only_chunk(column: pa.ChunkedArray) -> pa.Array:
    return (
        column.chunk(0)
        if column.num_chunks == 1
        else pa.concat_arrays(column.chunks)
        if column.num_chunks
        else pa.array([], column.type)
    )
