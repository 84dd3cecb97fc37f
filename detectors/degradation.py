"""Whether performance has degraded: against a floor and against a baseline, by enough to matter and by more than chance. Pure; no state.

The baseline, the reference's or that of earlier windows, comes as it was measured: value, interval and rows. A rule that is broken but may
be so by chance is told, and decides nothing: 40 labels do not alarm unless they are that bad.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from detectors.intervals import Measured, combined
from detectors.judge import Thresholds

Status = Literal["healthy", "warning", "degraded", "insufficient_data"]
Rule = Literal["floor", "absolute_drop", "relative_drop"]
_WORSE: tuple[Status, ...] = ("insufficient_data", "healthy", "warning", "degraded")


@dataclass(frozen=True, slots=True)
class Rules:
    """What a metric must keep. `bad` is the side on which it is bad: "below" for an accuracy, "above" for an error.

    floor: thresholds of the value itself, of direction `bad`. absolute_drop, relative_drop: of how much worse than the baseline it is, in
    its own units and as a share of the baseline, of direction "above". None: no such rule. critical is degraded.
    """

    bad: Literal["below", "above"]
    minimum_sample: int
    floor: Thresholds | None = None
    absolute_drop: Thresholds | None = None
    relative_drop: Thresholds | None = None

    def __post_init__(self) -> None:
        """Raises ValueError unless the thresholds have these directions."""
        directions = {"floor": self.bad, "absolute_drop": "above", "relative_drop": "above"}
        for name, expected in directions.items():
            rule: Thresholds | None = getattr(self, name)
            if rule is not None and rule.direction != expected:
                raise ValueError(
                    f"cannot set rules: {name}.direction={rule.direction!r}, expected {expected!r}; a drop counts how much worse"
                )


@dataclass(frozen=True, slots=True)
class Part:
    """A rule that is broken: its value, the threshold crossed, the level, and whether chance is ruled out; only then does it decide."""

    rule: Rule
    level: Literal["warning", "degraded"]
    value: float
    threshold: float
    significant: bool


@dataclass(frozen=True, slots=True)
class Degradation:
    """The status of one metric, and the rules that are broken."""

    status: Status
    parts: tuple[Part, ...] = ()


def degradation(current: Measured | None, baseline: Measured | None, rules: Rules) -> Degradation:
    """The worst level of a rule that is broken significantly, else healthy; "insufficient_data" if no rule can be applied.

    A floor is broken significantly if the whole interval of the metric is on its bad side. A drop is if its size reaches the threshold and
    the interval of the difference leaves out 0: where nothing has changed that happens about (1 - confidence) / 2 of the time.

    Args:
        current: the metric of the window; None: undefined, or fewer rows than `minimum_sample`: insufficient data.
        baseline: the same metric of other rows than the window's, with an interval of the same confidence; None: only the floor counts.
    References:
        R. G. Newcombe, Interval Estimation for the Difference between Independent Proportions, Stat. Med. 17, 1998, 873-890, method 10.

    >>> rules = Rules("below", 30, absolute_drop=Thresholds(0.05, 0.1, "above"))
    >>> before, many, few = Measured(0.9, 0.894, 0.906, 10_000), Measured(0.825, 0.8, 0.847, 1000), Measured(0.825, 0.681, 0.913, 40)
    >>> degradation(many, before, rules).status, degradation(few, before, rules).status
    ('warning', 'healthy')
    """
    if current is None or current.n < rules.minimum_sample:
        return Degradation("insufficient_data")
    applied, parts = rules.floor is not None, list[Part]()
    if rules.floor is not None:
        parts += _floor(rules.floor, current.value, current.upper if rules.bad == "below" else current.lower)
    if baseline is not None:
        drop, least = _drop(current, baseline, rules.bad)
        relative = drop / abs(baseline.value) if baseline.value else None
        if rules.absolute_drop is not None:
            applied = True
            parts += _broken("absolute_drop", rules.absolute_drop, drop, least > 0)
        if rules.relative_drop is not None and relative is not None:
            applied = True
            parts += _broken("relative_drop", rules.relative_drop, relative, least > 0)
    if not applied:
        return Degradation("insufficient_data")
    return Degradation(worst("healthy", *(part.level for part in parts if part.significant)), tuple(parts))


def worst(*statuses: Status) -> Status:
    """The status of a model from those of its metrics: the worst one that is known.

    >>> worst("healthy", "insufficient_data", "warning")
    'warning'
    """
    return max(statuses, key=_WORSE.index, default="insufficient_data")


def _floor(floor: Thresholds, value: float, at_best: float) -> list[Part]:
    """The level that even the best end of the interval is at, and the one that the value is at, if that is worse."""
    proven, seen = _broken("floor", floor, at_best, True), _broken("floor", floor, value, False)
    proven = [replace(part, value=value) for part in proven]
    return proven + [part for part in seen if part.level not in {other.level for other in proven}]


def _broken(rule: Rule, thresholds: Thresholds, value: float, significant: bool) -> list[Part]:
    """The worst level of the rule that the value has crossed, if any."""
    if thresholds.critical is not None and thresholds.crossed(thresholds.critical, value):
        return [Part(rule, "degraded", value, thresholds.critical, significant)]
    if thresholds.warning is not None and thresholds.crossed(thresholds.warning, value):
        return [Part(rule, "warning", value, thresholds.warning, significant)]
    return []


def _drop(current: Measured, baseline: Measured, bad: Literal["below", "above"]) -> tuple[float, float]:
    """How much worse than the baseline it is, and the least that it may be by chance."""
    values = np.array([baseline.value, current.value])
    intervals = np.array([[baseline.lower, current.lower], [baseline.upper, current.upper]])
    weights = np.array([1.0, -1.0]) if bad == "below" else np.array([-1.0, 1.0])
    return float(values @ weights), combined(values, intervals, weights)[0]
