"""One monitored model as the core sees it: its settings and reference turned into windows and layouts.

A traffic aggregate counts, in this order: predictions, late, duplicates, then for the predicted class, the score and each feature of the
reference its fine bins or categories, MISSING and INVALID (of the wrong type), with a calibration in the bins of the score those that were
predicted positive, and last the bins of the latency. An outcomes aggregate counts predictions, late labels, labels, then the confusion
matrix, row by row, label first, the last class being all that is not configured, then in the bins of the score the misses and the hits:
whether the label was the class that the score is of, and sums of (1 - p)^2 and -ln p, p the score of the truth, in units of LOSS_UNIT:
integers, so that they too are the same however a stream is cut into batches. Of a model whose outcomes are worth a share of what is at
stake (`business.value_share`) there follow the sums of the predictions' `value` by cell of the confusion matrix, in ten-thousandths
(VALUE_UNITS), and how many labels met a prediction that told none. The bins of how long after its prediction a label was come last.
Before the values stand, for each class whose score is counted (`ModelSettings.scored_classes`) its bins, on SCORE_EDGES, of the
labels that were another class, then of those that were this one; in the first bin of each those that told no such score.

Of a regression the score is the predicted number, no class is known, and an outcomes aggregate is what `regression` says.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

import numpy as np

from detectors.latency import DELAY_EDGES_S, LATENCY_EDGES_MS
from detectors.regression import error_edges
from detectors.score_bins import SCORE_EDGES
from stream.aggregates import Aggregate, Counts, Floats, Layout
from stream.reference import CategoricalFeature, NumericFeature, Reference
from stream.settings import ModelSettings
from stream.store import Subject

OTHER: Final = "(other)"  # what is not configured, or past a limit
UNVERSIONED: Final = "unversioned"  # the version of an event that names none

PREDICTIONS, LATE, DUPLICATES = 0, 1, 2  # counts of a traffic aggregate; an outcomes aggregate shares the first two
LABELS: Final = 2  # count of an outcomes aggregate
PREDICTED_START: Final = 3  # of the counts by predicted class, with which a traffic aggregate's slots begin
CONFUSION_START: Final = 3
UNUSABLE: Final = 3  # count of an outcomes aggregate of a regression: labels that are no numbers
NUMBERS_MAX: Final = 1e69  # the size of predictions and labels of a regression: squares of errors stay below `aggregates.MOMENTS_LIMIT`
VALUE_UNITS: Final = 10_000  # a value of 1: cents come out exactly up to 1,000, beyond, the value itself is a float32, right to 6e-8 of it
VALUES_MAX: Final = 1e10  # the size of a value; 92,000 of these in one cell of a window or a day stay below 2^63 units
ERROR_ROWS: Final = 7  # rows of `detectors.regression.error_rows`, the label first, the error second
CLASS_BINS: Final = SCORE_EDGES.size + 1  # of the score of one class
LEAST_PROBABILITY: Final = 2.0**-52  # of the truth, lest one confident mistake makes the log loss infinite; as scikit-learn clips
LOSS_UNIT: Final = 2.0**-32  # the mean of so rounded losses is right to 1.2e-10; 10^7 of the greatest log loss, 36, stay below 2^63

ALIAS: Final = {"true": "1", "false": "0", "1": "true", "0": "false"}  # classes that JSON's true and 1 may both mean


@dataclass(frozen=True, slots=True)
class FeatureSlot:
    """Where a feature's counts stand in a traffic aggregate: `[start, start + bins)`, MISSING, INVALID. `moments`: its row, or -1."""

    feature: NumericFeature | CategoricalFeature
    start: int
    bins: int
    moments: int

    @property
    def other(self) -> int:
        """Of a category, position of the count of the values that are not named."""
        return self.start + self.bins - 1

    @property
    def missing(self) -> int:
        """Position of the count of absent and null values."""
        return self.start + self.bins

    @property
    def invalid(self) -> int:
        """Position of the count of values of the wrong type."""
        return self.start + self.bins + 1


@dataclass(frozen=True, slots=True)
class NumberSlots:
    """Where errors and labels of a regression are counted in an outcomes aggregate."""

    error: FeatureSlot
    label: FeatureSlot


