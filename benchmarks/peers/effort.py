"""What a peer takes: time, processor time and memory, of its process and of those that it has started."""

import importlib.metadata
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

_MB = 2**20


class Effort:
    """From `begin` to `end`; what came before is the start-up, told apart."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._start_up_s = self._start_up_cpu_s = self._began = self._seconds = self._cpu_s = 0.0

    def begin(self) -> None:
        """Start the clock."""
        self._start_up_s = time.time() - self._process.create_time()
        self._start_up_cpu_s = self._cpu_so_far()
        self._began = time.perf_counter()

    def end(self) -> None:
        """Stop the clock. Processes that were started must still run: what they took is read from them."""
        self._seconds = time.perf_counter() - self._began
        self._cpu_s = self._cpu_so_far() - self._start_up_cpu_s

    def peak_rss_mb(self) -> float:
        """The most memory that the process held, plus the most that each one it has started held."""
        return sum(map(_peak_rss, self._tree())) / _MB

    def report(self, peer: str, records: int, libraries: Iterable[str], **more: Any) -> str:
        """Return the result as one line of JSON; `more` are figures that only this peer has."""
        return json.dumps(
            {
                "peer": peer,
                "records": records,
                "seconds": round(self._seconds, 3),
                "rate_per_s": round(records / self._seconds),
                "cpu_seconds": round(self._cpu_s, 3),
                "peak_rss_mb": round(self.peak_rss_mb()),
                "start_up_s": round(self._start_up_s, 3),
                "start_up_cpu_seconds": round(self._start_up_cpu_s, 3),
                **more,
                "versions": {name: importlib.metadata.version(name) for name in libraries},
            }
        )

    def _tree(self) -> list[psutil.Process]:
        return [self._process, *self._process.children(recursive=True)]

    def _cpu_so_far(self) -> float:
        """User and system time of every process, with that of children that have ended."""
        taken = (process.cpu_times() for process in self._tree())
        return sum(each.user + each.system + each.children_user + each.children_system for each in taken)


def _peak_rss(process: psutil.Process) -> int:
    """Bytes. Not `getrusage`: on Linux its peak outlives exec, so that a child shows what its parent once held."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except FileNotFoundError:  # not Linux: what it holds now is the best that can be told
        return int(process.memory_info().rss)
    peak = next((line for line in status.splitlines() if line.startswith("VmHWM:")), None)
    return 0 if peak is None else int(peak.split()[1]) * 1024  # kB, says the kernel; a process that has ended has none
