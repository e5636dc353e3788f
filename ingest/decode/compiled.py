"""The compiled kernel: compiled once for a machine and kept on disk, for about ten seconds are too long for each start."""

import contextlib
import hashlib
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numba

from ingest.decode import kernel, keys, memory, opcodes, reading

_SOURCES: Final = (kernel, keys, memory, opcodes, reading)
_LOCK = threading.Lock()
_loaded: list[Callable[..., None]] = []


def load(progress: Callable[[str], None] | None = None) -> Callable[..., None]:
    """Give the compiled kernel; the first call in a process loads it, the first on a machine compiles it.

    `progress` is told before something takes more than a moment. Safe from any thread.
    """
    with _LOCK:
        if not _loaded:
            _loaded.append(_compile(progress or _quiet))
        return _loaded[0]


def _compile(progress: Callable[[str], None]) -> Callable[..., None]:
    dispatcher = numba.njit(nogil=True, error_model="numpy")(kernel.run)
    folder = _cache_folder()
    if folder is None:
        progress("Compiling the decoder (about ten seconds; there is no folder to keep it in for the next start)")
    else:
        if not any(folder.rglob("*.nbc")):
            progress("Compiling the decoder, once on this machine (about ten seconds)")
        _keep_in(folder, dispatcher)
    dispatcher.compile((numba.int64,) * kernel.run.__code__.co_argcount)
    return dispatcher  # type: ignore[no-any-return]  # numba ships no types


def _keep_in(folder: Path, dispatcher: Any) -> None:
    """Let numba load from and save to a folder of ours: it takes the place from its global configuration."""
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(folder)
    try:
        dispatcher.enable_caching()
    finally:
        numba.config.CACHE_DIR = before


def _cache_folder() -> Path | None:
    """Find a folder that is ours to write, named after the kernel's sources.

    The name matters: numba looks at the time and size of one source file only, and a stale kernel would write wherever
    a newer plan's numbers point it.
    """
    digest = hashlib.sha256()
    for module in _SOURCES:
        digest.update(Path(module.__file__ or "").read_bytes())
    for root in _cache_roots():
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


def _cache_roots() -> Iterator[Path]:
    """Numba's own setting first, then beside the source, the user's cache, the folder for temporary files."""
    if numba.config.CACHE_DIR:
        yield Path(numba.config.CACHE_DIR)
    yield Path(__file__).parent / "__pycache__"
    with contextlib.suppress(RuntimeError):  # nobody knows this user's home
        yield Path.home() / ".cache" / "thalweg"
    yield Path(tempfile.gettempdir())


def _quiet(message: str) -> None:
    del message
