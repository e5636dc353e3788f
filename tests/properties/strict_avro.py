"""A second reader of Avro, slow and plain, that the kernel is held against: the same strictness, written from the specification.

fastavro is the first oracle, but it lets pass what must not pass: numbers beyond their type, enum indices from the end,
bytes left over, decimals beyond their precision, a key twice. It knows nothing of `schemas.columns` nor of `ingest.decode`.
"""

import re
import struct
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal
from typing import Any

EMPTY_ITEMS = 4096
_UUID = re.compile(rb"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_WIDE = Context(prec=60)


class Bad(Exception):
    """The record is not what its schema says."""


def read_record(schema: dict[str, Any], body: bytes) -> dict[str, Any]:
    """Read a whole record, as Arrow's `to_pylist` would give it. Raises Bad."""
    value: dict[str, Any] = read_value(schema, body)
    return value


def read_value(schema: Any, body: bytes) -> Any:
    """Read one value of any schema. Raises Bad."""
    reader = _Reader(body)
    value = reader.read(schema)
    if reader.at != len(body):
        raise Bad("left over")
    return value


def name_of(branch: Any) -> str:
    """What a union's branch is called."""
    return branch if isinstance(branch, str) else str(branch.get("name", branch["type"]))


class _Reader:
    def __init__(self, body: bytes) -> None:
        self.body, self.at, self.empty = body, 0, 0

    def take(self, n: int) -> bytes:
        if n < 0 or self.at + n > len(self.body):
            raise Bad("cut")
        self.at += n
        return self.body[self.at - n : self.at]

    def number(self, bits: int = 64) -> int:
        raw = 0
        for place in range(10):
            (b,) = self.take(1)
            raw |= (b & 127) << (7 * place)
            if b < 128:
                break
        else:
            raise Bad("too long")
        value = (raw >> 1) ^ -(raw & 1)
        if not -(2 ** (bits - 1)) <= value < 2 ** (bits - 1) or raw >= 2**64:
            raise Bad("too great")
        return value

    def read(self, schema: Any) -> Any:
        if isinstance(schema, list):
            branch = self.number()
            if branch not in range(len(schema)):
                raise Bad("branch")
            value = self.read(schema[branch])
            members = [kind for kind in schema if kind != "null"]
            if len(members) < 2:
                return value
            return (
                None
                if schema[branch] == "null"
                else {name_of(m): value if m is schema[branch] else None for m in members}
            )
        if isinstance(schema, str):
            schema = {"type": schema}
        kind = schema["type"]
        if schema.get("logicalType"):
            return self.logical(schema)
        if kind == "record":
            return {field["name"]: self.read(field["type"]) for field in schema["fields"]}
        if kind == "array":
            return list(self.items(lambda: self.read(schema["items"])))
        if kind == "map":
            entries = list(self.items(lambda: (self.read("string"), self.read(schema["values"]))))
            if len({key for key, _ in entries}) < len(entries):
                raise Bad("same key")
            return entries
        if kind == "enum":
            index = self.number()
            if index not in range(len(schema["symbols"])):
                raise Bad("symbol")
            return schema["symbols"][index]
        return self.primitive(kind, schema)

    def primitive(self, kind: str, schema: dict[str, Any]) -> Any:
        if kind == "null":
            return None
        if kind == "boolean":
            (b,) = self.take(1)
            if b > 1:
                raise Bad("boolean")
            return b == 1
        if kind in ("int", "long"):
            return self.number(32 if kind == "int" else 64)
        if kind in ("float", "double"):
            (value,) = struct.unpack("<f", self.take(4)) if kind == "float" else struct.unpack("<d", self.take(8))
            return value
        if kind == "fixed":
            return self.take(schema["size"])
        data = self.take(self.number())
        try:
            return data if kind == "bytes" else data.decode()
        except UnicodeDecodeError as error:
            raise Bad("UTF-8") from error

    def logical(self, schema: dict[str, Any]) -> Any:
        kind, logical = schema["type"], schema["logicalType"]
        if logical == "decimal":
            data = self.take(self.number() if kind == "bytes" else schema["size"])
            unscaled = int.from_bytes(data, "big", signed=True)
            if not data or abs(unscaled) >= 10 ** schema["precision"]:
                raise Bad("precision")
            return Decimal(unscaled).scaleb(-schema["scale"], _WIDE)
        if logical == "duration":
            return dict(zip(("months", "days", "millis"), struct.unpack("<III", self.take(12)), strict=True))
        if logical == "uuid":
            if kind == "fixed":
                return str(uuid.UUID(bytes=self.take(16)))
            text = self.take(self.number())
            if not _UUID.fullmatch(text):
                raise Bad("uuid")
            return text.decode()
        value = self.number(32 if kind == "int" else 64)
        if logical.startswith("time-"):
            if not 0 <= value < 86_400_000 * (1 if logical == "time-millis" else 1000):
                raise Bad("time")
            return value
        if logical.endswith("-nanos"):
            return value
        try:
            if logical == "date":
                return date(1970, 1, 1) + timedelta(days=value)
            zone = None if logical.startswith("local") else UTC
            delta = timedelta(milliseconds=value) if logical.endswith("millis") else timedelta(microseconds=value)
            return datetime(1970, 1, 1, tzinfo=zone) + delta
        except OverflowError as error:
            raise Bad("year") from error

    def items(self, item: Any) -> Any:
        while count := self.number():
            must_end = None
            if count < 0:
                size = self.number()
                must_end = self.at + size
                if size < 0 or must_end > len(self.body):
                    raise Bad("block size")
            for _ in range(abs(count)):
                before = self.at
                yield item()
                self.empty += self.at == before
                if self.empty > EMPTY_ITEMS:
                    raise Bad("too many items of nothing")
            if must_end not in (None, self.at):
                raise Bad("block size")
