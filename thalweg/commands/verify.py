"""`thalweg verify`: the proof that nothing is missing and nothing is there twice."""

import json
import sys

import click
from rich.console import Console
from rich.table import Table

from audit.accounts import Balance
from audit.verify import Report, verify
from thalweg.clock import SystemClock
from thalweg.settings import Settings

_COUNTS = ("landed", "quarantined", "filtered", "holes", "retired", "unverifiable", "missing", "duplicate")
# The others are shown where there is something to show: eleven columns do not fit a terminal.
_ALWAYS = ("landed", "quarantined", "missing", "duplicate")


@click.command("verify")
@click.argument("dataset")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_obj
def command(settings: Settings, dataset: str, as_json: bool) -> None:
    """Prove from Kafka and the tables that no offset of DATASET is missing or there twice. Exit code 0 only when clean.

    Reads every row's origin and every offset that Kafka still holds; consumed = landed + quarantined + filtered.
    """
    report = verify(dataset, settings, SystemClock())
    if as_json:
        click.echo(json.dumps(report.to_plain()))
    else:
        _show(report)
    if not report.ok:
        sys.exit(1)


def _show(report: Report) -> None:
    # Off a terminal there is no width to keep to, and a cut number is a wrong number.
    console = Console(width=None if sys.stdout.isatty() else 200)
    shown = [name for name in _COUNTS if name in _ALWAYS or any(getattr(p, name) for p in report.partitions)]
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("partition")
    for name in ("from", "to", *shown, "lag"):
        table.add_column(name, justify="right", no_wrap=True)
    for balance in report.partitions:
        table.add_row(
            f"{balance.topic}/{balance.partition}",
            f"{balance.start:,}",
            f"{balance.end:,}",
            *(_count(balance, name) for name in shown),
            "?" if balance.lag is None else f"{balance.lag:,}",
        )
    console.print(table)
    for note in report.notes:
        console.print(f"[dim]note:[/] {note}", highlight=False)
    for problem in report.problems:
        console.print(f"[red]problem:[/] {problem}", highlight=False)
    console.print(_verdict(report), highlight=False, soft_wrap=True)


def _count(balance: Balance, name: str) -> str:
    value: int = getattr(balance, name)
    wrong = value and name in ("missing", "duplicate")
    return f"[red]{value:,}[/]" if wrong else f"{value:,}"


def _verdict(report: Report) -> str:
    totals = {name: sum(getattr(balance, name) for balance in report.partitions) for name in _COUNTS}
    consumed = totals["landed"] + totals["quarantined"] + totals["filtered"]
    sum_of = (
        f"{consumed:,} consumed = {totals['landed']:,} landed + {totals['quarantined']:,} quarantined"
        f" + {totals['filtered']:,} filtered"
    )
    if report.ok:
        return f"[green bold]clean[/]: {sum_of}; 0 missing, 0 twice (version {report.version})"
    return (
        f"[red bold]NOT CLEAN[/]: {sum_of}; {totals['missing']:,} missing, {totals['duplicate']:,} twice,"
        f" {len(report.problems)} problems (version {report.version})"
    )
