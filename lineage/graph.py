"""Closures over lineage, pure: what a node comes from and what depends on it; which versions hold a version's rows."""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Direction = Literal["upstream", "downstream", "both"]
Range = tuple[int, int]  # first and last version, both included


@dataclass(frozen=True, slots=True)
class Edge:
    """Data flows from `source` to `target`."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Closure:
    """What was reached: each node with its distance in edges from the start (0), and the edges between them."""

    distances: Mapping[str, int]
    edges: tuple[Edge, ...]
    is_cut: bool  # more would have been reached with a greater depth or node bound


def closure(edges: Iterable[Edge], start: str, direction: Direction, *, depth: int, max_nodes: int) -> Closure:
    """Walk from `start` in breadth, at most `depth` edges far and to at most `max_nodes` nodes. Cycles are no trouble.

    `both` is the union of what lies upstream and what lies downstream, not everything that is connected.
    """
    known = tuple(dict.fromkeys(edges))
    ways: tuple[Direction, ...] = ("upstream", "downstream") if direction == "both" else (direction,)
    distances: dict[str, int] = {start: 0}
    is_cut = False
    for way in ways:
        reached, cut = _walk(known, start, way, depth, max_nodes - len(distances) + 1)
        is_cut |= cut
        for node, distance in reached.items():
            distances[node] = min(distance, distances.get(node, distance))
    inside = tuple(edge for edge in known if edge.source in distances and edge.target in distances)
    return Closure(distances, inside, is_cut)


def _walk(edges: Sequence[Edge], start: str, way: Direction, depth: int, max_nodes: int) -> tuple[dict[str, int], bool]:
    neighbours: dict[str, list[str]] = {}
    for edge in edges:
        here, there = (edge.source, edge.target) if way == "downstream" else (edge.target, edge.source)
        neighbours.setdefault(here, []).append(there)
    distances = {start: 0}
    waiting = deque([start])
    is_cut = False
    while waiting:
        node = waiting.popleft()
        for neighbour in neighbours.get(node, ()):
            if neighbour in distances:
                continue
            if distances[node] >= depth or len(distances) >= max_nodes:
                is_cut = True
                continue
            distances[neighbour] = distances[node] + 1
            waiting.append(neighbour)
    return distances, is_cut


def ancestors(version: int, jumps: Mapping[int, int | None]) -> list[Range]:
    """Versions whose rows `version` builds upon, itself included, newest range first.

    A version builds on the one before it, but for those in `jumps`: a restored version builds on the one that it went
    back to, one that began anew (None) on nothing.
    """
    starts = sorted(jumps)
    ranges: list[Range] = []
    last: int | None = version
    while last is not None:
        place = bisect_right(starts, last)
        first = starts[place - 1] if place else 0
        ranges.append((first, last))
        base = jumps.get(first)
        last = base if base is not None and base < first else None
    return ranges


def descendants(version: int, newest: int, jumps: Mapping[int, int | None]) -> list[Range]:
    """Versions up to `newest` that build upon `version`, itself included, oldest range first. `jumps` as above."""
    starts = sorted(jump for jump in jumps if jump > version)
    ends = [start - 1 for start in starts] + [newest]
    ranges: list[Range] = [(version, max(version, ends[0]))]
    for start, end in zip(starts, ends[1:], strict=True):
        base = jumps[start]
        if base is not None and any(first <= base <= last for first, last in ranges):
            if ranges[-1][1] == start - 1:
                ranges[-1] = (ranges[-1][0], end)
            else:
                ranges.append((start, end))
    return ranges
