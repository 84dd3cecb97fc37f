"""How far the number of predictions in a window is from that of the period before it, all versions together. Pure.

Beyond chance: the threshold t is crossed where the rate is more than three standard errors past 1 - t or 1 + t times that of the period, if
events come independently of each other. Traffic with a daily rhythm does not: it wants high thresholds, or a window of a day.
"""

import math
from typing import Final

from msgspec import UNSET

from detectors.judge import Thresholds, judge
from stream.alerts import Evidence
from stream.baselines import Panes, Period
from stream.model import PREDICTIONS
from stream.settings_thresholds import Rules
from stream.verdicts import Judged

_STANDARD_ERRORS: Final = 3.0  # as of the ratios in `quality`
_MINUTE_MS: Final = 60_000


def volume_change(rules: Rules, now: int, size_ms: int, panes: Panes, period: Period) -> list[Judged]:
    """What is judged of `now` predictions in `size_ms`, against what `panes` hold of the period; nothing without thresholds.

    The value is |rate / rate of the period - 1|, in [0, inf). A period is judged by only if it has the minimum sample, and predictions at
    its very beginning: else it began before the model did, and its rate is too low.
    """
    thresholds = rules.thresholds["volume_change"]
    if thresholds.warning is None and thresholds.critical is None:
        return []
    before, length_ms = _predictions(panes, period), period.end_ms - period.start_ms
    expected = before * size_ms / length_ms
    value = abs(now / expected - 1) if before else None
    if before:
        thresholds = _beyond_chance(thresholds, expected, before, fell=now < expected)
    verdict = judge(value, before, thresholds, rules.minimum_sample)
    direction = f"{expected * _MINUTE_MS / size_ms:.3g} -> {now * _MINUTE_MS / size_ms:.3g} predictions a minute"
    return [Judged("data_quality", "volume_change", UNSET, value, verdict, Evidence(n=now, reference_n=before, direction=direction))]


def _predictions(panes: Panes, period: Period) -> int:
    """Those of all versions in the period; 0 if there is none in its first pane."""
    starts, counts = set(), 0
    for group, pane in panes.items():
        if not group.segment and period.start_ms <= group.start_ms < period.end_ms and pane.counts[PREDICTIONS]:
            starts.add(group.start_ms)
            counts += int(pane.counts[PREDICTIONS])
    return counts if period.start_ms in starts else 0


def _beyond_chance(thresholds: Thresholds, expected: float, before: int, *, fell: bool) -> Thresholds:
    """The thresholds that hold for counts: `expected` from the period's rate, which `before` predictions tell."""

    def level(limit: float | None) -> float | None:
        if limit is None:
            return None
        edge = max(1 - limit, 0.0) if fell else 1 + limit
        return limit + _STANDARD_ERRORS * math.sqrt(edge / expected + edge * edge / before)

    warning, critical = level(thresholds.warning), level(thresholds.critical)
    return Thresholds(warning, critical if warning is None or critical is None else max(warning, critical), "above")
