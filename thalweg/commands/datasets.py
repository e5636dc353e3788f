"""`thalweg datasets`: what was declared."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

if (
    TYPE_CHECKING
):  # pydantic, Arrow and the clients take half a second to import, and `thalweg --help` needs none of them
    from schemas.datasets import Dataset
    from thalweg.settings import Settings


@click.group()
def command() -> None:
    """Show the datasets that were applied, or take one back."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print the declarations as JSON.")
@click.pass_obj
def list_datasets(settings: Settings, as_json: bool) -> None:
    """List the datasets."""
    from schemas.published import load_datasets

    datasets = load_datasets(settings)
    if as_json:
        click.echo(json.dumps([dataset.to_plain() for dataset in datasets.values()], ensure_ascii=False))
    elif datasets:
        _print_table(list(datasets.values()))
    else:
        click.echo("No dataset was applied yet. Start with: thalweg apply examples/flights.yaml")


@command.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print the declaration as JSON.")
@click.pass_obj
def show(settings: Settings, name: str, as_json: bool) -> None:
    """Print the declaration of dataset NAME, as YAML that can be applied again."""
    from schemas.published import load_dataset

    dataset = load_dataset(settings, name)
    click.echo(dataset.to_json() if as_json else dataset.to_yaml().rstrip("\n"))


@command.command()
@click.argument("name")
@click.pass_obj
def remove(settings: Settings, name: str) -> None:
    """Take the declaration of dataset NAME back. Its tables, its topics and its schemas stay as they are."""
    from schemas.published import withdraw

    withdraw(settings, name)
    click.echo(f"{name}: removed. Its tables are as they were; end a running `thalweg ingest {name}` yourself.")


def _print_table(datasets: list[Dataset]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("dataset", "topics", "date", "rules", "retention", "owner"):
        table.add_column(heading, overflow="fold")
    for dataset in datasets:
        kept = dataset.retention
        table.add_row(
            dataset.name,
            ", ".join(dataset.topics),
            dataset.partition.sql or f"{dataset.partition.field} in {dataset.partition.time_zone}",
            str(len(dataset.contract.rules)),
            "kept" if kept is None or kept.days is None else f"{kept.class_name}, {kept.days} days",
            dataset.owner,
        )
    Console().print(table)
