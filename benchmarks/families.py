"""Closes of a model with twenty features and some segments, without drift: how many raise at least one alarm, adjusted and not.

Through the product's scorer, which adjusts the p-values of a close. And PSI's p-value far out, where `auto` has its level.
"""

from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from benchmarks.samples import NUMBERS, category, counted, reference, zipf
from detectors.psi_law import psi_p_values
from stream.aggregates import Aggregate, Floats
from stream.model import PREDICTIONS, Model
from stream.reference import CategoricalFeature, Feature, Reference
from stream.scoring import Close, Scorer, close_traffic
from stream.settings import Settings

FEATURES: Final = 20
VALUES: Final = 10
ROWS: Final = 200  # of a window of a segment
REFERENCE_ROWS: Final = 10_000
CLOSES: Final = 20  # on one reference
FAR: Final = (1e-3, 1e-4, 1e-5)


@dataclass(frozen=True, slots=True)
class Family:
    """Closes with an alarm at a nominal rate: by adjusted p-values, and by p-values as they are."""

    segments: int
    nominal: float
    closes: int
    adjusted: int
    unadjusted: int


def families(segments: int, nominals: tuple[float, ...], closes: int, rng: np.random.Generator) -> list[Family]:
    """Each close has the segments, and all traffic, which is their sum; without segments all traffic alone."""
    least: list[tuple[float, float]] = []
    for _ in range(closes // CLOSES):
        scorer = _scorer(rng)
        for _ in range(CLOSES):
            parts = [_window(scorer, rng) for _ in range(max(segments, 1))]
            whole = parts[0]
            for part in parts[1:]:
                whole = whole.merge(part)
            told = [
                one.evidence
                for found in close_traffic([Close([scorer] * (1 + segments), [whole, *parts[:segments]])])[0]
                for one in found.judged
                if one.metric == "psi"
            ]
            least.append((min(float(why.p_adjusted) for why in told), min(float(why.p_value) for why in told)))
    adjusted, raw = np.array(least).T
    return [Family(segments, a, len(least), int((adjusted <= a).sum()), int((raw <= a).sum())) for a in nominals]


def _scorer(rng: np.random.Generator) -> Scorer:
    """Half of the features uniform, a quarter zero-inflated, a quarter categories."""
    features: list[Feature] = []
    for i in range(FEATURES):
        if i % 4 == 3:
            feature: Feature = category(rng.multinomial(REFERENCE_ROWS, zipf(VALUES)))
        else:
            feature = reference(NUMBERS["zero-inflated" if i % 4 == 2 else "uniform"].rows(rng, REFERENCE_ROWS), 10)
        features.append(msgspec.structs.replace(feature, name=f"x{i:02}"))
    made = Reference(reference_id="m", model="m", version="1", rows=REFERENCE_ROWS, classes=(), features=tuple(features))
    model = {"classes": ["0", "1"], "labels": False, "drift": {"psi": {"warning": "auto"}}}
    return Scorer(Model.build(Settings.model_validate({"models": {"m": model}}).model("m"), made))


def _window(scorer: Scorer, rng: np.random.Generator) -> Aggregate:
    found = Aggregate.zero(scorer.model.traffic)
    found.counts[PREDICTIONS] = ROWS
    for i, slot in enumerate(scorer.model.slots):
        if isinstance(slot.feature, CategoricalFeature):
            counts = np.append(rng.multinomial(ROWS, zipf(VALUES)), 0)
        else:
            counts = counted(slot.feature, NUMBERS["zero-inflated" if i % 4 == 2 else "uniform"].rows(rng, ROWS))
        found.counts[slot.start : slot.start + slot.bins] = counts
    return found


def far_out(n: int, m: int, shares: Floats, pairs: int, rng: np.random.Generator) -> tuple[float, ...]:
    """Measured over nominal rate at each of FAR, of ten bins whose counts are drawn on both sides."""
    alarms, part = np.zeros(len(FAR)), 50_000
    for _ in range(pairs // part):
        before, now = (rng.multinomial(size, shares, part).ravel() for size in (m, n))
        p_values = psi_p_values(before, now, 10 * np.arange(part), np.zeros(part, np.bool_))
        alarms += [(p_values <= nominal).sum() for nominal in FAR]
    return tuple(float(x) for x in alarms / (pairs // part * part) / FAR)
