"""Ports: the one that was asked for or an error, else the last one, else any that is free."""

import socket
from collections.abc import Iterator

import pytest

from thalweg.errors import PortTaken
from thalweg.stack import ports


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_wanted_port_that_is_taken_is_an_error_that_names_it(taken: int) -> None:
    with pytest.raises(PortTaken, match=str(taken)):
        ports.pick(taken)


def test_a_wanted_port_that_is_free_is_taken_and_not_the_last_one(taken: int) -> None:
    free = ports.pick(None)

    assert ports.pick(free, before=taken) == free


def test_the_last_port_is_used_again_unless_it_is_taken_now(taken: int) -> None:
    free = ports.pick(None)

    assert ports.pick(None, before=free) == free
    assert ports.pick(None, before=taken) != taken


def test_a_drawn_port_that_is_taken_is_drawn_again(taken: int) -> None:
    free = ports.pick(None)
    draws = iter([taken, taken, free])

    assert ports.pick(None, draw=lambda _: next(draws)) == free


def test_drawing_ends(taken: int) -> None:
    with pytest.raises(PortTaken):
        ports.pick(None, draw=lambda _: taken)


def test_a_port_of_a_connection_that_was_just_closed_is_free() -> None:
    """After a crash the broker's old connections linger in TIME_WAIT; it starts again on the same port all the same."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            accepted, _ = server.accept()
            accepted.close()  # the side that closes first is the one that lingers

    assert ports.is_free(port)


def test_no_picked_port_is_one_that_outgoing_connections_get() -> None:
    assert ports.PICKED.stop <= 32768
