"""Tables with spans, without a broker: landings, quarantines and their logs as ingest writes them, made by hand."""

import datetime as dt
import json
import os
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.quarantine import PARTITION_COLUMN, SCHEMA, quarantine_name, table_schema
from thalweg.tables.commit import Advance, DataFile, TableWriter
from thalweg.tables.files import LANDED, Snapshot, scan
from thalweg.tables.open import create_table
from thalweg.tables.settle import Settler, encode_reject
from thalweg.tables.spans import Span, app_id, encode_spans

TOPIC_ID = "AAAAAAAAAAAAAAAAAAAAAA"
BODY = pa.schema(
    [
        pa.field("id", pa.int64()),
        pa.field("_topic_id", pa.string()),
        pa.field("_partition", pa.int32()),
        pa.field("_offset", pa.int64()),
        pa.field("_timestamp", pa.timestamp("us", "UTC")),
        pa.field("_schema_id", pa.int32()),
    ]
)
TABLE = pa.schema([pa.field("date", pa.date32()), *BODY])
FIRST_DATE = dt.date(2013, 1, 1)
NOON = dt.datetime(2013, 1, 1, 12, tzinfo=dt.UTC)


def by_offset(partition: int, offset: int) -> dt.date:
    """Spread rows over three dates."""
    return FIRST_DATE + dt.timedelta(days=offset % 3)


class TableWorld:
    """A dataset's table and quarantine under `root`."""

    def __init__(
        self, root: Path, dataset: str = "trips", topic: str = "trips.events", topic_id: str = TOPIC_ID
    ) -> None:
        self.dataset, self.topic, self.topic_id = dataset, topic, topic_id
        self.folder = root / dataset
        self.uri, self.quarantine_uri = str(self.folder), str(root / quarantine_name(dataset))
        create_table(self.uri, TABLE, ["date"], {"thalweg.dataset": dataset, f"thalweg.topic.{topic}": topic_id})
        self.writer = TableWriter(self.uri)
        self.next: dict[int, int] = {}

    def land(
        self,
        landed: Mapping[int, Iterable[int]],
        *,
        rejected: Mapping[int, Iterable[int]] | None = None,
        filtered: Mapping[int, int] | None = None,
        reach: Mapping[int, int] | None = None,
        date: Callable[[int, int], dt.date] = by_offset,
        settle: bool = True,
        spans: list[Span] | None = None,
        topic_id: str | None = None,
    ) -> int:
        """Commit a landing of these offsets, by partition. `reach` says the next offset where it is not the one after the last.

        `spans` replaces what the log says, for logs that lie.
        """
        rejected, filtered, reach = rejected or {}, filtered or {}, reach or {}
        used_id = topic_id or self.topic_id
        self.writer.adopt()
        rows = [(partition, offset) for partition, offsets in landed.items() for offset in offsets]
        bad = [(partition, offset) for partition, offsets in rejected.items() for offset in offsets]
        derived, steps = [], {}
        for partition in sorted({*landed, *rejected, *filtered, *reach}):
            good = [offset for number, offset in rows if number == partition]
            poor = [offset for number, offset in bad if number == partition]
            first = self.next.get(partition, 0)
            after = reach.get(partition, max([first - 1, *good, *poor]) + 1)
            derived.append(
                Span(self.topic, used_id, partition, first, after, len(good), len(poor), filtered.get(partition, 0))
            )
            name = app_id(self.dataset, used_id, partition)
            steps[name] = Advance(self.writer.transaction(name), after)
            self.next[partition] = after
        file = self._reject_file(bad, used_id)
        version = self.writer.commit(
            self._data_files(rows, date, used_id),
            steps,
            {
                "thalweg.format": 1,
                "thalweg.dataset": self.dataset,
                "thalweg.spans": encode_spans(derived if spans is None else spans),
                "thalweg.rejects": [encode_reject(file)] if file else [],
                "thalweg.schema_ids": [1],
                "thalweg.writer": "test:1:1",
            },
        )
        if settle:
            self.settle()
        return version

    def settle(self) -> None:
        """Bring the quarantine up to the log."""
        data = Snapshot(self.uri)
        settler = Settler(self.dataset, self.uri, self.quarantine_uri, table_schema(), PARTITION_COLUMN)
        settler.settle(data.table_id, data.version)

    def age(self, hours: float) -> None:
        """Let everything in both folders be that much older, as if time had passed."""
        for root in (self.folder, Path(self.quarantine_uri)):
            for path in root.rglob("*"):
                if path.is_file():
                    then = path.stat().st_mtime - hours * 3600
                    os.utime(path, (then, then))

    def places(self, version: int | None = None) -> list[tuple[int, int]]:
        """Partition and offset of every row, by a real scan."""
        snapshot = Snapshot(self.uri, version=version)
        return sorted(
            (row["_partition"], row["_offset"])
            for batch in scan(self.uri, [file.path for file in snapshot.files], LANDED.fields())
            for row in batch.to_pylist()
        )

    def _data_files(
        self, rows: list[tuple[int, int]], date: Callable[[int, int], dt.date], topic_id: str
    ) -> list[DataFile]:
        by_date: dict[dt.date, list[tuple[int, int]]] = {}
        for partition, offset in rows:
            by_date.setdefault(date(partition, offset), []).append((partition, offset))
        return [self._data_file(day, places, topic_id) for day, places in by_date.items()]

    def _data_file(self, day: dt.date, places: list[tuple[int, int]], topic_id: str) -> DataFile:
        offsets = [offset for _, offset in places]
        partitions = [partition for partition, _ in places]
        body = pa.table(
            {
                "id": offsets,
                "_topic_id": [topic_id] * len(places),
                "_partition": partitions,
                "_offset": offsets,
                "_timestamp": [NOON] * len(places),
                "_schema_id": [1] * len(places),
            },
            schema=BODY,
        )
        path = f"date={day}/part-{uuid.uuid4()}.parquet"
        (self.folder / path).parent.mkdir(exist_ok=True)
        pq.write_table(body, self.folder / path, store_schema=False)
        stats = {
            "numRecords": len(places),
            "minValues": {"id": min(offsets), "_partition": min(partitions), "_offset": min(offsets)},
            "maxValues": {"id": max(offsets), "_partition": max(partitions), "_offset": max(offsets)},
            "nullCount": {"id": 0, "_partition": 0, "_offset": 0},
        }
        size = (self.folder / path).stat().st_size
        return DataFile(path, size, len(places), {"date": str(day)}, json.dumps(stats))

    def _reject_file(self, places: list[tuple[int, int]], topic_id: str) -> DataFile | None:
        if not places:
            return None
        today = dt.datetime.fromtimestamp(time.time(), dt.UTC)
        rows = pa.Table.from_pylist(
            [
                {
                    "topic": self.topic,
                    "topic_id": topic_id,
                    "partition": partition,
                    "offset": offset,
                    "timestamp": today,
                    "value": b"bad",
                    "headers": [],
                    "rule": "decode",
                    "reason": "2 bytes too many",
                    "byte": 17,
                    "first_seen": today,
                }
                for partition, offset in places
            ],
            schema=SCHEMA,
        )
        path = f"{PARTITION_COLUMN}={today.date()}/rejects-{uuid.uuid4()}.parquet"
        target = Path(self.quarantine_uri) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows, target, store_schema=False)
        return DataFile(
            path,
            target.stat().st_size,
            len(places),
            {PARTITION_COLUMN: str(today.date())},
            json.dumps({"numRecords": len(places)}),
        )
