"""How busy a model was in a window: rate and classes of its predictions, from the counts of a traffic aggregate. Pure."""

from stream.aggregates import Counts
from stream.model import OTHER, PREDICTIONS, Model
from stream.results import TrafficMetrics


def traffic_metrics(model: Model, counts: Counts, size_ms: int) -> TrafficMetrics:
    """Rate and classes of the predictions of a window that is `size_ms` long.

    Args:
        counts: (model.traffic.width,) of a traffic aggregate. Not modified.
    """
    slot = model.predicted
    by_class = counts[slot.start : slot.start + slot.bins].tolist()
    return TrafficMetrics(
        predictions_per_second=int(counts[PREDICTIONS]) * 1000 / size_ms,
        predictions_by_class=dict(zip((*model.settings.classes, OTHER), by_class, strict=True)) if model.settings.classes else {},
    )
