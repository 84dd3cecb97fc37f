"""The peers' rules in a few lines each, on raw rows: their bins, their zeros, their units, and our detectors wherever one fits.

What these give is what the peers give, to rounding (`benchmarks.parity`); so what ours differs by is the rules and nothing else. A peer
leaves out missing values before anything else, so here there are none.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.stats import chisquare, ks_2samp

from detectors.hellinger import hellinger
from detectors.jensen_shannon import js_distance
from detectors.kolmogorov_smirnov import ks
from detectors.moments import Moments
from detectors.wasserstein import wasserstein

Rows = npt.NDArray[Any]
Counts = npt.NDArray[np.int64]
Rule = Callable[[Rows, Rows], float]
BINNED_FROM: Final = 10_000  # reference rows, from which NannyML bins for KS and Wasserstein
FEW_VALUES: Final = 20  # of the reference: Evidently counts a number with so few of them by value


def by_value(reference: Rows, current: Rows) -> Counts:
    """Counts of each value of either side, (2, values)."""
    values = np.unique(np.concatenate((reference, current)))
    return np.array([np.bincount(np.searchsorted(values, rows), minlength=values.size) for rows in (reference, current)])


def sturges(reference: Rows, current: Rows) -> Counts:
    """Evidently's counts for PSI and Jensen-Shannon: equal widths over both sides together, their number by Sturges' rule."""
    if reference.dtype.kind != "f" or np.unique(reference).size <= FEW_VALUES:
        return by_value(reference, current)
    edges = np.histogram_bin_edges(np.concatenate((reference, current)), bins="sturges")
    return np.array([np.histogram(rows, edges)[0] for rows in (reference, current)])


def evidently_psi(reference: Rows, current: Rows) -> float:
    """Empty bins get the share 0.0001, or a millionth of the least share if that is 0.0001 or less; nothing is normalised again."""
    shares = [counts / counts.sum() for counts in sturges(reference, current)]
    for share in shares:
        least = share[share > 0].min()
        share[share == 0] = least / 1e6 if least <= 0.0001 else 0.0001
    p, q = shares
    return float(((q - p) * np.log(q / p)).sum())


def evidently_js(reference: Rows, current: Rows) -> float:
    """Base e."""
    return js_distance(*sturges(reference, current)) * math.sqrt(math.log(2))


def evidently_hellinger(reference: Rows, current: Rows) -> float:
    """Of a number: equal widths over the distinct values of both sides, their number by Sturges' rule for so many."""
    if reference.dtype.kind != "f":
        return hellinger(*by_value(reference, current))
    edges = np.histogram_bin_edges(np.unique(np.concatenate((reference, current))), bins="sturges")
    return hellinger(*(np.histogram(rows, edges)[0] for rows in (reference, current)))


def evidently_wasserstein(reference: Rows, current: Rows) -> float:
    """Raw rows, over the reference's standard deviation, or 0.001 if that is more."""
    return distance(reference, current) / max(float(reference.std()), 0.001)


def evidently_ks(reference: Rows, current: Rows) -> float:
    """p-value on raw rows; scipy's, exact while neither side has more than 10 000 rows."""
    return float(ks_2samp(reference, current).pvalue)


def evidently_chi2(reference: Rows, current: Rows) -> float:
    """p-value of goodness of fit: the reference is taken for the truth, not for a sample; one row of a value it lacks gives 0."""
    before, now = by_value(reference, current)
    with np.errstate(divide="ignore"):
        return float(chisquare(now, before * (now.sum() / before.sum())).pvalue)


def doane(reference: Rows, current: Rows) -> Counts:
    """NannyML's counts: values of a category, or equal widths by Doane's rule on the reference; what lies outside is one bin more."""
    if reference.dtype.kind == "f":
        edges = np.histogram_bin_edges(reference, bins="doane")
        before, now = (np.histogram(rows, edges)[0] for rows in (reference, current))
    else:
        counts = by_value(reference, current)
        before, now = counts[:, counts[0] > 0]
    return np.array([np.append(before, 0), np.append(now, current.size - now.sum())])


