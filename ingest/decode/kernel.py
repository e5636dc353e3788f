"""The kernel: runs a program over records. One function for all schemas, compiled once, without the GIL."""

from ingest.decode import opcodes as o
from ingest.decode.keys import twice
from ingest.decode.reading import (
    check_uuid,
    length,
    long_varint,
    put_bit,
    put_bytes,
    put_uuid,
    read_boolean,
    read_decimal,
    read_double,
    read_duration,
    read_float,
    read_int,
    read_int_range,
    read_long,
    read_long_range,
    read_symbol,
    varint,
)
from ingest.native.functions import compiled, inlined
from ingest.native.memory import load32, load64, store32, store64

_FRAME = o.FRAME_WORDS * 8
_LEFT, _BLOCK_END, _INDEX = 8, 16, 24  # a frame's words behind its first, the address of the BLOCK


@inlined
def block_head(p: int, end: int, item_bytes: int) -> tuple[int, int, int]:
    """Read how many items follow: (count, where the block says it ends or 0, next position or minus a fault).

    A negative count is followed by the block's size in bytes.
    """
    count, q = varint(p, end)
    if q < 0:
        return 0, 0, q
    block_end = 0
    if count < 0:
        count = -count
        size, q = varint(q, end)
        if q < 0:
            return 0, 0, q
        if size < 0 or size > end - q:
            return 0, 0, -o.BLOCK_SIZE
        block_end = q + size
    # The lowest int64 has no positive counterpart.
    if count < 0 or (item_bytes > 0 and count > (end - q) // item_bytes):
        return 0, 0, -o.COUNT
    return count, block_end, q


@inlined
def put_string(q: int, n: int, readable: int, pc: int, i: int, cursors: int, limits: int, text: int) -> int:
    """Append n bytes at q to the column that the program's row names; q may be a fault already."""
    if q < 0:
        return q
    at = 8 * load64(pc + o.CURSOR)
    return put_bytes(q, n, readable, load64(pc + o.VALUES), i, load64(pc + o.DATA), cursors + at, limits + at, text)


@inlined
def put_decimal(q: int, n: int, pc: int, i: int) -> int:
    """Store the decimal of n bytes at q; q may be a fault already."""
    if q < 0:
        return q
    return read_decimal(q, n, load64(pc + o.VALUES) + 16 * i, load64(pc + o.A), load64(pc + o.B))


@compiled
def pad(op: int, values: int, i: int, cursor: int) -> None:
    """Give a null its place in a column, or a value its bit. A call: inlined, it makes the steps around it slower."""
    if op == o.MARK:
        put_bit(values, i, 1)
    elif op == o.PAD_BIT:
        put_bit(values, i, 0)
    elif op == o.PAD_32:
        store32(values + 4 * i, 0)
    elif op == o.PAD_64:
        store64(values + 8 * i, 0)
    elif op == o.PAD_128:
        store64(values + 16 * i, 0)
        store64(values + 16 * i + 8, 0)
    elif op == o.PAD_OFFSET:
        store32(values + 4 * (i + 1), load64(cursor))


@inlined
def keys_differ(pc: int, i: int) -> bool:
    """Whether no key stands twice in map i."""
    first = load32(load64(pc + o.MORE) + 4 * i)
    last = load32(load64(pc + o.MORE) + 4 * (i + 1))
    return not twice(first, last, load64(pc + o.VALUES), load64(pc + o.DATA), load64(pc + o.C) + 4 * first)


def run(
    data: int,
    readable: int,
    starts: int,
    rows: int,
    count: int,
    program: int,
    cursors: int,
    limits: int,
    cursor_count: int,
    scratch: int,
    kept: int,
    rejects: int,
    progress: int,
) -> None:
    """Decode records `rows[progress.NEXT:count]` and set `progress`.

    Every argument but the two counts is an address, of int64 words unless said: `data` of bytes, up to `readable`; record r is
    `data[starts[r] + 5:starts[r + 1]]`. `cursors` say how full each buffer is and `limits` how full it may be; cursor 0
    counts rows and has room for all. `scratch` has room for the cursors and then a frame for each level of nesting.
    Accepted rows go to `kept`, others to `rejects` (see `opcodes`). Returns early, without a trace of the record at which
    it stopped, when a buffer must grow: progress.FULL_ROW tells which.

    The one long function: a chain of comparisons with one number, which LLVM turns into a jump table. Splitting it
    costs a call or a second jump for each value.
    """
    pc = program
    while load64(pc) != o.END:
        if load64(pc) >= o.FIRST_WITH_OFFSETS:
            store32(load64(pc + o.VALUES), 0)
        pc += o.ROW
    frames = scratch + 8 * cursor_count
    accepted = load64(progress + o.KEPT)
    rejected = load64(progress + o.REJECTED)
    for j in range(load64(progress + o.NEXT), count):
        row = load64(rows + 8 * j)
        p = data + load64(starts + 8 * row) + o.PREFIX_BYTES
        end = data + load64(starts + 8 * row + 8)
        for c in range(cursor_count):
            store64(scratch + 8 * c, load64(cursors + 8 * c))
        i = accepted
        empty_items = 0
        frame = frames - _FRAME
        pc = program
        q = p
        while True:
            op = load64(pc)
            values = load64(pc + o.VALUES)
            if op == o.STRING:
                n, q = length(p, end)
                q = put_string(q, n, readable, pc, i, cursors, limits, 1)
            elif op == o.LONG:
                q = read_long(p, end, values + 8 * i)
            elif op == o.INT:
                q = read_int(p, end, values + 4 * i)
            elif op == o.DOUBLE:
                q = read_double(p, end, values + 8 * i)
            elif op == o.ENUM:
                q = read_symbol(p, end, values + 4 * i, load64(pc + o.A))
            elif op == o.LONG_RANGE:
                q = read_long_range(p, end, values + 8 * i, load64(pc + o.A), load64(pc + o.B), load64(pc + o.C))
            elif op == o.OPTION:
                branch, q = varint(p, end)
                if q >= 0:
                    if branch == load64(pc + o.A):
                        put_bit(values, i, 0)
                        p = q
                        pc = program + o.ROW * load64(pc + o.B)
                        continue
                    if branch < 0 or branch > 1:
                        q = -o.BRANCH
                    else:
                        put_bit(values, i, 1)
            elif op == o.UNION:
                branch, q = long_varint(p, end)
                if q >= 0:
                    if branch >= 0 and branch < load64(pc + o.A):
                        p = q
                        pc = program + o.ROW * load64(pc + o.ROW * (branch + 1) + o.A)
                        continue
                    q = -o.BRANCH
            elif op == o.BLOCK:
                n, block_end, q = block_head(p, end, load64(pc + o.B))
                if q >= 0:
                    items = cursors + 8 * load64(pc + o.CURSOR)
                    first = load64(items)
                    if n == 0:
                        store32(values + 4 * (i + 1), first)
                        p = q
                        pc = program + o.ROW * load64(pc + o.A)
                        continue
                    if load64(pc + o.B) == 0:
                        if n > o.EMPTY_ITEMS_MAX - empty_items or n > o.OFFSET_MAX - first:
                            q = -o.EMPTY_ITEMS
                        else:
                            empty_items += n
                    if n > load64(limits + 8 * load64(pc + o.CURSOR)) - first and q >= 0:
                        q = -o.FULL
                    if q >= 0:
                        frame += _FRAME
                        store64(frame, pc)
                        store64(frame + _LEFT, n)
                        store64(frame + _BLOCK_END, block_end)
                        store64(frame + _INDEX, i)
                        i = first
            elif op == o.BLOCK_END:
                i += 1
                left = load64(frame + _LEFT) - 1
                if left > 0:
                    store64(frame + _LEFT, left)
                    pc = load64(frame) + o.ROW
                    continue
                block_end = load64(frame + _BLOCK_END)
                if block_end == 0 or block_end == p:
                    store64(cursors + 8 * load64(pc + o.CURSOR), i)
                    i = load64(frame + _INDEX)
                    pc = load64(frame)
                    frame -= _FRAME
                    continue
                q = -o.BLOCK_SIZE
            elif op == o.UNIQUE_KEYS:
                q = p if keys_differ(pc, i) else -o.SAME_KEY
            elif op == o.END:
                q = p if p == end else -o.LEFT_OVER
                break
            elif op == o.BOOLEAN:
                q = read_boolean(p, end, values, i)
            elif op == o.INT_RANGE:
                q = read_int_range(p, end, values + 4 * i, load64(pc + o.A), load64(pc + o.B))
            elif op == o.FLOAT:
                q = read_float(p, end, values + 4 * i)
            elif op == o.BYTES:
                n, q = length(p, end)
                q = put_string(q, n, readable, pc, i, cursors, limits, 0)
            elif op == o.FIXED:
                n = load64(pc + o.A)
                q = put_string(p if n <= end - p else -o.CUT, n, readable, pc, i, cursors, limits, 0)
            elif op == o.UUID:
                n, q = length(p, end)
                q = put_string(check_uuid(q, n), n, readable, pc, i, cursors, limits, 0)
            elif op == o.UUID_FIXED:
                at = 8 * load64(pc + o.CURSOR)
                q = put_uuid(p, end, values, i, load64(pc + o.DATA), cursors + at, limits + at)
            elif op == o.DURATION:
                q = read_duration(p, end, values + 8 * i, load64(pc + o.DATA) + 8 * i, load64(pc + o.MORE) + 8 * i)
            elif op == o.DECIMAL:
                n, q = length(p, end)
                q = put_decimal(q, n, pc, i)
            elif op == o.DECIMAL_FIXED:
                n = load64(pc + o.C)
                q = put_decimal(p if n <= end - p else -o.CUT, n, pc, i)
            else:
                pad(op, values, i, cursors + 8 * load64(pc + o.CURSOR))
                pc = program + o.ROW * load64(pc + o.A)
                continue
            if q < 0:
                break
            p = q
            pc += o.ROW
        if q >= 0:
            store64(kept + 8 * accepted, row)
            accepted += 1
            continue
        for c in range(cursor_count):
            store64(cursors + 8 * c, load64(scratch + 8 * c))
        if q == -o.FULL:
            store64(progress + o.NEXT, j)
            store64(progress + o.KEPT, accepted)
            store64(progress + o.REJECTED, rejected)
            store64(progress + o.FULL_ROW, (pc - program) // o.ROW)
            store64(progress + o.FULL_AT, p - data)
            return
        reject = rejects + 8 * o.REJECT_WORDS * rejected
        store64(reject, row)
        store64(reject + 8, p - data)
        store64(reject + 16, (pc - program) // o.ROW)
        store64(reject + 24, -q)
        rejected += 1
    store64(progress + o.NEXT, count)
    store64(progress + o.KEPT, accepted)
    store64(progress + o.REJECTED, rejected)
    store64(progress + o.FULL_ROW, -1)
