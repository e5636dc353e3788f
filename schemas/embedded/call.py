"""One request, and what may be asked of it: names, numbers, flags, the schema in its body."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from schemas import compatibility
from schemas.compatibility import Level
from schemas.embedded import refusals
from schemas.embedded.records import Content, canonical_json
from schemas.embedded.state import LATEST
from thalweg.errors import ConfigurationError

# Names that Confluent's clients use for "all subjects of a context" and "no subject".
_RESERVED_SUBJECTS = {"__GLOBAL", "__EMPTY"}

DEFAULT_CONTEXT = ":.:"
"""Before a subject it says nothing: subjects without a context are in the default one."""

_MAX_INT = 2**31 - 1

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    """One request: parts of the path, query parameters in order, and the JSON body (None without one)."""

    path: Mapping[str, str]
    query: Sequence[tuple[str, str]]
    body: Any = None

    @property
    def subject(self) -> str:
        """The subject in the path; the default context's prefix says nothing. Raises Refusal (42208)."""
        name = self.path["subject"].removeprefix(DEFAULT_CONTEXT)
        if not name or name in _RESERVED_SUBJECTS or any(ord(character) < 32 for character in name):
            raise refusals.invalid_subject(name)
        return name

    @property
    def version(self) -> int:
        """The version in the path, LATEST for `latest` and -1. Raises Refusal (42202)."""
        text = self.path["version"].strip()
        if text.lower() == "latest":
            return LATEST
        try:
            number = int(text)
        except ValueError:
            raise refusals.invalid_version(text) from None
        if number != LATEST and not 1 <= number <= _MAX_INT:
            raise refusals.invalid_version(text)
        return number

    @property
    def schema_id(self) -> int:
        """The id in the path. Raises Refusal (404), as Confluent's does, for what is no number."""
        try:
            return int(self.path["id"])
        except ValueError:
            raise refusals.Refusal(404, "HTTP 404 Not Found") from None

    def text(self, name: str) -> str | None:
        """The first value of a query parameter."""
        return next((value for key, value in self.query if key == name), None)

    def flag(self, *names: str) -> bool:
        """Whether one of these query parameters says true. Python's client writes `True`."""
        return any((self.text(name) or "").strip().lower() == "true" for name in names)

    def page(self, items: Iterable[T]) -> list[T]:
        """The part of a list that `offset` and `limit` ask for; a negative limit is none."""
        found = list(items)
        try:
            offset, limit = int(self.text("offset") or 0), int(self.text("limit") or -1)
        except ValueError:
            raise refusals.Refusal(404, "HTTP 404 Not Found") from None
        found = found[max(offset, 0) :]
        return found if limit < 0 else found[:limit]

    def content(self) -> Content:
        """The schema in the body, in its one text. Raises Refusal (42201) for what this registry does not keep."""
        kind = self._field("schemaType", str) or "AVRO"
        if kind != "AVRO":
            raise refusals.invalid_schema(
                f"Invalid schema type {kind}: the embedded registry keeps AVRO only so far; "
                "use Confluent's, Karapace or Apicurio for JSON and PROTOBUF"
            )
        if self._field("references", list):
            raise refusals.invalid_schema(
                "the embedded registry does not keep references so far; send one whole schema"
            )
        text = self._field("schema", str)
        if not text or not text.strip():
            raise refusals.invalid_schema("Empty schema")
        try:
            parsed = compatibility.parse(text, normalize=self.flag("normalize"))
        except ConfigurationError as error:
            raise refusals.invalid_schema(f"Invalid schema: {error.message}") from error
        metadata, rules = self._field("metadata", dict), self._field("ruleSet", dict)
        return Content(parsed.text, canonical_json(metadata), canonical_json(rules))

    def level(self) -> Level:
        """The compatibility level in the body, in either case. Raises Refusal (42203)."""
        unknown = {name for name, value in self._object().items() if value is not None} - {
            "compatibility",
            "compatibilityLevel",
        }
        if unknown:
            raise refusals.not_permitted(
                f"the embedded registry keeps `compatibility` only, not {', '.join(sorted(unknown))}"
            )
        text = self._field("compatibility", str) or self._field("compatibilityLevel", str) or ""
        try:
            return Level(text.upper())
        except ValueError:
            raise refusals.invalid_level() from None

    def leave_numbers(self) -> None:
        """Check that the body leaves id and version to the registry. Raises Refusal (42205): only imports set them."""
        for number in ("id", "version"):
            if (self._field(number, int) or -1) > 0:
                raise refusals.not_permitted(
                    f"Subject {self.subject} is not in import mode: the registry gives the {number}"
                )

    def _field(self, name: str, kind: type[T]) -> T | None:
        value = self._object().get(name)
        if value is not None and not isinstance(value, kind):
            raise refusals.Refusal(400, f"`{name}` must be of type {kind.__name__}")
        return value

    def _object(self) -> dict[str, Any]:
        if not isinstance(self.body, dict):
            raise refusals.Refusal(400, "the request's body must be a JSON object")
        return self.body
