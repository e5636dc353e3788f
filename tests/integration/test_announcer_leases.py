"""Leases by group membership, on a real broker, under both group protocols."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from pydantic import SecretStr

from schemas.datasets import Dataset
from schemas.published import publish, withdraw
from tests.announcer_process import eventually
from thalweg.errors import ConfigurationError
from thalweg.settings import KafkaSettings, Settings
from thalweg.streams.admin import Admin, TopicSpec
from thalweg.streams.clients import LEASE_PARTITIONS, topics
from thalweg.streams.leases import Declared, Gained, LeaseEvent, LeaseGroup, Lost
from versions.service import announcer

pytestmark = pytest.mark.slow


@pytest.fixture(params=["classic", "consumer"])
def kafka(settings: Settings, request: pytest.FixtureRequest) -> KafkaSettings:
    """A broker with our topics."""
    chosen = settings.kafka.model_copy(update={"group_protocol": request.param})
    with Admin(chosen) as admin:
        admin.ensure_own_topics()
    return chosen


EVERYTHING = set(range(LEASE_PARTITIONS))


class Member:
    """A member that remembers what it heard."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self.group = LeaseGroup(kafka, f"{kafka.prefix}.leases", topics(kafka).datasets)
        self.heard: list[LeaseEvent] = []

    @property
    def leases(self) -> set[int]:
        """What it holds."""
        held: set[int] = set()
        for event in self.heard:
            if isinstance(event, Gained):
                held.add(event.partition)
            elif isinstance(event, Lost):
                held.discard(event.partition)
        return held

    def poll(self) -> None:
        """Hear what is new."""
        self.heard.extend(self.group.poll(0.1))


@pytest.fixture
def member() -> Iterator[Callable[[KafkaSettings], Member]]:
    """Makes members that leave when the test ends."""
    with ExitStack() as made:

        def make(kafka: KafkaSettings) -> Member:
            joined = Member(kafka)
            made.callback(joined.group.close)
            return joined

        yield make


def test_two_members_share_the_leases_and_one_takes_all_when_the_other_leaves(
    kafka: KafkaSettings, member: Callable[[KafkaSettings], Member]
) -> None:
    a, b = member(kafka), member(kafka)

    def shared() -> bool:
        a.poll()
        b.poll()
        return bool(a.leases) and bool(b.leases) and a.leases | b.leases == EVERYTHING and not a.leases & b.leases

    def all_are_a() -> bool:
        a.poll()
        return a.leases == EVERYTHING

    eventually(shared)
    b.group.close()
    eventually(all_are_a)


def test_the_coordinator_knows_who_was_expelled(
    kafka: KafkaSettings, member: Callable[[KafkaSettings], Member]
) -> None:
    """A member that was silent too long does not know it; asking tells, without a poll that would make it join again."""
    impatient = kafka.model_copy(update={"properties": {"max.poll.interval.ms": SecretStr("6000")}})
    silent = member(impatient)

    def joined() -> bool:
        silent.poll()
        return silent.leases == EVERYTHING

    eventually(joined)
    assert silent.group.confirm(0)
    heir = member(kafka)

    def inherited() -> bool:
        heir.poll()
        return heir.leases == EVERYTHING

    eventually(inherited)
    assert silent.leases == EVERYTHING, "it believes so"
    assert not silent.group.confirm(0)
    assert heir.group.confirm(0)

    def shared_again() -> bool:
        heir.poll()
        silent.poll()
        return bool(silent.leases) and not silent.leases & heir.leases and silent.leases | heir.leases == EVERYTHING

    eventually(shared_again)


def test_declarations_come_from_the_beginning_and_live(
    settings: Settings, kafka: KafkaSettings, member: Callable[[KafkaSettings], Member]
) -> None:
    def declared(member: Member) -> list[tuple[bytes, bool]]:
        member.poll()
        return [(e.key, e.value is None) for e in member.heard if isinstance(e, Declared)]

    dataset = Dataset.model_validate({"name": "flights", "topics": ("f",), "owner": "o", "partition": {"field": "at"}})
    publish(settings, dataset)
    first = member(kafka)
    eventually(lambda: declared(first) == [(b"flights", False)])
    publish(settings, dataset.model_copy(update={"name": "weather"}))
    eventually(lambda: declared(first) == [(b"flights", False), (b"weather", False)])
    withdraw(settings, "weather")
    eventually(lambda: declared(first)[2:] == [(b"weather", True)])
    first.group.close()
    second = member(kafka)
    eventually(lambda: (b"flights", False) in declared(second))


def test_a_member_that_gets_no_lease_is_a_member(settings: Settings) -> None:
    topic = f"one-{uuid.uuid4().hex}"
    with Admin(settings.kafka) as admin:
        admin.create_topics([TopicSpec(topic, 1)])
    groups = [LeaseGroup(settings.kafka, topic, topic) for _ in range(2)]

    def both() -> bool:
        for group in groups:
            group.poll(0.1)
        return all(group.is_member for group in groups)

    try:
        eventually(both)
    finally:
        for group in groups:
            group.close()


@pytest.mark.parametrize("which", ["datasets", "announced"])
def test_partitions_that_somebody_added_stop_the_announcer_at_its_start(settings: Settings, which: str) -> None:
    """Their keys have moved: tables would be looked after by two owners, or progress looked for where it is not."""
    with Admin(settings.kafka) as admin:
        admin.create_topics([TopicSpec(getattr(topics(settings.kafka), which), LEASE_PARTITIONS + 1)])
    with pytest.raises(ConfigurationError, match="has 13 partitions and must have 12"), announcer(settings):
        pass
