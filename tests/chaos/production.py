"""The load: sent steadily in the background, whatever happens to the broker, each event once and in order."""

import threading
import time
from collections import Counter
from typing import Any, Final

import numpy as np
import orjson
from confluent_kafka import Producer

from stream.simulate import Batch, Message
from tests.services.fraud import FraudLoad, is_readable

STEP_MS: Final = 500  # of event time in one go
EARLY_MS: Final = 8_000  # of event time whose labels are all sent before its predictions, twice the median delay of a label
EARLY_SHARE: Final = 0.25  # of the time that is sent so
LATE_SHARE, LATE_MS = 0.3, 40_000  # of the labels, sent so much of event time after they were due: late for any window by their own time
CORRECTED_SHARE, CORRECTED_MS = 0.01, 15_000  # of the labels, so long after them another that says the opposite
QUICK_SHARE, QUICK_MS = (
    0.5,
    1_000,
)  # of the corrections, less than that after them and sent at once: half of these wherever another key puts them
# Nothing is given up while the broker is away, and nothing is written twice when it comes back.
OPTIONS: Final = {"enable.idempotence": True, "message.timeout.ms": 0, "linger.ms": 5, "reconnect.backoff.max.ms": 1_000, "log_level": 0}


class Production:
    """Sends `rate` predictions for each second of event time, and `pace` in each second of real time, with their labels.

    Event time goes by as fast as that takes; it does not follow the clock, so the messages follow from the seed and their number alone.
    """

    def __init__(self, load: FraudLoad, *, seed: int, rate: int, pace: int, at_least: int) -> None:
        self._load, self._rate, self._pace, self._at_least = load, rate, pace, at_least
        self._rng = np.random.default_rng((seed, 3))
        self._hurry, self._abandon = threading.Event(), threading.Event()
        self._corrected: set[bytes] = set()  # keys, lest there be two corrections in two partitions
        self._held: list[tuple[int, Message]] = []  # labels, and from when on they may be sent
        self._sent: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        # The default of librdkafka for the one, that of the Java clients for the other: an id is in partitions of different numbers.
        partitioners = {"predictions": "consistent_random", "labels": "murmur2_random"}
        self._producers = {
            side: Producer({"bootstrap.servers": load.kafka, "partitioner": how, **OPTIONS}) for side, how in partitioners.items()
        }

    @property
    def predictions(self) -> int:
        return self._sent["predictions"]

    def finish(self) -> None:
        """Send what is missing of `at_least` at once, then end."""
        self._hurry.set()

    def abandon(self) -> None:
        """End now."""
        self._abandon.set()
        self._hurry.set()

    def run(self) -> None:
        """Returns when the broker has everything."""
        started = time.monotonic()
        while not self._abandon.is_set() and not (self._hurry.is_set() and self.predictions >= self._at_least):
            early = self._rng.random() < EARLY_SHARE
            held: list[Message] = []
            for _ in range(EARLY_MS // STEP_MS):
                batch = self._step()
                held += batch.predictions if early else ()
                self._send(batch._replace(predictions=[]) if early else batch)
                self._hurry.wait(max(0.0, started + (self.predictions + len(held)) / self._pace - time.monotonic()))
            self._send(Batch(held, []))
        self._send(Batch([], [message for _, message in self._held]))
        if self._abandon.is_set():
            for producer in self._producers.values():
                producer.purge()
            return
        unsent = sum(producer.flush(60) for producer in self._producers.values())
        assert unsent == 0, f"the broker does not take {unsent} messages"
        assert not self._failed, f"the broker refused {dict(self._failed)}"

    def _step(self) -> Batch:
        """What is sent next: some labels are held back, and some corrected."""
        scenario = self._load.scenario
        batch, labels = self._load.advance(STEP_MS, self._rate), []
        for message, (late, corrected) in zip(batch.labels, self._rng.random((len(batch.labels), 2)), strict=True):
            if late < LATE_SHARE:
                self._held.append((scenario.now_ms + LATE_MS, message))
            else:
                labels.append(message)
            if corrected < CORRECTED_SHARE and message.key not in self._corrected and is_readable(message.value):
                self._corrected.add(message.key)
                if late < LATE_SHARE or corrected < CORRECTED_SHARE * (1 - QUICK_SHARE):
                    self._held.append((scenario.now_ms + LATE_MS, _correction(message, CORRECTED_MS)))
                else:
                    labels.append(self._quick_correction(message))
        labels += [message for due_ms, message in self._held if due_ms <= scenario.now_ms]
        self._held = [(due_ms, message) for due_ms, message in self._held if due_ms > scenario.now_ms]
        return batch._replace(labels=labels)

    def _quick_correction(self, message: Message) -> Message:
        """One that may come before what it corrects is read, in another partition; in the same one it may have the same time."""
        if self._rng.random() < 0.5:
            return _correction(message, int(self._rng.integers(2) * self._rng.integers(QUICK_MS)))
        return _correction(message._replace(key=message.key + b" corrected"), int(self._rng.integers(1, QUICK_MS)))

    def _send(self, batch: Batch) -> None:
        for side, messages in batch._asdict().items():
            producer, topic = self._producers[side], self._load.topics[side]
            for message in messages:
                while not self._abandon.is_set():
                    try:
                        producer.produce(topic, message.value, message.key, on_delivery=self._delivered)
                        break
                    except BufferError:
                        producer.poll(0.1)
            producer.poll(0)
            self._sent[side] += len(messages)

    def _delivered(self, error: Any, _: Any) -> None:
        if error is not None:
            self._failed[str(error)] += 1


def _correction(message: Message, after_ms: int) -> Message:
    """A later label of the same prediction that says the opposite."""
    event = orjson.loads(message.value)
    event |= {"timestamp": event["timestamp"] + after_ms, "label": "0" if str(event["label"]) == "1" else "1"}
    return Message(message.key, orjson.dumps(event))
