"""One suite for the transactional writer and its double in `tests.announcer_world`: what exactly-once announcing rests on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.announcer_world import TOPICS, World
from thalweg.errors import BrokerUnavailable, LeaseLost
from thalweg.settings import KafkaSettings, Settings
from thalweg.streams.admin import Admin
from thalweg.streams.clients import producer, topics
from thalweg.streams.transactions import Message, TransactionalWriter, read_latest
from versions.lease import Writer


@dataclass
class Side:
    """The real thing or the double. `dangle` leaves a transaction of some id open, as a killed process does."""

    topic: str
    writer: Callable[[str], Writer]
    read: Callable[[], dict[bytes, bytes]]
    dangle: Callable[[str, Message], Any]


def _double() -> Side:
    world = World()

    def writer(owner: str) -> Writer:
        return world.writer("a", owner)

    return Side(
        TOPICS.announced,
        writer,
        lambda: world.broker.latest(TOPICS.announced, 3),
        lambda owner, message: (world.broker.start(owner), world.broker.append(owner, [message])),
    )


def _real(settings: Settings) -> Side:
    kafka: KafkaSettings = settings.kafka.model_copy(update={"request_timeout_s": 5.0})
    topic = topics(kafka).announced
    with Admin(kafka) as admin:
        admin.ensure_own_topics()

    def dangle(owner: str, message: Message) -> Any:
        left = producer(kafka, transactional_id=f"{kafka.prefix}.{owner}")
        left.init_transactions(10)
        left.begin_transaction()
        left.produce(message.topic, key=message.key, value=message.value, partition=message.partition)
        left.flush(10)
        return left  # kept by the caller: as long as it lives, nobody ends the transaction

    return Side(
        topic,
        lambda owner: TransactionalWriter(kafka, f"{kafka.prefix}.{owner}"),
        lambda: read_latest(kafka, topic, 3),
        dangle,
    )


@pytest.fixture(params=["double", pytest.param("real", marks=pytest.mark.slow)])
def side(request: pytest.FixtureRequest) -> Side:
    """Each side in turn."""
    return _double() if request.param == "double" else _real(request.getfixturevalue("settings"))


def message(side: Side, value: bytes, key: bytes = b"k") -> Message:
    """A record for partition 3."""
    return Message(side.topic, key, value, 3)


def test_a_transaction_is_read_whole_once_it_is_written(side: Side) -> None:
    writer = side.writer("x")
    writer.start()
    writer.write([message(side, b"1"), message(side, b"2", b"l")])
    writer.write([message(side, b"3")])
    assert side.read() == {b"k": b"3", b"l": b"2"}
    writer.close()


def test_an_empty_partition_reads_as_nothing(side: Side) -> None:
    writer = side.writer("x")
    writer.start()
    assert side.read() == {}
    writer.close()


def test_a_new_owner_fences_the_old_one(side: Side) -> None:
    old, new = side.writer("x"), side.writer("x")
    old.start()
    old.write([message(side, b"1")])
    new.start()
    with pytest.raises(LeaseLost):
        old.write([message(side, b"2")])
    assert side.read() == {b"k": b"1"}
    new.write([message(side, b"3")])
    assert side.read() == {b"k": b"3"}
    new.close()


def test_a_fenced_owner_can_start_again_and_fences_in_turn(side: Side) -> None:
    old, new = side.writer("x"), side.writer("x")
    old.start()
    new.start()
    with pytest.raises(LeaseLost):
        old.write([message(side, b"1")])
    old.start()
    old.write([message(side, b"2")])
    with pytest.raises(LeaseLost):
        new.write([message(side, b"3")])
    assert side.read() == {b"k": b"2"}
    old.close()


def test_start_ends_what_a_dead_owner_left_open(side: Side) -> None:
    left = side.dangle("x", message(side, b"never"))
    writer = side.writer("x")
    writer.start()
    assert side.read() == {}
    writer.write([message(side, b"1")])
    assert side.read() == {b"k": b"1"}
    writer.close()
    del left


def test_another_ids_open_transaction_is_waited_for_and_then_said(side: Side) -> None:
    """Reading up to the last stable offset instead would return too little without a word."""
    left = side.dangle("alien", message(side, b"never"))
    writer = side.writer("x")
    writer.start()
    writer.write([message(side, b"1")])
    with pytest.raises(BrokerUnavailable):
        side.read()
    ender = side.writer("alien")
    ender.start()
    assert side.read() == {b"k": b"1"}
    writer.close()
    ender.close()
    del left


def test_a_writer_that_was_not_started_writes_nothing(side: Side) -> None:
    with pytest.raises(LeaseLost):
        side.writer("x").write([message(side, b"1")])
