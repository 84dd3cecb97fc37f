"""The command line. Each command reads its options, calls one function and turns what goes wrong into a message and an exit code.

0: done. 1: it ran and found a problem. 2: usage, configuration or input is wrong; the message names the file, the key and the rule.
Everything heavy is imported inside its command.
"""

import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import click

if TYPE_CHECKING:
    from stream.backtest import History, Outcome
    from stream.closing import Firing
    from stream.replay import Replayed
    from stream.settings import Settings

DEFAULT_CONFIG: Final = Path("config/driftstream.yaml")
UNUSABLE: Final = 2
_WIDE: Final = 250  # columns of a table that goes to a file or a pipe

config_option = click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=DEFAULT_CONFIG,
    show_default=True,
    envvar="DRIFTSTREAM_CONFIG",
    help="The configuration file (YAML).",
)


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


@contextmanager
def _explained() -> Iterator[None]:
    """Turn the errors that a user can act on into a message and exit code 2."""
    from stream.kafka import InvalidOptionError, KafkaUnavailableError
    from stream.reference import InvalidReferenceError
    from stream.schema import FieldMappingError
    from stream.settings_file import ConfigError
    from stream.store import WrongSourceError
    from stream.store_redis import StoreUnavailableError

    try:
        yield
    except (ConfigError, InvalidReferenceError, InvalidOptionError, FieldMappingError, KafkaUnavailableError, WrongSourceError) as error:
        raise _unusable(str(error)) from None
    except StoreUnavailableError as error:
        raise _unusable(f"cannot reach Redis: {error}; check redis.url") from None
    except OSError as error:
        raise _unusable(f"{error.filename or 'file'}: {error.strerror or error}") from None


def _unusable(message: str) -> click.ClickException:
    error = click.ClickException(message)
    error.exit_code = UNUSABLE
    return error


def _settings(config: Path) -> "Settings":
    from stream.settings import load_settings

    return load_settings(config, os.environ)


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

    with _explained():
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
    with _explained():
        settings = _settings(config)
        first = port or settings.worker.web_port
        if workers > 1:
            from stream.supervisor import supervise

            sys.exit(supervise([[*_this_command(), "worker", "--config", str(config), "--port", str(first + i)] for i in range(workers)]))
        from stream.app import build_models, run_worker, try_models
        from stream.reference_watch import ReferenceWatch

        sys.exit(run_worker(ReferenceWatch(config, _settings, build_models, try_models), port=first))


def _this_command() -> list[str]:
    return [sys.executable, "-m", "stream", "--log-level", logging.getLevelName(logging.getLogger().level).lower()]


@main.command()
@config_option
def validate(config: Path) -> None:
    """Check the configuration and the references it names, without connecting to anything."""
    with _explained():
        from stream.app import build_models, try_models
        from stream.kafka import check_options
        from stream.settings import settings_summary

        settings = _settings(config)
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
                raise _unusable(
                    f"{config}: models.{name}.{section}.features.{feature}: "
                    f"expected one of the reference: {', '.join(sorted(names)) or 'none'}"
                )


@main.group()
def topics() -> None:
    """Kafka topics."""


@topics.command()
@config_option
@click.option("--partitions", type=click.IntRange(1, 10_000), default=3, show_default=True, help="Partitions of each topic.")
@click.option("--replication", type=click.IntRange(1, 10), default=1, show_default=True, help="Replicas; 3 in production.")
def create(config: Path, partitions: int, replication: int) -> None:
    """Create the two input and four output topics. Those that exist are left as they are."""
    with _explained():
        from stream.kafka import create_topics

        for name, what in create_topics(_settings(config).kafka, partitions=partitions, replication=replication).items():
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
    with _explained():
        from stream.simulate import run_simulation, write_reference

        if reference_out is not None:
            click.echo(f"wrote {reference_out}: {write_reference(reference_out, seed=seed)}")
        if not reference_only:
            tally = run_simulation(
                _settings(config).kafka,
                rate=rate,
                seconds=seconds,
                cycle_ms=cycle * 1000,
                label_delay_ms=int(label_delay * 1000),
                seed=seed,
            )
            click.echo(f"published {tally.predictions.messages} predictions and {tally.labels.messages} labels")


