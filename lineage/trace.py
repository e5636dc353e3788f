"""Tracing: what a node comes from, what depends on it, and the same for one version of a table."""

from collections.abc import Mapping
from typing import Any, Literal

from sqlalchemy import Connection, Select, and_, distinct, func, or_, select

from lineage.answers import Json
from lineage.graph import Direction, Edge, Range, ancestors, closure, descendants
from lineage.layout import dataset_versions, datasets, edges, jobs, run_datasets, runs, spans
from lineage.nodes import Node
from lineage.offsets import offsets_of
from lineage.questions import current, describe_datasets, describe_jobs, describe_versions, version_row
from thalweg.errors import ConfigurationError

# The graph of a store: more nodes than this are no picture any more.
MAX_NODES = 2000
MAX_DEPTH = 50
# Edges read into memory: some 100 bytes each.
MAX_EDGES = 200_000


def graph(connection: Connection, node: Node | None, direction: Direction, *, depth: int) -> Json:
    """The nodes around `node` and the edges between them; of the whole store when it is None.

    `is_cut` tells that there is more.
    """
    found = connection.execute(select(edges).order_by(edges.c.job_id, edges.c.dataset_id).limit(MAX_EDGES + 1)).all()
    known = [
        Edge(f"j{edge.job_id}", f"d{edge.dataset_id}")
        if edge.is_output
        else Edge(f"d{edge.dataset_id}", f"j{edge.job_id}")
        for edge in found[:MAX_EDGES]
    ]
    is_cut = len(found) > MAX_EDGES
    if node is None:
        names = list(dict.fromkeys(name for edge in known for name in (edge.source, edge.target)))
        distances: Mapping[str, int] = dict.fromkeys(names[:MAX_NODES], 0)
        inside = [edge for edge in known if edge.source in distances and edge.target in distances]
        is_cut |= len(names) > MAX_NODES
    else:
        start = f"{'j' if node.is_job else 'd'}{node.id}"
        reached = closure(known, start, direction, depth=depth, max_nodes=MAX_NODES)
        distances, inside, is_cut = reached.distances, list(reached.edges), is_cut or reached.is_cut
    told = _describe(connection, distances)
    return {
        "node": node.key if node else None,
        "direction": direction,
        "nodes": [{**told[name], "distance": distances[name]} for name in distances if name in told],
        "edges": [{"source": told[edge.source]["id"], "target": told[edge.target]["id"]} for edge in inside],
        "is_cut": is_cut,
    }


def _describe(connection: Connection, names: Mapping[str, int]) -> dict[str, Json]:
    dataset_ids = [int(name[1:]) for name in names if name[0] == "d"]
    job_ids = [int(name[1:]) for name in names if name[0] == "j"]
    rows = connection.execute(select(datasets).where(datasets.c.id.in_(dataset_ids)).order_by(datasets.c.id)).all()
    told = {f"d{row.id}": each for row, each in zip(rows, describe_datasets(connection, rows), strict=True)}
    told |= {f"j{job_id}": each for job_id, each in describe_jobs(connection, job_ids).items()}
    return told


def trace_version(
    connection: Connection,
    node: Node,
    version: int | None,
    direction: Literal["upstream", "downstream"],
    *,
    depth: int,
) -> Json:
    """Which offsets and versions made a version of a table, or which versions of others were made from it.

    The newest version when `version` is None. Upstream: `made` is the version with the offsets of its own landing,
    `offsets` are those of all landings whose rows it builds upon, `steps` the jobs that ran on the way, with what they
    read. Downstream: `kept_in` are the versions of the same table that still build upon it, `steps` the jobs that read
    any of them, with what they wrote. `depth` bounds how many tables the trace goes through.

    Raises VersionNotFound, and ConfigurationError for a job.
    """
    if node.is_job:
        raise ConfigurationError(
            f"{node.key} is a job, and only datasets have versions", "name a dataset, or leave the version out"
        )
    return _Tracer(connection, direction).trace(node, version, depth)


