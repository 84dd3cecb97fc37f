"""One judged score, as it is reported and as an alert would say it. No score is computed here."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

from msgspec import UNSET, UnsetType

from detectors.intervals import Bounded
from detectors.judge import Verdict
from stream.alerts import Evidence
from stream.results import AlertKind
from stream.results_values import BoundedMetric, Score


class Judged(NamedTuple):
    """One score against its thresholds: what an alert would say. `below`: it is bad when it is low."""

    kind: AlertKind
    metric: str
    feature: str | UnsetType
    value: float | None
    verdict: Verdict
    evidence: Evidence
    baseline: float | UnsetType = UNSET
    below: bool = False


def reported(value: float | None, verdict: Verdict, beside: Mapping[str, Any] = MappingProxyType({})) -> Score:
    """The score as it is reported: none below the minimum sample."""
    score = None if verdict.severity == "insufficient_data" else value
    return Score(score=score, threshold=verdict.threshold, severity=verdict.severity, **beside)


class Attribution(NamedTuple):
    """Which time outcomes are attributed by, what share of predictions must have labels for them to be judged, and their maturity."""

    by: Literal["label_time", "prediction_time"]
    minimum_coverage: float = 0.0
    maturity: float | UnsetType = UNSET

    def judgeable(self, labels: int, predictions: int) -> int:
        """How many labels there are to judge by: none, if too few of the predictions have them."""
        return labels if labels >= self.minimum_coverage * predictions else 0


LABEL_TIME: Final = Attribution("label_time")


def bounded(metric: Bounded | None) -> BoundedMetric | None:
    """A metric from bins as results say it."""
    return None if metric is None else BoundedMetric(value=metric.value, bounds=(metric.lower, metric.upper))
