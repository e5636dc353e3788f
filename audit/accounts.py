"""The account of one source partition: what the log says was consumed, against what tables and Kafka hold. Pure.

The log's spans cut the partition's offsets into stretches. Rows are known one by one; what was filtered, and what Kafka
never gave (holes), is known as a count for each stretch. So a stretch is in order when

    landed rows found + retired = landed by the log         quarantined rows found = quarantined by the log
    records that Kafka holds and no table has = filtered by the log + rows that were landed and removed since
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from audit.offsets import Offsets, OffsetSet
from thalweg.tables.spans import Span


@dataclass(frozen=True, slots=True)
class Stretch:
    """Offsets from `first` up to but not including `end`, and the commit that covers them; none covers a gap."""

    first: int
    end: int
    version: int | None
    span: Span | None


@dataclass(frozen=True, slots=True)
class Balance:
    """One partition's verdict, in counts. `start` and `end` bound what was consumed; `lag` is None where Kafka was not asked."""

    topic: str
    partition: int
    start: int
    end: int
    landed: int = 0
    quarantined: int = 0
    filtered: int = 0
    holes: int = 0
    retired: int = 0
    unverifiable: int = 0
    missing: int = 0
    duplicate: int = 0
    lag: int | None = None
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Held:
    """What Kafka holds of a partition: for each stretch, how many records, and how many of them no table has."""

    def __init__(self, low: int, high: int, compacted: bool, stretches: int) -> None:
        self.low = low
        self.high = high
        self.compacted = compacted
        # The first place is for what comes before the first stretch.
        self.records = np.zeros(stretches + 1, np.int64)
        self.unaccounted = np.zeros(stretches + 1, np.int64)


