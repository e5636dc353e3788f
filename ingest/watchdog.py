"""A worker that makes no progress for too long ends loudly. Kafka does not see it: a member that only batches stays a member."""

import faulthandler
import os
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

import structlog

from thalweg.clock import Clock

_LOG = structlog.get_logger("ingest")

# EX_TEMPFAIL of sysexits.h: a supervisor that starts the worker again is right to do so.
EXIT_CODE = 75


class Watchdog:
    """Looks from its own thread whether `steps()` moves, and ends the process when it stands still for `stall_s`.

    Ending hard is safe: what is not committed is read again from the table's offsets.
    """

    def __init__(
        self, stall_s: float, clock: Clock, steps: Callable[[], int], bark: Callable[[], None] | None = None
    ) -> None:
        self._stall_s = stall_s
        self._clock = clock
        self._steps = steps
        self._bark = bark or self._end
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        last, since = self._steps(), self._clock.monotonic_s()
        while not self._done.wait(min(self._stall_s / 10, 1.0)):
            now = self._steps()
            if now != last:
                last, since = now, self._clock.monotonic_s()
            elif self._clock.monotonic_s() - since > self._stall_s:
                self._bark()
                return

    def _end(self) -> None:
        _LOG.critical(
            "no progress, ending",
            stalled_s=self._stall_s,
            remedy="start again: the table's offsets say where to go on; the stacks below say where it stood",
        )
        faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
        os._exit(EXIT_CODE)
