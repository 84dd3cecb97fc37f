"""How much worse than the baseline a metric may become, and what the baseline is: what each level of the tree says about it.

Only of metrics whose difference has an interval for chance: of a classification shares of rows and F1 (all but accuracy with a positive
class), of a regression means of errors, which only a period of its own has: a reference knows of no errors.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, ClassVar, Final, Literal

from detectors.judge import Thresholds
from stream.settings_thresholds import Against, Bound, Direction, Limits, contradictions, thresholds_of
from stream.settings_values import KeyPath, Section, duration_or, limit

METRICS: Final = {
    "classification": ("accuracy", "precision", "recall", "f1", "specificity"),
    "regression": ("mae", "rmse", "mape", "smape"),
}


class DropLimits(Limits):
    direction: ClassVar[Direction] = "above"
    warning: Annotated[Bound, limit(1)] = None
    critical: Annotated[Bound, limit(1)] = None


class MetricDegradation(Section):
    """`drop`: baseline less current. `relative`: that as a share of the baseline."""

    drop: DropLimits = DropLimits()
    relative: DropLimits = DropLimits()


class RiseLimits(Limits):
    direction: ClassVar[Direction] = "above"
    warning: Annotated[Bound, limit(1_000)] = None
    critical: Annotated[Bound, limit(1_000)] = None


class ErrorDegradation(Section):
    """`relative`: current less baseline, as a share of the baseline."""

    relative: RiseLimits = RiseLimits()


class DegradationSection(Section):
    accuracy: MetricDegradation = MetricDegradation()
    precision: MetricDegradation = MetricDegradation()
    recall: MetricDegradation = MetricDegradation()
    f1: MetricDegradation = MetricDegradation()
    specificity: MetricDegradation = MetricDegradation()
    mae: ErrorDegradation = ErrorDegradation()
    rmse: ErrorDegradation = ErrorDegradation()
    mape: ErrorDegradation = ErrorDegradation()
    smape: ErrorDegradation = ErrorDegradation()
    against: Annotated[int | Literal["reference"] | None, duration_or("reference", low="1ms")] = None

    def of_metrics(self, task: str) -> dict[str, MetricDegradation | ErrorDegradation]:
        return {metric: getattr(self, metric) for metric in METRICS[task]}


def degraded_from(levels: Sequence[DegradationSection]) -> Against:
    """What the baseline is, by the most specific level that says so: the reference, or so much of the model's own time in ms."""
    return next((level.against for level in reversed(levels) if level.against is not None), "reference")


def resolve_degradation(levels: Sequence[DegradationSection], task: str) -> Mapping[str, Mapping[str, Thresholds]]:
    """The thresholds of `drop` and `relative` of each metric, where a level names them; the most general level comes first."""
    return {metric: thresholds_of([level.of_metrics(task)[metric] for level in levels]) for metric in METRICS[task]}


def degradation_contradictions(levels: Sequence[DegradationSection]) -> Iterator[tuple[KeyPath, str]]:
    """Key path below the last level, and rule, of what the others contradict there."""
    for task, metrics in METRICS.items():
        for metric in metrics:
            for path, rule in contradictions([level.of_metrics(task)[metric] for level in levels]):
                yield (metric, *path), rule
