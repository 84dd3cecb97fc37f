"""The law of PSI without drift: how probable a score as high would be. No score is computed here that is reported.

For n and m rows from one distribution PSI / (1/n + 1/m) is about chi-square with one degree of freedom fewer than there are bins, as long
as every bin expects enough rows on either side. So is Pearson's statistic. Far out neither is: of bins that expect some ten rows the one
is too large where they lose rows, the other where they gain. One third of the one and two thirds of the other are chi-square down to
levels of 1e-4. Bins that expect few are taken together first; what is too little even so is tested exactly, apart.
`benchmarks/FALSE_ALARMS.md` shows where this holds.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, chdtrc

from detectors.chi_square import EXPECTED_MIN
from detectors.counts import PSEUDOCOUNT, Counts, Floats, Starts
from detectors.psi import contributions

_POOL: Final = (
    2 * EXPECTED_MIN
)  # rows between the ends of two pools: with members below EXPECTED_MIN each pool expects at least EXPECTED_MIN
_OF_RARE: Final = 0.1  # of the level is spent on rare bins: enough for a value that was never seen, and the rest keeps its rate


def psi_p_values(
    reference: Counts, current: Counts, starts: Starts, quantiles: NDArray[np.bool_], *, pseudocount: float = PSEUDOCOUNT
) -> Floats:
    """p-value of `psi` of each feature, (n_features,) float64 in [0, 1], from histograms that lie end to end.

    Bins that expect fewer than 5 rows on the smaller side are pooled: quantiles in their order, to pools that expect 5 to 20; others to a
    single one, as categories stand in the order of the reference's rows, and neighbours are alike by its chance. If all of them together
    expect fewer than 5, they are tested apart: of their rows the current side has a binomial number. The smaller p-value counts then,
    with nine tenths of the level for the law and one tenth for the rare bins. A feature with a single bin has p-value 1.

    Args:
        reference, current: (total_bins,) int64 counts on the same edges, no total zero. Not modified.
        starts: (n_features,) first bin of each feature: 0, then increasing.
        quantiles: (n_features,) whether the bins are quantiles of the reference. Its counts then are no chance, and what a bin expects
            follows from them; else from both sides. Pooling by what is chance only on one side would pick bins that differ.
        pseudocount: as in `psi`.
    References:
        B. Yurdakul, Statistical Properties of Population Stability Index, Western Michigan University, 2018.
        N. Cressie, T. R. C. Read, Multinomial Goodness-of-Fit Tests, J. R. Stat. Soc. B 46(3), 1984: on tails of the statistics between.
        J. Przyborowski, H. Wilenski, Homogeneity of Results in Testing Samples from Poisson Series, Biometrika 31(3/4), 1940.

    >>> psi_p_values(np.array([500, 500, 7]), np.array([90, 110, 7]), np.array([0, 2]), np.array([True, False])).round(3)
    array([0.197, 1.   ])
    """
    pools, rare = _pooled(np.stack((reference, current)), starts, quantiles)
    starts = 2 * starts
    sizes = np.diff(starts, append=pools.shape[1])
    used = pools.any(axis=0)
    n_used = np.add.reduceat(used, starts, dtype=np.int64)
    totals = np.add.reduceat(pools, starts, axis=1)
    rows = totals.prod(axis=0, dtype=np.float64) / np.maximum(totals.sum(axis=0), 1)  # 1 / (1/n + 1/m)
    smoothed = (pools + pseudocount * used) / np.repeat(np.maximum(totals + pseudocount * n_used, 1), sizes, axis=1)
    of_psi = np.add.reduceat(np.where(used, contributions(smoothed), 0.0), starts) * rows
    both = pools / np.repeat(np.maximum(totals, 1), sizes, axis=1)
    of_pearson = np.add.reduceat((both[1] - both[0]) ** 2 / np.maximum(pools.sum(axis=0), 1), starts) * rows * totals.sum(axis=0)
    by_law: Floats = np.where(n_used > 1, chdtrc(np.maximum(n_used - 1, 1), (of_psi + 2 * of_pearson) / 3), 1.0)
    if not rare.any():
        return by_law
    of_rare = _rare_p_values(rare, totals + rare)
    either = np.minimum(np.minimum(by_law / (1 - _OF_RARE), of_rare / _OF_RARE), 1.0)
    p_values: Floats = np.where(rare.any(axis=0) & (n_used > 1), either, np.minimum(by_law, of_rare))
    return p_values


def _pooled(counts: Counts, starts: Starts, quantiles: NDArray[np.bool_]) -> tuple[Counts, Counts]:
    """Counts of bins and pools, (2, 2 total_bins), a feature's from twice its start on; and of what is too rare, (2, n_features).

    A bin of its own keeps twice its position; pools stand between them. What is empty on both sides is not there.
    """
    sizes = np.diff(starts, append=counts.shape[1])
    feature = np.repeat(np.arange(starts.size), sizes)
    totals = np.add.reduceat(counts, starts, axis=1)
    chance = np.where(quantiles[feature], counts[0], counts.sum(axis=0))
    expected = totals.min(axis=0) / np.where(quantiles, totals[0], totals.sum(axis=0))  # rows of the smaller side, for each one of `chance`
    small = chance * expected[feature] < EXPECTED_MIN
    rows = np.cumsum(np.where(small, chance, 0))
    rows -= np.repeat(rows[starts] - np.where(small, chance, 0)[starts], sizes)
    last = ((rows[starts + sizes - 1] * expected - EXPECTED_MIN) // _POOL).astype(np.int64)  # -1: all together expect too few
    last = np.where(quantiles, last, np.minimum(last, 0))
    pool = np.minimum(rows * expected[feature] // _POOL, last[feature]).astype(np.int64)
    places = np.where(small, 2 * (starts[feature] + pool) + 1, 2 * np.arange(counts.shape[1]))
    places[small & (pool < 0)] = 2 * counts.shape[1] + feature[small & (pool < 0)]
    sums = np.stack([np.bincount(places, side, 2 * counts.shape[1] + starts.size) for side in counts]).astype(np.int64)
    return sums[:, : 2 * counts.shape[1]], sums[:, 2 * counts.shape[1] :]


def _rare_p_values(rare: Counts, totals: Counts) -> Floats:
    """Two-sided: of a feature's rare rows, each is on the current side with the probability of any row; 1 without rare rows."""
    k, trials = rare[1], rare.sum(axis=0)
    share = totals[1] / totals.sum(axis=0)
    at_least = np.where(k > 0, betainc(np.maximum(k, 1), trials - k + 1, share), 1.0)
    at_most = np.where(k < trials, betainc(np.maximum(trials - k, 1), k + 1, 1 - share), 1.0)
    p_values: Floats = np.minimum(2 * np.minimum(at_least, at_most), 1.0)
    return p_values
