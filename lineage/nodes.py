"""Nodes of the lineage graph, and how people and programs name them.

A node is named `dataset:<namespace>/<name>` or `job:<namespace>/<name>`. People may also write Thalweg's name of a
dataset (`flights`), a topic's (`topic:flights`), a table's path, or the last part of it.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, or_, select

from lineage.layout import datasets, jobs
from thalweg.errors import ConfigurationError, DatasetNotFound, NotFound

# Slashes of a node's name at which namespace and name are told apart; namespaces have three or four.
MAX_CUTS = 20


@dataclass(frozen=True, slots=True)
class Node:
    """A dataset or a job in the store."""

    is_job: bool
    id: int
    namespace: str
    name: str

    @property
    def key(self) -> str:
        """Its name among all nodes."""
        return f"{'job' if self.is_job else 'dataset'}:{self.namespace}/{self.name}"


def find(connection: Connection, text: str) -> Node:
    """Find the node that `text` names.

    Raises DatasetNotFound when there is none, NotFound for a job, and ConfigurationError when several are meant.
    """
    kind, _, rest = text.partition(":")
    if kind == "job":
        return _only(text, _named(connection, jobs, rest, is_job=True), NotFound)
    if kind == "dataset":
        found = _named(connection, datasets, rest, is_job=False)
    elif kind == "topic":
        found = _datasets_where(connection, and_(datasets.c.kind == "topic", datasets.c.name == rest))
    else:
        found = (
            _datasets_where(connection, datasets.c.known_as == text)
            or _datasets_where(connection, datasets.c.name == text.rstrip("/"))
            or _datasets_where(connection, datasets.c.name.endswith(f"/{text}", autoescape=True))
            or _named(connection, datasets, text, is_job=False)
        )
    return _only(text, found, DatasetNotFound)


def node_at(connection: Connection, namespace: str, name: str) -> Node:
    """The dataset of that OpenLineage name; namespace `-` means Thalweg's own name. Raises DatasetNotFound."""
    if namespace == "-":
        return find(connection, name)
    where = and_(datasets.c.namespace == namespace, datasets.c.name == name)
    return _only(f"{namespace} {name}", _datasets_where(connection, where), DatasetNotFound)


def _named(connection: Connection, table: Any, text: str, *, is_job: bool) -> list[Node]:
    """Nodes called `<namespace>/<name>`: both may hold slashes, so every cut is tried."""
    cuts = [place for place, character in enumerate(text) if character == "/"][:MAX_CUTS]
    pairs = [and_(table.c.namespace == text[:cut], table.c.name == text[cut + 1 :]) for cut in cuts]
    if not pairs:
        return []
    rows = connection.execute(select(table.c.id, table.c.namespace, table.c.name).where(or_(*pairs)).limit(10))
    return [Node(is_job, row.id, row.namespace, row.name) for row in rows]


def _datasets_where(connection: Connection, condition: Any) -> list[Node]:
    rows = connection.execute(
        select(datasets.c.id, datasets.c.namespace, datasets.c.name).where(condition).order_by(datasets.c.id).limit(10)
    )
    return [Node(False, row.id, row.namespace, row.name) for row in rows]


def _only(text: str, found: list[Node], missing: type[NotFound]) -> Node:
    if not found:
        raise missing(
            f"lineage knows nothing called {text!r}",
            "a dataset is known once a version of it was announced; GET /api/v1/datasets lists them all",
        )
    if len(found) > 1:
        raise ConfigurationError(
            f"{text!r} is the name of {', '.join(node.key for node in found)}", "give one of these in full"
        )
    return found[0]
