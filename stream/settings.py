"""The configuration: one frozen tree, read once from a YAML file and the environment, and each model's effective values.

Unknown keys are refused, and all problems are reported at once. The core takes the values of `ModelSettings`, never the tree. Durations
are int milliseconds (`_ms`); in the file the key has no suffix (`out_of_orderness: 5s`). `config/driftstream.yaml` explains every key.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator

from detectors.judge import Thresholds
from detectors.sequential import OF_NUMBERS
from stream.settings_business import BusinessSection, BusinessSettings, business_contradictions, resolve_business
from stream.settings_cohorts import Cohorts, CohortSection, ModelCohortSection, resolve_cohorts, too_many_panes
from stream.settings_degradation import METRICS, DegradationSection, degradation_contradictions, degraded_from, resolve_degradation
from stream.settings_errors import explain
from stream.settings_events import EventSettings
from stream.settings_file import ConfigError, read_document
from stream.settings_quality import (
    BUILT_IN_FEATURE_QUALITY,
    BUILT_IN_OVERALL_QUALITY,
    BUILT_IN_SUMMARY,
    ModelQualitySection,
    QualitySection,
    SummarySection,
)
from stream.settings_sequential import Sequential, SequentialSection
from stream.settings_services import KafkaSettings, LabelSettings, RedisSettings, TimeSettings, WorkerSettings
from stream.settings_thresholds import (
    BUILT_IN_DRIFT,
    KINDS,
    OF_SEVERAL_CLASSES,
    Against,
    DriftSection,
    FeatureKind,
    ModelDriftSection,
    PerformanceSection,
    RatedDriftSection,
    Rules,
    ScoredSection,
    compared_with,
    contradictions,
    drift_contradictions,
    estimated_rules,
    is_metric_of,
    level_of_test,
    levels_of,
    performance_rules,
    resolve,
)
from stream.settings_traffic import BUILT_IN_TRAFFIC, TrafficSection, TrafficSettings, resolve_traffic
from stream.settings_values import (
    ClassName,
    FilePath,
    KeyPath,
    Name,
    Section,
    SegmentKeys,
    Switch,
    Text,
    broken,
    duration_text,
    refuse,
    whole,
)
from stream.settings_windows import Windows, WindowSection
from stream.store import Subject
from stream.windows import WindowSpec, pane_length

Task = Literal["classification", "regression"]
_CLASSES_MAX = 200  # a confusion matrix of so many takes 320 KB in every pane
_SCORED_CLASSES_MAX = 50  # of a model whose scores by class are counted: in a pane 4 KB each, in a row that waits for its label a byte each
_SEGMENTS_MAX = 20


def _refuse_of_no_positive(metrics: Iterable[str], info: ValidationInfo) -> None:
    """Metrics of the positive class, where there is none."""
    if info.data.get("positive", "unknown") is None:
        refuse(((name,), "none: it is of a positive class, and there is none") for name in sorted(metrics))


def _scored_classes(classes: tuple[str, ...], positive: str | None) -> tuple[str, ...]:
    """The classes whose scores are counted one by one: none of two with a positive one, whose score says both, and none of very many."""
    return () if len(classes) > _SCORED_CLASSES_MAX or (len(classes) == 2 and positive is not None) else classes


def _refuse_repeated(names: Sequence[str], most: int) -> None:
    if len(names) > most:
        raise broken(f"at most {most}")
    refuse(((i,), "each name once") for i, name in enumerate(names) if name in names[:i])


class ModelSection(Section):
    """A model as it stands in the file; `Settings.model` gives its effective values."""

    reference: FilePath | None = None
    references: Mapping[Text, FilePath] = {}
    task: Task = "classification"
    classes: tuple[ClassName, ...] = Field(default=(), validate_default=True)
    positive: Text | None = None
    labels: Switch = True
    windows: Windows | None = None
    by_prediction_time: ModelCohortSection = ModelCohortSection()
    segments: tuple[SegmentKeys, ...] = ()
    segment_values_max: Annotated[int, whole(1, 10_000)] = 50
    versions_max: Annotated[int, whole(1, 1_000)] = 20
    drift: ModelDriftSection = ModelDriftSection()
    quality: ModelQualitySection = ModelQualitySection()
    summary: SummarySection = SummarySection()
    performance: PerformanceSection = PerformanceSection()
    sequential: SequentialSection = SequentialSection()
    degradation: DegradationSection = DegradationSection()
    business: BusinessSection = BusinessSection()
    traffic: TrafficSection = TrafficSection()

    @field_validator("reference")
    @classmethod
    def _relative_to_the_file(cls, reference: Path | None, info: ValidationInfo) -> Path | None:
        return reference and (info.context or Path()) / reference

    @field_validator("references")
    @classmethod
    def _all_relative_to_the_file(cls, references: Mapping[str, Path], info: ValidationInfo) -> Mapping[str, Path]:
        return {version: (info.context or Path()) / path for version, path in references.items()}

    @field_validator("classes", mode="before")
    @classmethod
    def _classes_are_given(cls, classes: object, info: ValidationInfo) -> object:
        if classes == () and info.data.get("task") != "regression":  # the default: a file has lists
            raise broken("a value: it has no default")
        return classes

    @field_validator("classes")
    @classmethod
    def _classes_differ(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        _refuse_repeated(classes, _CLASSES_MAX)
        return classes

    @field_validator("segments")
    @classmethod
    def _segments_differ(cls, segments: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
        _refuse_repeated([",".join(sorted(keys)) for keys in segments], _SEGMENTS_MAX)
        return segments

    @field_validator("classes")
    @classmethod
    def _tell_apart(cls, classes: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if info.data.get("task") == "regression":
            if classes:
                raise broken("none: a regression has no classes")
            return classes
        if len(classes) < 2:
            raise broken("at least two classes")
        for pair in (("0", "false"), ("1", "true")):
            if set(pair) <= set(classes):
                raise broken(f"not both of {' and '.join(pair)}: they count as one class")
        return classes

    @field_validator("positive")
    @classmethod
    def _is_a_class(cls, positive: str | None, info: ValidationInfo) -> str | None:
        classes = info.data.get("classes")
        if positive is not None and info.data.get("task") == "regression":
            raise broken("none: a regression has no positive class")
        if positive is not None and classes is not None and positive not in classes:
            raise broken(f"one of the classes, {', '.join(classes)}")
        return positive

    @field_validator("performance")
    @classmethod
    def _metrics_are_of_the_task(cls, performance: PerformanceSection, info: ValidationInfo) -> PerformanceSection:
        task = info.data.get("task", "classification")
        others = [name for name in PerformanceSection.model_fields if name != "minimum_sample" and not is_metric_of(task, name)]
        refuse(((name,), f"a metric of a {task}") for name in others if name in performance.model_fields_set)
        if task == "classification":
            _refuse_of_no_positive({"lift"} & performance.model_fields_set, info)
            classes, positive = info.data.get("classes"), info.data.get("positive", "unknown")
            if classes and positive != "unknown" and not _scored_classes(classes, positive):
                kept = f"of two classes, one positive, and of more than {_SCORED_CLASSES_MAX}, one score is kept"
                rule = f"none: it takes a score for each class, and {kept}"
                refuse(((name,), rule) for name in OF_SEVERAL_CLASSES if name in performance.model_fields_set)
        return performance

    @field_validator("sequential")
    @classmethod
    def _errors_are_of_the_task(cls, sequential: SequentialSection, info: ValidationInfo) -> SequentialSection:
        if info.data.get("task") == "regression":
            binary = [i for i, name in enumerate(sequential.errors) if name not in OF_NUMBERS]
            refuse((("errors", i), f"one of {', '.join(OF_NUMBERS)}: errors of a regression are numbers") for i in binary)
        return sequential

    @field_validator("degradation")
    @classmethod
    def _degradation_is_of_the_task(cls, degradation: DegradationSection, info: ValidationInfo) -> DegradationSection:
        others = {"regression": ("classification", "ratios"), "classification": ("regression", "errors")}
        other, what = others[info.data.get("task", "classification")]
        refuse(((name,), f"none: it is of the {what} of a {other}") for name in METRICS[other] if name in degradation.model_fields_set)
        _refuse_of_no_positive(degradation.model_fields_set - {"accuracy", "against", *METRICS["regression"]}, info)
        return degradation

    @field_validator("business")
    @classmethod
    def _business_is_of_classes(cls, business: BusinessSection, info: ValidationInfo) -> BusinessSection:
        if info.data.get("task") == "regression":
            refuse(((name,), "none: it is of the outcomes of a classification") for name in business.model_fields_set)
        return business

    def contradictions(self, inherited: "Inherited") -> Iterator[tuple[KeyPath, str]]:
        """What the thresholds of this model and those it inherits say against each other."""
        drift, quality = inherited.drift, inherited.quality
        for path, rule in drift_contradictions(drift, self.drift):
            yield ("drift", *path), rule
        for path, rule in contradictions([*quality, self.quality]):
            yield ("quality", *path), rule
        for feature, own in self.quality.features.items():
            for path, rule in contradictions([*quality, self.quality, own]):
                yield ("quality", "features", feature, *path), rule
        for path, rule in contradictions([*inherited.summary, self.summary]):
            yield ("summary", *path), rule
        for path, rule in contradictions([*inherited.performance, self.performance]):
            yield ("performance", *path), rule
        for path, rule in degradation_contradictions([*inherited.degradation, self.degradation]):
            yield ("degradation", *path), rule
        if self.task == "classification":
            levels = [*inherited.business, self.business]
            for path, rule in business_contradictions(levels, self.classes, self.positive, values=inherited.values):
                yield ("business", *path), rule
        for path, rule in contradictions([BUILT_IN_TRAFFIC, *inherited.traffic, self.traffic]):
            yield ("traffic", *path), rule

    def short(
        self, inherited: "Inherited", windows: Sequence[WindowSection], cohorts: Sequence[WindowSection]
    ) -> Iterator[tuple[KeyPath, str]]:
        """The rule that is broken where windows, its own or those of all models, are longer than the period that they are compared with.

        `cohorts`: windows of all models by the time of predictions.
        """
        windows, of_labels = self.windows or windows, self.by_prediction_time.windows
        periods: dict[str, tuple[Against, object, Sequence[WindowSection]]] = {
            "drift": (compared_with([*inherited.drift, self.drift]), self.drift.against, windows),
            "degradation": (
                degraded_from([*inherited.degradation, self.degradation]),
                self.degradation.against,
                [*windows, *(cohorts if of_labels is None else of_labels)] if self.labels else windows,
            ),
        }
        for section, (against, own, compared) in periods.items():
            longest_ms = max(window.size_ms for window in compared)
            if isinstance(against, int) and against < longest_ms:
                inherits = f", not {duration_text(against)}, which it inherits" if own is None else ""
                yield (section, "against"), f"at least the longest window, {duration_text(longest_ms)}{inherits}"


@dataclass(frozen=True, slots=True)
class Inherited:
    """The levels above a model, the most general first; none where they are broken themselves. `values`: whether events have values."""

    drift: Sequence[DriftSection] = ()
    quality: Sequence[ScoredSection] = ()
    summary: Sequence[SummarySection] = ()
    performance: Sequence[PerformanceSection] = ()
    degradation: Sequence[DegradationSection] = ()
    business: Sequence[BusinessSection] = ()
    traffic: Sequence[TrafficSection] = ()
    values: bool = True


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """The effective values of one model, inheritance resolved. `segments`: the keys of each, several for a cross."""

    name: str
    reference: Path | None
    references: Mapping[str, Path]
    task: Task
    classes: tuple[str, ...]
    positive: str | None
    labels: bool
    windows: tuple[WindowSpec, ...]
    pane_ms: int
    cohorts: Cohorts | None
    segments: tuple[tuple[str, ...], ...]
    segment_values_max: int
    versions_max: int
    against: Against
    drift: Rules
    drift_by_kind: Mapping[FeatureKind, Rules]
    feature_drift: Mapping[str, Mapping[FeatureKind, Rules]]
    quality: Rules
    features_quality: Rules
    feature_quality: Mapping[str, Rules]
    freshness_ms: int | None
    summary: Rules
    performance: Rules
    estimated: Rules
    sequential: Sequential
    degradation: Mapping[str, Mapping[str, Thresholds]]
    degraded_from: Against
    business: BusinessSettings | None
    traffic: TrafficSettings

    @property
    def scored_classes(self) -> tuple[str, ...]:
        """The classes whose scores are counted one by one, where events tell them: all or none."""
        return _scored_classes(self.classes, self.positive) if self.labels else ()

    def windows_of(self, subject: Subject) -> tuple[WindowSpec, ...]:
        """The windows about a subject."""
        if subject != "cohort":
            return self.windows
        return () if self.cohorts is None else self.cohorts.windows

    def pane_of(self, subject: Subject) -> int:
        """The length in ms of its panes."""
        return self.pane_ms if subject != "cohort" or self.cohorts is None else self.cohorts.pane_ms

    def drift_for(self, feature: str, kind: FeatureKind) -> Rules:
        """The rules for the drift of `feature`; `drift` has those of the outputs."""
        return self.feature_drift.get(feature, self.drift_by_kind)[kind]

    def quality_for(self, feature: str) -> Rules:
        """The rules for the data quality of `feature`; `quality` has those for the model."""
        return self.feature_quality.get(feature, self.features_quality)


class Settings(Section):
    """The whole tree."""

    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()
    time: TimeSettings = TimeSettings()
    events: EventSettings = EventSettings()
    labels: LabelSettings = LabelSettings()
    by_prediction_time: CohortSection = CohortSection()
    windows: Windows = (WindowSection(size=60_000), WindowSection(size=600_000, slide=60_000))
    drift: RatedDriftSection = RatedDriftSection()
    quality: QualitySection = QualitySection()
    summary: SummarySection = SummarySection()
    performance: PerformanceSection = PerformanceSection()
    sequential: SequentialSection = SequentialSection()
    degradation: DegradationSection = DegradationSection(against="reference")
    business: BusinessSection = BusinessSection()
    traffic: TrafficSection = TrafficSection()
    models: Mapping[Name, ModelSection]
    worker: WorkerSettings = WorkerSettings()

    @field_validator("by_prediction_time")
    @classmethod
    def _cohorts_are_few(cls, section: CohortSection, info: ValidationInfo) -> CohortSection:
        if "labels" in info.data:
            refuse(too_many_panes(section.windows, info.data["labels"].max_delay_ms))
        return section

    @field_validator("drift")
    @classmethod
    def _drift_agrees(cls, drift: RatedDriftSection) -> RatedDriftSection:
        refuse(drift_contradictions([BUILT_IN_DRIFT], drift))
        return drift

    @field_validator("quality")
    @classmethod
    def _quality_agrees(cls, quality: QualitySection) -> QualitySection:
        refuse(contradictions([BUILT_IN_OVERALL_QUALITY, BUILT_IN_FEATURE_QUALITY, quality]))
        return quality

    @field_validator("models")
    @classmethod
    def _models_agree(cls, models: Mapping[str, ModelSection], info: ValidationInfo) -> Mapping[str, ModelSection]:
        if not models:
            raise broken("at least one model")
        given = info.data
        inherited = Inherited(
            drift=[BUILT_IN_DRIFT, given["drift"]] if "drift" in given else [],
            quality=[BUILT_IN_OVERALL_QUALITY, BUILT_IN_FEATURE_QUALITY, given["quality"]] if "quality" in given else [],
            summary=[given["summary"]] if "summary" in given else [],
            performance=[given["performance"]] if "performance" in given else [],
            degradation=[given["degradation"]] if "degradation" in given else [],
            business=[given["business"]] if "business" in given else [],
            traffic=[given["traffic"]] if "traffic" in given else [],
            values="events" not in given or given["events"].predictions.value is not None,
        )
        refuse(((name, *path), rule) for name, model in models.items() for path, rule in model.contradictions(inherited))
        if "labels" in given:
            refuse(
                ((name, "by_prediction_time", *path), rule)
                for name, model in models.items()
                for path, rule in too_many_panes(model.by_prediction_time.windows or (), given["labels"].max_delay_ms)
            )
        if "windows" in given and inherited.drift:
            cohorts = given["by_prediction_time"].windows if "by_prediction_time" in given else ()
            refuse(
                ((name, *path), rule) for name, model in models.items() for path, rule in model.short(inherited, given["windows"], cohorts)
            )
        return models

    def model(self, name: str) -> ModelSettings:
        """The effective values of a model; KeyError if it is not configured."""
        section = self.models[name]
        windows = tuple(window.spec() for window in section.windows or self.windows)
        drift = [BUILT_IN_DRIFT, self.drift, section.drift]
        alpha = level_of_test(drift, windows, labels=section.labels)
        feature_quality = [BUILT_IN_FEATURE_QUALITY, self.quality, section.quality]
        sequential = section.sequential.under(self.sequential)
        performance = [self.performance, section.performance]
        rules = performance_rules(performance, section.task)
        freshness_ms = self.quality.freshness_ms if section.quality.freshness_ms is None else section.quality.freshness_ms
        return ModelSettings(
            name=name,
            reference=section.reference,
            references=section.references,
            task=section.task,
            classes=section.classes,
            positive=section.positive,
            labels=section.labels,
            windows=windows,
            pane_ms=pane_length(windows),
            cohorts=resolve_cohorts(self.by_prediction_time, section.by_prediction_time, self.labels.max_delay_ms)
            if section.labels
            else None,
            segments=section.segments,
            segment_values_max=section.segment_values_max,
            versions_max=section.versions_max,
            against=compared_with(drift),
            drift=resolve(drift, alpha),
            drift_by_kind={kind: resolve(levels_of(drift, kind), alpha) for kind in KINDS},
            feature_drift={
                feature: {kind: resolve([*levels_of(drift, kind), own], alpha) for kind in KINDS}
                for feature, own in section.drift.features.items()
            },
            quality=resolve([BUILT_IN_OVERALL_QUALITY, self.quality, section.quality]),
            features_quality=resolve(feature_quality),
            feature_quality={feature: resolve([*feature_quality, own]) for feature, own in section.quality.features.items()},
            freshness_ms=freshness_ms if isinstance(freshness_ms, int) else None,
            summary=resolve([BUILT_IN_SUMMARY, self.summary, section.summary]),
            performance=rules,
            estimated=estimated_rules(performance, rules),
            sequential=sequential.of_numbers() if section.task == "regression" else sequential,
            degradation=resolve_degradation([self.degradation, section.degradation], section.task),
            degraded_from=degraded_from([self.degradation, section.degradation]),
            business=resolve_business([self.business, section.business], section.classes, section.positive)
            if section.task == "classification" and section.labels
            else None,
            traffic=resolve_traffic([self.traffic, section.traffic]),
        )


def load_settings(path: Path, environ: Mapping[str, str]) -> Settings:
    """The settings in the file at `path`, with `${NAME}` replaced from `environ`.

    Raises:
        ConfigError: the file cannot be read, or something in it breaks a rule; it lists all that does.
    """
    document = read_document(path, environ)
    problems = list(document.problems)
    try:
        settings = Settings.model_validate(document.tree, context=path.parent)
    except ValidationError as error:
        problems += explain(error, Settings, document)
    if problems:  # outside the except block: a ConfigError must not carry pydantic's error, which holds the values
        raise ConfigError(path, problems)
    return settings
