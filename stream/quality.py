"""Data quality of a traffic window, and what its features come to: ratios, scores in [0, 1], and their verdicts.

Everything is relative to the reference: what was missing, unseen or out of bounds there is no defect. A ratio is judged by how far it is
above the reference's own, and chance is allowed for: its threshold is the configured one + r + 3 sqrt(r (1 - r) (1/n + 1/m)), for a ratio
of r in m rows of the reference and n predictions. With r = 0 that is the configured one.

With x+ = max(0, ratio - reference's ratio), the score of a feature is

    1 - missing+ - type_violation+ - unseen+ / 2 - max(out_of_range+, outlier+) / 2

A prediction has at most one of missing, type violation, unseen and beyond, so it lies in [0, 1]; a value that may yet be right costs half.
The score of a model is the mean of its features, by importance, times the share of the predictions that came neither twice nor late.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from copy import copy
from typing import Final

import numpy as np
from msgspec import UNSET
from msgspec.structs import replace

from detectors.judge import Severity, Thresholds, judge
from stream.aggregates import Aggregate, Counts, Floats
from stream.alerts import Evidence
from stream.drift import METHODS
from stream.model import DUPLICATES, LATE, PREDICTIONS, FeatureSlot, Model, is_key
from stream.reference import NumericFeature
from stream.results import AlertKind, FeatureDrift, FeatureQuality, Summary
from stream.settings_thresholds import Rules
from stream.verdicts import Judged, reported

_MINUTE_MS: Final = 60_000
_STANDARD_ERRORS: Final = 3.0  # of a ratio that is as in the reference, one window in a thousand is further away
_EXPECTED: Final = 10.0  # values that a window without any should have had: chance leaves out so many once in 20 000 windows
OF_SUMMARY, OF_TRAFFIC = (
    ("drifted_ratio", "weighted_drift"),
    ("quality_score", "duplicate_ratio", "late_ratio"),
)  # drift and quality of a model
_WORST: Final[Mapping[Severity, int]] = {"insufficient_data": 0, "ok": 1, "warning": 2, "critical": 3}


_RATIOS: Final = ("missing_ratio", "type_violation_ratio", "unseen_ratio", "out_of_range_ratio", "outlier_ratio")  # rows of the tables
_MISSING, _INVALID, _UNSEEN, _OUT_OF_RANGE, _OUTLIER = range(len(_RATIOS))


class Quality:
    """Judges the traffic windows of one model. Tables are (ratios, n_features)."""

    def __init__(self, model: Model) -> None:
        self._model, self._m = model, model.reference.rows if model.reference else 0
        self._ranges = np.array([_ranges(slot) for slot in model.slots], np.int64).reshape(-1, len(_RATIOS), 4).T
        self._fenced = [isinstance(slot.feature, NumericFeature) and slot.feature.fences is not None for slot in model.slots]
        self._before = self._ratios(self._reference_counts(), self._m)
        rules = [model.settings.quality_for(slot.feature.name) for slot in model.slots]
        limits = [[_limits(of.thresholds[name]) for name in _RATIOS] for of in rules]
        self._limits = np.array(limits, np.float64).reshape(-1, len(_RATIOS), 2).T  # warning and critical, NaN for none
        self._limited = [np.flatnonzero(~np.isnan(levels).all(axis=0)).tolist() for levels in self._limits.transpose(2, 0, 1)]
        self._score_limited = [not np.isnan(_limits(of.thresholds["score"])).all() for of in rules]
        self._rules = rules
        weights = np.array([slot.feature.importance for slot in model.slots])
        given = not np.isnan(weights).any() and bool(weights.sum())
        self._weights = weights / weights.sum() if given else np.full(weights.size, 1 / max(weights.size, 1))

    def within(self, keys: Collection[str]) -> "Quality":
        """The same, for a segment of these keys: what it has of a feature that is one of them is neither judged nor weighed."""
        other = copy(self)
        fixed = [is_key(slot.feature, keys) for slot in self._model.slots]
        other._limited = [[] if key else rows for key, rows in zip(fixed, self._limited, strict=True)]
        other._score_limited = [limited and not key for key, limited in zip(fixed, self._score_limited, strict=True)]
        weights = np.where(fixed, 0.0, self._weights)
        other._weights = weights / weights.sum() if weights.any() else self._weights
        return other

    def _reference_counts(self) -> Counts:
        """Those of the reference as a traffic aggregate would have them; none is of the wrong type."""
        counts: Counts = np.zeros(self._model.traffic.width, np.int64)
        for slot in self._model.slots:
            counts[slot.start : slot.start + slot.bins], counts[slot.missing] = slot.feature.counts, slot.feature.missing
        return counts

    def _ratios(self, counts: Counts, n: int) -> Floats:
        """The table of ratios of a traffic aggregate's counts, in n rows."""
        before = np.concatenate(([0], np.cumsum(counts)))[self._ranges]
        ratios: Floats = (before[1] - before[0] + before[3] - before[2]) / max(n, 1)
        return ratios

    def features(self, window: Aggregate) -> tuple[dict[str, FeatureQuality], list[Judged]]:
        """Quality of each feature, none without predictions, and what was judged."""
        n = int(window.counts[PREDICTIONS])
        quality: dict[str, FeatureQuality] = {}
        judged: list[Judged] = []
        if not n:
            return quality, judged
        now = self._ratios(window.counts, n)
        scores, limits = _scores(self._before, now).tolist(), self._levels(n).transpose(2, 1, 0).tolist()
        evidence = Evidence(n=n, reference_n=self._m)
        for i, (slot, values, score) in enumerate(zip(self._model.slots, now.T.tolist(), scores, strict=True)):
            found = self._judge(i, values, score, limits[i], evidence)
            worst = max((one.verdict.severity for one in found), key=_WORST.__getitem__, default=UNSET)
            quality[slot.feature.name] = FeatureQuality(
                missing_ratio=values[_MISSING],
                type_violation_ratio=values[_INVALID],
                unseen_ratio=values[_UNSEEN],
                out_of_range_ratio=values[_OUT_OF_RANGE],
                score=score,
                outlier_ratio=values[_OUTLIER] if self._fenced[i] else UNSET,
                severity=worst,
            )
            judged += found
        return quality, judged

    def _levels(self, n: int) -> Floats:
        """The thresholds of the ratios in n rows, (2, ratios, n_features)."""
        usual, most = self._usual(n)
        levels: Floats = np.minimum(self._limits + usual, most)
        return levels

    def _usual(self, n: int) -> tuple[Floats, Floats]:
        """What the ratios may be in n rows before their thresholds begin; and where they are past any: all may be told from some."""
        base = self._before
        chance = _STANDARD_ERRORS * np.sqrt(base * (1 - base) * (1 / n + 1 / max(self._m, 1)))
        return base + chance, np.where((1 - base) * n >= _EXPECTED, 1.0, np.inf)

    def reported(self, quality: Mapping[str, FeatureQuality], n: int) -> Iterator[tuple[str, str, float | None]]:
        """Feature, metric and value of what was reported of n predictions, as thresholds see it; None below the minimum sample.

        Of a ratio that is how far it is above what may be, 1 where it is past any threshold.
        """
        usual, most = self._usual(max(n, 1))
        for i, (slot, rules) in enumerate(zip(self._model.slots, self._rules, strict=True)):
            if (found := quality.get(slot.feature.name)) is None:
                continue
            values = {name: getattr(found, name) for name in _RATIOS}
            more = {
                name: 1.0 if value >= most[row, i] else float(value - usual[row, i])
                for row, (name, value) in enumerate(values.items())
                if value is not UNSET
            }
            for metric, value in (more | {"score": found.score}).items():
                yield slot.feature.name, metric, value if n >= rules.minimum_sample else None

    def _judge(self, i: int, values: Sequence[float], score: float, levels: Sequence[Sequence[float]], evidence: Evidence) -> list[Judged]:
        """The verdicts on the ratios and the score of one feature, as far as they have thresholds."""
        rules, feature, n = self._rules[i], self._model.slots[i].feature.name, evidence.n
        judged = []
        for row in self._limited[i]:
            if row == _OUTLIER and not self._fenced[i]:
                continue
            warning, critical = (None if math.isnan(level) else level for level in levels[row])
            verdict = judge(values[row], n, Thresholds(warning, critical, "above"), rules.minimum_sample)
            judged.append(Judged("data_quality", _RATIOS[row], feature, values[row], verdict, evidence, float(self._before[row, i])))
        if self._score_limited[i]:
            verdict = judge(score, n, rules.thresholds["score"], rules.minimum_sample)
            judged.append(Judged("data_quality", "score", feature, score, verdict, evidence, below=True))
        return judged

    def summary(
        self, window: Aggregate, drift: Mapping[str, FeatureDrift], quality: Mapping[str, FeatureQuality]
    ) -> tuple[Summary, list[Judged]]:
        """What the features of a window come to, and what was judged of it."""
        n, late, duplicate = (int(window.counts[place]) for place in (PREDICTIONS, LATE, DUPLICATES))
        came = n + late + duplicate
        severities = {name: _severities(one) for name, one in drift.items()}
        features = [name for name, found in severities.items() if found - {"insufficient_data"}]
        drifted = tuple(name for name, found in severities.items() if found & {"warning", "critical"})
        contributions = self._contributions(drift)
        scores = np.array([one.score for one in quality.values()])
        summary = Summary(
            quality_score=(float(scores @ self._weights) if scores.size else 1.0) * (n / came if came else 1.0),
            duplicate_ratio=duplicate / came if came else 0.0,
            late_ratio=late / came if came else 0.0,
            features=len(features),
            drifted=drifted,
            drifted_ratio=len(drifted) / len(features) if features else None,
            weighted_drift=math.fsum(contributions.values()) if contributions else None,
            worst_feature=max(contributions, key=contributions.__getitem__, default=UNSET),
        )
        judged = self._judge_summary(summary, came, n)
        return replace(summary, verdicts={one.metric: reported(one.value, one.verdict) for one in judged}), judged

    def _contributions(self, drift: Mapping[str, FeatureDrift]) -> dict[str, float]:
        """Of each feature that has a PSI to the weighted drift; empty if none of them has any weight."""
        weights = dict(zip((slot.feature.name for slot in self._model.slots), self._weights.tolist(), strict=True))
        scores = {name: one.psi.score for name, one in drift.items() if one.psi is not UNSET and one.psi.score is not None}
        total = math.fsum(weights[name] for name in scores)
        return {name: score * weights[name] / total for name, score in scores.items()} if total else {}

    def _judge_summary(self, summary: Summary, came: int, n: int) -> list[Judged]:
        """The verdicts on what has thresholds: drift by the predictions that were counted, quality by all that came."""
        judged = []
        for kind, rules, metric, rows in self._in_summary(came, n):
            value, thresholds = getattr(summary, metric), rules.thresholds[metric]
            verdict = judge(value, rows, thresholds, rules.minimum_sample)
            if verdict.threshold is not None:
                evidence = Evidence(n=rows, drifted=summary.drifted if metric == "drifted_ratio" else UNSET)
                judged.append(Judged(kind, metric, UNSET, value, verdict, evidence, below=thresholds.direction == "below"))
        return judged

    def _in_summary(self, came: int, n: int) -> list[tuple[AlertKind, Rules, str, int]]:
        """Kind, rules, metric, and rows that it is judged by."""
        settings = self._model.settings
        found: list[tuple[AlertKind, Rules, str, int]] = [("data_drift", settings.summary, name, n) for name in OF_SUMMARY]
        return [*found, *(("data_quality", settings.quality, name, came) for name in OF_TRAFFIC)]

    def reported_summary(self, summary: Summary, came: int, n: int) -> Iterator[tuple[AlertKind, str, float | None]]:
        """Kind, metric and value of what was reported of n predictions, of all that came; None below the minimum sample."""
        for kind, rules, metric, rows in self._in_summary(came, n):
            yield kind, metric, getattr(summary, metric) if rows >= rules.minimum_sample else None

    def volume(self, predictions: int, size_ms: int) -> list[Judged]:
        """What is judged of the number of predictions of all versions in a window of this length."""
        rules, per_minute = self._model.settings.quality, predictions * _MINUTE_MS / size_ms
        judged = []
        for metric in ("volume_min", "volume_max"):
            verdict = judge(per_minute, predictions, rules.thresholds[metric], minimum_sample=0)
            if verdict.threshold is not None:
                evidence = Evidence(n=predictions)
                judged.append(Judged("data_quality", metric, UNSET, per_minute, verdict, evidence, below=metric == "volume_min"))
        return judged


