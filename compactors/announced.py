"""How far the announcer has come, for whoever deletes: what is not announced yet may still be asked for.

The records are the announcer's (`versions.progress` describes them): key `<dataset>/<table id>`, value JSON with `version`.
"""

import json
from collections.abc import Mapping

from thalweg.errors import ConfigurationError, TopicNotFound
from thalweg.settings import KafkaSettings
from thalweg.streams import compacted
from thalweg.streams.admin import Admin
from thalweg.streams.clients import LEASE_PARTITIONS, topics

Announced = Mapping[tuple[str, str], int]
"""Last announced version by (dataset, table id)."""


def read_announced(kafka: KafkaSettings) -> Announced:
    """Read the progress of every table. What is not in it was never announced. Raises BrokerUnavailable."""
    topic = topics(kafka).announced
    with Admin(kafka) as admin:
        try:
            admin.partitions(topic)
        except TopicNotFound:  # no announcer has ever run
            return {}
    found: dict[tuple[str, str], int] = {}
    for entry in compacted.entries(kafka, topic, range(LEASE_PARTITIONS)):
        key, version = decode_progress(entry.key, entry.value)
        # Partitions hold one record a table; were there two, the one that is behind is the one to wait for.
        found[key] = min(version, found.get(key, version))
    return found


def decode_progress(key: bytes, value: bytes) -> tuple[tuple[str, str], int]:
    """One record of the announcer's. Raises ConfigurationError for what it never writes."""
    try:
        dataset, table_id = key.decode().split("/", 1)
        return (dataset, table_id), int(json.loads(value)["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"the progress of announcing, key {key!r}, holds {value[:100]!r}, which no announcer writes",
            "nothing is removed while it is unknown what was announced: find who writes to the `announced` topic",
        ) from error
