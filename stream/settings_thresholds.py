"""Thresholds of the configuration: what each level of the tree says about drift and performance, and what that comes to.

A level (the built-in one, all models, one model, one feature) gives what it wants to change and inherits the rest. To name a method is to
choose it, whatever its thresholds; the built-in level chooses some. The judging itself is in `detectors/judge.py`.

A warning threshold may be `auto`: what is not chance, by the p-value, and not less than `floor`. The level of the test follows from the
false alarms a day that a model may raise, and from how often its windows close.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, Literal, TypeVar, get_args

from pydantic import ValidationInfo, field_validator

from detectors.judge import Thresholds
from stream.settings_values import KeyPath, Section, Switch, Text, broken, duration_or, limit, limit_or_auto, number, refuse, whole
from stream.windows import WindowSpec

Direction = Literal["above", "below"]
Against = int | Literal["reference", "previous_window"]  # int: ms of a period that rolls along
Bound = float | Literal["off", "auto"] | None  # None: inherited; "off": no such threshold
FeatureKind = Literal["numeric", "categorical"]
KINDS: Final[tuple[FeatureKind, ...]] = get_args(FeatureKind)
OF_KIND: Final[Mapping[FeatureKind, tuple[str, ...]]] = {"numeric": ("ks", "wasserstein", "mean_std_drift"), "categorical": ("chi2",)}
T = TypeVar("T")
Drift = TypeVar("Drift", bound="DriftSection")

# Of methods with a p-value, the effect below which `auto` keeps still: the small effect of J. Cohen (Statistical Power Analysis for the
# Behavioral Sciences, 1988), a mean of a normal feature that moves by two tenths of a standard deviation. chi2: V at equal sample sizes.
FLOORS: Final[Mapping[str, float]] = {"psi": 0.04, "ks": 0.08, "chi2": 0.1}
ALPHA_MAX: Final = 0.05  # of one close, however seldom windows close: one false alarm a day with one close a day would be every close
_DAY_MS: Final = 86_400_000


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

    @field_validator("warning", "critical", mode="before")
    @classmethod
    def _auto_is_for_tests(cls, bound: object, info: ValidationInfo) -> object:
        if bound == "auto" and not (info.field_name == "warning" and "floor" in cls.model_fields):
            raise broken(f"a number or off; auto is for the warning of a method with a p-value, {', '.join(FLOORS)}")
        return bound


class DistanceLimits(DriftLimits):
    """Thresholds of a score that is never above 1."""

    warning: Annotated[Bound, limit(1)] = None
    critical: Annotated[Bound, limit(1)] = None


class TestedLimits(DriftLimits):
    """Thresholds of a score with a p-value."""

    __test__ = False  # pytest: not a test
    warning: Annotated[Bound, limit_or_auto(1_000)] = None
    floor: Annotated[float | None, number(1_000)] = None


class TestedDistanceLimits(TestedLimits):
    warning: Annotated[Bound, limit_or_auto(1)] = None
    critical: Annotated[Bound, limit(1)] = None
    floor: Annotated[float | None, number(1)] = None


class PerformanceLimits(Limits):
    direction: ClassVar[Direction] = "below"
    warning: Annotated[Bound, limit(1)] = None
    critical: Annotated[Bound, limit(1)] = None


class LiftLimits(Limits):
    """Thresholds of a ratio that is bad when low, and may be above 1."""

    direction: ClassVar[Direction] = "below"
    warning: Annotated[Bound, limit(1_000)] = None
    critical: Annotated[Bound, limit(1_000)] = None


class ErrorLimits(Limits):
    """Thresholds of the size of errors, in units of the label or as a share of it."""

    direction: ClassVar[Direction] = "above"
    warning: Annotated[Bound, limit(1e70)] = None
    critical: Annotated[Bound, limit(1e70)] = None


class DriftSection(Section):
    """A method is scored where a level names it; a feature of a kind that it does not apply to is skipped (`stream.drift`)."""

    minimum_sample: Annotated[int, whole(1, 10**9)] | None = None
    psi: TestedLimits = TestedLimits()
    js_distance: DriftLimits = DriftLimits()
    js_divergence: DriftLimits = DriftLimits()
    ks: TestedDistanceLimits = TestedDistanceLimits()
    chi2: TestedDistanceLimits = TestedDistanceLimits()
    wasserstein: DriftLimits = DriftLimits()
    hellinger: DistanceLimits = DistanceLimits()
    total_variation: DistanceLimits = DistanceLimits()
    kl: DriftLimits = DriftLimits()
    mean_std_drift: DriftLimits = DriftLimits()


class RatedDriftSection(DriftSection):
    """Drift of a whole model: its features share the false alarms that `auto` may raise. What features of one kind have of their own stands
    below the kind."""

    numeric: DriftSection = DriftSection()
    categorical: DriftSection = DriftSection()
    false_alarms_per_day: Annotated[float, number(1_000)] | None = None
    against: Annotated[Against | None, duration_or("reference", "previous_window", low="1ms")] = None

    @field_validator("numeric", "categorical")
    @classmethod
    def _methods_are_of_the_kind(cls, section: DriftSection, info: ValidationInfo) -> DriftSection:
        others = (name for kind, names in OF_KIND.items() if kind != info.field_name for name in names)
        refuse(((name,), f"none: it does not score {info.field_name} features") for name in others if name in section.model_fields_set)
        return section


class ModelDriftSection(RatedDriftSection):
    features: Mapping[Text, DriftSection] = {}


class PerformanceSection(Section):
    """`estimated`: whether the metrics that can be estimated before labels come are judged so, too, by the same thresholds."""

    minimum_sample: Annotated[int, whole(1, 10**9)] | None = None
    estimated: Switch | None = None
    accuracy: PerformanceLimits = PerformanceLimits()
    precision: PerformanceLimits = PerformanceLimits()
    recall: PerformanceLimits = PerformanceLimits()
    f1: PerformanceLimits = PerformanceLimits()
    specificity: PerformanceLimits = PerformanceLimits()
    mcc: PerformanceLimits = PerformanceLimits()
    lift: LiftLimits = LiftLimits()
    precision_macro: PerformanceLimits = PerformanceLimits()
    precision_weighted: PerformanceLimits = PerformanceLimits()
    recall_macro: PerformanceLimits = PerformanceLimits()
    recall_weighted: PerformanceLimits = PerformanceLimits()
    f1_macro: PerformanceLimits = PerformanceLimits()
    f1_weighted: PerformanceLimits = PerformanceLimits()
    roc_auc_macro: PerformanceLimits = PerformanceLimits()
    roc_auc_weighted: PerformanceLimits = PerformanceLimits()
    roc_auc_micro: PerformanceLimits = PerformanceLimits()
    average_precision_macro: PerformanceLimits = PerformanceLimits()
    average_precision_weighted: PerformanceLimits = PerformanceLimits()
    average_precision_micro: PerformanceLimits = PerformanceLimits()
    multiclass_log_loss: DriftLimits = DriftLimits()
    brier: DistanceLimits = DistanceLimits()
    log_loss: DriftLimits = DriftLimits()
    calibration_error: DistanceLimits = DistanceLimits()
    roc_auc: PerformanceLimits = PerformanceLimits()
    average_precision: PerformanceLimits = PerformanceLimits()
    recall_at_fpr_1: PerformanceLimits = PerformanceLimits()
    precision_at_fpr_1: PerformanceLimits = PerformanceLimits()
    recall_at_fpr_5: PerformanceLimits = PerformanceLimits()
    precision_at_fpr_5: PerformanceLimits = PerformanceLimits()
    top_decile_lift: LiftLimits = LiftLimits()
    top_decile_capture: PerformanceLimits = PerformanceLimits()
    mae: ErrorLimits = ErrorLimits()
    rmse: ErrorLimits = ErrorLimits()
    absolute_bias: ErrorLimits = ErrorLimits()
    mape: ErrorLimits = ErrorLimits()
    smape: ErrorLimits = ErrorLimits()
    wape: ErrorLimits = ErrorLimits()
    absolute_error_p50: ErrorLimits = ErrorLimits()
    absolute_error_p95: ErrorLimits = ErrorLimits()
    r2: PerformanceLimits = PerformanceLimits()


BUILT_IN_DRIFT = RatedDriftSection(
    minimum_sample=200,
    false_alarms_per_day=1.0,
    against="reference",
    psi=TestedLimits(warning=0.1, critical=0.2),
    js_distance=DriftLimits(),
    js_divergence=DriftLimits(),
)
BUILT_IN_PERFORMANCE = PerformanceSection(
    minimum_sample=100,
    accuracy=PerformanceLimits(),
    precision=PerformanceLimits(),
    recall=PerformanceLimits(),
    f1=PerformanceLimits(),
    mae=ErrorLimits(),
    rmse=ErrorLimits(),
    r2=PerformanceLimits(),
)
ESTIMATED: Final = ("accuracy", "precision", "recall", "f1", "roc_auc")
OF_SEVERAL_CLASSES: Final = (
    "roc_auc_macro",
    "roc_auc_weighted",
    "roc_auc_micro",
    "average_precision_macro",
    "average_precision_weighted",
    "average_precision_micro",
    "multiclass_log_loss",
)
OF_REGRESSION: Final = ("mae", "rmse", "absolute_bias", "mape", "smape", "wape", "absolute_error_p50", "absolute_error_p95", "r2")


def only_auto(level: Drift, method: str) -> Drift:
    """A level of which `auto` is the only threshold of a method; its floor, if it gives one, stays."""
    limits = getattr(level, method).model_copy(update={"warning": "auto", "critical": "off"})
    return level.model_copy(update={method: limits})


@dataclass(frozen=True, slots=True)
class Rules:
    """How the scores of one feature, or of a model's performance, are judged; `thresholds` has every method or metric that is scored."""

    minimum_sample: int
    thresholds: Mapping[str, Thresholds]


