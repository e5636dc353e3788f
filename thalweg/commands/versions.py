"""`thalweg versions`: what was announced, live or so far."""

import sys
from datetime import UTC, datetime

import click

from schemas.datasets import QUARANTINE_SUFFIX
from schemas.events import GAP, VersionCommitted
from schemas.published import load_dataset
from thalweg.clock import SystemClock
from thalweg.errors import DatasetNotFound
from thalweg.settings import Settings
from versions.subscribe import Since, subscribe


class _Since(click.ParamType):
    """earliest, latest, a version number, or an ISO time (UTC where it names no zone)."""

    name = "since"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Since:
        if value == "earliest":
            return "earliest"
        if value == "latest":
            return "latest"
        if value.isdecimal():
            return int(value)
        try:
            time = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not 'earliest', 'latest', a version number or an ISO time", param, ctx)
        return time if time.tzinfo else time.replace(tzinfo=UTC)


@click.group()
def command() -> None:
    """Versions of tables, as they were announced."""


@command.command()
@click.argument("dataset", required=False)
@click.option(
    "--since", type=_Since(), default="latest", show_default=True, help="earliest, latest, a version, or an ISO time."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def tail(settings: Settings, dataset: str | None, since: Since, as_json: bool) -> None:
    """Show versions of DATASET (of all datasets without one) as they are announced, until Ctrl-C."""
    clock = SystemClock()
    if dataset is not None:
        try:
            load_dataset(settings, dataset.removesuffix(QUARANTINE_SUFFIX))
        except DatasetNotFound as error:
            click.echo(f"{error.message}; waiting for it all the same", err=True)
    with subscribe(dataset, since=since, settings=settings) as versions:
        try:
            for event in versions:
                click.echo(
                    event.model_dump_json() if as_json else line(event, clock.now_ms(), with_dataset=dataset is None)
                )
                sys.stdout.flush()
        except KeyboardInterrupt:
            return


@command.command("list")
@click.argument("dataset")
@click.option(
    "--since", type=_Since(), default="earliest", show_default=True, help="earliest, a version, or an ISO time."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def list_(settings: Settings, dataset: str, since: Since, as_json: bool) -> None:
    """List the versions of DATASET that were announced by now."""
    with subscribe(dataset, since=since, follow=False, settings=settings) as versions:
        if as_json:
            for event in versions:
                click.echo(event.model_dump_json())
            return
        events = list(versions)
    if not events:
        load_dataset(settings, dataset.removesuffix(QUARANTINE_SUFFIX))
        click.echo(f"no version of {dataset} was announced yet; thalweg announce must run", err=True)
        return
    _show(events)


def _show(events: list[VersionCommitted]) -> None:
    from rich import box  # 50 ms that `tail` and --json do not need
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("version", "committed (UTC)", "operation", "rows", "files", "dates", "source offsets"):
        table.add_column(heading, justify="right" if heading in ("version", "rows", "files") else "left")
    for event in events:
        table.add_row(
            version_name(event),
            f"{event.committed_at:%Y-%m-%d %H:%M:%S}",
            event.operation,
            rows(event),
            files(event),
            dates(event),
            spans(event),
        )
    Console().print(table)


def line(event: VersionCommitted, now_ms: int, *, with_dataset: bool) -> str:
    """One event for people. The delay is from the commit to now, in ms."""
    name = f"{event.dataset} " if with_dataset else ""
    if event.kind == GAP:
        return f"{name}{version_name(event)}  GAP: cleaned from the log before they were announced"
    delay_ms = max(0, now_ms - round(event.committed_at.timestamp() * 1000))
    parts = [
        f"{name}v{event.version}",
        f"{event.operation:<8}",
        f"{rows(event)} rows",
        f"{files(event)} files",
        dates(event),
        spans(event),
        "schema changed" if event.schema_changed else "",
        _delay(delay_ms),
    ]
    return "  ".join(part for part in parts if part)


def version_name(event: VersionCommitted) -> str:
    """The version's number, or a gap's first and last."""
    return str(event.version) if event.kind != GAP else f"{event.gap_from}..{event.gap_to}"


def rows(event: VersionCommitted) -> str:
    """Rows added and removed; "?" where the log does not say."""
    return _change(event.rows_added, event.rows_removed, any_removed=event.files_removed > 0)


def files(event: VersionCommitted) -> str:
    """Files added and removed."""
    return _change(event.files_added, event.files_removed, any_removed=event.files_removed > 0)


def dates(event: VersionCommitted) -> str:
    """The partition dates that changed; of many, the first and last."""
    if len(event.dates) <= 2:
        return ", ".join(event.dates)
    return f"{event.dates[0]}..{event.dates[-1]} ({len(event.dates)} dates)"


def spans(event: VersionCommitted) -> str:
    """The source offsets that the version holds, both ends included; of many partitions, their number."""
    shown = [f"{s.topic}[{s.partition}] {s.first}..{s.next - 1}" for s in event.spans if s.next > s.first]
    return ", ".join(shown[:4]) + (f" and {len(shown) - 4} more" if len(shown) > 4 else "")


def _change(added: int | None, removed: int | None, *, any_removed: bool) -> str:
    plus = "+?" if added is None else f"+{added:,}"
    if not any_removed:
        return plus
    return f"{plus} -?" if removed is None else f"{plus} -{removed:,}"


def _delay(delay_ms: int) -> str:
    return f"{delay_ms} ms" if delay_ms < 10_000 else f"{delay_ms / 1000:,.0f} s ago"
