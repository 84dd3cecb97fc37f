"""Chi-square test of homogeneity of a category: do the reference and the current counts come from one distribution?"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import chdtrc

from detectors.counts import Counts, Floats, shares

EXPECTED_MIN: Final = 5  # W. G. Cochran, Some Methods for Strengthening the Common chi-square Tests, Biometrics 10(4), 1954
_EXACT_MAX: Final = 10**6  # rows; fisher_exact takes some ms there, and overflows from about 6e9 rows


@dataclass(frozen=True, slots=True)
class ChiSquare:
    """Statistic, degrees of freedom, p-value, and Cramer's V."""

    statistic: float
    df: int
    p_value: float
    cramers_v: float


def chi2(reference: Counts, current: Counts) -> ChiSquare:
    """Pearson's two-sample chi-square, sum (observed - expected)^2 / expected over both rows of the contingency table.

    Categories that are empty on both sides are not there. Those with fewer than 5 expected on either side are pooled; if the pool expects
    fewer than 5 still, it takes in the smallest other category, as long as two remain. No Yates correction. Two categories of which one
    expects fewer than 5 are left as they are, with the p-value of Fisher's exact test, so that a constant that starts to vary is seen.
    A few rows of a value that the reference does not have may so vanish among others: that is what the ratio of unseen values is for.

    Args:
        reference, current: (n_categories,) int64 counts of the same categories; totals may differ. Not modified.
    Returns:
        `cramers_v`, sqrt(statistic / (n + m)), in [0, 1] is the effect size: 0 when the shares agree, 1 when no category is on both
        sides. The less balanced n and m are, the smaller it is for the same shares: with n much smaller than m as sqrt(n / (n + m)).
        A constant column has statistic 0, no degrees of freedom, p-value 1 and V 0.
    Raises:
        ValueError: shapes differ, a count is negative, or a total is zero.
    References:
        K. Pearson, On the Probability that Two Independent Distributions of Frequency ..., Biometrika 8(1/2), 1911, 250-254.
        H. Cramer, Mathematical Methods of Statistics, Princeton University Press, 1946, ch. 21.

    >>> found = chi2(np.array([60, 30, 10]), np.array([40, 40, 20]))
    >>> round(found.statistic, 4), found.df, round(found.p_value, 4), round(found.cramers_v, 4)
    (8.7619, 2, 0.0125, 0.2093)
    >>> chi2(np.array([60]), np.array([40]))
    ChiSquare(statistic=0.0, df=0, p_value=1.0, cramers_v=0.0)
    """
    shares(reference, current)  # for its checks
    observed = pooled(np.stack((reference, current)))
    df = observed.shape[1] - 1
    if df == 0:
        return ChiSquare(0.0, 0, 1.0, 0.0)
    expected = _expected(observed)
    statistic = float(((observed - expected) ** 2 / expected).sum())
    exact = df == 1 and expected.min() < EXPECTED_MIN
    p_value = _exact_p_value(observed) if exact else chdtrc(df, statistic)
    return ChiSquare(statistic, df, float(min(p_value, 1.0)), math.sqrt(min(statistic / float(observed.sum()), 1.0)))


def v_of_shares(reference: Counts, current: Counts) -> float:
    """Cramer's V of the same shares in samples of equal size, sqrt(sum (q - p)^2 / (p + q) / 2), in [0, 1], with no category pooled.

    It does not depend on how many rows there are, as V does: so it compares samples of different sizes, though not with a threshold of V.
    Arguments and errors as of `chi2`.

    >>> round(v_of_shares(np.array([600, 300, 100]), np.array([4, 4, 2])), 4)
    0.2093
    """
    p, q = shares(reference, current)
    used = p + q > 0
    return float(np.sqrt(((q - p)[used] ** 2 / (p + q)[used]).sum() / 2))


def pooled(observed: Counts) -> Counts:
    """The table that is tested, (2, at most n_categories) int64: without empty categories, small ones pooled into the last column.

    >>> pooled(np.array([[50, 3, 0, 40, 4], [50, 4, 0, 40, 9]]))
    array([[50, 40,  7],
           [50, 40, 13]])
    """
    used = observed[:, observed.any(axis=0)]
    least = _expected(used).min(axis=0)
    order = np.argsort(-least, kind="stable")
    small = int((least < EXPECTED_MIN).sum())
    if small == 0 or used.shape[1] <= 2:
        return used
    # expected counts are proportional to the totals of the columns, so the pool's is the sum of its members'
    ascending = least[order][::-1]
    while ascending[:small].sum() < EXPECTED_MIN and used.shape[1] - small > 1:
        small += 1
    large = np.sort(order[: used.shape[1] - small])
    rare = order[used.shape[1] - small :]
    return np.column_stack((used[:, large], used[:, rare].sum(axis=1)))


def _exact_p_value(observed: Counts) -> float:
    """Two-sided p-value of Fisher's exact test on a (2, 2) table of which one cell expects little.

    Beyond `_EXACT_MAX` rows N the cell is taken to be binomial: of its two margins the smaller one, t, is at most about sqrt(5 N), and
    to draw t of N rows with or without replacement differs by the order of t / N (Diaconis & Freedman, Ann. Probab. 8(4), 1980).
    """
    from scipy.stats import binomtest, fisher_exact  # here, as they take 48 MB, which a worker that never asks for them need not spend

    total = int(observed.sum())
    if total <= _EXACT_MAX:
        return float(fisher_exact(observed).pvalue)
    row, column = int(observed.sum(axis=1).argmin()), int(observed.sum(axis=0).argmin())
    draws, hits = sorted((int(observed[row].sum()), int(observed[:, column].sum())))
    return float(binomtest(int(observed[row, column]), draws, hits / total).pvalue)


def _expected(observed: Counts) -> Floats:
    rows = observed.sum(axis=1).astype(np.float64)
    expected: Floats = rows[:, None] * (observed.sum(axis=0) / rows.sum())
    return expected
