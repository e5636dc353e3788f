"""Processes that outlive the command that started them, found again by what was written down about them.

Each has a record `<home>/run/<name>.json` and a log `<home>/logs/<name>.log`. A record holds the process's start time:
a pid alone may belong to a stranger after a crash or a reboot.
"""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

START_TIME_TOLERANCE_S = (
    2.0  # the kernel counts in ticks since boot, and the boot time moves a little when the clock is set
)

_children: dict[
    int, "subprocess.Popen[bytes]"
] = {}  # of this very process: they must be waited for, or they stay as zombies


@dataclass(frozen=True, slots=True)
class Record:
    """What is written down about a process. `started` is seconds since the epoch; `details` is the owner's business."""

    name: str
    pid: int
    started: float
    details: dict[str, Any]


class Processes:
    """The detached processes of one home folder."""

    def __init__(self, home: Path) -> None:
        self._run = home / "run"
        self._logs = home / "logs"

    def log(self, name: str) -> Path:
        """Return where that process writes what it says."""
        return self._logs / f"{name}.log"

    def log_tail(self, name: str, lines: int = 15) -> str:
        """Return the last lines of a process's log, for an error's text."""
        try:
            return "\n".join(self.log(name).read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""

    def start(
        self,
        name: str,
        argv: Sequence[str],
        details: Mapping[str, Any],
        folder: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Record:
        """Start a process in a session of its own, so that neither Ctrl-C nor the end of this one ends it. Write it down.

        It runs in `folder`, with `env` added to this process's environment.
        """
        for needed in (self._run, self._logs):
            needed.mkdir(parents=True, exist_ok=True)
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(
                argv,
                cwd=folder,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        _children[process.pid] = process
        record = Record(name, process.pid, psutil.Process(process.pid).create_time(), dict(details))
        write_whole(self._record(name), json.dumps(asdict(record), indent=1))
        return record

    def find(self, name: str) -> Record | None:
        """Return the record of a process that runs. A record whose process is gone is removed."""
        path = self._record(name)
        try:
            record = Record(**json.loads(path.read_text()))
        except FileNotFoundError:
            return None
        except (json.JSONDecodeError, TypeError):  # written by hand or by another version
            path.unlink(missing_ok=True)
            return None
        if _process(record) is None:
            path.unlink(missing_ok=True)
            return None
        return record

    def stop(self, name: str, grace_s: float) -> bool:
        """Ask a process to end, then end it. Returns whether there was one."""
        record = self.find(name)
        if record is None:
            return False
        _end(record, signal.SIGTERM, grace_s) or _end(record, signal.SIGKILL, grace_s)
        self._record(name).unlink(missing_ok=True)
        return True

    def kill(self, name: str) -> bool:
        """End a process with no warning, as a crash would. Its record stays, as after a crash. Returns whether there was one."""
        record = self.find(name)
        return record is not None and _end(record, signal.SIGKILL, 10)

    def _record(self, name: str) -> Path:
        return self._run / f"{name}.json"


def _process(record: Record) -> psutil.Process | None:
    """Return the process that a record is about, unless it is gone or the pid is another's now."""
    child = _children.get(record.pid)
    if child is not None and child.poll() is not None:
        del _children[record.pid]
    try:
        process = psutil.Process(record.pid)
        same = abs(process.create_time() - record.started) <= START_TIME_TOLERANCE_S
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def _end(record: Record, how: signal.Signals, grace_s: float) -> bool:
    process = _process(record)
    if process is None:
        return True
    with contextlib.suppress(ProcessLookupError):
        os.killpg(record.pid, how)  # it leads its own group: what it started goes with it
    child = _children.get(record.pid)
    try:
        if child is not None:
            child.wait(grace_s)
        else:
            process.wait(grace_s)
    except (subprocess.TimeoutExpired, psutil.TimeoutExpired):
        return False
    _children.pop(record.pid, None)
    return True


def end_strays(argument: str, grace_s: float = 10) -> None:
    """End processes that have `argument` as one of their arguments: started, but not yet written down when a start was killed.

    The argument is an absolute path inside one home folder, so nobody else's process has it.
    """
    for process in list(_with_argument(argument)):
        with contextlib.suppress(
            psutil.Error
        ):  # gone meanwhile, or not to be ended: then the start says what is in its way
            process.kill()
            process.wait(grace_s)


def _with_argument(argument: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter(["cmdline"]):
        if argument in (process.info["cmdline"] or ()) and process.pid != os.getpid():
            yield process


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a reader sees all of it or what was there before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.write_text(text)
    new.replace(path)
