"""SQL rules: what they may say, and that nothing gets out of the database that they run in."""

import duckdb
import psutil
import pyarrow as pa
import pytest

from schemas import expressions
from schemas.expressions import Expression, Expressions, check, parse
from thalweg.errors import DeclarationError

SCHEMA = pa.schema(
    {"a": pa.int64(), "text": pa.string(), "Mixed": pa.int32(), "tags": pa.map_(pa.string(), pa.string())}
)


def _evaluate(text: str, rows: list[dict], gives: pa.DataType | None = None) -> list:
    bound = Expressions(SCHEMA, [Expression("rule x", text, gives or pa.bool_())])
    (result,) = bound.evaluate(pa.RecordBatch.from_pylist(rows, SCHEMA))
    return result.to_pylist()


@pytest.mark.parametrize(
    "expression",
    [
        "(SELECT true)",
        "EXISTS (FROM read_text('/etc/passwd'))",
        "a IN (SELECT 1)",
        "a = ANY (SELECT 1)",
        "text = (SELECT content FROM read_text('/etc/passwd'))",
        "true FROM read_csv('/etc/passwd')",
        "true) FROM read_csv('/etc/passwd') --",
        "true); COPY (SELECT 1) TO '/tmp/out'; SELECT (true",
        "true; ATTACH '/tmp/other.db'",
        "true; LOAD httpfs",
        "true; SET enable_external_access = true",
        "a) , (a",
        "a > 0) OR (true",
        "true UNION SELECT true",
        "*",
        "COLUMNS('a') > 0",
        "?",
        "$1",
        "a > 0 AS b",
        "row_number() OVER () > 1",
        "a > 0 /*",
        "a > ",
        "'unterminated",
        "len(range(a)) > 0",
        "repeat(text, 1000000000) = ''",
        "LPAD(text, a, 'x') = ''",
        "true\0",
    ],
)
def test_what_is_more_than_an_expression_over_one_event_is_refused(expression: str) -> None:
    with pytest.raises(ValueError, match="not a plain SQL expression"):
        parse(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "-- a comment",
        "a > 0, a > 1",
        "sum(a) > 1",
        "count(*) > 1",
        "unnest([true, false])",
        "random() > 0.5",
        "error('x')",
        "nextval('s') > 1",
        "query('SELECT 1') = 1",
        "read_text('/etc/passwd') = ''",
        "getenv('HOME') = ''",
        "events.b > 1",
        "nosuch(a)",
    ],
)
def test_what_would_look_beyond_the_event_does_not_bind(expression: str) -> None:
    with pytest.raises(DeclarationError, match="rule x: "):
        check([Expression("rule x", expression, pa.bool_())], SCHEMA)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM '/etc/passwd'",
        "COPY (SELECT 1) TO '/tmp/thalweg-hostile.csv'",
        "ATTACH '/tmp/thalweg-hostile.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SELECT * FROM read_csv('https://example.com/x.csv')",
        "SET enable_external_access = true",
        "SET memory_limit = '100GB'",
        "SET threads = 8",
        "RESET lock_configuration",
        "SELECT * FROM in_the_callers_frame",
        "EXPORT DATABASE '/tmp/thalweg-hostile'",
    ],
)
def test_even_a_whole_query_finds_no_file_no_network_and_no_other_table(query: str) -> None:
    """The second wall: were the parser fooled, there would be nothing to take."""
    in_the_callers_frame = pa.table({"secret": [1]})
    sandbox = expressions._sandbox()
    with pytest.raises(duckdb.Error):
        sandbox.execute(query)
    sandbox.close()
    assert in_the_callers_frame.num_rows == 1


def test_names_that_an_expression_refers_to_are_told() -> None:
    assert parse("a > 0 AND coalesce(text, 'x') <> tags['k'] -- a comment") == {"a", "text", "tags"}


def test_null_passes_as_in_a_check() -> None:
    assert _evaluate("a > 0", [{"a": 1}, {"a": None}, {"a": -1}]) == [True, True, False]


def test_a_row_on_which_an_expression_raises_is_null_and_its_neighbours_are_not_touched() -> None:
    rows = [{"text": "1"}, {"text": "one"}, {"text": "-1"}, {"text": None}]
    assert _evaluate("text::INT > 0", rows) == [True, None, False, True]
    assert _evaluate("a * 2 > 1", [{"a": 2**62}, {"a": 1}]) == [None, True]


def test_an_error_that_try_does_not_catch_rejects_its_row_alone_too() -> None:
    """An unknown time zone is such an error; the row is found by halving."""
    zones = ["UTC", "Mars/Olympus", None, "Asia/Tokyo", "UTC", "nowhere", "UTC"]
    in_zone = "hour(timezone(text, TIMESTAMPTZ '2013-01-01 00:00:00Z')) = 0"
    assert _evaluate(in_zone, [{"text": zone} for zone in zones]) == [True, None, True, False, True, None, True]


def test_several_expressions_are_evaluated_together_each_with_its_own_fate() -> None:
    bound = Expressions(
        SCHEMA,
        [
            Expression("rule x", "timezone(text, now()) IS NOT NULL", pa.bool_()),
            Expression("rule y", "mixed > 1", pa.bool_()),
            Expression("partition", "make_date(a::INT, 1, 1)", pa.date32()),
        ],
    )
    batch = pa.RecordBatch.from_pylist(
        [{"text": "UTC", "a": 13, "Mixed": 2}, {"text": "x", "a": 1, "Mixed": 1}], SCHEMA
    )
    zone, mixed, days = (result.to_pylist() for result in bound.evaluate(batch))
    assert (zone, mixed) == ([True, None], [True, False])
    assert [day.year for day in days] == [13, 1]
    assert bound.columns == (("text",), ("Mixed",), ("a",))


def test_an_expression_without_fields_is_evaluated_for_each_row() -> None:
    assert _evaluate("1 > 2", [{}, {}]) == [False, False]
    assert _evaluate("1 > 2", []) == []


def test_a_cast_to_a_date_means_utc_wherever_the_machine_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    schema = pa.schema({"at": pa.timestamp("us", "UTC")})
    bound = Expressions(schema, [Expression("partition", '"at"::DATE', pa.date32())])
    (days,) = bound.evaluate(pa.record_batch([pa.array([0], schema.field(0).type)], schema=schema))
    assert str(days[0]) == "1970-01-01"


def test_the_database_brings_no_threads_of_its_own() -> None:
    """A worker has one for each writer schema of its topics."""
    before = len(psutil.Process().threads())
    bound = Expressions(SCHEMA, [Expression("rule x", "a > 0", pa.bool_())])
    bound.evaluate(pa.RecordBatch.from_pylist([{"a": 1}], SCHEMA))
    assert len(psutil.Process().threads()) == before
    bound.close()
