"""Whether the bulk source may be used: known versions whose records read back as they were sent, else the public source."""

import subprocess
import sys
from collections.abc import Iterator

import confluent_kafka
import pytest

from ingest.sources import layout, opening
from ingest.sources.bulk import BulkSource
from ingest.sources.layout import unsuitable
from ingest.sources.public import PublicSource
from ingest.sources.source import Source
from tests.source_world import Member
from thalweg.clock import SystemClock
from thalweg.settings import IngestSettings, KafkaSettings, Settings

HERE = pytest.mark.skipif(
    sys.platform != "linux" or confluent_kafka.libversion()[0] not in layout.KNOWN,
    reason="not a platform or version of it",
)


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    """The answer is kept for a process: not for these tests, nor for the others."""
    unsuitable.cache_clear()
    yield
    unsuitable.cache_clear()


def opened(source: str) -> Source:
    """What a worker would read through. No broker is there: nothing is read."""
    settings = Settings(
        kafka=KafkaSettings(bootstrap="127.0.0.1:1"), ingest=IngestSettings.model_validate({"source": source})
    )
    made = opening.open_source(settings, "g", ["t"], Member(), SystemClock())
    made.close()
    return made


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Reasons that were logged."""
    found: list[str] = []
    monkeypatch.setattr(opening._LOG, "warning", lambda _, reason: found.append(reason), raising=False)
    return found


def program(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Let the check run another program."""
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda _, **more: run([sys.executable, "-c", text], **more))


@HERE
def test_known_records_are_read_back_as_they_were_sent() -> None:
    assert unsuitable() is None


@HERE
def test_the_bulk_source_is_used_where_it_can_be(warnings: list[str]) -> None:
    assert isinstance(opened("bulk"), BulkSource)
    assert warnings == []


def test_the_public_source_is_the_default(warnings: list[str]) -> None:
    assert Settings().ingest.source == "public"
    assert isinstance(opened("public"), PublicSource)
    assert warnings == []


def test_an_unknown_version_is_refused_before_it_is_tried(monkeypatch: pytest.MonkeyPatch, warnings: list[str]) -> None:
    monkeypatch.setattr(confluent_kafka, "libversion", lambda: ("9.9.9", 0))
    program(monkeypatch, "raise SystemExit('tried')")
    assert isinstance(opened("bulk"), PublicSource)
    (reason,) = warnings
    assert "9.9.9" in reason or "Linux" in reason


@HERE
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raise ValueError('sent 1, found 2')", "found 2"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "status -11"),
    ],
)
def test_records_that_read_differently_are_a_reason(
    monkeypatch: pytest.MonkeyPatch, warnings: list[str], text: str, said: str
) -> None:
    program(monkeypatch, text)
    assert isinstance(opened("bulk"), PublicSource)
    (reason,) = warnings
    assert said in reason


@HERE
def test_a_check_that_hangs_is_a_reason(monkeypatch: pytest.MonkeyPatch, warnings: list[str]) -> None:
    monkeypatch.setattr(layout, "TIMEOUT_S", 0.1)
    program(monkeypatch, "import time; time.sleep(60)")
    assert isinstance(opened("bulk"), PublicSource)
    assert "did not end" in warnings[0]


@HERE
@pytest.mark.slow
@pytest.mark.parametrize("field", ["_OFFSET", "_LENGTH"])
def test_a_field_that_is_elsewhere_is_noticed(field: str) -> None:
    """As if the library had another layout than the kernels take it to have. In a process of its own: it may well crash."""
    steps = [
        "from ingest.sources import gather, layout",
        "from ingest.native.compiled import Compiled",
        "from ingest.native.compiling import compile_function",
        # Here, where the field has been moved, and not kept.
        "Compiled._code = lambda self, progress: compile_function(getattr(gather, self._function))",
        "layout._READ_S = 3.0",
        "layout.check()",
    ]
    moved = [*steps[:1], f"gather.{field} += 8", *steps[1:]]
    for program, ends_well in ((steps, True), (moved, False)):
        done = subprocess.run([sys.executable, "-c", "; ".join(program)], capture_output=True, timeout=100, check=False)
        assert (done.returncode == 0) == ends_well, done.stderr[-500:]
