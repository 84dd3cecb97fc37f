"""How well a score ranks positives above negatives, from its histograms by class. What the bins hide is said by bounds.

`negatives` and `positives` are (n_bins,) int64 counts of the labels in each bin, bins in ascending order of the score. A metric is None
where it is undefined: without positives or without negatives. Each value is that of the binned scores (all of a bin tie), and the metric of
the raw scores lies in [lower, upper], ties and all: wherever every distinct score has a bin of its own, value and metric are equal.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma

from detectors.counts import Counts
from detectors.intervals import Bounded, wilson_of


def roc_auc(negatives: Counts, positives: Counts, *, points: NDArray[np.bool_] | None = None) -> Bounded | None:
    """Area under the ROC curve: the share of pairs of a positive and a negative in which the positive scores higher, ties for half.

    Args:
        points: (n_bins,) bins of one value only, in which all tie on the raw rows too; None: none is.
    Returns:
        In [0, 1]; the bounds are half the pairs that share a bin away: sum_b neg_b pos_b / (2 P N).
    References:
        J. A. Hanley, B. J. McNeil, The Meaning and Use of the Area under a ROC Curve, Radiology 143(1), 1982, 29-36.

    >>> roc_auc(np.array([3, 1, 0]), np.array([0, 1, 3]))
    Bounded(value=0.96875, lower=0.9375, upper=1.0)
    """
    pairs = _check(negatives, positives)
    if pairs == 0:
        return None
    n, p = negatives.astype(np.float64), positives.astype(np.float64)  # whose products may pass 2^63
    above, tied = np.cumsum(p[::-1])[::-1] - p, n * p / 2
    value = min(float((n * above + tied).sum() / pairs), 1.0)
    unsure = float((tied if points is None else tied[~points]).sum() / pairs)
    return Bounded(value, max(value - unsure, 0.0), min(value + unsure, 1.0))


def roc_auc_interval(negatives: Counts, positives: Counts, confidence: float = 0.95) -> tuple[float, float] | None:
    """Interval of `roc_auc` for chance in the rows; None where that is undefined. It holds its value, but not what the bins hide.

    It is Wilson's, of the rows that a ratio of the AUC's variance would have: at least those of the smaller class (Birnbaum & Klose). The
    variance is DeLong's, S10 / P + S01 / N, with S10 that of the placements of positives (shares of the negatives below), S01 likewise.
    Where nearly all pairs are in order, the few rows that are not say too little of it, so one more row of each class is counted,
    placed half way between the AUC and 1/2. In 340 simulated kinds of scores, of 5 to 1,000 positives and AUCs of 0.2 to 0.998, intervals
    of 95 % held 0.90 of the time at least, 0.959 on average. Those on the log-odds of the AUC by DeLong's variance alone held 0.40 at
    least, 0.928 on average; of an AUC of 0.99, 20 positives and 2,000 negatives 0.59 at least, where these held 0.96.

    References:
        E. R. DeLong, D. M. DeLong, D. L. Clarke-Pearson, Comparing the Areas under Two or More Correlated Receiver Operating Characteristic
        Curves, Biometrics 44(3), 1988, 837-845.
        Z. W. Birnbaum, O. M. Klose, Bounds for the Variance of the Mann-Whitney Statistic, Ann. Math. Stat. 28(4), 1957, 933-945.

    >>> [round(end, 4) for end in roc_auc_interval(np.array([30, 10, 0]), np.array([0, 10, 30]))]
    [0.9248, 0.9874]
    """
    found = roc_auc(negatives, positives)
    if found is None:
        return None
    n, p, value = int(negatives.sum()), int(positives.sum()), found.value
    if min(n, p) == 1:
        return wilson_of(value, 0.0, 1, confidence=confidence)  # one row has no variance
    below, above = (np.cumsum(negatives) - negatives / 2) / n, 1 - (np.cumsum(positives) - positives / 2) / p
    s10, s01 = (float(rows @ (placed - value) ** 2) / (k - 1) for rows, placed, k in ((positives, below, p), (negatives, above, n)))
    another = ((value - 0.5) / 2) ** 2
    return wilson_of(value, (s10 + another / p) / p + (s01 + another / n) / n, min(n, p), confidence=confidence)


def average_precision(negatives: Counts, positives: Counts, *, points: NDArray[np.bool_] | None = None) -> Bounded | None:
    """Average precision, sum_k (R_k - R_{k-1}) P_k over the thresholds from high to low: the step-wise area under precision and recall.

    Returns:
        In [0, 1]. Within a bin of p positives and n negatives precision is highest if all positives come first, in one step, and lowest
        if all negatives come first and the positives one by one.
    Notes:
        For chance in the rows it may be taken for a share of the positives, with Wilson's interval. Boyd et al. take their number too, but
        the scale of log-odds, where the interval is wider near 0 and 1 and has no end at 1. It is rather too wide: in 105 simulated kinds
        of scores, of 5 to 1,000 positives that were one in two to one in 101 rows, intervals of 95 % held 0.90 of the time at least, 0.978
        on average. What the delta method makes of the bins' counts is narrower, but held 0.67 at least.
    References:
        As scikit-learn's average_precision_score; it is not the trapezoidal area, which is too optimistic (Davis & Goadrich, ICML 2006).
        K. Boyd, K. H. Eng, C. D. Page, Area under the Precision-Recall Curve: Point Estimates and Confidence Intervals, ECML PKDD 2013.

    >>> average_precision(np.array([3, 0, 0]), np.array([0, 1, 3])).value
    1.0
    """
    if _check(negatives, positives) == 0:
        return None
    p, n = positives[::-1].astype(np.float64), negatives[::-1].astype(np.float64)
    hits, false = np.cumsum(p), np.cumsum(n)
    step = p * hits / np.maximum(hits + false, 1)
    first = p * hits / np.maximum(hits + false - n, 1)
    # sum over i = 1..p of (T + i) / (T + i + C), T true positives above the bin and C false ones to its end
    above = hits - p
    last = p - np.where(false > 0, false * (digamma(hits + false + 1) - digamma(above + false + 1)), 0.0)
    if points is not None:
        exact = points[::-1]
        first, last = np.where(exact, step, first), np.where(exact, step, last)
    total = hits[-1]
    value = float(step.sum() / total)
    return Bounded(value, min(max(float(last.sum() / total), 0.0), value), max(min(float(first.sum() / total), 1.0), value))


def recall_at_fpr(negatives: Counts, positives: Counts, rate: float) -> Bounded | None:
    """The greatest recall at a false-positive rate of at most `rate`, over all thresholds of the score.

    Returns:
        In [0, 1]. `value` and `lower` are at the lowest edge between bins that keeps the rate; `upper` has the positives of the next bin
        too, which may all score higher than its negatives.

    >>> recall_at_fpr(np.array([98, 1, 1, 0]), np.array([2, 0, 3, 5]), 0.01)
    Bounded(value=0.8, lower=0.8, upper=0.8)
    """
    if _check(negatives, positives) == 0:
        return None
    hits, _, more = operating_point(negatives, positives, rate)
    total = int(positives.sum())
    return Bounded(hits / total, hits / total, (hits + more) / total)


def precision_at_fpr(negatives: Counts, positives: Counts, rate: float) -> Bounded | None:
    """Precision at the threshold of `recall_at_fpr`; None if nothing scores above it.

    >>> precision_at_fpr(np.array([98, 1, 1, 0]), np.array([2, 0, 3, 5]), 0.01).value
    0.8888888888888888
    """
    if _check(negatives, positives) == 0:
        return None
    hits, false, more = operating_point(negatives, positives, rate)
    allowed = math.floor(rate * int(negatives.sum()) + 1e-9)
    if hits + false == 0:
        return None
    most = hits + more
    return Bounded(hits / (hits + false), hits / max(hits + allowed, 1), most / (most + false) if most else 0.0)


def operating_point(negatives: Counts, positives: Counts, rate: float) -> tuple[int, int, int]:
    """True and false positives above the lowest edge that keeps the rate, and the positives in the bin below it.

    >>> operating_point(np.array([98, 1, 1, 0]), np.array([2, 0, 3, 5]), 0.01)
    (8, 1, 0)
    """
    hits, false = np.cumsum(positives[::-1]), np.cumsum(negatives[::-1])
    kept = int((false <= rate * int(negatives.sum()) + 1e-9).sum())
    if kept == 0:
        return 0, 0, int(positives[-1])
    return int(hits[kept - 1]), int(false[kept - 1]), int(positives[::-1][kept]) if kept < hits.size else 0


def lift(negatives: Counts, positives: Counts, share: float = 0.1) -> Bounded | None:
    """How many times more often positives occur among the `share` of rows that score highest than among all.

    Times `share` it is the part of all positives captured there.

    Returns:
        In [0, 1 / share]. Rows of the bin in which the share ends count in proportion; at the bounds the positives among them score
        lower, or higher, than all of its negatives. None without positives or without negatives.

    >>> lift(np.array([60, 30, 0]), np.array([0, 10, 0]), 0.25)
    Bounded(value=2.5, lower=0.0, upper=4.0)
    """
    if _check(negatives, positives) == 0:
        return None
    p, n = positives[::-1].astype(np.float64), negatives[::-1].astype(np.float64)
    rows, total = p + n, p.sum()
    taken = np.clip(share * rows.sum() - (np.cumsum(rows) - rows), 0, rows)
    value, lower, upper = (
        float(found.sum() / total / share) for found in (p * taken / np.maximum(rows, 1), np.maximum(taken - n, 0), np.minimum(p, taken))
    )
    return Bounded(value, min(lower, value), max(value, upper))


def _check(negatives: Counts, positives: Counts) -> int:
    """Pairs of a positive and a negative, after checks of both histograms."""
    if negatives.shape != positives.shape or negatives.ndim != 1:
        raise ValueError(f"cannot compare scores: shapes {negatives.shape} and {positives.shape}, expected equal ones of one dimension")
    if min(negatives.min(initial=0), positives.min(initial=0)) < 0:
        raise ValueError("cannot compare scores: a count is negative, expected >= 0; counts are added, never subtracted")
    return int(negatives.sum()) * int(positives.sum())
