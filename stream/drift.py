"""The drift methods: which there are, what kinds of features each applies to, and what it is given of a window and its reference.

Methods over the coarse bins (with MISSING and, for categories, OTHER) score all features in one go. The others look at one feature:
at the fine bins and the moments of a number, so at what is not missing, or at the counts of a category.
"""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np
from msgspec.structs import replace as with_fields

from detectors.chi_square import chi2
from detectors.counts import PSEUDOCOUNT, shares
from detectors.hellinger import hellinger_by_feature
from detectors.jensen_shannon import divergences, js_distance_by_feature, js_divergence_by_feature
from detectors.kolmogorov_smirnov import ks
from detectors.ks_law import tied_ratio
from detectors.kullback_leibler import kl_by_feature
from detectors.mean_std import mean_std_drift
from detectors.moments import Moments
from detectors.psi import contributions, psi_by_feature
from detectors.total_variation import total_variation_by_feature
from detectors.wasserstein import wasserstein
from stream.aggregates import M2, MAXIMUM, MEAN, MINIMUM, Aggregate, Codes, Counts, Floats, N
from stream.model import FeatureSlot
from stream.reference import CategoricalFeature, NumericFeature

BY_BINS: Final[Mapping[str, Callable[[Counts, Counts, Codes], Floats]]] = {
    "psi": psi_by_feature,
    "js_distance": js_distance_by_feature,
    "js_divergence": js_divergence_by_feature,
    "hellinger": hellinger_by_feature,
    "total_variation": total_variation_by_feature,
    "kl": kl_by_feature,
}
OF_NUMBERS: Final = ("ks", "wasserstein", "mean_std_drift")
OF_CATEGORIES: Final = ("chi2",)
METHODS: Final = (*BY_BINS, *OF_NUMBERS, *OF_CATEGORIES)
TESTED_MIN: Final = 100  # values of either side, for a p-value to decide about an alert: benchmarks/FALSE_ALARMS.md
OF_COUNTS: Final = (*BY_BINS, "ks", "chi2")  # of nothing but counts, which can be subtracted


class Measured(NamedTuple):
    """A drift score of `n` values, None where it is undefined, and the fields of `results.Score` that stand beside it.

    With a p-value come `m`, the values of the reference, and `scale`, what part of the score at equal sample sizes the same difference
    has at these.
    """

    score: float | None
    n: int
    beside: Mapping[str, Any]
    m: int = 0
    scale: float = 1.0

    @property
    def testable(self) -> bool:
        """Whether the p-value is as good as said; with fewer rows than `TESTED_MIN` on a side it is off by half and more."""
        return self.score is not None and min(self.n, self.m) >= TESTED_MIN


@dataclass(frozen=True, slots=True)
class Binned:
    """What is had of the coarse bins of all features, end to end: scores (n_features,) by method, contributions to the PSI (total_bins,),
    and the shares of reference and window (2, total_bins)."""

    scores: dict[str, Floats]
    parts: Floats
    pair: Floats


def score_bins(methods: Collection[str], reference: Counts, current: Counts, starts: Codes) -> Binned:
    """Score all features by these of BY_BINS; those of the defaults share their shares, which cost more than the scores."""
    parts = contributions(shares(reference, current, starts, pseudocount=PSEUDOCOUNT))
    pair = shares(reference, current, starts)
    scores: dict[str, Floats] = {"psi": np.add.reduceat(parts, starts)}
    if {"js_distance", "js_divergence"} & set(methods):
        scores["js_divergence"] = divergences(pair, starts)
        scores["js_distance"] = np.sqrt(scores["js_divergence"])
    scores |= {name: BY_BINS[name](reference, current, starts) for name in methods if name not in scores}
    return Binned(scores, parts, pair)


def applies(method: str, feature: NumericFeature | CategoricalFeature) -> bool:
    """Whether a method has a meaning for this kind of feature; where it has none it is skipped."""
    return method in BY_BINS or method in (OF_NUMBERS if isinstance(feature, NumericFeature) else OF_CATEGORIES)


