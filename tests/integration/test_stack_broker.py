"""The local broker: a real Kafka, its crashes, and what is left behind."""

import socket
import uuid
from collections.abc import Callable

import psutil
import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from thalweg.stack.kafka import LocalKafka

pytestmark = pytest.mark.slow


def send_one(bootstrap: str, topic: str, value: bytes) -> None:
    """Make a topic of one partition and put one record there."""
    admin = AdminClient({"bootstrap.servers": bootstrap})  # let go, it would drop the request
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result()
    producer = Producer({"bootstrap.servers": bootstrap})
    producer.produce(topic, value)
    assert producer.flush(30) == 0


def read_one(bootstrap: str, topic: str) -> bytes | None:
    """Return the value of the first record, as the member of a new group reads it."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    try:
        message = consumer.poll(30)
        return None if message is None else message.value()
    finally:
        consumer.close()


def test_a_record_goes_through_the_sessions_broker(broker: str) -> None:
    send_one(broker, "stack-one-record", b"through")

    assert read_one(broker, "stack-one-record") == b"through"


def test_a_killed_broker_starts_again_on_its_port_with_its_records(kafkas: Callable[[str], LocalKafka]) -> None:
    kafka = kafkas("crash")
    bootstrap = kafka.start()
    send_one(bootstrap, "kept", b"before the crash")

    kafka.kill()
    assert not kafka.serves()

    assert kafka.start() == bootstrap
    assert read_one(bootstrap, "kept") == b"before the crash"


def test_a_stopped_broker_leaves_no_process_and_no_open_port(kafkas: Callable[[str], LocalKafka]) -> None:
    kafka = kafkas("stop")
    port = int(kafka.start().split(":")[1])
    assert kafka.record is not None
    pid = kafka.record.pid

    assert kafka.stop()

    assert not psutil.pid_exists(pid)
    assert kafka.record is None
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", port)) != 0
