"""Schemas evolved into others that read what was written before: fields added, dropped, moved and renamed, types widened."""

from random import Random
from typing import Any

_WIDER = {
    "int": ["long", "float", "double"],
    "long": ["float", "double"],
    "float": ["double"],
    "string": ["bytes"],
    "bytes": ["string"],
}
_NEW: list[tuple[Any, Any]] = [
    ("int", 7),
    ("double", 0.5),
    ("boolean", True),
    ("string", "x"),
    ("bytes", "\u00ff"),
    (["null", "long"], None),
    (["long", "null"], 5),
    (["string", "int", "null"], "x"),
    ({"type": "array", "items": "string"}, ["a", "b"]),
    ({"type": "array", "items": "int"}, []),
    ({"type": "map", "values": "double"}, {"k": 1.5}),
    ({"type": "enum", "name": "New", "symbols": ["A", "B"]}, "B"),
    ({"type": "record", "name": "New", "fields": [{"name": "y", "type": ["null", "int"]}]}, {"y": None}),
]


def evolved(schema: dict[str, Any], random: Random) -> dict[str, Any]:
    """A reader's schema for what this one wrote. Not each value can be read by it, and by a few no value can."""
    return _Evolution(random).record(schema)


class _Evolution:
    def __init__(self, random: Random) -> None:
        self._random = random
        self._made = 0

    def _chance(self, of: int) -> bool:
        return self._random.randrange(of) == 0

    def _mixed(self, things: list[Any]) -> list[Any]:
        return self._random.sample(things, len(things))

    def kind(self, kind: Any) -> Any:
        if isinstance(kind, list):
            return self.union(kind)
        if self._chance(8):
            return self._random.choice([[kind], ["null", kind], [kind, "null"]]) if kind != "null" else ["null", "int"]
        if isinstance(kind, str):
            return self._random.choice(_WIDER[kind]) if kind in _WIDER and self._chance(3) else kind
        if "logicalType" in kind:
            return kind
        match kind["type"]:
            case "record":
                return self.record(kind)
            case "enum":
                return self.enum(kind)
            case "array":
                return {**kind, "items": self.kind(kind["items"])}
            case "map":
                return {**kind, "values": self.kind(kind["values"])}
        return self.renamed(kind)

    def union(self, union: list[Any]) -> Any:
        branches = [self.kind(branch) if self._chance(2) else branch for branch in union]
        if any(isinstance(branch, list) for branch in branches) or len(_bare(branches)) < len(branches):
            branches = list(union)
        if self._chance(3):
            branches = self._mixed(branches)
        if self._chance(4) and len(branches) > 1:
            branches.pop()
        if self._chance(4):
            new = self._random.choice(["null", "string", "double", "long", "boolean"])
            branches += [new] if new not in _bare(branches) else []
        return branches[0] if self._chance(6) else branches

    def enum(self, kind: dict[str, Any]) -> dict[str, Any]:
        symbols = self._mixed(kind["symbols"])
        if self._chance(3):
            symbols = symbols[1:] or ["T0"]
        if self._chance(3):
            symbols.append("T1")
        default = {"default": symbols[0]} if self._chance(2) else {}
        return {**self.renamed(kind), "symbols": symbols, **default}

    def record(self, kind: dict[str, Any]) -> dict[str, Any]:
        fields = []
        for field in kind["fields"]:
            if self._chance(8):
                continue
            found = {**field, "type": self.kind(field["type"])}
            if self._chance(5):
                found |= {"name": f"{field['name']}_now", "aliases": ["never", field["name"]]}
            fields.append(found)
        while not fields or self._chance(4):
            fields.append(self._new_field())
        if self._chance(3):
            fields = self._mixed(fields)
        return {**self.renamed(kind), "fields": fields}

    def renamed(self, kind: dict[str, Any]) -> dict[str, Any]:
        return {**kind, "name": f"{kind['name']}_now", "aliases": [kind["name"]]} if self._chance(6) else kind

    def _new_field(self) -> dict[str, Any]:
        self._made += 1
        kind, default = self._random.choice(_NEW)
        if isinstance(kind, dict) and "name" in kind:
            kind = {**kind, "name": f"New{self._made}"}
        return {"name": f"new{self._made}", "type": kind, "default": default}


def _bare(branches: list[Any]) -> set[str]:
    return {branch if isinstance(branch, str) else branch.get("name", branch["type"]) for branch in branches}
