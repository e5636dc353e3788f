"""Schema resolution: what was decoded by the writer's schema, as the reader's schema has it.

Planned once for a pair of schemas and applied to whole columns. Rules: the section "Schema Resolution" of Avro's
specification (https://avro.apache.org/docs/1.12.0/specification/#schema-resolution), and where it is open:

- Of a reader's union the branch of the writer's own type is taken before the first that the writer's can be promoted to, as
  Java does: otherwise a value of `["double", "int"]` would change its type by being read by the same union.
- Logical types must mean the same. Numbers without one may be read as one, and are checked.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from ingest.decode.conversions import Conversion, NoMatch, check_meaning, primitive, symbols
from ingest.decode.defaults import default
from ingest.decode.place import Fault, Mask, Place, present
from schemas.columns import Column, event
from thalweg.errors import UnsupportedSchema

_REMEDY: Final = "mend the reader's schema: a default, an alias, or a type that the writer's can be read as"
_NAMED: Final = ("record", "enum", "fixed")


@dataclass(frozen=True, slots=True)
class Resolved:
    """A batch in the reader's columns."""

    batch: pa.RecordBatch
    kept: Mask | None  # which rows of the writer's batch are in it; None when all are
    faults: list[Fault]  # of the others, one for each, by row


class Resolution:
    """How a writer's events become a reader's."""

    def __init__(self, writer: Column, reader: Column) -> None:
        """Plan. Raises UnsupportedSchema, naming the path in the reader's schema, for what cannot be resolved."""
        self.schema = pa.schema([child.field for child in reader.children])
        _match_names(writer, reader)
        self._fields = _fields(writer, reader)

    @property
    def changes_nothing(self) -> bool:
        """Whether a batch of the writer's has the reader's columns as it is."""
        return all(field.is_same(place) for place, field in enumerate(self._fields))

    def apply(self, batch: pa.RecordBatch) -> Resolved:
        """Resolve a batch as `Decoder` makes it of the writer's schema. Records with a value that has no counterpart are left out."""
        faults: list[Fault] = []
        place = Place.of_batch(batch.num_rows, faults)
        arrays = [field.of(batch.columns, batch.num_rows, place) for field in self._fields]
        resolved = pa.RecordBatch.from_arrays(arrays, schema=self.schema)
        if not faults:
            return Resolved(resolved, None, [])
        first: dict[int, Fault] = {}
        for fault in faults:
            first.setdefault(fault.row, fault)
        kept = np.ones(batch.num_rows, np.bool_)
        kept[list(first)] = False
        return Resolved(resolved.filter(pa.array(kept)), kept, [first[row] for row in sorted(first)])


def resolution(writer: Column, reader: Column) -> Resolution | None:
    """Plan for a pair of events; None when a batch is the reader's as it is. Raises as `Resolution` does."""
    if writer == reader:
        return None
    found = Resolution(writer, reader)
    same = len(writer.children) == len(reader.children) and found.changes_nothing
    return None if same and writer.arrow.equals(reader.arrow, check_metadata=True) else found


def landed_schema(writer_json: str, reader_json: str | None) -> pa.Schema:
    """Give the columns that events of a writer's schema are read to; without a reader's schema, their own.

    Raises UnsupportedSchema, naming the path of the field, also when the one cannot be read by the other.
    """
    writer = event(writer_json)
    reader = writer if reader_json is None else event(reader_json)
    resolution(writer, reader)
    return pa.schema([child.field for child in reader.children])


@dataclass(frozen=True, slots=True)
class _Field:
    """How a field of the reader's comes about: from one of the writer's, or as a constant, an array of one value."""

    place: int  # of the writer's field
    conversion: Conversion | None = None
    constant: pa.Array | None = None

    def is_same(self, place: int) -> bool:
        return self.place == place and self.conversion is None and self.constant is None

    def of(self, arrays: list[pa.Array], length: int, place: Place) -> pa.Array:
        if self.constant is not None:
            return self.constant.take(pa.array(np.zeros(length, np.int64)))
        array = arrays[self.place]
        return array if self.conversion is None else self.conversion(array, place)


