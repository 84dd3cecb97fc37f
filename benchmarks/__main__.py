"""The command: start the services, make the events, run the cases in turns, print the tables, write RESULTS.md."""

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

from benchmarks import pending, versus, worker
from benchmarks.data import FAULTS, PARTITIONS, START_MS, Produced, configure, produce, settings, write_reference
from benchmarks.measure import Measured
from benchmarks.report import CASES, document, of_decode, table, verdict
from benchmarks.versus import OURS, PEERS, PEERS_VENV, Versus
from stream.embedded import RedisServer
from stream.settings_services import Topics
from stream.simulate import FraudScenario
from tests.services.kafka import KafkaBroker

RESULTS = Path(__file__).with_name("RESULTS.md")
SHORT, FULL = 3, 5  # runs of each case
PREDICTIONS = 600_000
SHORT_PREDICTIONS, SHORT_FOR_PEERS = 400_000, 30_000  # so that all of it stays below five minutes, also with peers
BESIDE = {  # benchmarks that print a table of their own; --full takes them all into the document
    "What features, models and segments cost the core alone": ["scaling"],
    "Closing": ["closing"],
    "Alert latency": ["latency"],
    "A second worker": ["scale_out"],
    "Memory over ten minutes at full speed": ["scale_out", "--minutes", "10"],
}
FULL_ONLY = {"quix-panes", "histograms-events", "whylogs-events", "whylogs-rows"}  # variants


@click.command()
@click.option("--case", "cases", type=click.Choice([*CASES, *OURS, *PEERS]), multiple=True, help="Only this case; may be given again.")
@click.option("--predictions", type=click.IntRange(min=1_000), help=f"{SHORT_PREDICTIONS} without it; with --full {PREDICTIONS}.")
@click.option(
    "--peer-predictions", type=click.IntRange(min=1_000), help=f"Predictions for peers: {SHORT_FOR_PEERS} of the same; with --full all."
)
@click.option("--repeat", type=click.IntRange(min=1), help=f"Runs of each case; {SHORT} without it.")
@click.option("--full", is_flag=True, help=f"{FULL} runs of each case, all events for the peers, all peers.")
@click.option("--peers", type=click.Path(path_type=Path), default=PEERS_VENV, help="The peers' environment; without it they are skipped.")
@click.option("--at-least", type=click.FloatRange(min=0), help="Exit code 1 if `worker` is below this share of `decode-both`.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Also write the document here; with --full RESULTS.md.")
def main(
    cases: Sequence[str],
    predictions: int | None,
    peer_predictions: int | None,
    repeat: int | None,
    full: bool,
    peers: Path,
    at_least: float | None,
    output: Path | None,
) -> None:
    """Measure how much one worker process counts, alone and against others. --full writes RESULTS.md if no case was left out."""
    python = peers.absolute() / "bin" / "python"
    possible = [case for case in (*CASES, *OURS, *PEERS) if python.exists() or case in CASES]
    chosen = [case for case in possible if (case in cases if cases else full or case not in FULL_ONLY)]
    repeat, predictions = repeat or (FULL if full else SHORT), predictions or (PREDICTIONS if full else SHORT_PREDICTIONS)
    before = os.getloadavg()[0]
    with (
        tempfile.TemporaryDirectory(prefix="driftstream-bench-") as name,
        KafkaBroker(java_options=["-Xmx1g"]) as kafka,
        RedisServer() as server,
    ):
        for_peers = peer_predictions or (predictions if full else min(predictions, SHORT_FOR_PEERS))
        bench = _Bench(Path(name), kafka, server, predictions, for_peers if any(case in PEERS for case in chosen) else predictions, python)
        runs: dict[str, list[Measured]] = {case: [] for case in chosen}
        for i in range(repeat):
            for case in chosen:
                run = bench.run(case, i)
                runs[case].append(run)
                click.echo(f"{case} {i + 1}/{repeat}: {run.cpu_s:.2f} CPU s, {run.wall_s:.2f} wall s", err=True)
    click.echo("\n".join(table({case: runs[case] for case in chosen if case in CASES}, bench.produced)))
    click.echo("\n".join(("", *versus.table(runs, predictions), "")))
    if {"worker", "decode-both"} <= set(runs):
        click.echo(verdict(runs))
        if at_least is not None and of_decode(runs) < at_least:
            raise click.ClickException(f"worker reached {of_decode(runs):.2f} of decode-both, expected at least {at_least}")
    if full and len(runs) == len(CASES) + len(OURS) + len(PEERS) and repeat >= FULL:
        output = output or RESULTS
    if output and all(case in runs for case in CASES):
        beside = {title: _printed(command) for title, command in BESIDE.items()} if full else {}
        output.write_text(document(runs, bench.produced, (before, os.getloadavg()[0]), bench.versus.versions, beside))


