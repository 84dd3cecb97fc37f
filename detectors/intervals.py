"""Intervals for chance, of ratios, of other metrics that have a variance, and of sums; and bounds of what bins hide. No metric here.

`scipy.stats.binomtest(...).proportion_ci` takes half a millisecond a ratio, as it tests first; a window has hundreds of ratios, so the
four lines of Wilson's formula stand here, for arrays, and scipy is the oracle of their test.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv, ndtri

from detectors.counts import Counts, Floats


@dataclass(frozen=True, slots=True)
class Measured:
    """A metric of `n` rows and the interval that covers its value on unlimited rows of the same kind as often as was asked."""

    value: float
    lower: float
    upper: float
    n: int


@dataclass(frozen=True, slots=True)
class Bounded:
    """A figure from bins; that of the raw rows lies in [lower, upper], for certain. It says nothing about chance."""

    value: float
    lower: float
    upper: float


def wilson(hits: Counts | Floats, rows: Counts | Floats, confidence: float = 0.95) -> Floats:
    """Wilson's score interval of hits / rows: lower (row 0) and upper (row 1), (2, ...) float64 in [0, 1]; without rows [0, 1].

    Args:
        hits, rows: of one shape, 0 <= hits <= rows; need not be whole, so that an effective number of rows will do. Not modified.
        confidence: in (0, 1), two-sided.
    Raises:
        ValueError: confidence is out of range.
    References:
        E. B. Wilson, Probable Inference, the Law of Succession, and Statistical Inference, J. Am. Stat. Assoc. 22(158), 1927, 209-212.

    >>> wilson(np.array(5), np.array(40)).round(4)
    array([0.0546, 0.2611])
    """
    z2, hits, rows = z_of(confidence) ** 2, np.asarray(hits, np.float64), np.asarray(rows, np.float64)  # whose product may pass 2^63
    middle = (hits + z2 / 2) / (rows + z2)
    half = np.sqrt(z2 * (hits * (rows - hits) / np.maximum(rows, 1e-300) + z2 / 4)) / (rows + z2)
    both = np.stack((middle - half, middle + half)).clip(0.0, 1.0)
    both[0] = np.where(hits == 0, 0.0, both[0])  # but for rounding
    both[1] = np.where(hits == rows, 1.0, both[1])
    return both


def exact(hits: Counts, rows: Counts, confidence: float = 0.95) -> Floats:
    """Clopper and Pearson's interval of hits / rows, as `wilson`: it leaves the truth out at most as often as asked, on each side.

    Wilson's does so in the mean over shares; near 0 and 1, and of few rows, it leaves the truth out a hundred times as often as 1 - 0.999.

    References:
        C. J. Clopper, E. S. Pearson, The Use of Confidence or Fiducial Limits Illustrated in the Case of the Binomial, Biometrika 26(4),
        1934, 404-413.

    >>> exact(np.array(5), np.array(40)).round(4)
    array([0.0419, 0.268 ])
    """
    z_of(confidence)  # refuses what is out of range
    misses, outside = rows - hits, (1 - confidence) / 2
    lower = np.where(hits > 0, betaincinv(np.maximum(hits, 1), misses + 1, outside), 0.0)
    upper = np.where(misses > 0, betaincinv(hits + 1, np.maximum(misses, 1), 1 - outside), 1.0)
    return np.stack((lower, upper))


def wilson_of(value: float, variance: float, n_least: int, n_most: float = math.inf, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a metric in [0, 1] that is no ratio of counts, from the rows that a ratio of this variance would have.

    Those are value (1 - value) / variance, kept within [n_least, n_most]; where the variance is 0, as where all is right, n_least.
    A plain value +- z sd would leave [0, 1], and would be certain of a metric that is 1 by chance.

    References:
        N. Dean, M. Pagano, Evaluating Confidence Interval Methods for Binomial Proportions in Clustered Surveys, J. Surv. Stat.
        Methodol. 3(4), 2015, 484-503.

    >>> wilson_of(0.125, 0.125 * 0.875 / 40, 1, 1000) == tuple(wilson(np.array(5), np.array(40)))
    True
    """
    rows = min(max(value * (1 - value) / variance, n_least), n_most) if variance > 0 else n_least
    lower, upper = wilson(np.array(value * rows), np.array(float(rows)), confidence)
    return float(min(lower, value)), float(max(upper, value))


def combined(values: Floats, intervals: Floats, weights: Floats, correlation: Floats | None = None) -> tuple[float, float]:
    """Interval of sum w_i v_i from the intervals of the v_i, by recovering variances (MOVER); of a difference with weights (1, -1).

    Each side of the sum takes the distances to that side of the parts, which need not be symmetric: sqrt(sum_ij r_ij w_i d_i w_j d_j).

    Args:
        values, weights: (k,) float64.
        intervals: (2, k) float64, lower and upper of each.
        correlation: (k, k) r of the estimates; None: they are independent.
    References:
        G. Y. Zou, A. Donner, Construction of Confidence Limits about Effect Measures, Stat. Med. 27(10), 2008, 1693-1702.

    >>> difference = combined(np.array([0.9, 0.8]), np.array([[0.87, 0.76], [0.93, 0.84]]), np.array([1.0, -1.0]))
    >>> np.round(difference, 6).tolist()
    [0.05, 0.15]
    """
    value, lower, upper = float(values @ weights), weights * (values - intervals[0]), weights * (intervals[1] - values)
    rising = weights > 0
    sides = np.where(rising, lower, upper), np.where(rising, upper, lower)
    below, above = (math.sqrt(max(float(d @ d if correlation is None else d @ correlation @ d), 0.0)) for d in sides)
    return value - below, value + above


def z_of(confidence: float) -> float:
    """The quantile of the normal law that leaves (1 - confidence) / 2 on each side.

    >>> round(z_of(0.95), 4)
    1.96
    """
    if not 0 < confidence < 1:
        raise ValueError(f"cannot set an interval: confidence={confidence!r}, expected in (0, 1); 0.95 is usual")
    return float(ndtri((1 + confidence) / 2))
