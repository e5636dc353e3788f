"""A broker serves when it answers and is in its own list."""

import pytest

from tests.unit.stack_fakes import FakeBroker, metadata
from thalweg.stack.ports import LOOPBACK, pick
from thalweg.stack.probe import broker_serves


def test_a_broker_that_lists_itself_serves() -> None:
    with FakeBroker(metadata(1)) as broker:
        assert broker_serves(LOOPBACK, broker.port)


@pytest.mark.parametrize(
    "answer",
    [
        metadata(0),
        b"",
        b"\x00",
        metadata(1)[:10],
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x00\x00\x00\x0c" + b"\xff" * 12,
    ],
    ids=["not registered yet", "closes", "one byte", "cut off", "another protocol", "another answer"],
)
def test_anything_else_does_not(answer: bytes) -> None:
    with FakeBroker(answer) as broker:
        assert not broker_serves(LOOPBACK, broker.port, timeout_s=0.5)


def test_nobody_there_does_not() -> None:
    assert not broker_serves(LOOPBACK, pick(None))
