"""What a result shows to Prometheus: the gauges of a window, and the samples of one firing. Pure."""

import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple, TypeGuard

from msgspec import UNSET
from msgspec.structs import asdict

from stream.results import FeatureQuality, Latency, Result
from stream.results_performance import (
    Business,
    ClassPerformance,
    ClassRanking,
    Estimate,
    EstimatedPerformance,
    LabelDelay,
    Performance,
    RegressionPerformance,
)
from stream.results_values import BoundedMetric, Score

Subject = Literal["traffic", "performance"]

SEVERITY_NUMBER = {"ok": 0, "warning": 1, "critical": 2, "insufficient_data": -1}
STATUS_NUMBER = {"healthy": 0, "warning": 1, "degraded": 2, "insufficient_data": -1}

_WINDOW_LABELS = ("model", "version", "segment", "window")
WINDOW_GAUGES = {  # name: (what it says, its labels)
    "driftstream_drift_score": ("Drift of one feature in the newest closed window.", (*_WINDOW_LABELS, "feature", "method")),
    "driftstream_drift_threshold": (
        "Threshold the drift score was judged by: the one crossed, else the warning one.",
        (*_WINDOW_LABELS, "feature", "method", "severity"),
    ),
    "driftstream_drift_severity": (
        "Verdict on the drift score: 0 ok, 1 warning, 2 critical, -1 insufficient data.",
        (*_WINDOW_LABELS, "feature", "method"),
    ),
    "driftstream_drift_p_value": (
        "Probability of such a drift score or a higher one if there were no drift, for methods that test.",
        (*_WINDOW_LABELS, "feature", "method"),
    ),
    "driftstream_quality_ratio": ("Share of predictions with this defect in this feature.", (*_WINDOW_LABELS, "feature", "metric")),
    "driftstream_quality_score": ("Quality of one feature, 1 is as good as the reference.", (*_WINDOW_LABELS, "feature")),
    "driftstream_quality_severity": (
        "Worst verdict on the quality of the feature: 0 ok, 1 warning, 2 critical, -1 insufficient data.",
        (*_WINDOW_LABELS, "feature"),
    ),
    "driftstream_model_score": (
        "What the features come to: quality_score, duplicate_ratio, late_ratio, drifted_ratio, weighted_drift.",
        (*_WINDOW_LABELS, "metric"),
    ),
    "driftstream_model_severity": (
        "Verdict on it: 0 ok, 1 warning, 2 critical, -1 insufficient data.",
        (*_WINDOW_LABELS, "metric"),
    ),
    "driftstream_predictions_per_second": ("Predictions a second in the newest closed window.", _WINDOW_LABELS),
    "driftstream_prediction_latency_seconds": (
        "Latency that predictions told, at this percentile, in the newest closed window.",
        (*_WINDOW_LABELS, "percentile"),  # promtool keeps "quantile" for summaries
    ),
    "driftstream_confidence": (
        "Confidence of the predictions: their mean, and the share that is high (high_ratio).",
        (*_WINDOW_LABELS, "metric"),
    ),
    "driftstream_traffic_severity": (
        "Verdict on a latency percentile or a confidence: 0 ok, 1 warning, 2 critical, -1 insufficient data.",
        (*_WINDOW_LABELS, "metric"),
    ),
    "driftstream_predictions_by_class": ("Predictions of this class in the newest closed window.", (*_WINDOW_LABELS, "class")),
    "driftstream_label_delay_seconds": (
        "How long after its prediction a label was, at this percentile, in the newest closed window.",
        (*_WINDOW_LABELS, "by", "percentile"),
    ),
    "driftstream_estimated_performance": (
        "Metric as it is expected before labels come, in the newest closed window.",
        (*_WINDOW_LABELS, "metric"),
    ),
    "driftstream_estimated_performance_bound": (
        "Where the realised metric lies in 95 of 100 cases, if scores mean what they meant: above the lower, below the upper bound.",
        (*_WINDOW_LABELS, "metric", "bound"),
    ),
    "driftstream_estimated_performance_severity": (
        "Verdict on the estimate: 0 ok, 1 warning, 2 critical, -1 insufficient data.",
        (*_WINDOW_LABELS, "metric"),
    ),
    "driftstream_performance": ("Online performance metric in the newest closed window.", (*_WINDOW_LABELS, "by", "metric")),
    "driftstream_class_performance": (
        "The same of one class: precision, recall and f1, with scores by class roc_auc and average_precision against all others.",
        (*_WINDOW_LABELS, "by", "class", "metric"),
    ),
    "driftstream_performance_severity": (
        "Verdict on the metric: 0 ok, 1 warning, 2 critical, -1 insufficient data.",
        (*_WINDOW_LABELS, "by", "metric"),
    ),
    "driftstream_business": (
        "Money of the newest closed window, and the rows and alerts that it is of.",
        (*_WINDOW_LABELS, "by", "metric"),
    ),
    "driftstream_business_day": ("The same of its day in UTC so far.", (*_WINDOW_LABELS, "by", "metric")),
    "driftstream_business_severity": (
        "Verdict on the money of the window: 0 ok, 1 warning, 2 critical, -1 insufficient data.",
        (*_WINDOW_LABELS, "by", "metric"),
    ),
    "driftstream_status": ("Status of the model: 0 healthy, 1 warning, 2 degraded, -1 insufficient data.", (*_WINDOW_LABELS, "by")),
    "driftstream_label_coverage_ratio": ("Labels counted over predictions made, by label time it may exceed 1.", (*_WINDOW_LABELS, "by")),
    "driftstream_label_maturity_ratio": (
        "By prediction time, how much of the time in which labels may come has passed since the window's end.",
        (*_WINDOW_LABELS, "by"),
    ),
    "driftstream_window_end_seconds": (
        "End of the newest closed window, event time in seconds since the epoch.",
        (*_WINDOW_LABELS, "subject", "by"),
    ),
}

