"""The demo can be interrupted at any moment and leaves nothing behind. `.ci/run` runs it whole."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def of_the_demo(home: Path) -> list[psutil.Process]:
    """Every process whose environment or command names the demo's folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(home) in " ".join(process.cmdline()) or process.environ().get("THALWEG_HOME") == str(home):
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.parametrize("after", ["$ thalweg apply", "$ thalweg produce"])
def test_ctrl_c_ends_everything_that_the_demo_started(after: str, tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    home = tmp_path / ".thalweg" / "demo"
    log = tmp_path / "log"
    with log.open("wb") as file:
        demo = subprocess.Popen(
            [sys.executable, "examples/demo.py"],
            cwd=tmp_path,
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        try:
            deadline = time.monotonic() + 120
            while after not in log.read_text() and demo.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            assert after in log.read_text(), log.read_text()
            assert of_the_demo(home)
            os.killpg(demo.pid, signal.SIGINT)  # as a terminal does: to the whole foreground group
            assert demo.wait(90) == 130, log.read_text()
        finally:
            if demo.poll() is None:
                demo.kill()
                demo.wait()
    left = of_the_demo(home)
    for process in left:
        process.kill()
    assert not left, [process.cmdline() for process in left]
    assert "Traceback" not in log.read_text()
