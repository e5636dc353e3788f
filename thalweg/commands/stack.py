"""`thalweg stack`: the local broker and registry."""

import json
import sys
from typing import Self

import click
from rich.console import Console
from rich.table import Table

from schemas.registry import Registry
from thalweg.errors import Unavailable
from thalweg.settings import KafkaSettings, RegistrySettings, Settings
from thalweg.stack.lifecycle import Checks, Part, Stack, Status
from thalweg.streams.admin import Admin

_LINE = 120  # columns of a line that no terminal cuts
_PORT = click.IntRange(1, 65535)


@click.group()
def command() -> None:
    """Run a local Kafka and schema registry for development.

    A broker or a registry that you name in the settings is used, never started or stopped.
    """


@command.command()
@click.option("--port", type=_PORT, help="Port of the broker; a free one by default.")
@click.option("--registry-port", type=_PORT, help="Port of the registry; a free one by default.")
@click.option("--json", "as_json", is_flag=True, help="Print the status as JSON.")
@click.pass_obj
def up(settings: Settings, port: int | None, registry_port: int | None, as_json: bool) -> None:
    """Start what does not run, and return when it answers. It goes on until `thalweg stack down`."""
    with _Screen(Console(stderr=True)) as screen:
        status = _stack(settings).up(screen, port, registry_port)
    _print(status, as_json)


@command.command()
@click.option("--wipe", is_flag=True, help="Remove topics, schemas and logs too.")
@click.pass_obj
def down(settings: Settings, wipe: bool) -> None:
    """Stop what `thalweg stack up` has started."""
    ended = _stack(settings).down(wipe)
    click.echo(f"stopped: {', '.join(ended)}" if ended else "nothing ran")
    if wipe:
        click.echo("removed: topics, schemas, logs")


@command.command()
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.pass_obj
def status(settings: Settings, as_json: bool) -> None:
    """Say what runs. Exits with 0 if the broker and the registry answer, else with 3."""
    found = _stack(settings).status()
    _print(found, as_json)
    if not found.up:
        sys.exit(Unavailable.exit_code)


def _stack(settings: Settings) -> Stack:
    return Stack(settings, Checks(_ask_broker, _ask_registry))


def _ask_broker(kafka: KafkaSettings) -> None:
    with Admin(kafka) as admin:
        admin.ping()


def _ask_registry(registry: RegistrySettings) -> None:
    with Registry(registry) as client:
        client.ping()


class _Screen:
    """Shows what `up` is at: a spinner on a terminal, a line a step elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._spinner = console.status("looking around")

    def __enter__(self) -> Self:
        self._spinner.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._spinner.stop()

    def step(self, what: str) -> None:
        """Show what begins."""
        self._show(what, worth_a_line=True)

    def jars(self, done: int, total: int) -> None:
        """Show how far the download is."""
        self._show(f"downloading Kafka, once: {done} of {total} jars", worth_a_line=done % 15 == 0 or done == total)

    def _show(self, text: str, worth_a_line: bool) -> None:
        if self._console.is_terminal:
            self._spinner.update(text)
        elif worth_a_line:
            self._console.print(text, highlight=False)


def _print(status: Status, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(status.as_dict(), indent=1))
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, part in (("broker", status.broker), ("registry", status.registry)):
        table.add_row(name, _light(part), part.address or "", _about(part), style=None if part.answers else "dim")
    console = Console(highlight=False)
    console.print(table, width=None if console.is_terminal else _LINE)
    if status.broker.kind == "none" and status.registry.kind == "none":
        click.echo("nothing runs; `thalweg stack up` starts it")


def _light(part: Part) -> str:
    if part.kind == "none":
        return "○ not there"
    return "[green]● up[/]" if part.answers else "[red]● no answer[/]"


def _about(part: Part) -> str:
    kinds = {
        "given": "yours",
        "docker": "Kafka in Docker",
        "local": f"Kafka {part.details.get('kafka', '')} on this machine",
        "embedded": "embedded, for development",
        "none": "",
    }
    pid = f", pid {part.details['pid']}" if "pid" in part.details else ""
    return kinds[part.kind] + pid