Sample = tuple[str, tuple[str, ...], float]  # metric name, label values, value


class Slot(NamedTuple):
    """What one series of windows is about: of these only the newest firing is exported. The first four are every gauge's first labels."""

    model: str
    version: str
    segment: str  # "": all traffic
    window: str
    subject: Subject
    by: str  # which clock performance goes by; "" for traffic


def samples_of(result: Result, slot: Slot) -> Iterator[Sample]:
    """All samples of a result."""
    window = slot[:4]
    yield "driftstream_window_end_seconds", (*window, slot.subject, slot.by), seconds_of(result.window.end)
    drifts = {} if result.drift is UNSET else dict(result.drift)
    if result.outputs is not UNSET:
        drifts |= {f"({output})": drift for output, drift in result.outputs.items()}  # so that no feature has the name
    for feature, drift in drifts.items():
        for method, score in asdict(drift).items():
            if isinstance(score, Score):
                yield from _score_samples((*window, feature, method), score)
    if result.quality is not UNSET:
        for feature, quality in result.quality.items():
            yield from _quality_samples((*window, feature), quality)
    if result.summary is not UNSET:
        for metric, value in asdict(result.summary).items():
            if isinstance(value, float):
                yield "driftstream_model_score", (*window, metric), value
        for metric, verdict in result.summary.verdicts.items():
            yield "driftstream_model_severity", (*window, metric), SEVERITY_NUMBER[verdict.severity]
    if result.traffic is not UNSET:
        yield "driftstream_predictions_per_second", window, result.traffic.predictions_per_second
        for name, n in result.traffic.predictions_by_class.items():
            yield "driftstream_predictions_by_class", (*window, name), n
        if result.traffic.latency_ms is not UNSET:
            for percentile, latency_ms in _percentiles(result.traffic.latency_ms):
                yield "driftstream_prediction_latency_seconds", (*window, percentile), latency_ms / 1000
        if result.traffic.confidence is not UNSET:
            sure = result.traffic.confidence
            yield "driftstream_confidence", (*window, "mean"), sure.mean.value
            yield "driftstream_confidence", (*window, "high_ratio"), sure.high_ratio.value
        for metric, verdict in result.traffic.verdicts.items():
            yield "driftstream_traffic_severity", (*window, metric), SEVERITY_NUMBER[verdict.severity]
    if result.estimated is not UNSET and slot.subject == "traffic":
        yield from _estimated_samples(window, result.estimated)
    if result.performance is not UNSET:
        yield from _performance_samples((*window, slot.by), result.performance)
    if result.regression is not UNSET:
        yield from _metric_samples((*window, slot.by), result.regression, asdict(result.regression))
    if result.business is not UNSET:
        yield from _business_samples((*window, slot.by), result.business)


