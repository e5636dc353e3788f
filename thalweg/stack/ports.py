"""Ports of this machine, on the loopback address."""

import socket

from thalweg.errors import PortTaken

LOOPBACK = "127.0.0.1"


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


def pick(wanted: int | None, before: int | None = None) -> int:
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
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
