"""The table that a worker lands in: made when there is none, widened when events gain fields, and what a row looks like in it."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingest.block import Block
from schemas.arrow import check_compatible, table_schema
from schemas.datasets import Dataset
from schemas.quarantine import quarantine_name
from thalweg.errors import ConfigurationError, SchemaClash, TopicRecreated
from thalweg.settings import TableSettings
from thalweg.tables.commit import TableWriter
from thalweg.tables.open import create_table
from thalweg.tables.place import storage_options, table_uri
from thalweg.tables.spans import app_id

METADATA_COLUMNS = pa.schema(
    [
        pa.field("_topic_id", pa.string()),
        pa.field("_partition", pa.int32()),
        pa.field("_offset", pa.int64()),
        pa.field("_timestamp", pa.timestamp("us", "UTC")),
        pa.field("_schema_id", pa.int32()),
    ]
)

DATASET_PROPERTY = "thalweg.dataset"
_TOPIC_PROPERTY = "thalweg.topic."


class LandingTable:
    """One dataset's Delta table, open for landing. Not thread-safe."""

    def __init__(
        self, dataset: Dataset, tables: TableSettings, event_schema: pa.Schema | None, topic_ids: Mapping[str, str]
    ) -> None:
        """Open the table, or create it from `event_schema`, the fields of the newest registered events if there are any.

        `topic_ids` are the topics' ids now: a new table is bound to them.
        Raises SchemaClash when a table of another kind is there, StorageUnavailable when the storage refuses.
        """
        self._dataset = dataset
        self._forms: dict[str, pa.DataType] = {}
        self.uri = table_uri(tables, dataset.name)
        self.quarantine_uri = table_uri(tables, quarantine_name(dataset.name))
        self.storage_options = storage_options(tables)
        fields = table_schema(event_schema) if event_schema is not None else pa.schema([])
        columns = pa.schema(
            [pa.field(dataset.partition.column, pa.date32()), *_without_clash(dataset, fields), *METADATA_COLUMNS]
        )
        properties = {DATASET_PROPERTY: dataset.name, **_bindings(topic_ids)}
        create_table(self.uri, columns, [dataset.partition.column], properties, self.storage_options)
        self.writer = TableWriter(self.uri, self.storage_options)
        self._check_ours()
        self._columns = self._data_columns()

    def bind_topics(self, topic_ids: Mapping[str, str]) -> None:
        """Write down which topics (by id) this table lands, and refuse one that has another id than before.

        Raises TopicRecreated.
        """
        known = self.writer.configuration()
        for topic, topic_id in topic_ids.items():
            before = known.get(_TOPIC_PROPERTY + topic)
            if before is not None and before != topic_id:
                raise TopicRecreated(
                    f"topic {topic} was deleted and made again: its id is {topic_id}, and {self.uri} landed {before}",
                    "the new topic's offsets would be taken for those of the old one, so nothing is landed. Declare a new dataset"
                    f" for it: copy the declaration under another name than {self._dataset.name} and apply it",
                )
        unknown = _bindings({t: topic_id for t, topic_id in topic_ids.items() if _TOPIC_PROPERTY + t not in known})
        if unknown:
            self.writer.set_properties(unknown)

    def has_landed(self, ends: Mapping[tuple[str, int], int], topic_ids: Mapping[str, str]) -> bool:
        """Whether the table as it is now has landed these partitions up to these offsets. Safe while another thread lands."""
        now = TableWriter(self.uri, self.storage_options)
        return all(
            (now.transaction(app_id(self._dataset.name, topic_ids[topic], partition)) or 0) >= end
            for (topic, partition), end in ends.items()
        )

    def reopen(self) -> None:
        """See the table as it is now."""
        self.writer.adopt()
        self._check_ours()
        self._columns = self._data_columns()

    def widen(self, event_schema: pa.Schema) -> bool:
        """Add the columns that these events have and the table has not. Whether there were any.

        Raises SchemaClash when a column of the same name has another type.
        """
        wanted = _without_clash(self._dataset, table_schema(event_schema))
        check_compatible(self._columns, wanted)
        missing = [field for field in wanted if field.name not in self._columns.names]
        if missing:
            self.writer.add_columns(missing)
            self._columns = self._data_columns()
        return bool(missing)

    def conform(
        self, batch: pa.RecordBatch, block: Block, rows: npt.NDArray[np.int64], topic_ids: Mapping[str, str]
    ) -> pa.RecordBatch:
        """Give decoded events the table's columns: theirs, nulls where they have none, and where each came from.

        `rows` are the places in `block` of the batch's rows. Enum columns stay dictionaries: Parquet writes them as such.
        """
        origin = _origin(block, rows, topic_ids)
        arrays = []
        for field in self._columns:
            if field.name in origin:
                arrays.append(origin[field.name])
            elif (index := batch.schema.get_field_index(field.name)) >= 0:
                arrays.append(self._formed(field, batch.column(index)))
            else:
                arrays.append(self._formed(field, pa.nulls(len(rows), field.type)))
        return pa.RecordBatch.from_arrays(arrays, self._columns.names)

    def _formed(self, field: pa.Field, column: pa.Array) -> pa.Array:
        """One form a column: an enum under one writer schema may be a string under another, and a file has one type."""
        form = self._forms.setdefault(field.name, column.type if pa.types.is_dictionary(column.type) else field.type)
        if column.type == form:
            return column
        return column.dictionary_encode() if pa.types.is_dictionary(form) else column.cast(form)

    def _data_columns(self) -> pa.Schema:
        """The table's columns as its files hold them: all but the partition column."""
        return pa.schema([field for field in self.writer.schema() if field.name != self._dataset.partition.column])

    def _check_ours(self) -> None:
        landed = self.writer.configuration().get(DATASET_PROPERTY)
        partitioned = self.writer.table.metadata().partition_columns
        if landed not in (None, self._dataset.name):
            raise ConfigurationError(
                f"{self.uri} belongs to dataset {landed}", f"give dataset {self._dataset.name} another name"
            )
        if partitioned != [self._dataset.partition.column]:
            raise SchemaClash(
                f"{self.uri} is partitioned by {partitioned}, and dataset {self._dataset.name} declares {self._dataset.partition.column!r}",
                "declare `partition.column` as the table has it, or give the dataset another name",
            )
        missing = [f.name for f in METADATA_COLUMNS if f.name not in self.writer.schema().names]
        if missing:
            raise SchemaClash(
                f"{self.uri} was not made by Thalweg: it has no column {', '.join(missing)}",
                "give the dataset another name, or move that table",
            )
        check_compatible(self.writer.schema(), METADATA_COLUMNS)


