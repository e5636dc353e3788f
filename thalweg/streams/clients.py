"""Consumers and producers, made in one place, and the names of our own topics."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from thalweg.errors import BrokerUnavailable, ConfigurationError, ThalwegError, TopicNotFound
from thalweg.settings import KafkaSettings

_LOG = logging.getLogger("thalweg.streams")

# Error codes that mean "nobody answers", as librdkafka reports them.
_UNREACHABLE = {
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._TIMED_OUT,
    KafkaError._MSG_TIMED_OUT,
    KafkaError._RESOLVE,
    KafkaError.NETWORK_EXCEPTION,
}
_UNKNOWN_TOPIC = {KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART}


@dataclass(frozen=True, slots=True)
class Topics:
    """Names of our own topics."""

    datasets: str
    versions: str
    lineage: str
    announced: str


COOPERATIVE = "cooperative-sticky"

# A broker that stays away is complained about this often.
LOG_AGAIN_S = 30.0

# Partitions of `datasets` and `announced`: the leases of announcers and compactors. Frozen: adding some would move keys.
LEASE_PARTITIONS = 12


def topics(kafka: KafkaSettings) -> Topics:
    """Our topics under the prefix that is set."""
    p = kafka.prefix
    return Topics(f"{p}.datasets", f"{p}.versions", f"{p}.lineage", f"{p}.announced")


def bootstrap(kafka: KafkaSettings) -> str:
    """The bootstrap servers. Raises ConfigurationError when none are set and no local stack runs."""
    if not kafka.bootstrap:
        raise ConfigurationError(
            "no Kafka broker is set and no local stack runs",
            "thalweg stack up starts one, or set THALWEG_KAFKA__BOOTSTRAP=host:port",
        )
    return kafka.bootstrap


def consumer(kafka: KafkaSettings, group: str, **properties: Any) -> Consumer:
    """A consumer that reads committed records only and never commits by itself: see `consumer_properties`."""
    return Consumer(consumer_properties(kafka, group, **properties))


def consumer_properties(kafka: KafkaSettings, group: str, **properties: Any) -> dict[str, Any]:
    """What every consumer of ours is made with, through whichever of librdkafka's interfaces.

    `properties` are librdkafka's, with `_` for `.`. Offsets are never reset silently: without a stored position the
    caller assigns one. Under KIP-848 the assignor and session settings are the broker's. A token refresh in Python cannot be
    set; librdkafka's own (`sasl.oauthbearer.method=oidc`) is made of properties.
    """
    grouped: dict[str, Any] = (
        {"group.protocol": "consumer"}
        if kafka.group_protocol == "consumer"
        else {
            "partition.assignment.strategy": COOPERATIVE,
            # Heartbeats come from a thread of librdkafka's own: a short timeout costs nothing, and a worker that was
            # killed leaves its partitions waiting for as long.
            "session.timeout.ms": round(kafka.session_timeout_s * 1000),
            "heartbeat.interval.ms": round(kafka.session_timeout_s * 1000 / 4),
        }
    )
    return {
        **_client(kafka),
        **grouped,
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        # The default of 1000 stalls the fetcher whenever the queue was full for a moment.
        "fetch.queue.backoff.ms": 5,
        "fetch.wait.max.ms": 50,
        "topic.metadata.refresh.interval.ms": 30_000,
        **_dotted(properties),
    }


def assignor(kafka: KafkaSettings) -> str | None:
    """How a group that takes any assignor shares out partitions: as `kafka.properties` say, or cooperatively.

    None under KIP-848, where the broker does it. With any other assignor than the cooperative one each move of the group
    takes all partitions from all members and gives them anew.
    """
    if kafka.group_protocol == "consumer":
        return None
    told = kafka.properties.get("partition.assignment.strategy")
    return told.get_secret_value() if told else COOPERATIVE


def producer(kafka: KafkaSettings, **properties: Any) -> Producer:
    """An idempotent producer that spreads keys as Java's does. `properties` are librdkafka's, with `_` for `.`."""
    return Producer(
        {
            **_client(kafka),
            "enable.idempotence": True,
            "acks": "all",
            # librdkafka's default differs from Java's: the same key must meet the same partition whoever produces.
            "partitioner": "murmur2_random",
            "linger.ms": 5,
            **_dotted(properties),
        }
    )


def kafka_error(error: KafkaError | KafkaException, doing: str, kafka: KafkaSettings) -> ThalwegError:
    """Map one of librdkafka's errors to ours. `doing` completes "while …"."""
    code = error.args[0] if isinstance(error, KafkaException) else error
    if code.code() in _UNREACHABLE:
        return BrokerUnavailable(
            f"no Kafka broker answers at {kafka.bootstrap} while {doing}: {code.str()}",
            "check that the broker runs (thalweg stack status) and that THALWEG_KAFKA__BOOTSTRAP is right",
        )
    if code.code() in _UNKNOWN_TOPIC:
        return TopicNotFound(
            f"a topic does not exist while {doing}: {code.str()}", "create the topic, or mend the dataset's `topics`"
        )
    return BrokerUnavailable(f"Kafka refused while {doing}: {code.name()}: {code.str()}", "see the broker's log")


def _client(kafka: KafkaSettings) -> dict[str, Any]:
    return {
        "bootstrap.servers": bootstrap(kafka),
        "client.id": "thalweg",
        "error_cb": _logged("broker connection"),
        # librdkafka writes its own log to stderr, many lines a second while a broker is away; errors come by the callback.
        "log_level": 2,
        **{name: value.get_secret_value() for name, value in kafka.properties.items()},
    }


def _dotted(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        name.replace("_", ".") if name not in ("on_commit", "error_cb", "stats_cb") else name: v
        for name, v in properties.items()
    }


def _logged(what: str) -> Callable[[KafkaError], None]:
    """Log each kind of error when it comes and, while it goes on, every LOG_AGAIN_S."""
    last_s: dict[int, float] = {}

    def on_error(error: KafkaError) -> None:
        now_s = time.monotonic()
        if now_s - last_s.get(error.code(), -LOG_AGAIN_S) >= LOG_AGAIN_S:
            last_s[error.code()] = now_s
            _LOG.warning("%s: %s: %s", what, error.name(), error.str())

    return on_error
