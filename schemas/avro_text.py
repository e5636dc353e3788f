"""One text for one Avro schema: names resolved, attributes in the order that Java's `Schema.toString` writes.

Two texts that differ only in white space, in the order of attributes or in how names are spelled are the same schema.
Documentation, defaults, aliases and unknown attributes (logical types among them) are kept: they belong to what was
registered. Rules: https://avro.apache.org/docs/1.12.0/specification/#names
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from thalweg.errors import ConfigurationError

PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})

# Deeper than any schema that a person writes, and well within Python's recursion limit for the library that checks it.
_MAX_NESTING = 64

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SCHEMA_ATTRIBUTES = frozenset(
    {"type", "name", "namespace", "doc", "fields", "items", "values", "size", "symbols", "aliases"}
)
_FIELD_ATTRIBUTES = frozenset({"name", "type", "doc", "default", "order", "aliases"})
_ORDERS = ("ascending", "descending", "ignore")

Resolved = str | list[Any] | dict[str, Any]
"""A schema as JSON in which every name is a full name, and a name that was defined before is a string."""


def resolve(text: str) -> Resolved:
    """Read a schema and resolve its names.

    Raises ConfigurationError, naming the place, for text that is not JSON or not an Avro schema.
    """
    try:
        node = read_json(text)
    except ValueError as error:
        raise ConfigurationError(f"the schema is not JSON: {error}", "send the Avro schema as JSON text") from error
    return _Resolver().schema(node, "", (), 0)


def read_json(text: str | bytes) -> Any:
    """Read JSON that can be written again as JSON: no NaN, nothing beyond a double, no half of a surrogate pair.

    Raises ValueError, also for nesting that Python cannot follow.
    """
    try:
        node = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    json.dumps(node, ensure_ascii=False).encode()  # a lone surrogate is a UnicodeEncodeError, which is a ValueError
    return node


def canonical(resolved: Resolved) -> str:
    """The text that stands for the schema: namespaces written once, inner names short, as Java writes them."""
    return _dumps(_shorten(resolved, ""))


def normalized(resolved: Resolved) -> str:
    """A text that also ignores the order of unknown attributes and aliases; every name is a full name."""
    return _dumps(_sort_attributes(resolved))


def full(resolved: Resolved) -> str:
    """The resolved schema as it is, for a library that compares names."""
    return _dumps(resolved)


def _dumps(node: Any) -> str:
    return json.dumps(node, ensure_ascii=False, separators=(",", ":"))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{text} is beyond a double")
    return number


class _Resolver:
    """One walk over one schema. `known` are the full names defined so far, in the order of the text."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def schema(self, node: Any, namespace: str, path: tuple[str, ...], depth: int) -> Resolved:
        if depth > _MAX_NESTING:
            _refuse(path, f"schemas nested more than {_MAX_NESTING} deep")
        if isinstance(node, str):
            return self._reference(node, namespace, path)
        if isinstance(node, list):
            return self._union(node, namespace, path, depth)
        if not isinstance(node, dict):
            _refuse(path, f"a schema is a name, a list or an object, not {json.dumps(node)}")
        kind = node.get("type")
        if not isinstance(kind, str):
            _refuse(path, 'an object needs a "type" that is a string')
        if kind in PRIMITIVES:
            attributes = _attributes(node, _SCHEMA_ATTRIBUTES)
            return {"type": kind, **attributes} if attributes else kind
        if kind == "array":
            return self._holder(node, "items", namespace, path, depth)
        if kind == "map":
            return self._holder(node, "values", namespace, path, depth)
        if kind in ("record", "enum", "fixed"):
            return self._named(node, kind, namespace, path, depth)
        return self._reference(kind, namespace, path)

    def _reference(self, name: str, namespace: str, path: tuple[str, ...]) -> str:
        if name in PRIMITIVES:
            return name
        qualified = _qualified(name, namespace)
        found = qualified if qualified in self._known else name
        if found not in self._known:
            _refuse(path, f"no type is named {name!r} so far")
        return found

    def _union(self, node: list[Any], namespace: str, path: tuple[str, ...], depth: int) -> list[Resolved]:
        branches: list[Resolved] = []
        seen = set()
        for i, item in enumerate(node):
            here = (*path, str(i))
            branch = self.schema(item, namespace, here, depth + 1)
            if isinstance(branch, list):
                _refuse(here, "a union holds no union")
            name = branch if isinstance(branch, str) else branch.get("name", branch["type"])
            if name in seen:
                _refuse(here, f"{name} is in the union twice")
            seen.add(name)
            branches.append(branch)
        return branches

    def _holder(
        self, node: dict[str, Any], inner: str, namespace: str, path: tuple[str, ...], depth: int
    ) -> dict[str, Any]:
        if inner not in node:
            _refuse(path, f'{node["type"]} needs "{inner}"')
        held = self.schema(node[inner], namespace, (*path, inner), depth + 1)
        return {"type": node["type"], inner: held, **_attributes(node, _SCHEMA_ATTRIBUTES)}

    def _named(
        self, node: dict[str, Any], kind: str, namespace: str, path: tuple[str, ...], depth: int
    ) -> dict[str, Any]:
        name = self._define(node, namespace, path)
        path = (*path, name)
        space = name.rpartition(".")[0]
        out: dict[str, Any] = {"type": kind, "name": name, **_doc(node, path)}
        reserved = _SCHEMA_ATTRIBUTES
        if kind == "record":
            out["fields"] = self._fields(node, space, path, depth)
        elif kind == "enum":
            out["symbols"] = _symbols(node, path)
            if "default" in node:
                if node["default"] not in out["symbols"]:
                    _refuse(path, f"the default {node['default']!r} is none of the symbols")
                out["default"] = node["default"]
            reserved |= {"default"}
        else:
            size = node.get("size")
            if not isinstance(size, int) or isinstance(size, bool) or size < 0:
                _refuse(path, 'fixed needs a "size" of 0 or more')
            out["size"] = size
        out.update(_attributes(node, reserved))
        if aliases := _strings(node, "aliases", path):
            out["aliases"] = [_qualified(alias, space) for alias in aliases]
        return out

    def _define(self, node: dict[str, Any], namespace: str, path: tuple[str, ...]) -> str:
        name, space = node.get("name"), node.get("namespace", namespace)
        if not isinstance(name, str) or not isinstance(space, str):
            _refuse(path, f'{node["type"]} needs a "name" that is a string')
        name = _qualified(name, space)
        if not all(_NAME.fullmatch(part) for part in name.split(".")):
            _refuse(path, f"{name!r} is no Avro name")
        if name in PRIMITIVES:
            _refuse(path, f"{name} is a primitive type and cannot be defined")
        if name in self._known:
            _refuse(path, f"{name} is defined twice")
        self._known.add(name)
        return name

    def _fields(self, node: dict[str, Any], namespace: str, path: tuple[str, ...], depth: int) -> list[dict[str, Any]]:
        fields = node.get("fields")
        if not isinstance(fields, list):
            _refuse(path, 'record needs "fields", a list')
        out: list[dict[str, Any]] = []
        names = set()
        for i, field in enumerate(fields):
            if not isinstance(field, dict) or not isinstance(name := field.get("name"), str):
                _refuse((*path, str(i)), 'a field is an object with a "name"')
            here = (*path, name)
            if not _NAME.fullmatch(name):
                _refuse(here, f"{name!r} is no Avro name")
            if name in names:
                _refuse(here, "two fields have this name")
            names.add(name)
            if "type" not in field:
                _refuse(here, 'a field needs a "type"')
            out.append(_field(field, self.schema(field["type"], namespace, here, depth + 1), here))
        return out


