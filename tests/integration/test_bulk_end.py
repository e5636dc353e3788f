"""A program that forgets to close the bulk source."""

import subprocess
import sys
from contextlib import closing

import pytest

from tests.services import environment
from tests.source_world import Topic
from thalweg.settings import Settings
from thalweg.streams.admin import Admin

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

PROGRAM = """
import sys
from ingest.sources.bulk import BulkSource
from tests.source_world import Member, read
from thalweg.clock import SystemClock
from thalweg.settings import load_settings

source = BulkSource(load_settings().kafka, sys.argv[2], [sys.argv[1]], Member(), SystemClock())
read(source, 1)
{end}
"""


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("", 0),
        ("raise SystemExit(3)", 3),
        ("import threading; threading.Thread(target=read, args=(source, 10**9), daemon=True).start()", 0),
    ],
    ids=["at its end", "on an error", "while a thread reads"],
)
def test_a_program_that_forgets_to_close_ends_and_leaves_its_group(settings: Settings, end: str, status: int) -> None:
    """Else the group waits for it as for one that was killed."""
    with closing(Admin(settings.kafka)) as admin:
        topic = Topic.made(settings.kafka, admin, "bulk")
        topic.send([b"v"] * 100_000)
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM.format(end=end), topic.name, f"{topic.name}.g"],
            env=environment(settings),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (status, "")
        (described,) = admin._client.describe_consumer_groups([f"{topic.name}.g"]).values()
        assert described.result().members == []


def test_addresses_of_messages_that_the_library_took_back_are_left_alone(settings: Settings) -> None:
    """It destroys what it has put into a batch when partitions are let go meanwhile. In a process of its own: it would crash."""
    with closing(Admin(settings.kafka)) as admin:
        topic = Topic.made(settings.kafka, admin, "bulk")
        topic.send([b"v"] * 10)
        done = subprocess.run(
            [
                *(sys.executable, "-c"),
                PROGRAM.format(end="source._messages[source._taken:] = 8; source.close()"),
                *(topic.name, f"{topic.name}.g"),
            ],
            env=environment(settings),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
