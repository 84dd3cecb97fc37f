"""Samples to test tests on: distributions that features have, and their counts as the product keeps them.

A reference of raw rows gets its bins from the functions that `reference build` gets them from; one for many rows is built by it, from a
file.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stream.aggregates import Aggregate, Counts, Floats, Layout, grouped_moments
from stream.model import FeatureSlot
from stream.reference import CategoricalFeature, NumericFeature
from stream.reference_bins import coarse_groups, fine_edges
from stream.reference_build import build_reference

FINE: Final = 256  # quantiles, the default of `reference build`
BUILT_ROWS: Final = 100_000


@dataclass(frozen=True, slots=True)
class Numbers:
    """A distribution of a number: its quantile function, and the probability of less than x."""

    quantile: Callable[[Floats], Floats]
    below: Callable[[Floats], Floats]

    def rows(self, rng: np.random.Generator, n: int) -> Floats:
        return self.quantile(rng.random(n))


ZEROS: Final = 0.6
NUMBERS: Final = {
    "uniform": Numbers(lambda u: u, lambda x: np.clip(x, 0, 1)),
    "heavy-tailed": Numbers(lambda u: (1 - u) ** (-1 / 1.5), lambda x: 1 - np.maximum(x, 1) ** -1.5),  # Pareto, without a variance
    "zero-inflated": Numbers(
        lambda u: -np.log1p(-np.maximum(u - ZEROS, 0) / (1 - ZEROS)),
        lambda x: np.where(x > 0, ZEROS + (1 - ZEROS) * -np.expm1(-np.maximum(x, 0)), 0.0),
    ),
}


def zipf(values: int) -> Floats:
    """Shares of a category, the k-th in proportion to 1/k."""
    shares: Floats = 1 / np.arange(1, values + 1)
    return shares / shares.sum()


def counted(feature: NumericFeature, rows: Floats) -> Counts:
    """Rows in the fine bins."""
    return np.bincount(np.searchsorted(feature.edges, rows, side="right"), minlength=feature.bins)


def reference(rows: Floats, coarse: int) -> NumericFeature:
    """The feature of a reference of these rows."""
    edges = fine_edges(rows, float(rows.min()), float(rows.max()), FINE)
    counts = np.bincount(np.searchsorted(edges, rows, side="right"), minlength=edges.size + 1)
    moments = {"mean": float(rows.mean()), "std": float(rows.std()), "minimum": float(rows.min()), "maximum": float(rows.max())}
    return NumericFeature(name="x", edges=edges, counts=counts, groups=coarse_groups(edges, counts, coarse), missing=0, **moments)


def regrouped(feature: NumericFeature, coarse: int) -> NumericFeature:
    """The same with another number of coarse bins."""
    groups = coarse_groups(feature.edges, feature.counts, coarse)
    return NumericFeature(name=feature.name, missing=0, edges=feature.edges, counts=feature.counts, groups=groups)


def with_counts(feature: NumericFeature, counts: Counts) -> NumericFeature:
    """The same with other rows in its bins."""
    if counts is feature.counts:
        return feature
    return NumericFeature(name=feature.name, missing=0, edges=feature.edges, counts=counts, groups=feature.groups)


def built(numbers: Numbers, coarse: int, rng: np.random.Generator) -> tuple[NumericFeature, Floats]:
    """The feature of a reference that `reference build` made of a file, and the probabilities of its fine bins."""
    with tempfile.TemporaryDirectory(prefix="driftstream-bench-") as folder:
        path = Path(folder) / "rows.parquet"
        pq.write_table(pa.table({"x": numbers.rows(rng, BUILT_ROWS)}), path)
        (feature,) = build_reference(path, model="m", version="1", coarse=coarse).features
    assert isinstance(feature, NumericFeature)
    return feature, np.diff(numbers.below(feature.edges), prepend=0.0, append=1.0)


def category(counts: Counts) -> CategoricalFeature:
    """A reference's category, with OTHER."""
    names = tuple(f"v{i}" for i in range(counts.size))
    return CategoricalFeature(name="x", value_type="string", missing=0, categories=names, counts=np.append(counts, 0))


def window(feature: NumericFeature, counts: Counts, rows: Floats | None = None) -> tuple[FeatureSlot, Aggregate]:
    """What `measure_numbers` wants: where the feature stands, and an aggregate of it alone. Without rows there are no moments."""
    moments = np.array([[0, 0, 0, np.inf, -np.inf]]) if rows is None else grouped_moments(np.zeros(rows.size, np.int64), 1, rows[None])[0]
    return FeatureSlot(feature, 0, feature.bins, 0), Aggregate(Layout(b"", feature.bins, 1), counts, moments)
