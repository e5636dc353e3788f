"""`thalweg ingest`: land one dataset's topics in its table."""

import click
import structlog

import ingest.allocator  # noqa: F401 - first of all that imports Arrow
from ingest.decode.decoder import warm
from ingest.report import Report
from ingest.worker import Worker
from schemas.published import load_dataset
from thalweg.clock import SystemClock
from thalweg.settings import Settings
from thalweg.telemetry import HealthServer, configure_logging


@click.command("ingest")
@click.argument("dataset")
@click.option("--once", is_flag=True, help="Stop when everything that is in the topics now has landed.")
@click.pass_obj
def command(settings: Settings, dataset: str, once: bool) -> None:
    """Land DATASET's events in its Delta table, exactly once, until told to stop (Ctrl-C or SIGTERM)."""
    configure_logging()
    log = structlog.get_logger("ingest")
    warm(log.info)
    declaration = load_dataset(settings, dataset)
    worker = Worker(declaration, settings, Report(dataset, SystemClock()))
    worker.stop_on_signals()
    with HealthServer(settings.http.host, settings.http.port or 0, ready=worker.is_ready) as health:
        log.info("serving", metrics=f"{health.url}/metrics", ready=f"{health.url}/readyz")
        worker.run(until_caught_up=once)
