"""Where Kafka puts a key."""

import pytest

from thalweg.streams.compacted import murmur2, partition_of


@pytest.mark.parametrize(
    ("key", "signed"),
    [
        # Kafka's own: clients/src/test/java/org/apache/kafka/common/utils/UtilsTest.java, testMurmur2.
        ("21", -973932308),
        ("foobar", -790332482),
        ("a-little-bit-long-string", -985981536),
        ("a-little-bit-longer-string", -1486304829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        ("abc", 479470107),
    ],
)
def test_keys_hash_as_in_java(key: str, signed: int) -> None:
    assert murmur2(key.encode()) == signed % 2**32


def test_a_negative_hash_gives_a_partition_as_in_java() -> None:
    assert partition_of(b"21", 12) == (-973932308 & 0x7FFFFFFF) % 12
