"""Two-sample Kolmogorov-Smirnov test of a binned number. Edges are the caller's; what the bins hide is said by a bound."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import kolmogorov

from detectors.counts import Counts, shares

_LIMIT_FROM: Final = 2_000


@dataclass(frozen=True, slots=True)
class KolmogorovSmirnov:
    """The statistic D from bins, the most that it can be on the raw rows, and the p-value of D."""

    statistic: float
    upper: float
    p_value: float


def ks(reference: Counts, current: Counts, *, points: NDArray[np.bool_] | None = None) -> KolmogorovSmirnov:
    """Kolmogorov-Smirnov statistic, D = max |F - G| over the edges between bins, F and G the cumulative shares.

    Args:
        reference, current: (n_bins,) int64 counts of bins in the order of their values, without missing ones. Not modified.
        points: (n_bins,) bins that hold one value only, inside which F - G cannot differ from its value at the edge; None: none is.
    Returns:
        `statistic` in [0, 1]. On the raw rows D lies in [statistic, upper], and upper is at most the statistic plus the largest mass of a
        bin: inside bin i, F - G is at most F_i - G_{i-1}, and at least F_{i-1} - G_i. `p_value` is that of the statistic in the
        asymptotic law of the two-sample test, Kolmogorov's for nm / (n + m) rows; with ties, so with bins, it errs on the large side,
        by how much is in `ks_law`. With many rows every difference is significant: judge the statistic, not its p-value.
    Raises:
        ValueError: shapes differ, a count is negative, or a total is zero.
    References:
        N. Smirnov, Table for Estimating the Goodness of Fit of Empirical Distributions, Ann. Math. Stat. 19(2), 1948, 279-281.
        R. Simard, P. L'Ecuyer, Computing the Two-Sided Kolmogorov-Smirnov Distribution, J. Stat. Softw. 39(11), 2011.
        J. Vrbik, Small-Sample Corrections to Kolmogorov-Smirnov Test Statistic, Pioneer J. Theor. Appl. Stat. 15(1), 2018.

    >>> found = ks(np.array([50, 30, 20]), np.array([20, 30, 50]))
    >>> round(found.statistic, 6), round(found.upper, 6), round(found.p_value, 6)
    (0.3, 0.6, 0.000174)
    >>> ks(np.array([50, 30, 20]), np.array([20, 30, 50]), points=np.array([True, True, True])).upper == found.statistic
    True
    """
    f, g = shares(reference, current)
    below_f, below_g = (np.concatenate(([0.0], np.cumsum(side)[:-1])) for side in (f, g))
    statistic = float(np.abs(below_f - below_g).max())
    inside = np.maximum(below_f + f - below_g, below_g + g - below_f)
    if points is not None:
        inside = inside[~points]
    # round(nm/(n+m)) rows is what scipy.stats.ks_2samp(method="asymp") takes; less than one row has no law
    n, m = int(current.sum()), int(reference.sum())
    p_value = _p_value(min(statistic, 1.0), max(round(n * m / (n + m)), 1))
    return KolmogorovSmirnov(min(statistic, 1.0), float(min(max(statistic, inside.max(initial=0.0)), 1.0)), p_value)


def _p_value(statistic: float, rows: int) -> float:
    """Kolmogorov's law for so many rows: exactly, or from `_LIMIT_FROM` rows on in the limit with the correction of Vrbik.

    Exactly takes up to a second for a million rows; the limit is within 1 % of it down to p = 1e-5.
    """
    if rows >= _LIMIT_FROM:
        return float(kolmogorov(math.sqrt(rows) * statistic + 1 / (6 * math.sqrt(rows))))
    from scipy.stats import kstwo  # here, as it takes 48 MB, which a worker that never asks for it need not spend

    return float(np.clip(kstwo.sf(statistic, rows), 0.0, 1.0))
