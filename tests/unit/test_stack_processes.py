"""Detached processes are found again by pid and start time, and only they are ended."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from thalweg.stack.processes import Processes, end_strays, write_whole

SLEEP = [sys.executable, "-ISc", "import time; time.sleep(600)"]
DEAF = [
    sys.executable,
    "-ISuc",
    "import signal,time; signal.signal(15, signal.SIG_IGN); print('deaf'); time.sleep(600)",
]


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """The processes of a home folder; one named `it` is ended after the test."""
    found = Processes(tmp_path)
    yield found
    found.kill("it")


def test_a_process_is_found_again_and_stopped(processes: Processes, tmp_path: Path) -> None:
    started = processes.start("it", SLEEP, {"port": 1})

    assert Processes(tmp_path).find("it") == started
    assert Processes(tmp_path).stop("it", grace_s=10)
    assert not psutil.pid_exists(started.pid)
    assert processes.find("it") is None
    assert not processes.stop("it", grace_s=10)


def test_a_stranger_that_got_the_pid_is_neither_taken_for_ours_nor_ended(processes: Processes, tmp_path: Path) -> None:
    stranger = subprocess.Popen(SLEEP, start_new_session=True)
    try:
        record = {"name": "it", "pid": stranger.pid, "started": time.time() - 3600, "details": {}}
        write_whole(tmp_path / "run" / "it.json", json.dumps(record))

        assert not processes.stop("it", grace_s=1)
        assert not processes.kill("it")
        assert stranger.poll() is None
        assert not (tmp_path / "run" / "it.json").exists()
    finally:
        stranger.kill()
        stranger.wait()


def test_a_process_that_died_is_not_found_though_nobody_has_waited_for_it(processes: Processes) -> None:
    started = processes.start("it", SLEEP, {})
    os.kill(started.pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while processes.find("it") is not None and time.monotonic() < deadline:
        time.sleep(0.01)

    assert processes.find("it") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '"it"'])
def test_a_record_that_is_no_record_is_dropped(processes: Processes, tmp_path: Path, text: str) -> None:
    write_whole(tmp_path / "run" / "it.json", text)

    assert processes.find("it") is None
    assert not (tmp_path / "run" / "it.json").exists()


def test_a_process_that_ignores_sigterm_is_killed(processes: Processes) -> None:
    started = processes.start("it", DEAF, {})
    deadline = time.monotonic() + 30
    while "deaf" not in processes.log_tail("it") and time.monotonic() < deadline:
        time.sleep(0.01)

    assert processes.stop("it", grace_s=0.2)
    assert not psutil.pid_exists(started.pid)


def test_what_a_process_has_started_ends_with_it(processes: Processes) -> None:
    parent = f"import subprocess,sys,time; print(subprocess.Popen({SLEEP!r}).pid, flush=True); time.sleep(600)"
    processes.start("it", [sys.executable, "-ISc", parent], {})
    deadline = time.monotonic() + 30
    while not processes.log_tail("it") and time.monotonic() < deadline:
        time.sleep(0.01)
    child = psutil.Process(int(processes.log_tail("it")))

    processes.stop("it", grace_s=10)

    assert psutil.wait_procs([child], timeout=30)[1] == []


def test_a_stray_that_nobody_wrote_down_is_ended_by_its_mark_and_no_other_is(tmp_path: Path) -> None:
    mark = f"thalweg_home={tmp_path}"
    stray = subprocess.Popen([sys.executable, "-X", mark, *SLEEP[1:]])
    other = subprocess.Popen([sys.executable, "-X", f"{mark}/other", *SLEEP[1:]])
    try:
        end_strays(mark)

        assert not psutil.pid_exists(stray.pid)
        assert other.poll() is None
    finally:
        for process in (stray, other):
            process.kill()
            process.wait()


def test_a_process_does_not_hear_the_terminals_ctrl_c(processes: Processes) -> None:
    started = processes.start("it", SLEEP, {})

    assert os.getpgid(started.pid) != os.getpgid(0)
    assert os.getsid(started.pid) != os.getsid(0)