def _by_feature(_context: click.Context, _option: click.Parameter, given: tuple[str, ...]) -> dict[str, int]:
    """The number of each feature, of FEATURE=N."""
    parts = [text.rpartition("=") for text in given]
    if wrong := [text for text, (name, _, number) in zip(given, parts, strict=True) if not (name and number.isdecimal())]:
        raise click.BadParameter(f"{wrong[0]!r}, expected FEATURE=N, such as amount=20")
    return {name: int(number) for name, _, number in parts}


feature_bins_option = click.option(
    "--feature-bins",
    multiple=True,
    metavar="FEATURE=N",
    callback=_by_feature,
    help="Bins of one feature that drift is scored on, of a category so many values by name; may be given again.",
)


@main.group()
def reference() -> None:
    """References: what a model's inputs are compared with."""


@reference.command()
@click.option(
    "--data", type=click.Path(path_type=Path), required=True, help="Rows of training data: .parquet, .csv, .csv.gz, .jsonl, .jsonl.gz."
)
@click.option("--model", required=True, help="Name of the model.")
@click.option("--version", required=True, help="Version of the model.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The file to write.")
@click.option(
    "--task",
    type=click.Choice(["classification", "regression"]),
    default="classification",
    show_default=True,
    help="Of a regression prediction and label are numbers.",
)
@click.option("--classes", help="Classes of prediction and label, separated by commas; by default all that occur.")
@click.option("--prediction", default="prediction", show_default=True, help="Column of the prediction.")
@click.option("--label", default="label", show_default=True, help="Column of the label; with it the reference has a baseline.")
@click.option("--score", default="score", show_default=True, help="Column of the score.")
@click.option("--ignore", multiple=True, metavar="COLUMN", help="A column that is no feature; may be given again.")
@click.option("--categorical", multiple=True, metavar="COLUMN", help="A number that is a category; may be given again.")
@click.option("--bins", type=int, default=256, show_default=True, help="Fine bins of each numeric feature.")
@click.option("--coarse", type=int, default=10, show_default=True, help="Bins that drift is scored on.")
@click.option("--top-categories", type=int, help="Categories that are counted by name, however rare.  [default: 100, without a long tail]")
@feature_bins_option
@click.option(
    "--importances", type=click.Path(path_type=Path), help="Importance of each feature to the model: {name: number}, .json or .yaml."
)
def build(
    data: Path,
    model: str,
    version: str,
    out: Path,
    task: Literal["classification", "regression"],
    classes: str | None,
    prediction: str,
    label: str,
    score: str,
    ignore: tuple[str, ...],
    categorical: tuple[str, ...],
    bins: int,
    coarse: int,
    top_categories: int | None,
    feature_bins: dict[str, int],
    importances: Path | None,
) -> None:
    """Freeze the bins and counts of a file of rows into a reference.

    Columns are features, but for prediction, label, score, and identifiers and times. Text and booleans are categories. The file is read
    twice, in bounded memory.
    """
    with _explained(), _progress() as progress:
        from stream.reference_build import build_reference, read_importances

        try:
            made = build_reference(
                data,
                model=model,
                version=version,
                task=task,
                classes=[name.strip() for name in classes.split(",")] if classes else None,
                prediction_column=prediction,
                label_column=label,
                score_column=score,
                ignore=ignore,
                categorical=categorical,
                bins=bins,
                coarse=coarse,
                top_categories=top_categories,
                feature_bins=feature_bins,
                importances=read_importances(importances) if importances else {},
                progress=progress,
            )
        except ValueError as error:
            raise _unusable(str(error)) from None
        out.parent.mkdir(parents=True, exist_ok=True)
        made.save(out)
    click.echo(f"wrote {out}: {made.reference_id}, {made.rows} rows, {len(made.features)} features")


