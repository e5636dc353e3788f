"""A rate is kept, in small slices, and a pause is not made up for in one burst."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from produce.pace import SLICE, Pace
from thalweg.clock import ManualClock


def test_without_a_rate_whole_slices_go_and_nobody_waits() -> None:
    clock = ManualClock()
    pace = Pace(None, clock)
    assert [pace.allow(5_000), pace.allow(SLICE), pace.allow(3)] == [SLICE, SLICE, 3]
    assert clock.monotonic_s() == 0


@given(rate=st.floats(0.5, 200_000), seconds=st.integers(2, 4))
def test_a_rate_is_kept_in_slices(rate: float, seconds: int) -> None:
    clock = ManualClock()
    pace = Pace(rate, clock)
    sent, slices = 0, []
    while clock.monotonic_s() < seconds:
        slices.append(pace.allow(10**9))
        sent += slices[-1]
        assert sent <= rate * clock.monotonic_s() + 1
    assert max(slices) <= SLICE
    assert sent >= rate * (seconds - 0.03)


def test_a_pause_is_made_up_for_by_half_a_second_at_most() -> None:
    clock = ManualClock()
    pace = Pace(1_000, clock)
    assert pace.allow(10) == 1
    clock.sleep(3_600)
    allowed = 0
    while now := pace.allow(10**6):
        allowed += now
    assert allowed == pytest.approx(500, abs=2)
