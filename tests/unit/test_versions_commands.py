"""How `thalweg versions` shows events."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import click
import pytest
from click.testing import CliRunner

from schemas.events import GAP, VersionCommitted
from thalweg.commands import versions
from thalweg.tables.spans import Span

AT = datetime(2013, 1, 1, 5, 0, tzinfo=UTC)
NOW_MS = int(AT.timestamp() * 1000) + 120


def event(**changes: Any) -> VersionCommitted:
    """A landing of two rows."""
    fields: dict[str, Any] = {
        "event_id": UUID(int=1),
        "dataset": "flights",
        "table_uri": "/t",
        "table_id": "i",
        "version": 4,
        "committed_at": AT,
        "operation": "WRITE",
        "data_change": True,
        "rows_added": 20_000,
        "rows_removed": 0,
        "files_added": 2,
        "bytes_removed": 0,
        "dates": ("2013-01-01",),
        "spans": (Span("flights", "A", 0, 10, 30, 20, 0, 0),),
    }
    return VersionCommitted(**{**fields, **changes})


def test_a_line_says_all_that_matters() -> None:
    assert versions.line(event(), NOW_MS, with_dataset=False) == (
        "v4  WRITE     +20,000 rows  +2 files  2013-01-01  flights[0] 10..29  120 ms"
    )


def test_a_line_of_many_datasets_names_each() -> None:
    assert versions.line(event(), NOW_MS, with_dataset=True).startswith("flights v4 ")


def test_what_the_log_does_not_say_is_a_question_mark() -> None:
    shown = versions.line(event(rows_removed=None, files_removed=1, dates=(), spans=()), NOW_MS, with_dataset=False)
    assert shown == "v4  WRITE     +20,000 -? rows  +2 -1 files  120 ms"


def test_many_dates_and_spans_are_summed_up() -> None:
    spans = tuple(Span("t", "A", p, 0, 5, 5, 0, 0) for p in range(6))
    shown = event(dates=tuple(f"2013-01-0{n}" for n in range(1, 6)), spans=spans)
    assert versions.dates(shown) == "2013-01-01..2013-01-05 (5 dates)"
    assert versions.spans(shown) == "t[0] 0..4, t[1] 0..4, t[2] 0..4, t[3] 0..4 and 2 more"


def test_a_span_without_an_offset_is_left_out() -> None:
    assert versions.spans(event(spans=(Span("t", "A", 0, 5, 5, 0, 0, 0),))) == ""


def test_a_gap_is_shown_as_one() -> None:
    gap = event(kind=GAP, gap_from=2, gap_to=4)
    assert (
        versions.line(gap, NOW_MS, with_dataset=False) == "2..4  GAP: cleaned from the log before they were announced"
    )


def test_an_old_commit_is_shown_in_seconds() -> None:
    assert versions.line(event(), NOW_MS + 3_600_000, with_dataset=False).endswith("3,600 s ago")


@pytest.mark.parametrize(
    ("text", "since"),
    [
        ("earliest", "earliest"),
        ("latest", "latest"),
        ("12", 12),
        ("2013-01-01", datetime(2013, 1, 1, tzinfo=UTC)),
        ("2013-01-01T05:00+00:00", AT),
    ],
)
def test_since_is_a_word_a_version_or_a_time(text: str, since: object) -> None:
    seen: list[object] = []

    @click.command()
    @click.option("--since", type=versions._Since())
    def probe(since: object) -> None:
        seen.append(since)

    assert CliRunner().invoke(probe, ["--since", text]).exit_code == 0
    assert seen == [since]


def test_a_wrong_since_says_what_would_be_right() -> None:
    result = CliRunner().invoke(versions.command, ["list", "flights", "--since", "yesterday"])
    assert result.exit_code == 2
    assert "'yesterday' is not 'earliest', 'latest', a version number or an ISO time" in result.output
