"""What a service tells about itself: logs on stderr, Prometheus metrics, and whether it is alive and ready.

Names of metrics begin with `thalweg_`, carry their unit, and are listed in `Metrics`. Every service serves them with
`HealthServer`; the lineage service, which has a web server already, mounts `exposition()` there.
"""

import errno
import logging
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import structlog
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from thalweg.errors import ConfigurationError, PortTaken, ThalwegError

# A landing takes from some 10 ms (a few rows on a local disk) to minutes (an object store that throttles).
_LANDING_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
# Commit to version event: the aim is 250 ms at the 99th percentile, so the buckets are dense around it.
_ANNOUNCE_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0)


class Metrics:
    """Every metric of every service, in one registry. A service moves only its own; the others have no samples."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        partition = ("dataset", "topic", "partition")
        self.lag = self._gauge("lag_records", "Records in the topic that the table has not landed yet", partition)
        self.consumed = self._counter("records_consumed", "Records read from Kafka")
        self.landed = self._counter("records_landed", "Records committed to the table")
        self.quarantined = self._counter("records_quarantined", "Records rejected, by the rule", ("dataset", "rule"))
        self.filtered = self._counter("records_filtered", "Records left out as declared, tombstones among them")
        self.landing_seconds = self._histogram(
            "landing_seconds", "Time of one landing, all retries", _LANDING_BUCKETS_S
        )
        self.landing_conflicts = self._counter(
            "landing_conflicts", "Other writers' commits that a landing met and went on after"
        )
        self.table_version = self._gauge("table_version", "Newest version of the table that this service has seen")
        self.announced = self._counter("versions_announced", "Version events sent")
        self.announce_seconds = self._histogram("announce_seconds", "From commit to version event", _ANNOUNCE_BUCKETS_S)
        self.log_gaps = self._counter("log_gaps", "Runs of versions that were cleaned from the log unannounced")
        self.table_stalled = self._gauge("table_stalled", "1 while a table's log cannot be read and announced")
        self.compactions = self._counter("compactions", "Commits that merged small files")
        self.compacted_files = self._counter("compacted_files", "Files that a merge replaced")
        self.vacuumed_files = self._counter("vacuumed_files", "Files removed because no kept version needs them")
        self.lineage_events = self._counter(
            "lineage_events", "Lineage events: stored, known already, or refused", ("outcome",)
        )

    def _counter(self, name: str, text: str, labels: Iterable[str] = ("dataset",)) -> Counter:
        return Counter(f"thalweg_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, labels: Iterable[str] = ("dataset",)) -> Gauge:
        return Gauge(f"thalweg_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"thalweg_{name}", text, ("dataset",), buckets=buckets, registry=self.registry)

    def exposition(self) -> tuple[bytes, str]:
        """Return all samples in Prometheus' text format, and its content type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST


METRICS = Metrics()


def configure_logging(json: bool | None = None, level: int = logging.INFO) -> None:
    """Send all logs, structlog's and the standard library's, to stderr: one line each.

    `json` None means: JSON when stderr is no terminal, text for people when it is one. Calling it again replaces what
    was configured before.
    """
    as_json = not sys.stderr.isatty() if json is None else json
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderers: list[structlog.types.Processor] = (
        [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer(default=str)]
        if as_json
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for chatty in ("httpx", "httpx2"):  # a line for each request is for debugging
        logging.getLogger(chatty).setLevel(max(level, logging.WARNING))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def listen(host: str, port: int) -> socket.socket:
    """Return a TCP socket that is bound to `host` and `port` (0 picks a free one) and listens.

    Raises PortTaken when another process has the port, ConfigurationError when the address is not this machine's or
    the port needs rights that this process does not have.
    """
    where = f"{host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        opened = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {where}: {error}", "set http.host to an address of this machine"
        ) from error
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(128)
    except OSError as error:
        opened.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(
                f"another process listens on {where}", "choose another port with THALWEG_HTTP__PORT; 0 picks a free one"
            ) from error
        raise ConfigurationError(
            f"cannot listen on {where}: {error.strerror}", "set http.host and http.port to what this process may use"
        ) from error
    return opened


class HealthServer:
    """Serves `/metrics`, `/livez` and `/readyz` from a daemon thread, until it is closed.

    `/livez` says 200 while the process answers at all. `/readyz` says 200 when `ready()` is true, else 503; a
    ThalwegError that it raises is 503 too, with its text. `url` names the place, also when port 0 picked one.

    Raises what `listen` raises.
    """

    def __init__(self, host: str, port: int, ready: Callable[[], bool], metrics: Metrics = METRICS) -> None:
        opened = listen(host, port)
        self._server = _Server(opened, ready, metrics)
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{opened.getsockname()[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, opened: socket.socket, ready: Callable[[], bool], metrics: Metrics) -> None:
        self.ready = ready
        self.metrics = metrics
        super().__init__(opened.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = opened


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 10  # seconds that a silent client may hold a thread

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path == "/metrics":
            body, content_type = self.server.metrics.exposition()
            self._answer(HTTPStatus.OK, body, content_type)
        elif path == "/livez":
            self._answer(HTTPStatus.OK, b"alive\n")
        elif path == "/readyz":
            self._answer(*self._readiness())
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"there are /metrics, /livez and /readyz\n")

    def _readiness(self) -> tuple[HTTPStatus, bytes]:
        try:
            ready = self.server.ready()
        except ThalwegError as error:
            return HTTPStatus.SERVICE_UNAVAILABLE, f"{error}\n".encode()
        return (HTTPStatus.OK, b"ready\n") if ready else (HTTPStatus.SERVICE_UNAVAILABLE, b"not ready\n")

    def _answer(self, status: HTTPStatus, body: bytes, content_type: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: probes and scrapes come every few seconds."""
