"""Answers about lineage as trees for a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from lineage.answers import Json

_STYLES = {"topic": "blue", "table": "cyan", "quarantine": "yellow", "dataset": "magenta"}


def graph_tree(answer: Json) -> RenderableType:
    """What lies upstream or downstream of a node. A node that is reached twice is drawn once in full."""
    nodes = {node["id"]: node for node in answer["nodes"]}
    here, there = ("target", "source") if answer["direction"] == "upstream" else ("source", "target")
    neighbours: dict[str, list[str]] = {}
    for edge in answer["edges"]:
        neighbours.setdefault(edge[here], []).append(edge[there])
    drawn = {answer["node"]}
    root = Tree(_node(nodes[answer["node"]]), guide_style="dim")
    waiting = [(answer["node"], root)]
    while waiting:
        at, branch = waiting.pop(0)
        for neighbour in sorted(neighbours.get(at, ()), key=lambda key: (nodes[key]["type"], key)):
            if neighbour not in drawn:
                drawn.add(neighbour)
                waiting.append((neighbour, branch.add(_node(nodes[neighbour]))))
            elif neighbour != answer["node"] and nodes[neighbour]["type"] == "dataset":
                branch.add(f"[dim]↪ {escape(label(nodes[neighbour]))}[/]")
    more = "there is more: ask with a greater --depth" if answer["is_cut"] else ""
    return Group(root, Text(more, style="dim")) if more else root


def trace_tree(answer: Json) -> RenderableType:
    """What made a version, or what depends on it."""
    made = answer["made"]
    rows = f" · +{_many(made['rows_added'], 'row')}" if made["rows_added"] else ""
    if made["data_change"] is False:
        rows = " · same rows, new files"
    operation = f" · {escape(made['operation'])}" if made["operation"] else ""
    title = f"[bold]{escape(_short(answer['node']))}[/] version [bold cyan]{answer['version']}[/]{operation}{rows} · {made['made_at']}"
    root = Tree(title, guide_style="dim")
    _fill(root, answer)
    return root


def label(node: Mapping[str, Any]) -> str:
    """A node's name as people say it."""
    if node.get("known_as"):
        return str(node["known_as"])
    return str(node["name"]) if node["type"] == "job" or node["kind"] == "topic" else _short(f"/{node['name']}")


def _fill(branch: Tree, answer: Json) -> None:
    upstream = answer["direction"] == "upstream"
    if upstream and answer["made"]["spans"]:
        branch.add(Group("its own rows come from", _offsets(answer["made"]["spans"])))
    if upstream and answer["offsets"]:
        branch.add(Group("all its rows come from", _offsets(answer["offsets"])))
    if not upstream:
        kept = ", ".join(_range(each["first"], each["last"]) for each in answer["kept_in"])
        branch.add(f"its rows are in {'version' if kept.isdigit() else 'versions'} {kept} of this table")
    for step in answer["steps"]:
        line = f"[bold]{step['runs']:,}[/] × [green]{escape(_short(step['job']))}[/]"
        if step["other"]:
            style = _STYLES.get(step["other_kind"], "white")
            line += (
                f" {'from' if upstream else 'into'} {step['other_kind']} [{style}]{escape(_short(step['other']))}[/]"
            )
        if step["other_versions"]:
            line += f" version {_range(step['other_versions']['first'], step['other_versions']['last'])}"
        below = branch.add(line)
        if "trace" in step:
            _fill(below, step["trace"])


def _offsets(offsets: Sequence[Json]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("topic", "partition", "first", "next", "landed", "quarantined", "filtered"):
        table.add_column(name, justify="left" if name == "topic" else "right")
    for each in offsets:
        counts = [each[name] for name in ("partition", "first", "next", "landed", "quarantined", "filtered")]
        table.add_row(escape(each["topic"]), *(f"{count:,}" for count in counts))
    return table


def _node(node: Json) -> str:
    if node["type"] == "job":
        state = node["last_run"]["state"] if node["last_run"] else None
        failed = " · [red]newest run failed[/]" if state in ("FAIL", "ABORT") else ""
        return f"[green]{escape(label(node))}[/] [dim]{node['kind']} job · {_many(node['runs'], 'run')}[/]{failed}"
    style = _STYLES.get(node["kind"], "white")
    facts = [node["kind"]]
    totals = node["totals"]
    if node["kind"] == "topic" and totals:
        facts.append(f"{_many(totals['offsets'], 'offset')} read from {_many(totals['partitions'], 'partition')}")
    elif totals:
        facts.append(f"{_many(totals['landed'], 'row')} landed")
    elif node["rows_written"] is not None:
        facts.append(_many(node["rows_written"], "row"))
    if node["newest"]:
        facts.append(f"version {node['newest']['version']}")
    return f"[bold {style}]{escape(label(node))}[/] [dim]{escape(' · '.join(facts))}[/]"


def _short(key: str) -> str:
    return key.rstrip("/").rsplit("/", 1)[-1]


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _range(first: int, last: int) -> str:
    return f"{first:,}" if first == last else f"{first:,}–{last:,}"
