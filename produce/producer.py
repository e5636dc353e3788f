"""The library call: `thalweg.produce("flights", sample="flights")`, or with records of your own."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from produce import flights, own, shop
from produce.batches import Batch, Source
from produce.pace import Pace
from produce.poison import Poison, Poisoned
from produce.sending import Sender
from schemas.published import load_datasets
from schemas.registry import Registry
from thalweg.clock import Clock, SystemClock
from thalweg.errors import ConfigurationError, TopicNotFound
from thalweg.settings import Settings, load_settings
from thalweg.streams.admin import Admin, TopicSpec

Sample = Literal["flights", "shop"]
_SAMPLES: Mapping[Sample | None, Callable[[int | None, int], Source]] = {
    "flights": lambda count, _: flights.source(count),
    "shop": shop.source,
}


@dataclass(frozen=True, slots=True)
class Produced:
    """What reached the broker.

    `count`: good records; `bytes`: of their values; `partitions`: good records by partition; `poison`: the bad ones, by
    partition and offset; `seconds` from the first record to the last confirmation; `complete`: false when it was
    stopped before the end.
    """

    topic: str
    schema_id: int
    count: int
    bytes: int
    partitions: dict[int, int]
    poison: tuple[Poisoned, ...]
    seconds: float
    complete: bool


def produce(
    name: str,
    records: Iterable[Mapping[str, Any]] | Source | None = None,
    *,
    sample: Sample | None = None,
    count: int | None = None,
    schema: str | None = None,
    key: str | None = None,
    rate: float | None = None,
    poison: int = 0,
    seed: int = 0,
    partitions: int | None = None,
    settings: Settings | None = None,
    clock: Clock | None = None,
    stop: Callable[[], bool] = lambda: False,
    told: Callable[[int], None] = lambda delivered: None,
) -> Produced:
    """Send records to a topic, as Avro with Confluent's header, and return once the broker has confirmed all of them.

    `name` is a topic, or a dataset with one topic. A topic that does not exist is made if `partitions` is given.

    Either a `sample`: `count` of "flights" (real; all 336,776 if None) or of "shop" (seeded; 100,000 if None). Or
    `records`: dicts, with their Avro `schema` as JSON text (if None, the newest of subject `<topic>-value`) and the field
    that is their `key`; or a Source, such as `produce.shop.source(count, dates=…)`. The schema is registered as
    `<topic>-value`.

    `rate` is records per second; None means as fast as it goes. `poison` bad records are mixed in, of every kind that
    the schema allows, where `seed` says; the result tells their places. `stop` is asked, and `told` hears how many good
    records the broker has, after each slice of at most 1,000. Record timestamps are of now.

    Raises ConfigurationError, TopicNotFound, BrokerUnavailable, RegistryUnavailable. Whatever ends it early, what was
    queued before has been sent.
    """
    if (records is None) != (sample in _SAMPLES):
        raise ConfigurationError("what to produce is not clear", "give either records, or sample='flights' or 'shop'")
    if poison < 0 or seed < 0 or (rate is not None and rate <= 0):
        raise ConfigurationError(
            f"rate {rate}, poison {poison}, seed {seed}", "a rate is above 0; poison and seed are not below 0"
        )
    settings = settings or load_settings()
    clock = clock or SystemClock()
    topic = _topic(settings, name, partitions)
    subject = f"{topic}-value"
    with Registry(settings.registry) as registry:
        if records is None:
            source = _SAMPLES[sample](count, seed)
        elif isinstance(records, Source):
            source = records
        else:
            source = own.source(records, schema or registry.latest(subject).schema, key)
        mixer = _Mixer(source, poison, seed)
        schema_id = registry.register(subject, source.schema)
    started_s = clock.monotonic_s()
    sender = Sender(settings.kafka, topic, clock)
    try:
        complete = _send(source.encoded(schema_id), sender, Pace(rate, clock), mixer, stop, told)
    finally:
        sender.finish(told)
    sender.check()
    return Produced(
        topic,
        schema_id,
        sender.taken,
        sender.bytes,
        dict(sorted(sender.partitions.items())),
        tuple(sorted(sender.poison, key=lambda one: (one.partition, one.offset))),
        clock.monotonic_s() - started_s,
        complete,
    )


class _Mixer:
    """Puts bad records between good ones, at places drawn beforehand."""

    def __init__(self, source: Source, bad: int, seed: int) -> None:
        self._places: list[int] = []
        self._seen = 0
        if not bad:
            return
        if source.count is None:
            raise ConfigurationError(
                "nobody knows how many records there are, so there is no drawing places for the bad ones",
                "give the records as a list",
            )
        self._poison = Poison(source.schema, seed, source.broken)
        self._places = self._poison.positions(bad, source.count)[::-1]

    def queue(self, sender: Sender, keys: Sequence[bytes | None], values: Sequence[bytes]) -> None:
        """Queue the next good records, and the bad ones that go between them; each of those spoils the good one after it."""
        done = 0
        while self._places and (place := self._places[-1] - self._seen) < len(values):
            self._places.pop()
            sender.queue(keys[done:place], values[done:place])
            kind, spoiled = self._poison.spoil(values[place])
            sender.queue_bad(keys[place], spoiled, kind)
            done = place
        sender.queue(keys[done:], values[done:])
        self._seen += len(values)


def _send(
    batches: Iterable[Batch],
    sender: Sender,
    pace: Pace,
    mixer: _Mixer,
    stop: Callable[[], bool],
    told: Callable[[int], None],
) -> bool:
    """Queue slice by slice. Returns whether all went out; the broker's first refusal ends it too."""
    for batch in batches:
        start = 0
        while start < len(batch.values):
            if stop() or sender.failed:
                return False
            end = start + pace.allow(len(batch.values) - start)
            mixer.queue(sender, batch.keys[start:end], batch.values[start:end])
            told(sender.taken)
            start = end
    return True


def _topic(settings: Settings, name: str, partitions: int | None) -> str:
    """Return the topic that is meant, made if there is none and it may be made."""
    with Admin(settings.kafka) as admin:
        topic = _named(settings, admin, name)
        try:
            there = admin.partitions(topic)
        except TopicNotFound as missing:
            if partitions is None:
                raise TopicNotFound(
                    missing.message, "say how many partitions to make it with (--partitions 4), or mend the name"
                ) from missing
            admin.create_topics([TopicSpec(topic, partitions)])
            return topic
    if partitions not in (None, there):
        raise ConfigurationError(
            f"topic {topic} has {there} partitions, and {partitions} were asked for",
            "leave the number of partitions out, or name another topic",
        )
    return topic


def _named(settings: Settings, admin: Admin, name: str) -> str:
    """Return the one topic that the dataset of this name reads, where there is no topic of this name."""
    try:
        admin.partitions(name)
    except TopicNotFound:
        dataset = load_datasets(settings).get(name)
        if dataset is not None and len(dataset.topics) == 1:
            return dataset.topics[0]
    return name
