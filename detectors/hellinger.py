"""Hellinger distance of binned features; shares are not smoothed."""

import math

import numpy as np

from detectors.counts import ONE, Counts, Floats, Starts, shares


def hellinger(reference: Counts, current: Counts) -> float:
    """Hellinger distance, sqrt(sum_i (sqrt(q_i) - sqrt(p_i))^2 / 2).

    Args:
        reference, current: (n_bins,) int64 counts on the same edges; totals may differ. Not modified.
    Returns:
        A metric in [0, 1]: 0 when the shares agree, 1 when no bin is filled in both. Symmetric. Its square is at most
        `total_variation`, which is at most sqrt(2) times it.
    Raises:
        ValueError: shapes differ, a count is negative, or a total is zero.
    References:
        E. Hellinger, Neue Begruendung der Theorie quadratischer Formen von unendlichvielen Veraenderlichen, J. Reine Angew. Math. 136,
        1909, 210-271.

    >>> round(hellinger(np.array([5, 5]), np.array([9, 1])), 4)
    0.3249
    """
    return float(hellinger_by_feature(reference, current, ONE)[0])


def hellinger_by_feature(reference: Counts, current: Counts, starts: Starts) -> Floats:
    """`hellinger` of each feature, (n_features,) float64, from histograms that lie end to end.

    Args:
        reference, current: (total_bins,) int64 counts on the same edges. Not modified.
        starts: (n_features,) first bin of each feature: 0, then increasing.
    Raises:
        ValueError: as in `hellinger`, or starts are out of range.

    >>> hellinger_by_feature(np.array([5, 5, 7]), np.array([9, 1, 7]), np.array([0, 2])).round(4)
    array([0.3249, 0.    ])
    """
    p, q = np.sqrt(shares(reference, current, starts))
    distances: Floats = np.sqrt(np.add.reduceat((q - p) ** 2, starts)) / math.sqrt(2)
    return distances.clip(0.0, 1.0)  # rounding can leave 1 by some 1e-16
