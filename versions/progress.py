"""How far announcing has come, table by table: the records of `<prefix>.announced`.

Key: `<dataset>/<table id>`, UTF-8. A recreated table has another id, so it starts anew. Value: JSON of `Position`. The
records of one lease live in the partition of `announced` that has the lease's number, and its owner is their only writer.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from thalweg.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Position:
    """The last version of a table that was announced, and the fingerprint of the schema that it left behind."""

    version: int
    schema: str


NOTHING = Position(-1, "")

Progress = dict[str, Position]


def progress_key(dataset: str, table_id: str) -> str:
    """Key of one table's position. Dataset names hold no slash."""
    return f"{dataset}/{table_id}"


def encode_position(position: Position) -> bytes:
    """The record's value."""
    return json.dumps(asdict(position), separators=(",", ":")).encode()


def decode_progress(records: Mapping[bytes, bytes]) -> Progress:
    """Read one partition's newest records. Raises ConfigurationError for a record that no announcer wrote."""
    progress: Progress = {}
    for key, value in records.items():
        try:
            fields = json.loads(value)
            progress[key.decode()] = Position(int(fields["version"]), str(fields["schema"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(
                f"the progress of announcing, key {key!r}, holds {value[:100]!r}, which no announcer writes",
                "find who writes to the `announced` topic, take the right away, and produce a tombstone for that key",
            ) from error
    return progress
