"""What a request would change: looks at the state, and returns the answer with the records that make it true. Pure."""

from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from schemas import compatibility
from schemas.compatibility import Level
from schemas.embedded import refusals
from schemas.embedded.records import (
    Content,
    Record,
    Version,
    of_deleted_subject,
    of_level,
    of_no_version,
    of_version,
)
from schemas.embedded.state import DEFAULT_LEVEL, State, inherit

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """The answer, and what to write, in this order, before it may be given."""

    answer: T
    records: tuple[Record, ...] = ()


def register(state: State, subject: str, given: Content) -> Change[Version]:
    """Register a schema under a subject, unless it is there already.

    A schema that is known under another subject keeps its id. Raises Refusal (409) when the subject's level forbids it.
    """
    if found := state.find(subject, given):
        return Change(found)
    every = state.versions(subject, deleted=True)
    content = inherit(given, every)
    problems = incompatibilities(state, subject, content, [version for version in every if not version.deleted])
    if problems:
        raise refusals.incompatible(subject, problems)
    schema_id = state.id_of(content) or state.highest_id + 1
    highest_id = max(state.highest_id, schema_id)
    new = Version(subject, every[-1].version + 1 if every else 1, schema_id, content)
    # A deleted version of the same schema would be a second place for one id under one subject.
    superseded = [version for version in every if version.schema_id == schema_id]
    return Change(new, (of_version(new, highest_id), *(of_no_version(version, highest_id) for version in superseded)))


def incompatibilities(state: State, subject: str, content: Content, earlier: list[Version]) -> list[str]:
    """Why the level in force forbids this schema after these versions, oldest first; nothing when it does not."""
    return compatibility.incompatibilities(
        state.level_in_force(subject),
        compatibility.parse(content.text),
        [compatibility.parse(version.content.text) for version in earlier],
    )


def delete_version(state: State, subject: str, number: int, permanent: bool) -> Change[int]:
    """Delete a version softly (it can still be read by id), or for good what was softly deleted before."""
    version = state.version(subject, number, deleted=True)
    if not permanent:
        if version.deleted:
            raise refusals.version_deleted(subject, version.version)
        return Change(version.version, (of_version(replace(version, deleted=True), state.highest_id),))
    if not version.deleted:
        raise refusals.version_not_deleted(subject, version.version)
    records = [of_no_version(version, state.highest_id)]
    if len(state.versions(subject, deleted=True)) == 1:
        records += _no_level(state, subject)
    return Change(version.version, tuple(records))


def delete_subject(state: State, subject: str, permanent: bool) -> Change[list[int]]:
    """Delete all versions softly, or for good when all of them were softly deleted before."""
    every, live = state.versions(subject, deleted=True), state.versions(subject)
    if not every:
        raise refusals.subject_not_found(subject)
    if not permanent:
        if not live:
            raise refusals.subject_deleted(subject)
        numbers = [version.version for version in live]
        return Change(numbers, (of_deleted_subject(subject, numbers[-1], state.highest_id),))
    if live:
        raise refusals.subject_not_deleted(subject)
    records = [*(of_no_version(version, state.highest_id) for version in every), *_no_level(state, subject)]
    return Change([version.version for version in every], tuple(records))


def set_level(state: State, subject: str | None, level: Level) -> Change[Level]:
    """Set the compatibility level of a subject, or the global one."""
    return Change(level, (of_level(subject, level, state.highest_id),))


def delete_level(state: State, subject: str | None) -> Change[Level]:
    """Let a subject follow the global level again, or the global level be the default. Answers the level that was set.

    Raises Refusal (40401) when the subject has no level of its own.
    """
    level = state.level(subject)
    if level is None:
        if subject is not None:
            raise refusals.subject_not_found(subject)
        return Change(DEFAULT_LEVEL)
    return Change(level, (of_level(subject, None, state.highest_id),))


def _no_level(state: State, subject: str) -> list[Record]:
    return [of_level(subject, None, state.highest_id)] if state.level(subject) is not None else []
