"""Spans: which offsets a Delta commit covers, as they stand in its commitInfo, and the app transactions that fence them.

Format 1, keys of commitInfo: `thalweg.format` (int), `thalweg.dataset`, `thalweg.spans` (list of objects with the fields of
`Span`), `thalweg.rejects` (list of `{path, size, rows}`: quarantine files that this commit gives a verdict on),
`thalweg.schema_ids`, `thalweg.writer`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from thalweg.errors import ConfigurationError

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Span:
    """What one commit covers of one source partition.

    `first` is where the reader stood before, `next` where it goes on, so spans of a partition chain: each begins where
    the one before ended. Offsets in between that Kafka never gave (aborted transactions, control markers) are `holes`.
    """

    topic: str
    topic_id: str  # base64url of the topic id's 16 bytes, without padding
    partition: int
    first: int
    next: int
    landed: int
    quarantined: int
    filtered: int

    @property
    def consumed(self) -> int:
        """Records that Kafka gave: landed, quarantined or filtered."""
        return self.landed + self.quarantined + self.filtered

    @property
    def holes(self) -> int:
        """Offsets in the span that Kafka never gave to a reader."""
        return self.next - self.first - self.consumed


def app_id(dataset: str, topic_id: str, partition: int) -> str:
    """Name of the Delta app transaction that fences one source partition. Its version is the next offset to read."""
    return f"thalweg/{dataset}/{topic_id}/{partition}"


def quarantine_app_id(dataset: str, table_id: str) -> str:
    """Name of the app transaction of a quarantine table. Its version is the last data version that was settled."""
    return f"thalweg/{dataset}/{table_id}/quarantine"


def encode_spans(spans: Iterable[Span]) -> list[dict[str, Any]]:
    """Spans as they stand in commitInfo."""
    return [asdict(span) for span in spans]


def decode_spans(info: Mapping[str, Any]) -> tuple[Span, ...]:
    """Spans of a commitInfo; none for a commit that is not a landing.

    Raises ConfigurationError for a format that this version of Thalweg does not know.
    """
    if "thalweg.spans" not in info:
        return ()
    if info.get("thalweg.format") != FORMAT:
        raise ConfigurationError(
            f"the table's log holds spans of format {info.get('thalweg.format')!r}, and this Thalweg knows format {FORMAT}",
            "upgrade Thalweg to the version that wrote the table",
        )
    return tuple(Span(**{name: span[name] for name in Span.__slots__}) for span in info["thalweg.spans"])
