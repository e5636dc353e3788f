"""Subscribing to versions: an iterator over `<prefix>.versions`, for people's programs and for `thalweg versions`."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from types import TracebackType
from typing import Literal, Self

from schemas.events import EventCodec, VersionCommitted
from schemas.registry import Registry
from thalweg.errors import ConfigurationError, TopicNotFound
from thalweg.settings import Settings, load_settings
from thalweg.streams.clients import topics
from thalweg.streams.feed import Feed, Start

Since = Literal["earliest", "latest"] | int | datetime | None


def subscribe(
    dataset: str | None = None,
    *,
    since: Since = None,
    group: str | None = None,
    follow: bool = True,
    settings: Settings | None = None,
) -> "Subscription":
    """Iterate over the versions of a dataset (of all datasets when None), in the order of the table's log.

    `since`: "earliest", "latest" (only what comes from now on), a version number (that one and later ones), or a time
    with a zone (versions committed then or later). None means where `group` stopped, and the earliest for a group's
    first time; without a group it means "latest".

    `group`: remembers the position under this name in Kafka. A version counts as handled when the next one is asked for,
    so after a crash the last one comes again: deduplicate by `event_id`. A group's remembered position goes before `since`.
    Processes of one group share out the datasets.

    `follow` False ends the iteration at what is announced by now.

        with subscribe("flights", group="reports") as versions:
            for version in versions:
                print(version.version, version.dates)

    Raises ConfigurationError, BrokerUnavailable, TopicNotFound when nothing was ever announced, RegistryUnavailable.
    """
    return Subscription(settings or load_settings(), dataset, since, group, follow)


class Subscription(Iterator[VersionCommitted], AsyncIterator[VersionCommitted]):
    """An open subscription; close it, or use it in a `with`. Iterate over it in one thread, or in one task."""

    def __init__(self, settings: Settings, dataset: str | None, since: Since, group: str | None, follow: bool) -> None:
        if isinstance(since, str) and since not in ("earliest", "latest"):
            raise ConfigurationError(
                f"since={since!r} is neither 'earliest' nor 'latest'", "or give a version or a time"
            )
        if isinstance(since, datetime) and since.tzinfo is None:
            raise ConfigurationError(f"since={since!r} has no time zone", "say datetime(…, tzinfo=UTC)")
        if isinstance(since, int) and dataset is None:
            raise ConfigurationError(f"since={since} is a version number, but of which dataset?", "name the dataset")
        self._dataset = dataset
        self._since = since
        self._registry = Registry(settings.registry)
        topic = topics(settings.kafka).versions
        self._codec = EventCodec(self._registry, topic)
        key = None if dataset is None else dataset.encode()
        try:
            self._feed = Feed(settings.kafka, topic, start=_start(since, group), group=group, key=key, follow=follow)
        except TopicNotFound as error:
            self._registry.close()
            raise TopicNotFound(
                f"there is no topic {topic}: nothing was ever announced on {settings.kafka.bootstrap}",
                "declare a dataset (thalweg apply) and start thalweg announce, or mend THALWEG_KAFKA__PREFIX",
            ) from error

    def __next__(self) -> VersionCommitted:
        while True:
            event = self._codec.decode(next(self._feed).value)
            if self._is_wanted(event):
                return event

    async def __anext__(self) -> VersionCommitted:
        event = await asyncio.to_thread(next, self, None)
        if event is None:
            raise StopAsyncIteration
        return event

    def close(self) -> None:
        """Remember the position, if there is a group, and let go. An iteration in another thread ends."""
        self._feed.close()
        self._registry.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    def _is_wanted(self, event: VersionCommitted) -> bool:
        if isinstance(self._since, int):
            return event.version >= self._since
        if isinstance(self._since, datetime):
            return event.committed_at >= self._since
        return True


def _start(since: Since, group: str | None) -> Start:
    """Where reading the topic begins. An event is written after its commit, so no version of a time or later is earlier."""
    if since is None:
        return "latest" if group is None else "earliest"
    if isinstance(since, int):
        return "earliest"
    return since
