"""What other thresholds would have alerted: the scores of a replay, judged again by each of them.

Pure. The scores are those of the results, None below the minimum sample, and go through `judge` and `transition` in the order in which
the windows fired, as live ones do. Nothing is counted or scored again. Times are event time: an alert has the end of its window.

`auto` is judged by p-values that are adjusted for all that is tested at a close, which results without it do not have: its verdicts are
those of a second replay, whose settings `with_auto` gives.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import accumulate, zip_longest
from types import MappingProxyType
from typing import Final, Literal, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from detectors.judge import AlertState, Severity, Thresholds, Transition, Verdict, judge, transition
from stream.drift import applies, kind_of
from stream.model import Model, with_variants
from stream.quality import OF_TRAFFIC, Quality
from stream.results import AlertKind, FeatureDrift, Result, TrafficMetrics, timestamp
from stream.results_performance import Business, EstimatedPerformance, Performance, RegressionPerformance
from stream.results_values import Score
from stream.settings import Settings
from stream.settings_thresholds import BUILT_IN_DRIFT, FLOORS, KINDS, Drift, DriftSection, RatedDriftSection, only_auto

THRESHOLDS_MAX: Final = 50  # of one metric: each is a line in every chart
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FORM: Final = "METRIC=NUMBER[,NUMBER...], such as psi=0.1,0.2"
Threshold = float | Literal["auto"]
_Judged = Performance | RegressionPerformance | EstimatedPerformance | Business | TrafficMetrics


@dataclass(frozen=True, slots=True)
class Series:
    """What one rule looks at, window after window, named as in an alert. `segment`: None for all traffic, `feature`: if it is of none."""

    model: str
    version: str
    segment: str | None
    kind: AlertKind
    feature: str | None
    metric: str
    window: str
    by: Literal["prediction_time"] | None = None

    @property
    def subject(self) -> str:
        """The feature, or the output in brackets, so that no feature has its name, as has "(estimated)"; empty where it is of none."""
        if self.kind == "estimated_performance":
            return "(estimated)"
        of_inputs = self.kind in ("data_drift", "data_quality")
        return self.feature or "" if of_inputs or self.feature is None else f"({self.feature})"


@dataclass(frozen=True, slots=True)
class Point:
    """The score of the window that ends at `end_ms`; None where there was insufficient data. `severity`: the verdict of the replay.

    `spoken`: alerts are about it; they are not where by prediction time a newer window has labels enough.
    """

    end_ms: int
    score: float | None
    severity: Severity | None = None
    spoken: bool = True


@dataclass(frozen=True, slots=True)
class Change:
    """An alert that begins or ends with this score."""

    status: Transition
    end_ms: int
    score: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one threshold does to one series.

    `windows` are those that fired, revisions included, `insufficient` those of them that were not judged. `alarm_ms` is the event time
    between the ends of the windows that began and ended the alerts; one that is `firing` at the end counts up to the last window.
    """

    series: Series
    threshold: Threshold
    windows: int
    insufficient: int
    changes: tuple[Change, ...]
    alarm_ms: int
    firing: bool

    @property
    def fired(self) -> tuple[Change, ...]:
        """The alerts, as they began."""
        return tuple(change for change in self.changes if change.status == "firing")


@dataclass(frozen=True, slots=True)
class History:
    """The scores of the metrics that are asked for, by series and in the order of firing.

    `models`: those whose data quality is asked for. Its ratios are taken as far as they are above what is usual, as their thresholds are.
    """

    metrics: Collection[str]
    series: dict[Series, list[Point]] = field(default_factory=dict)
    models: Mapping[str, Model] = field(default_factory=dict)
    _quality: dict[tuple[str, str | None], Quality] = field(default_factory=dict)

    def add(self, result: Result, *, spoken: bool = True) -> None:
        """Take the scores of a result; those of other metrics are left. `spoken`: alerts are about it."""
        end_ms = (datetime.fromisoformat(result.window.end) - _EPOCH) // timedelta(milliseconds=1)
        found = [(kind, feature, metric, score.score, score.severity) for kind, feature, metric, score in _scores(result)]
        for kind, feature, metric, value, severity in (*found, *self._of_quality(result)):
            if metric in self.metrics:
                series = Series(result.model, result.version, result.segment, kind, feature, metric, result.window.name, _by(result))
                self.series.setdefault(series, []).append(Point(end_ms, value, severity, spoken))

    def _of_quality(self, result: Result) -> Iterator[tuple[AlertKind, str | None, str, float | None, None]]:
        """What is judged of data quality, and of the model as a whole. A segment's own features are not: see `Scorer.within`."""
        if result.model not in self.models or result.summary is UNSET or result.quality is UNSET or result.drift is UNSET:
            return
        model, counts = self.models[result.model].of(result.version), result.counts
        if (key := (result.model, model.version)) not in self._quality:
            self._quality[key] = Quality(model)
        judged = {name: one for name, one in result.quality.items() if name in result.drift}
        for feature, metric, value in self._quality[key].reported(judged, counts.predictions):
            yield "data_quality", feature, metric, value, None
        came = counts.predictions + counts.late + (counts.duplicate or 0)
        for kind, metric, value in self._quality[key].reported_summary(result.summary, came, counts.predictions):
            yield kind, None, metric, value, None


