"""Publishing the simulated scenario: paced, complete, and what `driftstream simulate` makes of it."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka import Producer as KafkaProducer

from stream.app import build_models
from stream.embedded import MockBroker
from stream.reference import Reference
from stream.replay import replay
from stream.settings import load_settings
from stream.settings_services import KafkaSettings
from stream.simulate import DeliveryError, FraudScenario, Message, Producer, Topics, publish, run_simulation, write_reference
from tests.stream.simulated import START_MS, run

TOPICS = Topics("predictions", "labels")


@dataclass
class FakeProducer:
    """Takes messages until its queue is full; delivers when polled, refusing the topics in `refused`."""

    queue_max: int = 1_000_000
    refused: tuple[str, ...] = ()
    stuck: bool = False
    sent: list[tuple[str, Message]] = field(default_factory=list)
    queue: list[tuple[str, Callable[[Any, Any], None]]] = field(default_factory=list)
    full: int = 0

    def produce(self, topic: str, value: bytes, key: bytes, *, on_delivery: Callable[[Any, Any], None]) -> None:
        if len(self.queue) >= self.queue_max:
            self.full += 1
            raise BufferError("Local: Queue full")
        self.queue.append((topic, on_delivery))
        self.sent.append((topic, Message(key, value)))

    def poll(self, timeout: float) -> int:
        delivered, self.queue = ([], self.queue) if self.stuck else (self.queue, [])
        for topic, on_delivery in delivered:
            on_delivery("unknown topic" if topic in self.refused else None, None)
        return len(delivered)

    def flush(self, timeout: float) -> int:
        self.poll(timeout)
        return len(self.queue)


class FakeClock:
    """Moves when slept on, and by `cost_ms` at each reading: the work between two sleeps."""

    def __init__(self, cost_ms: int = 0) -> None:
        self.now_ms, self.cost_ms, self.sleeps = START_MS, cost_ms, list[float]()

    def __call__(self) -> int:
        self.now_ms += self.cost_ms
        return self.now_ms

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now_ms += round(seconds * 1000)


def test_publishing_paces_the_scenario_and_delivers_all_of_it() -> None:
    producer, clock = FakeProducer(), FakeClock()
    tally = publish(FraudScenario(START_MS), producer, TOPICS, rate=500, seconds=2, clock=clock, sleep=clock.sleep)
    assert clock.sleeps == [0.1] * 20
    assert tally.predictions.distinct == 1_000
    assert [message for topic, message in producer.sent if topic == "predictions"] == run(FraudScenario(START_MS), 2, 500).predictions
    assert sum(topic == "labels" for topic, _ in producer.sent) == tally.labels.messages > 0
    assert producer.queue == []


def test_publishing_that_is_late_catches_up_without_skipping() -> None:
    clock = FakeClock(cost_ms=150)  # more than a tick
    tally = publish(FraudScenario(START_MS), FakeProducer(), TOPICS, rate=500, seconds=2, clock=clock, sleep=clock.sleep)
    assert set(clock.sleeps) == {0}
    assert tally.predictions.distinct == 1_000


def test_full_queue_of_the_producer_loses_nothing() -> None:
    producer, clock = FakeProducer(queue_max=20), FakeClock()
    tally = publish(FraudScenario(START_MS), producer, TOPICS, rate=500, seconds=2, clock=clock, sleep=clock.sleep)
    assert producer.full > 0
    assert len(producer.sent) == tally.predictions.messages + tally.labels.messages


def test_endless_publishing_ends_when_sleep_raises_with_all_messages_flushed() -> None:
    producer, clock, scenario = FakeProducer(), FakeClock(), FraudScenario(START_MS)
    naps: Iterator[int] = iter(range(30))

    def sleep(seconds: float) -> None:
        if next(naps, None) is None:
            raise KeyboardInterrupt
        clock.sleep(seconds)

    with pytest.raises(KeyboardInterrupt):
        publish(scenario, producer, TOPICS, rate=500, clock=clock, sleep=sleep)
    assert scenario.now_ms == START_MS + 3_000
    assert len(producer.sent) == scenario.tally.predictions.messages + scenario.tally.labels.messages
    assert producer.queue == []


def test_endless_publishing_ends_when_sleep_says_so_with_all_messages_flushed() -> None:
    producer, clock, scenario = FakeProducer(), FakeClock(), FraudScenario(START_MS)
    naps = iter(range(30))

    def sleep(seconds: float) -> bool:
        clock.sleep(seconds)
        return next(naps, None) is None

    tally = publish(scenario, producer, TOPICS, rate=500, clock=clock, sleep=sleep)
    assert tally == scenario.tally
    assert scenario.now_ms == START_MS + 3_000
    assert len(producer.sent) == tally.predictions.messages + tally.labels.messages
    assert producer.queue == []


@pytest.mark.parametrize(
    ("producer", "reason"),
    [(FakeProducer(refused=("predictions",)), "unknown topic"), (FakeProducer(stuck=True), "unconfirmed=[1-9]")],
)
def test_messages_that_do_not_reach_kafka_are_reported(producer: FakeProducer, reason: str) -> None:
    clock = FakeClock()
    with pytest.raises(DeliveryError, match=reason):
        publish(FraudScenario(START_MS), producer, TOPICS, rate=500, seconds=1, clock=clock, sleep=clock.sleep)


def test_broker_receives_what_the_tally_says() -> None:
    kafka = KafkaProducer({"test.mock.num.brokers": 1, "log_level": 0, "queue.buffering.max.messages": 500})
    broker = next(iter(kafka.list_topics(timeout=10).brokers.values()))
    producer: Producer = kafka
    clock = FakeClock()
    tally = publish(FraudScenario(START_MS), producer, TOPICS, rate=500, seconds=5, clock=clock, sleep=clock.sleep)
    for topic, count in zip(TOPICS, (tally.predictions, tally.labels), strict=True):
        consumer = Consumer({"bootstrap.servers": f"{broker.host}:{broker.port}", "group.id": "test", "auto.offset.reset": "earliest"})
        partitions = kafka.list_topics(topic, timeout=10).topics[topic].partitions
        consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
        keys: list[bytes] = []
        while len(keys) < count.messages:
            messages = consumer.consume(count.messages, timeout=5)
            assert messages, f"{len(keys)} of {count.messages} messages arrived"
            keys.extend(message.key() or b"" for message in messages)
        consumer.close()
        assert len(keys) == count.messages
        assert len(set(keys)) == count.distinct


# what `driftstream simulate` does


@pytest.fixture
def kafka_settings() -> Iterator[KafkaSettings]:
    """A broker for one test, with the topics of the shipped configuration."""
    with MockBroker() as broker:
        settings = KafkaSettings(brokers=broker.bootstrap)
        for topic in (settings.topics.predictions, settings.topics.labels):
            broker.create_topic(topic, 3)
        yield settings


def messages_in(kafka: KafkaSettings, topic: str) -> int:
    consumer = Consumer({"bootstrap.servers": kafka.brokers, "group.id": "test", "enable.partition.eof": True})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(3)])
    ends = found = 0
    while ends < 3:
        for message in consumer.consume(10_000, timeout=1):
            ends, found = (ends, found + 1) if message.error() is None else (ends + 1, found)
    consumer.close()
    return found


def test_simulation_publishes_what_it_says_for_as_long_as_it_should(kafka_settings: KafkaSettings) -> None:
    tally = run_simulation(kafka_settings, rate=500, seconds=1.5, cycle_ms=60_000, label_delay_ms=100, seed=7)
    assert tally.predictions.distinct == 750
    assert tally.labels.distinct > 0
    assert messages_in(kafka_settings, kafka_settings.topics.predictions) == tally.predictions.messages
    assert messages_in(kafka_settings, kafka_settings.topics.labels) == tally.labels.messages


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_endless_simulation_that_is_asked_to_stop_has_delivered_all_that_it_counted(
    kafka_settings: KafkaSettings, number: signal.Signals
) -> None:
    ask = threading.Timer(1.0, os.kill, (os.getpid(), number))
    ask.start()
    tally = run_simulation(kafka_settings, rate=500, seconds=None, cycle_ms=60_000, label_delay_ms=100, seed=7)
    ask.join()
    assert messages_in(kafka_settings, kafka_settings.topics.predictions) == tally.predictions.messages > 0
    assert messages_in(kafka_settings, kafka_settings.topics.labels) == tally.labels.messages


def test_reference_of_the_simulation_depends_on_the_seed_alone(tmp_path: Path) -> None:
    paths = [tmp_path / "new folder" / name for name in ("one.json", "two.json", "three.json")]
    ids = [write_reference(path, seed=seed) for path, seed in zip(paths, (7, 7, 8), strict=True)]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert ids[0] == ids[1] != ids[2]
    assert [Reference.load(path).reference_id for path in paths] == ids


def test_shipped_configuration_understands_the_simulation(tmp_path: Path) -> None:
    """Everything but what is sent broken on purpose is counted, in every segment, and steady traffic raises no alert."""
    write_reference(tmp_path / "fraud.json", seed=7)
    settings = load_settings(Path("config/driftstream.yaml"), {"DRIFTSTREAM_REFERENCES": str(tmp_path)})
    scenario = FraudScenario(START_MS, cycle_ms=3_600_000)
    batch = run(scenario, 65, 200, tick_ms=1000)
    predictions, labels = tmp_path / "predictions.jsonl", tmp_path / "labels.jsonl"
    for path, messages in zip((predictions, labels), batch, strict=True):
        path.write_bytes(b"".join(message.value + b"\n" for message in messages))
    done = replay(settings, build_models(settings), predictions, labels, tmp_path / "out", now_ms=scenario.now_ms)
    sent = scenario.tally
    assert done.predictions["counted"] + done.predictions["late"] == sent.predictions.distinct
    assert done.predictions["duplicate"] == sent.predictions.duplicates
    assert done.labels["matched"] + done.predictions["completed"] == sent.labels.distinct
    results = [orjson.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_bytes().splitlines()]
    assert {result["segment"] for result in results} == {None, "country=DE", "country=FR", "country=US"}
    assert done.alerts == 0
