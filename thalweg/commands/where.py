"""`thalweg where`: which version and file hold a record, or why none does; and back, from a version or a file to records."""

import datetime as dt
import json

import click
from rich.console import Console

from audit.where import FileOrigin, Where, Whereabouts, ask_kafka, plain_version
from schemas.published import load_datasets
from thalweg.clock import SystemClock
from thalweg.commands.quarantine import parse_place
from thalweg.errors import ConfigurationError, DatasetNotFound
from thalweg.settings import Settings
from thalweg.tables.log import LogEntry

_SAID = {
    "landed": "landed",
    "quarantined": "was rejected, and is in the quarantine",
    "filtered": "was filtered, as declared",
    "hole": "is an offset that Kafka never gave to a reader (an aborted or a control record)",
    "removed": "was taken in, and removed since: the files that held it are gone",
    "not consumed": "is not consumed yet",
    "before": "lies before what the table's log speaks of",
    "gap": "is covered by no commit: thalweg verify tells more",
    "missing": "is missing: thalweg verify tells more",
}


@click.command("where")
@click.argument("place", required=False, metavar="[TOPIC/PARTITION/OFFSET]")
@click.option("--dataset", help="The dataset to look in; found by the topic when it is not given.")
@click.option("--version", type=click.IntRange(0), help="With --dataset: the records of that version.")
@click.option("--file", "path", help="With --dataset: the records in that data file.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_obj
def command(
    settings: Settings, place: str | None, dataset: str | None, version: int | None, path: str | None, as_json: bool
) -> None:
    """Say where a record went: TOPIC/PARTITION/OFFSET to version and file, or the reason why there is none."""
    if sum(given is not None for given in (place, version, path)) != 1:
        raise ConfigurationError(
            "give a record, or a version, or a file", "thalweg where flights/0/17, or --dataset flights --version 3"
        )
    if place is not None:
        _record(settings, place, dataset, as_json)
        return
    if dataset is None:
        raise ConfigurationError("which dataset's?", "add --dataset NAME")
    where = Where(dataset, settings.tables)
    if version is not None:
        entry = where.version(version)
        click.echo(json.dumps(plain_version(entry))) if as_json else _show_version(entry)
    else:
        assert path is not None  # checked above
        origins = where.file(path)
        click.echo(json.dumps([origin.to_plain() for origin in origins])) if as_json else _show_file(origins)


def _record(settings: Settings, place: str, dataset: str | None, as_json: bool) -> None:
    topic, partition, offset = parse_place(place)
    held = ask_kafka(settings.kafka, SystemClock())
    names = [dataset] if dataset else _datasets_of(settings, topic)
    answers = [Where(name, settings.tables).record(topic, partition, offset, held) for name in names]
    if as_json:
        plain = [answer.to_plain() for answer in answers]
        click.echo(json.dumps(plain[0] if dataset or len(plain) == 1 else plain))
    else:
        for answer in answers:
            _show_record(answer)


def _datasets_of(settings: Settings, topic: str) -> list[str]:
    declared = load_datasets(settings)
    names = [name for name, dataset in declared.items() if topic in dataset.topics]
    if not names:
        topics = sorted({topic for dataset in declared.values() for topic in dataset.topics})
        raise DatasetNotFound(
            f"no dataset declares the topic {topic}", f"declared topics are {', '.join(topics) or 'none yet'}"
        )
    return names


def _show_record(answer: Whereabouts) -> None:
    console = Console(highlight=False, soft_wrap=True)
    said = " or ".join(_SAID[state] for state in answer.state.split(" or "))
    console.print(f"[bold]{answer.topic}/{answer.partition}/{answer.offset}[/] {said}")
    lines: list[tuple[str, object]] = [("dataset", answer.dataset)]
    if answer.version is not None and answer.committed_ms is not None:
        at = dt.datetime.fromtimestamp(answer.committed_ms / 1000, dt.UTC)
        lines.append(("version", f"{answer.version}, committed {at.isoformat(sep=' ', timespec='milliseconds')}"))
    if answer.span is not None:
        lines.append(("span", f"offsets {answer.span.first} to {answer.span.next - 1}"))
    if answer.file is not None:
        lines.append(("file", answer.file))
    if answer.state == "landed" and answer.now_in != answer.file:
        lines.append(("now in", answer.now_in or "no file: the newest version does not have it any more"))
    lines += answer.verdict.items()
    for name, value in lines:
        console.print(f"[dim]{name:>8}[/]  ", end="")
        console.print(str(value), markup=False)


def _show_version(entry: LogEntry) -> None:
    plain = plain_version(entry)
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"[bold]version {entry.version}[/]  {entry.operation}, {plain['committed_at']}:"
        f" {plain['files_added']} files added, {plain['files_removed']} removed"
    )
    for span in plain["spans"]:
        counts = ", ".join(
            f"{span[name]:,} {name}" for name in ("landed", "quarantined", "filtered", "holes") if span[name]
        )
        console.print(f"  {span['topic']}/{span['partition']}  offsets {span['from']} to {span['to'] - 1}: {counts}")
    if not plain["spans"]:
        console.print("  no source offsets: not a landing")


def _show_file(origins: list[FileOrigin]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for origin in origins:
        landed = (
            f"landed by versions {origin.versions[0]} to {origin.versions[1]}"
            if origin.versions
            else "covered by no landing"
        )
        console.print(
            f"partition {origin.partition} of topic id {origin.topic_id}: {origin.rows:,} rows,"
            f" offsets {origin.first} to {origin.last}, {landed}"
        )
