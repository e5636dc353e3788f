"""What the store can be asked about datasets, versions, runs and offsets. Answers are JSON: the API sends them as they are."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, and_, case, func, or_, select

from lineage.answers import Json, moment
from lineage.layout import (
    dataset_versions,
    datasets,
    documents,
    edges,
    jobs,
    known_events,
    refused_events,
    revision,
    run_datasets,
    runs,
    spans,
)
from lineage.nodes import Node
from lineage.offsets import describe_span, source_totals, totals
from thalweg.errors import NotFound, VersionNotFound

# One page of a list, at most.
MAX_PAGE = 1000


def current_revision(connection: Connection) -> int:
    """A number that grows with every change of the store."""
    return int(connection.execute(select(revision.c.number)).scalar_one())


def list_datasets(connection: Connection, *, after: int = 0, limit: int = 100) -> Json:
    """Datasets in the order in which they were first told of. `next` goes into `after` for the following page."""
    found = connection.execute(select(datasets).where(datasets.c.id > after).order_by(datasets.c.id).limit(limit + 1))
    rows = found.all()
    page = rows[:limit]
    return {
        "datasets": describe_datasets(connection, page),
        "next": page[-1].id if len(rows) > limit else None,
    }


def describe_datasets(connection: Connection, rows: Sequence[Row[Any]]) -> list[Json]:
    """What a list or a graph shows of each dataset: names, owner, how many versions, and the newest one."""
    ids = [row.id for row in rows]
    newest, taken = _newest_versions(connection, ids), totals(connection, ids)
    return [
        {
            "id": Node(False, row.id, row.namespace, row.name).key,
            "type": "dataset",
            "kind": row.kind,
            "namespace": row.namespace,
            "name": row.name,
            "known_as": row.known_as,
            "owner": row.owner,
            "description": row.description,
            "versions": newest[row.id][0]["versions"] if row.id in newest else 0,
            "rows_written": newest[row.id][0]["rows_written"] if row.id in newest else None,
            "newest": newest[row.id][1] if row.id in newest else None,
            "totals": taken.get(row.id),
        }
        for row in rows
    ]


def describe_dataset(connection: Connection, node: Node) -> Json:
    """All of one dataset: the above, its columns and where they come from, and for topics and tables the offsets."""
    row = connection.execute(select(datasets).where(datasets.c.id == node.id)).one()
    (told,) = describe_datasets(connection, [row])
    return {
        **told,
        "table_id": row.table_id,
        "columns": _document(connection, row.schema_digest) or [],
        "column_lineage": _document(connection, row.columns_digest) or {},
        "offsets": source_totals(connection, node, row.table_id),
        "read_by": _jobs_of(connection, node.id, is_output=False),
        "written_by": _jobs_of(connection, node.id, is_output=True),
    }


def list_versions(connection: Connection, node: Node, *, before: int | None = None, limit: int = 50) -> Json:
    """Versions of a dataset, newest first, with the offsets that made each. `next` goes into `before`."""
    table = dataset_versions
    wanted = select(table).where(*current(connection, node))
    if before is not None:
        wanted = wanted.where(table.c.version_number < before)
    rows = connection.execute(wanted.order_by(table.c.version_number.desc().nulls_last()).limit(limit + 1)).all()
    page = rows[:limit]
    return {
        "node": node.key,
        "versions": describe_versions(connection, page),
        "next": page[-1].version_number if len(rows) > limit else None,
    }


def version_row(connection: Connection, node: Node, version: int | None) -> Row[Any]:
    """One version's row; the newest when `version` is None. Raises VersionNotFound."""
    table = dataset_versions
    wanted = select(table).where(*current(connection, node), table.c.version_number.is_not(None))
    if version is not None:
        wanted = wanted.where(table.c.version_number == version)
    row = connection.execute(wanted.order_by(table.c.version_number.desc()).limit(1)).one_or_none()
    if row is None:
        which = "versions" if version is None else f"version {version}"
        raise VersionNotFound(
            f"lineage knows no {which} of {node.key}",
            "a version is known once the announcer has told it: see that `thalweg announce` runs",
        )
    return row


