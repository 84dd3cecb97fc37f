"""What the scores of hits and misses say: how well the score ranks, and how well it is calibrated. Pure.

A score is of the positive class; of a model without one, of the class that was predicted: a hit is then a prediction that was right.
"""

import numpy as np

from detectors.intervals import Bounded
from detectors.ranking import average_precision, calibration_error, lift, precision_at_fpr, recall_at_fpr, roc_auc
from stream.aggregates import Aggregate, Floats
from stream.model import LOSS_UNIT, Model
from stream.reference import NumericFeature
from stream.results import BoundedMetric, ScorePerformance

SCORE_METRICS = tuple(name for name in ScorePerformance.__struct_fields__ if name != "n")


class ScoreMeter:
    """Measures the windows of one model."""

    def __init__(self, model: Model) -> None:
        feature = model.score.feature
        assert isinstance(feature, NumericFeature)
        edges = feature.edges
        one_value = np.nextafter(edges[:-1], np.inf) == edges[1:]
        self._points = np.concatenate(([False], one_value, [False]))
        self._middles = _middles(edges)
        self._histograms = slice(model.hits_start, model.losses_start)
        self._losses = slice(model.losses_start, model.losses_start + 2)

    def performance(self, window: Aggregate) -> ScorePerformance | None:
        """Of an outcomes aggregate; None if no label met a score that is a probability."""
        misses, hits = window.counts[self._histograms].reshape(2, -1)
        n = int(misses.sum() + hits.sum())
        if n == 0:
            return None
        top_lift = lift(misses, hits, 0.1)
        brier, log_loss = (window.counts[self._losses] * LOSS_UNIT / n).tolist()
        return ScorePerformance(
            n=n,
            brier=brier,
            log_loss=log_loss,
            calibration_error=calibration_error(misses, hits, self._middles),
            roc_auc=_reported(roc_auc(misses, hits, points=self._points)),
            average_precision=_reported(average_precision(misses, hits, points=self._points)),
            recall_at_fpr_1=_reported(recall_at_fpr(misses, hits, 0.01)),
            precision_at_fpr_1=_reported(precision_at_fpr(misses, hits, 0.01)),
            recall_at_fpr_5=_reported(recall_at_fpr(misses, hits, 0.05)),
            precision_at_fpr_5=_reported(precision_at_fpr(misses, hits, 0.05)),
            top_decile_lift=top_lift,
            top_decile_capture=None if top_lift is None else min(0.1 * top_lift, 1.0),
        )


def scalars(found: ScorePerformance) -> dict[str, float | None]:
    """Each metric as one number, by name."""
    metrics = {name: getattr(found, name) for name in SCORE_METRICS}
    return {name: metric.value if isinstance(metric, BoundedMetric) else metric for name, metric in metrics.items()}


def _middles(edges: Floats) -> Floats:
    """The middle of each bin, of the part of it that lies in [0, 1]."""
    low = np.clip(np.concatenate(([0.0], edges)), 0, 1)
    high = np.clip(np.concatenate((edges, [1.0])), 0, 1)
    middles: Floats = (low + high) / 2
    return middles


def _reported(metric: Bounded | None) -> BoundedMetric | None:
    return None if metric is None else BoundedMetric(value=metric.value, bounds=(metric.lower, metric.upper))
