"""Closures over lineage, checked against slower ways to the same answer."""

from hypothesis import given
from hypothesis import strategies as st

from lineage.graph import Edge, ancestors, closure, descendants

FLIGHTS = [
    Edge("topic", "landing"),
    Edge("landing", "table"),
    Edge("table", "optimize"),
    Edge("optimize", "table"),
    Edge("table", "settle"),
    Edge("settle", "quarantine"),
    Edge("other topic", "other landing"),
]


def test_upstream_of_a_quarantine_is_its_table_and_the_topic() -> None:
    found = closure(FLIGHTS, "quarantine", "upstream", depth=10, max_nodes=100)
    assert found.distances == {"quarantine": 0, "settle": 1, "table": 2, "landing": 3, "optimize": 3, "topic": 4}
    assert not found.is_cut


def test_downstream_of_a_topic_does_not_go_back_up() -> None:
    found = closure(FLIGHTS, "topic", "downstream", depth=10, max_nodes=100)
    assert set(found.distances) == {"topic", "landing", "table", "optimize", "settle", "quarantine"}
    assert Edge("other topic", "other landing") not in found.edges


def test_a_depth_cuts_and_says_so() -> None:
    found = closure(FLIGHTS, "topic", "downstream", depth=2, max_nodes=100)
    assert set(found.distances) == {"topic", "landing", "table"}
    assert found.is_cut


def test_a_node_bound_cuts_and_says_so() -> None:
    wide = [Edge("a", str(number)) for number in range(1000)]
    found = closure(wide, "a", "downstream", depth=3, max_nodes=10)
    assert len(found.distances) == 10
    assert found.is_cut


def test_both_directions_leave_siblings_out() -> None:
    edges = [Edge("a", "b"), Edge("a", "c"), Edge("b", "d")]
    found = closure(edges, "b", "both", depth=9, max_nodes=9)
    assert set(found.distances) == {"a", "b", "d"}


nodes = st.integers(0, 7).map(str)


@given(st.lists(st.builds(Edge, nodes, nodes), max_size=30), nodes, st.integers(0, 9))
def test_a_closure_is_what_repeated_steps_reach(edges: list[Edge], start: str, depth: int) -> None:
    """Any graph, cycles and self-loops among them: the same nodes as stepping `depth` times over sets."""
    reached = {start}
    for _ in range(depth):
        reached |= {edge.target for edge in edges if edge.source in reached}
    further = reached | {edge.target for edge in edges if edge.source in reached}

    found = closure(edges, start, "downstream", depth=depth, max_nodes=100)

    assert set(found.distances) == reached
    assert found.is_cut == (further != reached)
    turned = [Edge(edge.target, edge.source) for edge in edges]
    assert closure(turned, start, "upstream", depth=depth, max_nodes=100).distances == found.distances


@st.composite
def histories(draw: st.DrawFn) -> list[int | None]:
    """For each version the one it builds on: mostly the one before, at times an older one, at times none."""
    bases: list[int | None] = [None]
    for version in range(1, draw(st.integers(1, 30))):
        older = st.none() | st.integers(0, version - 1)
        bases.append(draw(st.one_of(st.just(version - 1), st.just(version - 1), older)))
    return bases


def chain(bases: list[int | None], version: int) -> set[int]:
    found: set[int] = set()
    at: int | None = version
    while at is not None:
        found.add(at)
        at = bases[at]
    return found


@given(histories())
def test_ancestors_and_descendants_are_what_following_each_base_gives(bases: list[int | None]) -> None:
    jumps = {version: base for version, base in enumerate(bases) if base != version - 1}
    for version in range(len(bases)):
        up = [number for first, last in ancestors(version, jumps) for number in range(first, last + 1)]
        assert len(up) == len(set(up))
        assert set(up) == chain(bases, version)
        down = [n for first, last in descendants(version, len(bases) - 1, jumps) for n in range(first, last + 1)]
        assert len(down) == len(set(down))
        assert set(down) == {later for later in range(len(bases)) if version in chain(bases, later)}


def test_a_restore_leaves_out_what_it_undid() -> None:
    jumps = {0: None, 8: 5}  # version 8 went back to version 5
    assert ancestors(9, jumps) == [(8, 9), (0, 5)]
    assert descendants(6, 9, jumps) == [(6, 7)]
    assert descendants(5, 9, jumps) == [(5, 9)]


def test_a_base_in_the_future_ends_the_walk() -> None:
    """A store may hold what some other program made up; a walk still ends."""
    assert ancestors(3, {3: 9}) == [(3, 3)]
