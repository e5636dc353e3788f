"""Which offsets made which version, asked either way."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Select, func, select

from lineage.answers import Json, moment
from lineage.layout import dataset_versions, datasets, sources, spans
from lineage.nodes import find

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


def holders(connection: Connection, topic: str, partition: int, offset: int) -> Json:
    """Which version of which table a record went into. Raises DatasetNotFound for a topic that lineage never heard of."""
    text = topic if topic.startswith(("dataset:", "topic:")) else f"topic:{topic}"
    node = find(connection, text)
    pairs = connection.execute(
        select(sources.c.dataset_id, sources.c.topic_id).where(sources.c.topic_dataset_id == node.id)
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
