"""`thalweg announce`: tell what is committed to the tables, exactly once."""

import signal
import threading

import click
import structlog

from thalweg.settings import Settings
from thalweg.telemetry import HealthServer, configure_logging
from versions.service import announcer


@click.command("announce")
@click.pass_obj
def command(settings: Settings) -> None:
    """Announce every version of every declared table, and its lineage, until told to stop (Ctrl-C or SIGTERM).

    Start as many as you like: they share the datasets out, and the others take over from one that ends.
    """
    configure_logging()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    log = structlog.get_logger("announcer")
    with (
        announcer(settings) as running,
        HealthServer(settings.http.host, settings.http.port or 0, ready=lambda: running.is_ready) as health,
    ):
        log.info("serving", metrics=f"{health.url}/metrics", ready=f"{health.url}/readyz")
        running.run(stop, settings.announcer.poll_interval_s)
    log.info("stopped")
