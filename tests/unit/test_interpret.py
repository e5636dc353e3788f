"""Schemas that are many, unknown, or whose registry is away."""

import threading

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
