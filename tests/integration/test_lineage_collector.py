"""The lineage service as a process: from the real topic into the store, whatever is in it and whatever dies."""

import json
import random
import socket
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import ConsumerGroupState, ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from lineage.store import Store
from tests.announcer_process import AnnouncerProcess
from tests.ingest_world import World, trip
from tests.services import Service, thalweg, wait_until
from tests.unit import lineage_story as told
from thalweg.clock import SystemClock
from thalweg.settings import Settings
from thalweg.streams.admin import Admin, TopicSpec
from thalweg.streams.clients import producer, topics

pytestmark = pytest.mark.slow


class Lineage:
    """A running `thalweg lineage serve`, and its API."""

    def __init__(self, settings: Settings, service: Service) -> None:
        self.settings = settings
        self.service = service
        self.url = ""

    def wait_for_url(self) -> None:
        def printed() -> bool:
            assert self.service.process.poll() is None, self.service.text()
            lines = [line for line in self.service.text().splitlines() if line.startswith("lineage page at ")]
            if lines:
                self.url = lines[-1].split()[3].rstrip("/")
            return bool(lines)

        wait_until(printed, "the service says where it is")

    def ask(self, path: str, **parameters: Any) -> Any:
        assert self.service.process.poll() is None, (self.service.process.returncode, self.service.text())
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=30)
        assert answer.status_code in (200, 404), answer.text
        return answer.json()

    def versions(self, dataset: str = "flights") -> list[int]:
        """Versions known, newest first."""
        return [each["number"] for each in self.ask(f"datasets/-/{dataset}/versions", limit=1000).get("versions", [])]


@contextmanager
def serving(settings: Settings, name: str = "lineage", **more: str) -> Iterator[Lineage]:
    log = Path(settings.home) / f"{name}-{uuid.uuid4().hex[:6]}.log"
    with Service(settings, "lineage", "serve", "--port", "0", log=log, **more) as service:
        running = Lineage(settings, service)
        running.wait_for_url()
        yield running


@pytest.fixture
def topic(settings: Settings) -> str:
    with Admin(settings.kafka) as admin:
        admin.ensure_own_topics()
    return topics(settings.kafka).lineage


def send(settings: Settings, topic: str, values: Iterable[bytes | None], *, commit: bool = True) -> None:
    """Send in one Kafka transaction, as the announcer does."""
    client = producer(settings.kafka, transactional_id=f"test-{uuid.uuid4()}")
    client.init_transactions(30)
    client.begin_transaction()
    for value in values:
        client.produce(topic, value, key=b"k")
        client.poll(0)
    client.flush(30)
    client.commit_transaction(30) if commit else client.abort_transaction(30)


def landings(first: int, last: int) -> list[bytes]:
    return [
        raw for version in range(first, last + 1) for raw in told.flights(told.landing(version, version, version + 1))
    ]


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_events_are_collected_and_aborted_ones_are_not(settings: Settings, topic: str, protocol: str) -> None:
    with serving(settings, THALWEG_KAFKA__GROUP_PROTOCOL=protocol) as lineage:
        send(settings, topic, landings(1, 3))
        send(settings, topic, landings(4, 9), commit=False)
        send(settings, topic, landings(10, 10))
        wait_until(lambda: lineage.versions() == [10, 3, 2, 1], "four versions are known")
        assert httpx.get(f"{lineage.url}/readyz").status_code == 200
        metrics = httpx.get(f"{lineage.url}/metrics").text
        assert 'thalweg_lineage_events_total{outcome="stored"} 8.0' in metrics


def test_a_killed_collector_takes_each_event_once(settings: Settings, topic: str) -> None:
    """Killed again and again while events flow; in the end the sums are those of one pass."""
    send(settings, topic, landings(1, 300))
    for last in range(320, 401, 20):
        with serving(settings) as lineage:
            send(settings, topic, landings(last - 19, last))
            time.sleep(random.random())  # anywhere: before it has joined, inside a transaction, after it
            lineage.service.kill()
    with serving(settings) as lineage:
        wait_until(lambda: len(lineage.versions()) == 400, "all versions are known")
        topic_told = lineage.ask("datasets/kafka%3A%2F%2Fkafka%3A9092/flights")
        assert topic_told["totals"] == {
            "partitions": 1,
            "offsets": 400,
            "landed": 400,
            "quarantined": 0,
            "filtered": 0,
        }
        jobs = {node["id"]: node for node in lineage.ask("lineage")["nodes"] if node["type"] == "job"}
        assert jobs[told.LANDING]["runs"] == 400


