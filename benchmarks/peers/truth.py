"""What every peer must have found in the events, by the product's own decoder and coding, and whether it did.

Without that a ratio means nothing: it would be that of two different jobs.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from confluent_kafka import Consumer, TopicPartition

from benchmarks.baselines import decoder
from benchmarks.peers.job import Answer, Feature, Job, Window
from stream.aggregates import Codes, Counts
from stream.coding import Coding
from stream.events import Messages
from stream.kafka import CONSUME_TIMEOUT_S, METADATA_TIMEOUT_S, client_options
from stream.model import Model
from stream.reference import NumericFeature
from stream.settings import Settings
from stream.store import UnitId
from stream.windows import pane_starts

BATCH = 10_000


class WrongAnswerError(RuntimeError):
    """A peer did not find in the events what we find."""


def features(model: Model) -> list[Feature]:
    """Where the model's histograms lie, for `Coder`."""
    return [
        Feature(
            slot.feature.name,
            slot.start,
            slot.missing,
            edges=slot.feature.edges.tolist() if isinstance(slot.feature, NumericFeature) else (),
            categories=() if isinstance(slot.feature, NumericFeature) else slot.feature.categories,
        )
        for slot in model.slots
    ]


def job(config: Settings, model: Model, topics: dict[str, str], messages: dict[str, int], folder: Path) -> Job:
    """What the worker reads in this configuration, for a peer."""
    return Job(
        brokers=config.kafka.brokers,
        redis=config.redis.url.get_secret_value(),
        group=config.kafka.group,
        folder=str(folder),
        topics=topics,
        messages=messages,
        classes=model.settings.classes,
        windows=[(window.size_ms, window.slide_ms) for window in model.settings.windows],
        pane_ms=model.settings.pane_ms,
        out_of_orderness_ms=config.time.out_of_orderness_ms,
        max_delay_ms=config.labels.max_delay_ms,
        width=model.traffic.width,
        features=features(model),
    )


def messages(config: Settings, topic: str) -> Iterator[tuple[int, list[Any]]]:
    """All messages of a topic in batches, a partition after the other."""
    consumer = Consumer({**client_options(config.kafka), "group.id": f"{config.kafka.group}-read", "enable.auto.commit": False})
    for partition in sorted(consumer.list_topics(topic, METADATA_TIMEOUT_S).topics[topic].partitions):
        left = consumer.get_watermark_offsets(TopicPartition(topic, partition), METADATA_TIMEOUT_S)[1]
        consumer.assign([TopicPartition(topic, partition, 0)])
        while left:
            if found := consumer.consume(min(BATCH, left), CONSUME_TIMEOUT_S):
                assert not any(message.error() for message in found), found[0].error()
                left -= len(found)
                yield partition, found
    consumer.close()