def _quality_samples(labels: tuple[str, ...], quality: FeatureQuality) -> Iterator[Sample]:
    for name, value in asdict(quality).items():
        if name.endswith("_ratio") and value is not UNSET:
            yield "driftstream_quality_ratio", (*labels, name.removesuffix("_ratio")), value
    yield "driftstream_quality_score", labels, quality.score
    if quality.severity is not UNSET:
        yield "driftstream_quality_severity", labels, SEVERITY_NUMBER[quality.severity]


def _score_samples(labels: tuple[str, ...], score: Score) -> Iterator[Sample]:
    yield "driftstream_drift_severity", labels, SEVERITY_NUMBER[score.severity]
    if _defined(score.score):
        yield "driftstream_drift_score", labels, score.score
    if score.p_value is not UNSET:
        yield "driftstream_drift_p_value", labels, score.p_value
    if _defined(score.threshold):
        level = "critical" if score.severity == "critical" else "warning"
        yield "driftstream_drift_threshold", (*labels, level), score.threshold


def _estimated_samples(labels: tuple[str, ...], estimated: EstimatedPerformance) -> Iterator[Sample]:
    for metric, value in asdict(estimated).items():
        if isinstance(value, Estimate):
            yield "driftstream_estimated_performance", (*labels, metric), value.value
            yield "driftstream_estimated_performance_bound", (*labels, metric, "lower"), value.lower
            yield "driftstream_estimated_performance_bound", (*labels, metric, "upper"), value.upper
    for metric, verdict in estimated.verdicts.items():
        yield "driftstream_estimated_performance_severity", (*labels, metric), SEVERITY_NUMBER[verdict.severity]


def _performance_samples(labels: tuple[str, ...], performance: Performance) -> Iterator[Sample]:
    metrics = asdict(performance)
    for part in (performance.averages, performance.scores, performance.one_vs_rest):
        metrics |= {} if part is UNSET else asdict(part)
    yield from _metric_samples(labels, performance, metrics)
    rankings: tuple[ClassRanking, ...] = () if performance.one_vs_rest is UNSET else performance.one_vs_rest.by_class
    of_classes: tuple[ClassPerformance | ClassRanking, ...] = (*performance.by_class, *rankings)
    for of in of_classes:
        for metric, value in _numbers(asdict(of)):
            yield "driftstream_class_performance", (*labels, of.name, metric), value


def _metric_samples(
    labels: tuple[str, ...], performance: Performance | RegressionPerformance, metrics: Mapping[str, Any]
) -> Iterator[Sample]:
    if performance.status is not UNSET:
        yield "driftstream_status", labels, STATUS_NUMBER[performance.status]
    if _defined(performance.coverage):
        yield "driftstream_label_coverage_ratio", labels, performance.coverage
    if performance.maturity is not UNSET:
        yield "driftstream_label_maturity_ratio", labels, performance.maturity
    if performance.label_delay is not UNSET:
        for percentile, delay_s in _percentiles(performance.label_delay):
            yield "driftstream_label_delay_seconds", (*labels, percentile), delay_s
    for metric, value in _numbers(metrics):
        if metric not in ("coverage", "maturity"):
            yield "driftstream_performance", (*labels, metric), value
    for metric, verdict in performance.verdicts.items():
        yield "driftstream_performance_severity", (*labels, metric), SEVERITY_NUMBER[verdict.severity]


def _numbers(metrics: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Those of some metrics that are defined numbers, not counts."""
    for metric, value in metrics.items():
        number = value.value if isinstance(value, BoundedMetric) else value
        if isinstance(number, float) and _defined(number):
            yield metric, number


def _percentiles(told: Latency | LabelDelay) -> tuple[tuple[str, float], ...]:
    return ("50", told.p50), ("95", told.p95), ("99", told.p99)


def _business_samples(labels: tuple[str, ...], business: Business) -> Iterator[Sample]:
    for name, money in (("driftstream_business", business), ("driftstream_business_day", business.day)):
        for metric, value in {} if money is UNSET else asdict(money).items():
            if isinstance(value, int | float):
                yield name, (*labels, metric), value
    for metric, verdict in business.verdicts.items():
        yield "driftstream_business_severity", (*labels, metric), SEVERITY_NUMBER[verdict.severity]


def _defined(value: float | None) -> TypeGuard[float]:
    return value is not None and not math.isnan(value)


def seconds_of(timestamp: str) -> float:
    """Seconds since the epoch of a time in a message."""
    return datetime.fromisoformat(timestamp).timestamp()