def _printed(command: Sequence[str]) -> str:
    """What another benchmark prints, and the command that did it."""
    module, *arguments = command
    found = subprocess.run([sys.executable, "-m", f"benchmarks.{module}", *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout
    click.echo(found)
    return f"`{' '.join(('python -m', f'benchmarks.{module}', *arguments))}`\n\n{found.strip()}"


class _Bench:
    """The services with the events in them; runs one case once."""

    def __init__(self, folder: Path, kafka: KafkaBroker, server: RedisServer, predictions: int, for_peers: int, python: Path) -> None:
        self._folder, self._kafka, self._server = folder, kafka, server
        self._redis = redis.Redis.from_url(server.url)
        started, topics = time.perf_counter(), Topics()
        for _, topic in topics:
            kafka.create_topic(topic, PARTITIONS)
        write_reference(FraudScenario(START_MS, cycle_ms=predictions, faults=FAULTS), folder)
        self.versus = Versus(python, folder)
        self._topics = dict.fromkeys((*CASES, *OURS, *PEERS), (topics.predictions, topics.labels))
        self.produced = self._for_peers = self._produce(self._topics["worker"], predictions, predictions)
        if for_peers != predictions:
            fewer = f"{topics.predictions}.fewer", f"{topics.labels}.fewer"
            for topic in fewer:
                kafka.create_topic(topic, PARTITIONS)
            self._for_peers = self._produce(fewer, for_peers, predictions)
            self._topics |= dict.fromkeys(PEERS, fewer)
        click.echo(
            f"{self.produced.predictions:,} predictions and {self.produced.labels:,} labels are in Kafka after "
            f"{time.perf_counter() - started:.0f} s",
            err=True,
        )

    def _produce(self, topics: tuple[str, str], predictions: int, cycle_ms: int) -> Produced:
        """The first predictions of one and the same scenario, and their labels."""
        return produce(FraudScenario(START_MS, cycle_ms=cycle_ms, faults=FAULTS), self._kafka.bootstrap, topics, predictions)

    def run(self, case: str, number: int) -> Measured:
        """One run, in a consumer group and a Redis namespace of its own, on an empty Redis."""
        self._redis.flushall()
        path = configure(
            self._folder,
            name=f"{case}-{number}",
            brokers=self._kafka.bootstrap,
            redis=self._server.url,
            labels=case != "worker-unlabelled" and case not in OURS,
            topics=self._topics[case],
        )
        config = settings(path)
        if case in PEERS:
            return self.versus.run(case, config, {"predictions": self._for_peers.predictions, "labels": self._for_peers.labels})
        if case in ("worker", "worker-unlabelled"):
            return worker.measure(path, config, self._redis, self.produced)
        if case == "pending":
            return pending.measure(config, self._redis, self.produced.predictions)
        messages = self.produced.predictions + (self.produced.labels if case == "decode-both" else 0)
        command = [sys.executable, "-m", "benchmarks.baselines", str(path), case, str(messages)]
        if case in OURS:
            command = [sys.executable, "-m", "benchmarks.histograms", str(path), OURS[case].way]
        return msgspec.json.decode(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout, type=Measured)


if __name__ == "__main__":
    main()
