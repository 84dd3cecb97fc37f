"""The bins that scores are counted in where no reference says how they are distributed, the same for every model.

256 bins, so that a bin fits into a byte. Between 0.1 and 0.9 they are hundredths: tenths, for reliability, and most thresholds are edges.
Beyond, where the scores of rare classes lie, each edge is a seventh further from 0 or 1 than the one before, down to 1e-6. Exactly 0
and exactly 1 have bins of their own, so that scores that are cut off are seen as ties; the end bins are for what is no probability. Edges
that do not depend on a reference let windows be scored before there is any; quantiles of a reference bound figures more tightly, but only
while scores stay as they were.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.counts import Counts, Floats

_TAIL: Final = 10.0 ** (np.arange(-6 * 17, -1 * 17) / 17)  # 1e-6 ... just below 0.1
_ZERO: Final = (0.0, np.nextafter(0.0, 1.0))
_ONE: Final = (1.0, np.nextafter(1.0, 2.0))
SCORE_EDGES: Final[Floats] = np.concatenate((_ZERO, _TAIL, np.arange(10, 91) / 100, 1 - _TAIL[::-1], _ONE))
SCORE_EDGES.flags.writeable = False


def score_counts(scores: Floats, edges: Floats = SCORE_EDGES) -> Counts:
    """How many of (n,) scores lie in each bin, (edges.size + 1,) int64; bin i is [edges[i-1], edges[i]).

    >>> np.flatnonzero(score_counts(np.array([0.0, 0.01, 0.5, 0.509, 0.51, 1.0]))).tolist()
    [1, 71, 128, 129, 254]
    """
    return np.bincount(np.searchsorted(edges, scores, side="right"), minlength=edges.size + 1)


def one_value_bins(edges: Floats) -> NDArray[np.bool_]:
    """Which bins hold one value only, so that what ties there ties on the scores too, (edges.size + 1,)."""
    return np.concatenate(([False], np.nextafter(edges[:-1], np.inf) == edges[1:], [False]))
