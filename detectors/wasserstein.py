"""Wasserstein distance of a binned number. Edges are the caller's; the end bins, which have none, are closed by the kept extremes."""

from dataclasses import dataclass

import numpy as np

from detectors.counts import Counts, Floats, shares
from detectors.moments import Moments


@dataclass(frozen=True, slots=True)
class Wasserstein:
    """The distance in units of the reference's standard deviation, where it lies on the raw rows, and `raw`, in units of the feature."""

    normalized: float
    lower: float
    upper: float
    raw: float


def wasserstein(reference: Counts, current: Counts, edges: Floats, before: Moments, now: Moments) -> Wasserstein:
    """First Wasserstein (earth mover's) distance, W = integral of |F - G|, over the reference's standard deviation.

    The first bin begins at the least value of both sides, the last one ends at the greatest. Within bins rows are taken to lie evenly, but
    further left or right by the part of the width that gives the mean, which is known exactly: it says most about the tails, where bins are
    wide. W is never less than the difference of the means, so that is the least it may be.

    Args:
        reference, current: (k+1,) int64 counts, without missing values. Not modified.
        edges: (k,) finite, strictly increasing; bin i is [edges[i-1], edges[i]).
        before, now: moments of the same values. Infinite ones count in the end bins, but stand at the least or greatest finite value.
    Returns:
        `normalized` >= 0, unbounded: `raw` / max(std, 1e-6 of the largest absolute value) of the reference, or / 1 if it is all 0. On the
        raw rows the distance lies in [lower, upper], likewise normalised: rows of a bin may lie anywhere in it, which moves W by at most
        half of the bin's width times the sum of its shares.
    Raises:
        ValueError: shapes differ, a count is negative, a total is zero, or edges do not fit.
    References:
        L. N. Vaserstein, Markov Processes over Denumerable Products of Spaces, Probl. Peredachi Inf. 5(3), 1969, 64-72.

    >>> found = wasserstein(np.array([0, 5, 5, 0]), np.array([0, 0, 5, 5]), np.array([0.0, 1.0, 2.0]),
    ...                     Moments(1.0, 0.5, 0.0, 2.0), Moments(2.0, 0.5, 1.0, 3.0))
    >>> found.raw, found.normalized, found.lower, found.upper
    (1.0, 2.0, 2.0, 4.0)
    """
    f, g = shares(reference, current)
    if edges.shape != (f.size - 1,) or not (np.isfinite(edges).all() and (np.diff(edges) > 0).all()):
        raise ValueError(
            f"cannot place bins: edges.shape={edges.shape!r}, expected {(f.size - 1,)!r}, finite and increasing; "
            "they come with the reference"
        )
    low = min(before.minimum, now.minimum, float(edges[0]))
    high = max(before.maximum, now.maximum, float(edges[-1]))
    bounds = np.concatenate(([low], edges, [high]))
    widths = np.diff(bounds)
    at_edges = np.concatenate(([0.0], np.cumsum(f - g)))
    at_edges[-1] = 0.0  # both are 1, but for rounding
    evenly = _mean_absolute(at_edges[:-1], at_edges[1:]) * widths
    doubt = float(((f + g) * widths).sum()) / 2
    crosses = at_edges[:-1] * at_edges[1:] < 0
    signed = (at_edges[:-1] + at_edges[1:]) / 2 * widths + _moved(g, bounds, now.mean) - _moved(f, bounds, before.mean)
    apart, scale = abs(before.mean - now.mean), max(before.std, before.floor())
    lower, upper = max(float(evenly.sum()) - doubt, apart), max(float(evenly.sum()) + doubt, apart)
    raw = min(max(float(np.where(crosses, evenly, np.abs(signed)).sum()), lower), upper)
    return Wasserstein(raw / scale, lower / scale, upper / scale, raw)


def _moved(side: Floats, bounds: Floats, mean: float) -> Floats:
    """Share times how far right of the middle of its bin it lies, (n_bins,), so that the mean is met: the same part of each width."""
    reach = side * np.diff(bounds)
    off = mean - float((side * (bounds[:-1] + bounds[1:])).sum()) / 2
    part = float(np.clip(off / reach.sum(), -0.5, 0.5)) if reach.sum() > 0 else 0.0
    return part * reach


def _mean_absolute(a: Floats, b: Floats) -> Floats:
    """Mean of |x| along the line from a to b, (n,): (a^2 + b^2) / (2 |a - b|) where it crosses 0, else |a + b| / 2.

    >>> _mean_absolute(np.array([1.0, 1.0, 0.0]), np.array([3.0, -1.0, 0.0]))
    array([2. , 0.5, 0. ])
    """
    crosses = a * b < 0
    return np.where(crosses, (a**2 + b**2) / (2 * np.where(crosses, np.abs(a - b), 1.0)), np.abs(a + b) / 2)
