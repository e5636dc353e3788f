"""Reading a declaration's YAML so that every complaint names the file, the line and the key."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

import yaml
from pydantic import BaseModel, ValidationError

from thalweg.errors import DeclarationError

Path = tuple[str | int, ...]

# Aliases of aliases make a billion items of a few lines; the longest honest declaration has some ten thousand.
_MOST_KEYS = 50_000


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document: what it says, as JSON could hold it, and on which line each key stands (counted from 1)."""

    name: str
    content: Any
    lines: Mapping[Path, int]

    def place(self, path: Path) -> str:
        """`file:line` of a path, or of the nearest one above it that was written."""
        while path not in self.lines and path:
            path = path[:-1]
        return f"{self.name}:{self.lines.get(path, 1)}"


class Complaint(NamedTuple):
    """Something that is wrong: where, and what."""

    path: Path
    message: str


def read(text: str, name: str) -> Document:
    """Parse YAML. Raises DeclarationError when it is not one document of mappings, lists and plain values."""
    try:
        node = yaml.compose(text, yaml.SafeLoader)
        if node is None:
            raise DeclarationError(f"{name}: the file is empty", "see docs/datasets.md for a declaration to start from")
        lines: dict[Path, int] = {}
        _walk(node, (), name, lines)
        return Document(name, _jsonable(yaml.safe_load(text)), lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}:{mark.line + 1}" if mark else name
        raise DeclarationError(f"{place}: not YAML: {error.problem}", "one file declares one dataset") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DeclarationError(f"{name}: not YAML: {error}", "one file declares one dataset") from error


def refusal(
    document: Document, error: ValidationError, model: Callable[[Path], type[BaseModel] | None]
) -> DeclarationError:
    """What pydantic found wrong, in a user's words. `model` tells which keys may stand at a path."""
    complaints = [_complaint(dict(e), model) for e in error.errors(include_url=False)]
    lines = [f"{document.place(path)}: {dotted(path)}: {message}" for path, message in complaints]
    return DeclarationError("\n".join(lines), "docs/datasets.md lists every key, with examples")


def dotted(path: Iterable[str | int]) -> str:
    """`contract.rules[0].range.min`; `the declaration` for the whole of it."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.lstrip(".") or "the declaration"


def _complaint(error: dict[str, Any], model: Callable[[Path], type[BaseModel] | None]) -> Complaint:
    path: Path = tuple(error["loc"])
    kind, given = error["type"], error.get("input")
    if kind == "missing":
        return Complaint(path, "is missing")
    if kind == "extra_forbidden":
        place = model(path[:-1])
        keys = [field.alias or name for name, field in place.model_fields.items()] if place else []
        keys = [key for key in keys if key != "kind"]
        close = difflib.get_close_matches(str(path[-1]), keys, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"keys are {', '.join(keys)}"
        return Complaint(path, f"unknown key; {hint}")
    if kind == "value_error":
        return Complaint(path, str(error["msg"]).removeprefix("Value error, "))
    shown = "" if isinstance(given, (dict, BaseModel)) else f", got {given!r}"
    match kind:
        case "string_pattern_mismatch":
            message = f"expected {_description(path, model) or 'a match of ' + error['ctx']['pattern']}"
        case "too_short" | "string_too_short":
            message = f"expected at least {error['ctx']['min_length']}"
        case "tuple_type":
            message = "expected a list"
        case "model_type" | "model_attributes_type":
            message = "expected keys and values"
        case _:
            message = str(error["msg"])[:1].lower() + str(error["msg"])[1:]
    return Complaint(path, message + shown)


def _description(path: Path, model: Callable[[Path], type[BaseModel] | None]) -> str | None:
    """What a key is for, as its model has it; of a list's item, what the list is for."""
    *above, key = path[:-1] if path and isinstance(path[-1], int) else path
    place = model(tuple(above))
    field = place.model_fields.get(str(key)) if place else None
    return field.description if field else None


def _walk(node: yaml.Node, path: Path, name: str, lines: dict[Path, int]) -> None:
    """Note the line of each key, and refuse a key that is given twice: YAML would take the last one silently."""
    if len(lines) > _MOST_KEYS:
        raise DeclarationError(f"{name}: more than {_MOST_KEYS} keys and items", "declare less in one file")
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _walk(item, (*path, index), name, lines)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*path, str(key.value))
            if inner in lines:
                raise DeclarationError(
                    f"{name}:{key.start_mark.line + 1}: {dotted(inner)}: given twice, first on line {lines[inner]}",
                    "keep one of them",
                )
            lines[inner] = key.start_mark.line + 1
            _walk(value, inner, name, lines)


def _jsonable(value: Any) -> Any:
    """YAML's dates and timestamps as ISO text, keys as text: what JSON can hold."""
    if isinstance(value, dict):
        return {str(key): _jsonable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_jsonable(inner) for inner in value]
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(f"{value!r} has no place in a declaration")