@reference.command()
@config_option
@click.option("--model", required=True, help="Name of the model, which the configuration need not have.")
@click.option("--version", "of_version", help="Only predictions of this version; by default of all.")
@click.option("--from", "start", metavar="TIME", help="RFC 3339; by default the oldest prediction that Kafka has.")
@click.option("--to", "end", metavar="TIME", help="RFC 3339, not included; by default now.")
@click.option("--for", "length", metavar="DURATION", help="Instead of --to: so long from the start on, such as 24h.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The file to write.")
@click.option("--task", type=click.Choice(["classification", "regression"]), help="By default the model's in the configuration.")
@click.option("--categorical", multiple=True, metavar="FEATURE", help="A number that is a category; may be given again.")
@feature_bins_option
def learn(
    config: Path,
    model: str,
    of_version: str | None,
    start: str | None,
    end: str | None,
    length: str | None,
    out: Path,
    task: Literal["classification", "regression"] | None,
    categorical: tuple[str, ...],
    feature_bins: dict[str, int],
) -> None:
    """Freeze the bins and counts of a period of the live stream into a reference, such as of its first day: --for 24h.

    Read from the configured topic of predictions, with the configured field mapping, up to what is its end now. Labels are not read, so it
    has no baseline of performance. The rows are kept in a temporary file meanwhile.
    """
    from stream.reference_build import build_reference
    from stream.reference_stream import InvalidPeriodError, Rows, oldest_ms, period

    settings = _settings(config)
    with _explained(), _progress() as progress, tempfile.TemporaryDirectory(prefix="driftstream-") as folder:
        from stream.history import first_messages, messages_since

        topic, fields = settings.kafka.topics.predictions, settings.events.predictions
        try:
            wanted = period(start, end, length, oldest_ms=lambda: oldest_ms(fields, first_messages(settings.kafka, topic)))
        except InvalidPeriodError as error:
            raise _unusable(str(error)) from None
        rows, data = Rows(fields, model, of_version, wanted), Path(folder) / "rows.jsonl"
        with data.open("wb") as file:
            for batch in messages_since(settings.kafka, topic, wanted.start_ms):
                file.writelines(row + b"\n" for message in batch if (row := rows.of(message)) is not None)
                progress("read", rows.recorded.rows, None)
        if not rows.recorded.rows:
            raise _unusable(f"no prediction of {model!r} in the period; {rows.recorded}")
        try:
            known = settings.models.get(model)
            task = task or (known.task if known else "classification")
            made = build_reference(
                data,
                model=model,
                version=of_version or "all",
                task=task,
                classes=known.classes if known and task == known.task == "classification" else None,
                categorical=categorical,
                feature_bins=feature_bins,
                progress=progress,
            )
        except ValueError as error:
            raise _unusable(str(error)) from None
        out.parent.mkdir(parents=True, exist_ok=True)
        made.save(out)
    click.echo(f"wrote {out}: {made.reference_id}, {len(made.features)} features; {rows.recorded}")


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int | None], None]]:
    """A progress bar on a terminal, nothing elsewhere."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        tasks: dict[str, Any] = {}

        def report(stage: str, rows: int, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=rows, total=total, description=f"{stage} {rows:,} rows")

        yield report


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
    with _explained():
        from stream.app import build_models, reads_kafka
        from stream.backtest import History, backtest, parse_thresholds, scored, with_auto
        from stream.replay import replay as run
        from stream.worker import wall_clock_ms

        settings = _settings(config)
        if needs := reads_kafka(settings):
            raise _unusable(f"{config}: {needs}: files have no Kafka keys, headers or timestamps, expected fields of the JSON for a replay")
        models = build_models(settings)
        known = scored(models.values(), labels=labels is not None)
        try:
            wanted = parse_thresholds(thresholds, known)
        except ValueError as error:
            raise _unusable(f"--thresholds {error}") from None
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
    with _explained():
        from stream.doctor import examine

        findings = examine(_settings(config))
        for finding in findings:
            click.secho(f"{'ok  ' if finding.ok else 'FAIL'} {finding.what}: {finding.detail}", fg=None if finding.ok else "red")
        sys.exit(0 if all(finding.ok for finding in findings) else 1)
