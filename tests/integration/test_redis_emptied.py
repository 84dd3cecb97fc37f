"""Redis loses everything under running workers: what is open is counted anew from Kafka, and not one published window differs."""

import re
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import redis
from confluent_kafka import Consumer, TopicPartition

from stream.embedded import RedisServer
from stream.rebuild import Bookmark
from tests.services.fraud import FraudLoad, make_load
from tests.services.topics import count, wait_until
from tests.services.worker import WorkerProcess


def test_what_is_open_is_counted_anew_when_redis_was_emptied(kafka: str, tmp_path: Path) -> None:
    with RedisServer() as server:
        load = make_load(kafka, server.url, uuid.uuid4().hex, tmp_path, max_delay_ms=60_000)
        with WorkerProcess(load.config) as first, WorkerProcess(load.config) as second, ThreadPoolExecutor(1) as sender:
            load.send(300, rate=60)
            wait_until(lambda: all_counted(load), otherwise=lambda: first.log[-3000:] + second.log[-3000:])
            wait_until(lambda: reads_from(load) > 0, otherwise=lambda: first.log[-3000:])
            sending = sender.submit(load.send, 30, rate=300)
            skipped = reads_from(load)
            with redis.Redis.from_url(server.url) as client:
                client.flushall()
            sending.result()
            load.send(30, rate=300)
            load.close()
            wait_until(lambda: reaches_the_end(load), otherwise=lambda: first.log[-3000:] + second.log[-3000:])
            assert (first.end(), second.end()) == (0, 0)
            logs = first.log + second.log
        assert "\n".join(load.mismatches(load.expected())) == ""
        assert load.balance().adds_up
        assert load.balance().lost == 0
        balance, everything = load.balance(), count(kafka, load.topics["predictions"], load.topics["labels"])
        assert balance.predictions.consumed + balance.labels.consumed <= everything - skipped
        published = Counter(record.json["result_id"] for record in load.read("results"))
        assert len(published) > 200
        assert sum(n > 1 for n in published.values()) < 100, "windows that had been delivered were sent again"
        assert len(re.findall("Redis has lost its state", logs)) == sum(load.partitions[:2])


def all_counted(load: FraudLoad) -> bool:
    return load.consumed() >= count(load.kafka, load.topics["predictions"], load.topics["labels"])


def reads_from(load: FraudLoad) -> int:
    """How many messages a rebuild would not read again, by the bookmarks beside the committed offsets."""
    consumer = Consumer({"bootstrap.servers": load.kafka, "group.id": load.topics["predictions"]})
    places = [TopicPartition(load.topics[unit.side], unit.partition) for unit in load.partitions.units()]
    try:
        found = [Bookmark.decode(at.metadata or "", load.namespace) for at in consumer.committed(places, timeout=10)]
    finally:
        consumer.close()
    return sum(bookmark.mark.offset for bookmark in found) if all(found) else 0


def reaches_the_end(load: FraudLoad) -> bool:
    """Whether everything in the topics is counted and delivered."""
    view = load.view()
    read = sum(seen.next_offset or 0 for seen in view.values())
    return read >= count(load.kafka, load.topics["predictions"], load.topics["labels"]) and not any(seen.outbox for seen in view.values())
