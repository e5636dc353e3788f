"""Compiled functions: compiled once for a machine and kept on disk, for seconds are too long for each start.

Numba compiles them, in a process of its own (`ingest.native.compiling`). What it makes is plain machine code, so a worker needs
only LLVM's loader: numba itself would take 70 MB and half a second of each start.
"""

import contextlib
import ctypes
import functools
import hashlib
import importlib.util
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import llvmlite.binding as llvm

from ingest.process import run_module

_ENTRY: Final = "entry"  # ingest.native.compiling.ENTRY, whose module would import numba
_ENGINES: Final[list[Any]] = []  # they own the code, which lives as long as the process
_UNUSED: Final = (ctypes.c_int64 * 2)()  # words that numba's convention wants, and that nothing is written to
# Compiling takes some ten seconds; so much longer may a busy machine take.
_TIMEOUT_S: Final = 300


class Compiled:
    """A function over addresses and counts (int64) that returns nothing, without the interpreter lock. Safe from any thread."""

    def __init__(self, module: str, function: str, arguments: int, parts: Sequence[str], what: str, takes: str) -> None:
        """Name the function, how many arguments it has, every other module whose code goes into it, and what to tell of it.

        None of these modules is imported.
        """
        self._module, self._function, self._arguments = module, function, arguments
        self._parts = (module, *parts, "ingest.native.compiling")
        self._what, self._takes = what, takes
        self._lock = threading.Lock()
        self._loaded: Callable[..., object] | None = None

    def load(self, progress: Callable[[str], None] | None = None) -> Callable[..., object]:
        """Give the compiled function; the first call in a process loads it, the first on a machine compiles it.

        `progress` is told before something takes more than a moment. Raises RuntimeError when it cannot be compiled.
        """
        with self._lock:
            if self._loaded is None:
                self._loaded = _loaded(self._code(progress or _quiet), self._arguments)
            return self._loaded

    def folder(self) -> Path | None:
        """Find a folder that is ours to write, named after all that the code depends on; None where there is none.

        The name matters: stale code would write wherever a newer caller's numbers point it, and code for another
        processor would not run.
        """
        digest = hashlib.sha256()
        for name in self._parts:
            digest.update(source(name).read_bytes())
        processor = f"{llvm.get_host_cpu_name()} {llvm.get_host_cpu_features().flatten()}"
        digest.update(f"{version('numba')} {version('llvmlite')} {processor}".encode())
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

    def _code(self, progress: Callable[[str], None]) -> bytes:
        """The object file, from disk if it is there."""
        folder = self.folder()
        if folder is None:
            progress(f"Compiling {self._what} ({self._takes}; there is no folder to keep it in for the next start)")
            return self._compile()
        kept = folder / f"{self._function}.o"
        with contextlib.suppress(FileNotFoundError):
            return kept.read_bytes()
        progress(f"Compiling {self._what}, once on this machine ({self._takes})")
        code = self._compile()
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            file.write(code)
        Path(file.name).replace(kept)  # half a file is never loaded
        return code

    def _compile(self) -> bytes:
        ended = run_module("ingest.native.compiling", self._module, self._function, timeout_s=_TIMEOUT_S)
        if ended.returncode:
            raise RuntimeError(f"{self._what} cannot be compiled:\n{ended.stderr.decode(errors='replace')}")
        return ended.stdout


def source(module: str) -> Path:
    """The file of a module, which is not imported for that."""
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        raise RuntimeError(f"{module} has no source file")
    return Path(found.origin)


def _loaded(code: bytes, arguments: int) -> Callable[..., object]:
    """Load an object file that `ingest.native.compiling` made. Called through ctypes, which lets go of the interpreter lock."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _ENGINES.append(engine)
    call = ctypes.CFUNCTYPE(ctypes.c_int32, *[ctypes.c_int64] * (2 + arguments))(engine.get_function_address(_ENTRY))
    call.errcheck = _check  # type: ignore[assignment]  # its result is not used
    address = ctypes.addressof(_UNUSED)
    return functools.partial(call, address, address + 8)


def _check(status: int, call: object, arguments: object) -> None:
    """Nonzero means that the code has raised, as numba's convention has it."""
    del call, arguments
    if status:
        raise RuntimeError(f"compiled code ended with status {status}: it raised, which no kernel of ours does")


def _roots() -> Iterator[Path]:
    """Numba's own setting first, then beside the source, the user's cache, the folder for temporary files."""
    if told := os.environ.get("NUMBA_CACHE_DIR"):
        yield Path(told)
    yield Path(__file__).parent / "__pycache__"
    with contextlib.suppress(RuntimeError):  # nobody knows this user's home
        yield Path.home() / ".cache" / "thalweg"
    yield Path(tempfile.gettempdir())


def _quiet(message: str) -> None:
    del message
