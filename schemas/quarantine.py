"""The quarantine table of a dataset: every rejected record as Kafka held it, where it stood, and why it was rejected."""

import pyarrow as pa

# Date (UTC) on which the record was rejected; not an event's date, which a rejected record may not have.
PARTITION_COLUMN = "date"

SCHEMA = pa.schema(
    [
        pa.field("topic", pa.string()),
        pa.field("topic_id", pa.string()),  # base64url of 16 bytes
        pa.field("partition", pa.int32()),
        pa.field("offset", pa.int64()),
        pa.field("timestamp", pa.timestamp("us", "UTC")),  # the record's
        pa.field("key", pa.binary()),
        pa.field("value", pa.binary()),  # with its framing; null for a tombstone
        pa.field("headers", pa.list_(pa.struct([pa.field("key", pa.string()), pa.field("value", pa.binary())]))),
        pa.field("schema_id", pa.int32()),  # null when the framing cannot be read
        pa.field("rule", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("path", pa.string()),  # of the field, when one is to blame
        pa.field("byte", pa.int64()),  # in the value, when one is to blame
        pa.field("first_seen", pa.timestamp("us", "UTC")),
    ]
)


def quarantine_name(dataset: str) -> str:
    """Name of a dataset's quarantine, as a table and as a dataset that is announced."""
    return f"{dataset}.quarantine"


def table_schema() -> pa.Schema:
    """Schema of the quarantine table, its partition column included."""
    return SCHEMA.append(pa.field(PARTITION_COLUMN, pa.date32()))
