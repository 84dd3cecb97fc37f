"""How well a score is calibrated: whether of the rows with a score of 0.8 about 80 % are positive. What the bins hide is said by bounds.

`negatives` and `positives` are (n_bins,) int64 counts of the labels in each bin, bins in ascending order of the score. How many rows and
positives there are in a group of whole bins is exact; the mean score of the group lies between the edges of its bins, and is taken as if
each row had the middle score of its bin.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detectors.counts import Counts, Floats
from detectors.intervals import Bounded


@dataclass(frozen=True, slots=True)
class Group:
    """Rows with scores in [low, high), the last group those of 1 too: their mean score, and the share of them that is positive."""

    low: float
    high: float
    n: int
    mean_score: Bounded
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
    low, high = np.concatenate(([0.0], edges)).clip(0, 1)[used], np.concatenate((edges, [1.0])).clip(0, 1)[used]
    rows, hits = rows[used], positives[used]
    group = np.minimum((np.cumsum(rows) - rows / 2) * groups // rows.sum(), groups - 1)
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    ends = np.append(starts[1:], used.size) - 1
    n, right, least, most = (np.add.reduceat(column, starts) for column in (rows, hits, rows * low, rows * high))
    columns = (low[starts], high[ends], n, (least + most) / 2 / n, least / n, most / n, right / n)
    return tuple(Group(a, b, size, Bounded(*mean), share) for a, b, size, *mean, share in zip(*(c.tolist() for c in columns), strict=True))


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
    n = np.array([group.n for group in groups])
    observed = np.array([group.observed for group in groups])
    means = np.array([(group.mean_score.value, group.mean_score.lower, group.mean_score.upper) for group in groups]).T
    distance, to_low, to_high = np.abs(observed - means)
    inside = (means[1] <= observed) & (observed <= means[2])
    nearest, farthest = np.where(inside, 0.0, np.minimum(to_low, to_high)), np.maximum(to_low, to_high)
    value, lower, upper = (float(side @ n / n.sum()) for side in (distance, nearest, farthest))
    return Bounded(value, lower, upper)
