"""A scenario for demonstrations and benchmarks: a fraud model's inputs drift, then its accuracy falls; labels that show it are delayed.

`FraudScenario` is pure: seeded, no clock, no I/O; the same seed, start and steps give the same bytes. `publish` is the shell: it
paces a scenario in real time and hands its messages to a Kafka producer. The scenario counts what it sends, so that a run can prove
that nothing was lost. `write_reference` and `run_simulation` are what `driftstream simulate` does.
"""

import math
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import confluent_kafka
import numpy as np
import orjson
from numpy.random import Generator

from stream.fraud import PHASES, Flags, FraudModel, Integers, Phase, Traffic, Transactions
from stream.kafka import KafkaUnavailableError, client_options, count_partitions
from stream.reference import Reference
from stream.reference_build import build_reference
from stream.settings_services import KafkaSettings
from stream.signals import stop_signals
from stream.worker import wall_clock_ms

MODEL, VERSION = "fraud", "2026.1"
COUNTRIES, COUNTRY_SHARES = np.array(["DE", "FR", "US"]), (0.5, 0.3, 0.2)
DECISION_THRESHOLD = 0.5
TRAINING_ROWS = 5_000
LABEL_DELAY_SIGMA = 0.5  # of the lognormal delay: 5 % of the labels take more than 2.3 times the median
TICK_MS = 100
FLUSH_SECONDS = 30.0  # to wait for the last deliveries; a broker that needs longer is down


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong on the way, as shares of the events; malformed messages come on top of them. All 0: a clean stream."""

    disordered: float = 0.05  # sent up to `disorder_ms` after their event time
    disorder_ms: int = 1_000
    straggling: float = 0.0005  # predictions sent `straggle_ms` after their event time: late for any short window
    straggle_ms: int = 20_000
    predictions_resent: float = 0.002
    labels_resent: float = 0.005
    malformed: float = 0.001
    unlabelled: float = 0.02  # predictions whose label never comes


class Message(NamedTuple):
    """A Kafka message; the key is the prediction id."""

    key: bytes
    value: bytes


class Batch(NamedTuple):
    """The messages of one interval, in the order of sending."""

    predictions: list[Message]
    labels: list[Message]


@dataclass(frozen=True, slots=True)
class Count:
    """Messages of one topic: distinct well-formed events, exact repetitions of one of them, and messages that no decoder can use."""

    distinct: int = 0
    duplicates: int = 0
    malformed: int = 0

    @property
    def messages(self) -> int:
        """All messages sent."""
        return self.distinct + self.duplicates + self.malformed


@dataclass(frozen=True, slots=True)
class Tally:
    """What a scenario has sent so far: `predictions.distinct == labels.distinct + pending + unlabelled`, always."""

    predictions: Count
    labels: Count
    stragglers: int  # of the distinct predictions
    pending: int  # labels not due yet
    unlabelled: int


class Feed:
    """One topic's messages on their way: repeats some in the next batch, adds malformed ones, and counts all."""

    def __init__(self, rng: Generator, *, resent: float, malformed: float) -> None:
        self.count = Count()
        self._rng, self._resent, self._malformed = rng, resent, malformed
        self._again: list[Message] = []

    def send(self, messages: list[Message]) -> list[Message]:
        """The messages, then the repetitions from the previous call, then the malformed ones."""
        again, self._again = self._again, [messages[i] for i in np.flatnonzero(self._rng.random(len(messages)) < self._resent)]
        broken = [_malform(messages[i], i) for i in np.flatnonzero(self._rng.random(len(messages)) < self._malformed).tolist()]
        count = self.count
        self.count = Count(count.distinct + len(messages), count.duplicates + len(again), count.malformed + len(broken))
        return messages + again + broken


def _malform(message: Message, kind: int) -> Message:
    """The message, unusable in one of four ways: cut off, not UTF-8, not an object, without a readable time."""
    value = message.value
    broken = (value[:-20], b"\xff" + value, b"[" + value + b"]", value.replace(b'"timestamp":', b'"timestamp":"yesterday","was":'))
    return Message(message.key, broken[kind % len(broken)])


