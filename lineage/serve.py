"""The lineage service as one process: collector, API and page."""

import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import uvicorn

from lineage.api import make_app
from lineage.collector import Collector
from lineage.store import Store
from thalweg.settings import KafkaSettings
from thalweg.streams.admin import Admin
from thalweg.telemetry import listen

# Where the page is found unless http.port says otherwise; `lineage.api` has the same default.
DEFAULT_PORT = 8087
# A question under way at SIGTERM gets this long.
_GRACE_S = 5
# Questions at once, waiting ones included; more are answered 503.
_CONCURRENT_REQUESTS = 200


def serve(kafka: KafkaSettings, store_url: str, host: str, port: int, started: Callable[[str], None]) -> None:
    """Collect and answer until SIGTERM or SIGINT. `started` is told the URL.

    Raises BrokerUnavailable; PortTaken; ConfigurationError and StorageUnavailable as the store does; and whatever ends
    the collector: a service that no longer collects must not look alive.
    """
    with Admin(kafka) as admin:
        admin.ensure_own_topics()  # before anything is promised: a broker that is down is told at once
    stop = threading.Event()
    with listen(host, port) as opened, Store(store_url) as store, ThreadPoolExecutor(1, "collector") as threads:
        collector = Collector(store, kafka)
        server = uvicorn.Server(
            uvicorn.Config(
                make_app(store, ready=lambda: collector.is_ready, host=host),
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                limit_concurrency=_CONCURRENT_REQUESTS,
                timeout_graceful_shutdown=_GRACE_S,
            )
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            # Uvicorn raises the signal that ended it once more, for the handler that was there before.
            signal.signal(number, lambda *_: setattr(server, "should_exit", True))
        collecting = threads.submit(collector.run, stop)
        collecting.add_done_callback(lambda _: setattr(server, "should_exit", True))
        shown = f"[{host}]" if ":" in host else host
        started(f"http://{shown}:{opened.getsockname()[1]}")
        try:
            server.run(sockets=[opened])
        finally:
            stop.set()
            collecting.result()
