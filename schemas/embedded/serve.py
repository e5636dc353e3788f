"""Running the registry as a process: port, signals, end."""

import signal
import uuid
from collections.abc import Callable

import uvicorn

from schemas.embedded.app import make_app
from schemas.embedded.log import KafkaLog
from schemas.embedded.service import Service
from thalweg.settings import KafkaSettings
from thalweg.telemetry import listen

DEFAULT_PORT = 8081
DEFAULT_TOPIC = "_schemas"

# A request under way at SIGTERM may be waiting for the broker; beyond this it is cut off.
_GRACE_S = 10

# Clients keep connections open between requests; closing one under a request would cost them a retry.
_KEEP_ALIVE_S = 75

# Requests at once, waiting ones included; more are answered 503.
_CONCURRENT_REQUESTS = 200


def serve(kafka: KafkaSettings, host: str, port: int, topic: str, started: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, then answer what is under way and return. `started` is told the URL.

    Raises PortTaken; BrokerUnavailable when nobody answers; ConfigurationError when the topic is no registry's.
    """
    opened = listen(host, port)
    with opened:
        service = Service(KafkaLog(kafka, topic, writer=uuid.uuid4().hex))
        try:
            server = make_server(service)
            shown = f"[{host}]" if ":" in host else host
            started(f"http://{shown}:{opened.getsockname()[1]}")
            _end_quietly_on_signals(server)
            server.run(sockets=[opened])
        finally:
            service.close()


def make_server(service: Service) -> uvicorn.Server:
    """The HTTP server; the caller brings the listening socket."""
    return uvicorn.Server(
        uvicorn.Config(
            make_app(service),
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            limit_concurrency=_CONCURRENT_REQUESTS,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_GRACE_S,
        )
    )


def _end_quietly_on_signals(server: uvicorn.Server) -> None:
    """Uvicorn raises the signal that ended it once more, for the handler that was there before: a clean end needs one."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: setattr(server, "should_exit", True))
