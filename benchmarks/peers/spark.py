"""Spark Structured Streaming with Delta: what a team that has Spark would use. Exactly once into the table.

Kafka's value without the Confluent framing (five bytes) through `from_avro`, a date column, to a Delta table with one
folder a date; trigger `availableNow`, `local[2]`. Rows carry no offsets, and records that do not decode end the query.

Run in Spark's own environment (`spark_environment` makes it and says where its Python is):
    JAVA_HOME=benchmarks/.cache/spark-java benchmarks/.cache/spark-venv/bin/python -m benchmarks.peers.spark
      --bootstrap HOST:PORT --topic TOPIC --table FOLDER --records N
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f
from pyspark.sql.avro.functions import from_avro

from benchmarks.peers.effort import Effort
from benchmarks.peers.spark_session import session

SCHEMA_FILE = Path(__file__).parents[2] / "schemas" / "avro" / "shop_event.avsc"
# A micro-batch: 2,000,000 events make one that warms up and three that tell the steady rate. A little above a quarter, for
# Spark rounds down by partition, and a fifth batch of a few records would cost it a second.
BATCH_RECORDS = 501_000
FRAME_BYTES = 5

CONSUMER = {
    "kafka.max.poll.records": 20_000,  # 500 by default: forty times as many calls
    "kafka.max.partition.fetch.bytes": 8 * 2**20,
    "kafka.fetch.max.bytes": 64 * 2**20,
    "kafka.receive.buffer.bytes": 2**20,
}


def main(bootstrap: str, topic: str, table: str, records: int) -> str:
    """Land what the topic holds, which must be `records` records; return the result."""
    effort = Effort()
    spark = session("shop")
    writer = _events(spark, bootstrap, topic).writeStream.format("delta").outputMode("append").partitionBy("date")
    Path(table).parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=Path(table).parent, prefix="checkpoint-") as checkpoint:
        ready = writer.option("checkpointLocation", checkpoint).trigger(availableNow=True)
        effort.begin()
        query = ready.start(table)
        query.awaitTermination()
        effort.end()
        batches = [batch for batch in query.recentProgress if batch["numInputRows"]]
    landed = sum(batch["numInputRows"] for batch in batches)
    if landed != records:
        raise SystemExit(f"{topic}: {landed} records were landed, not {records}")
    java = spark._jvm.java.lang.System.getProperty("java.version")
    line = effort.report(
        "spark", landed, ["pyspark", "delta-spark"], java=java, batches=len(batches), **_steady(batches)
    )
    spark.stop()
    return line


def _events(spark: SparkSession, bootstrap: str, topic: str) -> DataFrame:
    source = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", bootstrap)
        .option("subscribe", topic)
        .option("startingOffsets", "earliest")
        .option("maxOffsetsPerTrigger", BATCH_RECORDS)
        .options(**CONSUMER)
        .load()
    )
    body = f.expr(f"substring(value, {FRAME_BYTES + 1})")
    event = from_avro(body, SCHEMA_FILE.read_text(), {"mode": "FAILFAST"}).alias("event")
    return source.select(event).select("event.*", f.to_date("event.event_time").alias("date"))


def _steady(batches: Sequence[Any]) -> dict[str, float]:
    """The rate of all micro-batches but the first, by their own clock: what it does once it is warm."""
    warm = batches[1:]
    if not warm:
        return {}
    seconds = sum(batch["durationMs"]["triggerExecution"] for batch in warm) / 1000
    return {
        "steady_rate_per_s": round(sum(batch["numInputRows"] for batch in warm) / seconds),
        "steady_records": sum(batch["numInputRows"] for batch in warm),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--table", required=True, help="folder of the Delta table, not there yet")
    parser.add_argument("--records", type=int, required=True, help="what the topic holds")
    print(main(**vars(parser.parse_args())))