def _field(field: dict[str, Any], kind: Resolved, path: tuple[str, ...]) -> dict[str, Any]:
    out = {"name": field["name"], "type": kind, **_doc(field, path)}
    if "default" in field:
        out["default"] = field["default"]
    order = field.get("order", "ascending")
    if order not in _ORDERS:
        _refuse(path, f"order is one of {', '.join(_ORDERS)}")
    if order != "ascending":
        out["order"] = order
    if aliases := _strings(field, "aliases", path):
        out["aliases"] = aliases
    out.update(_attributes(field, _FIELD_ATTRIBUTES))
    return out


def _symbols(node: dict[str, Any], path: tuple[str, ...]) -> list[str]:
    symbols = _strings(node, "symbols", path)
    if "symbols" not in node:
        _refuse(path, 'enum needs "symbols"')
    for symbol in symbols:
        if not _NAME.fullmatch(symbol):
            _refuse(path, f"{symbol!r} is no Avro name")
    if len(set(symbols)) < len(symbols):
        _refuse(path, "a symbol stands twice")
    return symbols


def _strings(node: dict[str, Any], attribute: str, path: tuple[str, ...]) -> list[str]:
    found = node.get(attribute, [])
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        _refuse(path, f'"{attribute}" is a list of strings')
    return list(found)


def _doc(node: dict[str, Any], path: tuple[str, ...]) -> dict[str, str]:
    doc = node.get("doc")
    if doc is not None and not isinstance(doc, str):
        _refuse(path, '"doc" is a string')
    return {} if doc is None else {"doc": doc}


def _attributes(node: Mapping[str, Any], reserved: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in node.items() if name not in reserved}


def _qualified(name: str, namespace: str) -> str:
    return name if "." in name or not namespace else f"{namespace}.{name}"


def _refuse(path: tuple[str, ...], why: str) -> NoReturn:
    where = f" at {'/'.join(path)}" if path else ""
    raise ConfigurationError(f"not an Avro schema{where}: {why}", "mend the schema")


def _shorten(node: Any, namespace: str) -> Any:
    """Write names relative to the namespace around them."""
    if isinstance(node, str):
        return _short(node, namespace)
    if isinstance(node, list):
        return [_shorten(branch, namespace) for branch in node]
    out: dict[str, Any] = {}
    inner = namespace
    for attribute, value in node.items():
        if attribute == "name":
            inner, _, out["name"] = value.rpartition(".")
            if inner != namespace:
                out["namespace"] = inner
        elif attribute in ("items", "values"):
            out[attribute] = _shorten(value, namespace)
        elif attribute == "fields":
            out["fields"] = [{**field, "type": _shorten(field["type"], inner)} for field in value]
        elif attribute == "aliases":
            out["aliases"] = [_short(alias, inner) for alias in value]
        else:
            out[attribute] = value
    return out


def _short(name: str, namespace: str) -> str:
    space, _, last = name.rpartition(".")
    return last if space and space == namespace and last not in PRIMITIVES else name


def _sort_attributes(node: Any) -> Any:
    if isinstance(node, str):
        return node
    if isinstance(node, list):
        return [_sort_attributes(branch) for branch in node]
    out = {attribute: node[attribute] for attribute in sorted(node)}
    for attribute in ("items", "values"):
        if attribute in out:
            out[attribute] = _sort_attributes(out[attribute])
    if "fields" in out:
        out["fields"] = [_sorted_field(field) for field in out["fields"]]
    if "aliases" in out:
        out["aliases"] = sorted(out["aliases"])
    return out


def _sorted_field(field: dict[str, Any]) -> dict[str, Any]:
    out = {attribute: field[attribute] for attribute in sorted(field)}
    if "aliases" in out:
        out["aliases"] = sorted(out["aliases"])
    return {**out, "type": _sort_attributes(field["type"])}
