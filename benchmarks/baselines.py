"""What the worker cannot be faster than: the client alone, and the client with the product's decoder. Run as a process of its own."""

import gc
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from confluent_kafka import Consumer, TopicPartition

from benchmarks.data import settings
from benchmarks.measure import Measured, peak_rss_bytes
from stream.app import build_models
from stream.class_scores import ClassScores
from stream.coding import ClassCodes, Coding
from stream.events import EventDecoder, Messages
from stream.groups import Groups
from stream.kafka import COLLECT_EVERY, CONSUME_TIMEOUT_S, FETCH, client_options, count_partitions
from stream.settings import Settings
from stream.store import UnitId
from stream.store_memory import MemoryStore


def _nothing(messages: list[Any]) -> None:
    """The raw client."""


def decoder(config: Settings) -> tuple[EventDecoder, dict[str, Any]]:
    """The product's decoder, and its models by name."""
    models = build_models(config)
    store = MemoryStore(config.labels.max_delay_ms)
    texts = sorted({text for model in models.values() for text in model.settings.classes})
    classes = ClassCodes(models.values(), dict(zip(texts, store.intern("class", texts), strict=True)))
    return EventDecoder(
        config.events, models, lambda columns: Groups(models, columns, store), classes, ClassScores(models.values(), store)
    ), models


def _structs(config: Settings) -> Callable[[list[Any]], None]:
    """JSON to typed structs, each let go at once: what the product's fast path begins with."""
    events_of, _ = decoder(config)
    decoders = {
        config.kafka.topics.predictions: events_of._prediction_schema._decode,
        config.kafka.topics.labels: events_of._label_schema._decode,
    }

    def decode(messages: list[Any]) -> None:
        deque((decoders[message.topic()](message.value()) for message in messages), maxlen=0)

    return decode


def _columns(config: Settings) -> Callable[[list[Any]], None]:
    """JSON to all that is counted: columns of ids, times, groups, classes, scores, and the codes of all features."""
    events_of, models = decoder(config)
    coding = Coding(list(models.values()))

    def decode(messages: list[Any]) -> None:
        values, unknown = [message.value() for message in messages], [0] * len(messages)
        batch = Messages("", UnitId("predictions", 0), 0, unknown, values, unknown, [None] * len(messages))
        events, rejected = events_of.predictions(batch, 2**53)
        assert not rejected
        columns, invalid = events_of.feature_columns(coding.features, events.records, np.arange(len(messages)))
        coding.code([events.scores, *columns], invalid)

    return decode


CASES: dict[str, Callable[[Settings], Callable[[list[Any]], None]]] = {
    "consume": lambda config: _nothing,
    "decode": _structs,
    "decode-both": _structs,
    "columns": _columns,
}


def measure(config: Settings, case: str, expected: int) -> Measured:
    """Read all predictions once, and in `decode-both` all labels: so many messages are expected."""
    handle = CASES[case](config)
    consumer = Consumer(
        {
            **client_options(config.kafka),
            "group.id": config.kafka.group,
            "enable.auto.commit": False,
            **FETCH,
        }
    )
    gc.set_threshold(COLLECT_EVERY, *gc.get_threshold()[1:])
    partitions, topics = count_partitions(config.kafka, labels=True), config.kafka.topics
    places = [TopicPartition(topics.predictions, p, 0) for p in range(partitions.predictions)]
    if case == "decode-both":
        places += [TopicPartition(topics.labels, p, 0) for p in range(partitions.labels)]
    wall, cpu, seen = time.perf_counter(), time.process_time(), 0
    consumer.assign(places)
    while seen < expected:
        messages = consumer.consume(config.worker.batch_size, CONSUME_TIMEOUT_S)
        assert not any(message.error() for message in messages[:1]), messages[0].error()
        handle(messages)
        seen += len(messages)
    measured = Measured(time.perf_counter() - wall, time.process_time() - cpu, peak_rss_bytes("self"))
    consumer.close()
    if seen != expected:
        raise RuntimeError(f"read {seen} messages, expected {expected}")
    return measured


if __name__ == "__main__":
    path, name, count = sys.argv[1:]
    sys.stdout.buffer.write(msgspec.json.encode(measure(settings(Path(path)), name, int(count))))
