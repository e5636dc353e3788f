"""Sending, against librdkafka's mock cluster (in memory, inside the producer): nothing is lost without being counted."""

from collections.abc import Callable

import pytest

from produce import producer as library
from produce import sending, shop
from produce.pace import SLICE, Pace
from produce.sending import Sender
from thalweg.clock import SystemClock
from thalweg.errors import BrokerUnavailable, ConfigurationError
from thalweg.settings import KafkaSettings

CLOCK = SystemClock()
MOCK = KafkaSettings(bootstrap="mock", properties={"test.mock.num.brokers": "1"})


def send(
    sender: Sender, count: int, bad: int = 0, stop: Callable[[], bool] = lambda: False, seed: int = 3
) -> tuple[bool, list[int]]:
    """Send shop events at full speed and wait for the broker's answers. Returns completeness and what was told."""
    source, told = shop.source(count), []
    mixer = library._Mixer(source, bad, seed)
    complete = library._send(source.encoded(1), sender, Pace(None, CLOCK), mixer, stop, told.append)
    sender.finish(told.append)
    return complete, told


def test_each_record_is_counted_by_its_partition() -> None:
    sender = Sender(MOCK, "shop", CLOCK)
    complete, told = send(sender, 20_000)
    assert complete
    assert sender.taken == 20_000
    assert len(sender.partitions) == 4  # the mock's default
    assert sender.bytes == sum(len(value) for batch in shop.source(20_000).encoded(1) for value in batch.values)
    assert told == sorted(told)
    assert told[-1] == 20_000
    sender.check()


def test_a_full_queue_makes_the_sender_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "_QUEUED_RECORDS", 10)
    sender = Sender(MOCK, "shop", CLOCK)
    send(sender, 500, bad=20)
    assert (sender.taken, len(sender.poison)) == (500, 20)


def test_poison_goes_between_the_good_records_and_costs_none_of_them() -> None:
    sender = Sender(MOCK, "shop", CLOCK)
    send(sender, 3_000, bad=50)
    assert (sender.taken, len(sender.poison)) == (3_000, 50)
    assert len({(one.partition, one.offset) for one in sender.poison}) == 50
    for partition, good in sender.partitions.items():
        offsets = [one.offset for one in sender.poison if one.partition == partition]
        assert max(offsets) < good + len(offsets)


def test_being_stopped_leaves_what_was_queued_delivered() -> None:
    sender = Sender(MOCK, "shop", CLOCK)
    asked = iter([False, False, False, True])
    complete, _ = send(sender, 20_000, stop=lambda: next(asked))
    assert not complete
    assert sender.taken == 3 * SLICE
    sender.check()


def test_records_that_the_broker_never_took_are_counted_and_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "DELIVERY_TIMEOUT_S", 1)
    sender = Sender(KafkaSettings(bootstrap="127.0.0.1:1"), "shop", CLOCK)
    send(sender, 100, bad=3)
    assert (sender.taken, sender.failed) == (0, 103)
    with pytest.raises(BrokerUnavailable, match="103 of 103 records did not reach shop"):
        sender.check()


def test_the_first_refusal_ends_the_sending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "DELIVERY_TIMEOUT_S", 1)
    monkeypatch.setattr(sending, "_QUEUED_RECORDS", 100)
    sender = Sender(KafkaSettings(bootstrap="127.0.0.1:1"), "shop", CLOCK)
    complete, _ = send(sender, 50_000)
    assert not complete
    assert sender.failed < 50_000


def test_a_record_too_large_for_the_broker_is_refused_by_name() -> None:
    sender = Sender(MOCK, "shop", CLOCK)
    with pytest.raises(BrokerUnavailable, match=r"producing to shop.*too large"):
        sender.queue([None], [bytes(5_000_000)])
    with pytest.raises(BrokerUnavailable, match=r"producing to shop.*too large"):
        sender.queue_bad(None, bytes(5_000_000), "too large")


def test_poison_among_records_that_nobody_has_counted_is_refused() -> None:
    endless = library.own.source(iter([]), shop.SCHEMA)
    with pytest.raises(ConfigurationError, match="as a list"):
        library._Mixer(endless, 1, seed=0)
    assert library._Mixer(endless, 0, seed=0) is not None


@pytest.mark.parametrize(
    "wrong",
    [
        {"rate": 0},
        {"rate": -1.0},
        {"poison": -1},
        {"seed": -1},
        {"sample": None},
        {"records": []},
        {"sample": "trains"},
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_asked(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        library.produce("shop", **{"sample": "shop", **wrong})  # type: ignore[arg-type]  # wrong on purpose