def test_bad_events_are_set_aside_and_stop_nobody(settings: Settings, topic: str) -> None:
    bad = [b"not json", None, b"[]", b'{"eventTime": "2024-01-01T00:00:00Z", "producer": "x", "job": {"namespace": 5}}']
    send(settings, topic, [*landings(1, 1), *bad, *landings(2, 2)])
    with serving(settings) as lineage:
        wait_until(lambda: lineage.versions() == [2, 1], "the good ones are known")
        refused = lineage.ask("refused")["refused"]
        assert len(refused) == 4
        assert any("job.namespace" in each["reason"] for each in refused)
    with serving(settings) as lineage:  # and they are not met again
        send(settings, topic, landings(3, 3))
        wait_until(lambda: lineage.versions() == [3, 2, 1], "the next one is known")
        assert len(lineage.ask("refused")["refused"]) == 4
        assert 'thalweg_lineage_events_total{outcome="refused"} 0.0' in httpx.get(f"{lineage.url}/metrics").text


def test_sigterm_ends_it_cleanly_and_gives_back_its_partitions(settings: Settings, topic: str) -> None:
    send(settings, topic, landings(1, 2))
    with serving(settings) as lineage:
        wait_until(lambda: lineage.versions() == [2, 1], "the events are known")
        assert lineage.service.stop() == 0, lineage.service.text()
        assert "Traceback" not in lineage.service.text()
    group = f"{topic}.collector"
    client = AdminClient({"bootstrap.servers": settings.kafka.bootstrap})
    described = client.describe_consumer_groups([group])[group].result()
    assert described.state == ConsumerGroupState.EMPTY


def test_group_offsets_are_noted_for_lag_tools(settings: Settings, topic: str) -> None:
    send(settings, topic, landings(1, 2))
    client = AdminClient({"bootstrap.servers": settings.kafka.bootstrap})

    def noted() -> int:
        asked = ConsumerGroupTopicPartitions(f"{topic}.collector", [TopicPartition(topic, 0)])
        (future,) = client.list_consumer_group_offsets([asked]).values()
        return int(future.result().topic_partitions[0].offset)

    with serving(settings):
        wait_until(lambda: noted() == 4, "the group stands behind the fourth event")


def test_a_second_collector_takes_over(settings: Settings, topic: str) -> None:
    send(settings, topic, landings(1, 2))
    with serving(settings, "first") as first, serving(settings, "second") as second:
        wait_until(lambda: second.versions() == [2, 1], "both see the same store")
        first.service.stop()
        send(settings, topic, landings(3, 3))
        wait_until(lambda: second.versions() == [3, 2, 1], "the second one goes on")


def test_a_topic_made_anew_is_read_from_its_beginning(settings: Settings, topic: str) -> None:
    send(settings, topic, landings(1, 4))
    with serving(settings) as lineage:
        wait_until(lambda: len(lineage.versions()) == 4, "the events are known")
    client = AdminClient({"bootstrap.servers": settings.kafka.bootstrap})
    client.delete_topics([topic])[topic].result()
    with Admin(settings.kafka) as admin:
        wait_until(lambda: bool(admin.create_topics([TopicSpec(topic, 1)])), "the topic is made anew")
    send(settings, topic, landings(5, 5))
    with serving(settings) as lineage:
        wait_until(lambda: lineage.versions() == [5, 4, 3, 2, 1], "the new topic is read from its beginning")


def test_a_topic_made_anew_under_a_running_collector_stops_it(settings: Settings, topic: str) -> None:
    send(settings, topic, landings(1, 4))
    with serving(settings) as lineage:
        wait_until(lambda: len(lineage.versions()) == 4, "the events are known")
        client = AdminClient({"bootstrap.servers": settings.kafka.bootstrap})
        client.delete_topics([topic])[topic].result()
        with Admin(settings.kafka) as admin:
            wait_until(lambda: bool(admin.create_topics([TopicSpec(topic, 1)])), "the topic is made anew")

        def stopped() -> bool:
            send(settings, topic, landings(5, 9))
            return lineage.service.process.poll() is not None

        wait_until(stopped, "the service ends")
        assert lineage.service.process.returncode == 5, lineage.service.text()
        assert "deleted and made again" in lineage.service.text()


