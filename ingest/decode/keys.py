"""Whether a map holds a key twice, in time that a hostile map cannot make quadratic.

Avro does not forbid it, and readers disagree on what it means: Java keeps the last, DuckDB refuses to read the file.
"""

from ingest.native.functions import compiled, inlined
from ingest.native.memory import load8, load32, store32

# Up to here each pair is compared; beyond, keys are sorted.
_PAIRS_MAX = 32


@inlined
def compare(offsets: int, data: int, a: int, b: int) -> int:
    """Compare the a-th and the b-th string, bytewise: negative, zero or positive."""
    p = data + load32(offsets + 4 * a)
    q = data + load32(offsets + 4 * b)
    m = data + load32(offsets + 4 * a + 4) - p
    n = data + load32(offsets + 4 * b + 4) - q
    shorter = min(m, n)
    k = 0
    while k < shorter and load8(p + k) == load8(q + k):
        k += 1
    difference: int = m - n if k == shorter else load8(p + k) - load8(q + k)
    return difference


@inlined
def same(offsets: int, data: int, a: int, b: int) -> bool:
    """Whether the a-th and the b-th string are equal."""
    n = load32(offsets + 4 * a + 4) - load32(offsets + 4 * a)
    return n == load32(offsets + 4 * b + 4) - load32(offsets + 4 * b) and compare(offsets, data, a, b) == 0


@compiled
def sift(heap: int, root: int, size: int, offsets: int, data: int) -> None:
    """Move a heap's root down to its place."""
    moving = load32(heap + 4 * root)
    child = 2 * root + 1
    while child < size:
        if child + 1 < size and compare(offsets, data, load32(heap + 4 * child), load32(heap + 4 * child + 4)) < 0:
            child += 1
        if compare(offsets, data, moving, load32(heap + 4 * child)) >= 0:
            break
        store32(heap + 4 * root, load32(heap + 4 * child))
        root = child
        child = 2 * root + 1
    store32(heap + 4 * root, moving)


@compiled
def twice_among_many(first: int, last: int, offsets: int, data: int, room: int) -> bool:
    """Whether strings first to last - 1 hold one twice: heapsort of their numbers in `room`, then compare neighbours."""
    size = last - first
    for k in range(size):
        store32(room + 4 * k, first + k)
    for root in range(size // 2 - 1, -1, -1):
        sift(room, root, size, offsets, data)
    for end in range(size - 1, 0, -1):
        greatest = load32(room)
        if end < size - 1 and same(offsets, data, greatest, load32(room + 4 * (end + 1))):
            return True
        store32(room, load32(room + 4 * end))
        store32(room + 4 * end, greatest)
        sift(room, 0, end, offsets, data)
    return same(offsets, data, load32(room), load32(room + 4))


@inlined
def twice(first: int, last: int, offsets: int, data: int, room: int) -> bool:
    """Whether strings first to last - 1 hold one twice. `room` has four bytes for each."""
    if last - first < 2:
        return False
    if last - first > _PAIRS_MAX:
        return twice_among_many(first, last, offsets, data, room)
    for a in range(first + 1, last):
        for b in range(first, a):
            if same(offsets, data, a, b):
                return True
    return False
