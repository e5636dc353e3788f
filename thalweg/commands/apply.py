"""`thalweg apply`: check declarations and publish them."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from thalweg.errors import ConfigurationError, SchemaNotFound, TopicNotFound

if (
    TYPE_CHECKING
):  # pydantic, Arrow and the clients take half a second to import, and `thalweg --help` needs none of them
    from schemas.datasets import Dataset
    from thalweg.settings import Settings


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--create-topics",
    "partitions",
    type=click.IntRange(min=1),
    metavar="PARTITIONS",
    help="Make the source topics that are missing, with so many partitions.",
)
@click.pass_obj
def command(settings: Settings, files: tuple[Path, ...], partitions: int | None) -> None:
    """Check the declarations in FILES and publish them; nothing is published while one of them is wrong.

    Where a topic's schema is registered already (subject TOPIC-value), rules and partition are checked against it. What
    was declared before is replaced, and the difference is shown.
    """
    from schemas.published import load_datasets, publish

    datasets = _read(files)
    _check_registered(settings, datasets)
    before = load_datasets(settings)
    for dataset in datasets:
        known = before.get(dataset.name)
        if known == dataset:
            click.echo(f"{dataset.name}: unchanged")
        else:
            publish(settings, dataset)
            click.echo(f"{dataset.name}: {'applied' if known is None else 'changed'}")
            if known is not None:
                click.echo(_difference(known, dataset))
                click.echo(f"a running `thalweg ingest {dataset.name}` keeps the old declaration: restart it")
    _report_topics(settings, datasets, partitions)


def _read(files: tuple[Path, ...]) -> list[Dataset]:
    from schemas.datasets import Dataset

    found: dict[str, Path] = {}
    datasets = []
    for file in files:
        dataset = Dataset.from_yaml(file)
        if dataset.name in found:
            raise ConfigurationError(
                f"{found[dataset.name]} and {file} both declare {dataset.name}", "give one of them another name"
            )
        found[dataset.name] = file
        datasets.append(dataset)
    return datasets


def _check_registered(settings: Settings, datasets: list[Dataset]) -> None:
    """Check against the newest registered schema of each topic. A topic without one is checked when ingest meets its events."""
    from ingest.decode.resolve import landed_schema
    from schemas.arrow import event_schema
    from schemas.registry import Registry

    with Registry(settings.registry) as registry:
        for dataset in datasets:
            if dataset.reader_schema is not None:
                dataset.check(event_schema(dataset.reader_schema))
            for topic in dataset.topics:
                try:
                    registered = registry.latest(f"{topic}-value")
                except SchemaNotFound:
                    continue
                dataset.check(landed_schema(registered.schema, dataset.reader_schema))


def _difference(before: Dataset, after: Dataset) -> str:
    """Lines taken away and lines added, in YAML."""
    lines = difflib.unified_diff(before.to_yaml().splitlines(), after.to_yaml().splitlines(), n=1, lineterm="")
    return "\n".join(f"  {line}" for line in lines if not line.startswith(("---", "+++", "@@")))


def _report_topics(settings: Settings, datasets: list[Dataset], partitions: int | None) -> None:
    """Make the topics that are missing, if that was asked for; else say what is missing. Topics belong to their users."""
    from thalweg.streams.admin import Admin, TopicSpec

    names = sorted({topic for dataset in datasets for topic in dataset.topics})
    with Admin(settings.kafka) as admin:
        if partitions is not None:
            for name in admin.create_topics([TopicSpec(name, partitions) for name in names]):
                click.echo(f"topic {name}: created with {partitions} partitions")
            return
        for name in names:
            try:
                admin.partitions(name)
            except TopicNotFound:
                click.echo(f"topic {name}: does not exist yet; create it, or apply with --create-topics 4", err=True)
