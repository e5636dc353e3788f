"""Events that are harder than the shop's: wide ones, large ones, and flights again and again."""

import io
import json
import random
from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any

import fastavro

from produce import flights
from produce.batches import Batch, Source
from schemas.wire import frame

_DAY_MS = 86_400_000
_FIRST_MS = 1_767_571_200_000  # 2026-01-05
_DISTINCT = 512  # records that are made; then they come again
_BATCH = 2_000
_WORDS = ("river", "delta", "basin", "source", "mouth", "ford", "weir", "lock", "quay", "tide")


def wide(count: int, fields: int = 200) -> Source:
    """Records of many fields of several types, a third of them empty; about 1 kB."""
    kinds: list[Any] = ["long", "double", "string", ["null", "long"], "int", ["null", "string"], "boolean"]
    kinds.append(["null", {"type": "long", "logicalType": "timestamp-millis"}])
    types = [kinds[number % len(kinds)] for number in range(fields - 1)]

    def value(kind: Any, chance: random.Random) -> Any:
        if isinstance(kind, list):
            return None if chance.random() < 0.6 else value(kind[1], chance)
        if isinstance(kind, dict):
            return _FIRST_MS + chance.randrange(_DAY_MS)
        made = {"long": chance.randrange(10**9), "int": chance.randrange(1000), "double": chance.random()}
        return made.get(kind, chance.choice(_WORDS) if kind == "string" else chance.random() < 0.5)

    named = [{"name": f"f{number:03}", "type": kind} for number, kind in enumerate(types)]
    return _source("Wide", named, count, lambda chance: {f["name"]: value(f["type"], chance) for f in named})


def large(count: int, size: int = 10_000) -> Source:
    """Records of one text of `size` characters."""
    field = [{"name": "body", "type": "string"}]
    return _source("Large", field, count, lambda chance: {"body": " ".join(chance.choices(_WORDS, k=size // 5))[:size]})


def flights_again(times: int) -> Source:
    """All flights of 2013, so many times over: 365 dates in each commit."""

    def encoded(schema_id: int) -> Iterator[Batch]:
        for _ in range(times):
            yield from flights.source().encoded(schema_id)

    return Source(flights.SCHEMA, times * flights.COUNT, encoded)


def _source(name: str, fields: list[dict[str, Any]], count: int, made: Any) -> Source:
    time = {"name": "event_time", "type": {"type": "long", "logicalType": "timestamp-millis"}}
    schema = {"type": "record", "name": name, "fields": [time, *fields]}
    parsed, chance = fastavro.parse_schema(schema), random.Random(0)
    bodies = []
    for _ in range(min(count, _DISTINCT)):
        body = io.BytesIO()
        record = {"event_time": _FIRST_MS + chance.randrange(3 * _DAY_MS), **made(chance)}
        fastavro.schemaless_writer(body, parsed, record)
        bodies.append(body.getvalue())

    def encoded(schema_id: int) -> Iterator[Batch]:
        framed = [frame(schema_id, body) for body in bodies]
        for values in _batched(islice(cycle(framed), count)):
            yield Batch([None] * len(values), values)

    return Source(json.dumps(schema), count, encoded)


def _batched(values: Iterator[bytes]) -> Iterator[list[bytes]]:
    while some := list(islice(values, _BATCH)):
        yield some