@dataclass(frozen=True, slots=True)
class Model:
    """A model and everything that follows from its settings and its reference.

    `variants`: the versions that have a reference of their own, and with it their own bins; each is a model of that `version` alone.
    `numbers`: of a regression. `calibration`: of a classifier of two classes whose reference has one, the reference's negatives and
    positives in the bins of the score, (2, score bins).
    """

    settings: ModelSettings
    reference: Reference | None
    predicted: FeatureSlot
    score: FeatureSlot
    slots: tuple[FeatureSlot, ...]
    label: CategoricalFeature
    traffic: Layout
    outcomes: Layout
    numbers: NumberSlots | None = None
    calibration: Counts | None = None
    version: str | None = None
    variants: Mapping[str, "Model"] = field(default_factory=dict)

    @classmethod
    def build(
        cls, settings: ModelSettings, reference: Reference | None, references: Mapping[str, Reference] = MappingProxyType({})
    ) -> "Model":
        """The model of these settings. `references`: those of single versions, before which the other one steps back."""
        variants = {version: cls._build(settings, own, version, {}) for version, own in references.items()}
        return cls._build(settings, reference, None, variants)

    @classmethod
    def _build(cls, settings: ModelSettings, reference: Reference | None, version: str | None, variants: "Mapping[str, Model]") -> "Model":
        slots: list[FeatureSlot] = []
        position, moments = PREDICTED_START, 0
        for feature in (
            _classes(settings, reference, "prediction"),
            _scores(settings, reference),
            *(reference.features if reference else ()),
        ):
            numeric = isinstance(feature, NumericFeature)
            slots.append(FeatureSlot(feature, position, feature.counts.size, moments if numeric else -1))
            position, moments = slots[-1].invalid + 1, moments + numeric
        named = [reference.reference_id if reference else "", str(settings.pane_ms)]
        predicted, score, *features = slots
        numbers = _number_slots(reference) if settings.task == "regression" else None
        calibration = _calibration(settings, reference)
        raised = [] if calibration is None else [f"raised {settings.positive}"]
        width = position + (0 if calibration is None else score.bins) + LATENCY_EDGES_MS.size + 1
        return cls(
            settings=settings,
            reference=reference,
            predicted=predicted,
            score=score,
            slots=tuple(features),
            label=_classes(settings, reference, "label"),
            traffic=Layout(_fingerprint("traffic/3", [*named, *settings.classes, *raised]), width, moments),
            outcomes=Layout(
                _fingerprint(
                    "outcomes/4",
                    [*named, *settings.classes, str(settings.positive), *_class_scores_named(settings), *_stakes_named(settings)],
                ),
                _hits_start(settings) + 2 * score.bins + 2 + _class_scores(settings) + _stakes(settings) + DELAY_EDGES_S.size + 1,
                moments=0,
            )
            if numbers is None
            else Layout(_fingerprint("errors/4", named), numbers.label.start + numbers.label.bins + DELAY_EDGES_S.size + 1, 4 * ERROR_ROWS),
            numbers=numbers,
            calibration=calibration,
            version=version,
            variants=variants,
        )

    def of(self, version: str) -> "Model":
        """What counts and scores a version: its own variant, else the model itself."""
        return self.variants.get(version, self)

    @property
    def raised_start(self) -> int:
        """Where, with a calibration, the histogram of the score of those that were predicted positive begins in a traffic aggregate."""
        return self.latency_start - self.score.bins

    @property
    def latency_start(self) -> int:
        """Where the bins of the latency begin in a traffic aggregate, its last counts."""
        return self.traffic.width - LATENCY_EDGES_MS.size - 1

    @property
    def delays_start(self) -> int:
        """Where the bins of the label's delay begin in an outcomes aggregate, its last counts."""
        return self.outcomes.width - DELAY_EDGES_S.size - 1

    @property
    def spread(self) -> float:
        """What is large for errors of a regression: the standard deviation of the reference's labels, else of its predictions; else 1."""
        return self.known_spread or 1.0

    @property
    def known_spread(self) -> float | None:
        """The same, None if the reference, or the task, tells none."""
        return _spread(self.reference) if self.settings.task == "regression" else None

    @property
    def hits_start(self) -> int:
        """Where the histograms of the score by outcome begin in an outcomes aggregate: (2, score bins), then the two sums of losses."""
        return _hits_start(self.settings)

    @property
    def losses_start(self) -> int:
        """Where the two sums of losses stand in an outcomes aggregate."""
        return self.hits_start + 2 * self.score.bins

    @property
    def class_scores_start(self) -> int:
        """Where the bins of the scores by class begin in an outcomes aggregate: (scored_classes, 2, CLASS_BINS), by whether it was the
        label."""
        return self.losses_start + 2

    @property
    def values_start(self) -> int:
        """Where the sums of values by cell stand in an outcomes aggregate, then what had none; `delays_start` if they are not counted."""
        return self.class_scores_start + _class_scores(self.settings)

    @property
    def has_stakes(self) -> bool:
        """Whether values are counted by cell."""
        return _stakes(self.settings) > 0

    def layout(self, subject: Subject) -> Layout:
        """Of the aggregates of a subject."""
        if subject == "cohort":
            return self.cohort
        return self.traffic if subject == "traffic" else self.outcomes

    @property
    def cohort(self) -> Layout:
        """That of outcomes by the time of their predictions: the same counts in panes of another length, and what is estimated from."""
        cohorts, estimated = self.settings.cohorts, self.calibration is not None
        named = [self.outcomes.fingerprint.hex(), str(cohorts.pane_ms if cohorts else 0), *["estimated"] * estimated]
        return replace(
            self.outcomes, fingerprint=_fingerprint("cohort/1", named), width=self.expected_start + 2 * self.score.bins * estimated
        )

    @property
    def expected_start(self) -> int:
        """Where, with a calibration, the histograms of the score of all predictions begin in a cohort's aggregate: of those that were not
        predicted positive, then of those that were."""
        return self.outcomes.width

    def floored(self, outcomes: Aggregate) -> Aggregate:
        """The outcomes of all parts of a pane, of which none was counted less than never; sums of values may be below zero.

        What was taken back may not be there: its part of the pane is not written yet, or was dropped.
        """
        below = outcomes.counts < 0
        if self.has_stakes:
            below[self.values_start : self.delays_start - 1] = False
        return replace(outcomes, counts=np.where(below, 0, outcomes.counts)) if below.any() else outcomes

    def segment_column(self, segment: str) -> tuple[str, str]:
        """Where a segment's value stands in the event: a categorical feature of that name, else the event's segments."""
        known = any(is_key(slot.feature, [segment]) for slot in self.slots)
        return ("features" if known else "segments", segment)


