"""Which offsets made which version, asked either way."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Select, and_, func, or_, select

from lineage.answers import Json, moment
from lineage.layout import dataset_versions, datasets, sources, spans
from lineage.nodes import Node, find

# A table's spans of one partition that begin before an offset and are looked at: after a restore they may overlap.
_SPANS_LOOKED_AT = 8


def offsets_of(connection: Connection, chosen: Select[Any]) -> list[Json]:
    """For each source partition among the chosen spans: from where to where, and what became of the records."""
    part = chosen.subquery()
    grouped = (
        select(
            datasets.c.namespace,
            datasets.c.name,
            part.c.topic_id,
            part.c.partition,
            func.min(part.c.first_offset).label("first"),
            func.max(part.c.next_offset).label("next"),
            func.sum(part.c.landed).label("landed"),
            func.sum(part.c.quarantined).label("quarantined"),
            func.sum(part.c.filtered).label("filtered"),
            func.count().label("landings"),
        )
        .join(datasets, datasets.c.id == part.c.topic_dataset_id)
        .group_by(datasets.c.namespace, datasets.c.name, part.c.topic_id, part.c.partition)
        .order_by(datasets.c.namespace, datasets.c.name, part.c.topic_id, part.c.partition)
    )
    return [
        {
            "node": f"dataset:{row.namespace}/{row.name}",
            "topic": row.name,
            "topic_id": row.topic_id,
            "partition": row.partition,
            "first": row.first,
            "next": row.next,
            "landed": int(row.landed),
            "quarantined": int(row.quarantined),
            "filtered": int(row.filtered),
            "landings": row.landings,
        }
        for row in connection.execute(grouped)
    ]


def source_totals(connection: Connection, node: Node, table_id: str | None) -> list[Json]:
    """For each partition of a topic, what its tables took in so far; for a table, what it took in from each partition.

    `table_id` leaves out an earlier table at the same place.
    """
    topic, table = datasets.alias("topic"), datasets.alias("into")
    mine = or_(sources.c.topic_dataset_id == node.id, sources.c.dataset_id == node.id)
    if table_id is not None:
        mine = and_(mine, sources.c.table_id == table_id)
    rows = connection.execute(
        select(
            sources,
            topic.c.namespace.label("topic_namespace"),
            topic.c.name.label("topic_name"),
            table.c.namespace.label("into_namespace"),
            table.c.name.label("into_name"),
        )
        .join(topic, topic.c.id == sources.c.topic_dataset_id)
        .join(table, table.c.id == sources.c.dataset_id)
        .where(mine)
        .order_by(topic.c.namespace, topic.c.name, sources.c.topic_id, sources.c.partition, sources.c.dataset_id)
    )
    return [
        {
            "node": f"dataset:{row.topic_namespace}/{row.topic_name}",
            "topic": row.topic_name,
            **describe_span(row),
            "landings": row.landings,
            "into": f"dataset:{row.into_namespace}/{row.into_name}",
        }
        for row in rows
    ]


def totals(connection: Connection, ids: Sequence[int]) -> dict[int, Json]:
    """What a graph shows of each topic and table: partitions, how many offsets were read, what became of them.

    A topic that several tables read counts by the one that has read furthest in each partition.
    """
    columns = [sources.c[name] for name in ("first_offset", "next_offset", "landed", "quarantined", "filtered")]
    current_table = or_(datasets.c.table_id.is_(None), datasets.c.table_id == sources.c.table_id)
    found: dict[int, dict[tuple[str, int], Any]] = {}
    for side in (sources.c.topic_dataset_id, sources.c.dataset_id):
        rows = connection.execute(
            select(side.label("id"), sources.c.topic_id, sources.c.partition, *columns)
            .join(datasets, datasets.c.id == sources.c.dataset_id)
            .where(side.in_(ids), current_table)
            .order_by(sources.c.next_offset)  # the furthest comes last and stays
        )
        for row in rows:
            found.setdefault(row.id, {})[(row.topic_id, row.partition)] = row
    return {
        dataset_id: {
            "partitions": len(parts),
            "offsets": sum(row.next_offset - row.first_offset for row in parts.values()),
            "landed": sum(row.landed for row in parts.values()),
            "quarantined": sum(row.quarantined for row in parts.values()),
            "filtered": sum(row.filtered for row in parts.values()),
        }
        for dataset_id, parts in found.items()
    }


def holders(connection: Connection, topic: str, partition: int, offset: int) -> Json:
    """Which version of which table a record went into. Raises DatasetNotFound for a topic that lineage never heard of."""
    text = topic if topic.startswith(("dataset:", "topic:")) else f"topic:{topic}"
    node = find(connection, text)
    pairs = connection.execute(
        select(sources.c.dataset_id, sources.c.topic_id)
        .where(sources.c.topic_dataset_id == node.id, sources.c.partition == partition)
        .distinct()
    )
    held = [
        holder
        for pair in pairs
        for holder in _holders_in(connection, pair.dataset_id, pair.topic_id, partition, offset)
    ]
    held.sort(key=lambda holder: (holder["made_at"], holder["node"], holder["version"]))
    return {"node": node.key, "topic": node.name, "partition": partition, "offset": offset, "holders": held}


def _holders_in(connection: Connection, dataset_id: int, topic_id: str, partition: int, offset: int) -> Iterable[Json]:
    nearest = (
        select(spans)
        .where(
            spans.c.dataset_id == dataset_id,
            spans.c.topic_id == topic_id,
            spans.c.partition == partition,
            spans.c.first_offset <= offset,
        )
        .order_by(spans.c.first_offset.desc())
        .limit(_SPANS_LOOKED_AT)
        .subquery()
    )
    found = connection.execute(
        select(nearest, datasets.c.namespace, datasets.c.name, datasets.c.known_as, dataset_versions.c.made_ms)
        .join(datasets, datasets.c.id == nearest.c.dataset_id)
        .join(dataset_versions, dataset_versions.c.id == nearest.c.version_id)
        .where(nearest.c.next_offset > offset)
    )
    for row in found:
        yield {
            "node": f"dataset:{row.namespace}/{row.name}",
            "known_as": row.known_as,
            "table_id": row.table_id,
            "version": row.version_number,
            "made_at": moment(row.made_ms),
            "span": describe_span(row),
            "verdict": _verdict(row),
        }


def _verdict(span: Any) -> str:
    """What became of each record of a span, where all of them fared alike; `mixed` where the span alone cannot tell."""
    consumed = span.landed + span.quarantined + span.filtered
    if consumed == span.next_offset - span.first_offset:
        for verdict in ("landed", "quarantined", "filtered"):
            if getattr(span, verdict) == consumed:
                return verdict
    return "mixed"


def describe_span(row: Any) -> Json:
    """One row of the spans table."""
    return {
        "topic_id": row.topic_id,
        "partition": row.partition,
        "first": row.first_offset,
        "next": row.next_offset,
        "landed": row.landed,
        "quarantined": row.quarantined,
        "filtered": row.filtered,
    }