class _Tracer:
    """Walks from version to version. Each table is entered once, so a cycle of tables ends."""

    def __init__(self, connection: Connection, direction: Literal["upstream", "downstream"]) -> None:
        self._connection = connection
        self._direction = direction
        self._entered: set[int] = set()

    def trace(self, node: Node, version: int | None, depth: int) -> Json:
        self._entered.add(node.id)
        row = version_row(self._connection, node, version)
        (made,) = describe_versions(self._connection, [row])
        number = int(row.version_number)
        answer: Json = {"node": node.key, "version": number, "direction": self._direction, "made": made}
        jumps = self._jumps(node, row.table_id)
        if self._direction == "upstream":
            ranges = ancestors(number, jumps)
            answer["offsets"] = offsets_of(self._connection, self._spans(node, row.table_id, ranges))
        else:
            ranges = descendants(number, self._newest(node), jumps)
            answer["kept_in"] = [{"first": first, "last": last} for first, last in ranges]
        answer["steps"] = [self._follow(step, node, depth) for step in self._steps(node, ranges)]
        return answer

    def _jumps(self, node: Node, table_id: str) -> dict[int, int | None]:
        """Versions that do not build on the one before."""
        table = dataset_versions
        found = self._connection.execute(
            select(table.c.version_number, table.c.based_on).where(
                table.c.dataset_id == node.id,
                table.c.table_id == table_id,
                table.c.version_number.is_not(None),
                or_(table.c.based_on.is_(None), table.c.based_on != table.c.version_number - 1),
            )
        )
        return {row.version_number: row.based_on for row in found}

    def _newest(self, node: Node) -> int:
        newest = select(func.max(dataset_versions.c.version_number)).where(*current(self._connection, node))
        return int(self._connection.execute(newest).scalar_one())

    def _spans(self, node: Node, table_id: str, ranges: list[Range]) -> Select[Any]:
        inside = [spans.c.version_number.between(first, last) for first, last in ranges]
        return select(spans).where(spans.c.dataset_id == node.id, spans.c.table_id == table_id, or_(*inside))

    def _steps(self, node: Node, ranges: list[Range]) -> list[Json]:
        """Jobs next to these versions, grouped: by what they read (upstream) or by what else they wrote (downstream)."""
        here, there = run_datasets.alias("here"), run_datasets.alias("there")
        upstream = self._direction == "upstream"
        beside = and_(there.c.run_id == here.c.run_id, there.c.is_output.is_(not upstream))
        numbers = [here.c.version_number.between(first, last) for first, last in ranges]
        wanted = (
            select(
                runs.c.job_id,
                there.c.dataset_id,
                func.count(distinct(here.c.run_id)).label("runs"),
                func.min(here.c.version_number).label("first_here"),
                func.max(here.c.version_number).label("last_here"),
                func.min(there.c.version_number).label("first_there"),
                func.max(there.c.version_number).label("last_there"),
            )
            .join(runs, runs.c.run_id == here.c.run_id)
            .join(there, beside, isouter=upstream)
            .where(here.c.dataset_id == node.id, here.c.is_output.is_(upstream), or_(*numbers))
            .group_by(runs.c.job_id, there.c.dataset_id)
            .order_by(runs.c.job_id, there.c.dataset_id)
        )
        if not upstream:
            wanted = wanted.where(there.c.dataset_id != node.id)
        return [dict(row._mapping) for row in self._connection.execute(wanted)]

    def _follow(self, step: Json, node: Node, depth: int) -> Json:
        job = self._connection.execute(select(jobs).where(jobs.c.id == step["job_id"])).one()
        answer: Json = {
            "job": f"job:{job.namespace}/{job.name}",
            "runs": step["runs"],
            "versions": {"first": step["first_here"], "last": step["last_here"]},
            "other": None,
            "other_kind": None,
            "other_versions": None,
        }
        if step["dataset_id"] is None:
            return answer
        row = self._connection.execute(select(datasets).where(datasets.c.id == step["dataset_id"])).one()
        other = Node(False, row.id, row.namespace, row.name)
        answer |= {"other": other.key, "other_kind": row.kind}
        if step["first_there"] is None:
            return answer
        answer["other_versions"] = {"first": step["first_there"], "last": step["last_there"]}
        if other.id != node.id and other.id not in self._entered and depth > 1:
            goal = step["last_there"] if self._direction == "upstream" else step["first_there"]
            if self._is_told(other, goal):
                answer["trace"] = self.trace(other, goal, depth - 1)
        return answer

    def _is_told(self, node: Node, version: int) -> bool:
        """Whether the making of that version is known: a table that others write may be known as an input only."""
        table = dataset_versions
        wanted = select(table.c.id).where(*current(self._connection, node), table.c.version_number == version).limit(1)
        return self._connection.execute(wanted).one_or_none() is not None
