"""Whether the bulk source may be used here: a known version of librdkafka, whose messages look as the kernels take them to.

The check reads known records back, in a process of its own: memory that is read wrongly ends a process without a word.
"""

import functools
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from typing import Final

import confluent_kafka

from ingest.block import Block
from ingest.process import run_module
from ingest.sources.bulk import BulkSource
from ingest.sources.source import Partition
from thalweg.clock import SystemClock
from thalweg.settings import KafkaSettings
from thalweg.streams import librdkafka
from thalweg.streams.clients import producer

# The contract suite and a soak were run with these.
KNOWN: Final = ("2.16.0",)
# Compiling the kernels may be part of it, on a machine that is busy.
TIMEOUT_S: Final = 120.0
_READ_S: Final = 30.0

_TOPIC: Final = "known"
_TIMESTAMP_MS: Final = 1_357_041_600_123
# (key, value, headers), as sent and as they must be found.
_RECORDS: Final[tuple[tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]], ...]] = (
    (b"a key", b"a value of more than eight bytes", []),
    (None, b"", [("name", b"value"), ("null", None), ("", b"")]),
    (b"", None, []),
    (b"k", b"v" * 70_000, [("long", b"h" * 5_000)]),
)


@functools.cache
def unsuitable() -> str | None:
    """Say why the bulk source cannot be used on this machine; None when it can. Asked once a process, for it takes a second."""
    if sys.platform != "linux":
        return f"it runs on Linux only, not on {sys.platform}"
    version = confluent_kafka.libversion()[0]
    if version not in KNOWN:
        return f"librdkafka {version} is not among those it is known to work with: {', '.join(KNOWN)}"
    try:
        check = run_module("ingest.sources.layout", timeout_s=TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"its check did not end: {error}"
    if check.returncode:
        said = check.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        return f"known records were not read back as they were sent (status {check.returncode}): {said or 'it said nothing'}"
    return None


def check() -> None:
    """Send known records through librdkafka's mock of a broker and read them back. Raises ValueError for what differs."""
    kafka = KafkaSettings.model_validate({"bootstrap": "mock", "properties": {"test.mock.num.brokers": "1"}})
    source = BulkSource(kafka, "layout", [_TOPIC], _Nobody(), SystemClock(), join=False)
    with closing(source):
        mock = librdkafka.library().rd_kafka_handle_mock_cluster(source.handle)
        broker = librdkafka.library().rd_kafka_mock_cluster_bootstraps(mock).decode()
        client = producer(KafkaSettings(bootstrap=broker))
        for key, value, headers in _RECORDS:
            client.produce(_TOPIC, value, key, 0, timestamp=_TIMESTAMP_MS, headers=headers)
        if client.flush(_READ_S):
            raise ValueError("the mock broker took no records")
        source.seek({(_TOPIC, 0): 0})
        block = source.poll(len(_RECORDS), 2**30, _READ_S)
    found = [] if block is None else [_record(block, row) for row in range(len(block))]
    wanted = [(_TOPIC, 0, row, _TIMESTAMP_MS, *record) for row, record in enumerate(_RECORDS)]
    if found != wanted:
        raise ValueError(f"sent {wanted!r:.300}, found {found!r:.300}")


def _record(block: Block, row: int) -> tuple[object, ...]:
    return (
        block.topics[block.topic[row]],
        int(block.partition[row]),
        int(block.offset[row]),
        int(block.timestamp_ms[row]),
        block.key(row),
        block.value(row),
        list(block.headers.get(row, ())),
    )


class _Nobody:
    """No group gives or takes anything here."""

    def assigned(self, partitions: list[Partition]) -> Mapping[Partition, int]:
        """Never called."""
        return {}

    def revoked(self, partitions: list[Partition]) -> Mapping[Partition, int]:
        """Never called."""
        return {}


if __name__ == "__main__":
    check()
