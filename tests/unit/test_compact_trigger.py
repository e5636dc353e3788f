"""When the service looks after which dataset."""

import json
import threading
from collections.abc import Callable

import pytest

from compactors.announced import decode_progress
from compactors.trigger import DECLARATION_RETRY_S, Trigger
from schemas.datasets import Dataset
from thalweg.clock import ManualClock
from thalweg.errors import ConfigurationError, DeclarationError, RegistryUnavailable, TableDamaged
from thalweg.settings import CompactorSettings
from thalweg.streams.leases import Declared, Gained, LeaseEvent, Lost
from versions.progress import Position, encode_position, progress_key


def dataset(name: str) -> Dataset:
    body = {"name": name, "topics": [name], "owner": "ada", "partition": {"field": "at"}}
    return Dataset.model_validate_json(json.dumps(body))


class Group:
    """What the group will tell, poll by poll."""

    def __init__(self) -> None:
        self.events: list[LeaseEvent] = []
        self.closed = False

    def poll(self, wait_s: float) -> list[LeaseEvent]:
        events, self.events = self.events, []
        return events

    def close(self) -> None:
        self.closed = True


class Service:
    """A trigger whose work is only written down."""

    def __init__(self) -> None:
        self.group, self.clock = Group(), ManualClock()
        self.done: list[tuple[str, bool]] = []
        self.read: Callable[[Declared], Dataset] = lambda declared: dataset(declared.key.decode())
        self.fail: Exception | None = None
        self.at_work: Callable[[], None] = lambda: None
        settings = CompactorSettings(interval_s=60, vacuum_interval_s=150)
        self.trigger = Trigger(self.group, lambda declared: self.read(declared), self.upkeep, settings, self.clock)

    def upkeep(self, dataset: Dataset, vacuum: bool) -> None:
        self.done.append((dataset.name, vacuum))
        self.at_work()
        if self.fail is not None:
            raise self.fail

    def step(self, *events: LeaseEvent, times: int = 1) -> list[tuple[str, bool]]:
        self.group.events += events
        self.done.clear()
        for _ in range(times):
            self.trigger.step(0)
        return list(self.done)


@pytest.fixture
def service() -> Service:
    return Service()


def declared(name: str, partition: int = 0, value: bytes | None = b"x") -> Declared:
    return Declared(partition, 0, name.encode(), value)


def test_each_dataset_is_looked_after_at_once_and_then_every_interval(service: Service) -> None:
    assert service.step(Gained(0), declared("a"), declared("b"), times=3) == [("a", True), ("b", True)]
    service.clock.sleep(59)
    assert service.step(times=2) == []
    service.clock.sleep(1)
    assert service.step(times=3) == [("a", False), ("b", False)]


def test_vacuums_come_less_often(service: Service) -> None:
    service.step(Gained(0), declared("a"))
    vacuumed = []
    for _ in range(6):
        service.clock.sleep(60)
        vacuumed += [vacuum for _, vacuum in service.step()]
    assert vacuumed == [False, False, True, False, False, True]


def test_a_vacuum_that_failed_is_due_again(service: Service) -> None:
    service.fail = TableDamaged("gone", "")
    assert service.step(Gained(0), declared("a")) == [("a", True)]
    service.fail = None
    service.clock.sleep(60)
    assert service.step() == [("a", True)]


def test_trouble_with_one_dataset_keeps_no_other_waiting(service: Service) -> None:
    service.fail = TableDamaged("gone", "")
    assert service.step(Gained(0), declared("a"), declared("b"), times=2) == [("a", True), ("b", True)]


def test_only_what_this_process_has_the_lease_of_is_looked_after(service: Service) -> None:
    service.step(Gained(0), Gained(1), declared("a", 0), declared("b", 1), times=2)
    service.clock.sleep(60)
    assert service.step(Lost(1), times=2) == [("a", False)]
    assert service.step(declared("c", 1)) == []
    assert service.step(Gained(1), declared("b", 1)) == [("b", True)], "a new owner begins anew"


def test_a_withdrawn_dataset_is_let_alone_and_a_changed_one_goes_on(service: Service) -> None:
    service.step(Gained(0), declared("a"))
    assert service.step(declared("a")) == [], "it was looked after a moment ago"
    service.clock.sleep(60)
    assert service.step(declared("a", value=None)) == []


def test_a_declaration_that_cannot_be_read_is_left_out(service: Service) -> None:
    def read(record: Declared) -> Dataset:
        if record.key == b"bad":
            raise DeclarationError("what is this", "")
        return dataset(record.key.decode())

    service.read = read
    assert service.step(Gained(0), declared("bad"), declared("a")) == [("a", True)]
    assert service.trigger.is_ready


def test_declarations_wait_for_the_registry(service: Service) -> None:
    def away(record: Declared) -> Dataset:
        raise RegistryUnavailable("away", "")

    assert not service.trigger.is_ready
    service.read, there = away, service.read
    assert service.step(Gained(0), declared("a")) == []
    assert not service.trigger.is_ready
    service.read = there
    assert service.step() == []
    service.clock.sleep(DECLARATION_RETRY_S)
    assert service.step() == [("a", True)]
    assert service.trigger.is_ready


def test_it_leaves_the_group_when_it_is_stopped(service: Service) -> None:
    stop = threading.Event()
    service.at_work = stop.set
    service.group.events = [Gained(0), declared("a")]
    service.trigger.run(stop)
    assert service.group.closed


def test_progress_is_read_as_the_announcer_writes_it() -> None:
    """Two rooms that may not import one another share this format."""
    key = progress_key("flights.quarantine", "a-table-id").encode()
    assert decode_progress(key, encode_position(Position(17, "fp"))) == (("flights.quarantine", "a-table-id"), 17)
    with pytest.raises(ConfigurationError):
        decode_progress(b"no slash", b'{"version": 1}')
    with pytest.raises(ConfigurationError):
        decode_progress(key, b"{}")
