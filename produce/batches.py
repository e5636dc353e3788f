"""What a producer is given: where records come from, and some of them, encoded."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


class Batch(NamedTuple):
    """Keys and framed Avro values of some records, in order; as many of the one as of the other."""

    keys: list[bytes | None]
    values: list[bytes]


@dataclass(frozen=True, slots=True)
class Source:
    """Records of one Avro schema, to be produced once.

    `count` is None where nobody knows before the end. `encoded` takes the id that the registry gave the schema.
    `broken` are values that a contract would refuse, by field: what poison is made with.
    """

    schema: str
    count: int | None
    encoded: Callable[[int], Iterator[Batch]]
    broken: Mapping[str, Any] | None = None
