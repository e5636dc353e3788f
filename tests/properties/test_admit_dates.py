"""Local dates against zoneinfo, instant by instant, in every time zone that there is."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingest.dates import DAY_US, LocalDates

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The folders of the time zone database that are no zones of their own.
_ZONES = sorted(
    zone for zone in available_timezones() if not zone.startswith(("posix", "right", "localtime", "Factory"))
)


def _us(instant: datetime) -> int:
    return (instant - _EPOCH) // timedelta(microseconds=1)


def _expected(instants: list[int], zone: str) -> list[int]:
    there = ZoneInfo(zone)
    return [((_EPOCH + timedelta(microseconds=i)).astimezone(there).date() - _EPOCH.date()).days for i in instants]


_INSTANTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)).map(
    lambda t: _us(t.replace(tzinfo=UTC))
) | st.datetimes(datetime(1850, 1, 1), datetime(2100, 1, 1)).map(lambda t: _us(t.replace(tzinfo=UTC)))


@settings(max_examples=300, deadline=None)
@given(zone=st.sampled_from(_ZONES), instants=st.lists(_INSTANTS, max_size=40))
@example(zone="America/New_York", instants=[_us(datetime(2013, 11, 3, h, 59, 59, 999_999, UTC)) for h in range(24)])
def test_an_instant_has_the_date_that_zoneinfo_gives_it(zone: str, instants: list[int]) -> None:
    assert LocalDates(zone).days(np.array(instants, np.int64)).tolist() == _expected(instants, zone)


@settings(max_examples=300, deadline=None)
@given(zone=st.sampled_from(_ZONES), day=st.integers(-43_800, 47_500), spread=st.sampled_from([1, 30, 300, 3000]))
@example(zone="Pacific/Apia", day=15_337, spread=1)  # 2011-12-30 did not happen there
@example(zone="Asia/Beirut", day=15_794, spread=1)  # midnight did not happen that day
@example(zone="America/Havana", day=16_012, spread=1)  # the hour after midnight happened twice
@example(zone="Africa/Monrovia", day=705, spread=1)  # from an offset of 44 minutes and 30 seconds
def test_days_on_which_the_offset_changes_are_dated_to_the_second(zone: str, day: int, spread: int) -> None:
    """Every quarter of an hour of the day, just before and just after, and as many days later as `spread` says."""
    quarters = [day * DAY_US + quarter * 900_000_000 + edge for quarter in range(96) for edge in (-1, 0, 1)]
    instants = [*quarters, *(q + spread * DAY_US for q in quarters)]
    assert LocalDates(zone).days(np.array(instants, np.int64)).tolist() == _expected(instants, zone)


@pytest.mark.parametrize("zone", _ZONES[::20])
def test_a_zone_asked_in_any_order_gives_the_same_dates(zone: str) -> None:
    """What was asked before, and is cached, changes nothing."""
    dates = LocalDates(zone)
    years = np.arange(-(40 * 365), 60 * 365, 31, dtype=np.int64) * DAY_US + DAY_US // 3
    forwards = dates.days(years)
    assert dates.days(years[::-1].copy()).tolist() == forwards[::-1].tolist()
    assert forwards.tolist() == _expected(years.tolist(), zone)
