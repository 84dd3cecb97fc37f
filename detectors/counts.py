"""What a pair of histograms must be before it is scored, and the shares it turns into. No scores here.

Histograms lie end to end: the bins of all features of a model in one array, `starts` saying where each feature begins. Twenty features
then cost the dozen numpy calls that one would; a single histogram is the case `starts=[0]`.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]
Starts = NDArray[np.intp]

PSEUDOCOUNT: Final = 0.5  # of all scores that need one
ONE: Starts = np.zeros(1, np.intp)  # `starts` of a single histogram
ONE.flags.writeable = False


def shares(reference: Counts, current: Counts, starts: Starts = ONE, *, pseudocount: float = 0.0) -> Floats:
    """Shares of the reference (row 0) and the current counts (row 1) within each feature, (c + pseudocount) / (n + pseudocount * n_used).

    A bin that is empty on both sides is not there: it gets no pseudo-count and does not count in n_used. Otherwise bins kept for what may
    come (missing, unseen, out of range) would look like drift as soon as the totals differ.

    Args:
        reference, current: (total_bins,) int64 counts on the same edges; totals may differ. Not modified.
        starts: (n_features,) first bin of each feature: 0, then increasing.
        pseudocount: added to each used bin before normalising.
    Returns:
        (2, total_bins) float64 in [0, 1]; equal ratios of counts are equal floats.
    Raises:
        ValueError: shapes differ, starts or pseudocount are out of range, a count is negative, or a total is zero.

    >>> shares(np.array([3, 1, 5]), np.array([0, 2, 7]), np.array([0, 2]))
    array([[0.75, 0.25, 1.  ],
           [0.  , 1.  , 1.  ]])
    """
    if reference.ndim != 1 or reference.shape != current.shape:
        raise ValueError(
            f"cannot compare histograms: reference.shape={reference.shape!r} vs current.shape={current.shape!r}, "
            "expected the same (n_bins,); both must come from one reference version"
        )
    sizes = np.append(starts[1:], reference.size) - starts
    if starts.size == 0 or starts[0] != 0 or sizes.min() <= 0:
        raise ValueError(
            f"cannot compare histograms: starts={starts.tolist()!r}, expected 0, then increasing, all below n_bins={reference.size!r}; "
            "leave out features without bins"
        )
    if not pseudocount >= 0:
        raise ValueError(f"cannot smooth shares: pseudocount={pseudocount!r}, expected >= 0; 0.5 is the default, 0 means none")
    counts = np.stack((reference, current))
    if (least := counts.min()) < 0:
        raise ValueError(f"cannot compare histograms: least count={int(least)!r}, expected >= 0; counts are added, never subtracted")
    totals = np.add.reduceat(counts, starts, axis=1)
    if not totals.all():
        row, feature = np.argwhere(totals == 0)[0].tolist()
        raise ValueError(
            f"cannot compare histograms: total=0 in {('reference', 'current')[row]} feature {feature!r}, expected > 0; "
            "a histogram without rows has no shares, so check the sample size first"
        )
    used = counts.any(axis=0)
    n_used = np.add.reduceat(used, starts, dtype=np.int64)
    smoothed: Floats = (counts + pseudocount * used) / np.repeat(totals + pseudocount * n_used, sizes, axis=1)
    return smoothed
