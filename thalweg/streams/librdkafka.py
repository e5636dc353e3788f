"""librdkafka's documented C interface, as far as a consumer needs it: the library inside confluent-kafka's wheel.

Loaded through the wheel's extension module, so that it is the very copy that the public client uses: one found by its
name may be another one.
"""

import ctypes
import functools
from collections.abc import Iterable, Mapping
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_int32, c_int64, c_size_t, c_ssize_t, c_void_p
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, cimpl

CONSUMER: Final = 1  # rd_kafka_type_t
ASSIGN_PARTITIONS: Final = -175
REVOKE_PARTITIONS: Final = -174
OFFSET_INVALID: Final = -1001
_ANY_PARTITION: Final = -1
_TEXT_BYTES: Final = 512


class TopicPartition(ctypes.Structure):
    """rd_kafka_topic_partition_t."""

    _fields_ = [
        ("topic", c_char_p),
        ("partition", c_int32),
        ("offset", c_int64),
        ("metadata", c_void_p),
        ("metadata_size", c_size_t),
        ("opaque", c_void_p),
        ("err", c_int),
        ("private", c_void_p),
    ]


class TopicPartitionList(ctypes.Structure):
    """rd_kafka_topic_partition_list_t."""

    _fields_ = [("count", c_int), ("size", c_int), ("items", POINTER(TopicPartition))]


class Message(ctypes.Structure):
    """rd_kafka_message_t. Of an error the payload is a text."""

    _fields_ = [
        ("err", c_int),
        ("topic", c_void_p),
        ("partition", c_int32),
        ("payload", c_void_p),
        ("length", c_size_t),
        ("key", c_void_p),
        ("key_length", c_size_t),
        ("offset", c_int64),
        ("private", c_void_p),
    ]


RebalanceCallback = CFUNCTYPE(None, c_void_p, c_int, POINTER(TopicPartitionList), c_void_p)
ErrorCallback = CFUNCTYPE(None, c_void_p, c_int, c_char_p, c_void_p)

_LIST = POINTER(TopicPartitionList)
# Name, result, arguments: as in rdkafka.h of 2.x.
_PROTOTYPES: Final = (
    ("rd_kafka_assign", c_int, c_void_p, _LIST),
    ("rd_kafka_commit", c_int, c_void_p, _LIST, c_int),
    ("rd_kafka_conf_destroy", None, c_void_p),
    ("rd_kafka_conf_new", c_void_p),
    ("rd_kafka_conf_set", c_int, c_void_p, c_char_p, c_char_p, c_char_p, c_size_t),
    ("rd_kafka_conf_set_error_cb", None, c_void_p, ErrorCallback),
    ("rd_kafka_conf_set_rebalance_cb", None, c_void_p, RebalanceCallback),
    ("rd_kafka_consume_batch_queue", c_ssize_t, c_void_p, c_int, c_void_p, c_size_t),
    ("rd_kafka_consumer_close", c_int, c_void_p),
    ("rd_kafka_destroy", None, c_void_p),
    ("rd_kafka_err2str", c_char_p, c_int),
    ("rd_kafka_error_code", c_int, c_void_p),
    ("rd_kafka_error_destroy", None, c_void_p),
    ("rd_kafka_error_string", c_char_p, c_void_p),
    ("rd_kafka_get_watermark_offsets", c_int, c_void_p, c_char_p, c_int32, POINTER(c_int64), POINTER(c_int64)),
    ("rd_kafka_handle_mock_cluster", c_void_p, c_void_p),
    ("rd_kafka_incremental_assign", c_void_p, c_void_p, _LIST),
    ("rd_kafka_incremental_unassign", c_void_p, c_void_p, _LIST),
    ("rd_kafka_message_destroy", None, c_void_p),
    ("rd_kafka_mock_cluster_bootstraps", c_char_p, c_void_p),
    ("rd_kafka_new", c_void_p, c_int, c_void_p, c_char_p, c_size_t),
    ("rd_kafka_pause_partitions", c_int, c_void_p, _LIST),
    ("rd_kafka_poll_set_consumer", c_int, c_void_p),
    ("rd_kafka_queue_destroy", None, c_void_p),
    ("rd_kafka_queue_get_consumer", c_void_p, c_void_p),
    ("rd_kafka_rebalance_protocol", c_char_p, c_void_p),
    ("rd_kafka_resume_partitions", c_int, c_void_p, _LIST),
    ("rd_kafka_subscribe", c_int, c_void_p, _LIST),
    ("rd_kafka_topic_name", c_char_p, c_void_p),
    ("rd_kafka_topic_partition_list_add", POINTER(TopicPartition), _LIST, c_char_p, c_int32),
    ("rd_kafka_topic_partition_list_destroy", None, _LIST),
    ("rd_kafka_topic_partition_list_new", _LIST, c_int),
)


