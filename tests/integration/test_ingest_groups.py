"""Members that come, go and wait, under both of Kafka's group protocols; more topics and partitions than one."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest
from confluent_kafka.admin import NewPartitions
from deltalake import DeltaTable

from tests.ingest_world import Running, World, reading_through, trip
from tests.services import wait_until
from thalweg.settings import Settings
from thalweg.streams.admin import TopicSpec
from thalweg.streams.clients import producer

pytestmark = pytest.mark.slow


@pytest.fixture(params=[("classic", "public"), ("consumer", "public"), ("classic", "bulk")], ids="-".join)
def worlds(settings: Settings, request: pytest.FixtureRequest) -> Iterator[Callable[..., World]]:
    """Makes worlds whose workers use one of the protocols and one of the sources, and closes them.

    KIP-848 over the bulk source has its turn in tests/contract/test_sources.py and tests/chaos/test_ingest_zombie.py.
    """
    protocol, source = request.param
    kafka = settings.kafka.model_copy(update={"group_protocol": protocol})
    chosen = reading_through(source, settings.model_copy(update={"kafka": kafka}))
    with ExitStack() as made:
        yield lambda **declared: made.enter_context(closing(World(chosen, **declared)))


def test_members_join_and_leave_under_load(worlds: Callable[..., World]) -> None:
    world = worlds(partitions=6)
    world.send_trips(range(600))
    first = Running(world.worker(commit_interval_s=0.1, block_rows=20))
    wait_until(lambda: bool(world.landings()), "a landing of the first member")
    second = Running(world.worker(commit_interval_s=0.1, block_rows=20))
    world.send_trips(range(600, 1200))
    wait_until(lambda: bool(second.worker.positions()), "partitions of the second member")
    third = Running(world.worker(commit_interval_s=0.1, block_rows=20))
    world.send_trips(range(1200, 1800))
    wait_until(lambda: bool(third.worker.positions()), "partitions of the third member")
    second.stop()
    world.send_trips(range(1800, 2400))
    first.stop()
    wait_until(lambda: len(world.ids()) == 2400, "all rows")
    third.stop()
    assert world.ids() == list(range(2400))
    world.check_accounts()


def test_a_run_until_caught_up_ends_though_another_member_has_every_partition(worlds: Callable[..., World]) -> None:
    world = worlds(partitions=1)
    world.send_trips(range(50))
    holder = Running(world.worker())
    wait_until(lambda: bool(world.landings()), "a landing")
    world.send_trips(range(50, 80))
    world.ingest()
    assert len(world.ids()) == 80
    assert holder.alive
    holder.stop()
    world.check_accounts()


def test_partitions_that_are_added_to_a_topic_are_landed(worlds: Callable[..., World]) -> None:
    world = worlds(partitions=1)
    world.send_trips(range(10))
    world.ingest()
    added = world.admin._client.create_partitions([NewPartitions(world.topic, 4)])
    added[world.topic].result()
    wait_until(lambda: world.admin.partitions(world.topic) == 4, "four partitions")
    world.send_trips(range(10, 50))
    world.ingest()
    assert world.ids() == list(range(50))
    world.check_accounts()


def test_two_topics_with_partitions_of_the_same_numbers_land_in_one_table(worlds: Callable[..., World]) -> None:
    prefix = worlds(name="first").settings.kafka.prefix
    world = worlds(name="both", topics=[f"{prefix}.first", f"{prefix}.second", f"{prefix}.third"], partitions=1)
    world.admin.create_topics([TopicSpec(f"{prefix}.{name}", 2) for name in ("second", "third")])
    workers = [Running(world.worker(commit_interval_s=0.1)) for _ in range(3)]
    client = producer(world.settings.kafka)
    for number in range(600):
        topic = world.dataset.topics[number % 3]
        value = b"bad" if number % 50 == 0 else world.value(trip(number))
        client.produce(topic, value, partition=number // 3 % 2)
    assert client.flush(30) == 0
    wait_until(
        lambda: sum(span.consumed for entry in world.landings() for span in entry.spans) == 600, "all records accounted"
    )
    for worker in workers:
        worker.stop()
    assert world.ids() == [number for number in range(600) if number % 50]
    ids = {topic: world.admin.topic_id(topic) for topic in world.dataset.topics}
    rows = DeltaTable(world.uri).to_pyarrow_table(columns=["id", "_topic_id", "_partition"]).to_pylist()
    for row in rows:
        assert row["_topic_id"] == ids[world.dataset.topics[row["id"] % 3]]
        assert row["_partition"] == row["id"] // 3 % 2
    assert {row["topic_id"] for row in world.rejected()} <= set(ids.values())
    reached: dict[tuple[str, int], int] = {}
    for entry in world.landings():
        for span in entry.spans:
            assert (span.topic_id, span.first) == (ids[span.topic], reached.get((span.topic, span.partition), 0))
            reached[span.topic, span.partition] = span.next
    assert sum(reached.values()) == 600
