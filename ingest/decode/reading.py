"""How the kernel reads one value of each kind. All positions are addresses.

Each `read_*` takes where the value starts (`p`) and where the record ends (`end`), stores what it read and returns where
the next value starts, or minus a fault of `opcodes`. Nothing is read at or beyond `end`, except whole words within `readable`.
"""

from ingest.decode.opcodes import (
    CUT,
    FULL,
    INT_OVERFLOW,
    LENGTH,
    NOT_BOOLEAN,
    NOT_UUID,
    PRECISION,
    RANGE,
    SYMBOL,
    UTF8,
    UUID_TEXT_BYTES,
    VARINT,
)
from ingest.native.functions import compiled, inlined
from ingest.native.memory import load8, load32, load64, store8, store32, store64

_ALL_BUT_SIGN = 0x7FFFFFFFFFFFFFFF
_HIGH_BITS = -0x7F7F7F7F7F7F7F80  # 0x80 in each byte
_INT_MAX = 2**31 - 1


@compiled
def long_varint(p: int, end: int) -> tuple[int, int]:
    """Read a variable-length number of any length: (number, next position)."""
    value = 0
    shift = 0
    while shift < 63:
        if p >= end:
            return 0, -CUT
        b = load8(p)
        p += 1
        value |= (b & 127) << shift
        if b < 128:
            return ((value >> 1) & _ALL_BUT_SIGN) ^ -(value & 1), p
        shift += 7
    if p >= end:
        return 0, -CUT
    b = load8(p)
    if b > 1:  # the tenth byte has room for one bit
        return 0, -VARINT
    value |= b << 63
    return ((value >> 1) & _ALL_BUT_SIGN) ^ -(value & 1), p + 1


@inlined
def varint(p: int, end: int) -> tuple[int, int]:
    """Read a zig-zag variable-length number: (number, next position)."""
    if p < end:
        b = load8(p)
        if b < 128:
            return (b >> 1) ^ -(b & 1), p + 1
        if p + 1 < end:
            c = load8(p + 1)
            if c < 128:
                value = (b & 127) | c << 7
                return (value >> 1) ^ -(value & 1), p + 2
    return long_varint(p, end)


@inlined
def put_bit(bits: int, i: int, on: int) -> None:
    """Set bit i to `on` (0 or 1)."""
    address = bits + (i >> 3)
    place = i & 7
    store8(address, (load8(address) & ~(1 << place)) | on << place)


@inlined
def read_boolean(p: int, end: int, bits: int, i: int) -> int:
    """Read one byte, 0 or 1, into bit i."""
    if p >= end:
        return -CUT
    b = load8(p)
    if b > 1:
        return -NOT_BOOLEAN
    put_bit(bits, i, b)
    return p + 1


@inlined
def read_int(p: int, end: int, target: int) -> int:
    """Read a number of 32 bits."""
    value, q = varint(p, end)
    if q < 0:
        return q
    if value > _INT_MAX or value < -_INT_MAX - 1:
        return -INT_OVERFLOW
    store32(target, value)
    return q


@inlined
def read_long(p: int, end: int, target: int) -> int:
    """Read a number of 64 bits."""
    value, q = varint(p, end)
    if q < 0:
        return q
    store64(target, value)
    return q


@inlined
def read_int_range(p: int, end: int, target: int, low: int, high: int) -> int:
    """Read a number between low and high, which fit 32 bits."""
    value, q = varint(p, end)
    if q < 0:
        return q
    if value > _INT_MAX or value < -_INT_MAX - 1:
        return -INT_OVERFLOW
    if value < low or value > high:
        return -RANGE
    store32(target, value)
    return q


@inlined
def read_long_range(p: int, end: int, target: int, low: int, high: int, factor: int) -> int:
    """Read a number between low and high and store it times factor."""
    value, q = varint(p, end)
    if q < 0:
        return q
    if value < low or value > high:
        return -RANGE
    store64(target, value * factor)
    return q


@inlined
def read_float(p: int, end: int, target: int) -> int:
    """Copy four bytes."""
    if end - p < 4:
        return -CUT
    store32(target, load32(p))
    return p + 4


@inlined
def read_double(p: int, end: int, target: int) -> int:
    """Copy eight bytes."""
    if end - p < 8:
        return -CUT
    store64(target, load64(p))
    return p + 8


@inlined
def read_duration(p: int, end: int, months: int, days: int, millis: int) -> int:
    """Read three unsigned numbers of 32 bits, little-endian, into words of 64."""
    if end - p < 12:
        return -CUT
    store64(months, load32(p))
    store64(days, load32(p + 4))
    store64(millis, load32(p + 8))
    return p + 12


@inlined
def read_symbol(p: int, end: int, target: int, symbols: int) -> int:
    """Read an enum's index."""
    value, q = varint(p, end)
    if q < 0:
        return q
    if value < 0 or value >= symbols:
        return -SYMBOL
    store32(target, value)
    return q


@inlined
def length(p: int, end: int) -> tuple[int, int]:
    """Read a length that must lie within the record: (length, next position)."""
    n, q = varint(p, end)
    if q >= 0 and (n < 0 or n > end - q):
        return 0, -LENGTH
    return n, q