def nannyml_js(reference: Rows, current: Rows) -> float:
    return js_distance(*doane(reference, current))


def nannyml_hellinger(reference: Rows, current: Rows) -> float:
    return hellinger(*doane(reference, current))


def equal_widths(reference: Rows, current: Rows) -> tuple[Counts, Counts, Rows]:
    """NannyML's counts for KS and Wasserstein of 10 000 rows and more: 10 000 bins from the least to the greatest of the reference."""
    edges = np.linspace(reference.min(), reference.max(), 10_001)
    return np.histogram(reference, edges)[0], np.histogram(current, edges)[0], edges


def nannyml_ks(reference: Rows, current: Rows) -> float:
    """D: of raw rows, or at the right edges of their bins."""
    if reference.size < BINNED_FROM:
        return ks(*by_value(reference, current)).statistic
    before, now, edges = equal_widths(reference, current)
    below, above = int((current < edges[0]).sum()), int((current > edges[-1]).sum())
    now[0] += below
    return ks(np.append(before, 0), np.append(now, above)).statistic


def nannyml_wasserstein(reference: Rows, current: Rows) -> float:
    """In units of the feature: of raw rows, or of bins, whose tails weigh (rows + 1) / n."""
    if reference.size < BINNED_FROM:
        return distance(reference, current)
    before, now, edges = equal_widths(reference, current)
    n, low, high = current.size, edges[0], edges[-1]
    below, above = current[current < low], current[current > high]
    weights = [(side.size + 1) / n if side.size else 0.0 for side in (below, above)]
    inside = np.abs(np.cumsum(before) / reference.size - np.cumsum(now) / n - weights[0]).sum() * (edges[1] - edges[0])
    # the area between a tail and the edge: the mean distance of its rows and the edge itself
    tails = [np.append(side, edge) for side, edge in ((below, low), (above, high))]
    reach = [float(np.abs(tail - edge).mean()) for tail, edge in zip(tails, (low, high), strict=True)]
    return float(inside + weights[0] * reach[0] + weights[1] * reach[1])


def nannyml_chi2(reference: Rows, current: Rows) -> float:
    """The statistic over the union of values: no pooling, Yates' correction for two of them."""
    observed = by_value(reference, current).astype(float)
    expected = observed.sum(axis=1, keepdims=True) * observed.sum(axis=0) / observed.sum()
    apart = np.abs(observed - expected)
    if observed.shape[1] == 2:
        apart -= np.minimum(0.5, apart)
    return float((apart**2 / expected).sum())


def distance(reference: Rows, current: Rows) -> float:
    """Our Wasserstein distance with a bin for each value, which hides nothing: that of the raw rows, in their units."""
    values = np.unique(np.concatenate((reference, current)))
    edges = np.unique(np.concatenate((values, np.nextafter(values, np.inf))))
    counts = [np.bincount(np.searchsorted(edges, rows, side="right"), minlength=edges.size + 1) for rows in (reference, current)]
    moments = [Moments(float(rows.mean()), float(rows.std()), float(rows.min()), float(rows.max())) for rows in (reference, current)]
    return wasserstein(counts[0], counts[1], edges, *moments).raw


RULES: Final[Mapping[tuple[str, str], Rule]] = {
    ("evidently", "psi"): evidently_psi,
    ("evidently", "jensenshannon"): evidently_js,
    ("evidently", "hellinger"): evidently_hellinger,
    ("evidently", "wasserstein"): evidently_wasserstein,
    ("evidently", "ks"): evidently_ks,
    ("evidently", "chisquare"): evidently_chi2,
    ("nannyml", "jensen_shannon"): nannyml_js,
    ("nannyml", "hellinger"): nannyml_hellinger,
    ("nannyml", "wasserstein"): nannyml_wasserstein,
    ("nannyml", "kolmogorov_smirnov"): nannyml_ks,
    ("nannyml", "chi2"): nannyml_chi2,
}
