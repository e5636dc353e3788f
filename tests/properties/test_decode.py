"""The decoder against two other readers, on schemas and values that nobody thought of."""

import io
import json
import math
import struct
import uuid
from datetime import time
from typing import Any
from unittest import mock

import fastavro
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.decode import decoder
from ingest.decode.decoder import Decoded, Decoder
from tests.properties.avro_strategies import SCHEMAS, block, branch_name, encode, spoiled, values
from tests.properties.strict_avro import Bad, read_record
from tests.unit.decoding import used_before


def decode(schema: Any, bodies: list[bytes], rows: list[int] | None = None, *, tight: bool = False) -> Decoded:
    """Decode and check that the batch is whole. `tight`: without any room to begin with, so that every buffer must grow."""
    made = Decoder(json.dumps(schema))
    data, starts = block(bodies)
    if tight:
        made._used_per_record[:] = 0
    room = mock.patch.object(decoder, "_LEAST_ROOM", 0 if tight else decoder._LEAST_ROOM)
    with room, mock.patch.object(pa, "allocate_buffer", used_before):
        decoded = made.decode(data, starts, None if rows is None else np.array(rows, np.int64))
    decoded.batch.validate(full=True)
    assert decoded.batch.schema.equals(made.arrow_schema, check_metadata=True)
    assert decoded.batch.num_rows == len(decoded.rows)
    return decoded


def plain(value: Any) -> Any:
    """Make values comparable: NaN equals itself, 0.0 is not -0.0, and what one reader gives as an object is its text."""
    if isinstance(value, float):
        return ("nan",) if math.isnan(value) else ("float", repr(value))
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, uuid.UUID):
        return str(value)
    return value


