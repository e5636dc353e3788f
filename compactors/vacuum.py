"""Removing files that no promise needs.

A file may go when all of this is true: the newest version does not have it; no version inside the time-travel window has
it, no pinned version, and none that the announcer has still to announce; no landing has named it for the quarantine
without its having been settled; it is old enough not to be a file that some writer is about to commit; and delta-rs, asked
separately, does not know of a need for it either. What is to go is planned, shown, and planned again just before.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import structlog

from compactors.policy import Removal, plan_removal, window_start
from thalweg.clock import Clock
from thalweg.errors import TableDamaged, TableNotFound
from thalweg.settings import CompactorSettings
from thalweg.tables.files import Snapshot, delete_stored, log_times, stored_files
from thalweg.tables.log import Log
from thalweg.tables.pins import Pin, Pins
from thalweg.tables.rewrite import unreferenced

_LOG = structlog.get_logger("compact")


@dataclass(frozen=True, slots=True)
class VacuumPlan:
    """What would be removed, and from which version on (and which pinned ones) every version stays whole."""

    removal: Removal
    whole_from: int
    pinned: tuple[int, ...]
    needed: Mapping[
        str, int
    ]  # size in bytes by path: the newest version's files, and every other version's that is kept
    lost_before: frozenset[str]  # needed, and not there, before anything is done


class Vacuum:
    """Vacuums one table. `announced` is the last version announced (None: none ever); `unsettled` are paths that a data log names."""

    def __init__(
        self,
        uri: str,
        settings: CompactorSettings,
        announced: int | None,
        unsettled: Collection[str],
        clock: Clock,
        storage_options: Mapping[str, str] | None = None,
    ) -> None:
        self._uri = uri
        self._settings = settings
        self._announced = announced
        self._unsettled = frozenset(unsettled)
        self._clock = clock
        self._options = storage_options
        self._pins = Pins(uri, storage_options)

    def plan(self) -> VacuumPlan:
        """Find what may go. Deletes nothing.

        Raises VersionNotFound when a version that is to be kept cannot be read: then nobody knows what it needs.
        """
        return self._plan(self._pins.all())

    def apply(self, plan: VacuumPlan) -> Removal:
        """Remove what the plan names and what, looked at once more, may still go; then check every version that is kept.

        Raises TableDamaged when a file that is needed went missing meanwhile.
        """
        if not plan.removal.files:
            return plan.removal
        with self._pins.removing([file.path for file in plan.removal.files], self._clock) as pins:
            now = self._plan(pins)
            still = {file.path for file in now.removal.files}
            doomed = tuple(file for file in plan.removal.files if file.path in still)
            for file in doomed:
                delete_stored(self._uri, file.path, self._options)
        self._check(now)
        return Removal(doomed, now.removal.kept_for_versions, now.removal.kept_for_writers)

    def _plan(self, pins: list[Pin]) -> VacuumPlan:
        # The folder is listed first: a file that appears later is not a candidate, whoever commits it meanwhile.
        stored = stored_files(self._uri, self._options)
        times = log_times(self._uri, self._options)
        if not times:
            raise TableNotFound(f"there is no Delta table at {self._uri}", "nothing is removed where there is no log")
        first = self._whole_from(times)
        pinned = tuple(sorted({pin.version for pin in pins}))
        needed = self._needed(first, pinned)
        newest = Snapshot(self._uri, self._options)
        active = {file.path for file in newest.files}
        removal = plan_removal(
            stored, active, needed.keys() | self._unsettled, self._settings.staged_hours, self._clock.now_ms()
        )
        if removal.files:
            agreed = unreferenced(self._uri, [*pinned, first], self._options)
            removal = Removal(
                tuple(file for file in removal.files if file.path in agreed),
                removal.kept_for_versions,
                removal.kept_for_writers,
            )
        sizes = {file.path: file.size for file in stored}
        lost = frozenset(path for path, size in needed.items() if sizes.get(path) != size)
        if lost:
            _LOG.warning("files of kept versions are gone already", table=self._uri, files=len(lost), one=min(lost))
        return VacuumPlan(removal, first, pinned, needed, lost)

    def _whole_from(self, times: Mapping[int, int]) -> int:
        begin = window_start(times, self._clock.now_ms(), self._settings.time_travel_hours)
        announced = -1 if self._announced is None else self._announced
        return max(min(begin, announced), min(times))

    def _needed(self, first: int, pinned: Collection[int]) -> dict[str, int]:
        """Files of every version from `first` on, of the pinned ones, and of the newest."""
        log = Log(self._uri, self._options)
        needed = {
            file.path: file.size
            for version in {first, *pinned}
            for file in Snapshot(self._uri, self._options, version).files
        }
        for entry in log.entries(first + 1, log.latest(first)):
            needed.update((file.path, file.size) for file in entry.added)
        return needed

    def _check(self, plan: VacuumPlan) -> None:
        sizes = {file.path: file.size for file in stored_files(self._uri, self._options)}
        lost = {path for path, size in plan.needed.items() if sizes.get(path) != size} - plan.lost_before
        if lost:
            raise TableDamaged(
                f"{len(lost)} files of {self._uri} that kept versions need are gone, {min(lost)} among them",
                "stop everything that deletes files there; thalweg verify tells which rows are concerned",
            )
