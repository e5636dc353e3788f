"""Ask a broker on this machine whether it serves, with one request on a bare socket.

A client library would do, but its threads and its log lines about refused connections are too much for a question
that is asked every few milliseconds while a broker starts.
"""

import socket
import struct

_METADATA, _VERSION = 3, 4  # KIP-4; version 4 is the newest with fixed-width lengths and no throttling surprises
_CORRELATION_ID = 1


def broker_serves(host: str, port: int, timeout_s: float = 2.0) -> bool:
    """Tell whether a Kafka broker at that address answers, and counts at least one broker in its cluster.

    A starting broker listens before it is registered; it answers then, with no broker in the list.
    """
    request = struct.pack(">hhih", _METADATA, _VERSION, _CORRELATION_ID, -1) + struct.pack(
        ">ib", 0, 0
    )  # no topics, create none
    try:
        with socket.create_connection((host, port), timeout_s) as connection:
            connection.settimeout(timeout_s)
            connection.sendall(struct.pack(">i", len(request)) + request)
            size = struct.unpack(">i", _read(connection, 4))[0]
            if not 12 <= size <= 2**20:  # another protocol's bytes
                return False
            correlation_id, _, brokers = struct.unpack(">iii", _read(connection, size)[:12])
    except (OSError, EOFError):
        return False
    return bool(correlation_id == _CORRELATION_ID and brokers > 0)


def _read(connection: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = connection.recv(size - len(parts))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)
