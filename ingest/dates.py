"""Instants to local dates, whole arrays at a time and exactly as `zoneinfo` has them.

Arrow's own conversion knows no daylight saving after 2037 (it reads the transitions of the time zone files and not the
rule at their end), and DuckDB brings time zone data of its own age; so the offsets are asked of zoneinfo, once for each
day, and applied with numpy.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

DAY_US: Final = 86_400_000_000
SECOND_US: Final = 1_000_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Days since 1970-01-01. No reader of Delta tables takes dates beyond these (nor does Python).
FIRST_DAY: Final = (date.min - _EPOCH.date()).days
LAST_DAY: Final = (date.max - _EPOCH.date()).days

# A batch that spans more days than this is asked for the days that occur in it, which costs a sort.
_DENSE_DAYS = 512
# About a hundred years, at some 200 bytes a day. Beyond, the cache starts anew.
_CACHED_DAYS = 40_000


class LocalDates:
    """Dates in one time zone. Not thread-safe."""

    def __init__(self, time_zone: str) -> None:
        """`time_zone` is an IANA name; raises zoneinfo.ZoneInfoNotFoundError for an unknown one."""
        self._zone = ZoneInfo(time_zone)
        self._changes: dict[int, tuple[tuple[int, int], ...]] = {}

    def days(self, instants: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The local date of each instant, as days since 1970-01-01.

        `instants` are microseconds since 1970-01-01 UTC, none outside of the days FIRST_DAY to LAST_DAY in UTC.
        """
        if not len(instants):
            return instants
        starts, offsets = self._offsets(instants)
        shift = offsets[0] if len(offsets) == 1 else offsets[np.searchsorted(starts, instants, side="right") - 1]
        return (instants + shift) // DAY_US

    def _offsets(self, instants: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The zone's offsets from UTC in microseconds, and the instants from which each holds, for the days concerned."""
        first, last = int(instants.min()) // DAY_US, int(instants.max()) // DAY_US
        days = range(first, last + 1) if last - first < _DENSE_DAYS else np.unique(instants // DAY_US).tolist()
        starts: list[int] = []
        offsets: list[int] = []
        for day in days:
            for start, offset in self._day(day):
                if not offsets or offset != offsets[-1]:
                    starts.append(start)
                    offsets.append(offset)
        return np.array(starts, np.int64), np.array(offsets, np.int64)

    def _day(self, day: int) -> tuple[tuple[int, int], ...]:
        """(instant, offset from then on) of one day in UTC: one pair, or two when the offset changes during it.

        No zone has ever changed its offset twice within a day: the shortest time between two changes is four days.
        """
        found = self._changes.get(day)
        if found is None:
            if len(self._changes) >= _CACHED_DAYS:
                self._changes.clear()
            start, end = day * DAY_US, (day + 1) * DAY_US
            before, after = self._offset(start), self._offset(end)
            found = ((start, before),) if before == after else ((start, before), (self._change(start, end), after))
            self._changes[day] = found
        return found

    def _change(self, start: int, end: int) -> int:
        """The instant between `start` and `end` at which the offset changes. Changes fall on whole seconds."""
        before = self._offset(start)
        low, high = start // SECOND_US, end // SECOND_US
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._offset(middle * SECOND_US) == before else (low, middle)
        return high * SECOND_US

    def _offset(self, instant: int) -> int:
        # Nothing changes in the first and last days that datetime knows, where it could not compute the local time.
        inside = min(max(instant, (FIRST_DAY + 2) * DAY_US), (LAST_DAY - 1) * DAY_US)
        offset = (_EPOCH + timedelta(microseconds=inside)).astimezone(self._zone).utcoffset()
        assert offset is not None  # an aware datetime has one
        return offset // timedelta(microseconds=1)
