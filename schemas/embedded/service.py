"""One writer at a time: catch up with the log, decide, write, read back, answer. Reading asks memory only."""

import logging
import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

from schemas.embedded import refusals
from schemas.embedded.changes import Change
from schemas.embedded.log import Entry, Log
from schemas.embedded.state import State
from thalweg.errors import ThalwegError, Unavailable

_LOG = logging.getLogger("schemas.embedded")

T = TypeVar("T")


class Service:
    """The state that a log tells, and the only way to change it.

    Reads the log to its end first, so a restarted registry knows what the one before it knew. Raises what the log raises.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._state = State()
        self._writing = threading.Lock()
        self._applying = threading.Lock()
        self._fault: str | None = None
        self._ended: str | None = None
        self._apply(log.read())

    @property
    def fault(self) -> str | None:
        """Why a change would fail, as far as it is known: the last one did, and none has worked since."""
        return self._ended or self._fault

    def read(self, question: Callable[[State], T]) -> T:
        """Ask the state something. Never waits for the log."""
        with self._applying:
            return question(self._state)

    def change(self, decide: Callable[[State], Change[T]]) -> T:
        """Make a change durable, then answer. Raises what `decide` raises.

        Raises Refusal 50001 when the log cannot be written and read back. The change may have happened all the same:
        the next request sees what the log says.
        """
        with self._writing:
            self._reach_log(self._catch_up)
            change = decide(self._state)
            if change.records:
                self._reach_log(lambda: self._log.append(change.records))
                self._reach_log(self._catch_up)
            return change.answer

    def close(self) -> None:
        """Let go of the log."""
        self._log.close()

    def _reach_log(self, step: Callable[[], None]) -> None:
        if self._ended is None:
            try:
                step()
            except Unavailable as error:
                self._fault = error.message
                raise refusals.store_failed(error.message) from error
            except ThalwegError as error:
                self._ended = f"{error.message}; {error.remedy}"
        if self._ended is not None:
            raise refusals.store_failed(self._ended)
        self._fault = None

    def _catch_up(self) -> None:
        entries = self._log.read()
        if any(entry.writer != self._log.writer for entry in entries):
            # Two registries at one topic would give one id to two schemas.
            self._ended = "another registry writes to the same topic; stop it, then restart this one"
        self._apply(entries)

    def _apply(self, entries: Iterable[Entry]) -> None:
        with self._applying:
            for entry in entries:
                if not self._state.apply(entry.record):
                    _LOG.warning("left out a record of another registry: %s", entry.record.key)
