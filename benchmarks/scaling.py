"""What features, models and segments cost: the worker's core alone, from bytes to checkpoints in memory, without Kafka and Redis.

`python -m benchmarks.scaling` runs each case in a process of its own and prints one table; ratios are to the first case of a group.
"""

import gc
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import click
import msgspec
import numpy as np
import orjson

from benchmarks.data import RATE, START_MS, settings
from benchmarks.measure import Measured, peak_rss_bytes
from stream.app import build_models
from stream.events import Messages
from stream.kafka import COLLECT_EVERY
from stream.pipeline import Pipeline
from stream.reference_build import build_reference
from stream.store import Partitions, UnitId
from stream.store_memory import MemoryStore

REFERENCE_ROWS: Final = 5_000
BATCH: Final = 7_500  # what a worker's 30 000 messages come to with four partitions
CHECKPOINT_EVERY: Final = 4  # batches
VALUES: Final = 10  # of a segment, and of a category


@dataclass(frozen=True, slots=True)
class Case:
    """A stream: models that take turns, features of each event, segments of each model."""

    group: str
    features: int = 10
    models: int = 1
    segments: int = 0


CASES: Final = {
    "10 features": Case("features"),
    "200 features": Case("features", features=200),
    "1 model": Case("models"),
    "10 models": Case("models", models=10),
    "100 models": Case("models", models=100),
    "1,000 models": Case("models", models=1_000),
    "no segments": Case("segments"),
    "3 segments of 10": Case("segments", segments=3),
}


def measure(case: Case, predictions: int) -> Measured:
    """Count so many predictions. Raises RuntimeError if not every one was counted once."""
    with tempfile.TemporaryDirectory(prefix="driftstream-bench-") as name:
        config = settings(_configure(case, Path(name)))
        models = build_models(config)
    pipeline = Pipeline(config, models, MemoryStore(config.labels.max_delay_ms), Partitions(1, 0))
    values = list(_events(case, predictions, np.random.default_rng(2)))
    now_ms = START_MS + 10**9
    unit = pipeline.assign(UnitId("predictions", 0), now_ms)
    gc.set_threshold(COLLECT_EVERY, *gc.get_threshold()[1:])
    wall, cpu = time.perf_counter(), time.process_time()
    for number, start in enumerate(range(0, predictions, BATCH), 1):
        batch = values[start : start + BATCH]
        messages = Messages("", unit.id, unit.epoch, range(start, start + len(batch)), batch, [], [None] * len(batch))
        pipeline.process([messages], now_ms)
        if number % CHECKPOINT_EVERY == 0 or start + BATCH >= predictions:
            pipeline.checkpoint(now_ms)
    measured = Measured(time.perf_counter() - wall, time.process_time() - cpu, peak_rss_bytes("self"), events=predictions)
    if unit.counters["counted"] != predictions:
        raise RuntimeError(f"counted {unit.counters['counted']} predictions, expected {predictions}")
    return measured


def _configure(case: Case, folder: Path) -> Path:
    rows = folder / "rows.jsonl"
    rng = np.random.default_rng(1)
    rows.write_bytes(b"".join(orjson.dumps(features) + b"\n" for features in _features(case, REFERENCE_ROWS, rng)))
    build_reference(rows, model="m0", version="1").save(folder / "reference.json")
    model = {"reference": str(folder / "reference.json"), "classes": ["0", "1"], "labels": False}
    model["segments"] = [f"s{i}" for i in range(case.segments)]
    path = folder / "driftstream.yaml"
    whole = {
        "kafka": {"brokers": "localhost:1"},
        "redis": {"url": "redis://localhost:1/0"},
        "windows": [{"size": "10s"}, {"size": "1m", "slide": "10s"}],
        "models": {f"m{i}": model for i in range(case.models)},
    }
    path.write_bytes(orjson.dumps(whole))  # JSON is YAML
    return path


def _features(case: Case, n: int, rng: np.random.Generator) -> Iterator[dict[str, float | str]]:
    """Four numbers for each category, as in the other benchmarks."""
    numbers = rng.lognormal(size=(n, case.features)).round(3).tolist()
    categories = rng.integers(VALUES, size=(n, case.features)).tolist()
    for row, category in zip(numbers, categories, strict=True):
        yield {f"x{i}": f"value {category[i]}" if i % 5 == 4 else row[i] for i in range(case.features)}


def _events(case: Case, n: int, rng: np.random.Generator) -> Iterator[bytes]:
    segments = rng.integers(VALUES, size=(n, case.segments)).tolist()
    for start in range(0, n, 1_000):
        for i, features in enumerate(_features(case, min(1_000, n - start), rng), start):
            event = {"prediction_id": f"id-{i:09d}", "timestamp": START_MS + i * 1_000 // RATE, "model": f"m{i % case.models}"}
            event |= {"version": "1", "prediction": "0", "score": 0.25, "features": features}
            yield orjson.dumps(event | {"segments": {f"s{k}": f"value {value}" for k, value in enumerate(segments[i])}})


def table(runs: dict[str, list[Measured]]) -> list[str]:
    """Markdown rows: medians."""
    rows = [
        "| case | events / CPU s | values / CPU s | events, of the first | values, of the first | peak RSS MB |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    first: dict[str, tuple[float, float]] = {}
    for name, found in runs.items():
        case = CASES[name]
        rate = median(run.events / run.cpu_s for run in found)
        events, cells = first.setdefault(case.group, (rate, rate * case.features))
        rss = max(run.peak_rss_bytes for run in found) / 1e6
        ratios = f"{rate / events:.2f} | {rate * case.features / cells:.2f}"
        rows.append(f"| {name} | {rate:,.0f} | {rate * case.features:,.0f} | {ratios} | {rss:.0f} |")
    return rows


def once(name: str, predictions: int) -> None:
    """Measure one case in this process, and write it to standard output."""
    sys.stdout.buffer.write(msgspec.json.encode(measure(CASES[name], predictions)))


@click.command()
@click.option("--case", "cases", type=click.Choice(list(CASES)), multiple=True, help="Only this case; may be given again.")
@click.option("--predictions", type=click.IntRange(min=1), default=60_000, show_default=True)
@click.option("--repeat", type=click.IntRange(min=1), default=3, show_default=True, help="Runs of each case, in turns.")
def main(cases: tuple[str, ...], predictions: int, repeat: int) -> None:
    """Print what features, models and segments cost."""
    runs: dict[str, list[Measured]] = {name: [] for name in cases or CASES}
    for _ in range(repeat):
        for name, found in runs.items():
            once = f"from benchmarks.scaling import once; once({name!r}, {predictions})"
            child = subprocess.run([sys.executable, "-c", once], check=True, stdout=subprocess.PIPE)
            found.append(msgspec.json.decode(child.stdout, type=Measured))
    click.echo("\n".join(table(runs)))


if __name__ == "__main__":
    main()
