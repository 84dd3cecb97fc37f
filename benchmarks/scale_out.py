"""One worker process, then two, over the same events: how much faster, and what broker and Redis take of the same cores meanwhile.

`python -m benchmarks.scale_out` prints the table; `--minutes` lets one worker run that long at full speed and prints its memory instead.
"""

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import click
import numpy as np
import redis

from benchmarks.data import FAULTS, PARTITIONS, START_MS, configure, produce, settings, write_reference
from benchmarks.measure import cpu_seconds, rss_bytes
from stream.embedded import RedisServer, free_port
from stream.settings import Settings
from stream.settings_services import Topics
from stream.simulate import FraudScenario
from stream.store import UnitId
from tests.services.kafka import KafkaBroker

POLL_S: Final = 0.02
WITHIN_S: Final = 600.0
SETTLED_S: Final = 60.0  # of a long run, in which batches, windows and caches reach their size
UNITS: Final = [UnitId(side, p) for side in ("predictions", "labels") for p in range(PARTITIONS)]


@dataclass(frozen=True, slots=True)
class Run:
    """CPU seconds of all workers, of the broker and of Redis, while so many workers counted everything."""

    workers: int
    wall_s: float
    worker_s: float
    broker_s: float
    redis_s: float


class Stage:
    """The services, with events in Kafka."""

    def __init__(self, folder: Path, kafka: KafkaBroker, server: RedisServer, prefix: str = "") -> None:
        """`prefix`: of the topics that events are read from."""
        self._folder, self.kafka, self._server = folder, kafka, server
        self.client = redis.Redis.from_url(server.url)
        topics = Topics()
        self.inputs = (prefix + topics.predictions, prefix + topics.labels)
        for topic in {*self.inputs, topics.results, topics.alerts} - kafka.topics():
            kafka.create_topic(topic, PARTITIONS)
        write_reference(FraudScenario(START_MS, cycle_ms=600_000, faults=FAULTS), folder)

    def configure(self, name: str) -> tuple[Path, Settings]:
        """The configuration of one run on an empty Redis."""
        self.client.flushall()
        path = configure(self._folder, name=name, brokers=self.kafka.bootstrap, redis=self._server.url, labels=True, topics=self.inputs)
        return path, settings(path)

    def counted(self, namespace: str) -> int:
        """Messages that are counted and checkpointed."""
        pipeline = self.client.pipeline(transaction=False)
        for unit in UNITS:
            pipeline.hget(f"{namespace}:{{{unit}}}:unit", "count:consumed")
        return sum(int(n or 0) for n in pipeline.execute())

    def owned(self, namespace: str) -> int:
        return int(self.client.exists(*(f"{namespace}:{{{unit}}}:unit" for unit in UNITS)))

    def redis_seconds(self) -> float:
        info = self.client.info("cpu")
        return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


@contextmanager
def worker_processes(path: Path, n: int) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """So many workers; they are told to end, and have to."""
    base = [sys.executable, "-m", "stream", "--log-level", "error", "worker", "--config", str(path)]
    processes = [subprocess.Popen([*base, "--port", str(free_port())], process_group=0) for _ in range(n)]
    try:
        yield processes
        for process in processes:
            process.send_signal(signal.SIGTERM)
        if codes := [code for process in processes if (code := process.wait(60))]:
            raise RuntimeError(f"workers ended with exit codes {codes}, expected 0")
    finally:
        for process in processes:
            process.kill()
            process.wait()


def wait(processes: list["subprocess.Popen[bytes]"], done: Callable[[], bool]) -> None:
    """Until `done`. Raises RuntimeError if a worker ends before, or it takes too long."""
    deadline = time.monotonic() + WITHIN_S
    while not done():
        if any(process.poll() is not None for process in processes) or time.monotonic() > deadline:
            raise RuntimeError(f"workers are not done within {WITHIN_S:.0f} s, or ended")
        time.sleep(POLL_S)


