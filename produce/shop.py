"""Seeded shop events for load: view, cart, buy, refund; ten fields, about 110 bytes a record.

Event i of a seed is the same event whatever the count and whoever asks: each block of events has a generator of its own.
"""

import datetime
import functools
from collections.abc import Iterator, Sequence
from importlib.resources import files

import numpy as np

from produce.batches import Batch, Source
from produce.encoding import (
    Cells,
    Ints,
    bodies,
    chosen,
    constant,
    decimals,
    hexadecimal,
    longs,
    optional,
    text,
    varint,
)
from schemas.wire import frame
from thalweg.errors import ConfigurationError

SCHEMA: str = files("schemas").joinpath("avro/shop_event.avsc").read_text()
DATES = tuple(datetime.date(2026, 1, day) for day in (5, 6, 7))  # fixed, so that a seed alone says what is made
COUNT = 100_000
BROKEN = {"quantity": -1}
"""What a contract that wants `quantity` to be 1 or more refuses."""

USERS = 200_000
PRODUCTS = 10_000

_BLOCK = 16_384  # events made together: about 3 MB of cells
_KINDS = ([0, 1, 2, 3], [0.80, 0.12, 0.06, 0.02])  # VIEW, CART, BUY, REFUND by their place in the enum
_CURRENCIES = (["EUR", "USD", "GBP", "CHF", "SEK", "NOK"], [0.55, 0.2, 0.1, 0.06, 0.05, 0.04])
_VIEWS_WITHOUT_PRODUCT = 0.25
_DAY_MS = 86_400_000


def source(count: int | None = None, seed: int = 0, dates: Sequence[datetime.date] = DATES) -> Source:
    """Return `count` events (100,000 when None), keyed by user, so that each user's events keep their order.

    `event_time` is spread evenly over the (UTC) dates, in no order. `event_id` never repeats within a seed. Raises
    ConfigurationError for a count or seed below zero, and for no dates.
    """
    wanted = COUNT if count is None else count
    if wanted < 0 or seed < 0 or not dates:
        raise ConfigurationError(
            f"shop events: count {wanted}, seed {seed}, {len(dates)} dates",
            "give a count and seed of 0 or more, and a date",
        )
    return Source(SCHEMA, wanted, lambda schema_id: _batches(schema_id, wanted, seed, dates), BROKEN)


def _batches(schema_id: int, count: int, seed: int, dates: Sequence[datetime.date]) -> Iterator[Batch]:
    prefix = frame(schema_id, b"")
    for block, first in enumerate(range(0, count, _BLOCK)):
        yield _block(prefix, seed, block, min(_BLOCK, count - first), dates)


def _block(prefix: bytes, seed: int, block: int, wanted: int, dates: Sequence[datetime.date]) -> Batch:
    rng = np.random.default_rng([seed, block])
    kind = rng.choice(_KINDS[0], _BLOCK, p=_KINDS[1])
    user = rng.integers(1, USERS + 1, _BLOCK)
    product = rng.integers(1, PRODUCTS + 1, _BLOCK)
    without = (kind == 0) & (rng.random(_BLOCK) < _VIEWS_WITHOUT_PRODUCT)
    quantity = np.where(kind == 0, 1, rng.geometric(0.6, _BLOCK))
    midnights = np.array([(date - datetime.date(1970, 1, 1)).days for date in dates]) * _DAY_MS
    event_time = midnights[rng.integers(0, len(dates), _BLOCK)] + rng.integers(0, _DAY_MS, _BLOCK)
    currency = rng.choice(len(_CURRENCIES[0]), _BLOCK, p=_CURRENCIES[1])
    fields = [
        constant(prefix, _BLOCK),
        _event_ids(rng, block),
        longs(user),
        _session_ids(seed, user, rng.integers(0, 8, _BLOCK)),
        chosen([varint(symbol) for symbol in _KINDS[0]], kind),
        optional(longs(product), without),
        longs(quantity),
        decimals(np.where(without, 0, _prices()[product])),
        chosen([text(code) for code in _CURRENCIES[0]], currency),
        longs(event_time),
        chosen(_PROPERTIES, rng.integers(0, len(_PROPERTIES), _BLOCK)),
    ]
    kept = [Cells(cells.padded[:wanted], cells.lengths[:wanted]) for cells in fields]
    return Batch([b"%d" % one for one in user[:wanted].tolist()], bodies(kept))


def _event_ids(rng: np.random.Generator, block: int) -> Cells:
    """Random UUIDs (version 4 in form); the last six bytes are the event's number, scrambled one to one: distinct."""
    raw = rng.integers(0, 256, (_BLOCK, 16), np.uint8)
    raw[:, 6] = raw[:, 6] & 0x0F | 0x40
    raw[:, 8] = raw[:, 8] & 0x3F | 0x80
    number = np.arange(_BLOCK, dtype=np.uint64) + np.uint64(block * _BLOCK)
    scrambled = number * np.uint64(0x9E3779B97F4A7C15)  # odd: a bijection on the lowest 48 bits
    raw[:, 10:] = scrambled.view(np.uint8).reshape(_BLOCK, 8)[:, :6]
    digits = hexadecimal(raw).padded[:, 1:]
    padded = np.full((_BLOCK, 37), ord("-"), np.uint8)
    padded[:, 0] = varint(36)[0]
    for start, end, gap in ((0, 8, 1), (8, 12, 2), (12, 16, 3), (16, 20, 4), (20, 32, 5)):
        padded[:, start + gap : end + gap] = digits[:, start:end]
    return Cells(padded, np.full(_BLOCK, 37, np.int64))


def _session_ids(seed: int, user: Ints, session: Ints) -> Cells:
    """Twelve hexadecimal digits that depend on the user and on which of the user's sessions it is, and on the seed."""
    mixed = (user * 8 + session + ((seed % 2**32) << 24)).astype(np.uint64) * np.uint64(0xD6E8FEB86659FD93)
    mixed ^= mixed >> np.uint64(32)
    return hexadecimal(mixed.view(np.uint8).reshape(-1, 8)[:, :6])


@functools.cache
def _prices() -> Ints:
    """Cents by product number: most things are cheap, a few cost thousands. The catalogue is the same for every seed."""
    return np.random.default_rng(0).lognormal(7.6, 1.0, PRODUCTS + 1).clip(99, 999_999).astype(np.int64)


def _properties() -> list[bytes]:
    """Every map that occurs, encoded: a block of entries, then the end mark."""
    encoded = []
    for device in ("desktop", "mobile", "tablet"):
        for channel in ("direct", "search", "mail", "social", "affiliate"):
            for campaign in (None, None, "spring-sale", "winback"):
                entries = {"device": device, "channel": channel} | ({"campaign": campaign} if campaign else {})
                inside = b"".join(text(key) + text(value) for key, value in entries.items())
                encoded.append(varint(len(entries)) + inside + varint(0))
    return encoded


_PROPERTIES = _properties()