def test_expired_events_are_told_and_the_rest_is_read(settings: Settings, topic: str) -> None:
    send(settings, topic, landings(1, 2))
    with serving(settings) as lineage:
        wait_until(lambda: lineage.versions() == [2, 1], "the events are known")
    send(settings, topic, landings(3, 4))
    end = end_of(settings, topic)
    client = AdminClient({"bootstrap.servers": settings.kafka.bootstrap})
    for future in client.delete_records([TopicPartition(topic, 0, end)]).values():
        future.result()
    send(settings, topic, landings(5, 5))
    with serving(settings) as lineage:
        wait_until(lambda: lineage.versions() == [5, 2, 1], "what is left is known")
        assert any("expired" in each["reason"] for each in lineage.ask("refused")["refused"])


def end_of(settings: Settings, topic: str) -> int:
    """The offset that the next record will get."""
    with Admin(settings.kafka) as admin:
        return admin.watermarks(topic)[0][1]


def test_a_taken_port_is_named(settings: Settings, topic: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        answer = thalweg(settings, "lineage", "serve", "--port", str(port))
    assert answer.returncode == 3
    assert f"127.0.0.1:{port}" in answer.stderr
    assert "THALWEG_HTTP__PORT" in answer.stderr


def test_a_broker_that_is_down_ends_it_with_what_to_do(settings: Settings) -> None:
    down = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"bootstrap": "127.0.0.1:1"})})
    answer = thalweg(down, "lineage", "serve", "--port", "0", THALWEG_KAFKA__REQUEST_TIMEOUT_S="3")
    assert answer.returncode == 3, answer.stderr
    assert "127.0.0.1:1" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_store_that_cannot_be_written_ends_it_with_what_to_do(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "notes.db").write_text("no database at all" * 100)
    answer = thalweg(
        settings, "lineage", "serve", "--port", "0", THALWEG_LINEAGE__STORE=f"sqlite:///{tmp_path}/notes.db"
    )
    assert answer.returncode == 3
    assert "notes.db" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_one_record_is_traced_the_whole_way(settings: Settings) -> None:
    """Produced, landed, announced, collected; asked for by offset, by version, and from the quarantine."""
    with closing(World(settings)) as world:
        world.send((world.value(trip(n, distance=-1.0) if n == 7 else trip(n)) for n in range(60)), partition=0)
        world.ingest()
        assert thalweg(settings, "apply", str(_declaration(world))).returncode == 0
        with AnnouncerProcess(settings), serving(settings) as lineage:
            wait_until(lambda: 1 in lineage.versions("trips.quarantine"), "the quarantine's version is known")
            newest = max(lineage.versions("trips"))
            up = lineage.ask("lineage", node="trips", version=newest, direction="upstream")
            (offsets,) = up["offsets"]
            assert (offsets["topic"], offsets["partition"]) == (world.topic, 0)
            assert (offsets["first"], offsets["next"]) == (0, 60)
            assert (offsets["landed"], offsets["quarantined"]) == (59, 1)
            held = lineage.ask("offsets", topic=world.topic, partition=0, offset=7)["holders"]
            assert [holder["known_as"] for holder in held] == ["trips"]
            down = lineage.ask("lineage", node="trips", version=held[0]["version"], direction="downstream")
            assert any(step["other_kind"] == "quarantine" for step in down["steps"])
            table = lineage.ask("datasets/-/trips")
            assert table["owner"] == "tests@example.com"
            assert {"id", "place", "distance", "at", "_offset"} <= {column["name"] for column in table["columns"]}
            assert table["column_lineage"]["date"]["inputFields"][0]["field"] == "at"
            shown = thalweg(settings, "lineage", "upstream", "trips.quarantine")
            assert shown.returncode == 0, shown.stderr
            assert world.topic in shown.stdout
            as_json = thalweg(settings, "lineage", "upstream", "trips", "--version", "newest", "--json")
            assert json.loads(as_json.stdout)["offsets"] == up["offsets"]


def _declaration(world: World) -> Path:
    path = Path(world.settings.home) / "trips.yaml"
    path.write_text(world.dataset.to_yaml())
    return path


def test_a_store_that_grew_elsewhere_is_read_as_it_is(settings: Settings, topic: str) -> None:
    """The command line reads the file while the service writes it."""
    send(settings, topic, landings(1, 50))
    with serving(settings) as lineage, Store(settings.lineage.store, SystemClock()) as store:
        wait_until(lambda: len(lineage.versions()) == 50, "the events are known")
        before = time.monotonic()
        send(settings, topic, landings(51, 150))
        while len(lineage.versions()) < 150:
            assert time.monotonic() - before < 60
            with store.reading() as connection:
                assert connection.exec_driver_sql("SELECT count(*) FROM spans").scalar_one() >= 50
