"""The rules that an event must meet to be landed. An event that breaks one is quarantined under the rule's name.

A rule lets null pass, as a SQL CHECK does; only `not_null` looks for nulls. In YAML each rule is a mapping with one key:

    - not_null: carrier
    - range: {field: distance, min: 1, max: 6000}
    - one_of: {field: origin, values: [EWR, JFK, LGA]}
    - sql: {name: arrives_after_departure, expression: "air_time IS NULL OR air_time > 0"}
"""

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import pyarrow as pa
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    model_serializer,
    model_validator,
)

from schemas import literals
from thalweg.errors import DeclarationError

# What rejects a record whose partition date is unknown; no declared rule may be called so.
PARTITION_DATE = "partition_date"


def _bound(value: object) -> literals.Literal | None:
    if value is None:
        return None
    value = literals.plain(value)
    literals.parse(value)
    return value  # type: ignore[return-value]  # parse() accepts literals only


def _listed(value: object) -> object:
    """A value of `one_of`: what JSON can hold."""
    value = literals.plain(value)
    if not isinstance(value, (bool, int, float, str)):
        raise ValueError(f"expected a text, a number, a date or true/false, got {value!r}")
    return value


# What Avro allows. Only fields of the event itself; what is nested in them is for SQL.
FieldName = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,254}$"),
    Field(description="the name of one of the event's fields; SQL reaches what is nested in them"),
]
Bound = Annotated[int | float | str | None, PlainValidator(_bound)]
Listed = Annotated[bool | int | float | str, PlainValidator(_listed)]


class _Rule(BaseModel):
    """What all rules share: a name that stays the same, in quarantine, metrics and lineage."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$|^[a-z_]+\(.{1,255}\)$")]

    @model_validator(mode="before")
    @classmethod
    def _named(cls, data: Any) -> Any:
        """Call a rule after what it does and where, `range(distance)`, unless it was given a name."""
        if isinstance(data, Mapping) and isinstance(data.get("field"), str):
            return {"name": cls._default_name(data["field"]), **data}
        return data

    @classmethod
    def _default_name(cls, field: str) -> str:
        return f"{cls.model_fields['kind'].default}({field})"

    @model_validator(mode="after")
    def _no_other_rules_name(self) -> Self:
        field = getattr(self, "field", None)
        if self.name == PARTITION_DATE or (
            "(" in self.name and (field is None or self.name != self._default_name(field))
        ):
            raise ValueError(f"a rule cannot be called {self.name!r}: use small letters, digits and _")
        return self

    def to_flat(self) -> dict[str, Any]:
        """Kind, name and what else was said, side by side, as JSON can hold it."""
        said = {key: getattr(self, key) for key in type(self).model_fields}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in said.items() if v is not None}

    @model_serializer
    def _short(self) -> dict[str, Any]:
        """The form that is natural to write: one key, the kind; no name where it follows from the rest."""
        body = self.to_flat()
        kind, field = body.pop("kind"), body.get("field")
        if field is not None and body["name"] == self._default_name(field):
            del body["name"]
        return {kind: field if kind == "not_null" and len(body) == 1 else body}


class NotNull(_Rule):
    """The field has a value."""

    kind: Literal["not_null"] = "not_null"
    field: FieldName


class Range(_Rule):
    """The field lies between `min` and `max`, both included; one of them may be left out. NaN lies nowhere."""

    kind: Literal["range"] = "range"
    field: FieldName
    min: Bound = None
    max: Bound = None

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("a range needs min, max or both")
        if self.min is not None and self.max is not None:
            low, high = literals.parse(self.min), literals.parse(self.max)
            try:
                inverted = low > high  # type: ignore[operator]  # what cannot be compared raises
            except TypeError:
                raise ValueError(f"min ({self.min}) and max ({self.max}) are of different kinds") from None
            if inverted:
                raise ValueError(f"min ({self.min}) is above max ({self.max}): nothing could pass")
        return self


class OneOf(_Rule):
    """The field is one of `values`."""

    kind: Literal["one_of"] = "one_of"
    field: FieldName
    # Not strict: what comes out of a list in JSON is a list.
    values: Annotated[tuple[Listed, ...], Field(min_length=1, max_length=10_000, strict=False)]


class Sql(_Rule):
    """A DuckDB expression over the event's fields is true or null. One on which it raises is rejected, alone."""

    kind: Literal["sql"] = "sql"
    expression: Annotated[str, StringConstraints(min_length=1, max_length=10_000)]

    @model_validator(mode="after")
    def _parses(self) -> Self:
        from schemas import expressions  # DuckDB takes 0.15 s to import, and most contracts have no SQL

        expressions.parse(self.expression)
        return self