class ScoredSection(Section):
    """What every level of thresholds has; those of data quality are in `settings_quality`."""

    minimum_sample: Annotated[int, whole(1, 10**9)] | None = None


def levels_of(levels: Iterable[DriftSection], kind: FeatureKind) -> list[DriftSection]:
    """The levels for features of this kind: behind each what it says of the kind, if anything."""
    return [of for level in levels for of in (level, *([getattr(level, kind)] if isinstance(level, RatedDriftSection) else []))]


Levels = Sequence[DriftSection] | Sequence[PerformanceSection] | Sequence[ScoredSection]


def _last(values: Iterable[T | None]) -> T | None:
    return next((value for value in reversed(list(values)) if value is not None), None)


def _limits(level: Section) -> dict[str, Limits]:
    return {name: value for name, value in level if isinstance(value, Limits)}


@dataclass(frozen=True, slots=True)
class _Effective:
    """Thresholds of one score, each from the most specific level that gives one; `auto` has become the floor, and `tested`."""

    warning: Bound
    critical: Bound
    tested: bool

    @classmethod
    def of(cls, levels: Sequence[Section], score: str) -> "_Effective":
        limits = [limits[score] for limits in map(_limits, levels) if score in limits]  # a feature has not all that its model has
        warning: Bound = _last(each.warning for each in limits)
        critical: Bound = _last(each.critical for each in limits)
        if warning != "auto":
            return cls(warning, critical, tested=False)
        floor = _last(each.floor for each in limits if isinstance(each, TestedLimits))
        return cls(FLOORS[score] if floor is None else floor, critical, tested=True)


