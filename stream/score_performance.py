"""What the scores of hits and misses say: how well the score ranks, and how well it is calibrated. Pure.

A score is of the positive class; of a model without one, of the class that was predicted: a hit is then a prediction that was right.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from detectors.intervals import Bounded, wilson
from detectors.ranking import average_precision, lift, operating_point, precision_at_fpr, recall_at_fpr, roc_auc, roc_auc_interval
from detectors.reliability import Group, calibration_error, reliability
from detectors.score_bins import one_value_bins
from stream.aggregates import Aggregate, Counts
from stream.model import LOSS_UNIT, Model
from stream.reference import NumericFeature
from stream.results_performance import ReliabilityBin, ScorePerformance
from stream.results_values import BoundedMetric
from stream.verdicts import bounded

SCORE_METRICS = tuple(name for name in ScorePerformance.__struct_fields__ if name not in ("n", "reliability", "intervals"))


class ScoreMeter:
    """Measures the windows of one model."""

    def __init__(self, model: Model) -> None:
        feature = model.score.feature
        assert isinstance(feature, NumericFeature)
        self._edges = feature.edges
        self._points = one_value_bins(self._edges)
        self._histograms = slice(model.hits_start, model.losses_start)
        self._losses = slice(model.losses_start, model.losses_start + 2)

    def performance(self, window: Aggregate) -> ScorePerformance | None:
        """Of an outcomes aggregate; None if no label met a score that is a probability."""
        misses, hits = window.counts[self._histograms].reshape(2, -1)
        n = int(misses.sum() + hits.sum())
        if n == 0:
            return None
        groups, ranking = reliability(misses, hits, self._edges), self.ranking(misses, hits)
        brier, log_loss = (window.counts[self._losses] * LOSS_UNIT / n).tolist()
        return ScorePerformance(
            n=n,
            brier=brier,
            log_loss=log_loss,
            calibration_error=bounded(calibration_error(groups)),
            **{name: bounded(metric) for name, metric in ranking.items()},
            reliability=_reliability(groups),
            intervals=_intervals(misses, hits, ranking),
        )

    def ranking(self, misses: Counts, hits: Counts) -> dict[str, Bounded | None]:
        """How well the score ranks hits above misses, both (n_bins,) counts, by each metric of that."""
        top_lift = lift(misses, hits, 0.1)
        return {
            "roc_auc": roc_auc(misses, hits, points=self._points),
            "average_precision": average_precision(misses, hits, points=self._points),
            "recall_at_fpr_1": recall_at_fpr(misses, hits, 0.01),
            "precision_at_fpr_1": precision_at_fpr(misses, hits, 0.01),
            "recall_at_fpr_5": recall_at_fpr(misses, hits, 0.05),
            "precision_at_fpr_5": precision_at_fpr(misses, hits, 0.05),
            "top_decile_lift": top_lift,
            "top_decile_capture": top_lift and _captured(top_lift),
        }


def scalars(found: ScorePerformance) -> dict[str, float | None]:
    """Each metric as one number, by name."""
    metrics = {name: getattr(found, name) for name in SCORE_METRICS}
    return {name: metric.value if isinstance(metric, BoundedMetric) else metric for name, metric in metrics.items()}


def _intervals(misses: Counts, hits: Counts, ranking: Mapping[str, Bounded | None]) -> dict[str, tuple[float, float]]:
    """Of 95 %: Wilson's of what is a share of rows, or as good as one, where the threshold that it is at is taken as given."""
    area = roc_auc_interval(misses, hits)
    if area is None:
        return {}
    positives = float(hits.sum())
    of_positives = {name: metric.value for name in ("average_precision", "top_decile_capture") if (metric := ranking[name])}
    shares = {name: (value * positives, positives) for name, value in of_positives.items()}
    for percent in (1, 5):
        right, wrong, _ = operating_point(misses, hits, percent / 100)
        shares |= {f"recall_at_fpr_{percent}": (right, positives), f"precision_at_fpr_{percent}": (right, right + wrong)}
    shares = {name: share for name, share in shares.items() if share[1]}
    ends = wilson(*np.array(list(shares.values())).T).T.tolist()
    found = {"roc_auc": area} | {name: (low, high) for name, (low, high) in zip(shares, ends, strict=True)}
    low, high = found["top_decile_capture"]
    return found | {"top_decile_lift": (10 * low, 10 * high)}


def _captured(top_lift: Bounded) -> Bounded:
    """The share of all positives that the tenth of the rows has with this lift."""
    return Bounded(*(min(0.1 * lifted, 1.0) for lifted in (top_lift.value, top_lift.lower, top_lift.upper)))


def _reliability(groups: Sequence[Group]) -> tuple[ReliabilityBin, ...]:
    n = np.array([group.n for group in groups])
    ends = wilson(n * [group.observed for group in groups], n).T.tolist()
    return tuple(
        ReliabilityBin(
            scores=(group.low, group.high),
            n=group.n,
            mean_score=BoundedMetric(value=group.mean_score, bounds=(group.least, group.most)),
            observed=group.observed,
            interval=(low, high),
        )
        for group, (low, high) in zip(groups, ends, strict=True)
    )
