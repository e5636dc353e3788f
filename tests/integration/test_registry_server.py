"""The embedded registry as a process on a real broker: its memory, its end, its complaints."""

import json
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from schemas.registry import Registry
from tests.services import Service, thalweg
from thalweg.settings import KafkaSettings, RegistrySettings, Settings
from thalweg.stack import ports
from thalweg.stack.kafka import LocalKafka

pytestmark = pytest.mark.slow

FLIGHT = json.dumps(
    {
        "type": "record",
        "name": "Flight",
        "fields": [{"name": "carrier", "type": "string"}, {"name": "delay", "type": "int"}],
    }
)
OTHER = json.dumps({"type": "record", "name": "Flight", "fields": [{"name": "carrier", "type": "string"}]})
START_S = 60.0  # 1 s on a quiet machine


class Server:
    """`thalweg registry serve` on a topic of its own, to be stopped, killed and started again on the same port."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self.settings = settings
        self.log = log
        self.topic = f"_schemas.{uuid.uuid4().hex[:10]}"
        self.port = ports.pick(None)
        self.url = f"http://127.0.0.1:{self.port}"
        self._service: Service | None = None

    def start(self) -> None:
        arguments = ("registry", "serve", "--port", str(self.port), "--topic", self.topic)
        self._service = Service(self.settings, *arguments, log=self.log)
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            assert self._service.process.poll() is None, self.log.read_text()
            try:
                if httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.05)
        pytest.fail(self.log.read_text())

    @property
    def service(self) -> Service:
        assert self._service is not None
        return self._service

    def stop(self) -> int:
        code = self.service.stop()
        self.kill()
        return code

    def kill(self) -> None:
        """End the process if it runs, and close its log."""
        if self._service is not None:
            self._service.__exit__(None, None, None)

    def get(self, path: str) -> object:
        return httpx.get(f"{self.url}{path}", timeout=30).json()


def create_topic(bootstrap: str, name: str, partitions: int = 1) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})  # let go, it would drop the request
    admin.create_topics([NewTopic(name, partitions, 1)])[name].result()


@pytest.fixture
def own(broker: str, tmp_path: Path) -> Settings:
    """Settings without the session's registry."""
    prefix = f"t{uuid.uuid4().hex[:10]}"
    return Settings(home=tmp_path, kafka=KafkaSettings(bootstrap=broker, prefix=prefix, request_timeout_s=10))


@pytest.fixture
def server(own: Settings, tmp_path: Path) -> Iterator[Server]:
    server = Server(own, tmp_path / "registry.log")
    server.start()
    yield server
    server.kill()


def test_a_stopped_and_a_killed_registry_come_back_with_all_that_they_answered(server: Server) -> None:
    with Registry(RegistrySettings(url=server.url)) as client:
        first, second = client.register("a", FLIGHT), client.register("b", OTHER)
        assert httpx.put(f"{server.url}/config/a", json={"compatibility": "FULL"}).status_code == 200
        assert httpx.delete(f"{server.url}/subjects/b").status_code == 200
        assert httpx.delete(f"{server.url}/subjects/b?permanent=true").status_code == 200
    paths = ("/subjects?deleted=true", "/schemas?deleted=true", "/config/a", f"/schemas/ids/{first}", "/config")
    before = [server.get(path) for path in paths]
    assert server.stop() == 0, server.log.read_text()
    for _ in range(2):
        server.start()
        assert [server.get(path) for path in paths] == before
        server.kill()
    server.start()
    with Registry(RegistrySettings(url=server.url)) as client:
        assert client.register("a", FLIGHT) == first
        assert client.register("c", OTHER) == second + 1, "an id that was given is never given again"


