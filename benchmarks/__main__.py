"""The command: start the services, make the events, run the cases in turns, print the table, write RESULTS.md."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec
import redis

from benchmarks import pending, worker
from benchmarks.data import FAULTS, PARTITIONS, START_MS, Produced, configure, produce, settings, write_reference
from benchmarks.measure import Measured
from benchmarks.report import CASES, document, table, verdict
from stream.embedded import RedisServer
from stream.settings import Topics
from stream.simulate import FraudScenario
from tests.services.kafka import KafkaBroker

RESULTS = Path(__file__).with_name("RESULTS.md")
SHORT, FULL = 3, 5  # runs of each case


@click.command()
@click.option("--case", "cases", type=click.Choice(list(CASES)), multiple=True, help="Only this case; may be given again.")
@click.option("--predictions", type=click.IntRange(min=1_000), default=600_000, show_default=True)
@click.option("--repeat", type=click.IntRange(min=1), help=f"Runs of each case; {SHORT} without it.")
@click.option("--full", is_flag=True, help=f"{FULL} runs of each case.")
def main(cases: Sequence[str], predictions: int, repeat: int | None, full: bool) -> None:
    """Measure how much one worker process counts. RESULTS.md is written when all cases ran often enough."""
    chosen = [case for case in CASES if not cases or case in cases]
    repeat = repeat or (FULL if full else SHORT)
    before = os.getloadavg()[0]
    with (
        tempfile.TemporaryDirectory(prefix="driftstream-bench-") as name,
        KafkaBroker(java_options=["-Xmx1g"]) as kafka,
        RedisServer() as server,
    ):
        bench = _Bench(Path(name), kafka, server, predictions)
        runs: dict[str, list[Measured]] = {case: [] for case in chosen}
        for i in range(repeat):
            for case in chosen:
                run = bench.run(case, i)
                runs[case].append(run)
                click.echo(f"{case} {i + 1}/{repeat}: {run.cpu_s:.2f} CPU s, {run.wall_s:.2f} wall s", err=True)
    click.echo("\n".join(table(runs, bench.produced)))
    if "worker" in runs:
        click.echo(verdict(runs, bench.produced))
    if len(runs) == len(CASES) and repeat >= SHORT:
        RESULTS.write_text(document(runs, bench.produced, (before, os.getloadavg()[0])))


class _Bench:
    """The services with the events in them; runs one case once."""

    def __init__(self, folder: Path, kafka: KafkaBroker, server: RedisServer, predictions: int) -> None:
        self._folder, self._kafka, self._server = folder, kafka, server
        self._redis = redis.Redis.from_url(server.url)
        started, topics = time.perf_counter(), Topics()
        for _, topic in topics:
            kafka.create_topic(topic, PARTITIONS)
        scenario = FraudScenario(START_MS, cycle_ms=predictions, faults=FAULTS)
        write_reference(scenario, folder)
        self.produced: Produced = produce(scenario, kafka.bootstrap, (topics.predictions, topics.labels), predictions)
        click.echo(
            f"{self.produced.predictions:,} predictions and {self.produced.labels:,} labels are in Kafka after "
            f"{time.perf_counter() - started:.0f} s",
            err=True,
        )

    def run(self, case: str, number: int) -> Measured:
        """One run, in a consumer group and a Redis namespace of its own, on an empty Redis."""
        self._redis.flushall()
        name = f"{case}-{number}"
        path = configure(self._folder, name=name, brokers=self._kafka.bootstrap, redis=self._server.url, labels=case != "worker-unlabelled")
        config = settings(path)
        if case.startswith("worker"):
            return worker.measure(path, config, self._redis, self.produced)
        if case == "pending":
            return pending.measure(config, self._redis, self.produced.predictions)
        command = [sys.executable, "-m", "benchmarks.baselines", str(path), case, str(self.produced.predictions)]
        return msgspec.json.decode(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout, type=Measured)


if __name__ == "__main__":
    main()
