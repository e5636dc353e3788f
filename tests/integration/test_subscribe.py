"""Subscribing to versions on a real broker."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from schemas.events import EventCodec, VersionCommitted, from_log_entry
from schemas.registry import Registry
from tests.announcer_process import eventually
from tests.announcer_world import entry
from thalweg.errors import ConfigurationError, TopicNotFound
from thalweg.settings import Settings
from thalweg.streams.admin import Admin
from thalweg.streams.clients import topics
from thalweg.streams.transactions import Message, TransactionalWriter
from versions.subscribe import subscribe

pytestmark = pytest.mark.slow

T0 = datetime(2013, 1, 1, 5, tzinfo=UTC)
Announce = Callable[..., None]


@pytest.fixture
def announce(settings: Settings) -> Iterator[Announce]:
    """Announces versions of a dataset, each committed `minutes` after T0 as its number says."""
    with Admin(settings.kafka) as admin:
        admin.ensure_own_topics()
    topic = topics(settings.kafka).versions
    with (
        Registry(settings.registry) as registry,
        TransactionalWriter(settings.kafka, f"{settings.kafka.prefix}.x") as writer,
    ):
        codec = EventCodec(registry, topic)
        writer.start()

        def announce(dataset: str, *versions: int) -> None:
            writer.write([Message(topic, dataset.encode(), codec.encode(event(dataset, v))) for v in versions])

        yield announce


def event(dataset: str, version: int) -> VersionCommitted:
    """A version that was committed `version` minutes after T0."""
    committed_ms = int((T0 + timedelta(minutes=version)).timestamp() * 1000) - version
    return from_log_entry(
        entry(version, timestamp_ms=committed_ms),
        dataset=dataset,
        uri=f"/t/{dataset}",
        table_id="i",
        schema_before="",
        partition_column="date",
    )


def numbers(settings: Settings, dataset: str | None, **how: object) -> list[tuple[str, int]]:
    """What a subscription that ends now gives."""
    with subscribe(dataset, follow=False, settings=settings, **how) as versions:  # type: ignore[arg-type]
        return [(v.dataset, v.version) for v in versions]


def test_one_dataset_comes_alone_and_in_order(settings: Settings, announce: Announce) -> None:
    for version in range(5):
        announce("flights", version)
        announce("weather", version)
    assert numbers(settings, "flights", since="earliest") == [("flights", v) for v in range(5)]
    assert sorted(numbers(settings, None, since="earliest")) == sorted(
        (name, v) for name in ("flights", "weather") for v in range(5)
    )


def test_since_a_version_or_a_time_or_the_end(settings: Settings, announce: Announce) -> None:
    announce("flights", *range(5))
    assert numbers(settings, "flights", since=3) == [("flights", 3), ("flights", 4)]
    assert numbers(settings, "flights", since=T0 + timedelta(minutes=4)) == [("flights", 4)]
    assert numbers(settings, "flights", since=datetime(2100, 1, 1, tzinfo=UTC)) == []
    assert numbers(settings, "flights", since="latest") == []


def test_without_a_group_only_what_is_new_comes_live(settings: Settings, announce: Announce) -> None:
    announce("flights", 0)
    with subscribe("flights", settings=settings) as versions:
        seen: list[int] = []
        reader = threading.Thread(target=lambda: seen.extend(v.version for v in versions))
        reader.start()
        announce("flights", 1)
        announce("flights", 2)
        eventually(lambda: len(seen) == 2)
        versions.close()  # ends the iteration of the other thread
        reader.join(10)
    assert seen == [1, 2]


def test_a_group_goes_on_where_it_stopped_and_repeats_what_was_in_hand(settings: Settings, announce: Announce) -> None:
    announce("flights", *range(4))
    group = f"{settings.kafka.prefix}.reports"
    with subscribe("flights", group=group, settings=settings) as versions:
        assert [next(versions).version, next(versions).version, next(versions).version] == [0, 1, 2]
    assert numbers(settings, "flights", group=group) == [("flights", 2), ("flights", 3)]
    assert numbers(settings, "flights", group=group) == []
    announce("flights", 4)
    assert numbers(settings, "flights", group=group, since="latest") == [("flights", 4)]


def test_latest_of_a_group_is_the_moment_it_first_came(settings: Settings, announce: Announce) -> None:
    """It came, nothing happened, it went; what was announced while it was away is not skipped."""
    announce("flights", 0)
    group = f"{settings.kafka.prefix}.reports"
    assert numbers(settings, "flights", group=group, since="latest") == []
    announce("flights", 1)
    assert numbers(settings, "flights", group=group, since="latest") == [("flights", 1)]


def test_what_a_transaction_has_not_committed_is_not_told(settings: Settings, announce: Announce) -> None:
    announce("flights", 0)
    topic = topics(settings.kafka).versions
    from thalweg.streams.clients import producer

    open_one = producer(settings.kafka, transactional_id=f"{settings.kafka.prefix}.y")
    open_one.init_transactions(10)
    open_one.begin_transaction()
    open_one.produce(topic, key=b"flights", value=b"not yet")
    open_one.flush(10)
    assert numbers(settings, "flights", since="earliest") == [("flights", 0)]
    open_one.abort_transaction(10)
    announce("flights", 1)
    assert numbers(settings, "flights", since="earliest") == [("flights", 0), ("flights", 1)]


def test_it_is_an_async_iterator_too(settings: Settings, announce: Announce) -> None:
    announce("flights", *range(3))

    async def read() -> list[int]:
        async with subscribe("flights", since="earliest", follow=False, settings=settings) as versions:
            return [v.version async for v in versions]

    assert asyncio.run(read()) == [0, 1, 2]


def test_a_topic_that_is_not_there_says_what_to_start(settings: Settings) -> None:
    with pytest.raises(TopicNotFound, match="thalweg announce"):
        subscribe("flights", settings=settings)


@pytest.mark.parametrize(("dataset", "since"), [("flights", datetime(2013, 1, 1)), (None, 3), ("flights", "yesterday")])
def test_a_start_that_means_nothing_is_refused(settings: Settings, dataset: str | None, since: object) -> None:
    with pytest.raises(ConfigurationError, match="since="):
        subscribe(dataset, since=since, settings=settings)  # type: ignore[arg-type]