RULES: dict[str, type[_Rule]] = {"not_null": NotNull, "range": Range, "one_of": OneOf, "sql": Sql}


def _unfolded(written: object) -> object:
    """`{"range": {…}}` as the fields of a Range; `{"not_null": "x"}` likewise."""
    if isinstance(written, _Rule):
        return written
    if not isinstance(written, Mapping) or len(written) != 1:
        raise ValueError(f"a rule is one key, one of {', '.join(RULES)}, and what it needs; got {written!r}")
    ((kind, body),) = written.items()
    if kind not in RULES:
        close = difflib.get_close_matches(str(kind), RULES, 1)
        hint = f": did you mean {close[0]!r}?" if close else f"; rules are {', '.join(RULES)}"
        raise ValueError(f"unknown rule {kind!r}{hint}")
    if kind == "not_null" and isinstance(body, str):
        body = {"field": body}
    if not isinstance(body, Mapping):
        raise ValueError(f"{kind} needs {', '.join(k for k in RULES[kind].model_fields if k != 'kind')}; got {body!r}")
    if "kind" in body:
        raise ValueError(f"{kind} has no key 'kind'")
    return {"kind": kind, **body}


Rule = Annotated[NotNull | Range | OneOf | Sql, Field(discriminator="kind")]


class Contract(BaseModel):
    """What a dataset promises about each of its events. Rules are tried in order; the first one broken is named."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    rules: Annotated[tuple[Annotated[Rule, BeforeValidator(_unfolded)], ...], Field(max_length=1000)] = ()

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        seen = set()
        for rule in self.rules:
            if rule.name in seen:
                raise ValueError(f"two rules are called {rule.name!r}: give one a `name`")
            seen.add(rule.name)
        return self

    def check(self, schema: pa.Schema) -> None:
        """Check that each rule fits the events' fields and their types.

        Raises DeclarationError naming the rule, what is wrong, and the fields that there are.
        """
        sql = [rule for rule in self.rules if isinstance(rule, Sql)]
        if sql:
            from schemas.expressions import Expression, check  # see Sql._parses

            check([Expression(f"rule {rule.name}", rule.expression, pa.bool_()) for rule in sql], schema)
        for rule in self.rules:
            if isinstance(rule, Sql):
                continue
            kind = column_type(schema, rule.field, f"rule {rule.name}")
            try:
                if isinstance(rule, Range):
                    literals.limits(rule.min, rule.max, kind)
                elif isinstance(rule, OneOf):
                    literals.values(rule.values, kind)
            except ValueError as error:
                raise DeclarationError(
                    f"rule {rule.name}: field {rule.field} is {kind}: {error}", "mend the rule, or choose another field"
                ) from error


def column_type(schema: pa.Schema, field: str, where: str) -> pa.DataType:
    """Type of an event's field. Raises DeclarationError, with the fields that there are, when there is none."""
    if field in schema.names:
        return schema.field(field).type
    close = difflib.get_close_matches(field, schema.names, 1)
    raise DeclarationError(
        f"{where}: the events have no field {field!r}" + (f"; did you mean {close[0]!r}?" if close else ""),
        f"fields are {', '.join(schema.names)}",
    )