def current(connection: Connection, node: Node) -> tuple[Any, ...]:
    """Conditions on `dataset_versions` that leave out an earlier table at the same place."""
    table_id = connection.execute(select(datasets.c.table_id).where(datasets.c.id == node.id)).scalar_one()
    mine = dataset_versions.c.dataset_id == node.id
    return (mine,) if table_id is None else (mine, dataset_versions.c.table_id == table_id)


def describe_versions(connection: Connection, rows: Sequence[Row[Any]]) -> list[Json]:
    """Versions with the offsets of their own landing."""
    own: dict[int, list[Json]] = {}
    found = connection.execute(
        select(spans, datasets.c.name.label("topic"))
        .join(datasets, datasets.c.id == spans.c.topic_dataset_id)
        .where(spans.c.version_id.in_([row.id for row in rows]))
        .order_by(datasets.c.name, spans.c.topic_id, spans.c.partition)
    )
    for span in found:
        own.setdefault(span.version_id, []).append({"topic": span.topic, **describe_span(span)})
    return [
        {
            "version": row.version,
            "number": row.version_number,
            "table_id": row.table_id or None,
            "based_on": row.based_on,
            "made_at": moment(row.made_ms),
            "operation": row.operation,
            "data_change": row.data_change,
            "rows_added": row.rows_added,
            "files_added": row.files_added,
            "bytes_added": row.bytes_added,
            "files_removed": row.files_removed,
            "bytes_removed": row.bytes_removed,
            "dates": json.loads(row.dates) if row.dates else [],
            "run_id": row.run_id,
            "spans": own.get(row.id, []),
        }
        for row in rows
    ]


def describe_run(connection: Connection, run_id: str) -> Json:
    """One run: its job, its parent, what it read and wrote, and its events. Raises NotFound."""
    row = connection.execute(
        select(runs, jobs.c.namespace, jobs.c.name)
        .join(jobs, jobs.c.id == runs.c.job_id)
        .where(runs.c.run_id == run_id.lower())
    ).one_or_none()
    if row is None:
        raise NotFound(f"lineage knows no run {run_id}", "run ids stand beside each version of a dataset")
    told = connection.execute(
        select(known_events.c.state, known_events.c.time_ms, known_events.c.producer)
        .where(known_events.c.run_id == row.run_id)
        .order_by(known_events.c.time_ms, known_events.c.state.desc())
        .limit(MAX_PAGE)
    )
    sides = connection.execute(
        select(datasets.c.namespace, datasets.c.name, run_datasets.c.is_output, run_datasets.c.version)
        .join(datasets, datasets.c.id == run_datasets.c.dataset_id)
        .where(run_datasets.c.run_id == row.run_id)
        .order_by(datasets.c.namespace, datasets.c.name)
    ).all()

    def side(is_output: bool) -> list[Json]:
        return [
            {"node": f"dataset:{each.namespace}/{each.name}", "version": each.version}
            for each in sides
            if each.is_output == is_output
        ]

    return {
        "run_id": row.run_id,
        "job": f"job:{row.namespace}/{row.name}",
        "parent": row.parent_id,
        "state": row.state,
        "started_at": moment(row.started_ms),
        "ended_at": moment(row.ended_ms),
        "engine": row.engine,
        "error": row.error,
        "inputs": side(False),
        "outputs": side(True),
        "events": [{"state": e.state, "at": moment(e.time_ms), "producer": e.producer} for e in told],
    }


