"""Kernels of the bulk source: from librdkafka's messages to a block's columns, without an object a message.

Arguments are addresses (of int64 words unless said) and counts. The code relies on the layout of rd_kafka_message_t, which
`ingest.sources.layout` checks before a source uses it.
"""

from ingest.native.calls import call_int_2, call_int_5, call_long_2, call_void_1
from ingest.native.functions import inlined
from ingest.native.memory import load8, load32, load64, store8, store16, store32, store64
from ingest.sources.words import (
    ERRORS,
    HEADED,
    HEADED_ROWS,
    HEADER_BYTES,
    HEADER_ROW,
    HEADER_STARTS,
    HEADERS,
    HEADERS_USED,
    KEY_BYTES,
    KEY_STARTS,
    KEYS,
    KEYS_USED,
    NULL_KEY,
    NULL_KEYS,
    NULL_LENGTH,
    OFFSET,
    PARTITION,
    PREFIX_BYTES,
    ROWS,
    STARTS,
    TIMESTAMP,
    TOMBSTONE,
    TOMBSTONES,
    TOPIC,
    TOPICS,
    VALUE_BYTES,
    VALUES,
    VALUES_USED,
)

# Where the fields of rd_kafka_message_t are, in bytes.
_ERR, _TOPIC, _PARTITION, _PAYLOAD, _LENGTH, _KEY, _KEY_LENGTH, _OFFSET = 0, 8, 16, 24, 32, 40, 48, 56

# Functions of librdkafka, as words of the addresses given to both: see `ingest.sources.words.FUNCTIONS`.
_DESTROY, _TIMESTAMP_OF, _HEADERS_OF, _HEADER_ALL = range(4)


@inlined
def _text_length(text: int) -> int:
    n = 0
    while load8(text + n) != 0:
        n += 1
    return n


@inlined
def _move(source: int, target: int, n: int) -> None:
    """Copy n bytes, and not one more: whole words, the last of which may overlap the one before."""
    done = 0
    while n - done >= 8:
        store64(target + done, load64(source + done))
        done += 8
    if done == n:
        return
    if n >= 8:
        store64(target + n - 8, load64(source + n - 8))
        return
    while done < n:
        store8(target + done, load8(source + done))
        done += 1


@inlined
def _headers_of(message: int, functions: int, scratch: int) -> int:
    """Find a message's headers: their address, or 0."""
    if call_int_2(load64(functions + 8 * _HEADERS_OF), message, scratch) != 0:
        return 0
    return int(load64(scratch))


@inlined
def _header(held: int, index: int, functions: int, scratch: int) -> bool:
    """Ask for one header. Its name, value and the value's length are then words 1 to 3 of `scratch`."""
    function = load64(functions + 8 * _HEADER_ALL)
    return bool(call_int_5(function, held, index, scratch + 8, scratch + 16, scratch + 24) == 0)


@inlined
def _number(topic: int, topics: int, known: int) -> int:
    """Give the place of a topic among those known, or their count."""
    for k in range(known):
        if load64(topics + 8 * k) == topic:
            return k
    return known


def measure(
    messages: int, count: int, functions: int, scratch: int, findings: int, errors: int, topics: int, topic_of: int
) -> None:
    """Add up what `count` messages hold, into `findings`.

    `errors` gets the places of those that are errors. Where `topics` is not 0 it gets the handles of the topics that occur,
    and `topic_of` for each message the place of its own; both have room for `count`.
    """
    value_bytes = key_bytes = header_bytes = headed = odd = known = at = 0
    for i in range(count):
        message = load64(messages + 8 * i)
        if load32(message + _ERR) != 0:
            store64(errors + 8 * odd, i)
            odd += 1
            continue
        if load64(message + _PAYLOAD) != 0:
            value_bytes += load64(message + _LENGTH)
        if load64(message + _KEY) != 0:
            key_bytes += load64(message + _KEY_LENGTH)
        if topics != 0:
            topic = load64(message + _TOPIC)
            if known == 0 or load64(topics + 8 * at) != topic:
                at = _number(topic, topics, known)
                if at == known:
                    store64(topics + 8 * known, topic)
                    known += 1
            store64(topic_of + 8 * i, at)
        held = _headers_of(message, functions, scratch)
        if held != 0:
            headed += 1
            k = 0
            while _header(held, k, functions, scratch):
                header_bytes += PREFIX_BYTES + _text_length(load64(scratch + 8)) + load64(scratch + 24)
                k += 1
    store64(findings + 8 * VALUE_BYTES, value_bytes)
    store64(findings + 8 * KEY_BYTES, key_bytes)
    store64(findings + 8 * HEADER_BYTES, header_bytes)
    store64(findings + 8 * HEADED, headed)
    store64(findings + 8 * ERRORS, odd)
    store64(findings + 8 * TOPICS, known)


