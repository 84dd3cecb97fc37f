"""The command line. Each command reads its options, calls one function and turns what goes wrong into a message and an exit code.

0: done. 1: it ran and found a problem. 2: usage, configuration or input is wrong; the message names the file, the key and the rule.
Everything heavy is imported inside its command.
"""

import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from stream.cli_reference import reference
from stream.cli_shared import config_option, explained, settings_of, unusable

if TYPE_CHECKING:
    from stream.backtest import History, Outcome
    from stream.closing import Firing
    from stream.replay import Replayed

_WIDE: Final = 250  # columns of a table that goes to a file or a pipe


class _JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the error if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {"level": record.levelname.lower(), "process": record.process, "logger": record.name, "message": record.getMessage()}
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return json.dumps({"time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"), **entry})


def _log(level: str) -> None:
    """Log to standard error: JSON lines, or plain text on a terminal."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s") if sys.stderr.isatty() else _JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy, least in (
        ("faust", logging.WARNING),
        ("mode", logging.WARNING),
        ("mode.timers", logging.ERROR),
        ("aiohttp", logging.WARNING),
    ):
        logging.getLogger(noisy).setLevel(least)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="driftstream")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True)
def main(log_level: str) -> None:
    """Watch machine-learning models on Kafka: drift of their inputs and loss of performance, within seconds, and why.

    Start with `driftstream demo`. For your own models: write a configuration, `validate` it, make a reference of the training data
    with `reference build`, and run a `worker`.
    """
    _log(log_level)


@main.command()
@click.option("--forever", is_flag=True, help="Keep running until Ctrl-C.")
def demo(forever: bool) -> None:
    """Show everything at work on this machine, in under a minute.

    An embedded Kafka-protocol broker, a real Redis, a simulated fraud model whose inputs drift and whose accuracy then falls, a worker,
    and what it says. Needs nothing and leaves nothing behind. Fails if no alert came or an event was lost.
    """
    from stream.demo import run_demo

    with explained():
        sys.exit(run_demo(forever=forever))


@main.command()
@config_option
@click.option("--workers", type=click.IntRange(1, 256), default=1, show_default=True, help="Processes; one for each core is right.")
@click.option("--port", type=click.IntRange(1, 65_535), help="Port of the first process's web pages, instead of worker.web_port.")
def worker(config: Path, workers: int, port: int | None) -> None:
    """Consume, count, close windows, and publish results and alerts.

    Several processes, here or on other machines, share the work as one Kafka consumer group. Web pages: /metrics, /health, /ready;
    process i listens on the port + i. With --workers 2 or more, a process that dies is started again; it goes on from its last checkpoint.
    """
    with explained():
        settings = settings_of(config)
        first = port or settings.worker.web_port
        if workers > 1:
            from stream.supervisor import supervise

            sys.exit(supervise([[*_this_command(), "worker", "--config", str(config), "--port", str(first + i)] for i in range(workers)]))
        from stream.app import build_models, run_worker, try_models
        from stream.reference_watch import ReferenceWatch

        sys.exit(run_worker(ReferenceWatch(config, settings_of, build_models, try_models), port=first))


def _this_command() -> list[str]:
    return [sys.executable, "-m", "stream", "--log-level", logging.getLevelName(logging.getLogger().level).lower()]


@main.command()
@config_option
def validate(config: Path) -> None:
    """Check the configuration and the references it names, without connecting to anything."""
    with explained():
        from stream.app import build_models, try_models
        from stream.kafka import check_options
        from stream.settings_summary import settings_summary

        settings = settings_of(config)
        check_options(settings.kafka)
        models = build_models(settings)
        for model in models.values():
            _check_fit(config, model)
        try_models(settings, models)
        click.echo(settings_summary(settings))
        click.echo(f"{config} is valid")


def _check_fit(config: Path, model: Any) -> None:
    """Rules that hold between a model's settings and its reference."""
    from stream.model import with_variants

    names = {slot.feature.name for one in with_variants([model]) for slot in one.slots}
    name = model.settings.name
    for section, features in (("drift", model.settings.feature_drift), ("quality", model.settings.feature_quality)):
        for feature in features:
            if feature not in names:
                raise unusable(
                    f"{config}: models.{name}.{section}.features.{feature}: "
                    f"expected one of the reference: {', '.join(sorted(names)) or 'none'}"
                )


main.add_command(reference)


@main.group()
def topics() -> None:
    """Kafka topics."""


@topics.command()
@config_option
@click.option("--partitions", type=click.IntRange(1, 10_000), default=3, show_default=True, help="Partitions of each topic.")
@click.option("--replication", type=click.IntRange(1, 10), default=1, show_default=True, help="Replicas; 3 in production.")
def create(config: Path, partitions: int, replication: int) -> None:
    """Create the two input and four output topics. Those that exist are left as they are."""
    with explained():
        from stream.kafka import create_topics

        for name, what in create_topics(settings_of(config).kafka, partitions=partitions, replication=replication).items():
            click.echo(f"{what:8} {name}")


