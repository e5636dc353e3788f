"""Accounts of one partition: whatever was consumed in good order is clean, and whatever is changed about it shows."""

import itertools
from dataclasses import dataclass, replace

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from audit.accounts import Account, Balance, Held
from thalweg.tables.spans import Span

# Each judgement unpacks a few bitmaps; fifty histories a rule find what they find.
rounds = settings(max_examples=50, deadline=None)
KINDS = ("landed", "quarantined", "filtered", "hole")


@dataclass(frozen=True)
class History:
    """What became of each offset from `start` on, and where the commits cut."""

    start: int
    fates: tuple[str, ...]
    cuts: tuple[int, ...]
    expired: int  # offsets before this one are no longer in Kafka

    @property
    def end(self) -> int:
        return self.start + len(self.fates)

    def offsets(self, *kinds: str) -> list[int]:
        return [self.start + place for place, fate in enumerate(self.fates) if fate in kinds]

    def spans(self) -> list[Span]:
        edges = [self.start, *self.cuts, self.end]
        return [self.span(first, after) for first, after in itertools.pairwise(edges) if first < after]

    def span(self, first: int, after: int) -> Span:
        fates = self.fates[first - self.start : after - self.start]
        return Span("t", "id", 0, first, after, *(fates.count(kind) for kind in KINDS[:3]))


@st.composite
def histories(draw: st.DrawFn) -> History:
    start = draw(st.integers(0, 20))
    fates = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=40))
    cuts = draw(st.lists(st.integers(start, start + len(fates)), max_size=4, unique=True).map(sorted))
    # Kafka has lost what came before the start, or landing would have begun there.
    return History(start, tuple(fates), tuple(cuts), draw(st.integers(start, start + len(fates))))


