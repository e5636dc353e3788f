"""Schema resolution of columns against two other readers that resolve value by value."""

import io
import json
from typing import Any

import fastavro
import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from ingest.decode.decoder import Decoder
from tests.properties.avro_strategies import SCHEMAS, block, encode, spoiled, values
from tests.properties.evolution import evolved
from tests.properties.strict_avro import Bad, name_of, read_record
from tests.properties.strict_resolution import readable, resolve
from tests.properties.test_decode import as_arrow_gives_it, plain
from thalweg.errors import UnsupportedSchema


@st.composite
def evolutions(draw: st.DrawFn) -> tuple[Any, Any, list[bytes]]:
    """A writer's schema, a reader's, and records of the first, good ones and spoiled ones."""
    schema = draw(SCHEMAS)
    parsed = fastavro.parse_schema(json.loads(json.dumps(schema)))
    bodies = [encode(parsed, value) for value in draw(st.lists(values(schema), max_size=6))]
    random = draw(st.randoms(use_true_random=True))
    mixed = bodies + [spoiled(body, random) for body in bodies if random.random() < 0.3]
    random.shuffle(mixed)
    return schema, evolved(schema, random), mixed


def check(writer: Any, reader: Any, bodies: list[bytes]) -> None:
    if not readable(writer, reader):
        event("refused as a pair")
        with pytest.raises(UnsupportedSchema):
            Decoder(json.dumps(writer), json.dumps(reader))
        return
    made = Decoder(json.dumps(writer), json.dumps(reader))
    decoded = made.decode(*block(bodies))
    decoded.batch.validate(full=True)
    assert decoded.batch.schema.equals(made.arrow_schema, check_metadata=True)
    good, bad = {}, []
    lax: dict[int, set[str]] = {row: set() for row in range(len(bodies))}
    for row, body in enumerate(bodies):
        try:
            good[row] = resolve(writer, reader, read_record(writer, body), lax[row])
        except Bad:
            bad.append(row)
    event(f"records refused: {bool(bad)}, taken: {bool(good)}")
    assert [reject.row for reject in decoded.rejects] == bad
    assert all(reject.reason for reject in decoded.rejects)
    assert decoded.rows.tolist() == list(good)
    assert plain(decoded.batch.to_pylist()) == plain(list(good.values()))
    for row, value in good.items():
        if not lax[row]:
            assert_fastavro_agrees(writer, reader, bodies[row], value)


def assert_fastavro_agrees(writer: Any, reader: Any, body: bytes, value: Any) -> None:
    parsed = [fastavro.parse_schema(json.loads(json.dumps(schema))) for schema in (writer, reader)]
    found = fastavro.schemaless_reader(io.BytesIO(body), *parsed)
    assert plain(as_arrow_gives_it(reader, as_read(reader, found, value), value)) == plain(value)


def as_read(schema: Any, value: Any, there: Any) -> Any:
    """Mend what fastavro is lax in: defaults as JSON has them, and the precision of floats."""
    if isinstance(schema, list):
        branches = {name_of(branch): branch for branch in schema if branch != "null"}
        if value is None or there is None:
            return value
        if len(branches) == 1:
            return as_read(*branches.values(), value, there)
        (chosen,) = (name for name, member in there.items() if member is not None)
        return as_read(branches[chosen], value, there[chosen])
    kind = schema if isinstance(schema, str) else schema["type"]
    if kind == "record":
        names = {field["name"]: field["type"] for field in schema["fields"]}
        return {name: as_read(inner, value[name], there[name]) for name, inner in names.items()}
    if kind == "array":
        return [as_read(schema["items"], item, other) for item, other in zip(value, there, strict=True)]
    if kind == "map":
        pairs = zip(value.items(), there, strict=True)
        return {key: as_read(schema["values"], item, other) for (key, item), (_, other) in pairs}
    if kind == "bytes" and isinstance(value, str):
        return value.encode("latin-1")
    if kind == "float" and np.isclose(value, there, rtol=2**-22, atol=0):
        return there
    return value


@given(evolutions())
@settings(max_examples=200, deadline=None)
def test_what_was_written_is_read_by_a_later_schema_as_others_read_it(pair: tuple[Any, Any, list[bytes]]) -> None:
    check(*pair)


@pytest.mark.slow
@given(evolutions())
@settings(max_examples=1300, deadline=None)
def test_what_was_written_is_read_by_thousands_of_later_schemas_as_others_read_it(
    pair: tuple[Any, Any, list[bytes]],
) -> None:
    check(*pair)


@given(evolutions())
@settings(max_examples=50, deadline=None)
def test_by_its_own_schema_everything_is_read_as_it_is(pair: tuple[Any, Any, list[bytes]]) -> None:
    writer, _, bodies = pair
    data, starts = block(bodies)
    alone, resolved = (
        Decoder(json.dumps(writer), reader).decode(data, starts) for reader in (None, json.dumps(writer))
    )
    assert plain(resolved.batch.to_pylist()) == plain(alone.batch.to_pylist())
    assert resolved.rejects == alone.rejects


def test_by_its_own_schema_nothing_is_done() -> None:
    schema = json.dumps({"type": "record", "name": "R", "fields": [{"name": "x", "type": ["null", "int", "string"]}]})
    assert Decoder(schema, schema)._resolution is None