@main.command()
@config_option
@click.option("--rate", type=click.IntRange(1, 100_000), default=500, show_default=True, help="Predictions a second.")
@click.option("--seconds", type=click.FloatRange(min=0), help="Stop after this long; without it, go on until Ctrl-C.")
@click.option("--cycle", type=click.IntRange(10, 86_400), default=600, show_default=True, help="Seconds from steady to drift to steady.")
@click.option("--label-delay", type=click.FloatRange(min=0), default=30, show_default=True, help="Typical delay of labels in seconds.")
@click.option("--seed", type=int, default=7, show_default=True, help="Same seed, same transactions.")
@click.option("--reference-out", type=click.Path(path_type=Path), help="First write the simulated model's reference to this file.")
@click.option("--reference-only", is_flag=True, help="Write the reference and stop.")
def simulate(
    config: Path,
    rate: int,
    seconds: float | None,
    cycle: int,
    label_delay: float,
    seed: int,
    reference_out: Path | None,
    reference_only: bool,
) -> None:
    """Publish a simulated fraud model's predictions and delayed labels to the configured topics.

    Its inputs drift, its accuracy falls, and it recovers, again and again. The events are for a model named `fraud`.
    """
    if reference_only and reference_out is None:
        raise click.UsageError("--reference-only needs --reference-out FILE")
    with explained():
        from stream.simulate import run_simulation, write_reference

        if reference_out is not None:
            click.echo(f"wrote {reference_out}: {write_reference(reference_out, seed=seed)}")
        if not reference_only:
            tally = run_simulation(
                settings_of(config).kafka,
                rate=rate,
                seconds=seconds,
                cycle_ms=cycle * 1000,
                label_delay_ms=int(label_delay * 1000),
                seed=seed,
            )
            click.echo(f"published {tally.predictions.messages} predictions and {tally.labels.messages} labels")


@main.command()
@config_option
@click.option("--predictions", type=click.Path(path_type=Path), required=True, help="Prediction events, .jsonl or .jsonl.gz.")
@click.option("--labels", type=click.Path(path_type=Path), help="Label events, .jsonl or .jsonl.gz.")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder for results.jsonl, alerts.jsonl, dead-letter.jsonl, late.jsonl."
)
@click.option(
    "--thresholds", multiple=True, metavar="METRIC=NUMBER,...", help="Thresholds to try, such as psi=0.1,0.2,auto; may be given again."
)
@click.option(
    "--report", type=click.Path(path_type=Path, dir_okay=False), help="A page to write: each score over time, with --thresholds and alerts."
)
def replay(config: Path, predictions: Path, labels: Path | None, out: Path, thresholds: tuple[str, ...], report: Path | None) -> None:
    """Run history through the same pipeline, without Kafka or Redis, to try thresholds before going live.

    Writes results.jsonl, alerts.jsonl, dead-letter.jsonl and late.jsonl; with --thresholds also backtest.json: the alerts that each of
    them would have fired by itself, as the table that is shown has them. METRIC=auto replays the history once more, into the folder
    METRIC-auto.
    """
    if report is not None and not thresholds:
        raise click.UsageError("--report needs --thresholds METRIC=NUMBER,...")
    with explained():
        from stream.app import build_models, reads_kafka
        from stream.backtest import History, backtest, parse_thresholds, scored, with_auto
        from stream.replay import replay as run
        from stream.worker import wall_clock_ms

        settings = settings_of(config)
        if needs := reads_kafka(settings):
            raise unusable(f"{config}: {needs}: files have no Kafka keys, headers or timestamps, expected fields of the JSON for a replay")
        models = build_models(settings)
        known = scored(models.values(), labels=labels is not None)
        try:
            wanted = parse_thresholds(thresholds, known)
        except ValueError as error:
            raise unusable(f"--thresholds {error}") from None
        now_ms, history = wall_clock_ms(), History(wanted, models=models)
        done = run(settings, models, predictions, labels, out, now_ms=now_ms, observe=_into(history))
        _tell_replayed(done, out, labels=labels is not None)
        auto = {metric: History([metric]) for metric, values in wanted.items() if "auto" in values}
        for metric, found in auto.items():
            tested = with_auto(settings, metric)
            folder = out / f"{metric}-auto"
            run(tested, build_models(tested), predictions, labels, folder, now_ms=now_ms, observe=_into(found))
        if wanted:
            _tell_backtest(backtest(history, wanted, known, auto), history, out, report)


def _into(history: "History") -> "Callable[[Firing], None]":
    def observe(firing: "Firing") -> None:
        if firing.result is not None:
            history.add(firing.result, spoken=firing.spoken)

    return observe


def _tell_replayed(done: "Replayed", out: Path, *, labels: bool) -> None:
    read = done.predictions
    click.echo(
        f"{read['consumed']} predictions: {read['counted']} counted, {read['late']} late, {read['duplicate']} duplicate, "
        f"{read['malformed']} malformed"
    )
    if labels:
        matched = done.labels["matched"] + read["completed"]
        click.echo(
            f"{done.labels['consumed']} labels: {matched} matched, {done.labels['waiting'] - read['completed']} without a prediction, "
            f"{done.labels['duplicate']} duplicate, {done.labels['corrected']} corrected, {done.labels['malformed']} malformed"
        )
    click.echo(f"{done.results} results and {done.alerts} alerts in {out}")


def _tell_backtest(outcomes: "Sequence[Outcome]", history: "History", out: Path, report: Path | None) -> None:
    from rich.console import Console

    from stream.backtest import encode_outcomes
    from stream.backtest_view import page, table

    (out / "backtest.json").write_bytes(encode_outcomes(outcomes) + b"\n")
    Console(width=None if sys.stdout.isatty() else _WIDE).print(table(outcomes))
    if report is not None:
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(page(outcomes, history.series, f"Back-test of {', '.join(sorted({o.series.model for o in outcomes}))}"), "utf-8")
        click.echo(f"wrote {report}")


@main.command()
@config_option
def doctor(config: Path) -> None:
    """Check Kafka, Redis, the topics, the references, and that every event is accounted for. Exit code 1 if something is wrong."""
    with explained():
        from stream.doctor import examine

        findings = examine(settings_of(config))
        for finding in findings:
            click.secho(f"{'ok  ' if finding.ok else 'FAIL'} {finding.what}: {finding.detail}", fg=None if finding.ok else "red")
        sys.exit(0 if all(finding.ok for finding in findings) else 1)
