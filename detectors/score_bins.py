"""The bins that scores in [0, 1] are counted in, the same for every model.

254 bins, so that a bin fits into a byte. Between 0.1 and 0.9 they are hundredths: tenths, for reliability, and most thresholds are edges.
Beyond, where the scores of rare classes lie, each edge is a seventh further from 0 or 1 than the one before, down to 1e-6. Exactly 0
and exactly 1 have bins of their own, so that scores that are cut off are seen as ties. Edges that do not depend on a reference let
versions be compared, and windows be scored before there is any reference; quantiles of a reference would bound figures more tightly, but
only while scores stay as they were.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.counts import Counts, Floats

Points = NDArray[np.bool_]

_TAIL: Final = 10.0 ** (np.arange(-6 * 17, -1 * 17) / 17)  # 1e-6 ... just below 0.1
SCORE_EDGES: Final[Floats] = np.concatenate(([5e-324], _TAIL, np.arange(10, 91) / 100, 1 - _TAIL[::-1], [1.0]))  # 5e-324: the least above 0
SCORE_EDGES.flags.writeable = False
SCORE_POINTS: Final[Points] = np.isin(np.arange(SCORE_EDGES.size + 1), (0, SCORE_EDGES.size))  # the bins of 0 and of 1
SCORE_POINTS.flags.writeable = False


def score_counts(scores: Floats) -> Counts:
    """How many of (n,) scores in [0, 1] lie in each bin, (254,) int64; bin i is [edges[i-1], edges[i]).

    >>> np.flatnonzero(score_counts(np.array([0.0, 0.01, 0.5, 0.509, 0.51, 1.0]))).tolist()
    [0, 70, 127, 128, 253]
    """
    return np.bincount(np.searchsorted(SCORE_EDGES, scores, side="right"), minlength=SCORE_EDGES.size + 1)


def checked(negatives: Counts, positives: Counts, points: Points | None) -> Points:
    """The bins that hold one score only, (n_bins,), those of `SCORE_POINTS` with None.

    Raises:
        ValueError: shapes differ or a count is negative.
    """
    held = SCORE_POINTS if points is None else points
    if negatives.ndim != 1 or not negatives.shape == positives.shape == held.shape:
        raise ValueError(
            f"cannot rank: negatives.shape={negatives.shape!r}, positives.shape={positives.shape!r}, points.shape={held.shape!r}, "
            "expected the same (n_bins,); without `points` the bins are those of SCORE_EDGES"
        )
    if (least := min(negatives.min(initial=0), positives.min(initial=0))) < 0:
        raise ValueError(f"cannot rank: least count={int(least)!r}, expected >= 0; counts are added, never subtracted")
    return held
