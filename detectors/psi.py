"""Population Stability Index of binned features. Edges and coarse bins are the caller's; scores are never negative and never NaN."""

import numpy as np

from detectors.counts import ONE, PSEUDOCOUNT, Counts, Floats, Starts, shares


def psi(reference: Counts, current: Counts, *, pseudocount: float = PSEUDOCOUNT) -> float:
    """Population Stability Index, sum_i (q_i - p_i) ln(q_i / p_i), in nats: the divergence J of Kullback & Leibler.

    Args:
        reference, current: (n_bins,) int64 counts on the same edges; totals may differ. Not modified.
        pseudocount: added to each bin before normalising, (c + pseudocount) / (n + pseudocount * n_bins), so empty bins stay finite
            and weigh less the fewer rows there are; 0 gives the textbook value, or inf. Bins empty on both sides are left out of n_bins.
    Returns:
        A score >= 0, unbounded; 0 when the smoothed shares agree. Symmetric. Without drift it is not 0 but about
        (1/n + 1/m) (n_bins - 1), n and m the totals (Yurdakul 2018); `psi_law` has the p-value.
    Raises:
        ValueError: shapes differ, a count or the pseudocount is negative, or a total is zero.
    References:
        S. Kullback, R. A. Leibler, On Information and Sufficiency, Ann. Math. Stat. 22(1), 1951, 79-86.
        B. Yurdakul, Statistical Properties of Population Stability Index, Western Michigan University, 2018.

    >>> psi(np.array([50, 50]), np.array([50, 50]))
    0.0
    >>> round(psi(np.array([50, 50]), np.array([90, 10])), 4)
    0.8531
    """
    return float(psi_by_feature(reference, current, ONE, pseudocount=pseudocount)[0])


def psi_by_feature(reference: Counts, current: Counts, starts: Starts, *, pseudocount: float = PSEUDOCOUNT) -> Floats:
    """`psi` of each feature, (n_features,) float64, from histograms that lie end to end.

    Args:
        reference, current: (total_bins,) int64 counts on the same edges. Not modified.
        starts: (n_features,) first bin of each feature: 0, then increasing.
        pseudocount: as in `psi`.
    Raises:
        ValueError: as in `psi`, or starts are out of range.

    >>> psi_by_feature(np.array([50, 50, 7]), np.array([90, 10, 7]), np.array([0, 2])).round(4)
    array([0.8531, 0.    ])
    """
    return np.add.reduceat(contributions(shares(reference, current, starts, pseudocount=pseudocount)), starts)


def psi_contributions(reference: Counts, current: Counts, *, pseudocount: float = PSEUDOCOUNT) -> Floats:
    """What each bin adds to `psi`, (n_bins,) float64 in nats, each >= 0; arguments and errors as there.

    >>> psi_contributions(np.array([50, 50]), np.array([90, 10])).round(4)
    array([0.231, 0.622])
    """
    return contributions(shares(reference, current, pseudocount=pseudocount))


def contributions(pair: Floats) -> Floats:
    """What each bin adds, from shares of the reference (row 0) and the current side (row 1), smoothed or not."""
    p, q = pair
    with np.errstate(divide="ignore", invalid="ignore"):  # q/0 is inf without pseudocount, as it should be; 0/0 is replaced below
        parts = (q - p) * np.log(q / p)
    return np.where(q == p, 0.0, parts)
