"""Asking for a partition's offsets while its leader is not ready yet, as right after a topic is made on a busy machine."""

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from thalweg.errors import BrokerUnavailable
from thalweg.settings import KafkaSettings
from thalweg.streams import admin as module
from thalweg.streams.admin import Admin


class Reader:
    """Answers with errors first, then with offsets."""

    def __init__(self, errors: list[int]) -> None:
        self.errors = errors

    def get_watermark_offsets(self, partition: TopicPartition, timeout: float) -> tuple[int, int]:
        """Answer."""
        if self.errors:
            raise KafkaException(KafkaError(self.errors.pop(0)))
        return 3, 7


def admin_of(reader: Reader, monkeypatch: pytest.MonkeyPatch, request_timeout_s: float = 15) -> Admin:
    """Make an admin whose reader and topic are stand-ins; nothing is sent."""
    monkeypatch.setattr(module, "AdminClient", lambda properties: None)
    monkeypatch.setattr(module, "_LEADER_POLL_S", 0.001)
    admin = Admin(KafkaSettings(bootstrap="127.0.0.1:1", request_timeout_s=request_timeout_s))
    monkeypatch.setattr(admin, "partitions", lambda name: 1)
    monkeypatch.setattr(admin, "_watermark_reader", reader)
    return admin


def test_a_leader_that_is_not_ready_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader([KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE])

    assert admin_of(reader, monkeypatch).watermarks("new") == {0: (3, 7)}


def test_asking_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader([KafkaError.NOT_LEADER_FOR_PARTITION] * 1_000_000)

    with pytest.raises(BrokerUnavailable, match=r"new\[0\]"):
        admin_of(reader, monkeypatch, request_timeout_s=0.05).watermarks("new")


def test_any_other_error_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader([KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.NOT_LEADER_FOR_PARTITION])

    with pytest.raises(BrokerUnavailable):
        admin_of(reader, monkeypatch).watermarks("new")
    assert len(reader.errors) == 1
