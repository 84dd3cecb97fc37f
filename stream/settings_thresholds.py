"""Thresholds of the configuration: what each level of the tree says about drift and performance, and what that comes to.

A level (the built-in one, all models, one model, one feature) gives what it wants to change and inherits the rest. To name a method is to
choose it, whatever its thresholds; the built-in level chooses some. The judging itself is in `detectors/judge.py`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import ValidationInfo, field_validator

from detectors.judge import Thresholds
from stream.settings_values import KeyPath, Section, Text, broken, limit, whole

Direction = Literal["above", "below"]
Bound = float | Literal["off"] | None  # None: inherited; "off": no such threshold
T = TypeVar("T")


def _conflict(warning: Bound, critical: Bound, direction: Direction) -> str:
    """The rule that `critical` breaks by being less extreme than `warning`, or an empty string."""
    if not isinstance(warning, float) or not isinstance(critical, float):
        return ""
    if direction == "above":
        return f"at least the warning threshold {warning:g}" if critical < warning else ""
    return f"at most the warning threshold {warning:g}" if critical > warning else ""


class Limits(Section):
    """Two thresholds as one level gives them."""

    direction: ClassVar[Direction]
    warning: Bound = None
    critical: Bound = None

    @field_validator("critical")
    @classmethod
    def _at_least_as_extreme(cls, critical: Bound, info: ValidationInfo) -> Bound:
        if rule := _conflict(info.data.get("warning"), critical, cls.direction):
            raise broken(rule)
        return critical


class DriftLimits(Limits):
    direction: ClassVar[Direction] = "above"
    warning: Annotated[Bound, limit(1_000)] = None
    critical: Annotated[Bound, limit(1_000)] = None


class DistanceLimits(DriftLimits):
    """Thresholds of a score that is never above 1."""

    warning: Annotated[Bound, limit(1)] = None
    critical: Annotated[Bound, limit(1)] = None


class PerformanceLimits(Limits):
    direction: ClassVar[Direction] = "below"
    warning: Annotated[Bound, limit(1)] = None
    critical: Annotated[Bound, limit(1)] = None


class DriftSection(Section):
    """A method is scored where a level names it; a feature of a kind that it does not apply to is skipped (`stream.drift`)."""

    minimum_sample: Annotated[int, whole(1, 10**9)] | None = None
    psi: DriftLimits = DriftLimits()
    js_distance: DriftLimits = DriftLimits()
    js_divergence: DriftLimits = DriftLimits()
    ks: DistanceLimits = DistanceLimits()
    chi2: DistanceLimits = DistanceLimits()
    wasserstein: DriftLimits = DriftLimits()
    hellinger: DistanceLimits = DistanceLimits()
    total_variation: DistanceLimits = DistanceLimits()
    kl: DriftLimits = DriftLimits()
    mean_std_drift: DriftLimits = DriftLimits()


class ModelDriftSection(DriftSection):
    features: Mapping[Text, DriftSection] = {}


class PerformanceSection(Section):
    minimum_sample: Annotated[int, whole(1, 10**9)] | None = None
    accuracy: PerformanceLimits = PerformanceLimits()
    precision: PerformanceLimits = PerformanceLimits()
    recall: PerformanceLimits = PerformanceLimits()
    f1: PerformanceLimits = PerformanceLimits()


BUILT_IN_DRIFT = DriftSection(
    minimum_sample=200, psi=DriftLimits(warning=0.1, critical=0.2), js_distance=DriftLimits(), js_divergence=DriftLimits()
)
BUILT_IN_PERFORMANCE = PerformanceSection(
    minimum_sample=100,
    accuracy=PerformanceLimits(),
    precision=PerformanceLimits(),
    recall=PerformanceLimits(),
    f1=PerformanceLimits(),
)


@dataclass(frozen=True, slots=True)
class Rules:
    """How the scores of one feature, or of a model's performance, are judged; `thresholds` has every method or metric that is scored."""

    minimum_sample: int
    thresholds: Mapping[str, Thresholds]


class ScoredSection(Section):
    """What every level of thresholds has; those of data quality are in `settings_quality`."""

    minimum_sample: Annotated[int, whole(1, 10**9)] | None = None


Levels = Sequence[DriftSection] | Sequence[PerformanceSection] | Sequence[ScoredSection]


def _last(values: Iterable[T | None]) -> T | None:
    return next((value for value in reversed(list(values)) if value is not None), None)


def _limits(level: Section) -> dict[str, Limits]:
    return {name: value for name, value in level if isinstance(value, Limits)}


def _effective(levels: Levels, score: str) -> tuple[Bound, Bound]:
    """Warning and critical threshold of `score`, each from the most specific level that gives one."""
    limits = [limits[score] for limits in map(_limits, levels) if score in limits]  # a feature has not all that its model has
    return _last(each.warning for each in limits), _last(each.critical for each in limits)


def resolve(levels: Levels) -> Rules:
    """What `levels`, the most general first, come to."""
    minimum_sample = _last(level.minimum_sample for level in levels)
    assert minimum_sample is not None  # the built-in level has one
    thresholds = {}
    for score, limits in _limits(levels[0]).items():
        if not any(score in level.model_fields_set for level in levels):
            continue
        warning, critical = (None if bound == "off" else bound for bound in _effective(levels, score))
        thresholds[score] = Thresholds(warning, critical, limits.direction)
    return Rules(minimum_sample, thresholds)


def contradictions(levels: Levels) -> Iterator[tuple[KeyPath, str]]:
    """Key path below the last level, and rule, of each threshold there that the others make less extreme than a warning."""
    for score, limits in _limits(levels[-1]).items():
        warning, critical = _effective(levels, score)
        if limits.critical is not None and (rule := _conflict(warning, critical, limits.direction)):
            yield (score, "critical"), rule + ", which it inherits"
        elif limits.warning is not None and _conflict(warning, critical, limits.direction):
            side = "at most" if limits.direction == "above" else "at least"
            yield (score, "warning"), f"{side} the critical threshold {critical:g}, which it inherits"
