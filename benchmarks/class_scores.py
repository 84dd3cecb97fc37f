"""What a score for each class costs beside one score: the core over a real Redis, from bytes to checkpoints, with all labels.

`python -m benchmarks.class_scores` runs each case in a process of its own and prints one table. Both cases of a pair are of the same model;
only what its events tell as `score` differs.
"""

import gc
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Final

import click
import msgspec
import numpy as np
import orjson
import redis

from benchmarks.data import RATE, START_MS, settings
from stream.app import build_models
from stream.embedded import RedisServer
from stream.events import Messages
from stream.kafka import COLLECT_EVERY
from stream.pipeline import Pipeline
from stream.store import Partitions, Source, UnitId
from stream.store_redis import RedisStore

CLASSES: Final = (3, 10, 50)
BATCH: Final = 7_500
CHECKPOINT_EVERY: Final = 4  # batches
PARTITIONS: Final = Partitions(1, 1)
Events = dict[str, list[bytes]]  # by side


class Costs(msgspec.Struct):
    """CPU seconds of the core and of Redis for all pairs; bytes of Redis a prediction, waiting, and with its label."""

    cpu_s: float
    redis_cpu_s: float
    waiting_bytes: float
    met_bytes: float


def measure(classes: int, pairs: int, *, each: bool) -> Costs:
    """Count so many predictions and their labels. Raises RuntimeError if not every label was matched once."""
    events = _events(classes, pairs, each=each)
    with tempfile.TemporaryDirectory(prefix="driftstream-bench-") as name, RedisServer() as server:
        config = settings(_configure(classes, Path(name), server.url))
        store, client = RedisStore(server.url, "bench", max_delay_ms=config.labels.max_delay_ms), redis.Redis.from_url(server.url)
        store.begin(Source("", "", "", PARTITIONS))
        pipeline = Pipeline(config, build_models(config), store, PARTITIONS)
        for side in ("predictions", "labels"):
            pipeline.assign(UnitId(side, 0), _now_ms())
        gc.set_threshold(COLLECT_EVERY, *gc.get_threshold()[1:])
        used, redis_s, cpu = [_used(client)], _cpu_s(client), time.process_time()
        for side, values in events.items():
            _count(pipeline, side, values)
            used.append(_used(client))
        found = Costs(time.process_time() - cpu, _cpu_s(client) - redis_s, *((later - used[0]) / pairs for later in used[1:]))
        matched = pipeline.units[UnitId("labels", 0)].counters["matched"]
        store.close_connections()
        client.close()
    if matched != pairs:
        raise RuntimeError(f"matched {matched} labels, expected {pairs}")
    return found


def _count(pipeline: Pipeline, side: str, values: list[bytes]) -> None:
    unit = pipeline.units[UnitId(side, 0)]
    for number, start in enumerate(range(0, len(values), BATCH), 1):
        batch = values[start : start + BATCH]
        messages = Messages("", unit.id, unit.epoch, range(start, start + len(batch)), batch, [], [None] * len(batch))
        pipeline.process([messages], _now_ms())
        if number % CHECKPOINT_EVERY == 0 or start + BATCH >= len(values):
            pipeline.checkpoint(_now_ms())


def _now_ms() -> int:
    return START_MS + 10**9


def _used(client: redis.Redis) -> int:
    return int(client.info("memory")["used_memory"])


def _cpu_s(client: redis.Redis) -> float:
    found = client.info("cpu")
    return float(found["used_cpu_user"] + found["used_cpu_sys"])


def _configure(classes: int, folder: Path, url: str) -> Path:
    path = folder / "driftstream.yaml"
    whole = {
        "kafka": {"brokers": "localhost:1"},
        "redis": {"url": url},
        "windows": [{"size": "1h"}],
        "models": {"m": {"classes": [f"class {i}" for i in range(classes)]}},
    }
    path.write_bytes(orjson.dumps(whole))  # JSON is YAML
    return path


def _events(classes: int, n: int, *, each: bool) -> Events:
    rng = np.random.default_rng(1)
    scores = rng.dirichlet(np.full(classes, 0.5), n).round(6)
    truths, names = rng.integers(classes, size=n).tolist(), [f"class {i}" for i in range(classes)]
    return {"predictions": list(_predictions(scores, names, each=each)), "labels": list(_labels(truths, names))}


def _predictions(scores: np.ndarray, names: list[str], *, each: bool) -> Iterator[bytes]:
    for i, row in enumerate(scores.tolist()):
        best = max(row)
        event = {
            "prediction_id": f"id-{i:09d}",
            "timestamp": START_MS + i * 1_000 // RATE,
            "model": "m",
            "prediction": names[row.index(best)],
        }
        yield orjson.dumps(event | {"score": dict(zip(names, row, strict=True)) if each else best, "features": {}})


def _labels(truths: list[int], names: list[str]) -> Iterator[bytes]:
    for i, truth in enumerate(truths):
        yield orjson.dumps({"prediction_id": f"id-{i:09d}", "timestamp": START_MS + i * 1_000 // RATE + 1, "label": names[truth]})


def table(runs: dict[tuple[int, bool], list[Costs]], pairs: int) -> list[str]:
    """Markdown rows: medians."""
    rows = [
        "| events tell | us CPU / pair | of one score | Redis us / pair | Redis B, waiting | Redis B, with its label |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for (classes, each), found in runs.items():
        cpu, plain = (median(run.cpu_s for run in of) for of in (found, runs[classes, False]))
        redis_us = median(run.redis_cpu_s for run in found) / pairs * 1e6
        waiting, met = (median(getattr(run, name) for run in found) for name in ("waiting_bytes", "met_bytes"))
        told = f"{classes} scores" if each else f"1 score, of {classes} classes"
        rows.append(f"| {told} | {cpu / pairs * 1e6:.2f} | {cpu / plain:.2f} | {redis_us:.2f} | {waiting:.0f} | {met:.0f} |")
    return rows


def once(classes: int, pairs: int, each: bool) -> None:
    """Measure one case in this process, and write it to standard output."""
    sys.stdout.buffer.write(msgspec.json.encode(measure(classes, pairs, each=each)))


@click.command()
@click.option("--pairs", type=click.IntRange(min=1), default=300_000, show_default=True)
@click.option("--repeat", type=click.IntRange(min=1), default=3, show_default=True, help="Runs of each case, in turns.")
def main(pairs: int, repeat: int) -> None:
    """Print what a score for each class costs."""
    runs: dict[tuple[int, bool], list[Costs]] = {(classes, each): [] for classes in CLASSES for each in (False, True)}
    for _ in range(repeat):
        for (classes, each), found in runs.items():
            command = f"from benchmarks.class_scores import once; once({classes}, {pairs}, {each})"
            child = subprocess.run([sys.executable, "-c", command], check=True, stdout=subprocess.PIPE)
            found.append(msgspec.json.decode(child.stdout, type=Costs))
    click.echo("\n".join(table(runs, pairs)))


if __name__ == "__main__":
    main()
