"""Waiting for a service that is away: for a while, telling so, and not while the worker is to end."""

import threading
from collections.abc import Callable
from itertools import chain, repeat
from typing import TypeVar

import structlog

from thalweg.clock import Clock
from thalweg.errors import Unavailable

_LOG = structlog.get_logger("ingest")

# Waits between tries, in seconds; the last one is repeated.
_WAITS_S = (0.2, 0.5, 1.0, 2.0, 5.0)

T = TypeVar("T")


class Patience:
    """Asks again while nobody answers. Safe to use from several threads."""

    def __init__(self, clock: Clock, patience_s: float, stopping: threading.Event) -> None:
        self._clock = clock
        self._patience_s = patience_s
        self._stopping = stopping

    def until_answered(self, ask: Callable[[], T]) -> T:
        """Return what `ask` gives. Raises its Unavailable when that lasts for `patience_s`, or at once when stopping."""
        deadline = self._clock.monotonic_s() + self._patience_s
        for wait_s in chain(_WAITS_S, repeat(_WAITS_S[-1])):
            try:
                return ask()
            except Unavailable as error:
                if self._stopping.is_set() or self._clock.monotonic_s() + wait_s > deadline:
                    raise
                _LOG.warning("waiting for an answer", problem=error.message, next_try_s=wait_s)
                self._clock.sleep(wait_s)
        raise AssertionError("unreachable: waits never end")
