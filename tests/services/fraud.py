"""A load of the simulated fraud model in Kafka, with all that goes wrong on the way, and what an independent oracle says of it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import orjson
from confluent_kafka import Producer

from stream.balance import Balance, read_balance
from stream.embedded import free_port
from stream.simulate import Batch, Faults, FraudScenario, Message
from stream.store import Partitions, UnitId, UnitView
from stream.store_redis import RedisStore
from tests.oracle import Family, Monitored, Recomputed, Timing, mismatches, recompute, reference_features
from tests.oracle_alerts import Limits, expected_alerts
from tests.services.topics import Record, create_topics, produce, read
from tests.services.worker import write_config

START_MS: Final = 1_767_600_000_000  # 2026-01-05T08:00Z
WINDOWS: Final = (Family("tumbling", 10_000, 10_000), Family("sliding", 30_000, 10_000))
COHORTS: Final = (Family("cohort", 20_000, 20_000), Family("cohorts", 40_000, 20_000))  # by the time of the predictions
CLASSES: Final = ("0", "1", "2")  # of which the last never comes: with three, the score of each is counted
MAX_DELAY_MS: Final = 3_600_000
TIMING: Final = Timing(out_of_orderness_ms=5_000, max_delay_ms=MAX_DELAY_MS)
SESSION_MS: Final = 6_000  # until the group gives a dead worker's partitions away; the broker allows no less
PSI: Final = Limits(warning=0.1, critical=0.2, minimum_sample=200)  # what the product has built in
QUALITY: Final = {  # likewise
    "missing_ratio": Limits(warning=0.05, critical=0.2, minimum_sample=200),
    "type_violation_ratio": Limits(warning=0.01, critical=0.05, minimum_sample=200),
}
ACCURACY: Final = Limits(warning=0.9, critical=0.85, minimum_sample=100)  # the sample is built in
FAULTS: Final = Faults(straggling=0.005, predictions_resent=0.01, labels_resent=0.02, malformed=0.005)


@dataclass
class FraudLoad:
    """Topics of its own, a configuration for workers, and a scenario whose event time stands still while nothing is sent.

    Nothing falls idle and no wall clock moves a watermark, so every count follows from the messages alone. `close` sends one event far
    ahead to every partition, which closes all windows before it.
    """

    kafka: str
    redis_url: str
    namespace: str
    topics: dict[str, str]
    folder: Path
    partitions: Partitions
    scenario: FraudScenario
    max_delay_ms: int = MAX_DELAY_MS

    def __post_init__(self) -> None:
        self.scenario.reference().save(self.folder / "fraud.json")
        self.config = write_config(
            self.folder / "fraud.yaml",
            kafka={
                "brokers": self.kafka,
                "group": self.topics["predictions"],
                "topics": self.topics,
                "options": {"session.timeout.ms": SESSION_MS, "heartbeat.interval.ms": 1000},
            },
            redis={"url": self.redis_url, "namespace": self.namespace},
            time={"out_of_orderness": "5s", "idle_after": "1h", "when_idle": "hold"},
            labels={"max_delay": f"{self.max_delay_ms}ms"},
            windows=_windows(WINDOWS),
            by_prediction_time={"windows": _windows(COHORTS), "revise_every": "10s"},
            models={
                "fraud": {
                    "reference": "fraud.json",
                    "classes": CLASSES,
                    "positive": "1",
                    "segments": ["country"],
                    "performance": {"accuracy": {"warning": ACCURACY.warning, "critical": ACCURACY.critical}},
                }
            },
            worker={"batch_size": 200, "checkpoint_every": "100ms", "web_port": free_port()},
        )

    def advance(self, ms: int, rate: int) -> Batch:
        """What the scenario sends in the next `ms` of event time, each score as one of each of its two classes."""
        batch = self.scenario.advance(self.scenario.now_ms + ms, rate)
        return batch._replace(predictions=list(map(_scored_by_class, batch.predictions)))

    def send(self, seconds: int, rate: int, *, labels_first: bool = False) -> None:
        """The next seconds of event time, with `rate` predictions in each; returns when the broker has them."""
        sent: dict[str, list[Message]] = {"predictions": [], "labels": []}
        for _ in range(seconds * 10):
            batch = self.advance(100, rate)
            sent["predictions"] += batch.predictions
            sent["labels"] += batch.labels
        for side in ("labels", "predictions") if labels_first else ("predictions", "labels"):
            # The default of librdkafka for the one, that of the Java clients for the other: an id is in partitions of different numbers.
            produce(
                self.kafka, self.topics[side], sent[side], partitioner="consistent_random" if side == "predictions" else "murmur2_random"
            )

    def close(self) -> None:
        """Send the last event of every partition; the scenario is over."""
        at = self.scenario.now_ms + self.max_delay_ms // 2
        producer = Producer({"bootstrap.servers": self.kafka})
        for unit in self.partitions.units():
            event: dict[str, Any] = {"prediction_id": f"last-{unit}", "timestamp": at, "model": "fraud"}
            event |= {"prediction": "0", "features": {}} if unit.side == "predictions" else {"label": "0"}
            producer.produce(self.topics[unit.side], orjson.dumps(event), partition=unit.partition)
        assert producer.flush(30) == 0

    # what the workers made of it

    @contextmanager
    def store(self) -> Iterator[RedisStore]:
        store = RedisStore(self.redis_url, self.namespace, max_delay_ms=self.max_delay_ms)
        try:
            yield store
        finally:
            store.close_connections()

    def view(self) -> dict[UnitId, UnitView]:
        """The units as they stand in Redis."""
        with self.store() as store:
            return store.view(self.partitions.units())

    def balance(self) -> Balance:
        with self.store() as store:
            return read_balance(store, self.partitions)

    def consumed(self) -> int:
        """Messages that are durably counted."""
        return sum(view.counters.get("consumed", 0) for view in self.view().values())

    def read(self, *topics: str) -> list[Record]:
        return read(self.kafka, *(self.topics[topic] for topic in topics))

    # what they should have

    @cached_property
    def sent(self) -> dict[UnitId, list[Record]]:
        """All messages of each partition, without those of `close`; only once everything was sent."""
        found: dict[UnitId, list[Record]] = {unit: [] for unit in self.partitions.units()}
        for side in ("predictions", "labels"):
            for record in self.read(side):
                if record.key is not None:
                    found[UnitId(side, record.partition)].append(record)
        return found

    @property
    def model(self) -> Monitored:
        features = reference_features(self.folder / "fraud.json")
        outputs = reference_features(self.folder / "fraud.json", "outputs")
        segments = (("country",),)
        return Monitored("fraud", WINDOWS, CLASSES, "1", segments=segments, features=features, outputs=outputs, cohorts=COHORTS)

    def expected(self) -> Recomputed:
        """What the oracle says; it sees the readable events only."""
        sides: dict[str, list[list[Any]]] = {"predictions": [], "labels": []}
        for unit, records in self.sent.items():
            sides[unit.side].append([record.json for record in records if is_readable(record.value)])
        return recompute([self.model], sides["predictions"], sides["labels"], TIMING._replace(max_delay_ms=self.max_delay_ms))

    def mismatches(self, expected: Recomputed, *, late_labels: bool = True) -> list[str]:
        """What the published results say differently. Some labels come before their predictions: of late ones only the sum is compared.

        Args:
            late_labels: False after a loss of all state, when one that was noted in a published window may be noted in another as well.
        """
        results = {record.json["result_id"]: record.json for record in self.read("results")}
        found = mismatches([self.model], results.values(), expected, late_labels=False)
        noted = sum(r["counts"]["late"] for r in results.values() if is_overall(r["subject"], r["segment"], r["window"]["name"]))
        should = sum(window.late for key, window in expected.windows.items() if is_overall(key.subject, key.segment, key.window))
        most = should + expected.either["late"]
        return [*found, *([f"late labels: {noted}, expected {should} to {most}"] if late_labels and not should <= noted <= most else [])]

    def expected_alerts(self, expected: Recomputed) -> dict[str, str]:
        """Every alert id that must be on the topic, and what it says."""
        return expected_alerts([self.model], expected, drift={"psi": PSI}, performance={"accuracy": ACCURACY}, quality=QUALITY)


def _windows(families: Sequence[Family]) -> list[dict[str, str]]:
    return [{"name": w.name, "size": f"{w.size_ms}ms", "slide": f"{w.slide_ms}ms"} for w in families]


def _scored_by_class(message: Message) -> Message:
    if not is_readable(message.value):
        return message
    event = orjson.loads(message.value)
    return message._replace(value=orjson.dumps(event | {"score": {"0": 1 - event["score"], "1": event["score"]}}))


def is_readable(value: bytes) -> bool:
    """Whether it is an event: the scenario spoils a message in one of four ways."""
    try:
        event = orjson.loads(value)
    except orjson.JSONDecodeError:
        return False
    return isinstance(event, dict) and isinstance(event["timestamp"], int)


def make_load(kafka: str, redis_url: str, name: str, folder: Path, *, seed: int = 7, **changes: Any) -> FraudLoad:
    """A load with topics that are named after `name`, which no other test uses."""
    partitions = Partitions(predictions=4, labels=3)
    topics = create_topics(kafka, lambda topic: f"{topic}-{name}", predictions=partitions.predictions, labels=partitions.labels)
    scenario = FraudScenario(START_MS, seed=seed, label_delay_ms=4_000, faults=FAULTS)
    return FraudLoad(kafka, redis_url, f"test-{name}", topics, folder, partitions, scenario, **changes)


def is_overall(subject: str, segment: str | None, window: str) -> bool:
    """Whether it is a performance window among those that count each label once."""
    return subject == "performance" and segment is None and window == WINDOWS[0].name
