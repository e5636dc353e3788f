"""Schemas that a table can hold, values of them, and ways to spoil their bytes."""

import io
from collections.abc import Iterable
from decimal import Context, Decimal
from random import Random
from typing import Any

import fastavro
import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

PREFIX = b"\0\0\0\0\7"
DAY_MS = 86_400_000
WIDE = Context(prec=60)  # Python's own would round a decimal of 38 digits
FIRST_DAY, LAST_DAY = -719_162, 2_932_896

_PLAIN = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"]
_LOGICAL = [
    {"type": "int", "logicalType": "date"},
    {"type": "int", "logicalType": "time-millis"},
    {"type": "long", "logicalType": "time-micros"},
    {"type": "long", "logicalType": "timestamp-millis"},
    {"type": "long", "logicalType": "timestamp-micros"},
    {"type": "long", "logicalType": "local-timestamp-millis"},
    {"type": "long", "logicalType": "local-timestamp-micros"},
    {"type": "long", "logicalType": "timestamp-nanos"},
    {"type": "long", "logicalType": "local-timestamp-nanos"},
    {"type": "fixed", "size": 12, "logicalType": "duration"},
    {"type": "string", "logicalType": "uuid"},
    {"type": "fixed", "size": 16, "logicalType": "uuid"},
]


@st.composite
def _decimals(draw: st.DrawFn) -> dict[str, Any]:
    precision = draw(st.integers(1, 38))
    decimal = {"logicalType": "decimal", "precision": precision, "scale": draw(st.integers(0, precision))}
    if draw(st.booleans()):
        return {"type": "bytes", **decimal}
    least = next(n for n in range(1, 20) if 10**precision <= 2 ** (8 * n - 1))
    return {"type": "fixed", "size": least + draw(st.integers(0, 4)), **decimal}


_LEAVES = st.one_of(
    st.sampled_from([*_PLAIN, *_LOGICAL]),
    _decimals(),
    st.integers(1, 5).map(lambda n: {"type": "enum", "symbols": [f"S{i}" for i in range(n)]}),
    st.integers(0, 20).map(lambda n: {"type": "fixed", "size": n}),
)


def _fields(types: list[Any]) -> dict[str, Any]:
    return {"type": "record", "fields": [{"name": f"f{i}", "type": kind} for i, kind in enumerate(types)]}


def _optional(kind: Any, null_first: bool) -> Any:
    if isinstance(kind, list) or kind == "null":
        return kind
    return ["null", kind] if null_first else [kind, "null"]


def _union(types: list[Any]) -> list[Any]:
    """What of these types a union may hold: of types without a name each once, and no unions."""
    branches: dict[Any, Any] = {}
    for place, kind in enumerate(types):
        if not isinstance(kind, list):
            bare = kind if isinstance(kind, str) else kind["type"]
            branches.setdefault(place if bare in ("record", "enum", "fixed") else bare, kind)
    return list(branches.values()) or ["null"]


_TYPES = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        inner.map(lambda kind: {"type": "array", "items": kind}),
        inner.map(lambda kind: {"type": "map", "values": kind}),
        st.builds(_optional, inner, st.booleans()),
        st.lists(inner, min_size=1, max_size=4).map(_union),
        st.lists(inner, min_size=1, max_size=3).map(_fields),
    ),
    max_leaves=6,
)
_UNIONS = st.lists(st.just("null") | _TYPES, min_size=1, max_size=4).map(_union)
SCHEMAS = st.lists(st.builds(_optional, _TYPES, st.booleans()) | _UNIONS | _TYPES, min_size=1, max_size=5).map(
    lambda types: named(_fields(types))
)
"""Schemas of records; every named type has a name of its own."""


