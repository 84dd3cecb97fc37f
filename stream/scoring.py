"""From a merged window to scores and verdicts: drift of each feature, its quality (in `quality`), performance from the confusion matrix.

Turns aggregates into the inputs of `detectors/`, and what comes back into the types of `results`. Pure; what is reported follows from
the counts and the reference alone.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from detectors.explain import categorical_direction, comes_from, numeric_direction, top_bins
from detectors.judge import Verdict, judge
from detectors.performance import METRICS
from stream.aggregates import Aggregate, Codes, Counts
from stream.drift import BY_BINS, OF_CATEGORIES, OF_COUNTS, OF_NUMBERS, Measured, applies, measure_categories, measure_numbers
from stream.model import CONFUSION_START, DUPLICATES, LABELS, LATE, OTHER, PREDICTIONS, Model
from stream.quality import Quality
from stream.reference import Feature, NumericFeature
from stream.results import BinShare, Evidence, FeatureDrift, FeatureQuality, Performance, Score
from stream.results import Counts as EventCounts
from stream.verdicts import Judged, reported

_DISCARD: Final = -1


class Scorer:
    """Scores the windows of one model."""

    def __init__(self, model: Model) -> None:
        self.model, self.quality = model, Quality(model)
        features = [slot.feature for slot in model.slots]
        self._labels = [feature.bin_labels() for feature in features]
        self._directions = [_direction(feature) for feature in features]
        self._sizes = np.array([len(labels) for labels in self._labels], np.int64)
        self._starts: Codes = np.concatenate(([0], np.cumsum(self._sizes)))[:-1].astype(np.int64)
        self._reference = np.concatenate([feature.coarse_counts() for feature in features]) if features else np.zeros(0, np.int64)
        self._coarse = self._coarse_positions()
        self._classes = (*model.settings.classes, OTHER)
        self._positive = None if model.settings.positive is None else model.settings.classes.index(model.settings.positive)
        self._baseline = self._baseline_metrics()
        self._rules = [model.settings.drift_for(feature.name) for feature in features]
        self._methods = [[m for m in rules.thresholds if applies(m, f)] for rules, f in zip(self._rules, features, strict=True)]
        self._by_bins = {name: score for name, score in BY_BINS.items() if any(name in methods for methods in self._methods)}

    def _coarse_positions(self) -> Codes:
        """Which coarse bin, of all features end to end, each count of a traffic aggregate belongs to."""
        coarse = np.full(self.model.traffic.width, _DISCARD, np.int64)
        for slot, start, size in zip(self.model.slots, self._starts, self._sizes, strict=True):
            groups = slot.feature.groups if isinstance(slot.feature, NumericFeature) else np.arange(slot.bins)
            coarse[slot.start : slot.start + slot.bins] = start + groups
            coarse[[slot.missing, slot.invalid]] = start + size - 1  # a value of the wrong type is as good as none
        return coarse

    def traffic(
        self, window: Aggregate, segments: Mapping[str, Aggregate] = MappingProxyType({})
    ) -> tuple[EventCounts, dict[str, FeatureDrift], dict[str, FeatureQuality], list[Judged]]:
        """Counts, drift and quality of each feature, and what was judged. `segments`: parts of the window that drift may come from."""
        counts = window.counts
        n = int(counts[PREDICTIONS])
        events = EventCounts(predictions=n, late=int(counts[LATE]), duplicate=int(counts[DUPLICATES]))
        drift: dict[str, FeatureDrift] = {}
        judged: list[Judged] = []
        if n and self.model.reference and self.model.slots:
            kept = self._coarse != _DISCARD
            current = np.bincount(self._coarse[kept], counts[kept], self._reference.size).astype(np.int64)
            scores = {name: by_feature(self._reference, current, self._starts) for name, by_feature in self._by_bins.items()}
            for i, slot in enumerate(self.model.slots):
                bins = slice(self._starts[i], self._starts[i] + self._sizes[i])
                measured = {name: Measured(float(scores[name][i]), n, {}) for name in self._methods[i] if name in scores}
                for name in self._methods[i]:
                    if name in OF_NUMBERS:
                        measured[name] = measure_numbers(name, slot, window)
                    elif name in OF_CATEGORIES:
                        measured[name] = measure_categories(self._reference[bins], current[bins])
                found, verdicts = self._judge_drift(i, measured)
                moved = top_bins(self._reference[bins], current[bins], self._labels[i])
                top = tuple(BinShare(label=b.label, reference=b.reference, current=b.current, contribution=b.contribution) for b in moved)
                m = int(self._reference[bins].sum())
                kind: Literal["numeric", "categorical"] = "numeric" if isinstance(slot.feature, NumericFeature) else "categorical"
                drifted = any(verdict.severity in ("warning", "critical") for verdict in verdicts.values())
                direction = self._directions[i](self._reference[bins], current[bins]) if drifted else ""
                sources = {name: self._source(i, name, verdict, window, segments) for name, verdict in verdicts.items()}
                source = next((segment for segment in sources.values() if segment is not UNSET), UNSET)
                drift[slot.feature.name] = FeatureDrift(
                    kind=kind, n=n, reference_n=m, top_bins=top, direction=direction, comes_from=source, **found
                )
                evidence = Evidence(n=n, reference_n=m, top_bins=top, direction=direction)
                judged += [
                    Judged(
                        "data_drift",
                        name,
                        slot.feature.name,
                        found[name].score,
                        verdict,
                        replace(evidence, p_value=found[name].p_value, comes_from=sources[name]),
                    )
                    for name, verdict in verdicts.items()
                ]
        quality, defects = self.quality.features(window)
        return events, drift, quality, [*judged, *defects]

    def _source(self, feature: int, method: str, verdict: Verdict, window: Aggregate, segments: Mapping[str, Aggregate]) -> str | UnsetType:
        """The segment that the drift of a feature comes from, if it has drifted, and from one; moments cannot be told apart, counts can."""
        if verdict.severity not in ("warning", "critical") or method not in OF_COUNTS or not segments:
            return UNSET
        assert verdict.threshold is not None
        slot, bins = self.model.slots[feature], slice(self._starts[feature], self._starts[feature] + self._sizes[feature])

        def score(counts: Counts) -> float:
            if method in OF_NUMBERS:
                return measure_numbers(method, slot, Aggregate(window.layout, counts, window.moments)).score or 0.0
            where = slice(slot.start, slot.invalid + 1)
            current = np.bincount(self._coarse[where] - bins.start, counts[where], self._sizes[feature]).astype(np.int64)
            if method in OF_CATEGORIES:
                return measure_categories(self._reference[bins], current).score or 0.0
            return float(BY_BINS[method](self._reference[bins], current, np.zeros(1, np.int64))[0])

        parts = {name: part.counts for name, part in segments.items()}
        found = comes_from(window.counts, parts, score, verdict.threshold, self._rules[feature].minimum_sample)
        return UNSET if found is None else found

    def _judge_drift(self, feature: int, measured: Mapping[str, Measured]) -> tuple[dict[str, Score], dict[str, Verdict]]:
        """The scores of a feature as they are reported, and their verdicts; what stands beside a score goes where the score goes."""
        rules = self._rules[feature]
        verdicts = {name: judge(m.score, m.n, rules.thresholds[name], rules.minimum_sample) for name, m in measured.items()}
        return {
            name: reported(measured[name].score, verdict, {} if verdict.severity == "insufficient_data" else measured[name].beside)
            for name, verdict in verdicts.items()
        }, verdicts

    def performance(self, window: Aggregate) -> tuple[EventCounts, Performance, list[Judged]]:
        """Counts, metrics with their verdicts, and what was judged."""
        counts, k = window.counts, len(self._classes)
        n, predictions = int(counts[LABELS]), int(counts[PREDICTIONS])
        confusion = counts[CONFUSION_START:].reshape(k, k)
        cells = tuple(tuple(row) for row in confusion.tolist())
        rules = self.model.settings.performance
        metrics = self._metrics(confusion)
        verdicts = {name: judge(value, n, rules.thresholds[name], rules.minimum_sample) for name, value in metrics.items()}
        evidence = Evidence(n=n, classes=self._classes, confusion=cells)
        judged = [
            Judged("performance", name, UNSET, metrics[name], verdict, evidence, self._baseline.get(name, UNSET), below=True)
            for name, verdict in verdicts.items()
        ]
        performance = Performance(
            by="label_time",
            coverage=n / predictions if predictions else None,
            classes=self._classes,
            confusion=cells,
            accuracy=metrics["accuracy"],
            precision=metrics["precision"],
            recall=metrics["recall"],
            f1=metrics["f1"],
            verdicts={name: reported(metrics[name], verdict) for name, verdict in verdicts.items()},
        )
        return EventCounts(predictions=predictions, labels=n, late=int(counts[LATE])), performance, judged

    def _metrics(self, confusion: Counts) -> dict[str, float | None]:
        """Every metric of a matrix with OTHER as its last class, which is never right: two classes that are not configured may differ."""
        k = len(confusion)
        if confusion[-1].any() or confusion[:, -1].any():
            apart: npt.NDArray[np.int64] = np.zeros((k + 1, k + 1), np.int64)
            apart[:k, : k - 1], apart[:k, k] = confusion[:, :-1], confusion[:, -1]
        else:
            apart = confusion[:-1, :-1]
        return {name: metric(apart, self._positive) for name, metric in METRICS.items()}

    def _baseline_metrics(self) -> dict[str, float]:
        """Metrics of the reference's own confusion matrix, where it has the model's classes."""
        reference, classes = self.model.reference, self.model.settings.classes
        if reference is None or reference.confusion is None or not set(classes) <= set(reference.classes):
            return {}
        where = [reference.classes.index(name) for name in classes]
        found = {name: metric(reference.confusion[np.ix_(where, where)], self._positive) for name, metric in METRICS.items()}
        return {name: value for name, value in found.items() if value is not None}


def _direction(feature: Feature) -> Callable[[Counts, Counts], str]:
    """What says in words where a feature went, from the coarse counts of the reference and the window."""
    if isinstance(feature, NumericFeature):
        return partial(numeric_direction, name=feature.range_namer())
    return partial(categorical_direction, categories=feature.categories)