class Labels:
    """The labels that are still to come, as columns: a lognormal delay after the prediction, for some never."""

    def __init__(self, rng: Generator, *, delay_ms: int, unlabelled: float) -> None:
        self.unlabelled = 0
        self._rng, self._delay_ms, self._unlabelled_share = rng, delay_ms, unlabelled
        self._pending: Integers = np.empty((0, 3), dtype=np.int64)  # due ms, number of the prediction, 1 if fraud

    def __len__(self) -> int:
        return len(self._pending)

    def schedule(self, first: int, event_ms: Integers, fraud: Flags) -> None:
        """Draw when the labels of the predictions numbered `first`, `first + 1`, ... come."""
        n = len(event_ms)
        due_ms = event_ms + self._rng.lognormal(math.log(self._delay_ms), LABEL_DELAY_SIGMA, n).astype(np.int64)
        labelled = self._rng.random(n) >= self._unlabelled_share
        self.unlabelled += n - int(labelled.sum())
        self._pending = np.concatenate([self._pending, np.column_stack([due_ms, np.arange(first, first + n), fraud])[labelled]])

    def due(self, until_ms: int) -> Integers:
        """Take out the labels due before `until_ms`, in order: rows of due ms, number of the prediction, 1 if fraud."""
        due = self._pending[:, 0] < until_ms
        rows, self._pending = self._pending[due], self._pending[~due]
        return rows[np.argsort(rows[:, 0], kind="stable")]


