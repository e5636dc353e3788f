"""The plan for one writer schema: a program for the kernel, the buffers it fills, and what they become."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingest.decode import opcodes as o
from schemas.columns import Column

NONE: Final = -1  # no such buffer, no such cursor

# 0001-01-01 and 9999-12-31, in days since 1970-01-01: what every reader of a table can take (Python's own range).
_DAY_MIN: Final = -719_162
_DAY_MAX: Final = 2_932_896
_DAY_MS: Final = 86_400_000

# Opcode and operands A, B, C for each (Avro type, logical type) that needs no more than those.
_SCALARS: Final[dict[tuple[str, str | None], tuple[int, int, int, int]]] = {
    ("boolean", None): (o.BOOLEAN, 0, 0, 0),
    ("int", None): (o.INT, 0, 0, 0),
    ("long", None): (o.LONG, 0, 0, 0),
    ("float", None): (o.FLOAT, 0, 0, 0),
    ("double", None): (o.DOUBLE, 0, 0, 0),
    ("string", None): (o.STRING, 0, 0, 0),
    ("string", "uuid"): (o.UUID, 0, 0, 0),
    ("bytes", None): (o.BYTES, 0, 0, 0),
    ("fixed", "uuid"): (o.UUID_FIXED, 0, 0, 0),
    ("int", "date"): (o.INT_RANGE, _DAY_MIN, _DAY_MAX, 0),
    ("int", "time-millis"): (o.INT_RANGE, 0, _DAY_MS - 1, 0),
    ("long", "time-micros"): (o.LONG_RANGE, 0, _DAY_MS * 1000 - 1, 1),
    # Every number of 64 bits is an instant between the years 1677 and 2262.
    ("long", "timestamp-nanos"): (o.LONG, 0, 0, 0),
    ("long", "local-timestamp-nanos"): (o.LONG, 0, 0, 0),
    **{
        ("long", f"{local}timestamp-{unit}"): (
            o.LONG_RANGE,
            _DAY_MIN * _DAY_MS * per_ms,
            (_DAY_MAX + 1) * _DAY_MS * per_ms - 1,
            1000 // per_ms,
        )
        for local in ("", "local-")
        for unit, per_ms in (("millis", 1), ("micros", 1000))
    },
}
_BITS: Final = {
    o.BOOLEAN: 1,
    o.INT: 32,
    o.INT_RANGE: 32,
    o.ENUM: 32,
    o.FLOAT: 32,
    o.LONG: 64,
    o.LONG_RANGE: 64,
    o.DOUBLE: 64,
    o.DECIMAL: 128,
    o.DECIMAL_FIXED: 128,
}
_PADS: Final = {1: o.PAD_BIT, 32: o.PAD_32, 64: o.PAD_64, 128: o.PAD_128}
# The fewest bytes that a value takes; of a fixed, its size.
_LEAST_BYTES: Final = {"null": 0, "float": 4, "double": 8}
_OFFSET_BITS: Final = 32


@dataclass(frozen=True, slots=True)
class Buffer:
    """Memory that the kernel fills: so many bits for each thing that a cursor counts."""

    cursor: int
    bits: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a column's values are: numbers of buffers, and the cursor that counts its values."""

    column: Column
    length: int
    bits: int = NONE  # validity
    values: int = NONE  # values or offsets
    data: int = NONE
    children: tuple["Layout", ...] = ()
    symbols: pa.Array | None = None  # what an enum's values are numbers of


@dataclass(frozen=True, slots=True)
class Plan:
    """A program and what it needs.

    `program` has a row of eight words for each step; the words VALUES, DATA, MORE and, for UNIQUE_KEYS, C hold addresses that only a
    decoding knows: `addresses` lists (row, word, buffer). `steps` names the column of each row.
    """

    program: npt.NDArray[np.int64]
    addresses: npt.NDArray[np.int64]
    buffers: tuple[Buffer, ...]
    cursors: int
    depth: int
    layouts: tuple[Layout, ...]
    steps: tuple[Column | None, ...]