def _by(result: Result) -> Literal["prediction_time"] | None:
    """As an alert says it."""
    about = result.regression if result.performance is UNSET else result.performance
    return None if about is UNSET or about.by == "label_time" else about.by


def _scores(result: Result) -> Iterator[tuple[AlertKind, str | None, str, Score]]:
    """(kind, feature, metric, score) of all that was judged."""
    of_outputs: AlertKind = "prediction_drift" if result.subject == "traffic" else "label_drift"
    parts: tuple[tuple[AlertKind, dict[str, FeatureDrift] | UnsetType], ...] = (("data_drift", result.drift), (of_outputs, result.outputs))
    for kind, drifts in parts:
        for feature, drift in {} if drifts is UNSET else drifts.items():
            for metric in drift.__struct_fields__:
                if isinstance(score := getattr(drift, metric), Score):
                    yield kind, feature, metric, score
    wholes: tuple[tuple[AlertKind, _Judged | UnsetType], ...] = (
        ("performance", result.performance),
        ("performance", result.regression),
        ("estimated_performance", result.estimated),
        ("business", result.business),
        ("traffic", result.traffic),
    )
    for kind, found in wholes:
        for metric, score in {} if found is UNSET else found.verdicts.items():
            yield kind, None, metric, score


def scored(models: Iterable[Model], *, labels: bool) -> dict[str, Thresholds]:
    """The metrics that results of these models will have, each with thresholds of its direction; performance with labels, or estimated."""
    found: dict[str, Thresholds] = {}
    for model in with_variants(models):
        settings, labelled = model.settings, labels and model.settings.labels
        outputs = [
            model.predicted.feature,
            model.score.feature,
            *([model.numbers.label.feature if model.numbers else model.label] if labelled else []),
        ]
        judged = [(settings.drift, output) for output in outputs if output.counts.any()]
        judged += [(settings.drift_for(slot.feature.name, kind_of(slot.feature)), slot.feature) for slot in model.slots]
        for rules, feature in judged:
            found |= {method: rule for method, rule in rules.thresholds.items() if applies(method, feature)}
        found |= settings.traffic.rules.thresholds
        found |= {metric: settings.quality.thresholds[metric] for metric in OF_TRAFFIC}
        if model.slots:
            found |= settings.features_quality.thresholds
            found |= settings.summary.thresholds
        if labelled:
            found |= settings.performance.thresholds
            found |= settings.business.rules.thresholds if settings.business else {}
        if model.calibration is not None:
            found |= settings.estimated.thresholds
    return found


Rated = TypeVar("Rated", bound=RatedDriftSection)


def with_auto(settings: Settings, method: str) -> Settings:
    """The settings with `auto` as the only threshold of a method, at each level that chooses it."""
    models = {}
    for name, section in settings.models.items():
        features = {feature: _with_auto(own, method) for feature, own in section.drift.features.items()}
        models[name] = section.model_copy(update={"drift": _of_kinds(section.drift, method).model_copy(update={"features": features})})
    general = _of_kinds(settings.drift, method, chosen=method in BUILT_IN_DRIFT.model_fields_set)
    return settings.model_copy(update={"drift": general, "models": models})


def _with_auto(level: Drift, method: str, *, chosen: bool = False) -> Drift:
    return only_auto(level, method) if chosen or method in level.model_fields_set else level


def _of_kinds(level: Rated, method: str, *, chosen: bool = False) -> Rated:
    """`_with_auto`, also of what the level says of each kind of features."""
    kinds: dict[str, DriftSection] = {kind: _with_auto(getattr(level, kind), method) for kind in KINDS}
    return _with_auto(level, method, chosen=chosen).model_copy(update=kinds)


