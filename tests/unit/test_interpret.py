"""Schemas that are many, unknown, or whose registry is away."""

import json
import threading
from typing import Any

import pytest

from ingest.interpret import SCHEMA, Interpreter
from ingest.patience import Patience
from schemas.datasets import Dataset
from tests.unit.ingest_fakes import TRIP, Schemas, block_of, trips
from thalweg.clock import ManualClock
from thalweg.errors import RegistryUnavailable

DATASET = Dataset.from_json('{"name": "trips", "topics": ["trips"], "owner": "o", "partition": {"field": "day"}}')


def patience(clock: ManualClock, stopping: threading.Event | None = None) -> Patience:
    """Thirty seconds of it."""
    return Patience(clock, 30.0, stopping or threading.Event())


def test_each_unknown_schema_is_a_step_that_a_watchdog_sees() -> None:
    """Garbage that looks framed has a new id in every record; asking for each is slow on purpose, and no stall."""
    interpreter = Interpreter(DATASET, Schemas({1: TRIP}), patience(ManualClock()))  # type: ignore[arg-type]  # a stand-in
    steps: list[int] = []
    schema = Schemas.schema

    class Watched(Schemas):
        def schema(self, schema_id: int) -> str:
            steps.append(interpreter.steps)
            return schema(self, schema_id)

    interpreter = Interpreter(DATASET, Watched({1: TRIP}), patience(ManualClock()))  # type: ignore[arg-type]  # a stand-in
    garbage = [b"\0" + schema_id.to_bytes(4) + b"x" for schema_id in range(100, 150)]
    found = interpreter.read(block_of([*garbage, *trips([0])]), None)
    assert [rejection.rule for rejection in found.rejections] == [SCHEMA] * 50
    assert steps == sorted(set(steps))


def test_readers_of_schemas_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    from ingest import interpret

    monkeypatch.setattr(interpret, "_READERS", 3)
    interpreter = Interpreter(DATASET, Schemas(dict.fromkeys(range(1, 10), TRIP)), patience(ManualClock()))  # type: ignore[arg-type]  # a stand-in
    values = [b"\0" + schema_id.to_bytes(4) + (trips([7])[0] or b"")[5:] for schema_id in (1, 2, 3, 4, 5, 1)]
    for _ in range(2):
        found = interpreter.read(block_of(values), None)
        assert sum(len(rows) for _, _, rows in found.batches) == 6
        assert len(interpreter._readers) <= 3


class Away:
    """A registry that is away for some calls."""

    def __init__(self, calls: int) -> None:
        self.calls = calls

    def ask(self) -> str:
        """Answer, or not."""
        self.calls -= 1
        if self.calls >= 0:
            raise RegistryUnavailable("nobody answers", "look")
        return "there"


def test_a_service_that_comes_back_is_waited_for() -> None:
    clock = ManualClock()
    assert patience(clock).until_answered(Away(5).ask) == "there"
    assert 5 < clock.monotonic_s() < 30


def test_patience_ends() -> None:
    clock = ManualClock()
    with pytest.raises(RegistryUnavailable):
        patience(clock).until_answered(Away(10**6).ask)
    assert clock.monotonic_s() <= 30


def test_nobody_is_waited_for_when_the_worker_is_to_stop() -> None:
    clock, stopping = ManualClock(), threading.Event()
    stopping.set()
    with pytest.raises(RegistryUnavailable):
        patience(clock, stopping).until_answered(Away(1).ask)
    assert clock.monotonic_s() == 0


WIDER = json.dumps(
    {
        "type": "record",
        "name": "Trip2",
        "aliases": ["Trip"],
        "fields": [
            {"name": "date_of_trip", "aliases": ["day"], "type": {"type": "int", "logicalType": "date"}},
            {"name": "kind", "type": "string", "default": "car"},
        ],
    }
)


def reading_by(reader: str, schemas: dict[int, Any]) -> Interpreter:
    declared = {
        "name": "trips",
        "topics": ["trips"],
        "owner": "o",
        "partition": {"field": "date_of_trip"},
        "reader_schema": json.loads(reader),
    }
    return Interpreter(Dataset.from_json(json.dumps(declared)), Schemas(schemas), patience(ManualClock()))  # type: ignore[arg-type]  # a stand-in


def test_events_are_read_by_the_schema_that_the_dataset_declares() -> None:
    """A renamed field is found by its alias, partition and rules included; what old events lack is the default."""
    found = reading_by(WIDER, {1: TRIP}).read(block_of([*trips([3])]), None)
    assert found.rejections == []
    ((batch, days, _rows),) = found.batches
    assert batch.schema.names == ["date_of_trip", "kind"]
    assert batch["kind"].unique().to_pylist() == ["car"]
    assert days.tolist() == [0]


def test_events_that_the_declared_schema_cannot_read_are_rejected_with_the_reason() -> None:
    stranger = {"type": "record", "name": "Trip", "fields": [{"name": "x", "type": "int"}]}
    found = reading_by(WIDER, {1: stranger}).read(block_of([*trips([3])]), None)
    assert found.batches == []
    (rejection,) = found.rejections
    assert rejection.rule == SCHEMA
    assert "date_of_trip: the writer's record Trip has no such field" in rejection.reason


def test_a_value_that_the_declared_schema_cannot_hold_is_rejected_alone_and_by_its_path() -> None:
    writer = json.loads(WIDER) | {"fields": [json.loads(WIDER)["fields"][0], {"name": "kind", "type": "bytes"}]}
    bodies = [b"\0\0\0\0\1\x06\x02a", b"\0\0\0\0\1\x06\x02\xff", b"\0\0\0\0\1\x06\x02b"]
    found = reading_by(WIDER, {1: writer}).read(block_of(bodies), None)
    assert [(r.row, r.rule, r.path, r.byte) for r in found.rejections] == [(1, "decode", "kind", None)]
    ((batch, _, rows),) = found.batches
    assert batch["kind"].to_pylist() == ["a", "b"]
    assert rows.tolist() == [0, 2]
