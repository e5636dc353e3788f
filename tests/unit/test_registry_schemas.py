"""What counts as one schema, what is none, and what may follow what."""

import json
from typing import Any

import pytest

from schemas import compatibility
from schemas.compatibility import Level, incompatibilities, parse
from thalweg.errors import ConfigurationError


def text(schema: Any) -> str:
    return parse(json.dumps(schema)).text


def record(*fields: Any, name: str = "R", **more: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": list(fields), **more}


def field(name: str, kind: Any = "int", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, **more}


def test_the_text_is_the_one_that_java_writes() -> None:
    """Expected text: `Schema.toString()` of Avro for Java, rules read in its source."""
    inner = record(field("self", ["null", "a.b.In"]), name="In")
    odd = {
        "fields": [
            {"type": ["null", "int"], "default": None, "name": "n", "doc": "d", "aliases": ["old"], "unit": "s"},
            field("in", inner),
            field("again", "In", order="ascending"),
            field("down", {"type": "string"}, order="descending"),
            field("kind", {"symbols": ["X"], "default": "X", "name": "c.Kind", "type": "enum", "aliases": ["Old"]}),
            field("hash", {"type": "fixed", "size": 16, "name": "Hash", "namespace": ""}),
            field("time", {"logicalType": "timestamp-micros", "type": "long"}),
        ],
        "aliases": ["Q", "z.Q"],
        "extra": {"b": 1, "a": 2},
        "doc": "Straße",
        "name": "a.b.R",
        "type": "record",
    }
    assert text(odd) == (
        '{"type":"record","name":"R","namespace":"a.b","doc":"Straße","fields":['
        '{"name":"n","type":["null","int"],"doc":"d","default":null,"aliases":["old"],"unit":"s"},'
        '{"name":"in","type":{"type":"record","name":"In","fields":[{"name":"self","type":["null","In"]}]}},'
        '{"name":"again","type":"In"},'
        '{"name":"down","type":"string","order":"descending"},'
        '{"name":"kind","type":{"type":"enum","name":"Kind","namespace":"c","symbols":["X"],"default":"X","aliases":["Old"]}},'
        '{"name":"hash","type":{"type":"fixed","name":"Hash","namespace":"","size":16}},'
        '{"name":"time","type":{"type":"long","logicalType":"timestamp-micros"}}'
        '],"extra":{"b":1,"a":2},"aliases":["Q","z.Q"]}'
    )


@pytest.mark.parametrize("schema", ["string", {"type": "string"}, {"type": "int", "logicalType": "date"}, []])
def test_the_text_of_a_text_is_itself(schema: Any) -> None:
    once = text(schema)
    assert parse(once).text == once


def test_a_type_named_like_a_primitive_keeps_its_full_name() -> None:
    schema = record(field("x", {"type": "fixed", "size": 1, "name": "string"}), field("y", "a.string"), namespace="a")
    once = text(schema)
    assert json.loads(once)["fields"][1]["type"] == "a.string"
    assert parse(once).text == once


def test_numbers_in_defaults_keep_their_value() -> None:
    big = record(field("x", "long", default=2**53 + 1), field("y", "double", default=0.1))
    assert json.loads(text(big))["fields"][0]["default"] == 2**53 + 1
    assert '"default":0.1' in text(big)


@pytest.mark.parametrize(
    ("bad", "where"),
    [
        ("", "not JSON"),
        ('{"type":"int","x":NaN}', "NaN"),
        ('{"type":"int","x":1e999}', "beyond a double"),
        ('{"type":"int","x":"\\ud800"}', "not JSON"),
        ("[" * 9000 + "]" * 9000, "nested too deeply"),
        ('{"type":"array","items":' * 70 + '"int"' + "}" * 70, "64 deep"),
        ("7", "not 7"),
        ("{}", '"type"'),
        ('"Foo"', "'Foo'"),
        ('["int",["int"]]', "at 1: a union"),
        ('["int",{"type":"int","logicalType":"date"}]', "int is in the union twice"),
        ('{"type":"array"}', '"items"'),
        ('{"type":"map","values":"Foo"}', "at values"),
        ('{"type":"record","fields":[]}', '"name"'),
        ('{"type":"record","name":"R"}', '"fields"'),
        ('{"type":"record","name":"R","fields":[7]}', "R/0"),
        ('{"type":"record","name":"R","fields":[{"name":"a"}]}', "R/a"),
        ('{"type":"record","name":"R","fields":[{"name":"a b","type":"int"}]}', "'a b'"),
        ('{"type":"record","name":"R","fields":[{"name":"a","type":"int","order":"up"}]}', "order"),
        ('{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"a","type":"int"}]}', "R/a: two"),
        ('{"type":"record","name":"n..R","fields":[]}', "'n..R'"),
        ('{"type":"record","name":"int","fields":[]}', "primitive"),
        ('{"type":"record","name":"R","fields":[],"doc":7}', '"doc"'),
        ('{"type":"record","name":"R","fields":[],"aliases":"x"}', '"aliases"'),
        ('[{"type":"fixed","name":"F","size":1},{"type":"fixed","name":"F","size":2}]', "F is defined twice"),
        ('{"type":"fixed","name":"F","size":-1}', '"size"'),
        ('{"type":"fixed","name":"F","size":true}', '"size"'),
        ('{"type":"enum","name":"E"}', '"symbols"'),
        ('{"type":"enum","name":"E","symbols":["A","A"]}', "twice"),
        ('{"type":"enum","name":"E","symbols":["1"]}', "'1'"),
        ('{"type":"enum","name":"E","symbols":["A"],"default":"B"}', "'B'"),
        ('{"type":"string","logicalType":["x"]}', "not an Avro schema"),
    ],
)
def test_what_is_no_schema_says_where_and_why(bad: str, where: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        parse(bad)
    assert where in error.value.message


def test_a_logical_type_that_does_not_fit_is_ignored_as_avro_demands() -> None:
    assert text({"type": "int", "logicalType": "decimal"}) == '{"type":"int","logicalType":"decimal"}'


A = record(field("a"))
AB = record(field("a"), field("b"))
AB_DEFAULT = record(field("a"), field("b", default=0))
LONG = record(field("a", "long"))
RENAMED = record(field("z", aliases=["a"]))


@pytest.mark.parametrize(
    ("level", "new", "history", "fits"),
    [
        (Level.BACKWARD, AB, [A], False),
        (Level.BACKWARD, AB_DEFAULT, [A], True),
        (Level.BACKWARD, A, [AB], True),
        (Level.BACKWARD, LONG, [A], True),
        (Level.BACKWARD, A, [LONG], False),
        (Level.BACKWARD, RENAMED, [A], True),
        (Level.BACKWARD, AB, [A, AB_DEFAULT], True),
        (Level.BACKWARD_TRANSITIVE, AB, [A, AB_DEFAULT], False),
        (Level.FORWARD, AB, [A], True),
        (Level.FORWARD, A, [AB], False),
        (Level.FORWARD, LONG, [A], False),
        (Level.FORWARD_TRANSITIVE, A, [AB, AB_DEFAULT], False),
        (Level.FULL, AB_DEFAULT, [A], True),
        (Level.FULL, LONG, [A], False),
        (Level.FULL_TRANSITIVE, A, [AB, AB_DEFAULT], False),
        (Level.NONE, "string", [A], True),
        (Level.FULL_TRANSITIVE, AB, [], True),
    ],
)
def test_a_level_decides_who_must_read_whom(level: Level, new: Any, history: list[Any], fits: bool) -> None:
    problems = incompatibilities(level, parse(json.dumps(new)), [parse(json.dumps(old)) for old in history])
    assert (not problems) is fits, problems


def test_an_alias_without_a_namespace_is_in_its_records_namespace() -> None:
    old = parse(json.dumps(record(field("a"), name="Old", namespace="n")))
    new = parse(json.dumps(record(field("a"), name="New", namespace="n", aliases=["Old"])))
    assert incompatibilities(Level.BACKWARD, new, [old]) == []


def test_a_problem_names_the_field() -> None:
    [problem] = incompatibilities(Level.BACKWARD, parse(json.dumps(AB)), [parse(json.dumps(A))])
    assert "READER_FIELD_MISSING_DEFAULT_VALUE" in problem
    assert "/fields/1" in problem


def nest(depth: int, leaf: str) -> dict[str, Any]:
    """Each record is used twice by the next: walked naively, the work doubles with each level."""
    schema: dict[str, Any] = record(field("x", leaf), name="N0")
    for level in range(1, depth):
        schema = record(field("l", schema), field("r", f"N{level - 1}"), name=f"N{level}")
    return schema


def test_a_schema_that_doubles_at_every_level_is_compared_in_no_more_steps_than_it_has_types() -> None:
    new, old = parse(json.dumps(nest(40, "int"))), parse(json.dumps(nest(40, "string")))
    [problem] = incompatibilities(Level.BACKWARD, new, [old])
    assert problem.startswith("TYPE_MISMATCH at")


def chain(length: int) -> list[dict[str, Any]]:
    """Types that each hold the one before: a long way down, without nesting in the text."""
    return [record(name="N0"), *(record(field("n", f"N{i - 1}"), name=f"N{i}") for i in range(1, length))]


def test_references_too_deep_to_follow_are_refused_and_no_crash() -> None:
    """The chain stands in a field that is not compared, so that the last field is where the way down begins."""
    new = record(field("new", [*chain(2000)], default={}), field("top", "N1999"))
    old = record(field("old", [*chain(2000)]), field("top", "N1999"))
    with pytest.raises(ConfigurationError, match="too deeply"):
        incompatibilities(Level.BACKWARD, parse(json.dumps(new)), [parse(json.dumps(old))])


def test_unions_too_large_to_compare_are_refused_and_not_compared_for_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compatibility, "_MAX_PAIRS", 500)
    small, wide = chain(20), chain(60)
    assert incompatibilities(Level.BACKWARD, parse(json.dumps(small)), [parse(json.dumps([*small, "int"]))])
    with pytest.raises(ConfigurationError, match="too large"):
        incompatibilities(Level.BACKWARD, parse(json.dumps(wide)), [parse(json.dumps([*wide, "int"]))])
