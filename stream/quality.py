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
from collections.abc import Mapping
from typing import Final

import numpy as np
from msgspec import UNSET
from msgspec.structs import replace

from detectors.judge import Severity, Thresholds, judge
from stream.aggregates import Aggregate, Counts
from stream.model import DUPLICATES, LATE, PREDICTIONS, FeatureSlot, Model
from stream.reference import NumericFeature, beyond
from stream.results import AlertKind, Evidence, FeatureDrift, FeatureQuality, Score, Summary
from stream.settings_thresholds import Rules
from stream.verdicts import Judged, reported

_MINUTE_MS: Final = 60_000
_STANDARD_ERRORS: Final = 3.0  # of a ratio that is as in the reference, one window in a thousand is further away
_EXPECTED: Final = 10.0  # values that a window without any should have had: chance leaves out so many once in 20 000 windows
_DRIFT, _QUALITY = ("drifted_ratio", "weighted_drift"), ("quality_score", "duplicate_ratio", "late_ratio")  # of a summary
_WORST: Final[Mapping[Severity, int]] = {"insufficient_data": 0, "ok": 1, "warning": 2, "critical": 3}


# Shares of the rows of one feature, by name; without outlier_ratio where the reference has no fences.
Ratios = Mapping[str, float]


class Quality:
    """Judges the traffic windows of one model."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._cuts = [_cuts(slot) for slot in model.slots]
        self._reference = [
            _ratios(slot, np.array([*slot.feature.counts, slot.feature.missing, 0]), model.reference.rows if model.reference else 0, cuts)
            for slot, cuts in zip(model.slots, self._cuts, strict=True)
        ]
        rules = {slot.feature.name: model.settings.quality_for(slot.feature.name) for slot in model.slots}
        self._limited = {
            name: {metric for metric, t in of.thresholds.items() if (t.warning, t.critical) != (None, None)} for name, of in rules.items()
        }
        weights = np.array([slot.feature.importance for slot in model.slots])
        given = not np.isnan(weights).any() and bool(weights.sum())
        self._weights = weights / weights.sum() if given else np.full(weights.size, 1 / max(weights.size, 1))

    def features(self, window: Aggregate) -> tuple[dict[str, FeatureQuality], list[Judged]]:
        """Quality of each feature, none without predictions, and what was judged."""
        n = int(window.counts[PREDICTIONS])
        quality: dict[str, FeatureQuality] = {}
        judged: list[Judged] = []
        for slot, cuts, before in zip(self._model.slots, self._cuts, self._reference, strict=True) if n else ():
            now = _ratios(slot, window.counts[slot.start : slot.invalid + 1], n, cuts)
            score = _score(before, now)
            found = self._judge(slot.feature.name, before, now, score, n)
            worst = max((one.verdict.severity for one in found), key=_WORST.__getitem__, default=UNSET)
            quality[slot.feature.name] = FeatureQuality(score=score, severity=worst, **now)
            judged += found
        return quality, judged

    def _judge(self, feature: str, before: Ratios, now: Ratios, score: float, n: int) -> list[Judged]:
        """The verdicts on the ratios and the score of one feature, as far as they have thresholds."""
        rules, m = self._model.settings.quality_for(feature), self._model.reference.rows if self._model.reference else 0
        evidence = Evidence(n=n, reference_n=m)
        judged = []
        for metric, value in now.items():
            if metric not in self._limited[feature]:
                continue
            thresholds = _above(rules.thresholds[metric], before.get(metric, 0.0), n, m)
            verdict = judge(value, n, thresholds, rules.minimum_sample)
            judged.append(Judged("data_quality", metric, feature, value, verdict, evidence, before.get(metric, 0.0)))
        if "score" in self._limited[feature]:
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
        settings = self._model.settings
        wanted: list[tuple[AlertKind, Rules, str, int]] = [("data_drift", settings.summary, name, n) for name in _DRIFT]
        wanted += [("data_quality", settings.quality, name, came) for name in _QUALITY]
        judged = []
        for kind, rules, metric, rows in wanted:
            value, thresholds = getattr(summary, metric), rules.thresholds[metric]
            verdict = judge(value, rows, thresholds, rules.minimum_sample)
            if verdict.threshold is not None:
                evidence = Evidence(n=rows, drifted=summary.drifted if metric == "drifted_ratio" else UNSET)
                judged.append(Judged(kind, metric, UNSET, value, verdict, evidence, below=thresholds.direction == "below"))
        return judged

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


def _cuts(slot: FeatureSlot) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """Where the bins out of range, and those beyond the fences, begin and end; None for categories, and without fences."""
    feature = slot.feature
    if not isinstance(feature, NumericFeature):
        return None, None
    return feature.range_cut(), feature.fences_cut()


def _ratios(slot: FeatureSlot, counts: Counts, n: int, cuts: tuple[tuple[int, int] | None, tuple[int, int] | None]) -> Ratios:
    """Of the counts of one feature, its bins, MISSING and INVALID, in n rows."""
    bins, n, (outside, outliers) = counts[: slot.bins], max(n, 1), cuts
    ratios = {
        "missing_ratio": int(counts[slot.bins]) / n,
        "type_violation_ratio": int(counts[slot.bins + 1]) / n,
        "unseen_ratio": 0.0 if outside else int(bins[-1]) / n,
        "out_of_range_ratio": beyond(bins, outside) / n if outside else 0.0,
    }
    return ratios | ({"outlier_ratio": beyond(bins, outliers) / n} if outliers else {})


def _score(before: Ratios, now: Ratios) -> float:
    """1 where the feature is as good as in the reference, down to 0."""
    more = {name: max(0.0, value - before.get(name, 0.0)) for name, value in now.items()}
    far = max(more["out_of_range_ratio"], more.get("outlier_ratio", 0.0))
    lost = more["missing_ratio"] + more["type_violation_ratio"] + (more["unseen_ratio"] + far) / 2
    return min(max(1.0 - lost, 0.0), 1.0)


def _above(thresholds: Thresholds, base: float, n: int, m: int) -> Thresholds:
    """The thresholds of a ratio that is `base` in m rows of the reference, for n rows. All rows may always be told from some."""
    chance = _STANDARD_ERRORS * math.sqrt(base * (1 - base) * (1 / n + 1 / max(m, 1)))
    most = 1.0 if (1 - base) * n >= _EXPECTED else math.inf
    warning, critical = (None if limit is None else min(limit + base + chance, most) for limit in (thresholds.warning, thresholds.critical))
    return Thresholds(warning, critical, thresholds.direction)


def _severities(drift: FeatureDrift) -> set[Severity]:
    """The verdicts of the methods that may raise an alert."""
    scores = (getattr(drift, name) for name in drift.__struct_fields__)
    return {score.severity for score in scores if isinstance(score, Score) and score.threshold is not None}
