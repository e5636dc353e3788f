"""`thalweg compact`: merge small files, end the life of expired dates, remove what no kept version needs."""

import json
import logging
import signal
import threading
from collections.abc import Callable, Iterable

import click
import structlog
from rich.console import Console
from rich.table import Table

from compactors.announced import read_announced
from compactors.trigger import Trigger
from compactors.upkeep import Size, TableReport, Upkeep
from schemas.datasets import Dataset
from schemas.published import DatasetCodec, load_dataset, load_datasets
from schemas.registry import Registry
from thalweg.clock import SystemClock
from thalweg.errors import ConfigurationError, ThalwegError
from thalweg.settings import Settings
from thalweg.streams.admin import Admin
from thalweg.streams.clients import topics
from thalweg.streams.leases import Declared, LeaseGroup
from thalweg.telemetry import HealthServer, configure_logging


@click.command("compact")
@click.argument("datasets", nargs=-1, metavar="[DATASET]...")
@click.option("--once", is_flag=True, help="Do it once, now, and say what was done; without it, run as a service.")
@click.option("--dry-run", is_flag=True, help="With --once: say what would be done, and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="With --once: one JSON document.")
@click.pass_obj
def command(settings: Settings, datasets: tuple[str, ...], once: bool, dry_run: bool, as_json: bool) -> None:
    """Keep tables tidy: merge small files by date, retire dates as declared, vacuum what no kept version needs.

    As a service (until Ctrl-C or SIGTERM) it looks after every dataset that was applied, shared out among all compactors.
    """
    configure_logging(level=logging.WARNING if once else logging.INFO)
    if not once:
        if datasets or dry_run or as_json:
            raise ConfigurationError(
                "these options belong to --once", "thalweg compact --once [DATASET]…, or no options"
            )
        _serve(settings)
        return
    chosen = [load_dataset(settings, name) for name in datasets] or list(load_datasets(settings).values())
    reports, failures = _once(settings, chosen, dry_run)
    if as_json:
        click.echo(json.dumps({"dry_run": dry_run, "tables": [report.to_plain() for report in reports]}))
    else:
        _show(reports, dry_run)
    if failures:
        for failure in failures[1:]:
            click.secho(f"error: {failure}", fg="red", err=True)
        raise failures[0]


def _once(
    settings: Settings, datasets: Iterable[Dataset], dry_run: bool
) -> tuple[list[TableReport], list[ThalwegError]]:
    """One dataset's trouble keeps no other from being looked after."""
    reports: list[TableReport] = []
    failures: list[ThalwegError] = []
    for dataset in datasets:
        upkeep = Upkeep(dataset, settings, SystemClock(), lambda: read_announced(settings.kafka))
        try:
            reports += upkeep.plan() if dry_run else upkeep.run()
        except ThalwegError as error:
            failures.append(error)
    return reports, failures


def _serve(settings: Settings) -> None:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    clock = SystemClock()
    with Admin(settings.kafka) as admin:
        admin.ensure_own_topics()
    topic = topics(settings.kafka).datasets
    with Registry(settings.registry) as registry:
        codec = DatasetCodec(registry, topic)

        def read(declared: Declared) -> Dataset:
            assert declared.value is not None  # withdrawals are not read
            return codec.decode(declared.key, declared.value, declared.partition)

        def do_upkeep(dataset: Dataset, vacuum: bool) -> None:
            Upkeep(dataset, settings, clock, lambda: read_announced(settings.kafka), stop.is_set).run(vacuum)

        group = LeaseGroup(settings.kafka, f"{settings.kafka.prefix}.compactors", topic)
        trigger = Trigger(group, read, do_upkeep, settings.compactor, clock)
        with HealthServer(settings.http.host, settings.http.port or 0, ready=lambda: trigger.is_ready) as health:
            structlog.get_logger("compact").info(
                "serving", metrics=f"{health.url}/metrics", ready=f"{health.url}/readyz"
            )
            trigger.run(stop)


def _show(reports: Iterable[TableReport], dry_run: bool) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("table")
    table.add_column("files", justify="right", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("would be done" if dry_run else "done")
    for report in reports:
        done = [*_merges(report, dry_run), *_retention(report, dry_run), *_vacuum(report)]
        table.add_row(
            report.table,
            _before_after(report, lambda size: f"{size.files:,}"),
            _before_after(report, lambda size: _size(size.bytes)),
            "\n".join(done) or "nothing",
        )
    console = Console()
    if not table.row_count:
        console.print("There is no table yet.")
        return
    console.print(table)
    if dry_run:
        console.print("[dim]Nothing was changed: this is what would be done.[/]")


def _before_after(report: TableReport, shown: Callable[[Size], str]) -> str:
    return shown(report.before) if report.after is None else f"{shown(report.before)} → {shown(report.after)}"


def _merges(report: TableReport, dry_run: bool) -> list[str]:
    if dry_run:
        dates = [date for commit in report.merges_planned for date in commit.dates]
        files, into = sum(date.files for date in dates), sum(date.into for date in dates)
    else:
        files, into = (
            sum(done.files_before for done in report.merged),
            sum(done.files_after for done in report.merged),
        )
    return [f"{files:,} files merged into {into:,}"] if files else []


def _retention(report: TableReport, dry_run: bool) -> list[str]:
    expiry = report.expiry
    if expiry is None or not expiry.dates:
        return []
    where = "" if dry_run else f", in version {report.retired_in}"
    return [f"{len(expiry.dates):,} dates before {expiry.before} retired, {expiry.rows:,} rows{where}"]


def _vacuum(report: TableReport) -> list[str]:
    removal = report.removal
    if removal is None:
        return []
    told = [f"{len(removal.files):,} files removed, {_size(removal.bytes)}"] if removal.files else []
    if removal.kept_for_versions:
        told.append(f"{removal.kept_for_versions:,} replaced files kept: earlier versions need them")
    if removal.kept_for_writers:
        told.append(f"{removal.kept_for_writers:,} young files kept: a writer may be about to commit them")
    return told


def _size(count: int) -> str:
    shown, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if shown < 1000:
            break
        shown, unit = shown / 1000, larger
    return f"{shown:.0f} {unit}" if unit == "B" or shown >= 10 else f"{shown:.1f} {unit}"
