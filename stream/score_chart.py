"""A picture of one score over time, as SVG: the score, thresholds across it, and the alerts of each where they began and ended.

Pure text, no script and nothing fetched; styles are attributes, so that a chart stands in a page and in a file of its own. What is
shown beside numbers is the caller's text and is escaped here. A series of any length costs a bounded number of points: of all that fall
on one column of the picture the lowest and the highest are drawn.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from itertools import pairwise
from typing import Final, NamedTuple

from stream.backtest import Change, Point, Threshold, threshold_text

WIDTH, HEIGHT = 900, 170
LEFT, RIGHT, TOP, BOTTOM = 48, 118, 22, 20  # around the plot: numbers, names of thresholds, title, times
TEXT_HEIGHT: Final = 12
INK, FAINT = "#333", "#ddd"
COLORS: Final = ("#e69f00", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#56b4e9")  # M. Okabe, K. Ito, Color Universal Design, 2002
_S, _H, _D = 1_000, 3_600_000, 86_400_000
_STEPS_MS: Final = (1, 10, 100, _S, 5 * _S, 15 * _S, 60 * _S, 300 * _S, 900 * _S, _H, 3 * _H, 6 * _H, 12 * _H, _D, 2 * _D, 7 * _D, 14 * _D)


class Level(NamedTuple):
    """A threshold and the changes of its alerts; `auto` has no line, as it depends on more than the score."""

    threshold: Threshold
    changes: Sequence[Change]


class _Axes(NamedTuple):
    """Where times and scores are in the picture."""

    start_ms: int
    end_ms: int
    low: float
    high: float

    def x(self, ms: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (ms - self.start_ms) / max(self.end_ms - self.start_ms, 1)

    def y(self, score: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (score - self.low) / (self.high - self.low)


def chart(title: str, points: Sequence[Point], levels: Sequence[Level], *, span_ms: tuple[int, int]) -> str:
    """The picture as one <svg> element of WIDTH x HEIGHT.

    Args:
        points: in order of firing; of a window that fired twice the last score is drawn.
        span_ms: the first and last time of the axis, the same for charts that stand below each other.
    """
    newest = {point.end_ms: point.score for point in points}
    heights = [score for score in newest.values() if score is not None] + [level.threshold for level in levels if level.threshold != "auto"]
    axes = _Axes(*span_ms, *_range(heights))
    parts = [f'<text x="{LEFT}" y="14" font-weight="bold">{escape(title)}</text>', *_grid(axes)]
    lines = [TOP if level.threshold == "auto" else axes.y(level.threshold) for level in levels]
    for color, level, y, place in zip(_colors(), levels, lines, _apart(lines), strict=False):
        if level.threshold != "auto":
            parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{color}" stroke-dasharray="5 3"/>')
        fired = _alerts(sum(change.status == "firing" for change in level.changes))
        parts.append(f'<text x="{WIDTH - RIGHT + 6}" y="{place + 4:.1f}" fill="{color}">{threshold_text(level.threshold)}: {fired}</text>')
    parts += [_line(run, axes) for run in _runs(sorted(newest.items()))]
    for color, level in zip(_colors(), levels, strict=False):
        parts += [_mark(change, axes, color) for change in level.changes]
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    style = f'font-family="sans-serif" font-size="11" fill="{INK}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {size} {style}>{"".join(parts)}</svg>'


def visible(text: str) -> str:
    """The text on one line, without characters that XML forbids or that move a terminal's cursor.

    >>> visible("a\\x1b[2J")
    'a\\ufffd[2J'
    """
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def time_text(ms: int) -> str:
    """Date, and time of the day unless it is midnight, UTC."""
    at = datetime.fromtimestamp(ms / 1000, UTC)
    if ms % _D == 0:
        return f"{at:%Y-%m-%d}"
    return f"{at:%Y-%m-%d %H:%M}" if ms % 60_000 == 0 else f"{at:%Y-%m-%d %H:%M:%S}"


def _alerts(n: int) -> str:
    return f"{n} alert{'' if n == 1 else 's'}"


def _colors() -> Iterator[str]:
    while True:
        yield from COLORS


def _apart(heights: Sequence[float]) -> list[float]:
    """Places of texts beside these heights, so that none covers another: moved up as far as they must, the lowest not at all."""
    places, free = [0.0] * len(heights), math.inf
    for i in sorted(range(len(heights)), key=lambda i: -heights[i]):
        places[i] = min(heights[i], free)
        free = places[i] - TEXT_HEIGHT
    return places


def _range(heights: Sequence[float]) -> tuple[float, float]:
    """The scores that the axis reaches from and to, some more than those that are drawn; from 0 where that is near."""
    low, high = min(heights, default=0.0), max(heights, default=1.0)
    room = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    return (0.0 if 0 <= low <= (high - low) else low - room), high + room


def _grid(axes: _Axes) -> Iterable[str]:
    """Lines and numbers of the scores, and the times."""
    step = 10 ** math.floor(math.log10((axes.high - axes.low) / 2))
    step *= next((times for times in (1, 2, 5) if (axes.high - axes.low) / (step * times) <= 5), 10)
    for i in range(math.ceil(axes.low / step), math.floor(axes.high / step) + 1):
        y = axes.y(i * step)
        yield f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{FAINT}"/>'
        yield f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{i * step:.6g}</text>'
    length = axes.end_ms - axes.start_ms
    every = next((step for step in _STEPS_MS if length <= 8 * step), 28 * _D * math.ceil(length / (8 * 28 * _D)))
    for ms in range(math.ceil(axes.start_ms / every) * every, axes.end_ms + 1, every):
        text = time_text(ms)
        shown = text if every >= _D else text[11:] or text
        yield f'<text x="{axes.x(ms):.1f}" y="{HEIGHT - 5}" text-anchor="middle">{shown}</text>'


def _runs(points: Sequence[tuple[int, float | None]]) -> list[list[tuple[int, float]]]:
    """The scores without a gap between them: a window without a score, or one that is missing."""
    step = min((b[0] - a[0] for a, b in pairwise(points)), default=0)
    runs: list[list[tuple[int, float]]] = [[]]
    for end_ms, score in points:
        if runs[-1] and (score is None or end_ms - runs[-1][-1][0] > step):
            runs.append([])
        if score is not None:
            runs[-1].append((end_ms, score))
    return [run for run in runs if run]


def _line(run: Sequence[tuple[int, float]], axes: _Axes) -> str:
    """A line through the scores, or a point; of those on one column of the picture only the lowest and the highest."""
    columns: dict[int, list[tuple[int, float]]] = {}
    for end_ms, score in run:
        columns.setdefault(round(axes.x(end_ms)), []).append((end_ms, score))
    drawn = sorted({point for column in columns.values() for point in (min(column, key=_score), max(column, key=_score))})
    if len(drawn) == 1:
        return f'<circle cx="{axes.x(drawn[0][0]):.1f}" cy="{axes.y(drawn[0][1]):.1f}" r="1.5"/>'
    places = " ".join(f"{axes.x(end_ms):.1f},{axes.y(score):.1f}" for end_ms, score in drawn)
    return f'<polyline points="{places}" fill="none" stroke="{INK}" stroke-width="1.3"/>'


def _score(point: tuple[int, float]) -> float:
    return point[1]


def _mark(change: Change, axes: _Axes, color: str) -> str:
    """A full circle where an alert begins, an empty one where it ends."""
    place = f'cx="{axes.x(change.end_ms):.1f}" cy="{axes.y(change.score):.1f}" r="3.5"'
    filling = color if change.status == "firing" else "#fff"
    tip = f"{change.status} at {change.score:.4g}, window to {time_text(change.end_ms)}"
    return f'<circle {place} fill="{filling}" stroke="{color}" stroke-width="1.5"><title>{tip}</title></circle>'
