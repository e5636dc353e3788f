"""What is said of a record that the kernel refused: which byte, of which field, and why.

The kernel gives a number for the reason; the words are found by reading the value again.
"""

from dataclasses import dataclass

from ingest.decode import opcodes as o
from schemas.columns import Column

_FIXED_WIDTH_BYTES = {"float": 4, "double": 8}
_SHOWN_BYTES = 40


@dataclass(frozen=True, slots=True)
class Reject:
    """A record that cannot be decoded."""

    row: int  # of the block
    # Where in the whole value, prefix included, what is wrong begins; None of what only the reader's schema cannot take.
    byte: int | None
    path: str  # of the field, "" for the record
    reason: str


def explain(row: int, value: memoryview, byte: int, column: Column | None, fault: int) -> Reject:
    """Put a fault into words. `value` is the whole record with its prefix; `column` is None for the record itself."""
    if column is None:
        left = len(value) - byte
        reason = f"{_count(left, 'byte')} left over" if left > 0 else f"the value has only {_count(len(value), 'byte')}"
        return Reject(row, byte, "", reason)
    if fault == o.UTF8:
        byte, reason = _utf8(value, byte)
        return Reject(row, byte, column.path, reason)
    return Reject(row, byte, column.path, _reason(value, byte, column, fault))


def varint(value: memoryview, at: int) -> tuple[int, int]:
    """Read the variable-length number at a place where one is known to be: (number, next place)."""
    number = shift = 0
    while True:
        b = value[at]
        at += 1
        number |= (b & 127) << shift
        shift += 7
        if b < 128:
            return (number >> 1) ^ -(number & 1), at


def _reason(value: memoryview, byte: int, column: Column, fault: int) -> str:
    if fault == o.CUT:
        return _cut(len(value) - byte, column)
    if fault == o.VARINT:
        return "a number of more than 64 bits"
    if fault == o.NOT_BOOLEAN:
        return f"boolean byte {value[byte]}, not 0 or 1"
    if fault == o.SAME_KEY:
        return "the map holds a key twice"
    if fault == o.BLOCK_SIZE:
        return "the block's size in bytes is not that of its items"
    if fault == o.NOT_UUID:
        text = bytes(_string(value, byte)[:_SHOWN_BYTES]).decode(errors="backslashreplace")
        return f"no UUID: {text!r}"
    if fault == o.PRECISION:
        return _decimal(value[byte : byte + column.size] if column.avro == "fixed" else _string(value, byte), column)
    number, after = varint(value, byte)
    left = len(value) - after
    if fault == o.INT_OVERFLOW:
        return f"number {number} does not fit 32 bits"
    if fault == o.SYMBOL:
        return f"enum index {number} of {_count(len(column.symbols), 'symbol')}"
    if fault == o.BRANCH:
        return f"union index {number} of {column.branches} {'branch' if column.branches == 1 else 'branches'}"
    if fault == o.LENGTH:
        what = column.logical or column.avro
        return (
            f"{what} of {number} bytes" if number < 0 else f"{what} runs {_count(number - left, 'byte')} past the end"
        )
    if fault == o.COUNT:
        return f"a block of {abs(number)} items, and {_count(left, 'byte')} left"
    if fault == o.EMPTY_ITEMS:
        return (
            f"a block of {abs(number)} items that take no bytes; at most {o.EMPTY_ITEMS_MAX} in a record are believed"
        )
    return _range(number, column)


def _cut(left: int, column: Column) -> str:
    needed = column.size or _FIXED_WIDTH_BYTES.get(column.avro, 0)
    what = f"{_article(column.avro)} {column.avro}"
    if needed > 1:
        what += f" of {needed} bytes"
    elif column.avro in ("array", "map"):
        what = f"a block of {what}"
    return f"the value ends within {what}" if left > 0 else f"the value ends before {what}"


def _range(number: int, column: Column) -> str:
    if column.logical in ("time-millis", "time-micros"):
        return f"{column.logical} {number} is no time of a day"
    return f"{column.logical} {number} is not within the years 1 to 9999"


def _decimal(data: memoryview, column: Column) -> str:
    if not data:
        return "a decimal of no bytes"
    shown = bytes(data[:_SHOWN_BYTES]).hex() + ("…" if len(data) > _SHOWN_BYTES else "")
    return f"decimal 0x{shown} has more than {_count(column.arrow.precision, 'digit')}"


def _utf8(value: memoryview, byte: int) -> tuple[int, str]:
    """Find where a string stops being UTF-8: (byte, reason)."""
    _, start = varint(value, byte)
    data = _string(value, byte)
    try:
        bytes(data).decode()
    except UnicodeDecodeError as error:
        return start + error.start, f"byte 0x{data[error.start]:02x} is not UTF-8 here ({error.reason})"
    raise AssertionError("the kernel refused a string that is UTF-8")


def _string(value: memoryview, byte: int) -> memoryview:
    """Give the bytes whose length stands at a place."""
    length, start = varint(value, byte)
    return value[start : start + length]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _article(noun: str) -> str:
    return "an" if noun[0] in "aeio" else "a"  # an enum, a union