@inlined
def _put_headers(held: int, functions: int, scratch: int, target: int) -> int:
    """Lay out headers at an address; return how many bytes that took."""
    used = 0
    k = 0
    while _header(held, k, functions, scratch):
        name = load64(scratch + 8)
        value = load64(scratch + 16)
        name_length = _text_length(name)
        store32(target + used, name_length)
        used += PREFIX_BYTES
        _move(name, target + used, name_length)
        used += name_length
        if value == 0:
            store32(target + used - name_length - 4, NULL_LENGTH)
        else:
            length = load64(scratch + 24)
            store32(target + used - name_length - 4, length)
            _move(value, target + used, length)
            used += length
        k += 1
    return used


@inlined
def _append_headers(message: int, row: int, functions: int, scratch: int, cursors: int, columns: int) -> None:
    """Append a record's headers to the block, if it has any."""
    held = _headers_of(message, functions, scratch)
    if held == 0:
        return
    used = load64(cursors + 8 * HEADERS_USED)
    used += _put_headers(held, functions, scratch, load64(columns + 8 * HEADERS) + used)
    store64(cursors + 8 * HEADERS_USED, used)
    rows = load64(cursors + 8 * HEADED_ROWS)
    store64(load64(columns + 8 * HEADER_ROW) + 8 * rows, row)
    store64(load64(columns + 8 * HEADER_STARTS) + 8 * (rows + 1), used)
    store64(cursors + 8 * HEADED_ROWS, rows + 1)


def gather(
    messages: int,
    count: int,
    functions: int,
    scratch: int,
    headed: int,
    topic_of: int,
    numbers: int,
    cursors: int,
    columns: int,
) -> None:
    """Append the records among `count` messages to a block's columns, which have room, and destroy every message: `messages` is
    0 afterwards.

    `cursors` say how full the block is. `headed` is 0 where no message has headers. `topic_of` is 0 for a block of one topic;
    else `numbers[topic_of[i]]` is what stands for message i's topic.
    """
    row = load64(cursors + 8 * ROWS)
    values_used = load64(cursors + 8 * VALUES_USED)
    keys_used = load64(cursors + 8 * KEYS_USED)
    tombstones = load64(cursors + 8 * TOMBSTONES)
    null_keys = load64(cursors + 8 * NULL_KEYS)
    # Loaded once: the compiler cannot know that no store below changes them.
    offsets = load64(columns + 8 * OFFSET)
    timestamps = load64(columns + 8 * TIMESTAMP)
    partitions = load64(columns + 8 * PARTITION)
    values = load64(columns + 8 * VALUES)
    starts = load64(columns + 8 * STARTS)
    keys = load64(columns + 8 * KEYS)
    key_starts = load64(columns + 8 * KEY_STARTS)
    destroy = load64(functions + 8 * _DESTROY)
    timestamp_of = load64(functions + 8 * _TIMESTAMP_OF)
    for i in range(count):
        message = load64(messages + 8 * i)
        if load32(message + _ERR) == 0:
            store64(offsets + 8 * row, load64(message + _OFFSET))
            store64(timestamps + 8 * row, call_long_2(timestamp_of, message, 0))
            store32(partitions + 4 * row, load32(message + _PARTITION))
            if topic_of != 0:
                store16(load64(columns + 8 * TOPIC) + 2 * row, load64(numbers + 8 * load64(topic_of + 8 * i)))
            value = load64(message + _PAYLOAD)
            if value != 0:
                length = load64(message + _LENGTH)
                _move(value, values + values_used, length)
                values_used += length
            else:
                store64(load64(columns + 8 * TOMBSTONE) + 8 * tombstones, row)
                tombstones += 1
            key = load64(message + _KEY)
            if key != 0:
                length = load64(message + _KEY_LENGTH)
                _move(key, keys + keys_used, length)
                keys_used += length
            else:
                store64(load64(columns + 8 * NULL_KEY) + 8 * null_keys, row)
                null_keys += 1
            if headed != 0:
                _append_headers(message, row, functions, scratch, cursors, columns)
            row += 1
            store64(starts + 8 * row, values_used)
            store64(key_starts + 8 * row, keys_used)
        store64(messages + 8 * i, 0)
        call_void_1(destroy, message)
    store64(cursors + 8 * ROWS, row)
    store64(cursors + 8 * VALUES_USED, values_used)
    store64(cursors + 8 * KEYS_USED, keys_used)
    store64(cursors + 8 * TOMBSTONES, tombstones)
    store64(cursors + 8 * NULL_KEYS, null_keys)