def test_stock_producers_and_consumers_work_across_a_restart_of_the_registry(broker: str, server: Server) -> None:
    """Plain confluent-kafka on both sides: a real topic, the Avro serializer, the Avro deserializer."""
    topic = f"flights.{uuid.uuid4().hex[:10]}"
    create_topic(broker, topic)
    where = SerializationContext(topic, MessageField.VALUE)
    sent = [{"carrier": "UA", "delay": delay} for delay in range(20)]
    producer = Producer({"bootstrap.servers": broker})
    with SchemaRegistryClient({"url": server.url}) as client:
        serializer = AvroSerializer(client, FLIGHT)
        for event in sent[:10]:
            producer.produce(topic, serializer(event, where))
        assert server.stop() == 0
        server.start()
        for event in sent[10:]:
            producer.produce(topic, serializer(event, where))
    assert producer.flush(30) == 0

    consumer = Consumer({"bootstrap.servers": broker, "group.id": topic, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    try:
        messages = [message for _ in sent if (message := consumer.poll(30)) is not None]
    finally:
        consumer.close()
    values = [message.value() for message in messages]
    assert len({value[:5] for value in values if value is not None}) == 1
    with SchemaRegistryClient({"url": server.url}) as fresh:
        deserializer = AvroDeserializer(fresh)
        assert [deserializer(value, where) for value in values] == sent


def test_the_topic_is_compacted_and_has_one_partition(broker: str, server: Server) -> None:
    admin = AdminClient({"bootstrap.servers": broker})
    resource = ConfigResource(ConfigResource.Type.TOPIC, server.topic)
    config = admin.describe_configs([resource])[resource].result()
    assert config["cleanup.policy"].value == "compact"
    assert len(admin.list_topics(server.topic).topics[server.topic].partitions) == 1


def test_a_request_under_way_is_answered_before_the_end(server: Server) -> None:
    """The body arrives after SIGTERM: the connection was accepted, so it is served."""
    body = json.dumps({"schema": FLIGHT}).encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        head = f"POST /subjects/late/versions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body[:5])
        time.sleep(0.2)
        server.service.process.terminate()
        time.sleep(0.2)
        connection.sendall(body[5:])
        assert b"200 OK" in connection.recv(65536)
    assert server.service.process.wait(30) == 0, server.log.read_text()


def test_a_second_registry_on_the_topic_ends_the_firsts_writing_loudly(server: Server, tmp_path: Path) -> None:
    second = Server(server.settings, tmp_path / "second.log")
    second.topic = server.topic
    second.start()
    try:
        with Registry(RegistrySettings(url=second.url)) as client:
            schema_id = client.register("a", FLIGHT)
        answer = httpx.post(f"{server.url}/subjects/b/versions", json={"schema": OTHER}, timeout=30)
        assert (answer.status_code, answer.json()["error_code"]) == (500, 50001)
        assert "another registry" in answer.json()["message"]
        assert httpx.get(f"{server.url}/readyz").status_code == 503
        assert httpx.get(f"{server.url}/schemas/ids/{schema_id}").status_code == 200
    finally:
        second.kill()


def test_without_a_broker_reading_goes_on_and_writing_comes_back_with_it(
    kafkas: Callable[[str], LocalKafka], tmp_path: Path
) -> None:
    kafka = kafkas("registry")
    settings = Settings(home=tmp_path, kafka=KafkaSettings(bootstrap=kafka.start(), request_timeout_s=10))
    server = Server(settings, tmp_path / "registry.log")
    server.start()
    try:
        with Registry(RegistrySettings(url=server.url)) as client:
            schema_id = client.register("a", FLIGHT)
        kafka.kill()
        answer = httpx.post(f"{server.url}/subjects/b/versions", json={"schema": OTHER}, timeout=30)
        assert (answer.status_code, answer.json()["error_code"]) == (500, 50001)
        assert httpx.get(f"{server.url}/readyz").status_code == 503
        assert httpx.get(f"{server.url}/livez").status_code == 200
        assert httpx.get(f"{server.url}/schemas/ids/{schema_id}").status_code == 200
        kafka.start()
        with Registry(RegistrySettings(url=server.url, retries=20, timeout_s=20)) as client:
            assert client.register("b", OTHER) == schema_id + 1
        assert httpx.get(f"{server.url}/readyz").status_code == 200
        assert server.stop() == 0
    finally:
        server.kill()


def test_a_taken_port_is_named(server: Server) -> None:
    run = thalweg(server.settings, "registry", "serve", "--port", str(server.port))
    assert run.returncode == 3
    assert f"127.0.0.1:{server.port}" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_broker_that_is_not_there_is_named(tmp_path: Path) -> None:
    nobody = f"127.0.0.1:{ports.pick(None)}"
    settings = Settings(home=tmp_path, kafka=KafkaSettings(bootstrap=nobody))
    run = thalweg(settings, "registry", "serve", "--port", "0", THALWEG_KAFKA__REQUEST_TIMEOUT_S="2")
    assert run.returncode == 3
    assert nobody in run.stderr
    assert "Traceback" not in run.stderr


def test_a_topic_that_is_no_registrys_is_refused(own: Settings, broker: str) -> None:
    topic = f"other.{uuid.uuid4().hex[:10]}"
    create_topic(broker, topic)
    producer = Producer({"bootstrap.servers": broker})
    producer.produce(topic, b"an order", key=b"key")
    assert producer.flush(30) == 0
    run = thalweg(own, "registry", "serve", "--port", "0", "--topic", topic)
    assert run.returncode == 2
    assert f"{topic} holds no registry's record at offset 0" in run.stderr


def test_a_topic_of_several_partitions_is_refused(own: Settings, broker: str) -> None:
    topic = f"wide.{uuid.uuid4().hex[:10]}"
    create_topic(broker, topic, partitions=3)
    run = thalweg(own, "registry", "serve", "--port", "0", "--topic", topic)
    assert run.returncode == 2
    assert f"{topic} has 3 partitions" in run.stderr
