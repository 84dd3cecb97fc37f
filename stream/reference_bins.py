"""Where the bins of a numeric feature lie: fine edges, fences, and their coarse groups. Pure; both come from the reference alone, once."""

import numpy as np

from stream.reference import Counts, Floats


def fine_edges(values: Floats, low: float, high: float, bins: int) -> Floats:
    """Edges of fine bins of about equal mass, (k,) strictly increasing: first `low`, last the number after `high`.

    Each edge is a value of the reference or the number after one. A point mass, a value that occurs at least twice and in at least
    1/bins of the rows, has the bin [v, nextafter(v)) for itself; of other ties one edge remains. So there are at most 2 bins + 1 edges,
    and the first and the last bin, below and above all, are empty in the reference.

    Args:
        values: (n,) finite, the reference's values or a sample of them; may be empty. Not modified.
        low, high: the least and the greatest value of the whole reference.
        bins: how many quantiles.

    >>> fine_edges(np.array([4.0, 1.0, 3.0, 2.0]), 1.0, 4.0, 2)
    array([1., 3., 4.])
    >>> fine_edges(np.array([0.5, 0.5]), 0.5, 0.5, 256).tolist()
    [0.5, 0.5000000000000001]
    """
    ordered = np.sort(values)
    distinct, counts = np.unique(ordered, return_counts=True)
    atoms = distinct[counts >= max(2, values.size / bins)]
    quantiles = ordered[np.arange(bins) * values.size // bins] if values.size else ordered
    return np.unique(np.concatenate((quantiles, atoms, np.nextafter(atoms, np.inf), (low, np.nextafter(high, np.inf)))))


def fences(values: Floats, low: float, high: float) -> tuple[float, float]:
    """Tukey's fences, q1 - 1.5 IQR and q3 + 1.5 IQR, with quartiles by linear interpolation.

    Args:
        values: (n,) finite, the reference's values or a sample of them; may be empty. Not modified.
        low, high: the least and the greatest value of the whole reference, which are the quartiles of no values.
    References:
        J. W. Tukey, Exploratory Data Analysis, 1977.

    >>> fences(np.array([1.0, 2.0, 3.0, 4.0, 5.0]), 1.0, 5.0)
    (-1.0, 7.0)
    """
    q1, q3 = np.quantile(values if values.size else np.array([low, high]), (0.25, 0.75))
    reach = 1.5 * (q3 - q1)
    return float(q1 - reach), float(q3 + reach)


def coarse_groups(edges: Floats, counts: Counts, coarse: int) -> Counts:
    """The coarse group of each fine bin, (k+1,) int64 from 0 in steps of 0 or 1: consecutive bins with about 1/coarse of the rows together.

    A bin of one value that holds at least 1/coarse of the rows is a group of its own. The bins between two of these are cut where their
    mass is divided most evenly. The first and the last bin, which are empty, join their neighbour unless it is such a value: so a
    constant has the groups below, at and above, and shows as soon as it varies.

    Args:
        edges: (k,) as of `fine_edges`.
        counts: (k+1,) rows per bin.
        coarse: how many groups, if no value is that frequent.

    >>> coarse_groups(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0, 5, 5, 5, 0]), 3)
    array([0, 0, 1, 2, 2])
    >>> coarse_groups(np.array([1.0, np.nextafter(1.0, 2.0)]), np.array([0, 9, 0]), 10)
    array([0, 1, 2])
    """
    if edges.size < 2 or counts.sum() == 0:
        return np.zeros_like(counts)
    one_value = np.zeros(counts.size, np.bool_)
    one_value[1:-1] = np.nextafter(edges[:-1], np.inf) == edges[1:]
    alone = one_value & (counts * coarse >= counts.sum())
    starts = np.concatenate(([True], alone[1:] | alone[:-1]))
    for run in np.split(np.arange(counts.size), np.flatnonzero(starts)[1:]):
        groups = round(counts[run].sum() * coarse / counts.sum())
        if groups > 1 and not alone[run[0]]:
            starts[run[1:]] = np.diff(_parts(counts[run], groups)) > 0
    starts[1], starts[-1] = alone[1], alone[-2]
    return np.cumsum(starts, dtype=np.int64) - 1


def _parts(counts: Counts, parts: int) -> Counts:
    """Which of `parts` equal shares of the total the middle of each bin falls in."""
    middle_doubled = 2 * np.cumsum(counts) - counts
    shares: Counts = middle_doubled * parts // (2 * counts.sum())
    return np.minimum(shares, parts - 1)
