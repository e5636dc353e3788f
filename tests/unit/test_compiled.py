"""Where compiled functions are kept, and that a stale one is never run."""

import os
import tempfile
from pathlib import Path

import numba
import pytest

from ingest import compiled
from ingest.decode import reading
from ingest.decode.compiled import KERNEL


def cache_folder() -> Path | None:
    return KERNEL.folder()


@pytest.fixture
def no_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Every place for the cache lies under a file, so that none can be made. Returns that file."""
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(file / "numba"))
    monkeypatch.setattr(compiled, "__file__", str(file / "compiled.py"))
    monkeypatch.setenv("HOME", str(file))
    monkeypatch.setattr(tempfile, "tempdir", str(file))
    return file


def test_numbas_own_setting_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
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
    """Numba itself compares the time and size of one file only."""
    before = cache_folder()
    changed = tmp_path / "reading.py"
    changed.write_bytes(Path(reading.__file__).read_bytes() + b"# changed\n")
    monkeypatch.setattr(reading, "__file__", str(changed))
    after = cache_folder()
    assert before is not None
    assert after is not None
    assert before.name != after.name


def test_numbas_configuration_is_left_as_it_was(tmp_path: Path) -> None:
    before = numba.config.CACHE_DIR
    compiled.keep_in(tmp_path, numba.njit(_nothing))
    assert before == numba.config.CACHE_DIR
    assert list(tmp_path.iterdir())


def _nothing() -> None:
    pass
