"""How well a regression predicts in a window, from the moments and the bins of its errors. Pure."""

import math
from copy import copy
from typing import Final

import numpy as np
from msgspec import UNSET, UnsetType

from detectors.intervals import Measured
from detectors.judge import judge
from detectors.means import Mean
from detectors.quantiles import quantile
from detectors.regression import ErrorSums, Regression, absolute_quantile
from stream.aggregates import M2, MAXIMUM, MEAN, MINIMUM, Aggregate, N
from stream.alerts import Evidence
from stream.model import LABELS, PREDICTIONS, UNUSABLE, Model
from stream.reference import NumericFeature
from stream.regression import standing
from stream.results_performance import RegressionPerformance
from stream.results_values import BoundedMetric
from stream.settings_thresholds import Rules
from stream.status import SURE, Degrading
from stream.traffic import label_delay
from stream.verdicts import Attribution, Judged, bounded, reported

_WITH_INTERVAL: Final = ("mae", "rmse", "bias", "mape", "smape")
_ERROR, _SIZE = 1, 2  # rows of `detectors.regression.error_rows`


class RegressionMeter:
    """Measures and judges the windows of one regression."""

    def __init__(self, model: Model) -> None:
        assert model.numbers is not None
        assert isinstance(model.numbers.error.feature, NumericFeature)
        slot, self._rules = model.numbers.error, model.settings.performance
        self._model = model
        self._edges, self._errors = model.numbers.error.feature.edges, slice(slot.start, slot.start + slot.bins)
        self._degrading = Degrading(model)
        self._baseline: dict[str, Measured] = {}
        self._period: str | UnsetType = UNSET

    def against(self, period: Aggregate, name: str) -> "RegressionMeter":
        """The same with the outcomes of a period, `name`, as the baseline; fewer labels than the minimum sample are none."""
        other = copy(self)
        enough = period.counts[LABELS] >= self._rules.minimum_sample
        other._baseline, other._period = _means(_errors_of(period, SURE)) if enough else {}, name
        return other

    def performance(self, window: Aggregate, by: Attribution) -> tuple[RegressionPerformance, list[Judged]]:
        """Of an outcomes aggregate: all metrics, with their verdicts, and what was judged."""
        counts = window.counts
        n, predictions = int(counts[LABELS]), int(counts[PREDICTIONS])
        enough = by.judgeable(n, predictions)
        found, quantiles = _errors_of(window), self._quantiles(window)
        measured, values = _means(found), _values(found)
        judged = _judged(values | _scalars(quantiles), enough, self._rules)
        verdicts = {one.metric: reported(one.value, one.verdict) for one in judged}
        sure = _means(_errors_of(window, SURE)) if self._degrading.rules else {}
        status, broken, rises = self._degrading.of(measured, sure, self._baseline)
        if not enough:
            status, broken, rises = "insufficient_data" if status is not UNSET else UNSET, (), []
        judged += [Judged("performance", name, UNSET, rise, verdict, Evidence(n=n), of) for name, rise, verdict, of in rises]
        performance = RegressionPerformance(
            by=by.by,
            maturity=by.maturity,
            label_delay=label_delay(self._model, counts),
            coverage=n / predictions if predictions else None,
            unusable=int(counts[UNUSABLE]),
            zeros=found.zeros if found else 0,
            mae=values["mae"],
            rmse=values["rmse"],
            bias=values["bias"],
            mape=values["mape"],
            smape=values["smape"],
            wape=values["wape"],
            r2=values["r2"],
            error_p05=quantiles["error_p05"],
            error_p50=quantiles["error_p50"],
            error_p95=quantiles["error_p95"],
            absolute_error_p50=quantiles["absolute_error_p50"],
            absolute_error_p95=quantiles["absolute_error_p95"],
            intervals=_intervals(measured),
            verdicts=verdicts,
            baseline=self._period,
            status=status,
            broken=broken,
        )
        return performance, judged

    def measure(self, metric: str, window: Aggregate) -> float | None:
        """One metric of an outcomes aggregate."""
        values = _values(_errors_of(window))
        return values[metric] if metric in values else _scalars(self._quantiles(window))[metric]

    def _quantiles(self, window: Aggregate) -> dict[str, BoundedMetric | None]:
        counts, moments = window.counts[self._errors], standing(window.moments)
        if not moments[_ERROR, N]:
            counts = np.zeros_like(counts)  # more was taken back than is there to be counted: what is left has no extremes
        (least, greatest), largest = moments[_ERROR, [MINIMUM, MAXIMUM]].tolist(), float(moments[_SIZE, MAXIMUM])
        signed = {f"error_p{q:02}": quantile(counts, self._edges, q / 100, least, greatest) for q in (5, 50, 95)}
        sizes = {f"absolute_error_p{q}": absolute_quantile(counts, self._edges, q / 100, largest) for q in (50, 95)}
        return {name: bounded(found) for name, found in (signed | sizes).items()}


def _errors_of(window: Aggregate, confidence: float = 0.95) -> Regression | None:
    return ErrorSums(*(Mean(int(row[N]), float(row[MEAN]), float(row[M2])) for row in standing(window.moments))).metrics(confidence)


def _means(found: Regression | None) -> dict[str, Measured]:
    """The metrics that have an interval, those that are defined."""
    means = {name: getattr(found, name, None) for name in _WITH_INTERVAL}
    return {name: one for name, one in means.items() if one is not None}


def _values(found: Regression | None) -> dict[str, float | None]:
    """Each metric as one number, by name."""
    values = dict.fromkeys(_WITH_INTERVAL) | {name: one.value for name, one in _means(found).items()}
    if found is None:
        return values | dict.fromkeys(("absolute_bias", "wape", "r2"))
    return values | {"absolute_bias": abs(found.bias.value), "wape": found.wape, "r2": found.r2}


def _scalars(quantiles: dict[str, BoundedMetric | None]) -> dict[str, float | None]:
    return {name: None if one is None else one.value for name, one in quantiles.items()}


def _judged(values: dict[str, float | None], n: int, rules: Rules) -> list[Judged]:
    verdicts = {name: judge(values[name], n, limits, rules.minimum_sample) for name, limits in rules.thresholds.items()}
    return [
        Judged("performance", name, UNSET, values[name], verdict, Evidence(n=n), below=rules.thresholds[name].direction == "below")
        for name, verdict in verdicts.items()
    ]


def _intervals(measured: dict[str, Measured]) -> dict[str, tuple[float, float]]:
    """Of one row there is none."""
    return {name: (one.lower, one.upper) for name, one in measured.items() if math.isfinite(one.upper)}
