"""Where compiled functions are kept, and that a stale one is never run."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ingest.decode.compiled import KERNEL
from ingest.native import compiled
from ingest.native.compiling import compile_function
from ingest.sources.words import GATHER, MEASURE


def cache_folder() -> Path | None:
    return KERNEL.folder()


@pytest.fixture
def no_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Every place for the cache lies under a file, so that none can be made. Returns that file."""
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(file / "numba"))
    monkeypatch.setattr(compiled, "__file__", str(file / "compiled.py"))
    monkeypatch.setenv("HOME", str(file))
    monkeypatch.setattr(tempfile, "tempdir", str(file))
    return file


def test_numbas_own_setting_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    folder = cache_folder()
    assert folder is not None
    assert folder.parent == tmp_path


def test_it_is_kept_beside_the_source_where_that_can_be_written() -> None:
    folder = cache_folder()
    assert folder is not None
    assert folder.parent == Path(compiled.__file__).parent / "__pycache__"


def test_an_installation_that_cannot_be_written_falls_back_to_the_users_cache(
    no_place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = cache_folder()
    assert folder is not None
    assert folder.parent == tmp_path / "home" / ".cache" / "thalweg"
    assert folder.stat().st_mode & 0o777 == 0o700


def test_without_a_home_it_is_kept_among_temporary_files(
    no_place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = cache_folder()
    assert folder is not None
    assert folder.parent == tmp_path


def test_a_folder_of_another_user_is_not_used(no_place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What lies there would be run: somebody may have put it under the name that ours would have."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    mine = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: mine + 1)
    assert cache_folder() is None


def test_without_any_place_there_is_no_folder(no_place: Path) -> None:
    assert cache_folder() is None


def test_another_source_has_another_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Stale code would write wherever a newer caller's numbers point it."""
    before = cache_folder()
    real = compiled.source
    changed = tmp_path / "reading.py"
    changed.write_bytes(real("ingest.decode.reading").read_bytes() + b"# changed\n")
    monkeypatch.setattr(compiled, "source", lambda module: changed if module.endswith(".reading") else real(module))
    after = cache_folder()
    assert before is not None
    assert after is not None
    assert before.name != after.name


def test_another_processor_has_another_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """A home folder may be shared by machines."""
    before = cache_folder()
    monkeypatch.setattr(compiled.llvm, "get_host_cpu_name", lambda: "another")
    after = cache_folder()
    assert before is not None
    assert after is not None
    assert before.name != after.name


def test_every_module_that_goes_into_the_code_is_named() -> None:
    """A part that is forgotten would let stale code be run."""
    program = "import sys; from importlib import import_module as load; load(sys.argv[1]); print(*sys.modules)"
    for kernel in (KERNEL, MEASURE, GATHER):
        ended = subprocess.run(
            [sys.executable, "-c", program, kernel._module], capture_output=True, text=True, check=True
        )
        ours = {name for name in ended.stdout.split() if name.startswith("ingest.")}
        # Packages, which are empty, and what loads the code.
        ours -= {"ingest.decode", "ingest.native", "ingest.sources", "ingest.native.compiled", "ingest.process"}
        assert ours <= set(kernel._parts)


def test_a_function_that_needs_python_cannot_be_compiled() -> None:
    """It would end the process where it is loaded."""
    with pytest.raises(RuntimeError, match="no plain code"):
        compile_function(_needs_python)


def test_code_that_raises_is_not_taken_for_code_that_ran() -> None:
    call = compiled._loaded(compile_function(_raises), 1)
    call(0)
    with pytest.raises(RuntimeError, match="status"):
        call(1)


def _needs_python(a: int) -> None:
    print(a)  # noqa: T201 - what it needs Python for


def _raises(a: int) -> None:
    if a:
        raise ValueError("not zero")
