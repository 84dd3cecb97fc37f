"""Jensen-Shannon divergence and distance of binned features. Base 2 throughout, so that both lie in [0, 1]; shares are not smoothed."""

import math

import numpy as np
from scipy.special import rel_entr

from detectors.counts import ONE, Counts, Floats, Starts, shares


def js_divergence(reference: Counts, current: Counts) -> float:
    """Jensen-Shannon divergence, (KL(p || m) + KL(q || m)) / 2 with m = (p + q) / 2, in bits.

    Args:
        reference, current: (n_bins,) int64 counts on the same edges; totals may differ. Not modified.
    Returns:
        A score in [0, 1]: 0 when the shares agree, 1 when no bin is filled in both. Symmetric. Not the distance, which is its square root.
    Raises:
        ValueError: shapes differ, a count is negative, or a total is zero.
    References:
        J. Lin, Divergence Measures Based on the Shannon Entropy, IEEE Trans. Inf. Theory 37(1), 1991, 145-151.

    >>> js_divergence(np.array([5, 5, 0]), np.array([0, 0, 80]))
    1.0
    >>> round(js_divergence(np.array([5, 5]), np.array([9, 1])), 4)
    0.1468
    """
    return float(js_divergence_by_feature(reference, current, ONE)[0])


def js_distance(reference: Counts, current: Counts) -> float:
    """Jensen-Shannon distance, a metric in [0, 1]: the square root of `js_divergence`; arguments and errors as there.

    References:
        D. M. Endres, J. E. Schindelin, A New Metric for Probability Distributions, IEEE Trans. Inf. Theory 49(7), 2003, 1858-1860.

    >>> round(js_distance(np.array([5, 5]), np.array([9, 1])), 4)
    0.3831
    """
    return math.sqrt(js_divergence(reference, current))


def js_divergence_by_feature(reference: Counts, current: Counts, starts: Starts) -> Floats:
    """`js_divergence` of each feature, (n_features,) float64, from histograms that lie end to end.

    Args:
        reference, current: (total_bins,) int64 counts on the same edges. Not modified.
        starts: (n_features,) first bin of each feature: 0, then increasing.
    Raises:
        ValueError: as in `js_divergence`, or starts are out of range.

    >>> js_divergence_by_feature(np.array([5, 5, 7]), np.array([9, 1, 7]), np.array([0, 2])).round(4)
    array([0.1468, 0.    ])
    """
    return divergences(shares(reference, current, starts), starts)


def divergences(pair: Floats, starts: Starts) -> Floats:
    """`js_divergence` of each feature, from shares of the reference (row 0) and the current side (row 1)."""
    nats = rel_entr(pair, pair.mean(axis=0)).sum(axis=0)  # rel_entr counts 0 log 0 as 0
    bits: Floats = np.add.reduceat(nats, starts) / math.log(4)
    return bits.clip(0.0, 1.0)  # rounding can leave either end by some 1e-16


def js_distance_by_feature(reference: Counts, current: Counts, starts: Starts) -> Floats:
    """`js_distance` of each feature; arguments and errors as in `js_divergence_by_feature`.

    >>> js_distance_by_feature(np.array([5, 5, 7]), np.array([9, 1, 7]), np.array([0, 2])).round(4)
    array([0.3831, 0.    ])
    """
    distances: Floats = np.sqrt(js_divergence_by_feature(reference, current, starts))
    return distances