def measure_numbers(method: str, slot: FeatureSlot, window: Aggregate) -> Measured:
    """The score of one of OF_NUMBERS; missing values and those of the wrong type are left out on both sides."""
    feature = slot.feature
    assert isinstance(feature, NumericFeature)
    current = window.counts[slot.start : slot.start + slot.bins]
    n = int(current.sum())
    if n == 0 or not feature.counts.any():
        return Measured(None, n, {})
    if method == "ks":
        one_value = np.nextafter(feature.edges[:-1], np.inf) == feature.edges[1:]
        points = np.concatenate(([False], one_value, [False]))
        found = ks(feature.counts, current, points=points)
        p_value = found.p_value * tied_ratio(found.statistic, feature.counts, current, points)
        measured = _finite(found.statistic, n, bounds=(found.statistic, found.upper), p_value=p_value)
        return measured._replace(m=int(feature.counts.sum()))
    before, now = _reference_moments(feature), _moments(window.moments[slot.moments])
    if before is None or now is None:
        return Measured(None, n, {})
    if method == "mean_std_drift":
        drift = mean_std_drift(before, now)
        return _finite(drift.score, n, mean_shift=drift.mean_shift)
    with np.errstate(over="ignore", invalid="ignore"):  # edges may be as far apart as doubles go; what comes of it is undefined
        distance = wasserstein(feature.counts, current, feature.edges, before, now)
    return _finite(distance.normalized, n, bounds=(distance.lower, distance.upper), raw=distance.raw)


def measure_categories(reference: Counts, current: Counts) -> Measured:
    """Cramer's V of `chi2`, with statistic and p-value, from the counts of the categories, OTHER and MISSING."""
    found = chi2(reference, current)
    m, n = int(reference.sum()), int(current.sum())
    measured = _finite(found.cramers_v, n, statistic=found.statistic, p_value=found.p_value)
    return measured._replace(m=m, scale=2 * math.sqrt(n * m) / (n + m))


def counted_in(slot: FeatureSlot, period: Aggregate) -> FeatureSlot:
    """The slot of a number with the counts and moments of other rows than those of the reference, on the same edges."""
    feature, row = slot.feature, period.moments[slot.moments]
    assert isinstance(feature, NumericFeature)
    counts, missing = period.counts[slot.start : slot.start + slot.bins], int(period.counts[[slot.missing, slot.invalid]].sum())
    moments = dict.fromkeys(("mean", "std", "minimum", "maximum"), math.nan)
    if found := _moments(row):
        moments = {"std": found.std, "minimum": found.minimum, "maximum": found.maximum}
        moments["mean"] = min(max(found.mean, found.minimum), found.maximum)  # merged means are right to rounding only
    return replace(slot, feature=with_fields(feature, counts=counts, missing=missing, **moments))


def of_bins(method: str, score: float, psi_p_value: float, n: int, m: int) -> Measured:
    """The score of one of BY_BINS, with the p-value if it is PSI."""
    return Measured(score, n, {"p_value": psi_p_value}, m) if method == "psi" else Measured(score, n, {})


def _finite(score: float, n: int, **beside: Any) -> Measured:
    """The score, or none if a number of it is beyond what a double holds."""
    numbers = [score, *(x for value in beside.values() for x in (value if isinstance(value, tuple) else (value,)))]
    return Measured(score, n, beside) if all(map(math.isfinite, numbers)) else Measured(None, n, {})


def _reference_moments(feature: NumericFeature) -> Moments | None:
    """None if the reference has no finite value, or was built without moments."""
    return None if math.isnan(feature.mean) else Moments(feature.mean, feature.std, feature.minimum, feature.maximum)


def _moments(row: Floats) -> Moments | None:
    if row[N] == 0:
        return None
    return Moments(float(row[MEAN]), math.sqrt(row[M2] / row[N]), float(row[MINIMUM]), float(row[MAXIMUM]))
