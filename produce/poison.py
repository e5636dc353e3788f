"""Bad records, made from good ones by the faults that real producers have.

Each is seeded, and each is bad for certain: none of them decodes by accident.
"""

import copy
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import fastavro
import numpy as np
from fastavro.schema import UnknownType

from schemas.wire import HEADER_BYTES, frame
from thalweg.errors import ConfigurationError

UNKNOWN_SCHEMA_ID = "unknown schema id"
TRUNCATED = "truncated body"
LEFT_OVER = "bytes left over"
NOT_AVRO = "not Avro"
INVALID_UTF8 = "invalid UTF-8"
OUT_OF_RANGE = "index out of range"
BROKEN_RULE = "broken rule"

_UNKNOWN_IDS = 2_000_000_000  # registries count up from 1: nobody gets here
_OTHER_SCHEMAS = 8  # as from producers that were pointed at another registry, which has a few schemas too
_LATIN1 = "Zürich".encode("latin-1")  # not UTF-8: 0xFC begins nothing


@dataclass(frozen=True, slots=True)
class Poisoned:
    """One bad record that the broker took: where it lies, and what is wrong with it."""

    topic: str
    partition: int
    offset: int
    kind: str


class Poison:
    """Turns good framed values of one schema into bad ones, kind after kind.

    `broken` says which fields to change to what so that a contract would refuse the record ({"distance": -1}); without
    it that kind is left out. Kinds that need a string, an enum or a union on the top level are left out where the
    schema has none.
    """

    def __init__(self, schema: str, seed: int, broken: Mapping[str, Any] | None = None) -> None:
        self._declared = json.loads(schema)
        if not isinstance(self._declared, dict) or self._declared.get("type") != "record":
            raise ConfigurationError("poison needs an Avro schema that is a record", "leave `poison` out")
        self._schema = fastavro.parse_schema(copy.deepcopy(self._declared))
        self._rng = np.random.default_rng([seed, 0xBAD])
        self._broken = broken
        makers: dict[str, Callable[[bytes], bytes] | None] = {
            UNKNOWN_SCHEMA_ID: self._unknown_schema_id,
            TRUNCATED: self._truncated,
            LEFT_OVER: self._left_over,
            NOT_AVRO: self._not_avro,
            INVALID_UTF8: self._rewriter(lambda of: of == "string", "bytes", _LATIN1),
            OUT_OF_RANGE: self._rewriter(_has_index, "int", 1000),
            BROKEN_RULE: self._broken_rule if broken else None,
        }
        self._makers = {kind: maker for kind, maker in makers.items() if maker is not None}
        self._kinds = self._shuffled()

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that this schema allows. Any so many bad records in a row have one of each."""
        return tuple(self._makers)

    def positions(self, bad: int, good: int) -> list[int]:
        """Draw, ascending, before which of `good` records each of `bad` ones goes. Two may go to the same place."""
        if bad and not good:
            raise ConfigurationError("poison is made from good records, and there are none", "produce at least one")
        return sorted(self._rng.integers(0, good, bad).tolist())

    def spoil(self, value: bytes) -> tuple[str, bytes]:
        """Return a kind and a bad value made from the good framed one."""
        kind = next(self._kinds)
        return kind, self._makers[kind](value)

    def _shuffled(self) -> Iterator[str]:
        while True:
            yield from self._rng.permutation(list(self._makers)).tolist()

    def _unknown_schema_id(self, value: bytes) -> bytes:
        return frame(_UNKNOWN_IDS + int(self._rng.integers(_OTHER_SCHEMAS)), value[HEADER_BYTES:])

    def _truncated(self, value: bytes) -> bytes:
        """Cut anywhere: an Avro body says nothing of its length, so every shorter one ends before its last field does."""
        return value[: int(self._rng.integers(1, len(value)))]

    def _left_over(self, value: bytes) -> bytes:
        return value + self._rng.bytes(int(self._rng.integers(1, 9)))

    def _not_avro(self, value: bytes) -> bytes:
        return json.dumps(self._read(value), default=str).encode()

    def _broken_rule(self, value: bytes) -> bytes:
        return self._write(value, self._schema, {**self._read(value), **(self._broken or {})})

    def _rewriter(self, wanted: Callable[[Any], bool], as_type: str, bad: Any) -> Callable[[bytes], bytes] | None:
        """Return a maker that writes the first wanted field by another type with the same wire format, unchecked.

        Bytes are written as strings are, without being UTF-8; an int as the index of an enum or union is.
        """
        twisted = copy.deepcopy(self._declared)
        field = next((one for one in twisted["fields"] if wanted(one["type"])), None)
        if field is None:
            return None
        name = field["name"]
        field.update(type=as_type)
        field.pop("default", None)
        try:
            parsed = fastavro.parse_schema(twisted)
        except UnknownType:  # another field is of the enum that was declared here
            return None
        return lambda value: self._write(value, parsed, {**self._read(value), name: bad})

    def _read(self, value: bytes) -> dict[str, Any]:
        read: dict[str, Any] = fastavro.schemaless_reader(io.BytesIO(value[HEADER_BYTES:]), self._schema, None)
        return read

    def _write(self, value: bytes, schema: Any, record: dict[str, Any]) -> bytes:
        body = io.BytesIO()
        fastavro.schemaless_writer(body, schema, record)
        return value[:HEADER_BYTES] + body.getvalue()


def _has_index(of: Any) -> bool:
    return isinstance(of, list) or (isinstance(of, dict) and of.get("type") == "enum")