def _ranges(slot: FeatureSlot) -> list[tuple[int, int, int, int]]:
    """Of each ratio the positions it counts, `[0th, 1st)` and `[2nd, 3rd)`."""
    start, end, feature = slot.start, slot.start + slot.bins, slot.feature
    none = (start, start, start, start)
    ranges = [(slot.missing, slot.missing + 1, start, start), (slot.invalid, slot.invalid + 1, start, start)]
    if not isinstance(feature, NumericFeature):
        return [*ranges, (end - 1, end, start, start), none, none]
    cuts = (feature.range_cut(), feature.fences_cut())
    return [*ranges, none, *((start, start + cut[0], start + cut[1], end) if cut else none for cut in cuts)]


def _scores(before: Floats, now: Floats) -> Floats:
    """(n_features,) 1 where a feature is as good as in the reference, down to 0, from the tables of ratios."""
    more = np.maximum(now - before, 0.0)
    far = np.maximum(more[_OUT_OF_RANGE], more[_OUTLIER])
    lost = more[_MISSING] + more[_INVALID] + (more[_UNSEEN] + far) / 2
    scores: Floats = np.clip(1.0 - lost, 0.0, 1.0)
    return scores


def _limits(thresholds: Thresholds) -> list[float]:
    """Warning and critical, NaN for none."""
    return [math.nan if limit is None else limit for limit in (thresholds.warning, thresholds.critical)]


def _severities(drift: FeatureDrift) -> set[Severity]:
    """The verdicts of the methods that may raise an alert."""
    found: set[Severity] = set()
    for method in METHODS:
        score = getattr(drift, method)
        if score is not UNSET and score.threshold is not None:
            found.add(score.severity)
    return found
