"""Plain Python, as a good user would write it with the libraries' own examples at hand: Kafka to Delta, at least once.

confluent-kafka's consumer and AvroDeserializer, `Table.from_pylist`, `write_deltalake`, 50,000 records a commit. Offsets
are committed to Kafka after each write, so a crash between the two lands rows twice; nothing says where a row came from.

Run: python -m benchmarks.peers.plain --bootstrap HOST:PORT --registry URL --topic TOPIC --table FOLDER --records N
"""

import argparse
import uuid
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from confluent_kafka import Consumer, Message
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext
from deltalake import write_deltalake

from benchmarks.peers.effort import Effort

COMMIT_RECORDS = 50_000
CHUNK = 5_000  # messages a call
WAIT_S = 30.0

SCHEMA = pa.schema(
    [
        ("event_id", pa.string()),
        ("user_id", pa.int64()),
        ("session_id", pa.string()),
        ("kind", pa.string()),
        ("product_id", pa.int64()),
        ("quantity", pa.int32()),
        ("price", pa.decimal128(10, 2)),
        ("currency", pa.string()),
        ("event_time", pa.timestamp("us", "UTC")),
        ("properties", pa.map_(pa.string(), pa.string())),
    ]
)


def main(bootstrap: str, registry: str, topic: str, table: str, records: int) -> str:
    """Land `records` records from the start of the topic; return the result."""
    effort = Effort()
    deserialize = AvroDeserializer(SchemaRegistryClient({"url": registry}))
    context = SerializationContext(topic, MessageField.VALUE)
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"plain-{uuid.uuid4()}",  # each run starts from the first record
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "fetch.queue.backoff.ms": 5,  # the same as the other peers have: the default would stall this one too
        }
    )
    consumer.subscribe([topic])

    messages = consumer.consume(1, WAIT_S)
    effort.begin()
    landed = commits = 0
    rows: list[dict[str, Any]] = []
    while landed < records:
        if not messages:
            raise SystemExit(f"{topic}: {landed + len(rows)} of {records} records, and no more within {WAIT_S:.0f} s")
        rows += [deserialize(_value(message), context) for message in messages]
        if len(rows) == min(COMMIT_RECORDS, records - landed):
            _land(rows, table)
            consumer.commit(asynchronous=False)
            landed, commits, rows = landed + len(rows), commits + 1, []
        missing = min(COMMIT_RECORDS, records - landed) - len(rows)
        messages = consumer.consume(min(CHUNK, missing), WAIT_S) if missing else []
    effort.end()
    consumer.close()
    libraries = ["confluent-kafka", "fastavro", "pyarrow", "deltalake"]
    return effort.report("plain-python", landed, libraries, commits=commits)


def _value(message: Message) -> bytes | None:
    error = message.error()
    if error is not None:
        raise SystemExit(f"reading: {error.str()}")
    return message.value()


def _land(rows: list[dict[str, Any]], uri: str) -> None:
    landing = pa.Table.from_pylist(rows, SCHEMA)
    landing = landing.append_column("date", pc.cast(landing["event_time"], pa.date32()))
    write_deltalake(uri, landing, mode="append", partition_by=["date"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--registry", required=True, help="URL of the schema registry")
    parser.add_argument("--topic", required=True)
    parser.add_argument("--table", required=True, help="folder of the Delta table, not there yet")
    parser.add_argument("--records", type=int, required=True, help="at most what the topic holds")
    print(main(**vars(parser.parse_args())))
