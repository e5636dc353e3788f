"""How many records may go now."""

import math

from thalweg.clock import Clock

SLICE = 1_000  # records sent before delivery reports, the stop flag and the clock are looked at
_NAP_S = 0.01  # short, so that a steady rate comes in small slices
_CATCH_UP_S = 0.5  # after a pause (a suspended process, a slow disk) no more than this is made up for


class Pace:
    """Lets `rate` records a second through, or as many as come when it is None."""

    def __init__(self, rate: float | None, clock: Clock) -> None:
        self._rate = rate
        self._clock = clock
        self._since_s = clock.monotonic_s()
        self._sent = 0

    def allow(self, wanted: int) -> int:
        """Return how many of the wanted records may go now: at most SLICE; none, after a nap, if it is too early."""
        if self._rate is None:
            return min(wanted, SLICE)
        now_s = self._clock.monotonic_s()
        behind_s = now_s - self._since_s - self._sent / self._rate
        if behind_s > _CATCH_UP_S:
            self._since_s += behind_s - _CATCH_UP_S
        due = math.floor((now_s - self._since_s) * self._rate) + 1 - self._sent
        if due <= 0:
            self._clock.sleep(_NAP_S)
            return 0
        allowed = min(wanted, due, SLICE)
        self._sent += allowed
        return allowed
