"""The events that every case reads: made once per run, the same bytes every time, and in Kafka before anything is measured."""

from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Producer

from stream.settings import Settings, load_settings
from stream.simulate import MODEL, VERSION, Faults, FraudScenario, Message

PARTITIONS = 4  # of each topic
RATE = 1_000  # predictions per second of event time
START_MS = 1_767_225_600_000  # 2026-01-01, so that no event is in the future
STEP_MS = 1_000
LABELS_UNTIL_MS = 10**15  # past every due label
REFERENCE_ROWS = 20_000

# Clean but for disorder within `out_of_orderness`: then every prediction must be counted and every label matched, exactly once.
FAULTS = Faults(straggling=0, predictions_resent=0, labels_resent=0, malformed=0, unlabelled=0)

CONFIGURATION = """
kafka:
  brokers: {brokers}
  group: {name}
  topics: {{predictions: {topics[0]}, labels: {topics[1]}}}
redis:
  url: {redis}
  namespace: {name}
windows:
  - {{size: 10s}}
  - {{size: 1m, slide: 10s}}
models:
  {model}:
    reference: {folder}/reference.json
    task: classification
    classes: ["0", "1"]
    positive: "1"
    labels: {labels}
worker:
  checkpoint_every: 1s
"""


@dataclass(frozen=True, slots=True)
class Produced:
    """What is in Kafka."""

    predictions: int
    labels: int
    prediction_bytes: int
    label_bytes: int


def configure(folder: Path, *, name: str, brokers: str, redis: str, labels: bool, topics: tuple[str, str]) -> Path:
    """The configuration file of one run, with a consumer group and a Redis namespace of its own."""
    path = folder / f"{name}.yaml"
    switch = str(labels).lower()
    text = CONFIGURATION.format(brokers=brokers, redis=redis, name=name, model=MODEL, folder=folder, labels=switch, topics=topics)
    path.write_text(text)
    return path


def settings(path: Path) -> Settings:
    """The settings of a configuration file, whatever the environment says."""
    return load_settings(path, {})


def write_reference(scenario: FraudScenario, folder: Path) -> None:
    """The frozen reference of the scenario's model."""
    from stream.reference_build import build_reference

    rows = folder / "rows.jsonl"
    scenario.write_reference_data(rows, REFERENCE_ROWS)
    build_reference(rows, model=MODEL, version=VERSION).save(folder / "reference.json")


def produce(scenario: FraudScenario, brokers: str, topics: tuple[str, str], predictions: int, *, settle: bool = True) -> Produced:
    """Write the next predictions and a label for each; predictions go round the partitions, labels go by hash of their key.

    `settle`: also the labels that are not yet due, as after the last prediction.
    """
    producer = Producer({"bootstrap.servers": brokers, "compression.type": "lz4", "linger.ms": 100, "batch.size": 1_000_000, "acks": 1})
    sent, sizes = [0, 0], [0, 0]

    def send(side: int, messages: list[Message]) -> None:
        for message in messages:
            partition = sent[side] % PARTITIONS if side == 0 else hash_partition(message.key)
            while True:
                try:
                    producer.produce(topics[side], message.value, message.key, partition)
                    break
                except BufferError:
                    producer.poll(0.1)
            sent[side] += 1
            sizes[side] += len(message.value)

    while sent[0] < predictions:
        batch = scenario.advance(scenario.now_ms + min(STEP_MS, (predictions - sent[0]) * 1000 // RATE), RATE)
        send(0, batch.predictions)
        send(1, batch.labels)
        producer.poll(0)
    if settle:
        send(1, scenario.advance(LABELS_UNTIL_MS, 0).labels)
    if producer.flush(60):
        raise RuntimeError("Kafka did not take all messages within 60 s")
    return Produced(sent[0], sent[1], sizes[0], sizes[1])


def hash_partition(key: bytes) -> int:
    """Labels come by another partition than their prediction, as they do when another service sends them."""
    return sum(key) % PARTITIONS
