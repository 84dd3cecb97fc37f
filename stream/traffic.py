"""How busy a model was in a window, how sure of itself, and how long its labels took: rate, classes, latency, confidence, delay. Pure."""

import numpy as np
from msgspec import UNSET, UnsetType

from detectors.confidence import ConfidenceBins
from detectors.intervals import wilson
from detectors.judge import judge
from detectors.latency import DELAY_EDGES_S, LATENCY_EDGES_MS, latency
from stream.aggregates import MAXIMUM, MINIMUM, Aggregate, Counts
from stream.alerts import Evidence
from stream.model import OTHER, PREDICTIONS, Model
from stream.reference import NumericFeature
from stream.results import Confidence, Latency, TrafficMetrics
from stream.results_performance import LabelDelay
from stream.results_values import BoundedMetric
from stream.verdicts import Judged, reported


class TrafficMeter:
    """Measures and judges the traffic windows of one model."""

    def __init__(self, model: Model) -> None:
        self._model, self._rules = model, model.settings.traffic.rules
        self._threshold, self._confidence_bins = model.settings.traffic.confidence_threshold, _confidence_bins(model)

    def metrics(self, window: Aggregate, size_ms: int) -> tuple[TrafficMetrics, list[Judged]]:
        """Of the predictions of a window that is `size_ms` long, and what was judged."""
        counts, slot, classes = window.counts, self._model.predicted, self._model.settings.classes
        by_class = counts[slot.start : slot.start + slot.bins].tolist()
        told, sure = _latency(counts[self._model.latency_start :]), self._confidence(window)
        values: dict[str, tuple[float, int]] = {}
        if told is not UNSET:
            values |= {f"latency_{name}": (getattr(told, name), told.n) for name in ("p50", "p95", "p99")}
        if sure is not UNSET:
            values |= {"mean_confidence": (sure.mean.value, sure.n), "high_confidence_ratio": (sure.high_ratio.value, sure.n)}
        judged = [self._judged(name, *values.get(name, (None, 0))) for name in self._rules.thresholds]
        metrics = TrafficMetrics(
            predictions_per_second=int(counts[PREDICTIONS]) * 1000 / size_ms,
            predictions_by_class=dict(zip((*classes, OTHER), by_class, strict=True)) if classes else {},
            latency_ms=told,
            confidence=sure,
            verdicts={one.metric: reported(one.value, one.verdict) for one in judged},
        )
        return metrics, judged

    def _judged(self, metric: str, value: float | None, n: int) -> Judged:
        limits = self._rules.thresholds[metric]
        verdict = judge(value, n, limits, self._rules.minimum_sample)
        return Judged("traffic", metric, UNSET, value, verdict, Evidence(n=n), below=limits.direction == "below")

    def _confidence(self, window: Aggregate) -> Confidence | UnsetType:
        slot = self._model.score
        if self._confidence_bins is None or not 0 <= window.moments[slot.moments, MINIMUM] <= window.moments[slot.moments, MAXIMUM] <= 1:
            return UNSET
        found = self._confidence_bins.confidence(window.counts[slot.start : slot.start + slot.bins])
        if found is None:
            return UNSET
        mean, high = (BoundedMetric(value=metric.value, bounds=(metric.lower, metric.upper)) for metric in (found.mean, found.high_ratio))
        least, most = wilson(np.array(high.value * found.n), np.array(found.n)).tolist()
        intervals = {"high_ratio": (least, most)}
        return Confidence(n=found.n, threshold=self._threshold, mean=mean, high_ratio=high, intervals=intervals)


def _confidence_bins(model: Model) -> ConfidenceBins | None:
    """None where the score says nothing of confidence: it is a number that is predicted, or of one class among more than two."""
    settings, feature = model.settings, model.score.feature
    of_one = settings.positive is not None
    if settings.task == "regression" or (of_one and len(settings.classes) > 2):
        return None
    assert isinstance(feature, NumericFeature)
    return ConfidenceBins(feature.edges, settings.traffic.confidence_threshold, folded=of_one)


def _latency(counts: Counts) -> Latency | UnsetType:
    """Percentiles from the bins alone: 0 and the last edge stand for the extremes, which are not kept."""
    found = latency(counts, 0.0, float(LATENCY_EDGES_MS[-1]))
    if found is None:
        return UNSET
    return Latency(n=found.n, p50=found.p50.value, p95=found.p95.value, p99=found.p99.value, relative_error=found.relative_error)


def label_delay(model: Model, counts: Counts) -> LabelDelay | UnsetType:
    """The same of the labels' delays, in seconds, from an outcomes aggregate."""
    found = latency(counts[model.delays_start : model.outcomes.width], 0.0, float(DELAY_EDGES_S[-1]), DELAY_EDGES_S)
    if found is None:
        return UNSET
    return LabelDelay(n=found.n, p50=found.p50.value, p95=found.p95.value, p99=found.p99.value, relative_error=found.relative_error)
