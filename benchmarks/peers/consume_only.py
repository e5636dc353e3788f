"""The ceiling: how fast Python gets records out of confluent-kafka when it does nothing else with them.

Value, offset and partition of each record are taken, for without them nothing can be landed exactly once. No consumer in
Python that uses confluent-kafka's public interface can be faster than this loop.

Run: python -m benchmarks.peers.consume_only --bootstrap HOST:PORT --topic TOPIC --records N
"""

import argparse
import gc
from collections.abc import Iterable

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

from benchmarks.peers.effort import Effort

CHUNK = 10_000  # records a call: fewer make no difference that the noise does not hide, 50,000 are slower
WAIT_S = 30.0

SETTINGS = {
    "group.id": "consume-only",  # asked for by the client; partitions are assigned by hand, so no group is joined
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "fetch.queue.backoff.ms": 5,  # the default of 1000 stalls the fetcher whenever the queue was full for a moment
    "fetch.wait.max.ms": 50,
    "fetch.max.bytes": 64 * 2**20,
    "max.partition.fetch.bytes": 8 * 2**20,  # fewer, larger answers of the broker
    "queued.min.messages": 200_000,
    "queued.max.messages.kbytes": 128 * 1024,
}


def main(bootstrap: str, topic: str, records: int) -> str:
    """Take `records` records from the start of the topic; return the result."""
    effort = Effort()
    consumer = Consumer({"bootstrap.servers": bootstrap, **SETTINGS})
    partitions = consumer.list_topics(topic, timeout=WAIT_S).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
    gc.collect()
    gc.freeze()
    gc.disable()  # records refer to nothing: looking for cycles among them would only cost

    # The first call waits for connections and the first answer. What it returned is not counted, nor is its time.
    reached: dict[int, int] = {}
    uncounted = _take(consumer.consume(min(CHUNK, records), WAIT_S), reached)
    effort.begin()
    taken = uncounted
    while taken < records:
        got = _take(consumer.consume(min(CHUNK, records - taken), WAIT_S), reached)
        if not got:
            raise SystemExit(f"{topic}: {taken} of {records} records, and no more within {WAIT_S:.0f} s")
        taken += got
    effort.end()
    _check(consumer, topic, reached, taken)
    line = effort.report("consume-only", taken - uncounted, ["confluent-kafka"], uncounted=uncounted)
    consumer.close()
    return line


def _take(messages: list[Message], reached: dict[int, int]) -> int:
    """Take what a landing needs of each record; note how far each partition was read; return how many there were."""
    values = list(map(Message.value, messages))
    offsets = list(map(Message.offset, messages))
    partitions = list(map(Message.partition, messages))
    reached.update(zip(partitions, offsets, strict=True))  # the last one of a partition stays
    return len(values)


def _check(consumer: Consumer, topic: str, reached: dict[int, int], taken: int) -> None:
    """Each of `taken` messages was a record: the loop asks none whether it is an error, which would cost it time."""
    firsts: Iterable[int] = (
        consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=WAIT_S)[0] for partition in reached
    )
    told = sum(last + 1 for last in reached.values()) - sum(firsts)
    if told != taken:
        raise SystemExit(f"{topic}: {taken} messages, but offsets tell of {told} records")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--records", type=int, required=True, help="at most what the topic holds")
    print(main(**vars(parser.parse_args())))