def _bindings(topic_ids: Mapping[str, str]) -> dict[str, str]:
    return {_TOPIC_PROPERTY + topic: topic_id for topic, topic_id in topic_ids.items()}


def _without_clash(dataset: Dataset, fields: pa.Schema) -> pa.Schema:
    """Refuse event fields that would take the place of our columns."""
    taken = {dataset.partition.column, *METADATA_COLUMNS.names}
    for field in fields:
        if field.name.lower() in taken:
            raise SchemaClash(
                f"events of dataset {dataset.name} have a field {field.name!r}, and the table has a column of that name for itself",
                "rename the field, or name the partition column otherwise: `partition: {column: …}` in the declaration",
            )
    return fields


def _origin(block: Block, rows: npt.NDArray[np.int64], topic_ids: Mapping[str, str]) -> dict[str, pa.Array]:
    """The metadata columns of these rows. `_schema_id` is read from the framing, which was checked before."""
    names = pa.array([topic_ids.get(topic, "") for topic in block.topics], pa.string())
    heads = block.starts[rows]
    schema_ids = np.zeros(len(rows), np.int32)
    for byte in range(1, 5):
        schema_ids = (schema_ids << 8) | block.data[heads + byte]
    return {
        "_topic_id": pa.DictionaryArray.from_arrays(pa.array(block.topic[rows], pa.int16()), names),
        "_partition": pa.array(block.partition[rows]),
        "_offset": pa.array(block.offset[rows]),
        "_timestamp": block.timestamps(rows),
        "_schema_id": pa.array(schema_ids.astype(np.int32)),
    }