@dataclass(slots=True)
class Account:
    """Everything that is known of one source partition."""

    topic: str
    topic_id: str
    partition: int
    whole_log: bool = True  # False when the log's first entries are gone: then nobody knows what came before
    landed: OffsetSet = field(default_factory=OffsetSet)
    quarantined: OffsetSet = field(default_factory=OffsetSet)
    retired: int = 0  # rows that retention said it removed
    transaction: int | None = None  # where the table's app transaction stands
    held: Held | None = None
    stretches: list[Stretch] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    _duplicates: int = 0
    _edges_known: Offsets | None = None

    @property
    def start(self) -> int:
        """First offset that the log speaks of."""
        return self.stretches[0].first if self.stretches else 0

    @property
    def end(self) -> int:
        """Where the next landing goes on."""
        return self.stretches[-1].end if self.stretches else 0

    def cover(self, version: int, span: Span) -> None:
        """Take in the next span of the log; note where it does not follow on."""
        self._edges_known = None
        if span.next < span.first or span.holes < 0:
            self._problem(
                f"version {version} says it consumed {span.consumed} records of offsets {span.first} to {span.next - 1}"
            )
        if not self.stretches:
            self.stretches.append(Stretch(span.first, span.next, version, span))
            return
        end, before = self.end, self.stretches[-1].version
        if span.first > end:
            self._problem(
                f"no commit covers offsets {end} to {span.first - 1}, between versions {before} and {version}"
            )
            self.stretches.append(Stretch(end, span.first, None, None))
        elif span.first < end:
            self._problem(
                f"version {version} covers offsets {span.first} to {min(end, span.next) - 1} again, after version {before}"
            )
            if span.next > end:
                self.stretches.append(Stretch(end, span.next, None, None))
            return
        self.stretches.append(Stretch(span.first, span.next, version, span))

    def repeat(self, rows: int, examples: Sequence[int], where: str) -> None:
        """Note rows whose offsets were there already."""
        self._duplicates += rows
        self._problem(f"{rows} rows of the {where} are there more than once: offsets {_some(examples)}")

    def hold(self, offsets: Offsets) -> None:
        """Take in what Kafka holds; ascending, after all rows have been taken in."""
        assert self.held is not None
        inside = np.searchsorted(self._edges(), offsets, side="right")
        known = self.landed.holds(offsets) | self.quarantined.holds(offsets)
        places = len(self.held.records)
        self.held.records += np.bincount(inside, minlength=places)[:places]
        self.held.unaccounted += np.bincount(inside[~known], minlength=places)[:places]

    def balance(self) -> Balance:
        """Judge."""
        both = [offsets for offsets in self.landed.in_common(self.quarantined) if len(offsets)]
        if both:
            count = sum(len(offsets) for offsets in both)
            self._duplicates += count
            self._problem(f"{count} records are landed and quarantined: offsets {_some(both[0].tolist())}")
        if self.transaction != (self.end if self.stretches else None):
            self._problem(
                f"the table's transaction stands at {self.transaction}, and its log's spans end at {self.end}"
            )
        edges = self._edges()
        landed, quarantined = self.landed.count(edges), self.quarantined.count(edges)
        self._check_outside(int(landed.sum()), int(quarantined.sum()))
        lost = self._lost_rows(landed, quarantined)
        retired = min(self.retired, lost[0])
        if lost[0] > retired:
            self._problem(f"{lost[0] - retired} rows that were landed are not in the table")
        if lost[1]:
            self._problem(f"{lost[1]} records that were rejected are not in the quarantine")
        passed_over, unverifiable, notes = self._compare_with_kafka(landed, quarantined)
        spans = [stretch.span for stretch in self.stretches if stretch.span]
        return Balance(
            topic=self.topic,
            partition=self.partition,
            start=self.start,
            end=self.end,
            landed=sum(span.landed for span in spans),
            quarantined=sum(span.quarantined for span in spans),
            filtered=sum(span.filtered for span in spans),
            holes=sum(span.holes for span in spans),
            retired=retired,
            unverifiable=unverifiable,
            missing=lost[0] - retired + lost[1] + passed_over,
            duplicate=self._duplicates,
            lag=None if self.held is None else max(0, self.held.high - max(self.end, self.held.low)),
            problems=tuple(self.problems),
            notes=tuple(notes),
        )

    def _edges(self) -> Offsets:
        if self._edges_known is None:
            self._edges_known = np.array([stretch.first for stretch in self.stretches] + [self.end], np.int64)
        return self._edges_known

    def _check_outside(self, landed: int, quarantined: int) -> None:
        """Rows that no commit speaks of."""
        for what, rows, inside in (("table", self.landed, landed), ("quarantine", self.quarantined, quarantined)):
            before = 0
            if not self.whole_log and self.stretches:
                before = int(rows.count(np.array([0, self.start], np.int64))[0])
            if outside := len(rows) - inside - before:
                self._problem(f"{outside} rows of the {what} have offsets that no landing covers")

    def _lost_rows(self, landed: Offsets, quarantined: Offsets) -> tuple[int, int]:
        """Rows that the log counts and that are in neither table: (landed, quarantined)."""
        lost_landed = lost_quarantined = 0
        for stretch, rows, rejects in zip(self.stretches, landed.tolist(), quarantined.tolist(), strict=True):
            said_landed = stretch.span.landed if stretch.span else 0
            said_quarantined = stretch.span.quarantined if stretch.span else 0
            if rows > said_landed or rejects > said_quarantined:
                self._problem(
                    f"offsets {stretch.first} to {stretch.end - 1}: {rows} rows and {rejects} rejects are there, and"
                    f" {_by(stretch)} says {said_landed} and {said_quarantined}"
                )
            lost_landed += max(0, said_landed - rows)
            lost_quarantined += max(0, said_quarantined - rejects)
        return lost_landed, lost_quarantined

    def _compare_with_kafka(self, landed: Offsets, quarantined: Offsets) -> tuple[int, int, list[str]]:
        """Records that Kafka holds and nothing accounts for; offsets that nobody can verify; notes."""
        held = self.held
        if held is None:
            return 0, self.start, []
        if held.high < self.end:
            self._problem(f"the topic ends at {held.high}, before the table's next offset {self.end}")
        unverifiable = min(held.low, self.start)
        passed_over, notes = self._before_the_start(held)
        for index, stretch in enumerate(self.stretches):
            records, unaccounted = int(held.records[index + 1]), int(held.unaccounted[index + 1])
            found = int(landed[index] + quarantined[index])
            if stretch.span is None:
                passed_over += unaccounted
                unverifiable += max(0, min(held.low, stretch.end) - stretch.first)
                continue
            span = stretch.span
            removed = max(0, span.landed - int(landed[index])) + max(0, span.quarantined - int(quarantined[index]))
            where = f"offsets {stretch.first} to {stretch.end - 1}, {_by(stretch)}"
            if unaccounted > span.filtered + removed:
                count = unaccounted - span.filtered - removed
                passed_over += count
                self._problem(f"{where}: {count} records that Kafka holds were passed over")
            elif stretch.first >= held.low and not held.compacted:
                if unaccounted < span.filtered + removed:
                    count = span.filtered + removed - unaccounted
                    self._problem(f"{where}: Kafka holds {count} records less than were counted")
                if found > records - unaccounted:
                    self._problem(
                        f"{where}: {found - records + unaccounted} rows have offsets that Kafka gives no reader"
                    )
        return passed_over, unverifiable, notes

    def _before_the_start(self, held: Held) -> tuple[int, list[str]]:
        count = int(held.unaccounted[0])
        if not count:
            return 0, []
        if not self.whole_log:
            return 0, [f"the log before offset {self.start} is gone: {count} records there cannot be checked"]
        if self.stretches and self.stretches[0].first == self.stretches[0].end:
            return 0, [f"landing was told to start at {self.start}: {count} records before it were not asked for"]
        self._problem(f"{count} records that Kafka holds come before {self.start}, where landing began")
        return count, []

    def _problem(self, text: str) -> None:
        self.problems.append(f"{self.topic}[{self.partition}]: {text}")


def _by(stretch: Stretch) -> str:
    return "which no commit covers" if stretch.version is None else f"version {stretch.version}"


def _some(offsets: Sequence[int]) -> str:
    shown = ", ".join(str(offset) for offset in offsets[:5])
    return f"{shown}, …" if len(offsets) > 5 else shown
