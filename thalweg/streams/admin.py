"""Asking the broker about topics, and creating ours."""

import base64
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from thalweg.errors import BrokerUnavailable, ConfigurationError, TopicNotFound
from thalweg.settings import KafkaSettings
from thalweg.streams.clients import LEASE_PARTITIONS, _client, kafka_error, topics

# An offset on the wire that stands for "the end", as the Kafka protocol has it.
_EARLIEST, _LATEST = -2, -1

_LEADER_NOT_READY = {KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE}
_LEADER_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic that we create."""

    name: str
    partitions: int
    config: Mapping[str, str] = field(default_factory=dict)


class Admin:
    """Questions to the broker. Each call is bounded by `request_timeout_s`.

    Raises BrokerUnavailable when nobody answers and TopicNotFound for a topic that is not there.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._timeout_s = kafka.request_timeout_s
        self._client = AdminClient(_client(kafka))
        self._watermark_reader: Consumer | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        if self._watermark_reader is not None:
            self._watermark_reader.close()
            self._watermark_reader = None

    def ping(self) -> str:
        """Return the cluster's id. Raises BrokerUnavailable when nobody answers."""
        try:
            return str(self._client.describe_cluster(request_timeout=self._timeout_s).result().cluster_id)
        except KafkaException as error:
            raise kafka_error(error, "asking for the cluster", self._kafka) from error

    def topic_ids(self, names: Sequence[str]) -> dict[str, str]:
        """Topic ids, as base64url of their 16 bytes without padding: librdkafka prints the standard alphabet's "+" and "/"."""
        described = self._client.describe_topics(TopicCollection(list(names)), request_timeout=self._timeout_s)
        found = {}
        for name, future in described.items():
            try:
                topic = future.result()
            except KafkaException as error:
                raise self._topic_error(name, error) from error
            found[name] = encode_topic_id(topic.topic_id)
        return found

    def topic_id(self, name: str) -> str:
        """Topic id of one topic."""
        return self.topic_ids([name])[name]

    def partitions(self, name: str) -> int:
        """How many partitions a topic has."""
        try:
            topic = self._client.describe_topics(TopicCollection([name]), request_timeout=self._timeout_s)[
                name
            ].result()
        except KafkaException as error:
            raise self._topic_error(name, error) from error
        return len(topic.partitions)

    def watermarks(self, name: str, partitions: Iterable[int] | None = None) -> dict[int, tuple[int, int]]:
        """For each partition (all when None): the first offset still there, and the offset that the next record will get."""
        if self._watermark_reader is None:
            self._watermark_reader = Consumer(
                {**_client(self._kafka), "group.id": f"{self._kafka.prefix}.watermarks", "enable.auto.commit": False}
            )
        asked = range(self.partitions(name)) if partitions is None else partitions
        return {partition: self._watermarks(name, partition) for partition in asked}

    def _watermarks(self, name: str, partition: int) -> tuple[int, int]:
        """Ask until the partition's leader is ready: a broker shows a new topic before it serves its first partition."""
        assert self._watermark_reader is not None
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                low, high = self._watermark_reader.get_watermark_offsets(
                    TopicPartition(name, partition), timeout=self._timeout_s
                )
            except KafkaException as error:
                if error.args[0].code() not in _LEADER_NOT_READY or time.monotonic() > deadline:
                    raise kafka_error(error, f"asking for the offsets of {name}[{partition}]", self._kafka) from error
                time.sleep(_LEADER_POLL_S)
            else:
                return low, high

    def create_topics(self, specs: Iterable[TopicSpec]) -> list[str]:
        """Create the topics that are missing, and return their names once they can be used. Existing ones are left as they are."""
        wanted = [
            NewTopic(
                spec.name,
                num_partitions=spec.partitions,
                replication_factor=self._kafka.replication,
                config={"min.insync.replicas": str(self._kafka.min_insync_replicas), **spec.config},
            )
            for spec in specs
        ]
        created = []
        for name, future in self._client.create_topics(wanted, request_timeout=self._timeout_s).items():
            try:
                future.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise kafka_error(error, f"creating topic {name}", self._kafka) from error
            else:
                created.append(name)
        for name in created:
            self._await(name)
        return created

    def ensure_own_topics(self) -> None:
        """Create `datasets`, `versions`, `lineage` and `announced` where they are missing, and check the frozen partition counts.

        Raises ConfigurationError when somebody added partitions to `datasets` or `announced`: their keys would have moved.
        """
        own = topics(self._kafka)
        compact, keep = {"cleanup.policy": "compact"}, {"retention.ms": "-1"}
        self.create_topics(
            [
                TopicSpec(own.datasets, LEASE_PARTITIONS, compact),
                TopicSpec(own.announced, LEASE_PARTITIONS, compact),
                TopicSpec(own.versions, LEASE_PARTITIONS, keep),
                TopicSpec(own.lineage, 1, keep),
            ]
        )
        for name in (own.datasets, own.announced):
            if (count := self.partitions(name)) != LEASE_PARTITIONS:
                raise ConfigurationError(
                    f"topic {name} has {count} partitions and must have {LEASE_PARTITIONS}: keys would be looked for in the wrong one",
                    "use another THALWEG_KAFKA__PREFIX, or copy its records to a topic with the right count",
                )

    def _await(self, name: str) -> None:
        """Wait until brokers know a topic that the controller has just made: they hear of it a little later."""
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                self.topic_ids([name])
            except TopicNotFound:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return

    def _topic_error(self, name: str, error: KafkaException) -> Exception:
        mapped = kafka_error(error, f"asking for topic {name}", self._kafka)
        if isinstance(mapped, BrokerUnavailable):
            return mapped
        return TopicNotFound(
            f"topic {name} does not exist on {self._kafka.bootstrap}",
            f"create it (kafka-topics --create --topic {name} --partitions 4, or thalweg apply --create-topics 4), or mend the name",
        )


def encode_topic_id(topic_id: object) -> str:
    """Base64url, without padding, of a confluent_kafka Uuid's 16 bytes."""
    most, least = topic_id.get_most_significant_bits(), topic_id.get_least_significant_bits()  # type: ignore[attr-defined]  # untyped C class
    mask = (1 << 64) - 1
    raw = uuid.UUID(int=((most & mask) << 64) | (least & mask)).bytes
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
