"""Ports of this machine, on the loopback address."""

import random
import socket
from collections.abc import Callable, Sequence

from thalweg.errors import PortTaken

LOOPBACK = "127.0.0.1"
# Below the ports that systems give to outgoing connections (32768 on Linux, 49152 elsewhere): a client that tries again
# and again to reach a stopped server on one of those can be given that very port, and then the server cannot come back.
PICKED = range(20_000, 32_000)
TRIES = 100


def is_free(port: int) -> bool:
    """Tell whether a server could listen on that port now."""
    with socket.socket() as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as servers do: a closed connection's remains don't count
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
        return True


def pick(wanted: int | None, before: int | None = None, draw: Callable[[Sequence[int]], int] = random.choice) -> int:
    """Return `wanted`, or where nothing is wanted the port used `before` if it is free, or any free one.

    Raises PortTaken when the wanted port is in use.
    """
    if wanted is not None:
        if not is_free(wanted):
            raise PortTaken(
                f"port {wanted} of {LOOPBACK} is in use by another process", "name another port, or none for a free one"
            )
        return wanted
    if before is not None and is_free(before):
        return before
    for _ in range(TRIES):
        port = draw(PICKED)
        if is_free(port):
            return port
    raise PortTaken(
        f"no free port among {TRIES} tried between {PICKED.start} and {PICKED.stop}", "name a port that is free"
    )
