"""Which schema may follow which: Avro's own rules, as Apache's checker applies them.

A reader's schema is compatible with a writer's when it can read everything that the writer may have written:
https://avro.apache.org/docs/1.12.0/specification/#schema-resolution
"""

import functools
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import avro.errors
import avro.schema
from avro.compatibility import (
    CompatibleResult,
    ReaderWriterCompatibilityChecker,
    SchemaCompatibilityResult,
    SchemaCompatibilityType,
)

from schemas import avro_text
from thalweg.errors import ConfigurationError

# Pairs of types that one comparison may look at: some seconds. Two schemas of 200 fields have a few hundred.
_MAX_PAIRS = 100_000

# Reasons and places that one answer names; a person reads the first few.
_MAX_MESSAGES = 20

# Python's warning filters are global: two threads that silence a warning at once would restore each other's.
_FILTERING_WARNINGS = threading.Lock()


class Level(StrEnum):
    """What a new schema must be able to do with the earlier ones of its subject. The transitive levels ask all, the others the latest."""

    NONE = "NONE"
    BACKWARD = "BACKWARD"
    BACKWARD_TRANSITIVE = "BACKWARD_TRANSITIVE"
    FORWARD = "FORWARD"
    FORWARD_TRANSITIVE = "FORWARD_TRANSITIVE"
    FULL = "FULL"
    FULL_TRANSITIVE = "FULL_TRANSITIVE"

    @property
    def transitive(self) -> bool:
        """Every earlier version counts, and not the latest only."""
        return self.endswith("_TRANSITIVE")

    @property
    def new_reads_old(self) -> bool:
        """Consumers move to the new schema first: it must read what is in the topic."""
        return self.startswith(("BACKWARD", "FULL"))

    @property
    def old_reads_new(self) -> bool:
        """Producers move first: consumers with the old schema must read what the new one writes."""
        return self.startswith(("FORWARD", "FULL"))


@dataclass(frozen=True, slots=True)
class AvroSchema:
    """A valid Avro schema: the text that stands for it, and the tree that the checker walks."""

    text: str
    tree: avro.schema.Schema


@functools.lru_cache(maxsize=128)  # one subject's history, parsed once and not again for every registration
def parse(text: str, normalize: bool = False) -> AvroSchema:
    """Read an Avro schema. With `normalize`, its text also ignores the order of unknown attributes and aliases.

    Raises ConfigurationError, which says where and why, when it is no Avro schema.
    """
    resolved = avro_text.resolve(text)
    with _FILTERING_WARNINGS, warnings.catch_warnings():
        # A logical type that the library does not know, or that does not fit, is kept and ignored, as Avro demands.
        warnings.simplefilter("ignore", avro.errors.IgnoredLogicalType)
        try:
            tree = avro.schema.parse(avro_text.full(resolved))
        except Exception as error:  # the library raises what Python raises when an attribute has an odd type
            raise ConfigurationError(f"not an Avro schema: {error}", "mend the schema") from error
    return AvroSchema(avro_text.normalized(resolved) if normalize else avro_text.canonical(resolved), tree)


def incompatibilities(level: Level, new: AvroSchema, earlier: Sequence[AvroSchema]) -> list[str]:
    """Say why `new` must not follow `earlier` (oldest first) at this level; nothing when it may.

    Raises ConfigurationError for schemas too large, or with references too deep, to be compared.
    """
    asked = earlier if level.transitive else earlier[-1:]
    problems = []
    for old in reversed(asked):
        if level.new_reads_old:
            problems += _cannot_read(new, old, "the new schema cannot read data written with the old one")
        if level.old_reads_new:
            problems += _cannot_read(old, new, "the old schema cannot read data written with the new one")
    return problems


class _Checker(ReaderWriterCompatibilityChecker):  # type: ignore[misc]  # the library has no types
    """The library's checker with a memory of its own: the library's grows without bound on a schema made for that.

    It adds up what is wrong with nested types, which doubles at each level, and its hashes of pairs collide.
    """

    def get_compatibility(
        self, reader: Any, writer: Any, reference_token: str = "/", location: list[str] | None = None
    ) -> SchemaCompatibilityResult:
        pair = (id(reader), id(writer))
        known = self.memoize_map.get(pair)
        if known is not None:
            in_progress = known.compatibility is SchemaCompatibilityType.recursion_in_progress
            return CompatibleResult if in_progress else known
        if len(self.memoize_map) >= _MAX_PAIRS:
            raise RecursionError
        self.memoize_map[pair] = SchemaCompatibilityResult()
        result = self.calculate_compatibility(reader, writer, [*(location or []), reference_token])
        result.incompatibilities[:] = dict.fromkeys(result.incompatibilities)
        if len(result.messages) > _MAX_MESSAGES or len(result.locations) > _MAX_MESSAGES:
            result.messages = set(sorted(result.messages)[:_MAX_MESSAGES])
            result.locations = set(sorted(result.locations)[:_MAX_MESSAGES])
        self.memoize_map[pair] = result
        return result


def _cannot_read(reader: AvroSchema, writer: AvroSchema, meaning: str) -> list[str]:
    try:
        result = _Checker().get_compatibility(reader.tree, writer.tree)
    except RecursionError as error:
        raise ConfigurationError(
            "the schemas are too large or refer to each other too deeply to be compared", "nest fewer types"
        ) from error
    if result.compatibility is SchemaCompatibilityType.compatible:
        return []
    kinds = ", ".join(kind.name.upper() for kind in result.incompatibilities)
    return [f"{kinds} at {', '.join(sorted(result.locations))}: {'; '.join(sorted(result.messages))} ({meaning})"]
