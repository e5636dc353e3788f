"""One text for one schema, and verdicts that agree with Apache Avro's own checker, on generated schemas."""

import json
import random
import warnings
from typing import Any

import avro.errors
import avro.schema
import fastavro
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
from hypothesis import given
from hypothesis import strategies as st

from schemas.compatibility import Level, incompatibilities, parse

PRIMITIVES = st.sampled_from(["null", "boolean", "int", "long", "float", "double", "bytes", "string"])
NAMES = st.sampled_from(["a", "b", "c", "d"])


@st.composite
def schemas(draw: st.DrawFn) -> Any:
    """A schema with records, enums, fixed, unions, references back, namespaces, defaults and aliases."""
    defined: list[str] = []

    def fresh() -> str:
        name = f"{draw(st.sampled_from(['n', 'm', 'n.o']))}.T{len(defined)}"
        defined.append(name)
        return name

    def enum() -> Any:
        symbols = draw(st.lists(st.sampled_from("XYZ"), min_size=1, unique=True))
        default = {"default": draw(st.sampled_from(symbols))} if draw(st.booleans()) else {}
        return {"type": "enum", "name": fresh(), "symbols": symbols, **default}

    def record(depth: int) -> Any:
        name, fields = fresh(), []
        for field in draw(st.lists(NAMES, max_size=3, unique=True)):
            kind = schema(depth - 1)
            more = {"default": None} if isinstance(kind, list) and "null" in kind[:1] else {}
            if draw(st.integers(0, 5)) == 0:
                more["aliases"] = [draw(NAMES) + "_old"]
            fields.append({"name": field, "type": kind, **more})
        return {"type": "record", "name": name, "fields": fields}

    def union(depth: int) -> Any:
        branches = draw(st.lists(PRIMITIVES, max_size=3, unique=True))
        return [*branches, record(depth - 1)] if depth > 0 and draw(st.booleans()) else branches

    def schema(depth: int) -> Any:
        kinds = ["primitive", "primitive", "enum", "fixed", "union"]
        if depth > 0:
            kinds += ["record", "array", "map"]
        if defined and draw(st.integers(0, 3)) == 0:
            return draw(st.sampled_from(defined))
        match draw(st.sampled_from(kinds)):
            case "primitive":
                return draw(PRIMITIVES)
            case "enum":
                return enum()
            case "fixed":
                return {"type": "fixed", "name": fresh(), "size": draw(st.integers(0, 3))}
            case "union":
                return union(depth)
            case "array":
                return {"type": "array", "items": schema(depth - 1)}
            case "map":
                return {"type": "map", "values": schema(depth - 1)}
        return record(depth)

    return record(2)


def with_namespaces(schema: Any) -> Any:
    """The same, with the namespace of each definition beside its name."""
    if isinstance(schema, list):
        return [with_namespaces(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    out = {key: with_namespaces(value) for key, value in schema.items()}
    if "." in out.get("name", ""):
        out["namespace"], _, out["name"] = schema["name"].rpartition(".")
    return out


@given(schemas(), st.randoms(use_true_random=False))
def test_the_text_does_not_depend_on_how_the_schema_was_written(schema: Any, shuffle: random.Random) -> None:
    def other_order(node: Any) -> Any:
        if isinstance(node, list):
            return [other_order(item) for item in node]
        if not isinstance(node, dict):
            return node
        keys = list(node)
        shuffle.shuffle(keys)
        return {key: other_order(node[key]) for key in keys}

    text = parse(json.dumps(schema)).text
    assert parse(text).text == text
    assert parse(json.dumps(with_namespaces(schema), indent=2)).text == text
    shuffled = other_order(schema)
    assert parse(json.dumps(shuffled)).text == text


@given(schemas())
def test_the_text_means_what_was_sent(schema: Any) -> None:
    """fastavro's parsing canonical form is the judge: it keeps all that decides how bytes are read."""
    text = parse(json.dumps(schema)).text
    assert fastavro.schema.to_parsing_canonical_form(json.loads(text)) == fastavro.schema.to_parsing_canonical_form(
        schema
    )


@given(schemas(), schemas())
def test_verdicts_are_the_avro_librarys(new: Any, old: Any) -> None:
    def library(reader: Any, writer: Any) -> bool:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", avro.errors.IgnoredLogicalType)
            pair = [avro.schema.parse(json.dumps(schema)) for schema in (reader, writer)]
        result = ReaderWriterCompatibilityChecker().get_compatibility(*pair)
        return bool(result.compatibility is SchemaCompatibilityType.compatible)

    a, b = parse(json.dumps(new)), parse(json.dumps(old))
    assert (not incompatibilities(Level.BACKWARD, a, [b])) is library(new, old)
    assert (not incompatibilities(Level.FORWARD, a, [b])) is library(old, new)
    assert not incompatibilities(Level.FULL_TRANSITIVE, a, [a])
