"""The status of a model: its ratios against their floors and against the baseline's, and the class that got worse. Pure.

The thresholds of single metrics are judged in `scoring`, as they are; here chance must be ruled out as well (`detectors.degradation`).
"""

from collections.abc import Iterator, Mapping
from copy import copy
from typing import Final, Literal, NamedTuple

import numpy as np
from msgspec import UNSET, UnsetType

from detectors.degradation import Degradation, Part, Rule, Rules, degradation, worst
from detectors.intervals import Measured, combined, exact, wilson
from detectors.judge import Severity, Thresholds, Verdict
from detectors.performance import METRICS, intervals
from stream.aggregates import Counts
from stream.model import OTHER, Model
from stream.results_performance import BrokenRule
from stream.results_values import Status

_SEVERITY: Final[Mapping[str, Severity]] = {"warning": "warning", "degraded": "critical"}
_NAMED: Final[Mapping[Rule, Literal["floor", "drop", "relative"]]] = {
    "floor": "floor",
    "absolute_drop": "drop",
    "relative_drop": "relative",
}
SURE: Final = 0.999  # of the intervals that decide: with 0.95, as reported, a window a minute would be wrong some 36 times a day
_DROPS: Final[Mapping[str, tuple[Rule, bool]]] = {"drop": ("absolute_drop", False), "relative": ("relative_drop", True)}  # a share?
_NO_RULE: Final = Degradation("healthy")
Cells = tuple[tuple[int, ...], ...]


class Drop(NamedTuple):
    """How much worse a metric is than its baseline, and the verdict on that."""

    metric: str
    value: float | None
    verdict: Verdict
    baseline: float


class Found(NamedTuple):
    """How a window does. `status` is unset without a rule."""

    ratios: dict[str, Measured]
    status: Status | UnsetType
    broken: tuple[BrokenRule, ...]
    drops: list[Drop]
    worst_class: str | UnsetType


def ratios(confusion: Counts, positive: int | None, *, sure: bool = False) -> dict[str, Measured]:
    """The metrics that have an interval, undefined ones left out: shares of rows and, of a positive class, f1 and lift.

    `confusion`: label by prediction, the last class being OTHER, which is never right. `n` is the labels of the whole matrix.
    `sure`: with the intervals that decide, not those that are reported.
    """
    labelled, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    hits, n = int(confusion[:-1, :-1].trace()), int(labelled.sum())
    of = {"accuracy": (hits, n)}
    if (c := positive) is not None:
        right, others = int(confusion[c, c]), n - int(labelled[c])
        of |= {"precision": (right, int(predicted[c])), "recall": (right, int(labelled[c]))}
        of["specificity"] = (others - int(predicted[c]) + right, others)
    counts = np.array(list(of.values()), np.int64)
    interval, confidence = (exact, SURE) if sure else (wilson, 0.95)
    ends = interval(counts[:, 0], counts[:, 1], confidence).T.tolist()
    found = {name: Measured(k / rows, low, high, n) for (name, (k, rows)), (low, high) in zip(of.items(), ends, strict=True) if rows}
    for name, (low, high) in intervals(confusion, positive, confidence, interval).items():
        value = METRICS[name](confusion, positive)
        assert value is not None  # it has an interval
        found[name] = Measured(value, low, high, n)
    return found


class Degrading:
    """Judges metrics of one model against their floors (of errors, which are bad when high, roofs) and a baseline."""

    def __init__(self, model: Model) -> None:
        self._bad: Literal["below", "above"] = "above" if model.settings.task == "regression" else "below"
        self._named = model.settings.degradation
        has_all = model.settings.task == "regression" or model.settings.positive is not None
        rules = {metric: _rules(model, metric, self._bad) for metric in self._named if has_all or metric == "accuracy"}  # see `ratios`
        self.rules = {metric: of for metric, of in rules.items() if of.floor or of.absolute_drop or of.relative_drop}

    def of(
        self, current: Mapping[str, Measured], sure: Mapping[str, Measured], baseline: Mapping[str, Measured]
    ) -> tuple[Status | UnsetType, tuple[BrokenRule, ...], list[Drop]]:
        """The status, unset without a rule, what is broken, and the drops. `sure`, `baseline`: with intervals that decide."""
        found = {metric: degradation(sure.get(metric), baseline.get(metric), rules) for metric, rules in self.rules.items()}
        status: Status | UnsetType = worst(*(each.status for each in found.values())) if found else UNSET
        broken = tuple(_broken(metric, part) for metric, each in found.items() for part in each.parts)
        known = [metric for metric in self._named if metric in baseline]
        drops = [
            d for metric in known for d in self._drops(metric, current.get(metric), baseline[metric].value, found.get(metric, _NO_RULE))
        ]
        return status, broken, drops

    def _drops(self, metric: str, current: Measured | None, baseline: float, found: Degradation) -> Iterator[Drop]:
        """By each rule of the metric that is named, also one that is off now, so that its alert is resolved."""
        for name, thresholds in self._named[metric].items():
            rule, scale = _DROPS[name]
            of = baseline if scale else 1.0
            if of:
                worse = None if current is None else (baseline - current.value) / of
                said = f"{metric}_{rule.replace('absolute_', '')}"
                if self._bad == "above":
                    worse, said = None if worse is None else -worse, said.replace("_drop", "_rise")
                yield Drop(said, worse, _verdict(rule, thresholds, found), baseline)


