"""Compiled functions: compiled once for a machine and kept on disk, for seconds are too long for each start."""

import contextlib
import hashlib
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numba


class Compiled:
    """A function over addresses and counts (int64), compiled without the interpreter lock. Safe from any thread."""

    def __init__(self, function: Callable[..., Any], sources: Sequence[ModuleType], what: str, takes: str) -> None:
        """Name the function, every module whose code goes into it, and what to tell of it: what it is, how long it takes."""
        self._function: Any = function
        self._sources: Final = tuple(sources)
        self._what, self._takes = what, takes
        self._lock = threading.Lock()
        self._loaded: Callable[..., Any] | None = None

    def load(self, progress: Callable[[str], None] | None = None) -> Callable[..., Any]:
        """Give the compiled function; the first call in a process loads it, the first on a machine compiles it.

        `progress` is told before something takes more than a moment.
        """
        with self._lock:
            if self._loaded is None:
                self._loaded = self._compile(progress or _quiet)
            return self._loaded

    def folder(self) -> Path | None:
        """Find a folder that is ours to write, named after the function's sources; None where there is none.

        The name matters: numba looks at the time and size of one source file only, and stale code would write wherever
        a newer caller's numbers point it.
        """
        digest = hashlib.sha256()
        for module in self._sources:
            digest.update(Path(module.__file__ or "").read_bytes())
        for root in _roots():
            folder = root / f"thalweg-kernel-{os.getuid()}-{digest.hexdigest()[:16]}"
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=folder):
                    pass
            except OSError:
                continue
            # What is loaded is run: nobody else may have put it there.
            if folder.stat().st_uid == os.getuid():
                return folder
        return None

    def _compile(self, progress: Callable[[str], None]) -> Callable[..., Any]:
        dispatcher = numba.njit(nogil=True, error_model="numpy")(self._function)
        folder = self.folder()
        if folder is None:
            progress(f"Compiling {self._what} ({self._takes}; there is no folder to keep it in for the next start)")
        else:
            if not any(folder.rglob(f"*.{self._function.__name__}-*.nbc")):
                progress(f"Compiling {self._what}, once on this machine ({self._takes})")
            keep_in(folder, dispatcher)
        dispatcher.compile((numba.int64,) * self._function.__code__.co_argcount)
        return dispatcher  # type: ignore[no-any-return]  # numba ships no types


def keep_in(folder: Path, dispatcher: Any) -> None:
    """Let numba load from and save to a folder of ours: it takes the place from its global configuration."""
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(folder)
    try:
        dispatcher.enable_caching()
    finally:
        numba.config.CACHE_DIR = before


def _roots() -> Iterator[Path]:
    """Numba's own setting first, then beside the source, the user's cache, the folder for temporary files."""
    if numba.config.CACHE_DIR:
        yield Path(numba.config.CACHE_DIR)
    yield Path(__file__).parent / "__pycache__"
    with contextlib.suppress(RuntimeError):  # nobody knows this user's home
        yield Path.home() / ".cache" / "thalweg"
    yield Path(tempfile.gettempdir())


def _quiet(message: str) -> None:
    del message
