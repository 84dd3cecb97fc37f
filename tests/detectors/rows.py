"""Raw rows for the oracles, and their counts and moments as the stream keeps them. Edges come from the reference alone."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.moments import Moments
from stream.reference_bins import fine_edges

Rows = NDArray[np.float64]
SIZES = [(200, 50), (1_000, 5_000), (20_000, 1_000)]  # of reference and current


class Binned(NamedTuple):
    """Two sides as a detector gets them."""

    reference: NDArray[np.int64]
    current: NDArray[np.int64]
    edges: Rows
    points: NDArray[np.bool_]
    before: Moments
    now: Moments


def samples(name: str, rng: np.random.Generator, n: int, m: int) -> tuple[Rows, Rows]:
    """Reference and current rows of a named kind of drift."""
    normal, other = rng.normal(size=n), rng.normal(size=m)
    return {
        "same": (normal, other),
        "shifted": (normal, other + 0.3),
        "wider": (normal, 2 * other),
        "out of range": (normal, other + 20),
        "skewed": (rng.lognormal(0, 1, n), rng.lognormal(0.2, 1.3, m)),
        "heavy tails": (rng.standard_t(2, n), rng.standard_t(2, m) * 1.5),
        "zero inflated": (normal.clip(0), (other + 0.5).clip(0)),
        "counts": (rng.poisson(3, n).astype(float), rng.poisson(4, m).astype(float)),
        "tiny units": (normal * 1e-9 + 1e-7, other * 1e-9 + 1.003e-7),
        "outlier": (normal, np.append(other, 1e6)),
    }[name]


KINDS = [
    *("same", "shifted", "wider", "out of range", "skewed", "heavy tails", "zero inflated", "counts", "tiny units", "outlier"),
]


def moments(rows: Rows) -> Moments:
    return Moments(float(rows.mean()), float(rows.std()), float(rows.min()), float(rows.max()))


def binned(before: Rows, now: Rows, bins: int = 256) -> Binned:
    """Both sides in fine bins of the reference."""
    edges = fine_edges(before, float(before.min()), float(before.max()), bins)
    counts = [np.bincount(np.searchsorted(edges, rows, side="right"), minlength=edges.size + 1) for rows in (before, now)]
    points = np.concatenate(([False], np.nextafter(edges[:-1], np.inf) == edges[1:], [False]))
    return Binned(counts[0], counts[1], edges, points, moments(before), moments(now))


def exact(before: Rows, now: Rows) -> Binned:
    """Both sides in bins of one value each, so that nothing is lost."""
    values = np.unique(np.concatenate((before, now)))
    edges = np.sort(np.concatenate((values, np.nextafter(values, np.inf))))
    counts = [np.bincount(np.searchsorted(edges, rows, side="right"), minlength=edges.size + 1) for rows in (before, now)]
    return Binned(counts[0], counts[1], edges, np.arange(edges.size + 1) % 2 == 1, moments(before), moments(now))
