"""The announcer: turns the commits of every declared table's Delta log into version events and lineage events.

The way of one version: a writer commits → its log file appears → `follow` sees it at the next look → `plan` says what to
announce → `lease` writes it, with the progress, in one Kafka transaction. Which tables this process looks after is told
by the consumer group on `<prefix>.datasets`: who is assigned a partition has the lease of its datasets.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

from schemas.datasets import QUARANTINE_SUFFIX, Dataset
from thalweg.clock import Clock
from thalweg.errors import RegistryUnavailable, ThalwegError
from thalweg.streams.leases import Declared, Gained, LeaseEvent, Lost
from versions.follow import Follower
from versions.lease import Lease

_LOG = logging.getLogger("thalweg.announcer")

# How long declarations wait when the registry, which knows their schema, does not answer.
DECLARATION_RETRY_S = 2.0


class Group(Protocol):
    """Membership in the group of announcers: `thalweg.streams.leases.LeaseGroup`."""

    @property
    def is_member(self) -> bool:
        """Whether the group has given us our share, which may be none."""
        ...

    def poll(self, wait_s: float) -> list[LeaseEvent]:
        """What happened, in order."""
        ...

    def close(self) -> None:
        """Leave."""
        ...


class Announcer:
    """One process of the group. `step` is one round; `run` does rounds until it is told to stop."""

    def __init__(
        self,
        group: Group,
        make_lease: Callable[[int], Lease],
        make_followers: Callable[[Dataset], list[Follower]],
        read_declaration: Callable[[bytes, bytes, int], Dataset],
        clock: Clock,
    ) -> None:
        self._group = group
        self._make_lease = make_lease
        self._make_followers = make_followers
        self._read_declaration = read_declaration
        self._clock = clock
        self._leases: dict[int, Lease] = {}
        self._declarations: deque[Declared] = deque()
        self._declarations_wait_until_s = 0.0

    @property
    def is_ready(self) -> bool:
        """Whether the group's answer has come and nothing keeps this process from announcing what it was assigned."""
        leases = list(self._leases.values())  # asked from the health server's thread
        return self._group.is_member and not self._declarations and all(lease.is_ready for lease in leases)

    def run(self, stop: threading.Event, poll_interval_s: float) -> None:
        """Announce until `stop` is set."""
        busy = False
        while not stop.is_set():
            busy = self.step(0.0 if busy else poll_interval_s)

    def step(self, wait_s: float) -> bool:
        """Hear from the group, wait at most `wait_s` for it, then let each lease announce. True when there may be more."""
        for event in self._group.poll(wait_s):
            self._hear(event)
        self._declare()
        busy = [lease.step() for lease in self._leases.values()]
        return any(busy)

    def close(self) -> None:
        """Give the leases back, then leave the group: the next owner finds nothing open."""
        for lease in self._leases.values():
            lease.release()
        self._leases.clear()
        self._group.close()

    def _hear(self, event: LeaseEvent) -> None:
        match event:
            case Gained(partition):
                self._leases[partition] = self._make_lease(partition)
            case Lost(partition):
                if lease := self._leases.pop(partition, None):
                    lease.release()
                    _LOG.info("lease %d given back", partition)
            case Declared():
                self._declarations.append(event)

    def _declare(self) -> None:
        """Follow what was declared, in the order of the topic, as far as the registry can explain it."""
        if self._clock.monotonic_s() < self._declarations_wait_until_s:
            return
        while self._declarations:
            declared = self._declarations[0]
            lease = self._leases.get(declared.partition)
            if lease is not None:
                try:
                    self._apply(lease, declared)
                except RegistryUnavailable as error:
                    self._declarations_wait_until_s = self._clock.monotonic_s() + DECLARATION_RETRY_S
                    _LOG.warning("declarations wait: %s", error)
                    return
                except ThalwegError as error:  # one that nobody can read keeps no other from being announced
                    _LOG.error("declaration %r is left out: %s", declared.key, error)
            self._declarations.popleft()

    def _apply(self, lease: Lease, declared: Declared) -> None:
        if declared.value is None:
            name = declared.key.decode()
            lease.forget(name)
            lease.forget(name + QUARANTINE_SUFFIX)
            return
        for follower in self._make_followers(self._read_declaration(declared.key, declared.value, declared.partition)):
            lease.follow(follower)
