"""Total variation distance of binned features; shares are not smoothed."""

import numpy as np

from detectors.counts import ONE, Counts, Floats, Starts, shares


def total_variation(reference: Counts, current: Counts) -> float:
    """Total variation distance, sum_i |q_i - p_i| / 2: the share of rows that would have to move to another bin.

    Args:
        reference, current: (n_bins,) int64 counts on the same edges; totals may differ. Not modified.
    Returns:
        A metric in [0, 1]: 0 when the shares agree, 1 when no bin is filled in both. Symmetric.
    Raises:
        ValueError: shapes differ, a count is negative, or a total is zero.
    References:
        A. L. Gibbs, F. E. Su, On Choosing and Bounding Probability Metrics, Int. Stat. Rev. 70(3), 2002, 419-435.

    >>> total_variation(np.array([5, 5]), np.array([9, 1]))
    0.4
    """
    return float(total_variation_by_feature(reference, current, ONE)[0])


def total_variation_by_feature(reference: Counts, current: Counts, starts: Starts) -> Floats:
    """`total_variation` of each feature, (n_features,) float64, from histograms that lie end to end.

    Args:
        reference, current: (total_bins,) int64 counts on the same edges. Not modified.
        starts: (n_features,) first bin of each feature: 0, then increasing.
    Raises:
        ValueError: as in `total_variation`, or starts are out of range.

    >>> total_variation_by_feature(np.array([5, 5, 7]), np.array([9, 1, 7]), np.array([0, 2]))
    array([0.4, 0. ])
    """
    p, q = shares(reference, current, starts)
    distances: Floats = np.add.reduceat(np.abs(q - p), starts) / 2
    return distances.clip(0.0, 1.0)  # rounding can leave 1 by some 1e-16
