"""How well a score is calibrated: whether of the rows with a score of 0.8 about 80 % are positive. What the bins hide is said by bounds.

`negatives` and `positives` are (n_bins,) int64 counts of the labels in each bin, bins in ascending order of the score. How many rows and
positives there are in a group of whole bins is exact; the mean score of the group lies between the edges of its bins, and is taken as if
each row had the middle score of its bin.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from detectors.counts import Counts, Floats
from detectors.intervals import Bounded


class Group(NamedTuple):
    """Rows with scores in [low, high), the last group those of 1 too: their mean score, its bounds, and the share that is positive."""

    low: float
    high: float
    n: int
    mean_score: float
    least: float
    most: float
    observed: float


def reliability(negatives: Counts, positives: Counts, edges: Floats, *, groups: int = 10) -> tuple[Group, ...]:
    """The rows in groups of about as many, in ascending order of the score; each has rows, so there may be fewer, and none without rows.

    Args:
        edges: (n_bins - 1,) between the bins, ascending; outer bins end at 0 and 1.
        groups: how many at most, of whole bins.
    Raises:
        ValueError: shapes do not fit, or a count is negative.
    References:
        A. Niculescu-Mizil, R. Caruana, Predicting Good Probabilities with Supervised Learning, ICML 2005, 625-632.

    >>> [(g.low, g.high, g.n, g.observed) for g in reliability(np.array([6, 1, 1]), np.array([2, 1, 3]), np.array([0.5, 0.6]), groups=2)]
    [(0.0, 0.5, 8, 0.25), (0.5, 1.0, 6, 0.6666666666666666)]
    """
    if not negatives.shape == positives.shape == (edges.size + 1,):
        raise ValueError(
            f"cannot group scores: shapes {negatives.shape} and {positives.shape}, expected ({edges.size + 1},) both, one more than edges"
        )
    if min(negatives.min(), positives.min()) < 0:
        raise ValueError("cannot group scores: a count is negative, expected >= 0; counts are added, never subtracted")
    rows = positives + negatives
    used = np.flatnonzero(rows)
    if not used.size:
        return ()
    ends = np.concatenate(([0.0], np.minimum(np.maximum(edges, 0.0), 1.0), [1.0]))
    rows, hits, low, high = rows[used], positives[used], ends[used], ends[used + 1]
    group = np.minimum((np.cumsum(rows) - rows / 2) * groups // rows.sum(), groups - 1)
    starts = np.concatenate(([0], 1 + np.flatnonzero(group[1:] != group[:-1])))
    n, right, least, most = (np.add.reduceat(column, starts) for column in (rows, hits, rows * low, rows * high))
    columns = (low[starts], np.append(high[starts[1:] - 1], high[-1]), n, (least + most) / 2 / n, least / n, most / n, right / n)
    return tuple(map(Group, *(column.tolist() for column in columns)))


def calibration_error(groups: Sequence[Group]) -> Bounded | None:
    """Expected calibration error: the mean of |share of positives - mean score| over the groups, weighted by rows.

    Returns:
        In [0, 1]; None without rows. The bounds are those of the scores themselves in the same groups.
    References:
        M. P. Naeini, G. F. Cooper, M. Hauskrecht, Obtaining Well Calibrated Probabilities Using Bayesian Binning, AAAI 2015.

    >>> calibration_error(reliability(np.array([6, 2]), np.array([2, 6]), np.array([0.5]), groups=2))
    Bounded(value=0.0, lower=0.0, upper=0.25)
    """
    if not groups:
        return None
    _, _, n, mean, least, most, observed = np.array(groups).T
    nearest = np.maximum(np.maximum(least - observed, observed - most), 0.0)
    farthest = np.maximum(observed - least, most - observed)
    value, lower, upper = (float(side @ n / n.sum()) for side in (np.abs(observed - mean), nearest, farthest))
    return Bounded(value, lower, upper)
