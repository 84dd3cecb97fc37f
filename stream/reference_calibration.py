"""What a reference learns about scores: how many rows of each of two classes have theirs in each bin. Counts only, block by block.

What the counts say, the chance of each bin to be positive, is for `detectors.estimated`.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from detectors.score_bins import score_counts
from stream.reference import Counts, Floats

_CLASSES = 2
_ENOUGH = _CLASSES + 1  # labels; as soon as there are so many, it is known that there is nothing to learn


class ScoresByLabel:
    """Counts scores by label, of two labels; of more there is no calibration, and only a few are counted, whatever stands in the column."""

    def __init__(self, edges: Floats, classes: Sequence[str] | None) -> None:
        """`edges`: (k,) of the score. `classes`: those that were given, None where they are those found."""
        self._edges, self._given = edges, classes
        self._counts: dict[str, Counts] = {}

    def add(self, labels: pa.Array, scores: Floats) -> None:
        """Take in rows: labels as texts, null where there is none, and scores, (n,), NaN where there is none."""
        if len(self._counts) >= _ENOUGH:
            return
        for label in (self._given or pc.unique(labels.drop_null()).to_pylist())[:_ENOUGH]:
            has = pc.fill_null(pc.equal(labels, label), False).to_numpy(zero_copy_only=False) & ~np.isnan(scores)
            self._counts[label] = self._counts.get(label, 0) + score_counts(scores[has], self._edges)

    def counts(self, classes: Sequence[str]) -> Counts | None:
        """(2, k + 1) rows by [class, bin]; None unless there are two classes, and rows of both."""
        nothing = np.zeros(self._edges.size + 1, np.int64)
        found = np.array([self._counts.get(name, nothing) for name in classes])
        return found if len(classes) == _CLASSES and found.any(axis=1).all() else None