@inlined
def copy(source: int, target: int, n: int, readable: int) -> int:
    """Copy n bytes, up to seven more are overwritten behind them. Returns nonzero where a byte's highest bit is set."""
    seen = 0
    done = 0
    while n - done >= 8:
        word = load64(source + done)
        store64(target + done, word)
        seen |= word
        done += 8
    left = n - done
    if left > 0:
        if source + done + 8 <= readable:
            word = load64(source + done)
            store64(target + done, word)
            seen |= word << (64 - 8 * left)
        else:
            while done < n:
                b = load8(source + done)
                store8(target + done, b)
                seen |= b
                done += 1
    return seen & _HIGH_BITS


@compiled
def utf8_fault(p: int, n: int) -> bool:
    """Whether n bytes are anything but UTF-8 (RFC 3629, section 4: no surrogates, nothing overlong, nothing beyond U+10FFFF)."""
    end = p + n
    while p < end:
        b = load8(p)
        if b < 0x80:
            while end - p >= 8 and load64(p) & _HIGH_BITS == 0:
                p += 8
            while p < end and load8(p) < 0x80:
                p += 1
            continue
        low = 0x80
        high = 0xBF
        if 0xC2 <= b <= 0xDF:
            more = 1
        elif 0xE0 <= b <= 0xEF:
            more = 2
            if b == 0xE0:
                low = 0xA0
            elif b == 0xED:
                high = 0x9F
        elif 0xF0 <= b <= 0xF4:
            more = 3
            if b == 0xF0:
                low = 0x90
            elif b == 0xF4:
                high = 0x8F
        else:
            return True
        if end - p <= more:
            return True
        second = load8(p + 1)
        if second < low or second > high:
            return True
        for k in range(2, more + 1):
            if load8(p + k) & 0xC0 != 0x80:
                return True
        p += more + 1
    return False


@inlined
def put_bytes(
    p: int, n: int, readable: int, offsets: int, i: int, data: int, cursor: int, limit: int, text: int
) -> int:
    """Append n bytes at p as value i. `cursor` and `limit` are addresses of the bytes used and of the room."""
    used = load64(cursor)
    if n > load64(limit) - used:
        return -FULL
    if copy(p, data + used, n, readable) != 0 and text != 0 and utf8_fault(p, n):
        return -UTF8
    used += n
    store64(cursor, used)
    store32(offsets + 4 * (i + 1), used)
    return p + n


@compiled
def uuid_fault(p: int) -> bool:
    """Whether 36 bytes are not a UUID's text: hexadecimal digits of either case, hyphens after 8, 12, 16 and 20 of them."""
    for k in range(UUID_TEXT_BYTES):
        b = load8(p + k)
        if k in (8, 13, 18, 23):
            if b != 0x2D:
                return True
        elif not (0x30 <= b <= 0x39 or 0x41 <= b <= 0x46 or 0x61 <= b <= 0x66):
            return True
    return False


@inlined
def check_uuid(p: int, n: int) -> int:
    """Return p, or minus the fault when the n bytes there are no UUID's text; p may be a fault already."""
    if p < 0:
        return p
    if n != UUID_TEXT_BYTES or uuid_fault(p):
        return -NOT_UUID
    return p


@compiled
def put_uuid(p: int, end: int, offsets: int, i: int, data: int, cursor: int, limit: int) -> int:
    """Append the text of the 16 bytes at p as value i."""
    if end - p < 16:
        return -CUT
    used = load64(cursor)
    if load64(limit) - used < UUID_TEXT_BYTES:
        return -FULL
    target = data + used
    for k in range(16):
        if k in (4, 6, 8, 10):
            store8(target, 0x2D)
            target += 1
        b = load8(p + k)
        for digit in (b >> 4, b & 15):
            store8(target, digit + (0x30 if digit < 10 else 0x57))
            target += 1
    store64(cursor, used + UUID_TEXT_BYTES)
    store32(offsets + 4 * (i + 1), used + UUID_TEXT_BYTES)
    return p + 16


@compiled
def read_decimal(p: int, n: int, target: int, bound_high: int, bound_low: int) -> int:
    """Store n bytes of big-endian two's complement as 128 bits, little-endian. Its magnitude must be below the bound.

    The bound is 10 to the precision: 127 bits, the lower 64 as an unsigned word.
    """
    if n == 0:
        return -PRECISION
    negative = load8(p) >> 7
    end = p + n
    while end - p > 16:
        if load8(p) != 255 * negative:
            return -PRECISION
        p += 1
    if end - p == 16 and load8(p) >> 7 != negative:
        return -PRECISION
    high = -negative
    low = -negative
    while p < end:
        high = high << 8 | ((low >> 56) & 255)
        low = low << 8 | load8(p)
        p += 1
    store64(target, low)
    store64(target + 8, high)
    if negative != 0:
        low = -low
        high = ~high + (1 if low == 0 else 0)
        if high < 0:
            return -PRECISION
    # Flipping the top bit makes a signed comparison an unsigned one.
    sign = -_ALL_BUT_SIGN - 1
    if high > bound_high or (high == bound_high and low ^ sign >= bound_low ^ sign):
        return -PRECISION
    return end
