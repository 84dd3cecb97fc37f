"""The drift methods: which there are, what kinds of features each applies to, and what it is given of a window and its reference.

Methods over the coarse bins (with MISSING and, for categories, OTHER) score all features in one go. The others look at one feature:
at the fine bins and the moments of a number, so at what is not missing, or at the counts of a category.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace as with_fields

from detectors.chi_square import chi2
from detectors.counts import PSEUDOCOUNT, shares
from detectors.explain import BinShift, most_moved
from detectors.hellinger import hellinger_by_feature
from detectors.jensen_shannon import divergences, js_distance_by_feature, js_divergence_by_feature
from detectors.kolmogorov_smirnov import ks
from detectors.ks_law import tied_ratio
from detectors.kullback_leibler import kl_by_feature
from detectors.mean_std import mean_std_drift
from detectors.moments import Moments
from detectors.psi import contributions, psi_by_feature
from detectors.psi_law import psi_p_values
from detectors.total_variation import total_variation_by_feature
from detectors.wasserstein import wasserstein
from stream.aggregates import M2, MAXIMUM, MEAN, MINIMUM, Aggregate, Codes, Counts, Floats, N
from stream.model import FeatureSlot
from stream.reference import CategoricalFeature, NumericFeature
from stream.settings_thresholds import OF_KIND, FeatureKind

BY_BINS: Final[Mapping[str, Callable[[Counts, Counts, Codes], Floats]]] = {
    "psi": psi_by_feature,
    "js_distance": js_distance_by_feature,
    "js_divergence": js_divergence_by_feature,
    "hellinger": hellinger_by_feature,
    "total_variation": total_variation_by_feature,
    "kl": kl_by_feature,
}
OF_NUMBERS: Final = OF_KIND["numeric"]
OF_CATEGORIES: Final = OF_KIND["categorical"]
METHODS: Final = (*BY_BINS, *OF_NUMBERS, *OF_CATEGORIES)
TESTED_MIN: Final = 100  # values of either side, for a p-value to decide about an alert: benchmarks/FALSE_ALARMS.md
_BINS_AT_ONCE: Final = 20_000  # that are compared at once: 160 KB a column, which the cache takes
OF_COUNTS: Final = (*BY_BINS, "ks", "chi2")  # of nothing but counts, which can be subtracted


class Measured(NamedTuple):
    """A drift score of `n` values, None where it is undefined, and the fields of `results_values.Score` that stand beside it.

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


class Histograms(NamedTuple):
    """What is compared in a window: counts (total_bins,) of the coarse bins of its features, end to end, none of which is empty.

    `starts`, (n_features,): first bin of each. `quantiles`, (n_features,): whether the bins are quantiles of the reference. `labels`: names
    of the bins of each. `methods`: those of BY_BINS that are wanted of any.
    """

    reference: Counts
    current: Counts
    starts: Codes
    quantiles: npt.NDArray[np.bool_]
    labels: Sequence[Sequence[str]]
    methods: tuple[str, ...]


class Compared(NamedTuple):
    """Of each feature its scores by method, the p-value of its PSI, 1 if that is not wanted, and what moved most; of all bins the window's
    counts, (total_bins,), and the shares of both sides, (2, total_bins)."""

    current: Counts
    scores: dict[str, list[float]]
    p_values: list[float]
    tops: list[tuple[BinShift, ...]]
    pair: Floats


def compare(windows: Sequence[Histograms], bins_at_once: int = _BINS_AT_ONCE) -> list[Compared]:
    """Score the features of many windows, as many at once as they have methods in common: of one, numpy's calls cost more than its sums."""
    found: dict[int, Compared] = {}
    for methods in dict.fromkeys(window.methods for window in windows):
        alike = [i for i, window in enumerate(windows) if window.methods == methods]
        at_once = max(1, bins_at_once // max(windows[i].reference.size for i in alike))
        for start in range(0, len(alike), at_once):
            part = alike[start : start + at_once]
            found |= zip(part, _compare(methods, [windows[i] for i in part]), strict=True)
    return [found[i] for i in range(len(windows))]


def _compare(methods: tuple[str, ...], windows: Sequence[Histograms]) -> list[Compared]:
    """Those of the methods of the defaults share their shares, which cost more than the scores."""
    reference, current = (np.concatenate([getattr(window, side) for window in windows]) for side in ("reference", "current"))
    bins = list(accumulate((window.reference.size for window in windows), initial=0))
    features = list(accumulate((window.starts.size for window in windows), initial=0))
    starts = np.concatenate([window.starts + first for window, first in zip(windows, bins, strict=False)])
    parts = contributions(shares(reference, current, starts, pseudocount=PSEUDOCOUNT))
    pair = shares(reference, current, starts)
    scores: dict[str, Floats] = {"psi": np.add.reduceat(parts, starts)}
    if {"js_distance", "js_divergence"} & set(methods):
        scores["js_divergence"] = divergences(pair, starts)
        scores["js_distance"] = np.sqrt(scores["js_divergence"])
    scores |= {name: BY_BINS[name](reference, current, starts) for name in methods if name not in scores}
    p_values = np.ones(starts.size)
    if "psi" in methods:
        p_values = psi_p_values(reference, current, starts, np.concatenate([window.quantiles for window in windows]))
    tops = most_moved(parts, pair, starts, [names for window in windows for names in window.labels])
    return [
        Compared(one.current, {name: scores[name][at].tolist() for name in methods}, p_values[at].tolist(), tops[at], pair[:, slice(*ends)])
        for one, at, ends in zip(windows, (slice(*ends) for ends in pairwise(features)), pairwise(bins), strict=True)
    ]


def kind_of(feature: NumericFeature | CategoricalFeature) -> FeatureKind:
    """By which the configuration tells features apart."""
    return "numeric" if isinstance(feature, NumericFeature) else "categorical"


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
