"""What a source of blocks is, whichever way it talks to Kafka."""

from collections.abc import Mapping
from typing import Protocol

from ingest.block import Block

# A source partition: its topic and its number.
Partition = tuple[str, int]


class Handlers(Protocol):
    """What a source asks of its worker when the group moves partitions. Called from within `poll`."""

    def assigned(self, partitions: list[Partition]) -> Mapping[Partition, int]:
        """Partitions were given to this member: say from which offset to read each, and any other whose position changed."""
        ...

    def revoked(self, partitions: list[Partition]) -> Mapping[Partition, int]:
        """Partitions are about to be taken, or were lost: land what is held, now. Returns positions that changed."""
        ...


class Source(Protocol):
    """Where blocks come from."""

    def poll(self, rows: int, size: int, timeout_s: float) -> Block | None:
        """About `rows` records or `size` bytes at the most, after about `timeout_s`; None when nothing was read.

        A block without records says that a partition's end was met beyond its last record.
        """
        ...

    def seek(self, positions: Mapping[Partition, int]) -> None:
        """Read on from other offsets; what is already fetched is forgotten."""
        ...

    def acknowledge(self, positions: Mapping[Partition, int]) -> None:
        """Tell the group, for lag tools only, what has landed. Loses nothing if it fails."""
        ...

    def reached(self, ends: Mapping[Partition, int]) -> bool:
        """Whether every partition that this member holds, which may be none, has been read to that offset."""
        ...

    def lag(self) -> dict[Partition, int]:
        """For each partition held, the offsets between what was read and its end as last heard from the broker."""
        ...

    def starved(self) -> bool:
        """Whether the broker has records for this member that do not arrive. Those of open transactions do not count."""
        ...

    def hold(self, held: bool) -> None:
        """Stop fetching, or go on; the group membership is kept."""
        ...

    def close(self) -> None:
        """Leave the group."""
        ...
