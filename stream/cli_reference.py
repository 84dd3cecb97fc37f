"""`driftstream reference`: build one from a file of rows, or learn one from a period of the live stream."""

import tempfile
from pathlib import Path
from typing import Literal

import click

from stream.cli_shared import config_option, explained, progress_bar, settings_of, unusable


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


@click.group()
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
    with explained(), progress_bar() as progress:
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
            raise unusable(str(error)) from None
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

    settings = settings_of(config)
    with explained(), progress_bar() as progress, tempfile.TemporaryDirectory(prefix="driftstream-") as folder:
        from stream.history import first_messages, messages_since

        topic, fields = settings.kafka.topics.predictions, settings.events.predictions
        try:
            wanted = period(start, end, length, oldest_ms=lambda: oldest_ms(fields, first_messages(settings.kafka, topic)))
        except InvalidPeriodError as error:
            raise unusable(str(error)) from None
        rows, data = Rows(fields, model, of_version, wanted), Path(folder) / "rows.jsonl"
        with data.open("wb") as file:
            for batch in messages_since(settings.kafka, topic, wanted.start_ms):
                file.writelines(row + b"\n" for message in batch if (row := rows.of(message)) is not None)
                progress("read", rows.recorded.rows, None)
        if not rows.recorded.rows:
            raise unusable(f"no prediction of {model!r} in the period; {rows.recorded}")
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
            raise unusable(str(error)) from None
        out.parent.mkdir(parents=True, exist_ok=True)
        made.save(out)
    click.echo(f"wrote {out}: {made.reference_id}, {len(made.features)} features; {rows.recorded}")