def is_key(feature: NumericFeature | CategoricalFeature, keys: Collection[str]) -> bool:
    """Whether a segment of these keys has its values from the feature."""
    return feature.name in keys and isinstance(feature, CategoricalFeature)


def with_variants(models: Iterable[Model]) -> list[Model]:
    """Each model, and after it its variants: all that have a layout, in the order by which arrays over them are indexed."""
    return [one for model in models for one in (model, *model.variants.values())]


def _cells(settings: ModelSettings) -> int:
    return (len(settings.classes) + 1) ** 2


def _hits_start(settings: ModelSettings) -> int:
    return CONFUSION_START + _cells(settings)


def _class_scores(settings: ModelSettings) -> int:
    """How many counts the scores of all classes take."""
    return len(settings.scored_classes) * 2 * CLASS_BINS


def _class_scores_named(settings: ModelSettings) -> list[str]:
    return ["class scores/1"] if settings.scored_classes else []


def _stakes(settings: ModelSettings) -> int:
    """How many counts the values at stake take."""
    return 0 if settings.business is None or settings.business.value_share is None else _cells(settings) + 1


def _stakes_named(settings: ModelSettings) -> list[str]:
    return ["values/1"] if _stakes(settings) else []


def _calibration(settings: ModelSettings, reference: Reference | None) -> Counts | None:
    """The reference's negatives and positives by score, if it has both, and the model their two classes and a positive one."""
    if reference is None or reference.calibration is None or settings.positive is None or set(settings.classes) != set(reference.classes):
        return None
    positive = reference.classes.index(settings.positive)
    return reference.calibration[[1 - positive, positive]]


def _classes(settings: ModelSettings, reference: Reference | None, output: str) -> CategoricalFeature:
    """The model's classes as categories of its prediction or label, with the reference's counts: none if it has none."""
    known = reference.output(output) if reference else None
    counts = dict(zip(known.categories, known.counts.tolist(), strict=False)) if isinstance(known, CategoricalFeature) else {}
    own = [counts.get(text, counts.get(ALIAS.get(text, text), 0)) for text in settings.classes]
    total = int(known.counts.sum()) if counts and known else 0
    missing = known.missing if counts and known else 0
    return CategoricalFeature(
        name=output, value_type="string", missing=missing, categories=settings.classes, counts=np.array([*own, total - sum(own)])
    )


def _scores(settings: ModelSettings, reference: Reference | None) -> NumericFeature:
    """The bins of the score, of a regression of the prediction: those of the reference, else SCORE_EDGES with nothing counted."""
    return _number(reference, "prediction" if settings.task == "regression" else "score")


def _number(reference: Reference | None, output: str) -> NumericFeature:
    known = reference.output(output) if reference else None
    return known if isinstance(known, NumericFeature) else empty_bins(output, SCORE_EDGES)


def empty_bins(name: str, edges: Floats) -> NumericFeature:
    """Bins on these edges that no reference has counted in."""
    nothing = np.zeros(edges.size + 1, np.int64)
    return NumericFeature(name=name, missing=0, edges=edges, counts=nothing, groups=nothing)


def _number_slots(reference: Reference | None) -> NumberSlots:
    """The errors in units of the reference's labels, else of its predictions; of 1, if it knows of none or they are all the same."""
    label = _number(reference, "label")
    errors = empty_bins("error", error_edges(_spread(reference) or 1.0))
    error = FeatureSlot(errors, UNUSABLE + 1, errors.bins, moments=1)
    return NumberSlots(error, FeatureSlot(label, error.start + error.bins, label.bins, moments=0))


def _spread(reference: Reference | None) -> float | None:
    known = (_number(reference, output).std for output in ("label", "prediction"))
    return next((spread for spread in known if spread > 0), None)


def _fingerprint(kind: str, parts: Iterable[str]) -> bytes:
    return hashlib.blake2b("\n".join((kind, *parts)).encode(), digest_size=16).digest()
