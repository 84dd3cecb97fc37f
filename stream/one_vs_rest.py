"""How well the scores of several classes tell each class from all others, from their bins in an outcomes aggregate. Pure.

Each class is a question of two classes: its rows are the positives, those of all others, configured or not, the negatives. Rows that told
no score of a class are in none of its figures.
"""

from typing import Final

import numpy as np

from detectors.intervals import Bounded, wilson
from detectors.ranking import average_precision, roc_auc, roc_auc_interval
from detectors.score_bins import SCORE_EDGES, one_value_bins
from stream.aggregates import Aggregate, Counts, Floats
from stream.model import CLASS_BINS, LEAST_PROBABILITY, Model
from stream.results_performance import ClassRanking, OneVsRest
from stream.results_values import BoundedMetric
from stream.verdicts import bounded

ONE_VS_REST: Final = tuple(name for name in OneVsRest.__struct_fields__ if name not in ("n", "by_class"))
_RANKINGS: Final = {"roc_auc": roc_auc, "average_precision": average_precision}
_POINTS: Final = one_value_bins(SCORE_EDGES)
_ENDS: Final[Floats] = np.maximum(np.concatenate(([LEAST_PROBABILITY], np.minimum(SCORE_EDGES, 1.0), [1.0])), LEAST_PROBABILITY)


class OneVsRestMeter:
    """Measures the windows of one model."""

    def __init__(self, model: Model) -> None:
        self._classes = model.settings.scored_classes
        self._scores = slice(model.class_scores_start, model.values_start)

    def performance(self, window: Aggregate) -> OneVsRest | None:
        """Of an outcomes aggregate; None if no label met a prediction with scores by class."""
        scores = window.counts[self._scores].reshape(-1, 2, CLASS_BINS).copy()
        scores[:, :, 0] = 0  # none were told there
        rows = scores.sum(axis=(1, 2))
        if not rows.any():
            return None
        positives = scores[:, 1].sum(axis=1)
        found = {name: [ranking(*one, points=_POINTS) for one in scores] for name, ranking in _RANKINGS.items()}
        means: dict[str, BoundedMetric | None] = {}
        for name, ranking in _RANKINGS.items():
            means[f"{name}_macro"] = _mean(found[name], np.ones(rows.size))
            means[f"{name}_weighted"] = _mean(found[name], positives)
            means[f"{name}_micro"] = bounded(ranking(*scores.sum(axis=0), points=_POINTS))
        each = zip(self._classes, scores, rows.tolist(), positives.tolist(), found["roc_auc"], found["average_precision"], strict=True)
        return OneVsRest(
            n=int(rows.max()),
            multiclass_log_loss=_log_loss(scores[:, 1].sum(axis=0)),
            **means,
            by_class=tuple(
                ClassRanking(
                    name=name,
                    n=n,
                    support=support,
                    roc_auc=bounded(auc),
                    average_precision=bounded(precision),
                    intervals=_intervals(of, support, precision),
                )
                for name, of, n, support, auc, precision in each
            ),
        )


def scalars_of_classes(found: OneVsRest | None) -> dict[str, float | None]:
    """Each metric as one number, by name; all undefined where nothing was found."""
    metrics: dict[str, BoundedMetric | None] = {name: None if found is None else getattr(found, name) for name in ONE_VS_REST}
    return {name: None if metric is None else metric.value for name, metric in metrics.items()}


def _intervals(scores: Counts, support: int, precision: Bounded | None) -> dict[str, tuple[float, float]]:
    """For chance in the rows, of 95 %: as in `score_performance`. Of means over classes there are none."""
    area = roc_auc_interval(*scores)
    if area is None or precision is None:
        return {}
    low, high = wilson(np.array(precision.value * support), np.array(support)).tolist()
    return {"roc_auc": area, "average_precision": (low, high)}


def _mean(metrics: list[Bounded | None], weights: Counts | Floats) -> BoundedMetric | None:
    """Over the classes that have the metric; None if none has."""
    known = [i for i, metric in enumerate(metrics) if metric is not None]
    if not known:
        return None
    of = np.array([(metric.value, metric.lower, metric.upper) for metric in metrics if metric is not None])
    value, lower, upper = (weights[known] @ of / weights[known].sum()).tolist()
    return BoundedMetric(value=value, bounds=(lower, upper))


def _log_loss(truth: Counts) -> BoundedMetric | None:
    """The mean of -ln p over the rows, p the score of their own class, in nats, p taken in the middle of its bin."""
    n = int(truth.sum())
    if n == 0:
        return None
    low, high = _ENDS[:-1], _ENDS[1:]
    value, lower, upper = (float(truth @ -np.log(p) / n) for p in ((low + high) / 2, high, low))
    return BoundedMetric(value=value, bounds=(lower, upper))