def describe_jobs(connection: Connection, ids: Sequence[int]) -> dict[int, Json]:
    """What a graph shows of each job: names, how many runs, and how the newest one stands."""
    if not ids:
        return {}
    counted = (
        select(runs.c.job_id, func.count().label("number_of"), func.max(runs.c.told_ms).label("told_ms"))
        .where(runs.c.job_id.in_(ids))
        .group_by(runs.c.job_id)
        .subquery()
    )
    last = (
        select(runs.c.job_id, func.max(runs.c.run_id).label("run_id"))
        .join(counted, and_(counted.c.job_id == runs.c.job_id, counted.c.told_ms == runs.c.told_ms))
        .group_by(runs.c.job_id)
        .subquery()
    )
    wanted = (
        select(jobs, counted.c.number_of, runs.c.run_id, runs.c.state, runs.c.error, runs.c.told_ms, runs.c.engine)
        .outerjoin(counted, counted.c.job_id == jobs.c.id)
        .outerjoin(last, last.c.job_id == jobs.c.id)
        .outerjoin(runs, runs.c.run_id == last.c.run_id)
        .where(jobs.c.id.in_(ids))
    )
    return {
        row.id: {
            "id": Node(True, row.id, row.namespace, row.name).key,
            "type": "job",
            "kind": (row.processing or "job").lower(),
            "namespace": row.namespace,
            "name": row.name,
            "integration": row.integration,
            "runs": row.number_of or 0,
            "last_run": {
                "run_id": row.run_id,
                "state": row.state,
                "at": moment(row.told_ms),
                "error": row.error,
                "engine": row.engine,
            }
            if row.run_id
            else None,
        }
        for row in connection.execute(wanted)
    }


def list_refused(connection: Connection, *, limit: int = 50) -> Json:
    """Events that could not be taken in, newest first."""
    rows = connection.execute(select(refused_events).order_by(refused_events.c.id.desc()).limit(limit))
    return {
        "refused": [
            {"source": r.source, "reason": r.reason, "received_at": moment(r.received_ms), "body": r.body} for r in rows
        ]
    }


def _document(connection: Connection, digest: str | None) -> Any:
    if digest is None:
        return None
    return json.loads(connection.execute(select(documents.c.body).where(documents.c.digest == digest)).scalar_one())


def _jobs_of(connection: Connection, dataset_id: int, *, is_output: bool) -> list[str]:
    found = connection.execute(
        select(jobs.c.namespace, jobs.c.name)
        .join(edges, edges.c.job_id == jobs.c.id)
        .where(edges.c.dataset_id == dataset_id, edges.c.is_output == is_output)
        .order_by(jobs.c.namespace, jobs.c.name)
    )
    return [f"job:{row.namespace}/{row.name}" for row in found]


def _newest_versions(connection: Connection, ids: Sequence[int]) -> Mapping[int, tuple[Json, Json]]:
    """For each dataset with versions: how many, the rows that they added, and the newest."""
    table = dataset_versions
    mine = or_(datasets.c.table_id.is_(None), datasets.c.table_id == table.c.table_id)
    grouped = (
        select(
            table.c.dataset_id,
            func.count().label("number_of"),
            func.max(table.c.version_number).label("number"),
            func.sum(case((table.c.data_change.is_not(False), table.c.rows_added))).label("rows_written"),
        )
        .join(datasets, datasets.c.id == table.c.dataset_id)
        .where(table.c.dataset_id.in_(ids), mine)
        .group_by(table.c.dataset_id)
        .subquery()
    )
    found = connection.execute(
        select(table, grouped.c.number_of, grouped.c.rows_written)
        .join(datasets, datasets.c.id == table.c.dataset_id)
        .join(grouped, and_(grouped.c.dataset_id == table.c.dataset_id, grouped.c.number == table.c.version_number))
        .where(mine)
    )
    return {
        row.dataset_id: (
            {
                "versions": row.number_of,
                "rows_written": None if row.rows_written is None else int(row.rows_written),
            },
            {
                "version": row.version,
                "made_at": moment(row.made_ms),
                "operation": row.operation,
                "rows_added": row.rows_added,
                "run_id": row.run_id,
            },
        )
        for row in found
    }
