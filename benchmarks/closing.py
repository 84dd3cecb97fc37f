"""Closing: the windows of many models end at the same instant, on a real Redis and a real Kafka, without the events before.

Panes are filled as a pipeline fills them, from random bins instead of events; what is measured is from there on: reading the panes of
all partitions, merging, scoring, judging, writing, delivering. `python -m benchmarks.closing` prints the table.
"""

import gc
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import click
import numpy as np
import orjson
import redis

from benchmarks.data import START_MS, settings
from benchmarks.measure import peak_rss_bytes
from sinks.alerts import KafkaSink
from stream.app import build_models, build_store
from stream.embedded import RedisServer
from stream.kafka import COLLECT_EVERY, client_options
from stream.model import PREDICTED_START, PREDICTIONS, Model
from stream.panes import PaneKey
from stream.pipeline import Pipeline
from stream.reference_build import build_reference
from stream.settings import Settings
from stream.store import PaneGroup, Partitions, Source
from stream.unit import Unit
from tests.services.kafka import KafkaBroker

PANE_MS: Final = 10_000
PANES: Final = 12  # of the longest window
REFERENCE_ROWS: Final = 20_000
CATEGORIES: Final = 10


@dataclass(frozen=True, slots=True)
class Close:
    """What closing one instant took. `models`: seconds of each model's close; `delivered_s` is until Kafka has all results."""

    wall_s: float
    cpu_s: float
    delivered_s: float
    results: int
    models: list[float]


class Bench:
    """Models, and a pipeline that owns all partitions."""

    def __init__(self, config: Settings, partitions: int, events: int) -> None:
        """`events`: of each model in each pane, over all partitions."""
        self._config, self._partitions, self._events = config, Partitions(partitions, 0), events
        self.models = build_models(config)
        self._sink = KafkaSink(client_options(config.kafka))
        self._rng = np.random.default_rng(1)
        self.begin()

    def begin(self) -> None:
        """A new process as far as closing goes: nothing is remembered, everything is in Redis."""
        store = build_store(self._config)
        store.begin(Source("", "", "", self._partitions))
        self.pipeline = Pipeline(self._config, self.models, store, self._partitions)
        for unit in self._partitions.units():
            self.pipeline.assign(unit, self._now_ms)

    @property
    def _now_ms(self) -> int:
        return START_MS + 10**9

    def fill(self, pane: int) -> None:
        """Count the events of all models in a pane, and checkpoint; the clock stays within the pane."""
        start_ms = START_MS + pane * PANE_MS
        for unit in self.pipeline.units.values():
            for model in self.models.values():
                self._count(unit, model, start_ms)
            unit.advance_to((unit.next_offset or 0) + self._events)
        self._pass(start_ms)

    def _count(self, unit: Unit, model: Model, start_ms: int) -> None:
        """Each event in a random bin of each feature, all as likely: no worse case for the size of an aggregate."""
        n = self._events // self._partitions.predictions
        number = unit.panes.number(PaneKey(model.settings.name, PaneGroup("traffic", start_ms, "1", "")), model.traffic)
        codes = np.array([slot.start + self._rng.integers(slot.bins, size=n) for slot in model.slots])
        always = np.full((3, n), [[PREDICTIONS], [PREDICTED_START], [model.score.missing]])
        unit.panes.add(np.full(n, number), np.concatenate((always, codes)))
        unit.panes.add_moments(np.full(n, number), self._rng.normal(size=(model.traffic.moments, n)))

    def _pass(self, time_ms: int) -> None:
        """Every partition has seen an event of this time."""
        late_ms = self._config.time.out_of_orderness_ms
        for unit in self.pipeline.units.values():
            unit.watermark.hear(self._now_ms)
            unit.watermark.advance(np.array([time_ms + late_ms]))
            unit.advance_to((unit.next_offset or 0) + 1)
        self.pipeline.checkpoint(self._now_ms)

    def close(self, pane: int) -> Close:
        """Let the clock pass the end of a pane, close, and deliver."""
        self._pass(START_MS + (pane + 1) * PANE_MS)
        started, cpu = time.perf_counter(), time.process_time()
        firings, lost = self.pipeline.close(self._now_ms)
        wall_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu
        taken = self.pipeline.take_outbox()
        self._sink.deliver([message for messages in taken.values() for _, message in messages])
        delivered_s = time.perf_counter() - started
        self.pipeline.delivered(taken)
        if lost or len(firings) != len(self.models) * len(self._config.windows):
            raise RuntimeError(f"{len(firings)} results and {len(lost)} lost units, expected a result of every window and no lost unit")
        per_model = {firing.result.model: firing.seconds for firing in firings}
        return Close(wall_s, cpu_s, delivered_s, len(firings), list(per_model.values()))


def configure(folder: Path, *, brokers: str, redis_url: str, models: int, features: int) -> Settings:
    """Settings of so many models, all with one reference, each with two windows."""
    rng = np.random.default_rng(0)
    numbers = [f"x{i}" for i in range(features) if i % 5 != 4]
    rows = folder / "rows.jsonl"
    rows.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in _rows(rng, numbers, features - len(numbers))))
    build_reference(rows, model="m", version="1").save(folder / "reference.json")
    model: dict[str, Any] = {"reference": str(folder / "reference.json"), "classes": ["0", "1"], "labels": False}
    tree = {
        "kafka": {"brokers": brokers},
        "redis": {"url": redis_url, "namespace": "closing"},
        "windows": [{"size": f"{PANE_MS // 1000}s"}, {"size": f"{PANES * PANE_MS // 1000}s", "slide": f"{PANE_MS // 1000}s"}],
        "models": {f"m{i}": model for i in range(models)},
    }
    path = folder / "driftstream.yaml"
    path.write_bytes(orjson.dumps(tree))  # JSON is YAML
    return settings(path)


