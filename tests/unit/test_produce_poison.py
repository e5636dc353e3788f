"""Each bad record is bad for certain, in the way its kind says, and goes where its seed says."""

import io
import json
from collections import Counter
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from produce import flights, own, shop
from produce import poison as kinds
from produce.batches import Source
from produce.poison import Poison
from schemas.wire import HEADER_BYTES, frame
from thalweg.errors import ConfigurationError

SCHEMA_ID = 5
ALL = {
    kinds.UNKNOWN_SCHEMA_ID,
    kinds.TRUNCATED,
    kinds.LEFT_OVER,
    kinds.NOT_AVRO,
    kinds.INVALID_UTF8,
    kinds.OUT_OF_RANGE,
    kinds.BROKEN_RULE,
}


def values(source: Source) -> list[bytes]:
    """Every framed value of a source."""
    return [value for batch in source.encoded(SCHEMA_ID) for value in batch.values]


SAMPLES = {"flights": flights.source(50), "shop": shop.source(50)}
GOOD = {name: values(source) for name, source in SAMPLES.items()}


def read(schema: str, body: bytes) -> tuple[dict[str, Any], bytes]:
    """Decode one body; return the record and what is left behind it."""
    stream = io.BytesIO(body)
    record: dict[str, Any] = fastavro.schemaless_reader(stream, fastavro.parse_schema(json.loads(schema)), None)
    return record, stream.read()


def looks(kind: str, source: Source, good: bytes, bad: bytes) -> bool:
    """Tell whether `bad` has the fault that its kind names, by an independent decoder."""
    body = bad[HEADER_BYTES:]
    if kind == kinds.UNKNOWN_SCHEMA_ID:
        return bad[0] == 0 and int.from_bytes(bad[1:5], "big") > 10**9 and body == good[HEADER_BYTES:]
    if kind == kinds.NOT_AVRO:
        return bad[0] != 0 and set(json.loads(bad)) == {field["name"] for field in json.loads(source.schema)["fields"]}
    if kind == kinds.TRUNCATED:
        if not good.startswith(bad) or len(bad) == len(good):
            return False
        with pytest.raises((EOFError, IndexError)):  # fastavro's ways to say that there is no more
            read(source.schema, body)
        return True
    assert bad.startswith(frame(SCHEMA_ID, b""))
    if kind == kinds.LEFT_OVER:
        return read(source.schema, body)[1] != b"" and bad.startswith(good)
    if kind == kinds.INVALID_UTF8:
        with pytest.raises(UnicodeDecodeError):
            read(source.schema, body)
        return True
    if kind == kinds.OUT_OF_RANGE:
        with pytest.raises(IndexError):
            read(source.schema, body)
        return True
    record, rest = read(source.schema, body)
    return rest == b"" and source.broken is not None and source.broken.items() <= record.items()


@pytest.mark.parametrize("name", SAMPLES)
@given(seed=st.integers(0, 2**63), places=st.lists(st.integers(0, 49), min_size=1, max_size=21))
def test_every_bad_record_has_the_fault_that_its_kind_names(name: str, seed: int, places: list[int]) -> None:
    source = SAMPLES[name]
    poison = Poison(source.schema, seed, source.broken)
    for place in places:
        kind, bad = poison.spoil(GOOD[name][place])
        assert looks(kind, source, GOOD[name][place], bad), kind


@pytest.mark.parametrize("name", SAMPLES)
@given(st.integers(0, 2**63))
def test_as_many_bad_records_as_there_are_kinds_have_one_of_each(name: str, seed: int) -> None:
    source = SAMPLES[name]
    poison = Poison(source.schema, seed, source.broken)
    assert set(poison.kinds) == ALL
    drawn = Counter(poison.spoil(GOOD[name][0])[0] for _ in range(2 * len(ALL)))
    assert drawn == dict.fromkeys(ALL, 2)


@given(seed=st.integers(0, 2**63), bad=st.integers(0, 30), good=st.integers(1, 10**6))
def test_a_seed_decides_the_places_and_the_bytes(seed: int, bad: int, good: int) -> None:
    def drawn() -> tuple[list[int], list[tuple[str, bytes]]]:
        poison = Poison(shop.SCHEMA, seed, shop.BROKEN)
        return poison.positions(bad, good), [poison.spoil(GOOD["shop"][0]) for _ in range(bad)]

    places, spoiled = drawn()
    assert (places, spoiled) == drawn()
    assert places == sorted(places)
    assert len(places) == bad
    assert all(0 <= place < good for place in places)


def test_a_schema_gets_only_the_kinds_that_it_allows() -> None:
    schema = json.dumps({"type": "record", "name": "n", "fields": [{"name": "n", "type": "int"}]})
    poison = Poison(schema, 0)
    assert set(poison.kinds) == {kinds.UNKNOWN_SCHEMA_ID, kinds.TRUNCATED, kinds.LEFT_OVER, kinds.NOT_AVRO}


def test_an_enum_that_other_fields_share_is_not_twisted() -> None:
    enum = {"type": "enum", "name": "e", "symbols": ["A"]}
    fields = [{"name": "a", "type": enum}, {"name": "b", "type": "e"}]
    schema = json.dumps({"type": "record", "name": "n", "fields": fields})
    source = own.source([{"a": "A", "b": "A"}], schema)
    poison = Poison(schema, 0)
    assert kinds.OUT_OF_RANGE not in poison.kinds
    for _ in range(8):
        kind, bad = poison.spoil(values(source)[0])
        assert looks(kind, source, values(source)[0], bad)


def test_poison_without_good_records_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="none"):
        Poison(shop.SCHEMA, 0).positions(1, 0)


@pytest.mark.parametrize("schema", ['"int"', '["null", "int"]', '{"type": "array", "items": "int"}'])
def test_poison_is_for_records(schema: str) -> None:
    with pytest.raises(ConfigurationError, match="record"):
        Poison(schema, 0)
