"""Quantiles of a number that is counted in bins of equal ratio: the error is relative, the same at every size, and known."""

import math

import numpy as np

from detectors.counts import Counts, Floats
from detectors.intervals import Bounded

PER_DECADE = 20  # edges; a bin is 12.2 % wide, so a value in its middle is at most 5.8 % off


def log_edges(least: float, decades: float) -> Floats:
    """Edges from `least` > 0 over so many decades, 20 to each, (20 decades + 1,).

    >>> log_edges(0.1, 1)[[0, 10, 20]].round(4).tolist()
    [0.1, 0.3162, 1.0]
    """
    return least * 10 ** (np.arange(round(PER_DECADE * decades) + 1) / PER_DECADE)


def quantile(counts: Counts, edges: Floats, q: float, least: float, greatest: float) -> Bounded | None:
    """The least value with at least a share q of all rows at or below it, numpy's "inverted_cdf"; None without rows.

    It lies in the bin of the row of that rank, which the bounds are. `value` is off by at most (upper - lower) / (upper + lower) of the
    true one, if both bounds are on one side of 0; otherwise it is the middle.

    Args:
        counts: (k+1,) int64, not modified.
        edges: (k,) increasing; bin i is [edges[i-1], edges[i]).
        q: in [0, 1].
        least, greatest: the extremes of the rows, which close the end bins.
    Raises:
        ValueError: shapes differ, a count is negative, or q is out of range.

    >>> quantile(np.array([0, 5, 4, 1]), np.array([1.0, 2.0, 4.0]), 0.9, 1.2, 7.0)
    Bounded(value=2.6666666666666665, lower=2.0, upper=4.0)
    """
    if counts.shape != (edges.size + 1,) or (counts < 0).any():
        raise ValueError(f"cannot take a quantile: counts.shape={counts.shape!r}, expected {(edges.size + 1,)!r} and no count below 0")
    if not 0 <= q <= 1:
        raise ValueError(f"cannot take a quantile: q={q!r}, expected in [0, 1]; the median is 0.5")
    below = np.cumsum(counts)
    if not below[-1]:
        return None
    i = int(np.searchsorted(below, max(math.ceil(q * int(below[-1])), 1)))
    lower = max(float(edges[i - 1]), least) if i else least
    upper = min(float(edges[i]), greatest) if i < edges.size else greatest
    lower = min(lower, upper)
    value = 2 * lower * upper / (lower + upper) if lower * upper > 0 else (lower + upper) / 2
    return Bounded(min(max(value, lower), upper), lower, upper)
