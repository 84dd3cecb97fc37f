"""The whole product: a `driftstream worker` process, measured from outside between its assignment and its last checkpoint."""

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import redis
from confluent_kafka import Consumer, TopicPartition

from benchmarks.data import PARTITIONS, Produced
from benchmarks.measure import Measured, cpu_seconds, peak_rss_bytes
from stream.embedded import free_port
from stream.join import Side
from stream.kafka import METADATA_TIMEOUT_S, client_options
from stream.settings import Settings
from stream.store import UnitId

POLL_S = 0.02  # a start that is seen late by this much is an error of 0.5 % in a run of 4 s
ASSIGNED_WITHIN_S = 60.0
DONE_WITHIN_S = 600.0
ENDED_WITHIN_S = 60.0


SIDES: tuple[Side, ...] = ("predictions", "labels")


class UnbalancedError(RuntimeError):
    """The worker did not count exactly what was produced."""


def measure(path: Path, config: Settings, client: redis.Redis, produced: Produced) -> Measured:
    """Run one worker over everything that was produced. Raises UnbalancedError."""
    labels = next(iter(config.models.values())).labels
    units = [UnitId("predictions", p) for p in range(PARTITIONS)] + [UnitId("labels", p) for p in range(PARTITIONS if labels else 0)]
    keys = [f"{config.redis.namespace}:{{{unit}}}:unit" for unit in units]
    topics = {"predictions": config.kafka.topics.predictions, "labels": config.kafka.topics.labels}
    ends, results = _ends(config, [(topics[unit.side], unit.partition) for unit in units]), _results(config)
    port = str(free_port())
    command = [sys.executable, "-m", "stream", "--log-level", "warning", "worker", "--config", str(path), "--port", port]
    with subprocess.Popen(command, process_group=0) as process:
        try:
            _wait(process, ASSIGNED_WITHIN_S, lambda: client.exists(*keys) == len(keys))
            started = _Point.now(client, process.pid)
            _wait(process, DONE_WITHIN_S, lambda: _offsets(client, keys) == ends)
            ended, rss = _Point.now(client, process.pid), peak_rss_bytes(process.pid)
            process.send_signal(signal.SIGTERM)
            code = process.wait(ENDED_WITHIN_S)
        except BaseException:
            process.kill()
            raise
    if code:
        raise RuntimeError(f"the worker ended with exit code {code}, expected 0")
    counters = {side: _counters(client, [key for unit, key in zip(units, keys, strict=True) if unit.side == side]) for side in SIDES}
    _check(counters, produced, labels=labels)
    return ended.since(started, rss, _results(config) - results)


@dataclass(frozen=True, slots=True)
class _Point:
    """What the worker and Redis have used up to one moment."""

    wall_s: float
    cpu_s: float
    redis_cpu_s: float
    redis_bytes: int

    @classmethod
    def now(cls, client: redis.Redis, pid: int) -> "_Point":
        info = client.info()
        redis_cpu_s = info["used_cpu_user"] + info["used_cpu_sys"]
        return cls(time.perf_counter(), cpu_seconds(pid), redis_cpu_s, info["used_memory"])

    def since(self, start: "_Point", rss: int, results: int) -> Measured:
        return Measured(
            wall_s=self.wall_s - start.wall_s,
            cpu_s=self.cpu_s - start.cpu_s,
            peak_rss_bytes=rss,
            redis_cpu_s=self.redis_cpu_s - start.redis_cpu_s,
            redis_bytes=self.redis_bytes - start.redis_bytes,
            results=results,
        )


def _wait(process: "subprocess.Popen[bytes]", seconds: float, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the worker is not done: exit code={process.returncode}, expected it within {seconds:.0f} s")
        time.sleep(POLL_S)


def _offsets(client: redis.Redis, keys: list[str]) -> list[int]:
    pipeline = client.pipeline(transaction=False)
    for key in keys:
        pipeline.hget(key, "next_offset")
    return [int(offset or 0) for offset in pipeline.execute()]


def _counters(client: redis.Redis, keys: list[str]) -> Counter[str]:
    counters: Counter[str] = Counter()
    for key in keys:
        held = cast(dict[bytes, bytes], client.hgetall(key))
        counters.update({name.decode()[6:]: int(value) for name, value in held.items() if name.startswith(b"count:")})
    return counters


def _ends(config: Settings, partitions: list[tuple[str, int]]) -> list[int]:
    consumer = Consumer({**client_options(config.kafka), "group.id": config.kafka.group})
    ends = [consumer.get_watermark_offsets(TopicPartition(*at), timeout=METADATA_TIMEOUT_S)[1] for at in partitions]
    consumer.close()
    return ends


def _results(config: Settings) -> int:
    return sum(_ends(config, [(config.kafka.topics.results, p) for p in range(PARTITIONS)]))


def _check(counters: dict[Side, Counter[str]], produced: Produced, *, labels: bool) -> None:
    """The balance sheet of a clean stream: everything counted once, nothing else."""
    predictions, answers = counters["predictions"], counters["labels"]
    expected = {"predictions consumed": produced.predictions, "predictions counted": produced.predictions}
    found = {"predictions consumed": predictions["consumed"], "predictions counted": predictions["counted"]}
    if labels:
        expected |= {"labels consumed": produced.labels, "labels matched": produced.labels}
        found |= {"labels consumed": answers["consumed"], "labels matched": answers["matched"] + predictions["completed"]}
    if found != expected:
        raise UnbalancedError(f"the balance does not add up: {found}, expected {expected}; counters: {counters}")
