"""Produce with nothing of Thalweg: confluent-kafka and its AvroSerializer, as in any program of yours.

    python examples/producer_confluent.py localhost:9092 http://localhost:8081 rides 1000

The topic must exist. Whatever is framed by a registry's serializer (Java's, librdkafka's, kcat's) Thalweg reads.
"""

import random
import sys
import time

from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

RIDE = """
{
  "type": "record",
  "name": "Ride",
  "namespace": "com.example",
  "fields": [
    {"name": "ride_id", "type": "string"},
    {"name": "station", "type": "string"},
    {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["CLASSIC", "ELECTRIC"]}},
    {"name": "seconds", "type": ["null", "int"], "default": null, "doc": "null while the ride goes on"},
    {"name": "started_at", "type": {"type": "long", "logicalType": "timestamp-millis"}}
  ]
}
"""


def main(bootstrap: str, registry: str, topic: str, count: int) -> None:
    """Send `count` rides, keyed by station."""
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
    serialize = AvroSerializer(SchemaRegistryClient({"url": registry}), RIDE)
    context = SerializationContext(topic, MessageField.VALUE)
    delivered = 0

    def report(error: KafkaError | None, _: Message) -> None:
        nonlocal delivered
        if error is not None:
            raise SystemExit(f"a ride was not delivered: {error}")
        delivered += 1

    now_ms = time.time_ns() // 1_000_000
    for number in range(count):
        ride = {
            "ride_id": f"ride-{number:06}",
            "station": random.choice(["harbour", "market", "museum", "north gate"]),
            "kind": random.choice(["CLASSIC", "ELECTRIC"]),
            "seconds": random.choice([None, random.randint(60, 7200)]),
            "started_at": now_ms - 60_000 * number,
        }
        producer.produce(topic, serialize(ride, context), key=ride["station"], on_delivery=report)
        producer.poll(0)
    producer.flush()
    print(f"{delivered} rides are in topic {topic}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