def judge(
    history: History,
    spans: list[Span] | None = None,
    landed: list[int] | None = None,
    quarantined: list[int] | None = None,
    in_kafka: list[int] | None = None,
    retired: int = 0,
    compacted: bool = False,
) -> Balance:
    """The balance of a history, of which something may have been changed."""
    account = Account("t", "id", 0)
    for version, span in enumerate(history.spans() if spans is None else spans):
        account.cover(version, span)
    account.transaction = history.end
    account.retired = retired
    account.landed.add(np.array(history.offsets("landed") if landed is None else landed, np.int64))
    account.quarantined.add(np.array(history.offsets("quarantined") if quarantined is None else quarantined, np.int64))
    account.held = Held(history.expired, history.end + 3, compacted, len(account.stretches))
    there = history.offsets("landed", "quarantined", "filtered") if in_kafka is None else in_kafka
    kept = [offset for offset in there if offset >= history.expired]
    for part in (kept[: len(kept) // 2], kept[len(kept) // 2 :]):
        account.hold(np.array(part, np.int64))
    return account.balance()


def clean(balance: Balance) -> bool:
    return not (balance.missing or balance.duplicate or balance.problems)


@rounds
@given(histories())
def test_what_was_consumed_in_good_order_is_clean(history: History) -> None:
    balance = judge(history)
    assert clean(balance), balance.problems
    assert balance == Balance(
        topic="t",
        partition=0,
        start=history.start,
        end=history.end,
        landed=len(history.offsets("landed")),
        quarantined=len(history.offsets("quarantined")),
        filtered=len(history.offsets("filtered")),
        holes=len(history.offsets("hole")),
        unverifiable=history.start,
        lag=3,
    )
    assert balance.landed + balance.quarantined + balance.filtered + balance.holes == balance.end - balance.start


@rounds
@given(histories(), st.data())
def test_a_row_that_is_gone_is_missing(history: History, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["landed", "quarantined"]))
    there = history.offsets(kind)
    assume(there)
    lost = data.draw(st.lists(st.sampled_from(there), min_size=1, unique=True))
    kept = [offset for offset in there if offset not in lost]
    balance = judge(history, landed=kept) if kind == "landed" else judge(history, quarantined=kept)
    assert balance.missing == len(lost)
    assert balance.duplicate == 0


@rounds
@given(histories(), st.data())
def test_rows_that_retention_removed_are_retired_and_no_more_than_it_said(
    history: History, data: st.DataObject
) -> None:
    there = history.offsets("landed")
    assume(there)
    lost = data.draw(st.lists(st.sampled_from(there), min_size=1, unique=True))
    kept = [offset for offset in there if offset not in lost]
    balance = judge(history, landed=kept, retired=len(lost))
    assert clean(balance), balance.problems
    assert balance.retired == len(lost)
    short = judge(history, landed=kept, retired=len(lost) - 1)
    assert (short.retired, short.missing) == (len(lost) - 1, 1)
    assert judge(history, retired=5).retired == 0, "rows that were restored are not retired"


@rounds
@given(histories(), st.data())
def test_a_row_that_was_never_consumed_or_counted_otherwise_shows(history: History, data: st.DataObject) -> None:
    elsewhere = [*history.offsets("filtered", "hole", "quarantined"), history.end + 1]
    intruder = data.draw(st.sampled_from(elsewhere))
    assert not clean(judge(history, landed=[*history.offsets("landed"), intruder]))
    assert not clean(judge(history, quarantined=[*history.offsets("quarantined"), history.end + 1]))


@rounds
@given(histories(), st.data())
def test_a_record_that_is_landed_and_quarantined_is_twice(history: History, data: st.DataObject) -> None:
    there = history.offsets("landed")
    assume(there)
    again = data.draw(st.sampled_from(there))
    balance = judge(history, quarantined=[*history.offsets("quarantined"), again])
    assert balance.duplicate == 1
    assert not clean(balance)


@rounds
@given(histories(), st.data())
def test_a_record_that_kafka_holds_and_nobody_counted_is_missing(history: History, data: st.DataObject) -> None:
    """Told only where the whole stretch is still in Kafka: of what was filtered, nobody knows where it stood."""
    history = replace(history, expired=history.start)
    holes = history.offsets("hole")
    assume(holes)
    passed_over = data.draw(st.lists(st.sampled_from(holes), min_size=1, unique=True))
    there = sorted(history.offsets("landed", "quarantined", "filtered") + passed_over)
    assert judge(history, in_kafka=there).missing == len(passed_over)


@rounds
@given(histories(), st.data())
def test_a_row_that_kafka_never_gave_shows(history: History, data: st.DataObject) -> None:
    """An aborted record that landed nevertheless, say. Told only where the whole stretch is still in Kafka."""
    history = replace(history, expired=history.start)
    landed = history.offsets("landed")
    assume(landed)
    aborted = data.draw(st.sampled_from(landed))
    there = [offset for offset in history.offsets("landed", "quarantined", "filtered") if offset != aborted]
    assert not clean(judge(history, in_kafka=there))


@rounds
@given(histories(), st.data())
def test_in_a_compacted_topic_a_row_outlives_its_record(history: History, data: st.DataObject) -> None:
    there = history.offsets("landed", "quarantined", "filtered")
    left = [offset for offset in there if data.draw(st.booleans())]
    balance = judge(replace(history, expired=history.start), in_kafka=left, compacted=True)
    assert clean(balance), balance.problems


@rounds
@given(histories(), st.data())
def test_a_log_whose_spans_do_not_follow_on_shows(history: History, data: st.DataObject) -> None:
    spans = history.spans()
    assume(len(spans) > 1)
    place = data.draw(st.integers(1, len(spans) - 1))
    assert not clean(judge(history, spans[:place] + spans[place + 1 :])), "a commit is missing"
    again = spans[: place + 1] + spans[place:]
    assert not clean(judge(history, again)), "a commit is there twice"
    swapped = [*spans[: place - 1], spans[place], spans[place - 1], *spans[place + 1 :]]
    assert not clean(judge(history, swapped))


@rounds
@given(histories(), st.data(), st.sampled_from(["landed", "quarantined", "filtered"]), st.sampled_from([-1, 1]))
def test_a_commit_that_counts_wrongly_shows(history: History, data: st.DataObject, kind: str, by: int) -> None:
    """Filtered records leave no trace but in Kafka, so they are checked where the whole stretch is still there."""
    history = replace(history, expired=history.start)
    spans = history.spans()
    place = data.draw(st.integers(0, len(spans) - 1))
    count = getattr(spans[place], kind) + by
    assume(count >= 0)
    spans[place] = replace(spans[place], **{kind: count})
    assert not clean(judge(history, spans))


@rounds
@given(histories())
def test_a_transaction_that_stands_elsewhere_shows(history: History) -> None:
    account = Account("t", "id", 0)
    for version, span in enumerate(history.spans()):
        account.cover(version, span)
    account.transaction = history.end + 1
    assert any("transaction" in problem for problem in account.balance().problems)


@rounds
@given(histories(), st.integers(1, 5))
def test_records_before_the_start_are_missing_unless_the_start_was_told(history: History, before: int) -> None:
    """Landing begins with the earliest record there is, or with an empty landing that says otherwise."""
    assume(history.start >= before)
    history = replace(history, expired=history.start - before)
    there = [*range(history.start - before, history.start), *history.offsets("landed", "quarantined", "filtered")]
    assert judge(history, in_kafka=there).missing == before
    told = [history.span(history.start, history.start), *history.spans()]
    balance = judge(history, told, in_kafka=there)
    assert clean(balance), balance.problems
    assert balance.notes