def measure(stage: Stage, name: str, workers: int, messages: int) -> Run:
    """Count everything with so many workers: from the moment that all units have an owner until all messages are checkpointed."""
    path, config = stage.configure(name)
    with worker_processes(path, workers) as processes:
        wait(processes, lambda: stage.owned(config.redis.namespace) == len(UNITS))

        def used() -> tuple[float, float, float, float]:
            mine = sum(cpu_seconds(process.pid) for process in processes)
            return time.perf_counter(), mine, cpu_seconds(stage.kafka.pid), stage.redis_seconds()

        before = used()
        wait(processes, lambda: stage.counted(config.redis.namespace) >= messages)
        after = used()
    return Run(workers, *(b - a for a, b in zip(before, after, strict=True)))


def table(runs: list[Run], predictions: int) -> list[str]:
    """Markdown rows: medians of the runs with as many workers."""
    rows = [
        "| workers | predictions / wall s | speed-up | CPU s of workers | of the broker | of Redis |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    walls = {n: median(run.wall_s for run in runs if run.workers == n) for n in sorted({run.workers for run in runs})}
    for n, wall_s in walls.items():
        same = [run for run in runs if run.workers == n]
        cpu = " | ".join(f"{median(getattr(run, name) for run in same):.1f}" for name in ("worker_s", "broker_s", "redis_s"))
        rows.append(f"| {n} | {predictions / wall_s:,.0f} | {walls[min(walls)] / wall_s:.2f} | {cpu} |")
    return rows


def memory(stage: Stage, minutes: float) -> list[tuple[float, int]]:
    """Seconds since the start and resident bytes of one worker, each second, while events come as fast as they are made."""
    path, config = stage.configure("memory")
    scenario, samples = FraudScenario(START_MS, cycle_ms=600_000, faults=FAULTS), []
    with worker_processes(path, 1) as (process,):
        wait([process], lambda: stage.owned(config.redis.namespace) == len(UNITS))
        started = time.perf_counter()
        while (passed := time.perf_counter() - started) < 60 * minutes:
            produce(scenario, stage.kafka.bootstrap, stage.inputs, 10_000, settle=False)
            if process.poll() is not None:
                raise RuntimeError(f"the worker ended with exit code {process.returncode}")
            samples.append((passed, rss_bytes(process.pid)))
        click.echo(f"{stage.counted(config.redis.namespace):,} messages counted in {passed:.0f} s", err=True)
    return samples


def flatness(samples: list[tuple[float, int]]) -> str:
    """What the memory did: its greatest, and its growth per minute by least squares once it has settled."""
    seconds, rss = (np.array(column, float) for column in zip(*samples, strict=True))
    settled = seconds >= min(SETTLED_S, seconds[-1] / 2)
    slope = np.polyfit(seconds[settled] / 60, rss[settled] / 1e6, 1)[0]
    first, last, most = rss[settled][0] / 1e6, rss[-1] / 1e6, rss.max() / 1e6
    return f"resident MB: {first:.0f} after it settled, {last:.0f} at the end, {most:.0f} at most; {slope:+.2f} MB a minute"


@click.command()
@click.option("--predictions", type=click.IntRange(min=1_000), default=400_000, show_default=True)
@click.option("--repeat", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--minutes", type=click.FloatRange(min=0), default=0.0, help="Print the memory of one worker over so many minutes instead.")
def main(predictions: int, repeat: int, minutes: float) -> None:
    """Print what a second worker brings, or what memory one takes over time."""
    with (
        tempfile.TemporaryDirectory(prefix="driftstream-bench-") as name,
        KafkaBroker(java_options=["-Xmx1g"]) as kafka,
        RedisServer() as server,
    ):
        stage = Stage(Path(name), kafka, server)
        if minutes:
            click.echo(flatness(memory(stage, minutes)))
            return
        scenario = FraudScenario(START_MS, cycle_ms=predictions, faults=FAULTS)
        made = produce(scenario, kafka.bootstrap, stage.inputs, predictions)
        messages = made.predictions + made.labels
        runs = [measure(stage, f"run-{i}-{n}", n, messages) for i in range(repeat) for n in (1, 2)]
    click.echo("\n".join(table(runs, predictions)))


if __name__ == "__main__":
    main()
