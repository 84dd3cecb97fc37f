"""Kafka read from a time on, outside of any consumer group: nothing is committed, and no worker notices."""

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from stream.kafka import METADATA_TIMEOUT_S, KafkaUnavailableError, consumer_options
from stream.settings_services import KafkaSettings

log = logging.getLogger(__name__)

BATCH: Final = 10_000
QUIET_S: Final = 10.0  # without a message although the end was not reached: the broker is away


def first_messages(kafka: KafkaSettings, topic: str) -> list[Any]:
    """The oldest message of each partition that has one. Raises KafkaUnavailableError."""
    firsts: dict[int, Any] = {}
    with _reader(kafka, topic) as (consumer, ends):
        consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in ends])
        for batch in _until(consumer, dict(ends)):
            for message in batch:
                firsts.setdefault(message.partition(), message)
            if firsts.keys() == ends.keys():
                break
    return list(firsts.values())


def messages_since(kafka: KafkaSettings, topic: str, start_ms: int | None) -> Iterator[list[Any]]:
    """The messages of a topic that Kafka got at a time or later, in batches; ends at what is the end of the topic now.

    They hold all events of that time and later, as no event is sent before it happens. There is no such rule for an end: history may be
    sent years later.

    Raises:
        KafkaUnavailableError: no broker answers, or there is no such topic.
    """
    with _reader(kafka, topic) as (consumer, ends):
        places = [TopicPartition(topic, p, OFFSET_BEGINNING if start_ms is None else start_ms) for p in ends]
        if start_ms is not None and places:
            found = consumer.offsets_for_times(places, timeout=METADATA_TIMEOUT_S)
            places = [at for at in found if 0 <= at.offset < ends[at.partition]]
        consumer.assign(places)
        yield from _until(consumer, {at.partition: ends[at.partition] for at in places})


@contextmanager
def _reader(kafka: KafkaSettings, topic: str) -> Iterator[tuple[Consumer, dict[int, int]]]:
    """A consumer that joins no group, and the end of each partition that holds something."""
    options = {"group.id": f"{kafka.group}-history-{uuid.uuid4().hex}", "auto.offset.reset": "earliest"}
    consumer = Consumer(consumer_options(kafka) | options, logger=log)
    try:
        metadata = consumer.list_topics(topic, timeout=METADATA_TIMEOUT_S).topics[topic]
        if metadata.error is not None or not metadata.partitions:
            raise KafkaUnavailableError(f"no topic {topic!r}, expected it to exist")
        ranges = {p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=METADATA_TIMEOUT_S) for p in metadata.partitions}
        yield consumer, {p: end for p, (first, end) in ranges.items() if first < end}
    except KafkaException as error:
        raise KafkaUnavailableError(f"cannot read {topic}: {error.args[0].str()}; check kafka.brokers") from None
    finally:
        consumer.close()


def _until(consumer: Consumer, ends: dict[int, int]) -> Iterator[list[Any]]:
    """Batches until every partition has reached its end."""
    while ends:
        batch = consumer.consume(BATCH, QUIET_S)
        if not batch:
            raise KafkaUnavailableError(f"no message for {QUIET_S:.0f} s before the end of the topic, expected one; check kafka.brokers")
        usable = []
        for message in batch:
            error, partition, offset = message.error(), message.partition(), message.offset()
            assert partition is not None
            assert offset is not None
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                raise KafkaException(error)
            if error is None and partition in ends:
                usable.append(message)
            if error is not None or offset + 1 >= ends.get(partition, 0):
                ends.pop(partition, None)
        yield usable
