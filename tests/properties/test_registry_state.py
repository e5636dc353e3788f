"""The registry's state as a machine: whatever is asked in whatever order, and whatever compaction does to its log."""

import json
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from schemas.compatibility import Level, parse
from schemas.embedded import changes
from schemas.embedded.changes import Change
from schemas.embedded.log import MemoryLog
from schemas.embedded.records import Content
from schemas.embedded.refusals import Refusal
from schemas.embedded.service import Service
from schemas.embedded.state import State

SUBJECTS = st.sampled_from(["a", "b", "c"])
FIELDS = st.lists(st.sampled_from("uvwxy"), unique=True, max_size=4)
METADATA = st.sampled_from([None, None, None, '{"properties":{"k":"1"}}', '{"properties":{"k":"2"}}'])


def content_of(fields: list[str], defaults: bool, metadata: str | None) -> Content:
    more: dict[str, Any] = {"default": 0} if defaults else {}
    record = {"type": "record", "name": "R", "fields": [{"name": f, "type": "int", **more} for f in fields]}
    return Content(parse(json.dumps(record)).text, metadata)


CONTENTS = st.builds(content_of, FIELDS, st.booleans(), METADATA)


def picture(state: State) -> Any:
    """All that a client can see."""
    subjects = {name: state.versions(name, deleted=True) for name in state.subjects(deleted=True)}
    ids = {v.schema_id: state.places(v.schema_id, deleted=True) for versions in subjects.values() for v in versions}
    levels = {name: state.level(name) for name in [None, "a", "b", "c"]}
    return subjects, ids, levels, state.highest_id


class RegistryMachine(RuleBasedStateMachine):
    """Drives a service over a log in memory; keeps beside it what must never change."""

    def __init__(self) -> None:
        super().__init__()
        self.log = MemoryLog()
        self.service = Service(self.log)
        self.meaning: dict[int, Content] = {}
        self.highest_version: dict[str, int] = {}

    def change(self, decide: Any) -> tuple[Any, Refusal | None]:
        """The answer, or the refusal, which must leave no trace."""
        before = (len(self.log.stored), self.service.read(picture))
        try:
            return self.service.change(decide), None
        except Refusal as error:
            refusal = error
        assert before == (len(self.log.stored), self.service.read(picture))
        return None, refusal

    @rule(subject=SUBJECTS, content=CONTENTS)
    def register(self, subject: str, content: Content) -> None:
        before = self.service.read(lambda state: state.versions(subject, deleted=True))
        known = self.service.read(lambda state: state.find(subject, content))
        level = self.service.read(lambda state: state.level_in_force(subject))
        highest = self.service.read(lambda state: state.highest_id)
        version, refusal = self.change(lambda state: changes.register(state, subject, content))
        if refusal is not None:
            assert refusal.status == 409
            assert level is not Level.NONE
            assert known is None
            return
        assert version.content.text == content.text
        assert content.metadata in (None, version.content.metadata)
        if known is not None:
            assert version == known
        else:
            assert version.version == max((v.version for v in before), default=0) + 1
            reused = version.schema_id <= highest
            assert reused or version.schema_id == highest + 1
        assert self.meaning.setdefault(version.schema_id, version.content) == version.content
        assert self.service.read(lambda state: state.find(subject, content)) == version

    @rule(subject=SUBJECTS, number=st.integers(-1, 4).filter(bool), permanent=st.booleans())
    def delete_version(self, subject: str, number: int, permanent: bool) -> None:
        every = {v.version: v for v in self.service.read(lambda state: state.versions(subject, deleted=True))}
        target = every.get(max(every, default=0) if number == -1 else number)
        done, refusal = self.change(lambda state: changes.delete_version(state, subject, number, permanent))
        if refusal is not None:
            expected = 40401 if not every else 40402 if target is None else 40407 if permanent else 40406
            assert refusal.code == expected
            return
        assert target is not None
        assert (done, target.deleted) == (target.version, permanent)
        left = self.service.read(lambda state: state.versions(subject, deleted=True))
        assert (done in [v.version for v in left]) is not permanent

    @rule(subject=SUBJECTS, permanent=st.booleans())
    def delete_subject(self, subject: str, permanent: bool) -> None:
        every = self.service.read(lambda state: state.versions(subject, deleted=True))
        live = [v for v in every if not v.deleted]
        done, refusal = self.change(lambda state: changes.delete_subject(state, subject, permanent))
        if refusal is not None:
            assert refusal.code == (40401 if not every else 40405 if permanent else 40404)
            return
        assert done == [v.version for v in (every if permanent else live)]
        assert self.service.read(lambda state: state.versions(subject)) == []
        left = self.service.read(lambda state: state.versions(subject, deleted=True))
        assert bool(left) is not permanent

    @rule(subject=SUBJECTS | st.none(), level=st.sampled_from(Level))
    def set_level(self, subject: str | None, level: Level) -> None:
        assert self.change(lambda state: changes.set_level(state, subject, level)) == (level, None)

    @rule(subject=SUBJECTS | st.none())
    def delete_level(self, subject: str | None) -> None:
        level = self.service.read(lambda state: state.level(subject))
        answer, refusal = self.change(lambda state: changes.delete_level(state, subject))
        if refusal is not None:
            assert (refusal.code, level) == (40401, None)
            return
        assert answer == level or level is None
        assert self.service.read(lambda state: state.level(subject)) is None

    @rule()
    def restart(self) -> None:
        before = self.service.read(picture)
        self.service = Service(MemoryLog("restarted", self.log.stored))
        self.log = self.service._log  # type: ignore[assignment]  # it is the memory log of the line before
        assert self.service.read(picture) == before

    @precondition(lambda self: self.log.stored)
    @rule(data=st.data())
    def compact(self, data: st.DataObject) -> None:
        """Kafka may drop a record that a later one of its key replaces, and a tombstone that replaces nothing any more.

        It never drops the newest record of the log.
        """
        newest = {key: position for position, (key, _, _) in enumerate(self.log.stored)}
        last = len(self.log.stored) - 1
        kept, replacing = [], set()
        for position, (key, value, headers) in enumerate(self.log.stored):
            replaced = newest[key] > position
            tombstone = value is None and not replaced and key not in replacing
            if position != last and (replaced or tombstone) and data.draw(st.booleans()):
                continue
            kept.append((key, value, headers))
            replacing.add(key)
        before = self.service.read(picture)
        self.log = MemoryLog("restarted", kept)
        self.service = Service(self.log)
        assert self.service.read(picture) == before

    @invariant()
    def an_id_means_what_it_meant_when_it_was_given(self) -> None:
        for versions in self.service.read(picture)[0].values():
            for version in versions:
                assert self.meaning[version.schema_id] == version.content

    @invariant()
    def content_has_one_id_and_one_place_in_a_subject(self) -> None:
        subjects = self.service.read(picture)[0]
        every = [version for versions in subjects.values() for version in versions]
        assert len({v.content for v in every}) == len({v.schema_id for v in every})
        for versions in subjects.values():
            assert len({v.schema_id for v in versions}) == len(versions)
            assert [v.version for v in versions] == sorted({v.version for v in versions})

    @invariant()
    def what_was_allowed_is_compatible(self) -> None:
        """Looking at a state writes nothing: asking for what is there changes nothing."""
        for name, versions in self.service.read(picture)[0].items():
            for version in versions:
                if not version.deleted:
                    again: Change[Any] = self.service.read(
                        lambda state, n=name, v=version: changes.register(state, n, v.content)
                    )
                    assert (again.answer, again.records) == (version, ())


TestRegistryMachine = RegistryMachine.TestCase
