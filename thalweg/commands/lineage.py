"""`thalweg lineage`: where data came from, and what depends on it."""

import json
from pathlib import Path
from typing import Any, Literal

import click

from thalweg.settings import Settings


@click.group()
def command() -> None:
    """Where data came from, and what depends on it."""


@command.command()
@click.option("--host", help="Address to listen on; the http.host setting (loopback) when left out.")
@click.option("--port", type=click.IntRange(0, 65535), help="0 picks a free one; http.port or 8087 when left out.")
@click.pass_obj
def serve(settings: Settings, host: str | None, port: int | None) -> None:
    """Collect lineage events, and serve the API and the page, until SIGTERM or Ctrl-C."""
    from lineage.serve import DEFAULT_PORT  # the web server costs 0.2 s, and --help does not need it
    from lineage.serve import serve as serve_lineage
    from thalweg.telemetry import configure_logging

    configure_logging()
    chosen = next(wish for wish in (port, settings.http.port, DEFAULT_PORT) if wish is not None)
    serve_lineage(
        settings.kafka,
        settings.lineage.store,
        host or settings.http.host,
        chosen,
        lambda url: click.echo(f"lineage page at {url}/ (API at {url}/api/v1); Ctrl-C ends it"),
    )


def _asking(direction: Literal["upstream", "downstream"], text: str) -> click.Command:
    @click.command(direction, help=text)
    @click.argument("node")
    @click.option("--version", help="One version of a table: its number, or `newest`.")
    @click.option("--depth", type=click.IntRange(1, 50), default=10, show_default=True, help="How far to go.")
    @click.option("--json", "as_json", is_flag=True, help="The API's answer, for programs.")
    @click.pass_obj
    def answer(settings: Settings, node: str, version: str | None, depth: int, as_json: bool) -> None:
        if version is not None and version != "newest" and not (version.isascii() and version.isdigit()):
            raise click.BadParameter("give a number, or `newest`", param_hint="--version")
        found = _ask(settings, node, direction, version, depth)
        if as_json:
            click.echo(json.dumps(found, indent=2, ensure_ascii=False))
            return
        from rich.console import Console

        from lineage.tree import graph_tree, trace_tree

        Console().print(graph_tree(found) if version is None else trace_tree(found), soft_wrap=True)

    return answer


_NODE = """

    NODE is a dataset (flights, flights.quarantine), a topic (topic:flights), a table's path, or a node's full name as
    the API gives it.
"""
command.add_command(
    _asking("upstream", f"What NODE comes from; with --version, the offsets and versions that made it.{_NODE}")
)
command.add_command(_asking("downstream", f"What depends on NODE; with --version, on the rows of that version.{_NODE}"))


def _ask(
    settings: Settings, node: str, direction: Literal["upstream", "downstream"], version: str | None, depth: int
) -> dict[str, Any]:
    """Read the store itself when it is a file of this machine; else ask the API."""
    if not _is_local_file(settings.lineage.store):
        from lineage.client import ask

        return ask(settings.lineage.api, "lineage", node=node, direction=direction, depth=depth, version=version)
    from lineage.nodes import find
    from lineage.store import Store
    from lineage.trace import graph, trace_version

    with Store(settings.lineage.store) as store, store.reading() as connection:
        found = find(connection, node)
        if version is None:
            return graph(connection, found, direction, depth=depth)
        number = None if version == "newest" else int(version)
        return trace_version(connection, found, number, direction, depth=depth)


def _is_local_file(store: str) -> bool:
    scheme, _, path = store.partition(":///")
    return scheme.startswith("sqlite") and Path(path).is_file()
