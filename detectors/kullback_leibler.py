"""Kullback-Leibler divergence of binned features, current from reference, in nats; shares are smoothed as for PSI."""

import numpy as np
from scipy.special import rel_entr

from detectors.counts import ONE, PSEUDOCOUNT, Counts, Floats, Starts, shares


def kl(reference: Counts, current: Counts, *, pseudocount: float = PSEUDOCOUNT) -> float:
    """Kullback-Leibler divergence of the current shares q from the reference's p, sum_i q_i ln(q_i / p_i), in nats.

    Args:
        reference, current: (n_bins,) int64 counts on the same edges; totals may differ. Not modified.
        pseudocount: added to each bin that either side uses, before normalising; 0 gives the textbook value, or inf.
    Returns:
        A score >= 0, unbounded; 0 when the smoothed shares agree. Not symmetric: both directions together are `psi`.
    Raises:
        ValueError: shapes differ, a count or the pseudocount is negative, or a total is zero.
    References:
        S. Kullback, R. A. Leibler, On Information and Sufficiency, Ann. Math. Stat. 22(1), 1951, 79-86.

    >>> round(kl(np.array([50, 50]), np.array([90, 10])), 4)
    0.3594
    """
    return float(kl_by_feature(reference, current, ONE, pseudocount=pseudocount)[0])


def kl_by_feature(reference: Counts, current: Counts, starts: Starts, *, pseudocount: float = PSEUDOCOUNT) -> Floats:
    """`kl` of each feature, (n_features,) float64, from histograms that lie end to end.

    Args:
        reference, current: (total_bins,) int64 counts on the same edges. Not modified.
        starts: (n_features,) first bin of each feature: 0, then increasing.
        pseudocount: as in `kl`.
    Raises:
        ValueError: as in `kl`, or starts are out of range.

    >>> kl_by_feature(np.array([50, 50, 7]), np.array([90, 10, 7]), np.array([0, 2])).round(4)
    array([0.3594, 0.    ])
    """
    p, q = shares(reference, current, starts, pseudocount=pseudocount)
    divergences: Floats = np.add.reduceat(rel_entr(q, p), starts)  # rel_entr counts 0 log 0 as 0
    return divergences.clip(0.0)  # rounding can leave 0 by some 1e-16