@functools.cache
def library() -> Any:
    """The library, its functions' arguments and results declared. Calls let go of the interpreter lock.

    Raises OSError or AttributeError where the wheel holds no such library.
    """
    loaded = ctypes.CDLL(cimpl.__file__)
    for name, result, *arguments in _PROTOTYPES:
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded


def address(name: str) -> int:
    """Where a function of the library starts, for code that calls it without the interpreter."""
    found = ctypes.cast(getattr(library(), name), c_void_p).value
    assert found is not None
    return found


def configuration(properties: Mapping[str, Any]) -> int:
    """A new rd_kafka_conf_t, which rd_kafka_new takes over. Raises KafkaException for a property that is refused."""
    made = library().rd_kafka_conf_new()
    text = ctypes.create_string_buffer(_TEXT_BYTES)
    for name, value in properties.items():
        said = str(value).lower() if isinstance(value, bool) else str(value)
        if library().rd_kafka_conf_set(made, name.encode(), said.encode(), text, _TEXT_BYTES):
            library().rd_kafka_conf_destroy(made)
            raise KafkaException(KafkaError(KafkaError._INVALID_ARG, text.value.decode(errors="replace")))
    return int(made)


def consumer_handle(conf: int) -> int:
    """A new rd_kafka_t of a consumer. Raises KafkaException."""
    text = ctypes.create_string_buffer(_TEXT_BYTES)
    handle = library().rd_kafka_new(CONSUMER, conf, text, _TEXT_BYTES)
    if not handle:
        library().rd_kafka_conf_destroy(conf)  # taken over only when that succeeds
        raise KafkaException(KafkaError(KafkaError._INVALID_ARG, text.value.decode(errors="replace")))
    return int(handle)


class Listed:
    """A rd_kafka_topic_partition_list_t of our own, for the length of a `with` block."""

    def __init__(self, positions: Mapping[tuple[str, int], int] | Iterable[str]) -> None:
        """Topics, or partitions with an offset each."""
        self._positions = positions

    def __enter__(self) -> Any:
        self._list = library().rd_kafka_topic_partition_list_new(8)
        if isinstance(self._positions, Mapping):
            for (topic, partition), offset in self._positions.items():
                added = library().rd_kafka_topic_partition_list_add(self._list, topic.encode(), partition)
                added.contents.offset = offset
        else:
            for topic in self._positions:
                library().rd_kafka_topic_partition_list_add(self._list, topic.encode(), _ANY_PARTITION)
        return self._list

    def __exit__(self, *_: object) -> None:
        library().rd_kafka_topic_partition_list_destroy(self._list)


def partitions_of(listed: Any) -> list[tuple[str, int]]:
    """The partitions in a list that belongs to the library."""
    if not listed:
        return []
    held = listed.contents
    return [(held.items[i].topic.decode(), held.items[i].partition) for i in range(held.count)]


def check_code(code: int) -> None:
    """Raise KafkaException for a rd_kafka_resp_err_t that is not 0."""
    if code:
        raise KafkaException(KafkaError(code, library().rd_kafka_err2str(code).decode()))


def check_error(error: int | None) -> None:
    """Raise KafkaException for a rd_kafka_error_t, which is destroyed; None stands for success."""
    if error:
        code, text = library().rd_kafka_error_code(error), library().rd_kafka_error_string(error).decode()
        library().rd_kafka_error_destroy(error)
        raise KafkaException(KafkaError(code, text))