def parse_thresholds(texts: Sequence[str], known: Collection[str]) -> dict[str, tuple[Threshold, ...]]:
    """Thresholds by metric, ascending and each once, `auto` last, of texts like `psi=0.1,0.2`.

    Raises:
        ValueError: a text has another form, names a metric that is not known, or a number is not finite; or `auto` has no meaning for it.

    >>> parse_thresholds(["psi=0.2,auto,0.1", "psi=0.1"], {"psi"})
    {'psi': (0.1, 0.2, 'auto')}
    """
    found: dict[str, set[Threshold]] = {}
    for text in texts:
        metric, equals, numbers = text.partition("=")
        if not equals:
            raise ValueError(f"{text!r}, expected {_FORM}")
        if metric not in known:
            raise ValueError(
                f"{text!r}: {metric!r} is not scored here, expected one of {', '.join(sorted(known)) or 'none: no model has a reference'}; "
                "a drift method is scored where the configuration gives it thresholds, off included, performance where there are labels"
            )
        found.setdefault(metric, set()).update(_threshold(number, metric, text) for number in numbers.split(","))
        if len(found[metric]) > THRESHOLDS_MAX:
            raise ValueError(f"{metric}: {len(found[metric])} thresholds, expected at most {THRESHOLDS_MAX}")
    return {metric: tuple(sorted(values, key=_rank)) for metric, values in found.items()}


def _rank(threshold: Threshold) -> float:
    return math.inf if threshold == "auto" else threshold


def threshold_text(threshold: Threshold) -> str:
    """A threshold as it is shown."""
    return threshold if threshold == "auto" else f"{threshold:g}"


def _threshold(number: str, metric: str, text: str) -> Threshold:
    if number == "auto":
        if metric not in FLOORS:
            raise ValueError(f"{text!r}: expected a finite number; auto is for methods with a p-value, {', '.join(FLOORS)}")
        return "auto"
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{text!r}: {number!r}, expected a finite number; the form is {_FORM}")
    return value


def backtest(
    history: History,
    thresholds: Mapping[str, Sequence[Threshold]],
    known: Mapping[str, Thresholds],
    auto: Mapping[str, History] = MappingProxyType({}),
) -> list[Outcome]:
    """What each threshold does to each series of its metric, in the order of metrics and thresholds as given, then of series.

    Args:
        known: the direction of each metric, as `scored` has it.
        auto: of each metric with the threshold `auto`, the history of a replay with it (`with_auto`).
    """
    return [
        _outcome(series, points, threshold, known[metric].direction)
        for metric, values in thresholds.items()
        for threshold in values
        for series, points in sorted((auto[metric] if threshold == "auto" else history).series.items(), key=_in_order)
        if series.metric == metric
    ]


def _in_order(item: tuple[Series, list[Point]]) -> tuple[str, ...]:
    return tuple(part or "" for part in astuple(item[0]))


def _judged(point: Point, threshold: Threshold, direction: Literal["above", "below"]) -> Verdict:
    if threshold == "auto":
        assert point.severity is not None
        return Verdict(point.severity, None)
    # the results have left out what is below the minimum sample
    return judge(point.score, 1, Thresholds(threshold, None, direction), minimum_sample=0)


def _outcome(series: Series, points: Sequence[Point], threshold: Threshold, direction: Literal["above", "below"]) -> Outcome:
    """The alerts of one series. A revised window is judged when it fires again, so a change counts no earlier than the newest window."""
    state, changes = AlertState(), []
    newest = list(accumulate((point.end_ms for point in points), max))
    for point, at_ms in zip(points, newest, strict=True):
        if not point.spoken:
            continue
        verdict = _judged(point, threshold, direction)
        state, status = transition(state, verdict, at_ms)
        if status is not None and point.score is not None:
            changes.append(Change(status, at_ms, point.score))
    ends = [change.end_ms for change in changes]
    return Outcome(
        series=series,
        threshold=threshold,
        windows=len(points),
        insufficient=sum(point.score is None for point in points),
        changes=tuple(changes),
        alarm_ms=sum(end - start for start, end in zip_longest(ends[::2], ends[1::2], fillvalue=newest[-1])),
        firing=state.status == "firing",
    )


def encode_outcomes(outcomes: Iterable[Outcome]) -> bytes:
    """The outcomes as JSON: an array of objects, times in RFC 3339."""
    return msgspec.json.format(
        msgspec.json.encode(
            [
                {
                    **msgspec.to_builtins(outcome.series),
                    "threshold": outcome.threshold,
                    "windows": outcome.windows,
                    "insufficient": outcome.insufficient,
                    "alerts": len(outcome.fired),
                    "alarm_seconds": outcome.alarm_ms / 1000,
                    "firing_at_the_end": outcome.firing,
                    "first_alert": timestamp(outcome.fired[0].end_ms) if outcome.fired else None,
                    "changes": [{"status": c.status, "window_end": timestamp(c.end_ms), "score": c.score} for c in outcome.changes],
                }
                for outcome in outcomes
            ]
        )
    )
