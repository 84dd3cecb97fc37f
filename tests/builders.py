"""What the tests of the pipeline are made of: settings, a small reference, events, and a monitor that runs without any service."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import numpy as np
import orjson

from sinks.memory import MemorySink
from stream.aggregates import Codes, Floats
from stream.closing import Firing
from stream.coding import Coding
from stream.events import Messages
from stream.join import Side
from stream.model import Model
from stream.pipeline import Pipeline
from stream.rebuild import Bookmark, delivered_by
from stream.reference import CategoricalFeature, Feature, NumericFeature, Reference, ValueType
from stream.settings import Settings
from stream.store import Mark, Partitions, UnitId
from stream.store_memory import MemoryStore
from stream.watermark import NO_TIME
from tests.oracle import Family, Monitored, Timing, milliseconds, reference_features

SCHEMAS = Path(__file__).parents[1] / "config" / "schemas"
SCHEMA_OF = {"results": "result", "alerts": "alert", "late": "late-event", "dead_letter": "dead-letter"}
BASE_MS = 28_333_334 * 60_000  # 2023-11-14T22:14:00Z: a whole minute
HOUR_MS = 3_600_000
MODEL = "fraud"


def at(seconds: float) -> int:
    """Event time in ms, this long after the start of the tests' time."""
    return BASE_MS + round(seconds * 1000)


def numeric(name: str, edges: Sequence[float], counts: Sequence[int], groups: Sequence[int], missing: int = 0) -> NumericFeature:
    """A numeric feature of a reference; its moments play no part here."""
    return NumericFeature(name=name, edges=np.array(edges, float), counts=np.array(counts), groups=np.array(groups), missing=missing)


def categorical(
    name: str, categories: Sequence[str], counts: Sequence[int], value_type: ValueType = "string", missing: int = 0
) -> CategoricalFeature:
    """A categorical feature of a reference."""
    return CategoricalFeature(name=name, value_type=value_type, categories=tuple(categories), counts=np.array(counts), missing=missing)


def reference(
    *features: Feature,
    model: str = MODEL,
    classes: Sequence[str] = (),
    confusion: Sequence[Sequence[int]] | None = None,
    outputs: Sequence[Feature] = (),
    calibration: Sequence[Sequence[int]] | None = None,
) -> Reference:
    """A reference of these features, which all have the same number of rows."""
    rows = int(features[0].counts.sum()) + features[0].missing if features else 0
    cells = None if confusion is None else np.array(confusion)
    made = Reference(
        reference_id="",
        model=model,
        version="1",
        rows=rows,
        classes=tuple(classes),
        confusion=cells,
        outputs=tuple(outputs),
        features=features,
        calibration=None if calibration is None else np.array(calibration),
    )
    return msgspec.structs.replace(made, reference_id=made.content_id)


def small_reference(model: str = MODEL) -> Reference:
    """A feature of each kind: six fine bins in three coarse ones, texts, integers and booleans; and what is known of the outputs."""
    return reference(
        numeric("amount", [0.0, 10.0, 20.0, 50.0, 100.0], [0, 30, 30, 20, 15, 0], [0, 0, 1, 1, 2, 2], missing=5),
        categorical("country", ["DE", "FR"], [60, 30, 10]),
        categorical("channel", ["1", "2"], [50, 45, 5], "integer"),
        categorical("new", ["false", "true"], [80, 20, 0], "boolean"),
        model=model,
        classes=("0", "1"),
        confusion=[[70, 10], [5, 15]],
        outputs=(
            categorical("prediction", ["0", "1"], [74, 25, 0], missing=1),
            numeric("score", [0.0, 0.25, 0.5, 1.0], [0, 40, 30, 20, 0], [0, 0, 1, 2, 2], missing=10),
            categorical("label", ["1", "0"], [20, 80, 0]),
        ),
    )


def coded(model: Model, columns: Sequence[Sequence[Any]], invalid: Mapping[str, Sequence[int]] | None = None) -> tuple[Codes, Floats]:
    """Positions and numeric values of the features of some events, which have no scores, as the stream finds them."""
    n = len(columns[0]) if columns else 0
    codes, values = Coding([model]).code([np.full(n, np.nan), *columns], invalid or {})
    assert (codes[0] == model.score.missing).all()
    return codes[1:], values[1:]


def settings(models: Mapping[str, Any] | None = None, **sections: Any) -> Settings:
    """The settings that a configuration with these sections comes to; one model of two classes by default."""
    tree = {"windows": [{"size": "1m"}], "models": models or {MODEL: {"classes": ["0", "1"]}}, **sections}
    return Settings.model_validate(tree)


