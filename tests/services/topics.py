"""What tests put into Kafka topics and read from them."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import orjson
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition

from tests.services.kafka import create_topic

TOPICS = ("predictions", "labels", "results", "alerts", "late", "dead_letter")


class Record(NamedTuple):
    """A message read back."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.value)


def create_topics(bootstrap: str, name: Callable[[str], str], *, predictions: int, labels: int) -> dict[str, str]:
    """Creates the six topics under names of one test's own; the section `kafka.topics` of its configuration."""
    names = {topic: name(topic) for topic in TOPICS}
    for topic, full in names.items():
        create_topic(bootstrap, full, {"predictions": predictions, "labels": labels}.get(topic, 1))
    return names


def produce(bootstrap: str, topic: str, messages: Iterable[tuple[bytes | None, bytes]], **options: Any) -> None:
    """Returns when the broker has all the (key, value) messages; `options` are librdkafka's with "_" for "."."""
    settings = {"bootstrap.servers": bootstrap, "linger.ms": 5} | {name.replace("_", "."): value for name, value in options.items()}
    producer = Producer(settings)
    for key, value in messages:
        while True:
            try:
                producer.produce(topic, value, key)
                break
            except BufferError:
                producer.poll(0.1)
    assert producer.flush(60) == 0


def count(bootstrap: str, *topics: str) -> int:
    """How many messages the topics hold now."""
    with _reader(bootstrap) as consumer:
        return sum(_ends(consumer, topics).values())


def read(bootstrap: str, *topics: str) -> list[Record]:
    """All that the topics hold now, partition by partition."""
    with _reader(bootstrap) as consumer:
        ends = _ends(consumer, topics)
        consumer.assign([TopicPartition(topic, partition, 0) for topic, partition in ends])
        found: list[Record] = []
        deadline = time.monotonic() + 60
        while len(found) < sum(ends.values()):
            assert time.monotonic() < deadline, f"read {len(found)} of {ends} in 60 s"
            found += [_record(message) for message in consumer.consume(10_000, timeout=0.2)]
        return sorted(found, key=lambda record: record[:3])


@contextmanager
def _reader(bootstrap: str) -> Iterator[Consumer]:
    """A consumer that joins no group."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "never-joined", "enable.auto.commit": False})
    try:
        yield consumer
    finally:
        consumer.close()


def _ends(consumer: Consumer, topics: Iterable[str]) -> dict[tuple[str, int], int]:
    """The offset that comes next in each partition that holds something."""
    parts = [(topic, partition) for topic in topics for partition in consumer.list_topics(topic, timeout=10).topics[topic].partitions]
    ends = {part: consumer.get_watermark_offsets(TopicPartition(*part), timeout=10)[1] for part in parts}
    return {part: end for part, end in ends.items() if end}


def _record(message: Message) -> Record:
    error = message.error()
    if error is not None:
        raise KafkaException(error)
    topic, partition, offset, value = message.topic(), message.partition(), message.offset(), message.value()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    return Record(topic, partition, offset, message.key(), value or b"")


def wait_until(
    what: Callable[[], bool], *, within_s: float = 60.0, every_s: float = 0.05, otherwise: Callable[[], object] = lambda: ""
) -> None:
    """Returns when `what` is true; fails with what `otherwise` says if that takes too long."""
    deadline = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {otherwise()}"
        time.sleep(every_s)