def _fields(writer: Column, reader: Column) -> list[_Field]:
    """How each field of a reader's record comes about: a field of that name, else of an alias, else the default."""
    places = {child.name: place for place, child in enumerate(writer.children)}
    names = {child.name for child in reader.children}
    found = []
    for child in reader.children:
        others = [alias for alias in child.field_aliases if alias in places and alias not in names]
        name = child.name if child.name in places else next(iter(others), None)
        if name is not None:
            place = places.pop(name)
            found.append(_Field(place, _conversion(writer.children[place], child)))
        elif child.default is not None:
            found.append(_Field(-1, constant=default(child)))
        else:
            raise UnsupportedSchema(
                f"{child.path}: the writer's record {writer.named} has no such field, and the reader's has no default",
                _REMEDY,
            )
    return found


def _conversion(writer: Column, reader: Column) -> Conversion | None:
    """Find how a column becomes another; None when it is that other. Raises UnsupportedSchema."""
    if writer.branches or reader.branches:
        return _union(writer, reader)
    try:
        if writer.avro != reader.avro or writer.avro not in (*_NAMED, "array", "map"):
            return primitive(writer, reader)
        if writer.avro in _NAMED:
            _match_names(writer, reader)
        match writer.avro:
            case "record":
                return _record(writer, reader)
            case "enum":
                return symbols(writer, reader)
            case "fixed":
                _check_fixed(writer, reader)
                return None
            case _:
                return _items(writer, reader)
    except NoMatch as error:
        raise UnsupportedSchema(f"{reader.path}: {error}", _REMEDY) from error


def _match_names(writer: Column, reader: Column) -> None:
    simple = writer.named.rpartition(".")[2]
    if simple not in {name.rpartition(".")[2] for name in (reader.named, *reader.aliases)}:
        raise UnsupportedSchema(
            f"{reader.path or 'the event'}: {writer.avro} {writer.named} is not {reader.named}",
            f"give {reader.named} the alias {writer.named} in the reader's schema",
        )


def _record(writer: Column, reader: Column) -> Conversion | None:
    fields = _fields(writer, reader)
    same = writer.arrow.equals(reader.arrow, check_metadata=True)
    if same and all(field.is_same(place) for place, field in enumerate(fields)):
        return None

    def convert(array: pa.Array, place: Place) -> pa.Array:
        inner, arrays = place.within(array), [array.field(n) for n in range(len(writer.children))]
        children = [field.of(arrays, len(array), inner) for field in fields]
        return pa.Array.from_buffers(reader.arrow, len(array), array.buffers()[:1], children=children)

    return convert


def _check_fixed(writer: Column, reader: Column) -> None:
    if writer.size != reader.size:
        raise NoMatch(f"a fixed of {writer.size} bytes cannot be read as one of {reader.size}")
    check_meaning(writer, reader)


def _items(writer: Column, reader: Column) -> Conversion | None:
    inner = _conversion(writer.children[-1], reader.children[-1])
    if inner is None:
        return None

    def convert(array: pa.Array, place: Place) -> pa.Array:
        if writer.avro == "array":
            child = inner(array.values, place.of_items(array))
        else:
            values = inner(array.items, place.of_items(array))
            child = pa.StructArray.from_arrays(
                [array.keys, values], fields=[reader.arrow.key_field, reader.arrow.item_field]
            )
        return pa.Array.from_buffers(reader.arrow, len(array), array.buffers()[:2], children=[child])

    return convert


@dataclass(frozen=True, slots=True)
class _Source:
    """A branch of the writer: where its values are, and what becomes of them."""

    column: Column | None  # None: null
    member: int | None  # place among the union's members; None: the column itself
    target: int  # branch of the reader; -1: the reader has none, because of `refusal`
    conversion: Conversion | None
    refusal: str

    def values(self, array: pa.Array) -> pa.Array:
        return array if self.member is None else array.field(self.member)


