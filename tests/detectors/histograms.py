"""Pairs of histograms for the laws: on the same bins, neither empty, empty bins common."""

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

Histogram = NDArray[np.int64]
Pair = tuple[Histogram, Histogram]


@st.composite
def pairs(draw: st.DrawFn) -> Pair:
    """One pair of 1 to 30 bins, up to 1e9 rows a bin."""
    n_bins = draw(st.integers(1, 30))
    histogram = st.lists(st.just(0) | st.integers(0, 10**9), min_size=n_bins, max_size=n_bins).filter(any)
    return np.array(draw(histogram), np.int64), np.array(draw(histogram), np.int64)


@st.composite
def reordered_pairs(draw: st.DrawFn) -> tuple[Pair, Pair]:
    """A pair, and the same pair with its bins in another order."""
    reference, current = draw(pairs())
    order = np.array(draw(st.permutations(range(reference.size))))
    return (reference, current), (reference[order], current[order])


def end_to_end(several: list[Pair]) -> tuple[Histogram, Histogram, NDArray[np.intp]]:
    """The pairs as one ragged pair, and where each begins."""
    sizes = [reference.size for reference, _ in several]
    reference, current = (np.concatenate(side) for side in zip(*several, strict=True))
    return reference, current, np.cumsum([0, *sizes[:-1]])
