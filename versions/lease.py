"""One lease: the tables of one partition of `<prefix>.datasets`, announced by one owner at a time.

Why it is exactly once. The owner of partition P writes with the transactional id `<prefix>.announcer.P`, and it is the
only writer of partition P of `<prefix>.announced`. Taking the id over ends whatever the last owner had open, so what is
then read of P is all there will ever be of the past. Events and progress are written in one transaction. After any doubt
the lease is given up and taken anew, in the same order: id first, then progress.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from schemas.events import GAP, VersionCommitted
from schemas.openlineage import encode, message_key
from thalweg.clock import Clock
from thalweg.errors import LeaseLost, ThalwegError, Unavailable
from thalweg.streams.clients import Topics
from thalweg.streams.transactions import Message
from thalweg.telemetry import METRICS
from versions.follow import Follower
from versions.plan import Announcement, Plan
from versions.progress import Progress, decode_progress, encode_position

_LOG = logging.getLogger("thalweg.announcer")

# Waits before a lost lease is taken again: long enough for a silent member to hear that it was expelled (a heartbeat goes
# out every 3 s), so that two processes that both believe to be the owner do not fence each other in turn.
BACKOFF_FIRST_S, BACKOFF_LONGEST_S = 4.0, 60.0


class Writer(Protocol):
    """The transactional id of this lease: `thalweg.streams.transactions.TransactionalWriter`."""

    def start(self) -> None:
        """Take the id over."""
        ...

    def write(self, messages: Sequence[Message]) -> None:
        """Write one transaction."""
        ...

    def close(self) -> None:
        """Let go."""
        ...


@dataclass(frozen=True, slots=True)
class LeaseParts:
    """What a lease works with."""

    writer: Writer
    read_announced: Callable[[], dict[bytes, bytes]]  # the lease's own partition, committed, up to the high watermark
    still_assigned: Callable[[], bool]
    encode_event: Callable[[VersionCommitted], bytes]
    topics: Topics
    clock: Clock
    versions_per_transaction: int


class Lease:
    """What this process does under one lease, from the assignment to the revocation."""

    def __init__(self, partition: int, parts: LeaseParts) -> None:
        self.partition = partition
        self._parts = parts
        self._followers: dict[str, Follower] = {}
        self._progress: Progress | None = None  # None: the lease is not taken
        self._backoff_s = 0.0
        self._retry_at_s = 0.0

    @property
    def is_ready(self) -> bool:
        """Whether there is nothing that keeps a version from being announced."""
        if not self._followers:
            return True
        return self._progress is not None and not any(f.stalled for f in self._followers.values())

    @property
    def followed(self) -> tuple[str, ...]:
        """Names of the tables under this lease."""
        return tuple(self._followers)

    def follow(self, follower: Follower) -> None:
        """Announce one more table, or go on with one whose declaration changed."""
        self._followers[follower.table.dataset] = follower

    def forget(self, dataset: str) -> None:
        """Announce that table no longer."""
        self._followers.pop(dataset, None)

    def release(self) -> None:
        """Stop. No transaction is open between two steps."""
        self._parts.writer.close()
        self._progress = None

    def step(self) -> bool:
        """Announce what is new, in one transaction. Returns whether there may be more right now."""
        if not self._followers or (self._progress is None and not self._take()):
            return False
        assert self._progress is not None  # _take
        plans = self._gather(self._progress)
        announcements = [announcement for _, planned in plans for announcement in planned.announcements]
        if announcements:
            try:
                self._parts.writer.write(self._messages(plans))
            except (LeaseLost, Unavailable) as error:
                self._give_up(error)
                return False
        for follower, planned in plans:
            self._progress |= planned.progress
            follower.advance()
        self._count(announcements)
        self._backoff_s = 0.0
        return bool(plans)

    def _take(self) -> bool:
        """Become the sole writer, then read what was announced: never in the other order."""
        if self._parts.clock.monotonic_s() < self._retry_at_s:
            return False
        try:
            if self._backoff_s and not self._parts.still_assigned():
                raise LeaseLost(f"lease {self.partition} is no longer assigned to this process", "another one goes on")
            self._parts.writer.start()
            self._progress = decode_progress(self._parts.read_announced())
        except ThalwegError as error:  # the other leases go on
            self._give_up(error)
            return False
        _LOG.info("lease %d taken: %s", self.partition, ", ".join(self._followers))
        return True

    def _give_up(self, error: ThalwegError) -> None:
        """What the last transaction did is unknown now, and so is whether the lease is ours: wait, take it again, read.

        The followers stay where they are: what turns out to be announced already, `plan` leaves out.
        """
        self._parts.writer.close()
        self._progress = None
        self._backoff_s = min(self._backoff_s * 2, BACKOFF_LONGEST_S) if self._backoff_s else BACKOFF_FIRST_S
        self._retry_at_s = self._parts.clock.monotonic_s() + self._backoff_s
        _LOG.warning("lease %d given up for %.0f s: %s", self.partition, self._backoff_s, error)

    def _gather(self, progress: Progress) -> list[tuple[Follower, Plan]]:
        """Look at each table in turn, as far as one transaction reaches. Those that got nothing come first next time."""
        left = self._parts.versions_per_transaction
        plans: list[tuple[Follower, Plan]] = []
        for name, follower in list(self._followers.items()):
            if left == 0:
                break
            self._followers[name] = self._followers.pop(name)
            try:
                planned = follower.look(progress, left)
            except ThalwegError as error:
                follower.stall(error)
                planned = None
            METRICS.table_stalled.labels(name).set(follower.stalled is not None)
            if planned is not None:
                plans.append((follower, planned))
                left -= min(left, len(planned.announcements) or 1)
        return plans

    def _messages(self, plans: Sequence[tuple[Follower, Plan]]) -> list[Message]:
        topics = self._parts.topics
        messages = []
        for _, planned in plans:
            for announcement in planned.announcements:
                event = announcement.event
                messages.append(Message(topics.versions, event.dataset.encode(), self._parts.encode_event(event)))
                messages.extend(
                    Message(topics.lineage, message_key(run).encode(), encode(run)) for run in announcement.lineage
                )
            messages.extend(
                Message(topics.announced, key.encode(), encode_position(position), self.partition)
                for key, position in planned.progress.items()
            )
        return messages

    def _count(self, announcements: Sequence[Announcement]) -> None:
        now_ms = self._parts.clock.now_ms()
        for event in (announcement.event for announcement in announcements):
            if event.kind == GAP:
                METRICS.log_gaps.labels(event.dataset).inc()
                _LOG.error(
                    "%s: versions %d to %d were cleaned from the log before they were announced; going on with %d",
                    event.dataset,
                    event.gap_from,
                    event.gap_to,
                    event.version + 1,
                )
                continue
            METRICS.announced.labels(event.dataset).inc()
            METRICS.announce_seconds.labels(event.dataset).observe(
                max(0.0, now_ms / 1000 - event.committed_at.timestamp())
            )
            METRICS.table_version.labels(event.dataset).set(event.version)
