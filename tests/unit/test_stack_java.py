"""Which Java runs the broker."""

from pathlib import Path

import pytest

from thalweg.errors import StackUnavailable
from thalweg.stack import java


def java_home(folder: Path, says: str) -> Path:
    """Make a JAVA_HOME whose `java -version` says that."""
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho '{says}' >&2\n")
    program.chmod(0o755)
    return folder


def test_the_locked_java_comes_before_the_users(tmp_path: Path) -> None:
    assert java.find_java(java_home(tmp_path, 'openjdk version "21.0.1"')) == java.packaged_java()


@pytest.mark.parametrize("says", ['openjdk version "17.0.15" 2025-04-15', 'java version "25" 2025-09-16'])
def test_java_home_serves_where_the_package_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str
) -> None:
    monkeypatch.setattr(java, "packaged_java", lambda: None)

    assert java.find_java(java_home(tmp_path, says)) == tmp_path / "bin" / "java"


@pytest.mark.parametrize(
    ("says", "told"),
    [('java version "1.8.0_402"', "Java 8"), ('openjdk version "11.0.2"', "Java 11"), ("no idea", "tells no version")],
)
def test_a_java_that_does_not_fit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, told: str
) -> None:
    monkeypatch.setattr(java, "packaged_java", lambda: None)

    with pytest.raises(StackUnavailable, match=told) as refused:
        java.find_java(java_home(tmp_path, says))
    assert "JAVA_HOME" in refused.value.remedy


@pytest.mark.parametrize("home", [None, Path("/nowhere")])
def test_no_java_at_all_says_what_to_install(monkeypatch: pytest.MonkeyPatch, home: Path | None) -> None:
    monkeypatch.setattr(java, "packaged_java", lambda: None)

    with pytest.raises(StackUnavailable) as refused:
        java.find_java(home)
    assert "JAVA_HOME" in refused.value.remedy
