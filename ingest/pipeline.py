"""The writing half of a worker: one thread that interprets blocks, fills the landing and commits it.

The consuming thread hands blocks over through a bounded queue, so decoding and writing (native code, without the
interpreter lock) run beside consuming. While the writing thread is idle the consuming thread may use the landing itself.
"""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

from ingest.block import Block
from ingest.interpret import Interpreter
from ingest.landing import Landed, Landing
from ingest.table import LandingTable
from thalweg.clock import Clock


@dataclass(frozen=True, slots=True)
class _Commit:
    """Commit what has been handed over so far."""


@dataclass(frozen=True, slots=True)
class _Stop:
    """End the thread."""


class Pipeline:
    """Owns the writing thread. All methods are called by the consuming thread."""

    def __init__(
        self,
        landing: Landing,
        table: LandingTable,
        interpreter: Interpreter,
        queued_blocks: int,
        clock: Clock,
        on_landed: Callable[[Landed, float], None],
    ) -> None:
        self._landing = landing
        self._table = table
        self._interpreter = interpreter
        self._clock = clock
        self._on_landed = on_landed
        self._queue: queue.Queue[Block | _Commit | _Stop] = queue.Queue(queued_blocks)
        self._landed: queue.SimpleQueue[Landed] = queue.SimpleQueue()
        self._failure: BaseException | None = None
        self._closing = False
        self._steps = 0
        self._thread = threading.Thread(target=self._run, name="landing", daemon=True)
        self._thread.start()

    @property
    def steps(self) -> int:
        """How much was finished: blocks, commits, schemas asked for. A watchdog looks whether it moves."""
        return self._steps + self._interpreter.steps

    def offer(self, block: Block, timeout_s: float) -> bool:
        """Hand over a block; False when the queue stays full for that long. Raises what the writing thread raised."""
        return self._offer(block, timeout_s)

    def commit(self, timeout_s: float) -> bool:
        """Ask for a commit of what was handed over; False when the queue stays full for that long."""
        return self._offer(_Commit(), timeout_s)

    def drain(self) -> None:
        """Wait until the writing thread is idle. Raises what it raised."""
        self._queue.join()
        self.check()

    def check(self) -> None:
        """Raise what the writing thread raised, if it did."""
        if self._failure is not None:
            raise self._failure

    def landed(self) -> list[Landed]:
        """Commits that happened since the last call."""
        found = []
        while not self._landed.empty():
            found.append(self._landed.get())
        return found

    def reset(self) -> None:
        """Forget what is queued and what went wrong. The landing itself is abandoned by the caller."""
        self._queue.join()
        self._failure = None

    def close(self) -> None:
        """End the thread, after what it is doing now. What is still queued is passed over, a commit too."""
        self._closing = True
        self._queue.put(_Stop())
        self._thread.join()

    def _offer(self, item: Block | _Commit, timeout_s: float) -> bool:
        self.check()
        try:
            self._queue.put(item, timeout=timeout_s)
        except queue.Full:
            return False
        return True

    def _run(self) -> None:
        while True:
            item = self._queue.get()
            try:
                if isinstance(item, _Stop):
                    return
                # After a failure the rest of the queue is passed over: the consuming thread reads it again.
                if self._failure is None and not self._closing:
                    self._work(item)
            except BaseException as error:  # noqa: BLE001 - carried to the consuming thread, which raises it
                self._failure = error
            finally:
                self._steps += 1
                self._queue.task_done()

    def _work(self, item: Block | _Commit) -> None:
        if isinstance(item, Block):
            fresh = self._landing.fresh(item)
            interpreted = self._interpreter.read(item, fresh)
            for batch, _, _ in interpreted.batches:
                self._table.widen(batch.schema)
            self._landing.add(item, fresh, interpreted)
            return
        started = self._clock.monotonic_s()
        landed = self._landing.commit()
        if landed is not None:
            self._on_landed(landed, self._clock.monotonic_s() - started)
            self._landed.put(landed)