class FraudScenario:
    """Prediction and label events of the simulated model, interval by interval.

    Args:
        start_ms: epoch ms of the first interval; no event is older.
        seed: of everything random; with `start_ms` it also makes the prediction ids.
        phases: run through in order, then again from the first, so that alerts are seen to resolve in an endless run.
        cycle_ms: length of all phases together.
        label_delay_ms: median time from a prediction to its label.
        faults: what goes wrong on the way.
    Raises:
        ValueError: the shares of the phases do not add up to 1.
    """

    def __init__(
        self,
        start_ms: int,
        *,
        seed: int = 7,
        phases: Sequence[Phase] = PHASES,
        cycle_ms: int = 60_000,
        label_delay_ms: int = 3_000,
        faults: Faults = Faults(),
    ) -> None:
        shares = [phase.share for phase in phases]
        if not math.isclose(sum(shares), 1.0):
            raise ValueError(f"cannot lay out the phases: {shares=!r}, expected a sum of 1; correct the shares")
        self.phases, self.now_ms = tuple(phases), start_ms
        self._start_ms, self._cycle_ms, self._phase_ends = start_ms, cycle_ms, np.cumsum(shares)[:-1] * cycle_ms
        training, rng, self._seed = np.random.default_rng((seed, 0)), np.random.default_rng((seed, 1)), seed
        self.traffic = Traffic(training)
        self.model = FraudModel(self._steady(training, TRAINING_ROWS))
        self._rng, self._faults, self._stragglers = rng, faults, 0
        self._prediction_feed = Feed(rng, resent=faults.predictions_resent, malformed=faults.malformed)
        self._label_feed = Feed(rng, resent=faults.labels_resent, malformed=faults.malformed)
        self._labels = Labels(rng, delay_ms=label_delay_ms, unlabelled=faults.unlabelled)
        self._run = f"{datetime.fromtimestamp(start_ms / 1000, UTC):%Y%m%dT%H%M%S}{start_ms % 1000:03d}-{seed}"
        self._owed = 0  # thousandths of a prediction that the rate has not yet filled up to a whole one

    @property
    def tally(self) -> Tally:
        """What has been sent so far."""
        labels = self._labels
        return Tally(self._prediction_feed.count, self._label_feed.count, self._stragglers, len(labels), labels.unlabelled)

    def phase_at(self, time_ms: int) -> Phase:
        """The phase of events with this event time."""
        return self.phases[int(self._phase_index(np.array([time_ms]))[0])]

    def advance(self, until_ms: int, rate: int) -> Batch:
        """All messages sent in `[now_ms, until_ms)`, with `rate` predictions per second; moves `now_ms`. Rate 0: only what is still due."""
        assert until_ms >= self.now_ms, "time never goes back"
        n, self._owed = divmod(self._owed + rate * (until_ms - self.now_ms), 1000)
        first = self._prediction_feed.count.distinct
        event_ms = self._event_times(np.sort(self._rng.integers(self.now_ms, until_ms, n)))
        transactions = self.traffic.draw(self._rng, self.phases, self._phase_index(event_ms))
        predictions = self._prediction_feed.send(self._predict(first, event_ms, transactions))
        self._labels.schedule(first, event_ms, transactions.fraud)
        labels = self._label_feed.send([self._label(*row) for row in self._labels.due(until_ms).tolist()])
        self.now_ms = until_ms
        return Batch(predictions, labels)

    def reference_rows(self, n: int) -> list[dict[str, Any]]:
        """n scored and labelled rows of the first phase: features, "prediction", "score" and "label". Does not change the stream."""
        transactions = self._steady(np.random.default_rng((self._seed, 2)), n)
        score = self.model.score(transactions)
        columns = (np.where(score >= DECISION_THRESHOLD, "1", "0"), score, np.where(transactions.fraud, "1", "0"))
        rows = zip(*(column.tolist() for column in columns), transactions.rows(), strict=True)
        return [features | {"prediction": prediction, "score": score, "label": label} for prediction, score, label, features in rows]

    def write_reference_data(self, path: Path, rows: int = 20_000) -> None:
        """Write `reference_rows` as JSON lines, for `driftstream reference build`."""
        path.write_bytes(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in self.reference_rows(rows)))

    def reference(self) -> Reference:
        """The reference of the simulated model, built from `write_reference_data` like any other."""
        with tempfile.TemporaryDirectory(prefix="driftstream-") as folder:
            data = Path(folder) / "training.jsonl"
            self.write_reference_data(data)
            return build_reference(data, model=MODEL, version=VERSION)

    def _steady(self, rng: Generator, n: int) -> Transactions:
        return self.traffic.draw(rng, self.phases, np.zeros(n, dtype=np.int64))

    def _phase_index(self, time_ms: Integers) -> Integers:
        return np.searchsorted(self._phase_ends, (time_ms - self._start_ms) % self._cycle_ms, side="right")

    def _event_times(self, sent_ms: Integers) -> Integers:
        n, faults = len(sent_ms), self._faults
        disordered, straggling = self._rng.random(n) < faults.disordered, self._rng.random(n) < faults.straggling
        self._stragglers += int(straggling.sum())
        behind_ms = disordered * self._rng.integers(0, faults.disorder_ms, n, endpoint=True)
        return np.maximum(sent_ms - np.where(straggling, faults.straggle_ms, behind_ms), self._start_ms)

    def _predict(self, first: int, event_ms: Integers, transactions: Transactions) -> list[Message]:
        score = self.model.score(transactions)
        country = self._rng.choice(COUNTRIES, len(score), p=COUNTRY_SHARES)
        latency_ms = np.round(self._rng.lognormal(math.log(12.0), 0.4, len(score)), 1)
        columns = (event_ms, np.where(score >= DECISION_THRESHOLD, "1", "0"), score, country, latency_ms)
        rows = zip(*(column.tolist() for column in columns), transactions.rows(), strict=True)
        return [
            self._message(
                number,
                {
                    "timestamp": time_ms,
                    "model": MODEL,
                    "version": VERSION,
                    "prediction": prediction,
                    "score": score,
                    "features": features,
                    "segments": {"country": country},
                    "latency_ms": latency_ms,
                },
            )
            for number, (time_ms, prediction, score, country, latency_ms, features) in enumerate(rows, first)
        ]

    def _label(self, time_ms: int, number: int, fraud: int) -> Message:
        return self._message(number, {"timestamp": time_ms, "model": MODEL, "label": str(fraud)})

    def _message(self, number: int, event: dict[str, Any]) -> Message:
        prediction_id = f"{self._run}-{number:07d}"
        return Message(prediction_id.encode(), orjson.dumps({"prediction_id": prediction_id, **event}))


