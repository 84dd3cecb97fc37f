"""One monitored model as the core sees it: its settings and reference turned into windows and layouts.

A traffic aggregate counts, in this order: predictions, late, duplicates, then for each feature of the reference its fine bins or
categories, MISSING and INVALID (of the wrong type). An outcomes aggregate counts predictions, late labels, labels, then the confusion
matrix, row by row, label first, the last class being all that is not configured.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from stream.aggregates import Layout
from stream.reference import CategoricalFeature, NumericFeature, Reference
from stream.settings import ModelSettings
from stream.store import Subject

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


@dataclass(frozen=True, slots=True)
class Model:
    """A model and everything that follows from its settings and its reference."""

    settings: ModelSettings
    reference: Reference | None
    slots: tuple[FeatureSlot, ...]
    traffic: Layout
    outcomes: Layout

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
        )

    def layout(self, subject: Subject) -> Layout:
        """Of the aggregates of a subject."""
        return self.traffic if subject == "traffic" else self.outcomes

    def segment_column(self, segment: str) -> tuple[str, str]:
        """Where a segment's value stands in the event: a categorical feature of that name, else the event's segments."""
        known = any(slot.feature.name == segment and isinstance(slot.feature, CategoricalFeature) for slot in self.slots)
        return ("features" if known else "segments", segment)


def _fingerprint(kind: str, parts: Iterable[str]) -> bytes:
    return hashlib.blake2b("\n".join((kind, *parts)).encode(), digest_size=16).digest()
