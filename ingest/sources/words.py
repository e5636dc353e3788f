"""What the bulk source and its kernels agree on: the words that they hand to and fro, and the kernels themselves, compiled.

Plain integers, because the kernels compile them in as constants.
"""

from typing import Final

from ingest.native.compiled import Compiled

# What `measure` finds, as words: bytes of values, of keys, of headers as `ingest.sources.headers` lays them out, and how many messages
# have headers, are errors, how many topics there are.
VALUE_BYTES, KEY_BYTES, HEADER_BYTES, HEADED, ERRORS, TOPICS, FINDINGS = range(7)

# How full a block is, as words: records, the bytes of their values, keys and headers, tombstones, null keys, records with headers.
ROWS, VALUES_USED, KEYS_USED, HEADERS_USED, TOMBSTONES, NULL_KEYS, HEADED_ROWS, CURSORS = range(8)

# A block's columns, as words of the addresses given to `gather`: of int64 but for partitions (int32), topics (int16) and the
# bytes of values, keys and headers.
(
    OFFSET,
    TIMESTAMP,
    PARTITION,
    TOPIC,
    VALUES,
    STARTS,
    TOMBSTONE,
    KEYS,
    KEY_STARTS,
    NULL_KEY,
    HEADERS,
    HEADER_STARTS,
    HEADER_ROW,
    COLUMNS,
) = range(14)

# How headers are laid out. Before each: the length of its name and of its value, 32 bits each. A value of this length is null.
PREFIX_BYTES: Final = 8
NULL_LENGTH: Final = 2**32 - 1

# Functions of librdkafka whose addresses the kernels are given, in this order.
FUNCTIONS: Final = (
    "rd_kafka_message_destroy",
    "rd_kafka_message_timestamp",
    "rd_kafka_message_headers",
    "rd_kafka_header_get_all",
)
# Words that the library puts answers in.
SCRATCH_WORDS: Final = 4

_PARTS: Final = ("ingest.sources.words", *(f"ingest.native.{part}" for part in ("calls", "functions", "memory")))
MEASURE: Final = Compiled("ingest.sources.gather", "measure", 8, _PARTS, "the bulk source", "a few seconds")
GATHER: Final = Compiled("ingest.sources.gather", "gather", 9, _PARTS, "the bulk source's gathering", "a few seconds")