def monitored(configured: Settings, name: str = MODEL, reference_file: Path | None = None) -> Monitored:
    """The model as the oracle wants it."""
    model = configured.model(name)
    return Monitored(
        name=name,
        windows=tuple(Family(window.name, window.size_ms, window.slide_ms) for window in model.windows),
        classes=model.classes,
        positive=model.positive,
        labels=model.labels,
        cohorts=tuple(Family(window.name, window.size_ms, window.slide_ms) for window in model.windows_of("cohort")),
        segments=model.segments,
        features=reference_features(reference_file) if reference_file else (),
        outputs=reference_features(reference_file, "outputs") if reference_file else (),
    )


def timing(configured: Settings) -> Timing:
    """What is late, as the oracle wants it."""
    return Timing(configured.time.out_of_orderness_ms, configured.time.allowed_lateness_ms, configured.labels.max_delay_ms)


def prediction(id_: str | int, seconds: float, said: Any = "0", **more: Any) -> dict[str, Any]:
    """A prediction event at this time."""
    return {"prediction_id": id_, "timestamp": at(seconds), "model": MODEL, "prediction": said, **more}


def label(id_: str | int, seconds: float, truth: Any = "0", **more: Any) -> dict[str, Any]:
    """A label event at this time."""
    return {"prediction_id": id_, "timestamp": at(seconds), "label": truth, **more}


def messages(
    values: Sequence[bytes | None],
    *,
    side: Side = "predictions",
    partition: int = 0,
    epoch: int = 1,
    first: int = 0,
    keys: Sequence[bytes | None] | None = None,
    timestamps: Sequence[int] | None = None,
    headers: Sequence[Mapping[str, bytes | None]] | None = None,
) -> Messages:
    """Consecutive messages of one partition, without keys or headers unless given."""
    n = len(values)
    return Messages(
        topic=f"driftstream.{side}",
        unit=UnitId(side, partition),
        epoch=epoch,
        offsets=list(range(first, first + n)),
        values=list(values),
        timestamps=[BASE_MS] * n if timestamps is None else list(timestamps),
        keys=[None] * n if keys is None else list(keys),
        headers=[{}] * n if headers is None else list(headers),
    )