class Health:
    """Judges the confusion matrices of one model. `confusion`: the baseline's, with OTHER; `before` is the same for evidence."""

    def __init__(self, model: Model, positive: int | None) -> None:
        self._positive, self._classes = positive, (*model.settings.classes, OTHER)
        self._minimum_sample = model.settings.performance.minimum_sample
        self._degrading = Degrading(model)
        self._compare_with(baseline(model))

    def against(self, confusion: Counts) -> "Health":
        """The same with another baseline, that of a period; one of fewer labels than the minimum sample is none."""
        other = copy(self)
        other._compare_with(confusion if confusion.sum() >= self._minimum_sample else None)
        return other

    def _compare_with(self, confusion: Counts | None) -> None:
        self.confusion = confusion
        self.before: Cells | UnsetType = UNSET if confusion is None else tuple(tuple(row) for row in confusion.tolist())
        self._baseline = {} if confusion is None else ratios(confusion, self._positive, sure=True)

    def of(self, confusion: Counts, *, bad: bool) -> Found:
        """How a window does. `bad`: something else about it is, so that the worst class is asked for."""
        current = ratios(confusion, self._positive)
        sure = ratios(confusion, self._positive, sure=True) if self._degrading.rules else {}
        status, broken, drops = self._degrading.of(current, sure, self._baseline)
        bad = bad or status in ("warning", "degraded")
        return Found(current, status, broken, drops, self._worst_class(confusion) if bad else UNSET)

    def _worst_class(self, confusion: Counts) -> str | UnsetType:
        """The class whose recall has fallen from the baseline's by most even at best, if that is more than nothing."""
        if self.confusion is None:
            return UNSET
        rows = np.stack((self.confusion.sum(axis=1), confusion.sum(axis=1)))
        hits = np.stack((self.confusion.diagonal(), confusion.diagonal()))
        recalls, ends = hits / np.maximum(rows, 1), exact(hits, rows, SURE)
        difference = np.array([1.0, -1.0])
        least = {
            combined(recalls[:, c], ends[:, :, c], difference)[0]: name for c, name in enumerate(self._classes[:-1]) if rows[:, c].all()
        }
        most = max(least, default=0.0)
        return least[most] if most > 0 else UNSET


def baseline(model: Model) -> Counts | None:
    """The reference's confusion matrix, of the model's classes and OTHER, if it has them."""
    reference, classes = model.reference, model.settings.classes
    if reference is None or reference.confusion is None or not set(classes) <= set(reference.classes):
        return None
    where = [reference.classes.index(name) for name in classes]
    return np.pad(reference.confusion[np.ix_(where, where)], (0, 1))


def _rules(model: Model, metric: str, bad: Literal["below", "above"]) -> Rules:
    performance, drops = model.settings.performance, model.settings.degradation[metric]
    floor, drop, relative = map(_given, (performance.thresholds.get(metric), drops.get("drop"), drops.get("relative")))
    return Rules(bad, performance.minimum_sample, floor, drop, relative)


def _given(thresholds: Thresholds | None) -> Thresholds | None:
    """These, unless both are off."""
    return None if thresholds is None or thresholds.warning is thresholds.critical is None else thresholds


def _broken(metric: str, part: Part) -> BrokenRule:
    rule = _NAMED[part.rule]
    return BrokenRule(metric=metric, rule=rule, level=part.level, value=part.value, threshold=part.threshold, significant=part.significant)


def _verdict(rule: Rule, thresholds: Thresholds, found: Degradation) -> Verdict:
    """The level at which the rule is broken beyond chance."""
    uncrossed = thresholds.critical if thresholds.warning is None else thresholds.warning
    if found.status == "insufficient_data":
        return Verdict("insufficient_data", uncrossed)
    decided = next((part for part in found.parts if part.rule == rule and part.significant), None)
    return Verdict("ok", uncrossed) if decided is None else Verdict(_SEVERITY[decided.level], decided.threshold)
