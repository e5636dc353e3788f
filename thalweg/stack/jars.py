"""Kafka's jars: which ones, where they are kept, and that they are the ones that were locked.

`kafka.lock.json` names every jar of the broker by Maven coordinates and SHA-256, and no address: `jgo` fetches each from
the repositories that the user's own jgo configuration names, Maven Central by default. A jar is fetched into a folder of
its own, hashed, and only then moved into the cache, so that a broken or interrupted download is never on a class path.
`python -m thalweg.stack.jars VERSION` resolves the dependencies anew and writes the lock file.
"""

import hashlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from thalweg.errors import StackUnavailable

LOCK_FILE = Path(__file__).with_name("kafka.lock.json")
PARALLEL_DOWNLOADS = 6  # a polite number for a public repository; the link is full with fewer
DOWNLOAD_TIMEOUT_S = 60

Progress = Callable[[int, int], None]
"""Called with (jars ready, jars in all)."""


@dataclass(frozen=True, slots=True)
class Jar:
    """One jar of the lock file. `coordinates` are Maven's `group:artifact:version`; `sha256` is lower-case hex."""

    coordinates: str
    sha256: str

    @property
    def file_name(self) -> str:
        """Name in the cache. The hash is part of it: two locks never quarrel over one file."""
        _, artifact, version = self.coordinates.split(":")
        return f"{artifact}-{version}-{self.sha256[:12]}.jar"


@dataclass(frozen=True, slots=True)
class Lock:
    """The locked jars of one Kafka version."""

    kafka: str
    jars: tuple[Jar, ...]

    @classmethod
    def read(cls, path: Path = LOCK_FILE) -> "Lock":
        """Return what the lock file says."""
        content = json.loads(path.read_text())
        return cls(content["kafka"], tuple(Jar(c, h) for c, h in content["jars"].items()))

    def write(self, path: Path = LOCK_FILE) -> None:
        """Write the lock file."""
        content = {"kafka": self.kafka, "jars": {jar.coordinates: jar.sha256 for jar in self.jars}}
        path.write_text(json.dumps(content, indent=1) + "\n")


Fetch = Callable[[str, Path], Path]
"""Downloads `group:artifact:version` into an empty folder and returns the jar's path. Raises StackUnavailable."""


def class_path(
    lock: Lock, cache: Path, fetch: Fetch | None = None, progress: Progress = lambda done, total: None
) -> list[Path]:
    """Return the path of every locked jar, fetching those that the cache lacks.

    Every jar is hashed at every start (45 MB take less than 0.1 s): one that was damaged in the cache is fetched again.
    Raises StackUnavailable when a jar cannot be fetched, or is not the one that was locked.
    """
    folder = cache / "jars"
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / jar.file_name for jar in lock.jars]
    missing = [(jar, path) for jar, path in zip(lock.jars, paths, strict=True) if not _intact(jar, path)]
    if not missing:
        return paths
    done = len(paths) - len(missing)
    progress(done, len(paths))
    with ThreadPoolExecutor(PARALLEL_DOWNLOADS) as pool:
        running = [pool.submit(_fetch_one, jar, path, fetch or fetch_with_jgo) for jar, path in missing]
        try:
            for future in as_completed(running):
                future.result()
                done += 1
                progress(done, len(paths))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return paths


def _intact(jar: Jar, path: Path) -> bool:
    return path.exists() and sha256(path) == jar.sha256


def _fetch_one(jar: Jar, path: Path, fetch: Fetch) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".fetching-") as folder:
        fetched = fetch(jar.coordinates, Path(folder))
        found = sha256(fetched)
        if found != jar.sha256:
            raise StackUnavailable(
                f"the jar {jar.coordinates} that was downloaded is not the one that was locked: SHA-256 {found}, not {jar.sha256}",
                "a proxy or mirror may have changed it: try again, or check the repository that jgo is set up with",
            )
        fetched.replace(path)


def sha256(path: Path) -> str:
    """Return a file's SHA-256 in lower-case hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch_with_jgo(coordinates: str, folder: Path) -> Path:
    """Download one jar by jgo into `folder`. Raises StackUnavailable."""
    group, artifact, version = coordinates.split(":")
    wanted = _maven(folder).project(group, artifact).at_version(version).artifact()
    try:
        return Path(wanted.resolve())
    except (
        RuntimeError,
        OSError,
    ) as error:  # jgo's own for "no repository has it"; requests' are OSErrors, the disk's too
        raise StackUnavailable(
            f"Kafka's jar {coordinates} cannot be downloaded: {error}",
            "check the network, or name a reachable Maven repository in ~/.config/jgo.conf, section [repositories]",
        ) from error


def _maven(folder: Path):  # type: ignore[no-untyped-def]  # jgo's types are not exported
    try:
        from jgo.config import GlobalSettings
        from jgo.constants import MAVEN_CENTRAL_URL
        from jgo.maven import MavenContext
    except ModuleNotFoundError as error:
        raise StackUnavailable(
            "a local broker needs the package jgo, which is not installed", "pip install 'thalweg[stack]'"
        ) from error
    repositories = {"central": MAVEN_CENTRAL_URL} | GlobalSettings.load().repositories
    return MavenContext(repo_cache=folder, remote_repos=repositories, timeout=DOWNLOAD_TIMEOUT_S)


def resolve(kafka_version: str) -> Lock:
    """Resolve the broker's dependencies anew and hash every jar."""
    with tempfile.TemporaryDirectory() as folder:
        maven = _maven(Path(folder))
        inputs, transitive = maven.resolver.resolve(
            [maven.create_dependency(f"org.apache.kafka:kafka_2.13:{kafka_version}")]
        )
        artifacts = [d.artifact for d in [*inputs, *(t for t in transitive if t.scope in ("compile", "runtime"))]]
        log4j = next(a.version for a in artifacts if a.artifactId == "log4j-core")
        # Kafka logs to slf4j 1.7 and leaves the binding to its distribution: without one it is silent when it fails.
        artifacts.append(maven.project("org.apache.logging.log4j", "log4j-slf4j-impl").at_version(log4j).artifact())
        return Lock(kafka_version, tuple(_lock_all(artifacts)))


def _lock_all(artifacts: Iterable) -> Iterable[Jar]:  # type: ignore[type-arg]  # jgo's types are not exported
    for artifact in artifacts:
        yield Jar(f"{artifact.groupId}:{artifact.artifactId}:{artifact.version}", sha256(artifact.resolve()))


if __name__ == "__main__":
    resolve(sys.argv[1]).write()