@dataclass(slots=True)
class Truth:
    """The counts of all events, by partition and pane, and what the labels say of the predictions."""

    job: Job
    panes: dict[tuple[int, int], Counts] = field(default_factory=dict)
    newest: dict[str, dict[int, int]] = field(default_factory=lambda: {"predictions": {}, "labels": {}})
    confusion: list[list[int]] = field(default_factory=list)
    columns: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def read(cls, config: Settings, job: Job, lines: Path) -> "Truth":
        """Reads both topics; writes the values of the predictions to `lines`, one a line."""
        decode, (model,) = decoder(config)[0], decoder(config)[1].values()
        coding = Coding([model])
        truth, predicted, sums = cls(job), dict[str, Any](), np.zeros(len(model.slots))
        with lines.open("wb") as file:
            for partition, batch in messages(config, job.topics["predictions"]):
                values, unknown = [message.value() for message in batch], [0] * len(batch)
                file.writelines(value + b"\n" for value in values)
                events, rejected = decode.predictions(
                    Messages("", UnitId("predictions", partition), 0, unknown, values, unknown, [None] * len(batch)), 2**53
                )
                assert not rejected
                columns, invalid = decode.feature_columns(coding.features, events.records, np.arange(len(batch)))
                codes, numbers = (found[1:] for found in coding.code([events.scores, *columns], invalid))  # without the score
                truth._count(partition, events.times_ms, codes)
                sums[[slot.moments >= 0 for slot in model.slots]] += np.nansum(numbers, axis=1)
                predicted.update(zip(*events.records.columns(["prediction_id", "prediction"]), strict=True))
        truth._join(config, predicted)
        total, n = sum(truth.panes.values()), len(predicted)
        for feature, sum_ in zip(job.features, sums.tolist(), strict=True):
            missing = int(total[feature.missing])
            truth.columns[feature.name] = [n, missing, sum_ / max(1, n - missing)]
        return truth

    def _count(self, partition: int, times_ms: Any, codes: Any) -> None:
        self.newest["predictions"][partition] = max(int(times_ms.max()), self.newest["predictions"].get(partition, 0))
        starts, place = np.unique(pane_starts(times_ms, self.job.pane_ms), return_inverse=True)
        for start, counts in zip(starts.tolist(), _by_pane(place, starts.size, codes, self.job.width), strict=True):
            self.panes[partition, start] = self.panes.get((partition, start), 0) + counts

    def _join(self, config: Settings, predicted: dict[str, Any]) -> None:
        place = {name: i for i, name in enumerate(self.job.classes)}
        self.confusion = [[0] * len(place) for _ in place]
        for partition, batch in messages(config, self.job.topics["labels"]):
            for label in map(msgspec.json.decode, (message.value() for message in batch)):
                self.confusion[place[label["label"]]][place[predicted[label["prediction_id"]]]] += 1
                self.newest["labels"][partition] = max(label["timestamp"], self.newest["labels"].get(partition, 0))

    def window(self, size_ms: int, start_ms: int, partition: int) -> Window:
        """A window of one partition, or of all with -1."""
        inside = range(start_ms, start_ms + size_ms)
        counts = sum(held for (of, start), held in self.panes.items() if partition in (-1, of) and start in inside)
        return Window.of(size_ms, start_ms, partition, enumerate(counts.tolist()) if isinstance(counts, np.ndarray) else ())

    def check(self, answer: Answer, *, labels: bool, by_partition: bool) -> None:
        """Raises WrongAnswerError unless all events, labels and closed windows are as ours."""
        self._expect("predictions", (answer.predictions, answer.late), (self.job.messages["predictions"], 0))
        if labels:
            n = self.job.messages["labels"]
            self._expect("labels", (answer.labels, answer.joined, answer.confusion), (n, n, self.confusion))
        for window in answer.windows:
            self._expect("window", window, self.window(window.size_ms, window.start_ms, window.partition))
        newest = self.newest["predictions"]
        clocks = newest if by_partition else {-1: min(min(times.values()) for times in self.newest.values() if times)}
        closed = {(window.size_ms, window.start_ms, window.partition) for window in answer.windows}
        self._expect("windows closed once", len(answer.windows), len(closed))
        # A pane of slack: a window that is made from closed windows waits for the next of them.
        due = {
            (size, end - size, partition)
            for partition, clock in clocks.items()
            for size, slide in self.job.windows
            for end in range(slide, clock - self.job.out_of_orderness_ms - self.job.pane_ms + 1, slide)[-(10**6) :]
            if self._first(partition) < end
        }
        self._expect("windows not closed", due - closed, set())

    def check_columns(self, answer: Answer) -> None:
        """Raises WrongAnswerError unless all columns have our counts, missing values and means."""
        for name, (n, missing, mean) in self.columns.items():
            found = answer.columns[name]
            self._expect(name, found[:2], [n, missing])
            self._expect(name, bool(np.isclose(found[2], mean)), True)

    def _first(self, partition: int) -> int:
        return min(start for of, start in self.panes if partition in (-1, of))

    @staticmethod
    def _expect(what: str, found: object, expected: object) -> None:
        if found != expected:
            raise WrongAnswerError(f"{what}: found {found}, expected {expected}")


def _by_pane(places: Codes, panes: int, codes: Codes, width: int) -> Counts:
    """How often each code occurs in each pane, (panes, width)."""
    return np.bincount((codes + places * width).ravel(), minlength=panes * width).reshape(panes, width)