def level_of_test(levels: Sequence[DriftSection], windows: Iterable[WindowSpec], *, labels: bool) -> float:
    """The chance of a false alarm that one close of a model's windows may have, at most `ALPHA_MAX`.

    That many a day over all closes of a day, whatever the features, segments and versions: the p-values of a close are adjusted for these.
    With labels a window closes twice, once for the features and outputs and once for the label.
    """
    per_day = _last(level.false_alarms_per_day for level in levels if isinstance(level, RatedDriftSection))
    assert per_day is not None  # the built-in level has one
    closes = sum(_DAY_MS / window.slide_ms for window in windows) * (2 if labels else 1)
    return min(per_day / closes, ALPHA_MAX)


def compared_with(levels: Sequence[DriftSection]) -> Against:
    """What a model's windows are compared with, by the most specific level that says so."""
    against: Against | None = _last(level.against for level in levels if isinstance(level, RatedDriftSection))
    assert against is not None  # the built-in level has it
    return against


def resolve(levels: Levels, alpha: float | None = None) -> Rules:
    """What `levels`, the most general first, come to; `alpha` is the level of the test where a threshold is auto."""
    minimum_sample = _last(level.minimum_sample for level in levels)
    assert minimum_sample is not None  # the built-in level has one
    return Rules(minimum_sample, thresholds_of(levels, alpha))


