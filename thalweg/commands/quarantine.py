"""`thalweg quarantine`: what was rejected, and why."""

import base64
import datetime as dt
import json
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from audit.rejects import Rejects
from thalweg.errors import ConfigurationError, NotFound
from thalweg.settings import Settings


@click.group("quarantine")
def command() -> None:
    """Rejected records: where they stood, why, and their original bytes."""


@command.command("list")
@click.argument("dataset")
@click.option("--rule", help="Only records that this rule rejected.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="Records at the most.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line; bytes as base64.")
@click.pass_obj
def list_records(settings: Settings, dataset: str, rule: str | None, limit: int, as_json: bool) -> None:
    """Show counts by rule and the first records of DATASET's quarantine."""
    rejects = Rejects(settings.tables, dataset)
    if as_json:
        for record in rejects.records(limit, rule):
            click.echo(json.dumps(record, default=_as_json))
        return
    console = Console()
    counts = rejects.by_rule()
    if not counts:
        console.print(f"Nothing was rejected from [bold]{dataset}[/].")
        return
    console.print(
        f"[bold]{dataset}[/]: " + ", ".join(f"{count.records:,} by [yellow]{count.rule}[/]" for count in counts)
    )
    table = Table("place", "rule", "reason", box=None, pad_edge=False, header_style="dim")
    shown = sorted(rejects.records(limit, rule), key=lambda r: (r["topic"], r["partition"], r["offset"]))
    for record in shown:
        table.add_row(f"{record['topic']}/{record['partition']}/{record['offset']}", record["rule"], record["reason"])
    console.print(table)


@command.command("show")
@click.argument("dataset")
@click.argument("place", metavar="TOPIC/PARTITION/OFFSET")
@click.option("--json", "as_json", is_flag=True, help="One JSON object; bytes as base64.")
@click.pass_obj
def show(settings: Settings, dataset: str, place: str, as_json: bool) -> None:
    """Show one rejected record whole, with its original bytes."""
    topic, partition, offset = parse_place(place)
    record = Rejects(settings.tables, dataset).record(topic, partition, offset)
    if record is None:
        raise NotFound(f"{place} is not in the quarantine of {dataset}", f"thalweg where {place} says where it went")
    if as_json:
        click.echo(json.dumps(record, default=_as_json))
        return
    console = Console()
    for name, value in record.items():
        console.print(f"[dim]{name:>10}[/]  ", end="")
        console.print(_as_text(value), markup=False, highlight=False)


def parse_place(place: str) -> tuple[str, int, int]:
    """Split TOPIC/PARTITION/OFFSET. Raises ConfigurationError."""
    topic, _, rest = place.partition("/")
    partition, _, offset = rest.partition("/")
    if not (topic and partition.isdigit() and offset.isdigit()):
        raise ConfigurationError(
            f"{place!r} does not name a record", "write TOPIC/PARTITION/OFFSET, for example flights/0/17"
        )
    return topic, int(partition), int(offset)


def _as_json(value: Any) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _as_text(value: Any) -> str:
    if isinstance(value, bytes):
        shown = value[:64].hex(" ")
        return f"{shown} … ({len(value)} bytes)" if len(value) > 64 else shown
    if isinstance(value, dt.datetime):
        return value.isoformat(timespec="milliseconds")
    return "–" if value is None else str(value)