@dataclass(slots=True)
class _Builder:
    """A program in the making.

    `absences` are places without a value: the row and its word that must say where to go for it, the column to pad there,
    and the row to go on at.
    """

    rows: list[list[int]] = field(default_factory=list)
    steps: list[Column | None] = field(default_factory=list)
    addresses: list[tuple[int, int, int]] = field(default_factory=list)
    buffers: list[Buffer] = field(default_factory=list)
    cursors: int = 1  # cursor 0 counts records
    depth: int = 0
    deepest: int = 0
    absences: list[tuple[int, int, Layout, int]] = field(default_factory=list)

    def buffer(self, cursor: int, bits: int) -> int:
        self.buffers.append(Buffer(cursor, bits))
        return len(self.buffers) - 1

    def cursor(self) -> int:
        self.cursors += 1
        return self.cursors - 1

    def row(
        self,
        op: int,
        column: Column | None,
        *,
        values: int = NONE,
        data: int = NONE,
        more: int = NONE,
        cursor: int = 0,
        operands: tuple[int, int, int] = (0, 0, 0),
    ) -> int:
        """Append a step; buffers become addresses when a decoding begins. Returns its number."""
        number = len(self.rows)
        self.rows.append([op, 0, 0, 0, cursor, *operands])
        self.steps.append(column)
        for word, buffer in ((o.VALUES, values), (o.DATA, data), (o.MORE, more)):
            if buffer != NONE:
                self.addresses.append((number, word // 8, buffer))
        return number

    def column(self, column: Column, length: int) -> Layout:
        """Append what reads a column whose values are counted by cursor `length`."""
        if column.branches == 0:
            return self._value(column, length)
        if column.avro == "union":
            return self._union(column, length)
        if column.null_branch is None:
            (branch,) = self._branches(column)
            self._let_go_to_next(branch)
            return self._value(column, length)
        bits = self.buffer(length, 1)
        option = self.row(o.OPTION, column, values=bits, operands=(column.null_branch, 0, 0))
        layout = self._value(column, length)
        self.absences.append((option, o.B, layout, len(self.rows)))
        return replace(layout, bits=bits)

    def _union(self, column: Column, length: int) -> Layout:
        """Append a way for each branch. All members are padded first, and the one that was written is then overwritten.

        So the program grows with the members; pads for the others of each member would grow with their square.
        """
        bits = self.buffer(length, 1) if column.null_branch is not None else NONE
        start = self.row(o.JUMP, column)
        table = self._branches(column)
        ends = [] if column.null_branch is None else [table.pop(column.null_branch)]
        members = []
        for branch, member in zip(table, column.children, strict=True):
            self._let_go_to_next(branch)
            member_bits = self.buffer(length, 1)
            for mark in (member_bits,) if bits == NONE else (bits, member_bits):
                self._let_go_to_next(self.row(o.MARK, column, values=mark))
            members.append(replace(self._value(member, length), bits=member_bits))
            ends.append(self.row(o.JUMP, column))
        for end in ends:
            self._let_go_to_next(end)
        layout = Layout(column, length, bits, children=tuple(members))
        self.absences.append((start, o.A, layout, start + 1))
        return layout

    def _branches(self, column: Column) -> list[int]:
        """Append what reads a branch's number, and a row for each branch, to be told where it goes. Returns these rows."""
        self.row(o.UNION, column, operands=(column.branches, 0, 0))
        return [self.row(o.JUMP, column) for _ in range(column.branches)]

    def _let_go_to_next(self, row: int) -> None:
        self.rows[row][o.A // 8] = len(self.rows)

    def _value(self, column: Column, length: int) -> Layout:
        if column.avro == "null":
            return Layout(column, length)
        if column.logical == "duration":
            parts = tuple(Layout(part, length, values=self.buffer(length, 64)) for part in column.children)
            self.row(o.DURATION, column, values=parts[0].values, data=parts[1].values, more=parts[2].values)
            return Layout(column, length, children=parts)
        if column.avro == "record":
            return Layout(column, length, children=tuple(self.column(child, length) for child in column.children))
        if column.avro in ("array", "map"):
            return self._items(column, length)
        op, *operands = _instruction(column)
        if op >= o.FIRST_WITH_OFFSETS:
            used = self.cursor()
            offsets, data = self.buffer(length, _OFFSET_BITS), self.buffer(used, 8)
            self.row(
                op, column, values=offsets, data=data, cursor=used, operands=(operands[0], operands[1], operands[2])
            )
            return Layout(column, length, values=offsets, data=data)
        values = self.buffer(length, _BITS[op])
        self.row(op, column, values=values, operands=(operands[0], operands[1], operands[2]))
        symbols = pa.array(column.symbols, pa.string()) if column.avro == "enum" else None
        return Layout(column, length, values=values, symbols=symbols)

    def _items(self, column: Column, length: int) -> Layout:
        self.depth += 1
        self.deepest = max(self.deepest, self.depth)
        items, offsets = self.cursor(), self.buffer(length, _OFFSET_BITS)
        block = self.row(o.BLOCK, column, values=offsets, cursor=items)
        children = tuple(self.column(child, items) for child in column.children)
        self.row(o.BLOCK_END, column, cursor=items)
        self.rows[block][o.A // 8] = len(self.rows)
        self.rows[block][o.B // 8] = sum(map(least_bytes, column.children))
        if column.avro == "map":
            keys = children[0]
            unique = self.row(o.UNIQUE_KEYS, column.children[0], values=keys.values, data=keys.data, more=offsets)
            self.addresses.append((unique, o.C // 8, self.buffer(items, 32)))
        self.depth -= 1
        return Layout(column, length, values=offsets, children=children)

    def nulls(self) -> None:
        """Append, behind the end, what each value that is not there does to its columns."""
        for row, word, layout, after in self.absences:
            pads = list(self._pads(layout))
            self.rows[row][word // 8] = len(self.rows) if pads else after
            for op, buffer, cursor in pads:
                number = self.row(op, layout.column, values=buffer, cursor=cursor)
                self.rows[number][o.A // 8] = number + 1
            if pads:
                self.rows[-1][o.A // 8] = after

    def _pads(self, layout: Layout) -> Iterator[tuple[int, int, int]]:
        """Give (opcode, buffer, cursor whose count an offset repeats) for each buffer in step with the column."""
        if layout.bits != NONE:
            yield o.PAD_BIT, layout.bits, 0
        if pa.types.is_struct(layout.column.arrow):
            for child in layout.children:
                yield from self._pads(child)
        elif layout.children:
            yield o.PAD_OFFSET, layout.values, layout.children[0].length
        elif layout.data != NONE:
            yield o.PAD_OFFSET, layout.values, self.buffers[layout.data].cursor
        elif layout.values != NONE:
            yield _PADS[self.buffers[layout.values].bits], layout.values, 0


def plan(columns: tuple[Column, ...]) -> Plan:
    """Compile the columns of a record to a program."""
    builder = _Builder()
    layouts = tuple(builder.column(column, 0) for column in columns)
    builder.row(o.END, None)
    builder.nulls()
    return Plan(
        np.array(builder.rows, np.int64),
        np.array(builder.addresses, np.int64).reshape(-1, 3),
        tuple(builder.buffers),
        builder.cursors,
        builder.deepest,
        layouts,
        tuple(builder.steps),
    )


def least_bytes(column: Column) -> int:
    """Give the fewest bytes that a value of this column takes; a union's are its branch's number and the least of its branches."""
    if column.null_branch is not None:
        return 1
    if column.avro == "union":
        return 1 + min(map(least_bytes, column.children))
    if column.branches:
        return 1 + least_bytes(replace(column, branches=0))
    if column.avro == "record":
        return sum(map(least_bytes, column.children))
    return column.size if column.avro == "fixed" else _LEAST_BYTES.get(column.avro, 1)


def number_range(column: Column) -> tuple[int, int, int] | None:
    """Give the least and greatest number that stands for a value, and what it is multiplied by; None when any number does."""
    op, low, high, factor = _SCALARS[column.avro, column.logical]
    if op not in (o.INT_RANGE, o.LONG_RANGE):
        return None
    return low, high, factor if op == o.LONG_RANGE else 1


def _instruction(column: Column) -> tuple[int, int, int, int]:
    """Choose opcode and operands for a value."""
    if column.logical == "decimal":
        bound = 10 ** int(column.arrow.precision)
        low = bound & (2**64 - 1)
        words = bound >> 64, low - 2**64 if low >= 2**63 else low
        op = o.DECIMAL if column.avro == "bytes" else o.DECIMAL_FIXED
        return op, *words, column.size
    if column.avro == "enum":
        return o.ENUM, len(column.symbols), 0, 0
    if column.avro == "fixed" and column.logical is None:
        return o.FIXED, column.size, 0, 0
    return _SCALARS[column.avro, column.logical]