def _rows(rng: np.random.Generator, numbers: list[str], categories: int) -> Iterator[dict[str, Any]]:
    for values in rng.normal(size=(REFERENCE_ROWS, len(numbers))).tolist():
        named = {f"c{i}": f"value {rng.integers(CATEGORIES)}" for i in range(categories)}
        yield dict(zip(numbers, values, strict=True)) | named


@dataclass(frozen=True, slots=True)
class Measured:
    """Closes in steady state, one after a restart, what assigning took then, and bytes of Redis and of this process."""

    steady: list[Close]
    cold: Close
    assign_s: float
    open_bytes: float  # per model, feature and pane, in all partitions together
    merged_bytes: float  # per model, feature and pane, once it has been merged
    rss_bytes: int


def measure(config: Settings, client: redis.Redis, *, partitions: int, events: int, repeat: int) -> Measured:
    """Fill and close pane after pane until the longest window is full, then `repeat` times more, then once after a restart."""
    bench = Bench(config, partitions, events)
    cells = len(bench.models) * len(next(iter(bench.models.values())).slots)
    steady, opened, merged = [], 0, 0
    for pane in range(PANES + repeat):
        before = _used(client)
        bench.fill(pane)
        opened = _used(client) - before
        close = bench.close(pane)
        merged = _used(client) - before
        if pane < PANES - 1:
            open_bytes, merged_bytes = opened / cells, merged / cells
        if pane >= PANES:
            steady.append(close)
    bench.fill(PANES + repeat)
    started = time.perf_counter()
    bench.begin()
    assign_s = time.perf_counter() - started
    cold = bench.close(PANES + repeat)
    return Measured(steady, cold, assign_s, open_bytes, merged_bytes, peak_rss_bytes("self"))


def _used(client: redis.Redis) -> int:
    info: dict[str, Any] = client.info("memory")
    return int(info["used_memory"])


def table(found: Measured) -> list[str]:
    """Markdown rows: medians of the steady closes."""
    seconds = np.array([seconds for close in found.steady for seconds in close.models])
    wall, cpu, delivered = (median(getattr(close, name) for close in found.steady) for name in ("wall_s", "cpu_s", "delivered_s"))
    cold = np.array(found.cold.models)
    rows = [
        ("all results in Kafka, s", f"{delivered:.2f}", f"{found.cold.delivered_s:.2f}", "< 5"),
        ("of it closing, s (CPU s of the worker)", f"{wall:.2f} ({cpu:.2f})", f"{found.cold.wall_s:.2f} ({found.cold.cpu_s:.2f})", ""),
        ("close of one model, p50 ms", f"{np.quantile(seconds, 0.5) * 1e3:.1f}", f"{np.quantile(cold, 0.5) * 1e3:.1f}", ""),
        ("close of one model, p99 ms", f"{np.quantile(seconds, 0.99) * 1e3:.1f}", f"{np.quantile(cold, 0.99) * 1e3:.1f}", "< 250"),
        ("taking all partitions over, s", "", f"{found.assign_s:.2f}", ""),
        ("Redis bytes per model x feature x pane, open in all partitions", f"{found.open_bytes:.0f}", "", ""),
        ("Redis bytes per model x feature x pane, merged", f"{found.merged_bytes:.0f}", "", "<= 1024"),
        ("peak RSS, MB", f"{found.rss_bytes / 1e6:.0f}", "", ""),
    ]
    return ["| | steady | after a restart | target |", "|---|---:|---:|---:|", *(f"| {' | '.join(row)} |" for row in rows)]


@click.command()
@click.option("--models", type=click.IntRange(min=1), default=1_000, show_default=True)
@click.option("--features", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--partitions", type=click.IntRange(min=1), default=8, show_default=True)
@click.option("--events", type=click.IntRange(min=1), default=400, show_default=True, help="Of each model in each pane of 10 s.")
@click.option("--repeat", type=click.IntRange(min=1), default=5, show_default=True, help="Closes in steady state.")
def main(models: int, features: int, partitions: int, events: int, repeat: int) -> None:
    """Print how long it takes to close the windows of many models at once, and what their panes take in Redis."""
    gc.set_threshold(COLLECT_EVERY, *gc.get_threshold()[1:])  # as in a worker
    with tempfile.TemporaryDirectory(prefix="driftstream-bench-") as name, KafkaBroker() as kafka, RedisServer() as server:
        config = configure(Path(name), brokers=kafka.bootstrap, redis_url=server.url, models=models, features=features)
        for _, topic in config.kafka.topics:
            kafka.create_topic(topic, partitions)
        client = redis.Redis.from_url(server.url)
        found = measure(config, client, partitions=partitions, events=events, repeat=repeat)
    click.echo(f"{models:,} models x {features} features, {PANES} panes, {partitions} partitions, {events} events a model and pane\n")
    click.echo("\n".join(table(found)))


if __name__ == "__main__":
    main()
