"""The statements that take events in, built once: building one costs five times as much as running it.

Each inserts a row, or changes the one that is there, so that events may come in any order: what an event does not tell
stays, what an older event tells fills gaps only, and a run's state is never taken back.
"""

from functools import cache
from typing import Any

from sqlalchemy import Table, case, func, literal_column, true
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import Insert

from lineage import layout


def _insert(dialect: str, table: Table) -> Any:
    """An INSERT that can say ON CONFLICT: SQLite and PostgreSQL spell it alike, SQLAlchemy in two classes."""
    return (sqlite if dialect == "sqlite" else postgresql).insert(table)


@cache
def add(dialect: str, table: Table) -> Insert:
    """Add a row unless its key is there; return a row if it was added. (Row counts of an INSERT differ by driver.)"""
    statement: Insert = _insert(dialect, table).on_conflict_do_nothing()
    return statement.returning(literal_column("1"))


@cache
def named(dialect: str, table: Table) -> Insert:
    """Add or change a job or a dataset, and return its id."""
    statement = _insert(dialect, table)
    told, before = statement.excluded, table.c
    is_dated = "told_ms" in before
    newer = told.told_ms >= before.told_ms if is_dated else true()
    fixed = {"id", "namespace", "name", "kind", "told_ms"}
    changes = {
        name: case((newer, func.coalesce(told[name], before[name])), else_=func.coalesce(before[name], told[name]))
        for name in set(before.keys()) - fixed
    }
    if is_dated:
        changes["told_ms"] = case((newer, told.told_ms), else_=before.told_ms)
        # A first mention may tell less: a table that is only read looks like any dataset.
        changes["kind"] = case((before.kind == "dataset", told.kind), else_=before.kind)
    key = [before.namespace, before.name]
    upsert: Insert = statement.on_conflict_do_update(index_elements=key, set_=changes).returning(before.id)
    return upsert


@cache
def run(dialect: str) -> Insert:
    """Add or change a run."""
    table = layout.runs
    statement = _insert(dialect, table)
    told, before = statement.excluded, table.c
    further = told.state_rank >= before.state_rank
    kept = ("parent_id", "engine", "error", "started_ms", "ended_ms")
    changes = {
        **{name: func.coalesce(told[name], before[name]) for name in kept},
        "job_id": told.job_id,
        "state": case((further, func.coalesce(told.state, before.state)), else_=before.state),
        "state_rank": case((further, told.state_rank), else_=before.state_rank),
        "told_ms": case((told.told_ms > before.told_ms, told.told_ms), else_=before.told_ms),
    }
    upsert: Insert = statement.on_conflict_do_update(index_elements=[before.run_id], set_=changes)
    return upsert


@cache
def run_dataset(dialect: str) -> Insert:
    """Add what a run read or wrote, or the version of it that another of its events left out."""
    table = layout.run_datasets
    statement = _insert(dialect, table)
    changes = {name: func.coalesce(statement.excluded[name], table.c[name]) for name in ("version", "version_number")}
    key = [table.c.run_id, table.c.dataset_id, table.c.is_output]
    upsert: Insert = statement.on_conflict_do_update(index_elements=key, set_=changes)
    return upsert


@cache
def version(dialect: str) -> Insert:
    """Add or change a version, and return its id."""
    table = layout.dataset_versions
    statement = _insert(dialect, table)
    key = ["dataset_id", "table_id", "version"]
    changes = {name: statement.excluded[name] for name in set(table.c.keys()) - {"id", *key}}
    upsert: Insert = statement.on_conflict_do_update(index_elements=[table.c[name] for name in key], set_=changes)
    return upsert.returning(table.c.id)


@cache
def source(dialect: str) -> Insert:
    """Add one span to the sums of its partition and table."""
    table = layout.sources
    statement = _insert(dialect, table)
    more, so_far = statement.excluded, table.c
    sums = {name: so_far[name] + more[name] for name in ("landed", "quarantined", "filtered", "landings")}
    ends = {
        "first_offset": case((more.first_offset < so_far.first_offset, more.first_offset), else_=so_far.first_offset),
        "next_offset": case((more.next_offset > so_far.next_offset, more.next_offset), else_=so_far.next_offset),
    }
    key = list(table.primary_key.columns)
    upsert: Insert = statement.on_conflict_do_update(index_elements=key, set_={**sums, **ends})
    return upsert


@cache
def position(dialect: str) -> Insert:
    """Note where a reader goes on. Never backwards: a reader that lost its partition may still write late."""
    table = layout.positions
    statement = _insert(dialect, table)
    upsert: Insert = statement.on_conflict_do_update(
        index_elements=[table.c.topic_id, table.c.partition],
        set_={"next_offset": statement.excluded.next_offset},
        where=table.c.next_offset < statement.excluded.next_offset,
    )
    return upsert
