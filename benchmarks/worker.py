"""Thalweg's own part in a benchmark: one worker lands what a topic holds, with every guarantee that it always has.

The clock runs from the first block of records, which is not counted, to the last commit. Settings come from the
environment as for every command of ours (THALWEG_KAFKA__BOOTSTRAP, THALWEG_INGEST__SOURCE …).

Run: python -m benchmarks.worker --dataset NAME [--follow]
"""

import argparse
import time

import structlog

import ingest.allocator  # noqa: F401 - first of all that imports Arrow
from benchmarks.peers.effort import Effort
from ingest.decode.decoder import warm
from ingest.landing import Landed
from ingest.report import Report
from ingest.worker import Worker
from schemas.published import load_dataset
from thalweg.clock import SystemClock
from thalweg.settings import load_settings

LIBRARIES = ("confluent-kafka", "deltalake", "pyarrow", "numba", "duckdb")


class Clocked(Report):
    """Starts the clock with the first block and stops it, again and again, with each commit."""

    def __init__(self, dataset: str, effort: Effort) -> None:
        super().__init__(dataset, SystemClock())
        self._effort = effort
        self.uncounted = self.rows = self.quarantined = self.files = self.commits = self.conflicts = 0
        self.began = self.ended = 0.0  # seconds since 1970: workers of one group are put together by them

    def consumed(self, records: int) -> None:
        """The first block is not counted, nor is the time until it came."""
        if not self.uncounted:
            self.uncounted = records
            self.began = time.time()
            self._effort.begin()
        super().consumed(records)

    def landed(self, landed: Landed, seconds: float) -> None:
        """One commit happened."""
        self._effort.end()
        self.ended = time.time()
        self.rows += landed.rows
        self.quarantined += sum(span.quarantined for span in landed.spans)
        self.files += landed.files
        self.commits += 1
        self.conflicts += landed.conflicts


def main(dataset: str, follow: bool) -> str:
    """Land what the dataset's topics hold, or go on until SIGTERM; return the result."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    effort = Effort()
    warm()
    settings = load_settings()
    report = Clocked(dataset, effort)
    worker = Worker(load_dataset(settings, dataset), settings, report)
    worker.stop_on_signals()
    worker.run(until_caught_up=not follow)
    return effort.report(
        "thalweg",
        report.rows + report.quarantined - report.uncounted,
        LIBRARIES,
        **{name: getattr(report, name) for name in ("uncounted", "rows", "quarantined", "commits", "conflicts")},
        began=report.began,
        ended=report.ended,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="one that was declared")
    parser.add_argument("--follow", action="store_true", help="go on until SIGTERM")
    print(main(**vars(parser.parse_args())))
