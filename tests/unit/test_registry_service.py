"""One writer over a log: restarts, compaction, a second registry, a log that fails."""

import json
from collections.abc import Sequence

import pytest

from schemas.compatibility import Level
from schemas.embedded import changes, records
from schemas.embedded.log import Entry, MemoryLog, Stored
from schemas.embedded.records import Content, Record, Version
from schemas.embedded.refusals import Refusal
from schemas.embedded.service import Service
from schemas.embedded.state import State
from thalweg.errors import BrokerUnavailable, ConfigurationError, TopicRecreated

INT, LONG = Content('"int"'), Content('"long"')


def register(service: Service, subject: str, content: Content) -> Version:
    return service.change(lambda state: changes.register(state, subject, content))


def delete(service: Service, subject: str) -> None:
    service.change(lambda state: changes.delete_subject(state, subject, permanent=False))
    service.change(lambda state: changes.delete_subject(state, subject, permanent=True))


def compacted(log: MemoryLog) -> MemoryLog:
    """What Kafka leaves in the end: of each key the newest record, unless it is a tombstone; and the newest record of all."""
    newest = {key: position for position, (key, _, _) in enumerate(log.stored)}
    kept = [
        stored
        for position, stored in enumerate(log.stored)
        if position == len(log.stored) - 1 or (newest[stored[0]] == position and stored[1] is not None)
    ]
    return MemoryLog("restarted", kept)


def test_an_id_is_not_given_again_after_its_schema_was_deleted_compacted_and_forgotten() -> None:
    log = MemoryLog()
    service = Service(log)
    assert register(service, "a", INT).schema_id == 1
    assert register(service, "b", LONG).schema_id == 2
    delete(service, "b")
    again = Service(compacted(log))
    assert again.read(lambda state: state.subjects(deleted=True)) == ["a"]
    assert register(again, "c", LONG).schema_id == 3


def test_the_topic_holds_confluents_layout() -> None:
    log = MemoryLog()
    service = Service(log)
    register(service, "a", Content('"int"', '{"properties":{"k":"v"}}'))
    service.change(lambda state: changes.set_level(state, None, Level.FULL))
    service.change(lambda state: changes.set_level(state, "a", Level.NONE))
    service.change(lambda state: changes.delete_subject(state, "a", permanent=False))
    service.change(lambda state: changes.delete_subject(state, "a", permanent=True))
    assert [(key.decode(), None if value is None else json.loads(value)) for key, value, _ in log.stored] == [
        (
            '{"keytype":"SCHEMA","subject":"a","version":1,"magic":1}',
            {
                "subject": "a",
                "version": 1,
                "id": 1,
                "schema": '"int"',
                "deleted": False,
                "metadata": {"properties": {"k": "v"}},
            },
        ),
        ('{"keytype":"CONFIG","subject":null,"magic":0}', {"compatibilityLevel": "FULL"}),
        ('{"keytype":"CONFIG","subject":"a","magic":0}', {"subject": "a", "compatibilityLevel": "NONE"}),
        ('{"keytype":"DELETE_SUBJECT","subject":"a","magic":0}', {"subject": "a", "version": 1}),
        ('{"keytype":"SCHEMA","subject":"a","version":1,"magic":1}', None),
        ('{"keytype":"CONFIG","subject":"a","magic":0}', None),
    ]


def test_records_of_another_registry_are_read_and_what_it_alone_knows_is_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Records as Confluent's registry writes them, without our headers."""
    stored: list[Stored] = [
        (b'{"keytype":"NOOP","magic":0}', None, []),
        (
            b'{"keytype":"SCHEMA","subject":"s","version":3,"magic":1}',
            b'{"subject":"s","version":3,"id":41,"md5":"x","schema":"\\"int\\"","deleted":false}',
            [],
        ),
        (b'{"keytype":"MODE","subject":null,"magic":0}', b'{"mode":"READWRITE"}', []),
        (b'{"keytype":"CONFIG","subject":null,"magic":0}', b'{"normalize":true}', []),
    ]
    service = Service(MemoryLog("ours", stored))
    assert service.read(lambda state: state.content(41)) == INT
    assert service.read(lambda state: state.global_level) == Level.BACKWARD
    assert register(service, "other", LONG).schema_id == 42
    left_out = [record.getMessage() for record in caplog.records]
    assert len(left_out) == 2
    assert "NOOP" in left_out[0]
    assert "MODE" in left_out[1]


@pytest.mark.parametrize(
    ("value", "what"),
    [({"schemaType": "PROTOBUF"}, "PROTOBUF"), ({"references": [{"name": "n"}]}, "references")],
)
def test_a_topic_with_schemas_that_cannot_be_served_is_refused_at_start(value: dict[str, object], what: str) -> None:
    whole = {"subject": "s", "version": 1, "id": 1, "schema": "x", **value}
    stored: list[Stored] = [(b'{"keytype":"SCHEMA","subject":"s","version":1}', json.dumps(whole).encode(), [])]
    with pytest.raises(ConfigurationError, match=what):
        Service(MemoryLog("ours", stored))


def test_an_id_with_two_meanings_is_refused() -> None:
    state = State()
    state.apply(records.of_version(Version("a", 1, 7, INT), 7))
    with pytest.raises(ConfigurationError, match="7 stands for two schemas"):
        state.apply(records.of_version(Version("b", 1, 7, LONG), 7))


def test_a_second_registry_at_the_same_topic_stops_the_first_from_writing() -> None:
    log = MemoryLog("first")
    first = Service(log)
    register(first, "a", INT)
    second = Service(MemoryLog("second", log.stored))
    assert register(second, "b", LONG).schema_id == 2
    for _ in range(2):
        with pytest.raises(Refusal, match="another registry") as refusal:
            register(first, "c", Content('"bytes"'))
        assert refusal.value.code == 50001
    assert first.fault is not None
    assert first.read(lambda state: state.content(2)) == LONG, "reading goes on"
    assert second.fault is None


class BrittleLog(MemoryLog):
    """A log that fails as it is told: before or after the records are there."""

    fail: str | None = None

    def append(self, new: Sequence[Record]) -> None:
        if self.fail == "before":
            raise BrokerUnavailable("gone")
        super().append(new)
        if self.fail == "after":
            raise BrokerUnavailable("gone")

    def read(self) -> list[Entry]:
        if self.fail == "recreated":
            raise TopicRecreated("recreated", "restart")
        return super().read()


def test_a_write_that_failed_is_not_answered_with_success_and_can_be_tried_again() -> None:
    log = BrittleLog()
    service = Service(log)
    log.fail = "before"
    with pytest.raises(Refusal) as refusal:
        register(service, "a", INT)
    assert (refusal.value.code, service.fault) == (50001, "gone")
    assert service.read(lambda state: state.subjects()) == []
    log.fail = None
    assert register(service, "a", INT).schema_id == 1
    assert service.fault is None


def test_a_write_of_unknown_outcome_is_seen_by_the_next_request() -> None:
    log = BrittleLog()
    service = Service(log)
    log.fail = "after"
    with pytest.raises(Refusal):
        register(service, "a", INT)
    log.fail = None
    assert register(service, "a", INT) == Version("a", 1, 1, INT)
    assert len(log.stored) == 1


def test_a_recreated_topic_ends_writing_until_the_restart() -> None:
    log = BrittleLog()
    service = Service(log)
    log.fail = "recreated"
    with pytest.raises(Refusal, match="recreated; restart"):
        register(service, "a", INT)
    log.fail = None
    with pytest.raises(Refusal, match="recreated"):
        register(service, "a", INT)
