"""One monitored model as the core sees it: its settings and reference turned into windows, layouts and coding tables.

A traffic aggregate counts, in this order: predictions, late, duplicates, then for each feature of the reference its fine bins or
categories, MISSING and INVALID (of the wrong type). An outcomes aggregate counts predictions, late labels, labels, then the confusion
matrix, row by row, label first, the last class being all that is not configured.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stream.aggregates import Codes, Floats, Layout
from stream.reference import CategoricalFeature, NumericFeature, Reference
from stream.settings import ModelSettings

OTHER: Final = "(other)"  # what is not configured, or past a limit
UNVERSIONED: Final = "unversioned"  # the version of an event that names none

PREDICTIONS, LATE, DUPLICATES = 0, 1, 2  # counts of a traffic aggregate; an outcomes aggregate shares the first two
LABELS: Final = 2  # count of an outcomes aggregate
_FEATURES_START: Final = 3
CONFUSION_START: Final = 3


@dataclass(frozen=True, slots=True)
class FeatureSlot:
    """Where a feature's counts stand in a traffic aggregate: `[start, start + bins)`, MISSING, INVALID. `moments`: its row, or -1."""

    feature: NumericFeature | CategoricalFeature
    start: int
    bins: int
    moments: int

    @property
    def missing(self) -> int:
        """Position of the count of absent and null values."""
        return self.start + self.bins

    @property
    def invalid(self) -> int:
        """Position of the count of values of the wrong type."""
        return self.start + self.bins + 1


class _CategoryCodes(dict[Any, int]):
    """Position by value; every other value is the unseen bin."""

    def __init__(self, slot: FeatureSlot, feature: CategoricalFeature) -> None:
        readers: dict[str, Callable[[str], Any]] = {"string": str, "integer": int, "boolean": "true".__eq__}
        read = readers[feature.value_type]
        super().__init__({read(category): slot.start + i for i, category in enumerate(feature.categories)})
        self[None] = slot.missing
        self._unseen = slot.start + len(feature.categories)

    def __missing__(self, value: Any) -> int:
        return self._unseen


@dataclass(frozen=True, slots=True)
class Model:
    """A model and everything that follows from its settings and its reference."""

    settings: ModelSettings
    reference: Reference | None
    slots: tuple[FeatureSlot, ...]
    traffic: Layout
    outcomes: Layout
    categories: Mapping[str, _CategoryCodes]

    @classmethod
    def build(cls, settings: ModelSettings, reference: Reference | None) -> "Model":
        """The model of these settings."""
        slots: list[FeatureSlot] = []
        position, moments = _FEATURES_START, 0
        for feature in reference.features if reference else ():
            numeric = isinstance(feature, NumericFeature)
            slots.append(FeatureSlot(feature, position, feature.counts.size, moments if numeric else -1))
            position, moments = slots[-1].invalid + 1, moments + numeric
        named = [reference.reference_id if reference else "", str(settings.pane_ms)]
        return cls(
            settings=settings,
            reference=reference,
            slots=tuple(slots),
            traffic=Layout(_fingerprint("traffic", named), position, moments),
            outcomes=Layout(_fingerprint("outcomes", [*named, *settings.classes]), CONFUSION_START + (len(settings.classes) + 1) ** 2, 0),
            categories={s.feature.name: _CategoryCodes(s, s.feature) for s in slots if isinstance(s.feature, CategoricalFeature)},
        )

    def segment_column(self, segment: str) -> tuple[str, str]:
        """Where a segment's value stands in the event: a categorical feature of that name, else the event's segments."""
        return ("features" if segment in self.categories else "segments", segment)

    def code(self, columns: Sequence[Sequence[Any] | Floats], invalid: Mapping[str, Sequence[int]]) -> tuple[Codes, Floats]:
        """Positions of all values in the aggregate, (slots, n), and the numeric values, (moments, n), NaN where there is none.

        Args:
            columns: values of each slot's feature, in order of the slots: of the feature's type, or None where missing or invalid.
            invalid: per feature, which events had a value of the wrong type.
        """
        n = len(columns[0]) if columns else 0
        codes, values = np.empty((len(self.slots), n), np.int64), np.empty((self.traffic.moments, n))
        numeric: list[int] = []  # the row of each row of moments
        for row, (slot, column) in enumerate(zip(self.slots, columns, strict=True)):
            if isinstance(slot.feature, NumericFeature):
                x = values[slot.moments] = np.asarray(column, np.float64)
                codes[row] = slot.start + np.searchsorted(slot.feature.edges, x, side="right")  # NaN goes right of all edges
                numeric.append(row)
            else:
                codes[row] = np.fromiter(map(self.categories[slot.feature.name].__getitem__, column), np.int64, n)
        row_of, event = np.nonzero(np.isnan(values))
        codes[np.array(numeric, np.int64)[row_of], event] = np.array([self.slots[row].missing for row in numeric], np.int64)[row_of]
        for row, slot in enumerate(self.slots):
            if wrong := invalid.get(slot.feature.name):
                codes[row, wrong] = slot.invalid
        return codes, values


class _Numbers(dict[Any, int]):
    """Number by class; 0 for every other value."""

    def __missing__(self, value: Any) -> int:
        return 0


class ClassCodes:
    """Classes as small numbers: those of pending rows, shared by all models, and each model's own codes for its confusion matrix."""

    def __init__(self, models: Iterable[Model], numbers: Mapping[str, int]) -> None:
        self._numbers = _Numbers()
        for text, number in numbers.items():
            self._numbers[text] = number
            if text in ("true", "false"):
                self._numbers.setdefault(text == "true", number)
            elif re.fullmatch("0|-?[1-9][0-9]*", text):  # as an integer is written: "01" is a text and nothing else
                self._numbers.setdefault(int(text), number)
        self._codes = {model.settings.name: self._own(model, numbers) for model in models}

    def numbers(self, values: Iterable[Any], n: int) -> npt.NDArray[np.uint16]:
        """The stored number of each class, (n,); 0 if no model has it. A class may come as text, whole number or boolean."""
        return np.fromiter(map(self._numbers.__getitem__, values), np.uint16, n)

    def codes(self, model: Model, numbers: npt.NDArray[np.uint16]) -> Codes:
        """The model's own codes, (n,); the number of its classes for every other class."""
        own = self._codes[model.settings.name]
        return own[np.minimum(numbers, own.size - 1)]

    @staticmethod
    def _own(model: Model, numbers: Mapping[str, int]) -> Codes:
        classes = model.settings.classes
        own = np.full(max(numbers.values(), default=0) + 2, len(classes), np.int64)
        # 1 and true are one value in Python, so a model with class "1" takes what another model calls "true"
        alias = {"true": "1", "false": "0", "1": "true", "0": "false"}
        for text, number in numbers.items():
            known = text if text in classes else alias.get(text)
            if known in classes:
                own[number] = classes.index(known)
        return own


def _fingerprint(kind: str, parts: Iterable[str]) -> bytes:
    return hashlib.blake2b("\n".join((kind, *parts)).encode(), digest_size=16).digest()
