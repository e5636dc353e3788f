"""Values of one Avro type as values of another, whole columns at a time: what schema resolution calls promotion.

Each conversion takes an array and its place and gives an array as long, null where the first is null. A value that has no
counterpart is refused at its place; what stands for it in the result is never seen.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingest.decode.defaults import UUID
from ingest.decode.place import Mask, Place, offsets, present
from ingest.decode.plan import number_range
from schemas.columns import Column

Conversion = Callable[[pa.Array, Place], pa.Array]

# Logical types that the decoder gives as one Arrow type with one meaning, so that a writer may go from one to the other.
_ALIKE: Final = (
    frozenset({"timestamp-millis", "timestamp-micros"}),
    frozenset({"local-timestamp-millis", "local-timestamp-micros"}),
)
_WIDER: Final = {
    "int": ("int", "long", "float", "double"),
    "long": ("long", "float", "double"),
    "float": ("float", "double"),
}
_UUID: Final = f"^{UUID}$"
_SHOWN_CHARACTERS: Final = 40


class NoMatch(Exception):
    """The writer's type cannot be read as the reader's; the message says why."""


def primitive(writer: Column, reader: Column) -> Conversion | None:
    """Find how values of a type without a name become those of another; None when they are the same.

    Raises NoMatch when Avro has no such promotion, or when it would lose what a logical type means.
    """
    if writer.avro in ("int", "long") and reader.avro in _WIDER[writer.avro]:
        return _number(writer, reader)
    if writer.avro == "float" and reader.avro in _WIDER["float"]:
        return None if reader.avro == "float" else lambda array, _place: array.cast(pa.float64())
    if writer.avro in ("string", "bytes") and reader.avro in ("string", "bytes"):
        return _text(writer, reader)
    if writer.avro == reader.avro:
        return None
    raise NoMatch(f"{writer.avro} cannot be read as {reader.avro}")


def check_meaning(writer: Column, reader: Column) -> None:
    """Check that two logical types may be read as one another. Raises NoMatch.

    Avro's specification lets a reader take another's numbers as they are; milliseconds would be read as nanoseconds.
    """
    if writer.logical == reader.logical and writer.arrow == reader.arrow:
        return
    if any({writer.logical, reader.logical} <= alike for alike in _ALIKE):
        return
    raise NoMatch(f"{_shown(writer)} cannot be read as {_shown(reader)}")


def symbols(writer: Column, reader: Column) -> Conversion | None:
    """Find how an enum's values become another's. Raises NoMatch when none does."""
    if writer.symbols == reader.symbols:
        return None
    places = {symbol: place for place, symbol in enumerate(reader.symbols)}
    otherwise = -1 if reader.fallback is None else places[reader.fallback]
    found = np.array([places.get(symbol, otherwise) for symbol in writer.symbols], np.int32)
    if not (found >= 0).any():
        raise NoMatch("the writer's enum has no symbol that the reader's has")
    dictionary = pa.array(reader.symbols, pa.string())

    def convert(array: pa.Array, place: Place) -> pa.Array:
        numbers = np.frombuffer(array.buffers()[1], np.int32, len(array))
        mapped = found[numbers]
        if len(mapped) and mapped.min() < 0:
            place.refuse(mapped < 0, reader.path, lambda n: f"the reader's enum has no {writer.symbols[numbers[n]]}")
            mapped = np.maximum(mapped, 0)
        buffers = [array.buffers()[0], pa.py_buffer(mapped)]
        return pa.DictionaryArray.from_buffers(reader.arrow, len(array), buffers, dictionary)

    return convert


def _number(writer: Column, reader: Column) -> Conversion | None:
    if writer.logical is not None and reader.logical is not None:
        check_meaning(writer, reader)
        return None
    limits = number_range(reader) if reader.avro in ("int", "long") else None
    if writer.logical is None and limits is None and writer.arrow == reader.arrow:
        return None
    stored = pa.int32() if writer.avro == "int" else pa.int64()
    factor = (number_range(writer) or (0, 0, 1))[2]

    def convert(array: pa.Array, place: Place) -> pa.Array:
        numbers = array.view(stored)
        if factor > 1:
            numbers = pc.divide(numbers, factor)  # what the decoder multiplied it by
        if limits is None:
            return numbers.cast(reader.arrow, safe=False)  # the nearest floating point number, as Avro has it
        return _ranged(numbers, limits, reader, place)

    return convert


def _ranged(numbers: pa.Array, limits: tuple[int, int, int], reader: Column, place: Place) -> pa.Array:
    least, greatest, factor = limits
    seen = pc.min_max(numbers)
    low, high = seen["min"].as_py(), seen["max"].as_py()
    if low is not None and (low < least or high > greatest):
        # A bound may not fit the numbers' own type.
        wide = numbers.cast(pa.int64()).fill_null(0).to_numpy()
        outside = (wide < least) | (wide > greatest)
        place.within(numbers).refuse(outside, reader.path, lambda n: f"{reader.logical} {wide[n]} is out of its range")
    stored = pa.int32() if reader.avro == "int" else pa.int64()
    return pc.multiply(numbers.cast(stored), pa.scalar(factor, stored)).view(reader.arrow)


def _text(writer: Column, reader: Column) -> Conversion | None:
    if "decimal" in (writer.logical, reader.logical):
        check_meaning(writer, reader)
        return None
    steps: list[Conversion] = []
    if writer.avro == "bytes" and reader.avro == "string":
        steps.append(lambda array, place: _utf8(array, place, reader))
    elif writer.avro != reader.avro:
        return lambda array, _place: array.cast(pa.binary())
    if reader.logical == "uuid" and writer.logical != "uuid":
        steps.append(lambda array, place: _checked_uuid(array, place, reader))
    if not steps:
        return None

    def convert(array: pa.Array, place: Place) -> pa.Array:
        for step in steps:
            array = step(array, place)
        return array

    return convert


def _utf8(array: pa.Array, place: Place, reader: Column) -> pa.Array:
    try:
        return array.cast(pa.string())
    except pa.ArrowInvalid:
        failing = _no_text(array)
    place.refuse(failing, reader.path, lambda n: _utf8_fault(array[n].as_py()) or "")
    return pc.if_else(pa.array(failing), pa.scalar(b""), array).cast(pa.string())


def _no_text(array: pa.Array) -> Mask:
    """Which values are not UTF-8. Of a column that as a whole is none: looked at one by one."""
    ends = offsets(array).tolist()
    data = memoryview(array.buffers()[2] or b"")
    there = present(array).tolist()
    return np.array(
        [there[n] and _utf8_fault(data[ends[n] : ends[n + 1]]) is not None for n in range(len(array))], np.bool_
    )


def _utf8_fault(data: bytes | memoryview) -> str | None:
    try:
        bytes(data).decode()
    except UnicodeDecodeError as error:
        return f"byte 0x{error.object[error.start]:02x} is not UTF-8 here ({error.reason})"
    return None


def _checked_uuid(array: pa.Array, place: Place, reader: Column) -> pa.Array:
    good = pc.match_substring_regex(array, _UUID)
    if good.false_count:
        place.refuse(
            ~good.fill_null(True).to_numpy(zero_copy_only=False),
            reader.path,
            lambda n: f"no UUID: {array[n].as_py()[:_SHOWN_CHARACTERS]!r}",
        )
    return array


def _shown(column: Column) -> str:
    if column.logical == "decimal":
        return f"decimal({column.arrow.precision}, {column.arrow.scale}) on {column.avro}"
    return column.avro if column.logical is None else f"{column.logical} on {column.avro}"
