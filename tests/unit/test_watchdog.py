"""The watchdog barks when nothing moves, and only then."""

import subprocess
import sys
import threading

from ingest.watchdog import EXIT_CODE, Watchdog
from thalweg.clock import SystemClock


def test_it_barks_when_no_step_is_made() -> None:
    barked = threading.Event()
    with Watchdog(0.05, SystemClock(), lambda: 7, barked.set):
        assert barked.wait(10)


def test_it_is_quiet_while_steps_are_made() -> None:
    barked = threading.Event()
    steps = iter(range(10**9))
    looked = threading.Event()

    def step() -> int:
        number = next(steps)
        if number > 20:
            looked.set()
        return number

    with Watchdog(0.02, SystemClock(), step, barked.set):
        assert looked.wait(10)
    assert not barked.is_set()


def test_a_stalled_process_ends_with_a_code_that_asks_for_a_restart_and_shows_its_stacks() -> None:
    script = (
        "import time; from ingest.watchdog import Watchdog; from thalweg.clock import SystemClock\n"
        "with Watchdog(0.1, SystemClock(), lambda: 0): time.sleep(60)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=50, check=False)
    assert ended.returncode == EXIT_CODE
    assert "no progress" in ended.stdout + ended.stderr
    assert "most recent call first" in ended.stderr
