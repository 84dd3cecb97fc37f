"""How a back-test looks: a table for the terminal, and a page with every score over time that stands alone. Shows what it is given.

The page has no script and fetches nothing. Texts that come from events are escaped, and never markup.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Final

from rich.table import Table
from rich.text import Text

from stream.backtest import Outcome, Point, Series, threshold_text
from stream.score_chart import Level, chart, time_text, visible

CHARTS_MAX: Final = 300  # of a page: some MB of HTML; series that alert come first
COLUMNS: Final = ("metric", "threshold", "feature", "segment", "window", "alerts", "in alarm", "first alert")
RIGHT: Final = ("threshold", "alerts", "in alarm")
STYLE: Final = """\
body{font:14px/1.4 sans-serif;margin:24px auto;max-width:940px;padding:0 12px;color:#222;background:#fff}
h1{font-size:20px}h2{font-size:15px;margin:28px 0 4px}svg{max-width:100%;height:auto;display:block;margin:6px 0}
table{border-collapse:collapse;font-size:12px}th,td{padding:2px 10px 2px 0;text-align:left;border-bottom:1px solid #ddd}
td.right{text-align:right}"""
Points = Mapping[Series, Sequence[Point]]


def rows(outcomes: Sequence[Outcome]) -> list[tuple[str, ...]]:
    """A row of COLUMNS for each outcome with alerts; those of a threshold without any share one, which says how many they are."""
    several = len({(outcome.series.model, outcome.series.version) for outcome in outcomes}) > 1
    found = []
    for (metric, threshold), group in groupby(outcomes, key=lambda outcome: (outcome.series.metric, outcome.threshold)):
        of_threshold = list(group)
        alerting = [outcome for outcome in of_threshold if outcome.fired]
        found += [_row(outcome, several=several) for outcome in alerting]
        if silent := len(of_threshold) - len(alerting):
            judged = any(outcome.windows > outcome.insufficient for outcome in of_threshold)
            what = f"{'other ' if alerting else ''}series: {silent}" if judged else "insufficient data"
            found.append((metric, threshold_text(threshold), what, "", "", "0", "", ""))
    return found


def _row(outcome: Outcome, *, several: bool) -> tuple[str, ...]:
    series = outcome.series
    who = f"{series.model} {series.version} " if several else ""
    cells = (series.metric, threshold_text(outcome.threshold), who + series.subject, series.segment or "", _window(series))
    alarm = span_text(outcome.alarm_ms) + (" and on" if outcome.firing else "")
    return tuple(map(visible, (*cells, str(len(outcome.fired)), alarm, time_text(outcome.fired[0].end_ms))))


def span_text(ms: int) -> str:
    """A length of time in its two largest units.

    >>> span_text(93_784_000), span_text(7_200_000), span_text(0)
    ('1d 2h', '2h', '0s')
    """
    parts = []
    for unit, length in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)):
        count, ms = divmod(ms, length)
        parts.append(f"{count}{unit}" if count else "")
    first = next((i for i, part in enumerate(parts) if part), None)
    return "0s" if first is None else " ".join(part for part in parts[first : first + 2] if part)


def table(outcomes: Sequence[Outcome]) -> Table:
    """The rows for a terminal."""
    shown = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for name in COLUMNS:
        shown.add_column(name, justify="right" if name in RIGHT else "left", overflow="fold")
    for row in rows(outcomes):
        shown.add_row(*(Text(cell, "" if row[5] != "0" else "dim") for cell in row))
    return shown


def page(outcomes: Sequence[Outcome], points: Points, title: str) -> str:
    """The back-test as an HTML page, well-formed as XML too: the table, and a chart for each series, the ones that alert most first."""
    levels: dict[Series, list[Outcome]] = {}
    for outcome in outcomes:
        levels.setdefault(outcome.series, []).append(outcome)
    ranked = sorted(levels, key=lambda series: -sum(len(outcome.fired) for outcome in levels[series]))
    shown = sorted(ranked[:CHARTS_MAX], key=_heading)
    times = [point.end_ms for series in shown for point in points[series]]
    span_ms = (min(times, default=0), max(times, default=0))
    left_out = f"<p>{len(ranked) - len(shown)} more series, which alert least, are left out.</p>" if len(ranked) > len(shown) else ""
    safety = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>"
    return "\n".join(
        [
            f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>{safety}',
            f"<title>{escape(visible(title))}</title><style>{STYLE}</style></head><body>",
            f"<h1>{escape(visible(title))}</h1>",
            "<p>What each threshold alone would have alerted. A full circle is where an alert begins, an empty one where it ends; ",
            "the line breaks where there was insufficient data. Times are event time, UTC: the ends of windows.</p>",
            _html_table(rows(outcomes)),
            *_charts(shown, levels, points, span_ms),
            left_out,
            "</body></html>\n",
        ]
    )


def _heading(series: Series) -> tuple[str, ...]:
    return tuple(part or "" for part in (series.model, series.version, series.metric, _window(series), series.segment, series.subject))


def _window(series: Series) -> str:
    return series.window if series.by is None else f"{series.window} by prediction time"


def _charts(shown: Sequence[Series], levels: Mapping[Series, Sequence[Outcome]], points: Points, span_ms: tuple[int, int]) -> Iterable[str]:
    for (model, version, metric, window), group in groupby(shown, key=lambda series: _heading(series)[:4]):
        yield f"<h2>{escape(visible(f'{model} {version}: {metric}, window {window}'))}</h2>"
        for series in group:
            name = " ".join(part for part in (series.subject, series.segment) if part) or "all traffic"
            if all(point.score is None for point in points[series]):
                yield f"<p>{escape(visible(name))}: insufficient data in every window.</p>"
                continue
            marked = [Level(outcome.threshold, outcome.changes) for outcome in levels[series]]
            yield chart(visible(name), points[series], marked, span_ms=span_ms)


def _html_table(found: Iterable[tuple[str, ...]]) -> str:
    head = "".join(f"<th>{name}</th>" for name in COLUMNS)
    right = [' class="right"' if name in RIGHT else "" for name in COLUMNS]
    body = ("<tr>" + "".join(f"<td{side}>{escape(cell)}</td>" for side, cell in zip(right, row, strict=True)) + "</tr>" for row in found)
    return f"<table><tr>{head}</tr>\n" + "\n".join(body) + "</table>"