class Monitor:
    """A log of messages for each partition, one worker over a memory store and a memory sink, and a clock that only moves by hand.

    `log` appends to a partition, `read` lets the worker process what it has not read, `tick` does what the worker does every second.
    Every tick checks that the balance sheets add up to the offset. `versions`: references of single versions, by model.
    """

    def __init__(
        self,
        configured: Settings,
        references: Mapping[str, Reference] | None = None,
        *,
        versions: Mapping[str, Mapping[str, Reference]] | None = None,
        partitions: tuple[int, int] = (1, 1),
        store: MemoryStore | None = None,
        owned: Collection[UnitId] | None = None,
    ) -> None:
        self.settings, self.partitions = configured, Partitions(*partitions)
        found, own = references or {}, versions or {}
        self.models = {name: Model.build(configured.model(name), found.get(name), own.get(name, {})) for name in configured.models}
        self.store, self.sink = store or MemoryStore(configured.labels.max_delay_ms), MemorySink()
        self.now_ms = BASE_MS + 24 * HOUR_MS
        self.logs: dict[UnitId, list[bytes | None]] = {UnitId("predictions", p): [] for p in range(partitions[0])}
        self.logs |= {UnitId("labels", p): [] for p in range(partitions[1])}
        self.owned = set(self.logs if owned is None else owned)
        self.firings: list[Firing] = []
        self.start()

    def start(self) -> None:
        """A new worker, which knows only what the store has; the old one is gone, with all that it had not written."""
        self.pipeline = Pipeline(self.settings, self.models, self.store, self.partitions)
        self.read_to: dict[UnitId, int] = {}
        self.begun_at: dict[UnitId, int] = {}
        for unit in sorted(self.owned):
            self.take(unit)

    def take(self, unit: UnitId) -> None:
        """Own a partition, whoever had it before."""
        self.owned.add(unit)
        self.read_to[unit] = self.pipeline.assign(unit, self.now_ms).next_offset or 0

    def empty(self, committed: Mapping[UnitId, Bookmark]) -> None:
        """The store comes back empty, and the worker begins again by what is committed."""
        self.store = MemoryStore(self.settings.labels.max_delay_ms)
        self.pipeline = Pipeline(self.settings, self.models, self.store, self.partitions)
        for unit in sorted(self.owned):
            mark = committed[unit].mark if unit in committed else Mark(NO_TIME, 0)
            self.pipeline.assign(unit, self.now_ms).begin(mark, delivered_by(committed.values()))
            self.read_to[unit] = self.begun_at[unit] = mark.offset

    def lose(self, unit: UnitId) -> None:
        """Somebody else owns the partition."""
        self.pipeline.drop(unit)
        self.owned.discard(unit)
        self.read_to.pop(unit, None)

    def log(self, *events: Mapping[str, Any] | bytes | None, side: Side = "predictions", partition: int = 0) -> None:
        """Events that arrive in a partition; bytes and None as they are."""
        self.logs[UnitId(side, partition)] += [orjson.dumps(event) if isinstance(event, Mapping) else event for event in events]

    def read(self, side: Side = "predictions", partition: int = 0, most: int | None = None) -> int:
        """Process the next messages of one partition, `most` of them or all; how many there were."""
        unit = UnitId(side, partition)
        first = self.read_to[unit]
        values = self.logs[unit][first : None if most is None else first + most]
        if values:
            epoch = self.pipeline.units[unit].epoch
            batch = messages(values, side=side, partition=partition, epoch=epoch, first=first)
            self.pipeline.process([batch], self.now_ms)
            self.read_to[unit] = first + len(values)
        return len(values)

    def tick(self) -> list[Firing]:
        """Checkpoint, close windows, deliver; what fired."""
        lost = self.pipeline.checkpoint(self.now_ms)
        firings, lost_closing = self.pipeline.close(self.now_ms)
        self.firings += firings
        for unit in {*lost, *lost_closing}:
            self.lose(unit)
        self.pipeline.expire()
        self.deliver()
        self.check_balance()
        return firings

    def check_balance(self) -> None:
        """Every message read was counted under exactly one heading, and the counts belong to the offset."""
        for unit, read_to in self.read_to.items():
            counters = self.pipeline.units[unit].counters
            headings = ("counted", "late") if unit.side == "predictions" else ("matched", "waiting", "expired")
            assert counters["consumed"] == read_to - self.begun_at.get(unit, 0), unit
            assert counters["consumed"] == sum(counters[name] for name in (*headings, "duplicate", "corrected", "malformed")), unit

    def validate(self) -> None:
        """Every message that was delivered is what its published schema says."""
        for topic in SCHEMA_OF:
            for message in self.said(topic):
                validator(topic).validate(message)

    def deliver(self) -> None:
        """The outbox to the sink, and out of the store."""
        taken = self.pipeline.take_outbox()
        for waiting in taken.values():
            self.sink.deliver([message for _, message in waiting])
        self.pipeline.delivered(taken)

    def run(self, *events: Mapping[str, Any] | bytes | None, side: Side = "predictions", partition: int = 0) -> list[Firing]:
        """Log, read and tick at once."""
        self.log(*events, side=side, partition=partition)
        self.read(side, partition)
        return self.tick()

    def quiet(self, *units: UnitId) -> list[Firing]:
        """Nothing comes any more from these partitions (all by default), long enough that they count as idle."""
        for unit in units or self.owned:
            self.pipeline.units[unit].watermark.at_end = True
        self.now_ms += self.settings.time.idle_after_ms
        return self.tick()

    def said(self, topic: str) -> list[dict[str, Any]]:
        """The messages delivered to a topic, named as in the settings: results, alerts, late, dead_letter."""
        return [orjson.loads(value) for value in self.sink.values(getattr(self.settings.kafka.topics, topic))]

    def counters(self, side: Side = "predictions", partition: int = 0) -> dict[str, int]:
        """The balance sheet of one partition, without what is zero."""
        return {name: n for name, n in self.pipeline.units[UnitId(side, partition)].counters.items() if n}

    def windows(self) -> list[tuple[str, float, int, bool, int]]:
        """(subject, seconds of the start, revision, final, predictions or labels) of all results about all traffic so far."""
        found = []
        for result in self.said("results"):
            if result["segment"] is None:
                n = result["counts"]["predictions" if result["subject"] == "traffic" else "labels"]
                start = (seconds_of(result["window"]["start"]), result["revision"], result["final"], n)
                found.append((result["subject"], *start))
        return found


@cache
def validator(topic: str) -> jsonschema.Draft202012Validator:
    """The published schema of what goes to a topic."""
    return jsonschema.Draft202012Validator(orjson.loads((SCHEMAS / f"{SCHEMA_OF[topic]}.schema.json").read_bytes()))


def seconds_of(timestamp: str) -> float:
    """Seconds since the start of the tests' time of an RFC 3339 time."""
    return (milliseconds(timestamp) - BASE_MS) / 1000


def decoded(log: Iterable[bytes | None]) -> list[dict[str, Any]]:
    """The events of a log, for the oracle."""
    return [orjson.loads(value) for value in log if value is not None]