def _union(writer: Column, reader: Column) -> Conversion | None:
    """Unions on either side or on both: each branch of the writer goes its own way."""
    members = iter(range(len(writer.children)))
    sources = [
        _source(branch, next(members) if branch is not None and writer.avro == "union" else None, reader)
        for branch in writer.alternatives
    ]
    lost = [source for source in sources if source.target < 0]
    counted = [source for source in sources if source.column is not None] or sources
    if all(source.target < 0 for source in counted):
        raise UnsupportedSchema(f"{reader.path}: {counted[0].refusal}", _REMEDY)
    found = [source for source in sources if source.column is not None and source.target >= 0]
    if not lost and _is_same(writer, reader, found):
        return None
    make = _struct(reader, found) if reader.avro == "union" else _single(reader, found)

    def convert(array: pa.Array, place: Place) -> pa.Array:
        for source in lost:
            _refuse(source, array, place, reader.path)
        return make(array, place)

    return convert


def _source(branch: Column | None, member: int | None, reader: Column) -> _Source:
    """Find the reader's branch for one of the writer's: that of the same type, else the first that it can be read as."""
    targets = reader.alternatives
    if branch is None:
        return _Source(
            None, None, targets.index(None) if None in targets else -1, None, "null cannot be read as the reader's type"
        )
    refusals = []
    places = [place for place, target in enumerate(targets) if target is not None]
    for place in sorted(places, key=lambda place: not _same_type(branch, targets[place])):
        target = targets[place]
        assert target is not None  # the places leave null out
        try:
            return _Source(branch, member, place, _conversion(branch, target), "")
        except UnsupportedSchema as error:
            refusals.append(error.message.removeprefix(f"{target.path}: "))
    refusal = (
        refusals[0]
        if len(refusals) == 1
        else f"the writer's {branch.named or branch.avro} is none of the reader's branches"
    )
    return _Source(branch, member, -1, None, refusal)


def _same_type(writer: Column, reader: Column | None) -> bool:
    return reader is not None and (writer.avro, writer.named) == (reader.avro, reader.named)


def _is_same(writer: Column, reader: Column, sources: list[_Source]) -> bool:
    """Whether the writer's array is the reader's."""
    if any(source.conversion is not None for source in sources) or not writer.arrow.equals(
        reader.arrow, check_metadata=True
    ):
        return False
    if "union" not in (writer.avro, reader.avro):
        return True
    branches = reader.alternatives
    members = [sum(branch is not None for branch in branches[: source.target]) for source in sources]
    return writer.avro == reader.avro and members == [source.member for source in sources]


def _refuse(source: _Source, array: pa.Array, place: Place, path: str) -> None:
    if source.column is None:
        if array.null_count:
            place.refuse(~present(array), path, lambda _n: source.refusal)
        return
    values = source.values(array)
    if values.null_count < len(values):
        place.refuse(present(values), path, lambda _n: source.refusal)


def _single(reader: Column, sources: list[_Source]) -> Conversion:
    """To a column that is no struct of branches."""

    def make(array: pa.Array, place: Place) -> pa.Array:
        return _merged([_converted(source, array, place) for source in sources], len(array), reader.arrow)

    return make


def _struct(reader: Column, sources: list[_Source]) -> Conversion:
    """To a struct of branches."""

    def make(array: pa.Array, place: Place) -> pa.Array:
        members = []
        chosen = np.zeros(len(array), np.bool_)
        for target, member in enumerate(reader.alternatives):
            if member is None:
                continue
            arrays = [_converted(source, array, place) for source in sources if source.target == target]
            members.append(_merged(arrays, len(array), member.arrow))
            chosen |= present(members[-1])
        bits = None if chosen.all() else pa.array(chosen).buffers()[1]
        return pa.Array.from_buffers(reader.arrow, len(array), [bits], children=members)

    return make


def _converted(source: _Source, array: pa.Array, place: Place) -> pa.Array:
    values = source.values(array)
    return values if source.conversion is None else source.conversion(values, place.within(values))


def _merged(arrays: list[pa.Array], length: int, kind: pa.DataType) -> pa.Array:
    """Arrays of which at most one has a value at each place, as one."""
    if not arrays:
        return pa.nulls(length, kind)
    if len(arrays) == 1:
        return arrays[0]
    taken = np.arange(length)
    for number, array in enumerate(arrays[1:], 1):
        there = present(array)
        taken[there] = number * length + np.flatnonzero(there)
    return pa.concat_arrays(arrays).take(pa.array(taken))
