"""From a merged window to scores and verdicts: drift of each feature, its quality (in `quality`), performance from the confusion matrix.

Turns aggregates into the inputs of `detectors/`, and what comes back into the types of `results`. Pure; what is reported follows from
the counts and the reference alone.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec import UNSET, UnsetType

from detectors.counts import ONE
from detectors.explain import comes_from
from detectors.judge import Verdict, judge
from detectors.performance import METRICS, averages
from stream.aggregates import Aggregate, Codes, Counts
from stream.alerts import Evidence
from stream.business import BusinessMeter
from stream.class_performance import AVERAGES, class_table
from stream.drift import (
    BY_BINS,
    OF_CATEGORIES,
    OF_COUNTS,
    OF_NUMBERS,
    Compared,
    Histograms,
    Measured,
    applies,
    compare,
    counted_in,
    kind_of,
    measure_categories,
    measure_numbers,
    of_bins,
)
from stream.estimates import Estimates
from stream.feature_drift import Drift, adjust, comparable, comparable_of_chi2, direction_of, judged_drift, label_direction, unseen_shares
from stream.model import CONFUSION_START, DUPLICATES, LABELS, LATE, OTHER, PREDICTIONS, Model, is_key
from stream.one_vs_rest import ONE_VS_REST, OneVsRestMeter, scalars_of_classes
from stream.quality import Quality
from stream.reference import Feature, NumericFeature
from stream.regression import standing
from stream.regression_performance import RegressionMeter
from stream.results import AlertKind, FeatureDrift, FeatureQuality
from stream.results import Counts as EventCounts
from stream.results_performance import Averages, OneVsRest, Performance, RegressionPerformance, ScorePerformance
from stream.score_performance import SCORE_METRICS, ScoreMeter, scalars
from stream.status import Health
from stream.traffic import TrafficMeter, label_delay
from stream.verdicts import LABEL_TIME, Attribution, Judged, reported
from stream.worse_segment import attributed

_DISCARD: Final = -1
_OF_SCORES: Final = (*SCORE_METRICS, *ONE_VS_REST)
_PERIOD: Final = "the period before"
Segments = Mapping[str, Aggregate]  # parts of a window, by the segment's name
_NO_SEGMENTS: Final[Segments] = MappingProxyType({})


class Traffic(NamedTuple):
    """What a traffic window comes to."""

    counts: EventCounts
    outputs: dict[str, FeatureDrift]
    drift: dict[str, FeatureDrift]
    quality: dict[str, FeatureQuality]
    judged: list[Judged]


class Outcomes(NamedTuple):
    """What a performance window comes to."""

    counts: EventCounts
    outputs: dict[str, FeatureDrift]
    performance: Performance | RegressionPerformance
    judged: list[Judged]


class Scorer:
    """Scores the windows of one model."""

    def __init__(self, model: Model) -> None:
        self.model, self.quality = model, Quality(model)
        self.compared_with = model.reference.reference_id if model.reference else None
        self._of_traffic = False  # compared with rows of which there may be few
        outputs = [slot for slot in (model.predicted, model.score) if slot.feature.counts.any()]
        self._slots = [*outputs, *model.slots]
        self._outputs = len(outputs)
        features = [slot.feature for slot in self._slots]
        self._labels = [feature.bin_labels() for feature in features]
        self._directions = [direction_of(feature) for feature in features]
        of_traffic = model.settings.against != "reference"
        self._directions_of_period = [direction_of(feature, _PERIOD) for feature in features] if of_traffic else self._directions
        self._sizes = np.array([len(labels) for labels in self._labels], np.int64)
        self._starts: Codes = np.concatenate(([0], np.cumsum(self._sizes)))[:-1].astype(np.int64)
        self._reference = np.concatenate([feature.coarse_counts() for feature in features]) if features else np.zeros(0, np.int64)
        self._bins = [slice(start, start + size) for start, size in zip(self._starts.tolist(), self._sizes.tolist(), strict=True)]
        self._rows = [int(self._reference[bins].sum()) for bins in self._bins]
        self._coarse = self._coarse_positions()
        self._kept = self._coarse != _DISCARD
        self._classes = (*model.settings.classes, OTHER)
        self._positive = None if model.settings.positive is None else model.settings.classes.index(model.settings.positive)
        self._health = Health(model, self._positive)
        self._period: str | UnsetType = UNSET  # of the baseline, if it is not the reference
        self._meter, self._one_vs_rest = ScoreMeter(model), OneVsRestMeter(model)
        self._baseline = self._baseline_metrics() | self._ranking_of_reference()
        self.estimates = Estimates(model, self._baseline)
        self.busy = TrafficMeter(model)
        self.money = None if model.settings.business is None else BusinessMeter(model)
        self._regression = None if model.numbers is None else RegressionMeter(model)
        self._label_direction = (
            partial(label_direction, categories=model.settings.classes)
            if model.numbers is None
            else direction_of(model.numbers.label.feature)
        )
        own = (model.settings.drift_for(slot.feature.name, kind_of(slot.feature)) for slot in model.slots)
        self._rules = [*[model.settings.drift] * len(outputs), *own]
        self._methods = [[m for m in rules.thresholds if applies(m, f)] for rules, f in zip(self._rules, features, strict=True)]
        self._numeric = np.array([isinstance(feature, NumericFeature) for feature in features], np.bool_)
        self._by_bins = tuple(name for name in BY_BINS if any(name in methods for methods in self._methods))

    def against(self, period: Aggregate, name: str) -> "Scorer":
        """The same, but drift is that from the rows of another period, `name`, on the bins of the reference; quality stays as it is.

        A score is judged only where the period has the minimum sample, too. Its counts are chance, like those of the window.
        """
        other = copy(self)
        other.compared_with, other._of_traffic, other._directions = name, True, self._directions_of_period
        other._reference = self._coarse_counts(period)
        other._rows = [int(other._reference[bins].sum()) for bins in self._bins]
        other._numeric = np.zeros_like(self._numeric)
        other._slots = [
            counted_in(slot, period) if any(method in OF_NUMBERS for method in methods) else slot
            for slot, methods in zip(self._slots, self._methods, strict=True)
        ]
        return other

    def degraded_from(self, period: Aggregate, name: str) -> "Scorer":
        """The same, but the baseline of performance is the outcomes of a period, `name`; none if there were too few."""
        other = copy(self)
        if self._regression is not None:
            other._regression = self._regression.against(period, name)
            return other
        other._health, other._period = self._health.against(self._confusion(period.counts)), name
        other._baseline = other._baseline_metrics()
        judged = [name for name in _OF_SCORES if name in self.model.settings.performance.thresholds]
        if judged and other._health.confusion is not None:
            before = _scalars(*self._of_scores(period))
            other._baseline |= {name: value for name in judged if (value := before[name]) is not None}
        return other

    def within(self, keys: Collection[str]) -> "Scorer":
        """The same, for a segment of these keys: a feature that is one of them is there what the segment says, and not judged."""
        fixed = [i for i, slot in enumerate(self._slots) if i >= self._outputs and is_key(slot.feature, keys)]
        if not fixed:
            return self
        other = copy(self)
        other.quality = self.quality.within(keys)
        other._methods = [[] if i in fixed else methods for i, methods in enumerate(self._methods)]
        return other

    def _coarse_counts(self, window: Aggregate) -> Counts:
        return np.bincount(self._coarse[self._kept], window.counts[self._kept], self._reference.size).astype(np.int64)

    def _coarse_positions(self) -> Codes:
        """Which coarse bin, of all features end to end, each count of a traffic aggregate belongs to."""
        coarse = np.full(self.model.traffic.width, _DISCARD, np.int64)
        for slot, start, size in zip(self._slots, self._starts, self._sizes, strict=True):
            groups = slot.feature.groups if isinstance(slot.feature, NumericFeature) else np.arange(slot.bins)
            coarse[slot.start : slot.start + slot.bins] = start + groups
            coarse[[slot.missing, slot.invalid]] = start + size - 1  # a value of the wrong type is as good as none
        return coarse

    def traffic(self, window: Aggregate, segments: Segments = _NO_SEGMENTS) -> Traffic:
        """Counts, drift of the outputs and of each feature, quality, and what was judged, of a window that closes alone.

        `segments`: parts of the window that drift may come from.
        """
        return close_traffic([Close([self], [window], [segments])])[0][0]

    def traffic_of(self, window: Aggregate, drifts: Sequence[Drift], segments: Segments) -> Traffic:
        counts = window.counts
        events = EventCounts(predictions=int(counts[PREDICTIONS]), late=int(counts[LATE]), duplicate=int(counts[DUPLICATES]))
        found = [judged_drift(drift, partial(self._source, i, window=window, segments=segments)) for i, drift in enumerate(drifts)]
        named = [(drift.feature.name, told) for drift, (told, _) in zip(drifts, found, strict=True) if drift.measured]
        quality, defects = self.quality.features(window)
        judged = [*chain.from_iterable(judged for _, judged in found), *defects]
        return Traffic(events, dict(named[: self._outputs]), dict(named[self._outputs :]), quality, judged)

    def _source(self, i: int, method: str, verdict: Verdict, window: Aggregate, segments: Segments) -> str | UnsetType:
        """The segment that the drift of a feature comes from, if it has drifted, and from one; moments cannot be told apart, counts can."""
        if verdict.severity not in ("warning", "critical") or method not in OF_COUNTS or not segments:
            return UNSET
        assert verdict.threshold is not None
        slot, bins = self._slots[i], self._bins[i]

        def coarse(counts: Counts) -> Counts:
            where = slice(slot.start, slot.invalid + 1)
            return np.bincount(self._coarse[where] - bins.start, counts[where], self._sizes[i]).astype(np.int64)

        def score(counts: Counts) -> float:
            if method in OF_NUMBERS:
                return measure_numbers(method, slot, Aggregate(window.layout, counts, window.moments)).score or 0.0
            return comparable(method, self._reference[bins], coarse(counts))

        parts = {name: part.counts for name, part in segments.items()}
        threshold = verdict.threshold
        if method in OF_CATEGORIES:
            threshold *= comparable_of_chi2(self._reference[bins], coarse(window.counts))
        found = comes_from(window.counts, parts, score, threshold, self._rules[i].minimum_sample)
        return UNSET if found is None else found

    def histograms(self, window: Aggregate) -> Histograms | None:
        """What is compared of the outputs and the features; None if there is nothing on one of the sides."""
        if not (window.counts[PREDICTIONS] and self._slots and all(self._rows)):
            return None
        return Histograms(self._reference, self._coarse_counts(window), self._starts, self._numeric, self._labels, self._by_bins)

    def drifts(self, window: Aggregate, compared: Compared | None) -> list[Drift]:
        """Of the outputs, then of the features; none without predictions."""
        n = int(window.counts[PREDICTIONS])
        if compared is None:
            return self._unscored(n) if n else []
        drifts = []
        for i, (slot, bins, m) in enumerate(zip(self._slots, self._bins, self._rows, strict=True)):
            scores, p_value = compared.scores, compared.p_values[i]
            measured = {name: of_bins(name, scores[name][i], p_value, n, m) for name in self._methods[i] if name in scores}
            for name in self._methods[i]:
                if name in OF_NUMBERS:
                    measured[name] = measure_numbers(name, slot, window)
                elif name in OF_CATEGORIES:
                    measured[name] = measure_categories(self._reference[bins], compared.current[bins])
            if self._of_traffic:
                values = int(slot.feature.counts.sum())
                measured = {name: found._replace(n=min(found.n, values if name in OF_NUMBERS else m)) for name, found in measured.items()}
            about: AlertKind = "prediction_drift" if i < self._outputs else "data_drift"
            top, pair = compared.tops[i], compared.pair[:, bins]
            unseen = unseen_shares(slot, window, pair)
            direction = partial(self._directions[i], unseen=unseen) if unseen else self._directions[i]
            drifts.append(Drift(about, slot.feature, self._rules[i], measured, n, m, top, pair, direction, unseen))
        return drifts

    def _unscored(self, n: int) -> list[Drift]:
        """Of a window of `n` rows, when there is nothing to compare it with."""
        drifts = []
        for i, (slot, bins) in enumerate(zip(self._slots, self._bins, strict=True)):
            measured = {name: Measured(None, n, {}) for name in self._methods[i]}
            about: AlertKind = "prediction_drift" if i < self._outputs else "data_drift"
            nothing = np.zeros((2, bins.stop - bins.start))
            drifts.append(Drift(about, slot.feature, self._rules[i], measured, n, 0, (), nothing, self._directions[i], {}))
        return drifts

    def performance(self, window: Aggregate, segments: Segments = _NO_SEGMENTS) -> Outcomes:
        """Counts, drift of the label, metrics with their verdicts, and what was judged, of a window that closes alone.

        `segments`: parts of the window that drift of the label and bad performance may come from.
        """
        return close_performance([self], [window], [segments])[0]

    def _confusion(self, counts: Counts) -> Counts:
        k = len(self._classes)
        return counts[CONFUSION_START : self.model.hits_start].reshape(k, k)

    def performance_of(self, window: Aggregate, drifts: Sequence[Drift], segments: Segments, by: Attribution = LABEL_TIME) -> Outcomes:
        counts = window.counts
        events = EventCounts(predictions=int(counts[PREDICTIONS]), labels=int(counts[LABELS]), late=int(counts[LATE]))
        performance, judged = self._of_classes(window, by) if self._regression is None else self._regression.performance(window, by)
        measure = self._measure if self._regression is None else self._regression.measure
        judged = attributed(judged, window, segments, measure, self.model.settings.performance.minimum_sample)
        found = [judged_drift(drift, partial(self._source_of_label, window=window, segments=segments)) for drift in drifts]
        outputs = {drift.feature.name: told for drift, (told, _) in zip(drifts, found, strict=True)}
        return Outcomes(events, outputs, performance, [*chain.from_iterable(judged for _, judged in found), *judged])

    def _source_of_label(self, method: str, verdict: Verdict, window: Aggregate, segments: Segments) -> str | UnsetType:
        """The segment that the drift of the label comes from, as of a feature."""
        if verdict.severity not in ("warning", "critical") or method not in OF_COUNTS or not segments:
            return UNSET
        assert verdict.threshold is not None

        def score(counts: Counts) -> float:
            counts = np.maximum(counts, 0)  # see `worse_segment.without`
            if method in OF_CATEGORIES:
                return comparable(method, self.model.label.counts, self._confusion(counts).sum(axis=1))
            found = self.label_drift(Aggregate(window.layout, counts, window.moments))
            return found[0].measured[method].score or 0.0 if found else 0.0

        threshold = verdict.threshold
        if method in OF_CATEGORIES:
            threshold *= comparable_of_chi2(self.model.label.counts, self._confusion(window.counts).sum(axis=1))
        whole, *parts = (np.append(counts[LABELS], counts[1:]) for counts in (window.counts, *(one.counts for one in segments.values())))
        found = comes_from(whole, dict(zip(segments, parts, strict=True)), score, threshold, self.model.settings.drift.minimum_sample)
        return UNSET if found is None else found

    def _of_classes(self, window: Aggregate, by: Attribution) -> tuple[Performance, list[Judged]]:
        """Performance of a classifier, and what was judged of it."""
        counts = window.counts
        n, predictions = int(counts[LABELS]), int(counts[PREDICTIONS])
        confusion = self._confusion(counts)
        cells = tuple(tuple(row) for row in confusion.tolist())
        rules = self.model.settings.performance
        metrics, (scores, each) = self._metrics(confusion), self._of_scores(window)
        judgeable = metrics | _scalars(scores, each)
        enough = by.judgeable(n, predictions)
        verdicts = {name: judge(judgeable[name], enough, limits, rules.minimum_sample) for name, limits in rules.thresholds.items()}
        health = self._health.of(confusion, bad=any(verdict.severity in ("warning", "critical") for verdict in verdicts.values()))
        evidence = Evidence(
            n=n, classes=self._classes, confusion=cells, baseline_confusion=self._health.before, worst_class=health.worst_class
        )
        judged = [
            Judged("performance", name, UNSET, judgeable[name], verdict, evidence, self._baseline.get(name, UNSET), below=below)
            for name, verdict in verdicts.items()
            for below in (rules.thresholds[name].direction == "below",)
        ]
        if enough:
            judged += [Judged("performance", name, UNSET, drop, verdict, evidence, of) for name, drop, verdict, of in health.drops]
        performance = Performance(
            by=by.by,
            maturity=by.maturity,
            label_delay=label_delay(self.model, counts),
            coverage=n / predictions if predictions else None,
            classes=self._classes,
            confusion=cells,
            accuracy=metrics["accuracy"],
            precision=metrics["precision"],
            recall=metrics["recall"],
            f1=metrics["f1"],
            specificity=metrics["specificity"],
            mcc=metrics["mcc"],
            intervals={name: (found.lower, found.upper) for name, found in health.ratios.items()},
            verdicts={name: reported(judgeable[name], verdict) for name, verdict in verdicts.items()},
            averages=Averages(**{name: metrics[name] for name in AVERAGES}),
            by_class=class_table(confusion, self._classes),
            scores=UNSET if scores is None else scores,
            one_vs_rest=UNSET if each is None else each,
            lift=UNSET if self._positive is None else metrics["lift"],
            baseline=self._period,
            status=health.status if enough or health.status is UNSET else "insufficient_data",
            broken=health.broken if enough else (),
        )
        return performance, judged

    def label_drift(self, window: Aggregate) -> list[Drift]:
        """Of the label, where the reference has labels; none is missing on either side, as a label that is not there is no label."""
        if self.model.numbers is None:
            label, current = self.model.label, self._confusion(window.counts).sum(axis=1)
            return self._drift_of_label(label, label.counts, current, self._classes, lambda _: measure_categories(label.counts, current))
        slot, window = self.model.numbers.label, replace(window, moments=standing(window.moments))
        number = slot.feature
        assert isinstance(number, NumericFeature)
        before, now = (number.coarsen(counts, 0) for counts in (number.counts, window.counts[slot.start : slot.start + slot.bins]))
        return self._drift_of_label(number, before, now, number.bin_labels(), lambda method: measure_numbers(method, slot, window))

    def _drift_of_label(
        self, label: Feature, reference: Counts, current: Counts, names: Sequence[str], measure: Callable[[str], Measured]
    ) -> list[Drift]:
        """From the counts of its bins, `names`, on both sides; `measure` does what they do not tell."""
        rules, n, m = self.model.settings.drift, int(current.sum()), int(reference.sum())
        if not n or not m:
            return []
        methods, quantiles = [name for name in rules.thresholds if applies(name, label)], np.array([isinstance(label, NumericFeature)])
        by_bins = tuple(name for name in methods if name in BY_BINS)
        (compared,) = compare([Histograms(reference, current, ONE, quantiles, [names], by_bins)])
        scores, (p_value,), (top,) = compared.scores, compared.p_values, compared.tops
        measured = {name: of_bins(name, scores[name][0], p_value, n, m) if name in BY_BINS else measure(name) for name in methods}
        return [Drift("label_drift", label, rules, measured, n, m, top, compared.pair, self._label_direction, {})]

    def _measure(self, metric: str, window: Aggregate) -> float | None:
        """One metric of an outcomes aggregate."""
        if metric in _OF_SCORES:
            return _scalars(*self._of_scores(window))[metric]
        apart = _apart(self._confusion(window.counts))
        return METRICS[metric](apart, self._positive) if metric in METRICS else averages(apart)[metric]

    def _of_scores(self, window: Aggregate) -> tuple[ScorePerformance | None, OneVsRest | None]:
        """Performance of the score, and of those of all classes."""
        return self._meter.performance(window), self._one_vs_rest.performance(window)

    def _metrics(self, confusion: Counts) -> dict[str, float | None]:
        """Every metric of a matrix with OTHER as its last class."""
        apart = _apart(confusion)
        return {name: metric(apart, self._positive) for name, metric in METRICS.items()} | averages(apart)

    def _baseline_metrics(self) -> dict[str, float]:
        """Metrics of the baseline's confusion matrix, where there is one of the model's classes."""
        found = {} if self._health.confusion is None else self._metrics(self._health.confusion)
        return {name: value for name, value in found.items() if value is not None}

    def _ranking_of_reference(self) -> dict[str, float]:
        """How well its own scores rank its positives, where it has a calibration."""
        if self.model.calibration is None:
            return {}
        ranking = self._meter.ranking(*self.model.calibration)
        return {name: metric.value for name, metric in ranking.items() if metric is not None}


class Close(NamedTuple):
    """Windows of one model that close together, those of all versions and segments: p-values are adjusted for all of them.

    `scorers`: of each window, that of its version's reference. `segments`: parts of each window that drift may come from.
    """

    scorers: Sequence[Scorer]
    windows: Sequence[Aggregate]
    segments: Sequence[Segments] = ()


def close_traffic(closes: Sequence[Close]) -> list[list[Traffic]]:
    """What the windows of each come to."""
    every = [one for close in closes for one in zip(close.scorers, close.windows, strict=True)]
    histograms = {i: found for i, (scorer, window) in enumerate(every) if (found := scorer.histograms(window)) is not None}
    compared = dict(zip(histograms, compare(list(histograms.values())), strict=True))
    drifts = iter([scorer.drifts(window, compared.get(i)) for i, (scorer, window) in enumerate(every)])
    return [_close_traffic(close, list(islice(drifts, len(close.windows)))) for close in closes]


def _close_traffic(close: Close, drifts: Sequence[Sequence[Drift]]) -> list[Traffic]:
    adjust(chain.from_iterable(drifts))
    parts = close.segments or [_NO_SEGMENTS] * len(close.windows)
    return [
        scorer.traffic_of(window, found, of) for scorer, window, found, of in zip(close.scorers, close.windows, drifts, parts, strict=True)
    ]


def close_performance(
    scorers: Sequence[Scorer], windows: Sequence[Aggregate], segments: Sequence[Segments] = (), by: Attribution = LABEL_TIME
) -> list[Outcomes]:
    """The same of performance windows. Drift of the label is of those by label time: by the other it would be the same labels again."""
    own = by.by == "label_time"
    drifts = [scorer.label_drift(window) if own else [] for scorer, window in zip(scorers, windows, strict=True)]
    adjust(chain.from_iterable(drifts))
    parts = segments or [_NO_SEGMENTS] * len(windows)
    return [scorer.performance_of(window, found, of, by) for scorer, window, found, of in zip(scorers, windows, drifts, parts, strict=True)]


def _scalars(scores: ScorePerformance | None, each: OneVsRest | None) -> dict[str, float | None]:
    """Every metric of scores as one number, None where it is undefined."""
    return dict.fromkeys(SCORE_METRICS) | ({} if scores is None else scalars(scores)) | scalars_of_classes(each)


def _apart(confusion: Counts) -> Counts:
    """The matrix, but OTHER, its last class, is never right: two classes that are not configured may differ."""
    k = len(confusion)
    if not (confusion[-1].any() or confusion[:, -1].any()):
        return confusion[:-1, :-1]
    apart: npt.NDArray[np.int64] = np.zeros((k + 1, k + 1), np.int64)
    apart[:k, : k - 1], apart[:k, k] = confusion[:, :-1], confusion[:, -1]
    return apart
