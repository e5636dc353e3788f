"""Time, passed in wherever it is read, so that tests and simulations can drive it."""

import time
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from."""

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch, by the wall clock. For timestamps that people and other systems read."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that never go backwards. For intervals and deadlines."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait. Only loops that poll call this; they check their stop flag in between."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        """Return wall-clock milliseconds since the Unix epoch."""
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        """Return the machine's monotonic seconds."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait that long."""
        time.sleep(seconds)


class ManualClock:
    """A clock that stands still until it is moved. `sleep` moves it."""

    def __init__(self, now_ms: int = 1_357_016_400_000) -> None:
        self._now_ms = now_ms
        self._monotonic_s = 0.0

    def now_ms(self) -> int:
        """Return the time that was set."""
        return self._now_ms

    def monotonic_s(self) -> float:
        """Return how far the clock was moved since it was made."""
        return self._monotonic_s

    def sleep(self, seconds: float) -> None:
        """Move the clock on, at once."""
        self._monotonic_s += seconds
        self._now_ms += round(seconds * 1000)
