"""When upkeep is done: the compactor as a service.

Which datasets a process looks after is told by the consumer group on `<prefix>.datasets`, as for announcers. The lease
only saves work: two compactors on one table do no harm, for the second merge of the same files is refused, and vacuums
obey the same pins. So a long merge may outlast the lease.
"""

import threading
from collections.abc import Callable
from typing import Protocol

import structlog

from schemas.datasets import Dataset
from thalweg.clock import Clock
from thalweg.errors import RegistryUnavailable, ThalwegError
from thalweg.settings import CompactorSettings
from thalweg.streams.leases import Declared, Gained, LeaseEvent, Lost

_LOG = structlog.get_logger("compact")

# How long declarations wait when the registry, which knows their schema, does not answer.
DECLARATION_RETRY_S = 2.0
# The group is heard at least this often between two tables.
POLL_S = 0.5


class Group(Protocol):
    """Membership in the group of compactors: `thalweg.streams.leases.LeaseGroup`."""

    def poll(self, wait_s: float) -> list[LeaseEvent]:
        """What happened, in order."""
        ...

    def close(self) -> None:
        """Leave."""
        ...


class _Charge:
    """A dataset in this process's care, and when it is looked at next (monotonic seconds)."""

    def __init__(self, dataset: Dataset, now_s: float) -> None:
        self.dataset = dataset
        self.due_s = now_s
        self.vacuum_due_s = now_s


class Trigger:
    """One process of the group. `do_upkeep(dataset, vacuum)` does the work."""

    def __init__(
        self,
        group: Group,
        read_declaration: Callable[[Declared], Dataset],
        do_upkeep: Callable[[Dataset, bool], object],
        settings: CompactorSettings,
        clock: Clock,
    ) -> None:
        self._group = group
        self._read_declaration = read_declaration
        self._do_upkeep = do_upkeep
        self._settings = settings
        self._clock = clock
        self._leases: dict[int, dict[bytes, _Charge]] = {}
        self._waiting: list[Declared] = []
        self._retry_at_s = 0.0
        self._joined = False

    @property
    def is_ready(self) -> bool:
        """Whether the group's answer has come and every declaration could be read."""
        return self._joined and not self._waiting

    def run(self, stop: threading.Event) -> None:
        """Look after the datasets until `stop` is set, then leave the group."""
        try:
            while not stop.is_set():
                self.step(POLL_S)
        finally:
            self._group.close()

    def step(self, wait_s: float) -> None:
        """Hear from the group, then do the upkeep of the one dataset that is due longest."""
        for event in self._group.poll(wait_s):
            self._hear(event)
        self._declare()
        charges = [charge for lease in self._leases.values() for charge in lease.values()]
        if charges and (charge := min(charges, key=lambda charge: charge.due_s)).due_s <= self._clock.monotonic_s():
            self._look_after(charge)

    def _hear(self, event: LeaseEvent) -> None:
        match event:
            case Gained(partition):
                self._joined = True
                self._leases[partition] = {}
            case Lost(partition):
                self._leases.pop(partition, None)
                self._waiting = [declared for declared in self._waiting if declared.partition != partition]
            case Declared():
                self._waiting.append(event)

    def _declare(self) -> None:
        now_s = self._clock.monotonic_s()
        if now_s < self._retry_at_s:
            return
        while self._waiting:
            declared = self._waiting[0]
            try:
                self._take(declared, now_s)
            except RegistryUnavailable as error:
                self._retry_at_s = now_s + DECLARATION_RETRY_S
                _LOG.warning("declarations wait", reason=str(error))
                return
            except ThalwegError as error:  # one that nobody can read keeps no other table from being looked after
                _LOG.error("a declaration is left out", key=declared.key, reason=str(error))
            self._waiting.pop(0)

    def _take(self, declared: Declared, now_s: float) -> None:
        lease = self._leases.get(declared.partition)
        if lease is None:
            return
        if declared.value is None:
            lease.pop(declared.key, None)
            return
        dataset = self._read_declaration(declared)
        if (charge := lease.get(declared.key)) is not None:
            charge.dataset = dataset
        else:
            lease[declared.key] = _Charge(dataset, now_s)

    def _look_after(self, charge: _Charge) -> None:
        vacuum = charge.vacuum_due_s <= self._clock.monotonic_s()
        try:
            self._do_upkeep(charge.dataset, vacuum)
        except ThalwegError as error:  # the other tables go on, and this one is tried again next time
            _LOG.error("upkeep failed", dataset=charge.dataset.name, reason=str(error))
        else:
            if vacuum:
                charge.vacuum_due_s = self._clock.monotonic_s() + self._settings.vacuum_interval_s
        charge.due_s = self._clock.monotonic_s() + self._settings.interval_s
