"""What drifted when on the electricity market of New South Wales: a replay, thresholds tried on it, a table and a picture.

`python -m benchmarks.electricity` needs the data set's folder (`--data`), which is not ours to publish. Reference, predictions and
labels are those of the data set: a gradient-boosting model's, trained on the rows before the reference.
"""

import tempfile
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Final

import click

from stream.app import build_models
from stream.backtest import History, Outcome, Point, Series, backtest, scored
from stream.reference_build import build_reference
from stream.replay import replay
from stream.score_chart import HEIGHT, WIDTH, Level, chart, time_text
from stream.settings import load_settings

DATA: Final = Path(__file__).parents[2] / "shared" / "data" / "electricity"
PICTURE: Final = Path(__file__).parents[1] / "docs" / "electricity.svg"
NOW_MS: Final = 946_684_800_000  # the year 2000: past the data, and the same in every run
MONTH_MS: Final = 28 * 86_400_000
CONFIG: Final = """\
time: {out_of_orderness: 2h, when_idle: hold}
windows: [{name: month, size: 28d}]    # 1 344 half hours, and whole weeks, so that weekdays are even
models:
  nsw-price:
    reference: nsw-price.json
    classes: [DOWN, UP]
    positive: UP
    drift: {minimum_sample: 1000, ks: {warning: off}, chi2: {warning: off}, wasserstein: {warning: off}}
    performance: {minimum_sample: 1000}   # leaves out the first and the last month, which the data cut
"""
THRESHOLDS: Final = {"psi": (1.0,), "ks": (0.4,), "chi2": (0.2,), "accuracy": (0.68,)}
DRAWN: Final = (("accuracy", ""), ("ks", "(score)"), ("ks", "nswprice"), ("ks", "nswdemand"), ("ks", "vicprice"))
COLUMNS: Final = ("score", "feature", "alerts", "drifted", "most extreme, month to")


def run(data: Path, folder: Path) -> tuple[History, list[Outcome]]:
    """The scores of every month and what THRESHOLDS make of them; `folder` gets the reference, the configuration and the results."""
    reference = build_reference(data / "reference.csv", model="nsw-price", version="1")
    reference.save(folder / "nsw-price.json")
    (folder / "electricity.yaml").write_text(CONFIG, "utf-8")
    settings = load_settings(folder / "electricity.yaml", {})
    models = build_models(settings)
    history = History(THRESHOLDS)
    files = (data / "predictions.jsonl.gz", data / "labels.jsonl.gz")
    replay(settings, models, *files, folder / "out", now_ms=NOW_MS, observe=lambda firing: history.add(firing.result))
    return history, backtest(history, THRESHOLDS, scored(models.values(), labels=True))


def table(history: History, outcomes: Sequence[Outcome]) -> list[str]:
    """Markdown: a row for each score that alerts, one for those of a threshold that do not."""
    rows = [f"| {' | '.join(COLUMNS)} |", "|---|---|---:|---|---|"]
    for metric, thresholds in THRESHOLDS.items():
        sign = "<" if metric == "accuracy" else "≥"
        score = f"`{metric}` {sign} {thresholds[0]:g}"
        of_metric = [outcome for outcome in outcomes if outcome.series.metric == metric]
        for outcome in of_metric:
            if outcome.fired:
                extreme = _extreme(history.series[outcome.series], lowest=metric == "accuracy")
                cells = (score, outcome.series.subject, str(len(outcome.fired)), ", ".join(_periods(outcome)), extreme)
                rows.append(f"| {' | '.join(cells)} |")
        if silent := [outcome.series.subject for outcome in of_metric if not outcome.fired]:
            rows.append(f"| {score} | {', '.join(silent)} | 0 | | |")
    return rows


def _periods(outcome: Outcome) -> Iterator[str]:
    """When it alerted: from the start of the first month over the threshold to the end of the last one."""
    ends = [change.end_ms - MONTH_MS for change in outcome.changes]
    for start, end in zip_longest(ends[::2], ends[1::2]):
        yield f"{time_text(start)} to {'the end' if end is None else time_text(end)}"


def _extreme(points: Sequence[Point], *, lowest: bool) -> str:
    judged = [(point.score, point.end_ms) for point in points if point.score is not None]
    score, end_ms = min(judged) if lowest else max(judged)
    return f"{score:.2f}, {time_text(end_ms)}"


def picture(history: History, outcomes: Sequence[Outcome]) -> str:
    """The scores of DRAWN below each other, as one SVG file."""
    levels: dict[tuple[str, str], tuple[Series, list[Level]]] = {}
    for outcome in outcomes:
        key = (outcome.series.metric, outcome.series.subject)
        levels.setdefault(key, (outcome.series, []))[1].append(Level(outcome.threshold, outcome.changes))
    ends = [point.end_ms for points in history.series.values() for point in points]
    parts = [
        f'<g transform="translate(0 {i * HEIGHT})">{_panel(history, *levels[key], (min(ends), max(ends)))}</g>'
        for i, key in enumerate(DRAWN)
    ]
    height = len(DRAWN) * HEIGHT
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n'


def _panel(history: History, series: Series, levels: Sequence[Level], span_ms: tuple[int, int]) -> str:
    return chart(f"{series.metric} {series.subject}".strip(), history.series[series], levels, span_ms=span_ms)


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True, file_okay=False), default=DATA, help="Folder of the data set.")
@click.option("--picture", "file", type=click.Path(path_type=Path), default=PICTURE, help="The picture to write.")
def main(data: Path, file: Path) -> None:
    """Print the table of what drifted when, and write the picture of it."""
    with tempfile.TemporaryDirectory() as folder:
        history, outcomes = run(data, Path(folder))
    click.echo("\n".join(table(history, outcomes)))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(picture(history, outcomes), "utf-8")


if __name__ == "__main__":
    main()
