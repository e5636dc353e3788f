"""A Spark session with Delta, Kafka and Avro, set up as well as we know for one machine with two cores.

Runs in Spark's own environment (`spark_environment`), which has nothing of Thalweg's.
"""

import importlib.metadata
from pathlib import Path

import pyspark
from pyspark.sql import SparkSession

# Jars stay here, as does whatever Spark would otherwise write into the current folder.
CACHE = Path(__file__).parents[1] / ".cache"
SCALA = "2.13"
CORES = 2


def packages() -> list[str]:
    """Maven coordinates of the jars, in the versions that fit the Python packages."""
    spark = pyspark.__version__
    release = ".".join(spark.split(".")[:2])
    delta = importlib.metadata.version("delta-spark")
    return [
        f"io.delta:delta-spark_{release}_{SCALA}:{delta}",
        f"org.apache.spark:spark-sql-kafka-0-10_{SCALA}:{spark}",
        f"org.apache.spark:spark-avro_{SCALA}:{spark}",
    ]


SETTINGS = {
    "spark.jars.packages": ",".join(packages()),
    "spark.jars.ivy": str(CACHE / "ivy"),
    "spark.sql.warehouse.dir": str(CACHE / "spark-warehouse"),
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.driver.memory": "4g",
    "spark.driver.extraJavaOptions": "-XX:+UseParallelGC",  # most throughput; nobody waits for a pause here
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.adaptive.enabled": "true",
    "spark.sql.shuffle.partitions": str(CORES),  # the landing shuffles nothing; Delta's own small queries do
    "spark.databricks.delta.snapshotPartitions": str(CORES),  # 50 by default: tasks without work on a small log
    "spark.sql.parquet.compression.codec": "snappy",
    # Each task keeps its three dates' files open; the default sorts every task's rows by date to have one open at a time.
    "spark.sql.maxConcurrentOutputFileWriters": "16",
    "spark.sql.streaming.numRecentProgressUpdates": "10000",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",
}


def session(name: str) -> SparkSession:
    """Start Spark in this process and a Java beside it."""
    builder = SparkSession.builder.appName(name).master(f"local[{CORES}]")
    for key, value in SETTINGS.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


if __name__ == "__main__":
    session("fetch jars").stop()