class Producer(Protocol):
    """The part of `confluent_kafka.Producer` that publishing needs."""

    def produce(self, topic: str, value: bytes, key: bytes, *, on_delivery: Callable[[Any, Any], None]) -> None: ...
    def poll(self, timeout: float) -> int: ...
    def flush(self, timeout: float) -> int: ...


class Topics(NamedTuple):
    """Where the events go."""

    predictions: str
    labels: str


class DeliveryError(Exception):
    """Messages were handed to the producer and did not reach Kafka."""


def publish(
    scenario: FraudScenario,
    producer: Producer,
    topics: Topics,
    *,
    rate: int,
    clock: Callable[[], int],
    sleep: Callable[[float], object],
    seconds: float = math.inf,
) -> Tally:
    """The tally, after publishing the next `seconds` of the scenario in real time.

    Ticks are fixed steps of event time, so that a run can be repeated: a tick that is late is sent at once, none is skipped.

    Args:
        clock: epoch ms. A scenario that starts well before is published as fast as Kafka takes it, until it has caught up.
        sleep: waits for some seconds, or 0. Called before each tick: True as its answer, as of `threading.Event.wait`, ends the run, and so
            does whatever it raises; everything counted is flushed then.
    Raises:
        DeliveryError: Kafka refused messages, or did not confirm them in time.
    """
    failures: Counter[str] = Counter()
    stop_ms = scenario.now_ms + seconds * 1000

    def on_delivery(error: Any, _: Any) -> None:
        if error is not None:
            failures[str(error)] += 1

    try:
        while stop_ms - scenario.now_ms >= 1:
            until_ms = int(min(scenario.now_ms + TICK_MS, stop_ms))
            if sleep(max(0, until_ms - clock()) / 1000) is True:
                break
            for topic, messages in zip(topics, scenario.advance(until_ms, rate), strict=True):
                for message in messages:
                    _produce(producer, topic, message, on_delivery)
            producer.poll(0)
    finally:
        unconfirmed = producer.flush(FLUSH_SECONDS)
    if failures or unconfirmed:
        raise DeliveryError(f"cannot publish: {unconfirmed=}, failures={dict(failures)!r}, expected none; check that Kafka is reachable")
    return scenario.tally


def _produce(producer: Producer, topic: str, message: Message, on_delivery: Callable[[Any, Any], None]) -> None:
    """Hand the message over; while the producer's queue is full, wait for deliveries."""
    while True:
        try:
            return producer.produce(topic, message.value, message.key, on_delivery=on_delivery)
        except BufferError:
            producer.poll(0.1)


def write_reference(out: Path, *, seed: int) -> str:
    """The id of the simulated model's reference, after writing it to a file."""
    reference = FraudScenario(0, seed=seed).reference()
    out.parent.mkdir(parents=True, exist_ok=True)
    reference.save(out)
    return reference.reference_id


def run_simulation(kafka: KafkaSettings, *, rate: int, seconds: float | None, cycle_ms: int, label_delay_ms: int, seed: int) -> Tally:
    """The tally, after publishing to the configured topics for some seconds, or (None) until SIGINT or SIGTERM.

    Raises:
        KafkaUnavailableError: no broker answers, a topic does not exist, or Kafka did not take everything.
    """
    count_partitions(kafka, labels=True)
    producer = confluent_kafka.Producer({"linger.ms": 20, "compression.type": "lz4", **client_options(kafka), "enable.idempotence": True})
    scenario = FraudScenario(wall_clock_ms(), seed=seed, cycle_ms=cycle_ms, label_delay_ms=label_delay_ms)
    topics = Topics(kafka.topics.predictions, kafka.topics.labels)
    with stop_signals() as stop:
        try:
            return publish(
                scenario,
                producer,
                topics,
                rate=rate,
                clock=wall_clock_ms,
                sleep=stop.wait,
                seconds=math.inf if seconds is None else seconds,
            )
        except DeliveryError as error:
            raise KafkaUnavailableError(str(error)) from None
