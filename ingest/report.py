"""What a worker tells while it runs: metrics always, one moving line on a terminal, JSON log lines otherwise."""

import os
import sys
from collections.abc import Mapping
from typing import TextIO

import structlog

from ingest.landing import Landed
from ingest.sources.source import Partition
from thalweg.clock import Clock
from thalweg.telemetry import METRICS, Metrics

_LOG = structlog.get_logger("ingest")

# How often the line on a terminal is drawn anew.
DRAW_EVERY_S = 0.2


class Report:
    """Counts and tells. `consumed` and `lag` are called by the consuming thread, `landed` by the writing one."""

    def __init__(self, dataset: str, clock: Clock, terminal: TextIO | None = None, metrics: Metrics = METRICS) -> None:
        self._dataset = dataset
        self._clock = clock
        self._terminal = sys.stderr if terminal is None and _in_foreground(sys.stderr) else terminal
        self._metrics = metrics
        self._consumed = self._landed = self._quarantined = 0
        self._version: int | None = None
        self._lag: int | None = None
        self._told: set[Partition] = set()
        self._drawn_s = self._rate_since_s = clock.monotonic_s()
        self._rate_from = 0
        self._rate = 0.0

    def consumed(self, records: int) -> None:
        """Records were read from Kafka."""
        self._consumed += records
        self._metrics.consumed.labels(self._dataset).inc(records)
        self._draw()

    def lag(self, by_partition: Mapping[Partition, int]) -> None:
        """How far each partition's reading is behind its end."""
        for topic, partition in self._told - by_partition.keys():
            self._metrics.lag.remove(self._dataset, topic, str(partition))  # another member tells it now
        self._told = set(by_partition)
        for (topic, partition), records in by_partition.items():
            self._metrics.lag.labels(self._dataset, topic, str(partition)).set(records)
        self._lag = sum(by_partition.values()) if by_partition else None
        self._draw()

    def landed(self, landed: Landed, seconds: float) -> None:
        """One commit happened."""
        quarantined = sum(span.quarantined for span in landed.spans)
        filtered = sum(span.filtered for span in landed.spans)
        self._landed += landed.rows
        self._quarantined += quarantined
        self._version = landed.version
        self._metrics.landed.labels(self._dataset).inc(landed.rows)
        self._metrics.filtered.labels(self._dataset).inc(filtered)
        self._metrics.landing_conflicts.labels(self._dataset).inc(landed.conflicts)
        for rule, count in landed.rejected_rules.items():
            self._metrics.quarantined.labels(self._dataset, rule).inc(count)
        self._metrics.landing_seconds.labels(self._dataset).observe(seconds)
        self._metrics.table_version.labels(self._dataset).set(landed.version)
        if self._terminal is None:
            _LOG.info(
                "landed",
                dataset=self._dataset,
                version=landed.version,
                rows=landed.rows,
                files=landed.files,
                quarantined=quarantined,
                filtered=filtered,
                seconds=round(seconds, 3),
                next={f"{span.topic}[{span.partition}]": span.next for span in landed.spans},
            )

    def close(self) -> None:
        """Leave the line as it is and go to the next."""
        if self._terminal is not None:
            self._draw(force=True)
            self._terminal.write("\n")
            self._terminal.flush()

    def _draw(self, *, force: bool = False) -> None:
        now = self._clock.monotonic_s()
        if self._terminal is None or (now - self._drawn_s < DRAW_EVERY_S and not force):
            return
        self._drawn_s = now
        if now - self._rate_since_s >= 1.0:
            self._rate = (self._consumed - self._rate_from) / (now - self._rate_since_s)
            self._rate_since_s, self._rate_from = now, self._consumed
        version = "–" if self._version is None else self._version
        lag = "–" if self._lag is None else f"{self._lag:,}"
        line = (
            f"{self._dataset}  {self._landed:,} landed  {self._quarantined:,} quarantined  version {version}"
            f"  lag {lag}  {self._rate:,.0f} records/s"
        )
        self._terminal.write(f"\r\x1b[2K{line}")
        self._terminal.flush()


def _in_foreground(stream: TextIO) -> bool:
    """Whether this process may draw there: on a terminal, and not as a background job beside somebody's typing."""
    try:
        return stream.isatty() and os.tcgetpgrp(stream.fileno()) == os.getpgrp()
    except OSError:
        return False
