"""Two-sample Kolmogorov-Smirnov test of a binned number. Edges are the caller's; what the bins hide is said by a bound."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.counts import Counts, shares


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

    >>> found = ks(np.array([50, 30, 20]), np.array([20, 30, 50]))
    >>> round(found.statistic, 6), round(found.upper, 6), round(found.p_value, 6)
    (0.3, 0.6, 0.000174)
    >>> ks(np.array([50, 30, 20]), np.array([20, 30, 50]), points=np.array([True, True, True])).upper == found.statistic
    True
    """
    from scipy.stats import kstwo  # here, as it takes 48 MB, which a worker that never asks for it need not spend

    f, g = shares(reference, current)
    below_f, below_g = (np.concatenate(([0.0], np.cumsum(side)[:-1])) for side in (f, g))
    statistic = float(np.abs(below_f - below_g).max())
    inside = np.maximum(below_f + f - below_g, below_g + g - below_f)
    if points is not None:
        inside = inside[~points]
    # kstwo of round(nm/(n+m)) rows is what scipy.stats.ks_2samp(method="asymp") takes; less than one row has no law
    n, m = int(current.sum()), int(reference.sum())
    p_value = float(np.clip(kstwo.sf(min(statistic, 1.0), max(round(n * m / (n + m)), 1)), 0.0, 1.0))
    return KolmogorovSmirnov(min(statistic, 1.0), float(min(max(statistic, inside.max(initial=0.0)), 1.0)), p_value)
