"""A scorer to score with, and what its tests ask of it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec import UnsetType

from stream.aggregates import Aggregate
from stream.model import PREDICTIONS, Model
from stream.reference import Feature
from stream.results_values import Score
from stream.scoring import Judged, Scorer
from tests.builders import MODEL, coded, reference, settings

OTHER = "(other)"


def scorer(*features: Feature, confusion: Any = None, drift: Any = None, performance: Any = None, **section: Any) -> Scorer:
    """A scorer of a model with these features and thresholds; every sample is large enough unless said otherwise."""
    tree = {"classes": ["a", "b", "c"], "drift": {"minimum_sample": 1} | (drift or {}), **section}
    tree["performance"] = {"minimum_sample": 1} | (performance or {})
    made = reference(*features, classes=("a", "b", "c"), confusion=confusion) if features else None
    return Scorer(Model.build(settings({MODEL: tree}).model(MODEL), made))


def counted(of: Scorer, columns: Sequence[Sequence[Any]], invalid: dict[str, list[int]] | None = None) -> Aggregate:
    """The aggregate of these rows, one column per feature; None where missing or invalid."""
    codes, _ = coded(of.model, columns, invalid or {})
    window = Aggregate.zero(of.model.traffic)
    for row in codes:
        np.add.at(window.counts, row, 1)
    window.counts[[PREDICTIONS, of.model.predicted.start, of.model.score.missing]] = len(columns[0])
    return window


def judged_of(found: list[Judged], metric: str) -> Judged:
    return next(one for one in found if one.metric == metric)


def score(value: Any) -> float:
    assert isinstance(value, Score)
    assert value.score is not None
    return value.score


def of_score(value: Score | UnsetType) -> Score:
    assert isinstance(value, Score)
    return value


def benjamini_hochberg(p_values: list[float]) -> list[float]:
    """Adjusted p-values by their definition: the least, over all that are no smaller, of p * k / rank."""
    ranked, k = sorted(p_values), len(p_values)
    return [min(1.0, *(q * k / rank for rank, q in enumerate(ranked, 1) if q >= p)) for p in p_values]
