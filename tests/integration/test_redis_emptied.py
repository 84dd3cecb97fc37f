"""Redis loses everything under running workers: what is open is counted anew from Kafka, and not one published window differs."""

import re
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import redis
from confluent_kafka import Consumer, TopicPartition

from stream.embedded import RedisServer
from stream.rebuild import Bookmark, delivered_by
from tests.services.fraud import FraudLoad, make_load
from tests.services.topics import count, wait_until
from tests.services.worker import WorkerProcess


def test_what_is_open_is_counted_anew_when_redis_was_emptied(kafka: str, tmp_path: Path) -> None:
    with RedisServer() as server:
        load = make_load(kafka, server.url, uuid.uuid4().hex, tmp_path, max_delay_ms=60_000)
        with WorkerProcess(load.config) as first, WorkerProcess(load.config) as second, ThreadPoolExecutor(1) as sender:
            load.send(300, rate=60)
            wait_until(lambda: all_counted(load), otherwise=lambda: first.log[-3000:] + second.log[-3000:])
            wait_until(lambda: len(bookmarks(load)) == sum(load.partitions[:2]), otherwise=lambda: first.log[-3000:])
            sending = sender.submit(load.send, 30, rate=300)
            noted = bookmarks(load)
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
        skipped = sum(bookmark.mark.offset for bookmark in noted)
        assert balance.predictions.consumed + balance.labels.consumed <= everything - skipped
        results = [record.json for record in load.read("results")]
        published, said = Counter(result["result_id"] for result in results), delivered_by(noted)
        before = {result["result_id"] for result in results if ends_ms(result) <= said.of(result["subject"])}
        assert before, "the bookmarks say that nothing had been delivered"
        assert [name for name in before if published[name] > 1] == [], "windows that a bookmark calls delivered were sent again"
        assert len(re.findall("Redis has lost its state", logs)) == sum(load.partitions[:2])


def all_counted(load: FraudLoad) -> bool:
    return load.consumed() >= count(load.kafka, load.topics["predictions"], load.topics["labels"])


def bookmarks(load: FraudLoad) -> list[Bookmark]:
    """The bookmarks that stand beside the committed offsets, of partitions that would not be read from their first message again."""
    consumer = Consumer({"bootstrap.servers": load.kafka, "group.id": load.topics["predictions"]})
    places = [TopicPartition(load.topics[unit.side], unit.partition) for unit in load.partitions.units()]
    try:
        found = [Bookmark.decode(at.metadata or "", load.namespace) for at in consumer.committed(places, timeout=10)]
    finally:
        consumer.close()
    return [bookmark for bookmark in found if bookmark is not None and bookmark.mark.offset > 0]


def ends_ms(result: dict[str, Any]) -> int:
    """When the result's window ends; without allowed lateness it fires once, when the clock gets there."""
    return round(datetime.fromisoformat(result["window"]["end"]).timestamp() * 1000)


def reaches_the_end(load: FraudLoad) -> bool:
    """Whether everything in the topics is counted and delivered."""
    view = load.view()
    read = sum(seen.next_offset or 0 for seen in view.values())
    return read >= count(load.kafka, load.topics["predictions"], load.topics["labels"]) and not any(seen.outbox for seen in view.values())
