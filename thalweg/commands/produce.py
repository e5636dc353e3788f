"""`thalweg produce flights|shop`: sample records into a topic, with poison on request."""

from __future__ import annotations

import dataclasses
import datetime
import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from thalweg.errors import ConfigurationError

if TYPE_CHECKING:  # Arrow, NumPy and the clients take half a second to import, and `thalweg --help` needs none of them
    from rich.progress import Progress

    from produce.batches import Source
    from produce.producer import Produced, Sample
    from thalweg.settings import Settings

_INTERRUPTED = 130  # what a shell expects of a command that Ctrl-C ended: 128 + SIGINT


@click.command()
@click.argument("sample", type=click.Choice(["flights", "shop"]))
@click.option("--topic", help="Topic, or dataset with one topic.  [default: the sample's name]")
@click.option(
    "--count", type=click.IntRange(min=0), help="How many records.  [default: all flights, or 100,000 events]"
)
@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), help="Records per second.  [default: as fast as it goes]"
)
@click.option("--poison", type=click.IntRange(min=0), default=0, help="Bad records to mix in, of every kind.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Decides all that is drawn by chance.")
@click.option(
    "--date", "dates", type=click.DateTime(["%Y-%m-%d"]), multiple=True, help="A date of the shop events; repeatable."
)
@click.option("--partitions", type=click.IntRange(min=1), help="Make the topic, if there is none, with so many.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.pass_obj
def command(
    settings: Settings,
    sample: Sample,
    topic: str | None,
    count: int | None,
    rate: float | None,
    poison: int,
    seed: int,
    dates: tuple[datetime.datetime, ...],
    partitions: int | None,
    as_json: bool,
) -> None:
    """Send sample records to a topic, as Avro with a registered schema.

    `flights`: the 336,776 flights that left New York in 2013, in the order of their hours. `shop`: seeded shop events.
    Ctrl-C ends it cleanly: what was sent is confirmed and counted.
    """
    from produce.producer import produce

    source = _source(sample, count, seed, dates)
    with _stopped_by_signals() as stopped, _progress() as progress:
        bar = progress.add_task(sample, total=source.count)
        produced = produce(
            topic or sample,
            source,
            rate=rate,
            poison=poison,
            seed=seed,
            partitions=partitions,
            settings=settings,
            stop=stopped.is_set,
            told=lambda delivered: progress.update(bar, completed=delivered),
        )
    (_print_json if as_json else _print)(produced)
    if not produced.complete:
        click.get_current_context().exit(_INTERRUPTED)


def _source(sample: Sample, count: int | None, seed: int, dates: tuple[datetime.datetime, ...]) -> Source:
    from produce import flights, shop

    if sample == "shop":
        return shop.source(count, seed, [date.date() for date in dates] or shop.DATES)
    if dates:
        raise ConfigurationError("the flights have dates of their own", "leave --date out, or produce `shop` events")
    return flights.source(count)


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """Yield an event that the first SIGINT or SIGTERM sets; the next one ends the process as usual."""
    stopped = threading.Event()
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for one, handler in before.items():
            signal.signal(one, handler)

    def stop(*_: object) -> None:
        stopped.set()
        restore()

    for one in before:
        signal.signal(one, stop)
    try:
        yield stopped
    finally:
        restore()


def _progress() -> Progress:
    """Return a bar on the terminal, or nothing where stderr is none."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)


def _print_json(produced: Produced) -> None:
    click.echo(json.dumps(dataclasses.asdict(produced)))


def _print(produced: Produced) -> None:
    rate = produced.count / produced.seconds if produced.seconds else 0
    click.echo(
        f"{'' if produced.complete else 'stopped: '}{produced.count:,} records are in topic {produced.topic} "
        f"(schema id {produced.schema_id}; {produced.bytes / 1e6:,.1f} MB in {produced.seconds:.1f} s, {rate:,.0f} a second)"
    )
    click.echo("  by partition: " + ", ".join(f"{number}: {count:,}" for number, count in produced.partitions.items()))
    if produced.poison:
        from rich.console import Console
        from rich.table import Table

        table = Table(
            "topic", "partition", "offset", "what is wrong", title=f"{len(produced.poison)} bad records besides"
        )
        for one in produced.poison:
            table.add_row(one.topic, str(one.partition), str(one.offset), one.kind)
        Console().print(table)