def named(schema: Any, counter: Iterable[int] | None = None) -> Any:
    """Give each record, enum and fixed a name."""
    numbers = iter(range(10_000)) if counter is None else counter
    if isinstance(schema, list):
        return [named(branch, numbers) for branch in schema]
    if isinstance(schema, str):
        return schema
    out = dict(schema)
    if schema["type"] in ("record", "enum", "fixed"):
        out["name"] = f"N{next(iter(numbers))}"
    for inner in ("items", "values"):
        if inner in schema:
            out[inner] = named(schema[inner], numbers)
    if "fields" in schema:
        out["fields"] = [{**field, "type": named(field["type"], numbers)} for field in schema["fields"]]
    return out


_NUMBERS = {
    "date": st.integers(FIRST_DAY, LAST_DAY),
    "time-millis": st.integers(0, DAY_MS - 1),
    "time-micros": st.integers(0, DAY_MS * 1000 - 1),
    "timestamp-millis": st.integers(FIRST_DAY * DAY_MS, (LAST_DAY + 1) * DAY_MS - 1),
    "timestamp-micros": st.integers(FIRST_DAY * DAY_MS * 1000, (LAST_DAY + 1) * DAY_MS * 1000 - 1),
    "timestamp-nanos": st.integers(-(2**63), 2**63 - 1),
}
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["a" * 8, "ä€😀" * 9, "x" * 300]
)
_SIMPLE: dict[str, st.SearchStrategy[Any]] = {
    "null": st.none(),
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(width=32),
    "double": st.floats(),
    "bytes": st.binary(max_size=20),
    "string": _TEXT,
}


def values(schema: Any) -> st.SearchStrategy[Any]:
    """Values of a schema, as fastavro writes them: of a union, with the name of the branch that is meant."""
    if isinstance(schema, list):
        return st.one_of([st.tuples(st.just(branch_name(branch)), values(branch)) for branch in schema])
    if isinstance(schema, str):
        return _SIMPLE[schema]
    kind, logical = schema["type"], schema.get("logicalType", "")
    if logical == "decimal":
        most = 10 ** schema["precision"] - 1
        return st.integers(-most, most).map(lambda n: Decimal(n).scaleb(-schema["scale"], WIDE))
    if logical == "uuid":
        return st.uuids().map(str) if kind == "string" else st.binary(min_size=16, max_size=16)
    if logical == "duration":
        return st.binary(min_size=12, max_size=12)
    if logical:
        return _NUMBERS[logical.removeprefix("local-")]
    if kind == "record":
        return st.fixed_dictionaries({field["name"]: values(field["type"]) for field in schema["fields"]})
    if kind == "array":
        return st.lists(values(schema["items"]), max_size=4)
    if kind == "map":
        return st.dictionaries(_TEXT, values(schema["values"]), max_size=4)
    if kind == "enum":
        return st.sampled_from(schema["symbols"])
    return st.binary(min_size=schema["size"], max_size=schema["size"])


def branch_name(branch: Any) -> str:
    """What a union's branch is called."""
    return branch if isinstance(branch, str) else str(branch.get("name", branch["type"]))


def encode(schema: Any, value: Any) -> bytes:
    """Write a body as fastavro does. `schema` is parsed."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, value)
    return out.getvalue()


_CHUNKS = [
    *[bytes([b]) for b in (0, 1, 2, 3, 4, 0x3F, 0x7F, 0x80, 0xC0, 0xFF)],
    b"\xff" * 9 + b"\1",
    b"\x80" * 9 + b"\2",
    b"\x80\0",
    b"\xed\xa0\x80",
]


def spoiled(body: bytes, random: Random) -> bytes:
    """Change some bytes: replaced, put in, taken out, cut off."""
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        at = random.randint(0, len(body))
        chunk = random.choice([b"", random.choice(_CHUNKS), random.randbytes(random.randint(1, 3))])
        body = body[:at] + chunk + body[at + random.randint(0, 2) :]
        if random.random() < 0.1:
            body = body[:at]
    return body


def block(bodies: list[bytes]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Frame bodies and join them: (data, starts)."""
    starts = np.zeros(len(bodies) + 1, np.int64)
    np.cumsum([len(PREFIX) + len(body) for body in bodies], out=starts[1:])
    return np.frombuffer(b"".join(PREFIX + body for body in bodies), np.uint8), starts