def as_arrow_gives_it(schema: Any, value: Any, there: Any) -> Any:
    """Turn what fastavro read into what Arrow's `to_pylist` gives.

    fastavro does not say which branch of a union it read: that is taken from `there`, what the other reader gave.
    """
    if isinstance(schema, list):
        branches = {branch_name(branch): branch for branch in schema if branch != "null"}
        if value is None:
            return None
        if len(branches) == 1:
            (branch,) = branches.values()
            return as_arrow_gives_it(branch, value, there)
        (chosen,) = (name for name, member in there.items() if member is not None)
        return dict.fromkeys(branches) | {chosen: as_arrow_gives_it(branches[chosen], value, there[chosen])}
    if isinstance(schema, str):
        return value
    kind, logical = schema["type"], schema.get("logicalType")
    if kind == "record":
        names = {field["name"]: field["type"] for field in schema["fields"]}
        return {name: as_arrow_gives_it(inner, value[name], there[name]) for name, inner in names.items()}
    if kind == "array":
        return [as_arrow_gives_it(schema["items"], item, other) for item, other in zip(value, there, strict=True)]
    if kind == "map":
        pairs = zip(value.items(), there, strict=True)
        return [(key, as_arrow_gives_it(schema["values"], item, other)) for (key, item), (_, other) in pairs]
    if logical == "duration":
        return dict(zip(("months", "days", "millis"), struct.unpack("<III", value), strict=True))
    if isinstance(value, time):
        micros = ((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond
        return micros // 1000 if logical == "time-millis" else micros
    if logical == "uuid":
        return str(uuid.UUID(bytes=value)) if isinstance(value, bytes) else str(value)
    return value


@st.composite
def records(draw: st.DrawFn) -> tuple[Any, list[bytes]]:
    schema = draw(SCHEMAS)
    parsed = fastavro.parse_schema(json.loads(json.dumps(schema)))
    return schema, [encode(parsed, value) for value in draw(st.lists(values(schema), max_size=5))]


@st.composite
def spoiled_records(draw: st.DrawFn) -> tuple[Any, list[bytes]]:
    """Good records and spoiled copies of them, mixed."""
    schema, bodies = draw(records())
    random = draw(st.randoms(use_true_random=True))
    mixed = bodies + [spoiled(body, random) for body in bodies for _ in range(20)]
    random.shuffle(mixed)
    return schema, mixed


def fastavro_reads(schema: Any, body: bytes, there: Any) -> Any:
    stream = io.BytesIO(body)
    value = fastavro.schemaless_reader(stream, fastavro.parse_schema(json.loads(json.dumps(schema))), None)
    assert stream.tell() == len(body)
    return as_arrow_gives_it(schema, value, there)


@given(records(), st.booleans())
@settings(max_examples=200, deadline=None)
def test_what_fastavro_writes_is_read_as_fastavro_reads_it(written: tuple[Any, list[bytes]], tight: bool) -> None:
    check_written(written, tight)


@pytest.mark.slow
@given(records(), st.booleans())
@settings(max_examples=1300, deadline=None)
def test_what_fastavro_writes_by_thousands_of_schemas_is_read_as_fastavro_reads_it(
    written: tuple[Any, list[bytes]], tight: bool
) -> None:
    check_written(written, tight)


def check_written(written: tuple[Any, list[bytes]], tight: bool) -> None:
    schema, bodies = written
    decoded = decode(schema, bodies, tight=tight)
    assert decoded.rejects == []
    read = decoded.batch.to_pylist()
    assert plain(read) == plain([fastavro_reads(schema, body, row) for body, row in zip(bodies, read, strict=True)])
    assert plain(read) == plain([read_record(schema, body) for body in bodies])


@given(spoiled_records(), st.data(), st.booleans())
@settings(max_examples=150, deadline=None)
def test_spoiled_records_are_refused_and_cost_nobody_else(
    written: tuple[Any, list[bytes]], data: st.DataObject, tight: bool
) -> None:
    """Each record alone decides on itself: as the strict reader says, and what is accepted reads as fastavro reads it."""
    check_spoiled(written, data, tight)


@pytest.mark.slow
@given(spoiled_records(), st.data(), st.booleans())
@settings(max_examples=800, deadline=None)
def test_spoiled_records_of_thousands_of_schemas_are_refused_and_cost_nobody_else(
    written: tuple[Any, list[bytes]], data: st.DataObject, tight: bool
) -> None:
    check_spoiled(written, data, tight)


def check_spoiled(written: tuple[Any, list[bytes]], data: st.DataObject, tight: bool) -> None:
    schema, bodies = written
    rows = data.draw(st.lists(st.integers(0, len(bodies) - 1)) | st.none() if bodies else st.none())
    decoded = decode(schema, bodies, rows, tight=tight)
    good, bad = [], []
    for row in range(len(bodies)) if rows is None else rows:
        try:
            good.append((row, read_record(schema, bodies[row])))
        except Bad:
            bad.append(row)
    assert [reject.row for reject in decoded.rejects] == bad
    assert decoded.rows.tolist() == [row for row, _ in good]
    assert plain(decoded.batch.to_pylist()) == plain([value for _, value in good])
    for row, value in good:
        assert plain(fastavro_reads(schema, bodies[row], value)) == plain(value)
    for reject in decoded.rejects:
        assert 5 <= reject.byte <= 5 + len(bodies[reject.row])
        assert reject.reason


@given(SCHEMAS, st.lists(st.binary(max_size=40), max_size=6))
@settings(max_examples=150, deadline=None)
def test_noise_is_read_as_the_strict_reader_reads_it(schema: Any, bodies: list[bytes]) -> None:
    decoded = decode(schema, bodies)
    accepted = dict(zip(decoded.rows.tolist(), decoded.batch.to_pylist(), strict=True))
    for row, body in enumerate(bodies):
        try:
            expected = read_record(schema, body)
        except Bad:
            assert row not in accepted
        else:
            assert plain(accepted[row]) == plain(expected)


def test_batches_share_no_memory_with_later_ones() -> None:
    """A batch is kept while others are decoded: nothing is written over."""
    schema = {"type": "record", "name": "R", "fields": [{"name": "text", "type": "string"}]}
    made = Decoder(json.dumps(schema))
    batches = [made.decode(*block([bytes([2 * 20]) + bytes([65 + n]) * 20] * 1000)).batch for n in range(20)]
    for n, batch in enumerate(batches):
        assert batch["text"].unique() == pa.array([chr(65 + n) * 20])
