"""Performance before labels come: the scores of a window by predicted class, and what the reference's labels say of each. Pure.

The estimate itself is in `detectors/estimated`. A model whose reference has no calibration has none; one that has, in all of its segments.
"""

from collections.abc import Mapping

from msgspec import UNSET, UnsetType

from detectors.estimated import calibration, estimated
from detectors.intervals import Measured
from detectors.judge import judge
from stream.aggregates import Counts
from stream.alerts import Evidence
from stream.model import Model
from stream.results_performance import Estimate, EstimatedPerformance
from stream.results_values import Score
from stream.verdicts import Judged, reported


class Estimates:
    """Estimates the windows of one model. `baseline`: the metrics of the reference's own confusion matrix."""

    def __init__(self, model: Model, baseline: Mapping[str, float]) -> None:
        self._rules, self._baseline = model.settings.estimated, baseline
        self._known = None if model.calibration is None else calibration(*model.calibration)
        self._scores = slice(model.score.start, model.score.missing)
        self._raised = slice(model.raised_start, model.latency_start)
        self._expected = slice(model.expected_start, model.expected_start + 2 * model.score.bins)

    def of(self, counts: Counts) -> tuple[EstimatedPerformance | UnsetType, list[Judged]]:
        """Of the counts of a traffic aggregate, not modified; nothing without a calibration. All other classes count as not positive."""
        if self._known is None:
            return UNSET, []
        positive = counts[self._raised]
        found = estimated(self._known, counts[self._scores] - positive, positive)
        n = int(counts[self._scores].sum())
        judged = []
        for name, thresholds in self._rules.thresholds.items():
            metric = found[name]
            value, interval = (None, UNSET) if metric is None else (metric.value, (metric.lower, metric.upper))
            verdict = judge(value, n, thresholds, self._rules.minimum_sample)
            evidence = Evidence(n=n, interval=interval)
            judged.append(
                Judged("estimated_performance", name, UNSET, value, verdict, evidence, self._baseline.get(name, UNSET), below=True)
            )
        verdicts = {each.metric: reported(each.value, each.verdict) for each in judged}
        return _told(n, found, verdicts), judged

    def of_cohort(self, counts: Counts) -> EstimatedPerformance | UnsetType:
        """The same of a cohort's aggregate, of all its predictions, labelled or not: to stand beside what was realised, and judged by
        nobody."""
        if self._known is None:
            return UNSET
        rows = counts[self._expected].reshape(2, -1)
        return _told(int(rows.sum()), estimated(self._known, *rows), {})


def _told(n: int, found: Mapping[str, Measured | None], verdicts: dict[str, Score]) -> EstimatedPerformance:
    told = {name: None if m is None else Estimate(value=m.value, lower=m.lower, upper=m.upper) for name, m in found.items()}
    return EstimatedPerformance(n=n, verdicts=verdicts, **told)