def is_metric_of(task: str, metric: str) -> bool:
    """Whether a model of this task has the metric."""
    return (metric in OF_REGRESSION) == (task == "regression")


def performance_rules(levels: Sequence[PerformanceSection], task: str) -> Rules:
    """What the built-in level and these come to, of the metrics of the task."""
    rules = resolve([BUILT_IN_PERFORMANCE, *levels])
    return Rules(rules.minimum_sample, {name: limits for name, limits in rules.thresholds.items() if is_metric_of(task, name)})


def estimated_rules(levels: Sequence[PerformanceSection], rules: Rules) -> Rules:
    """The `rules` of performance of what is estimated before labels come, if that is on."""
    on = _last(level.estimated for level in levels)
    return Rules(rules.minimum_sample, {name: limits for name, limits in rules.thresholds.items() if on and name in ESTIMATED})


def thresholds_of(levels: Sequence[Section], alpha: float | None = None) -> dict[str, Thresholds]:
    """Those of each score that a level names; for `alpha` see `resolve`."""
    thresholds = {}
    for score, limits in _limits(levels[0]).items():
        if not any(score in level.model_fields_set for level in levels):
            continue
        found = _Effective.of(levels, score)
        warning, critical = (bound if isinstance(bound, float) else None for bound in (found.warning, found.critical))
        thresholds[score] = Thresholds(warning, critical, limits.direction, alpha if found.tested else None)
    return thresholds


def drift_contradictions(inherited: Sequence[DriftSection], section: RatedDriftSection) -> Iterator[tuple[KeyPath, str]]:
    """`contradictions` of what a section says of all features, of those of a kind, and of single ones, of which no kind is known here.

    Each is looked at below all that is inherited, of either kind.
    """
    found = dict(contradictions([*inherited, section]))
    features = section.features if isinstance(section, ModelDriftSection) else {}
    for kind in KINDS:
        levels = [*levels_of(inherited, kind), section]
        found = dict(contradictions(levels)) | found
        levels.append(getattr(section, kind))
        found |= {(kind, *path): rule for path, rule in contradictions(levels)}
        found |= {("features", name, *path): rule for name, own in features.items() for path, rule in contradictions([*levels, own])}
    yield from found.items()


def contradictions(levels: Sequence[Section]) -> Iterator[tuple[KeyPath, str]]:
    """Key path below the last level, and rule, of each threshold there that the others make less extreme than a warning."""
    for score, limits in _limits(levels[-1]).items():
        found = _Effective.of(levels, score)
        warning, critical = found.warning, found.critical
        rule = _conflict(warning, critical, limits.direction)
        if found.tested and rule:
            yield from _floor_contradicts(score, limits, f"the floor {warning:g}", f"the critical threshold {critical:g}")
        elif limits.critical is not None and rule:
            yield (score, "critical"), rule + ", which it inherits"
        elif limits.warning is not None and rule:
            side = "at most" if limits.direction == "above" else "at least"
            yield (score, "warning"), f"{side} the critical threshold {critical:g}, which it inherits"


def _floor_contradicts(score: str, limits: Limits, floor: str, critical: str) -> Iterator[tuple[KeyPath, str]]:
    """The one of the three keys that this level gives, if any, and its rule, where `auto` has a floor above the critical threshold."""
    if isinstance(limits, TestedLimits) and limits.floor is not None:
        yield (score, "floor"), f"at most {critical}"
    elif limits.critical is not None:
        yield (score, "critical"), f"at least {floor}"
    elif limits.warning is not None:
        yield (score, "warning"), f"no auto here, or another floor: {floor} is above {critical}"
