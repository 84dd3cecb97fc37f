"""How busy a model was in a window: rate, classes and latency of its predictions, and how long its labels took. Pure."""

from msgspec import UNSET, UnsetType

from detectors.latency import DELAY_EDGES_S, LATENCY_EDGES_MS, latency
from stream.aggregates import Counts
from stream.model import OTHER, PREDICTIONS, Model
from stream.results import LabelDelay, Latency, TrafficMetrics


def traffic_metrics(model: Model, counts: Counts, size_ms: int) -> TrafficMetrics:
    """Rate, classes and latency of the predictions of a window that is `size_ms` long.

    Args:
        counts: (model.traffic.width,) of a traffic aggregate. Not modified.
    """
    slot = model.predicted
    by_class = counts[slot.start : slot.start + slot.bins].tolist()
    return TrafficMetrics(
        predictions_per_second=int(counts[PREDICTIONS]) * 1000 / size_ms,
        predictions_by_class=dict(zip((*model.settings.classes, OTHER), by_class, strict=True)) if model.settings.classes else {},
        latency_ms=_latency(counts[model.latency_start :]),
    )


def _latency(counts: Counts) -> Latency | UnsetType:
    """Percentiles from the bins alone: 0 and the last edge stand for the extremes, which are not kept."""
    found = latency(counts, 0.0, float(LATENCY_EDGES_MS[-1]))
    if found is None:
        return UNSET
    return Latency(n=found.n, p50=found.p50.value, p95=found.p95.value, p99=found.p99.value)


def label_delay(model: Model, counts: Counts) -> LabelDelay | UnsetType:
    """The same of the labels' delays, in seconds, from an outcomes aggregate."""
    found = latency(counts[model.delays_start :], 0.0, float(DELAY_EDGES_S[-1]), DELAY_EDGES_S)
    if found is None:
        return UNSET
    return LabelDelay(n=found.n, p50=found.p50.value, p95=found.p95.value, p99=found.p99.value)
