"""Every regression metric from seven mergeable means and one histogram of errors. The error of a row is its prediction less its label.

`error_rows` makes of labels and predictions the seven numbers that are averaged: seven rows of the moments that an aggregate keeps,
280 bytes. Squares of labels are never summed: R2 takes the sum of squared deviations of the label, which merges without loss.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from detectors.counts import Counts, Floats
from detectors.intervals import Bounded, Measured
from detectors.means import NO_ROWS, Mean
from detectors.quantiles import log_edges, quantile

RELATIVE_LIMIT: Final = 1e100  # a label so much smaller than its error counts as 0; squares of more would not be finite
CONSTANT: Final = 1e-12  # of the mean size: below it a standard deviation of labels is rounding


def error_rows(labels: Floats, predictions: Floats) -> Floats:
    """Label, error, its size, its square, the label's size, relative and symmetric relative error of each row, (7, n); NaN does not count.

    The relative error |e| / |y| is NaN where the label is 0 (or the ratio beyond `RELATIVE_LIMIT`); the symmetric one,
    2 |e| / (|y| + |p|), in [0, 2], is 0 where both are 0.

    Args:
        labels, predictions: (n,) float64 between -1e70 and 1e70, so that squares of squares are finite; not modified.

    >>> error_rows(np.array([2.0, 0.0]), np.array([1.0, 0.0]))[5:].round(3).tolist()
    [[0.5, nan], [0.667, 0.0]]
    """
    error = predictions - labels
    size, own = np.abs(error), np.abs(labels)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        relative = size / own
        symmetric = np.where(size > 0, 2 * size / (own + np.abs(predictions)), 0.0)
    return np.stack((labels, error, size, error**2, own, np.where(relative < RELATIVE_LIMIT, relative, np.nan), symmetric))


@dataclass(frozen=True, slots=True)
class Regression:
    """Metrics of `n` rows, with Student's intervals where they are means. None: undefined.

    mae, rmse, bias: mean size of the error, root of its mean square, mean error (above 0: too high), in units of the label. `rmse`'s
    interval is the root of that of the mean square, which is too narrow if errors have heavy tails.
    mape: mean |e| / |y| over the rows with y != 0, of which its `n` counts; `zeros` are the others. None if all are 0.
    smape: mean 2 |e| / (|y| + |p|), in [0, 2]. wape: sum |e| / sum |y|, None if all labels are 0.
    r2: 1 - sum e^2 / sum (y - mean y)^2 with the mean label of these rows, at most 1; None of fewer than 2 rows or a constant label.
    """

    n: int
    zeros: int
    mae: Measured
    rmse: Measured
    bias: Measured
    mape: Measured | None
    smape: Measured
    wape: float | None
    r2: float | None


@dataclass(frozen=True, slots=True)
class ErrorSums:
    """The means of the seven rows of `error_rows`. Merging is associative and commutative to rounding; `ErrorSums()` is neutral."""

    label: Mean = NO_ROWS
    error: Mean = NO_ROWS
    size: Mean = NO_ROWS
    square: Mean = NO_ROWS
    label_size: Mean = NO_ROWS
    relative: Mean = NO_ROWS
    symmetric: Mean = NO_ROWS

    @classmethod
    def of(cls, labels: Floats, predictions: Floats) -> "ErrorSums":
        """The sums of (n,) labels and predictions, as `error_rows` takes them."""
        return cls(*(Mean.of(row[~np.isnan(row)]) for row in error_rows(labels, predictions)))

    def merge(self, other: "ErrorSums") -> "ErrorSums":
        """The sums of both sets of rows; neither is modified."""
        return ErrorSums(*(getattr(self, name).merge(getattr(other, name)) for name in self.__slots__))

    def metrics(self, confidence: float = 0.95) -> Regression | None:
        """All metrics; None without rows.

        >>> found = ErrorSums.of(np.array([1.0, 2.0, 0.0, 5.0]), np.array([1.5, 2.0, 1.0, 4.0])).metrics()
        >>> found.mae.value, found.rmse.value, found.bias.value, found.mape.n, round(found.wape, 4), round(found.r2, 4)
        (0.625, 0.75, 0.125, 3, 0.3125, 0.8393)
        """
        mae, square, bias, smape = (mean.measured(confidence) for mean in (self.size, self.square, self.error, self.symmetric))
        if mae is None or square is None or bias is None or smape is None:
            return None
        root, lower, upper = np.sqrt(np.maximum((square.value, square.lower, square.upper), 0.0)).tolist()
        n, varies = self.label.n, self.label.m2 > self.label.n * (CONSTANT * self.label_size.mean) ** 2
        return Regression(
            n=n,
            zeros=n - self.relative.n,
            mae=mae,
            rmse=Measured(root, lower, upper, n),
            bias=bias,
            mape=self.relative.measured(confidence),
            smape=smape,
            wape=self.size.mean / self.label_size.mean if self.label_size.mean > 0 else None,
            r2=1 - self.square.total / self.label.m2 if varies else None,
        )


def error_edges(scale: float) -> Floats:
    """(242,) edges for errors: from scale / 1000 to 1000 scale on either side of 0, 20 a decade, one bin between.

    Args:
        scale: what a large error is, in units of the label: the standard deviation of the reference's labels. Above 0.

    >>> edges = error_edges(2.0)
    >>> edges.size, float(edges[0]), float(edges[120]), float(edges[121])
    (242, -2000.0, -0.002, 0.002)
    """
    if not 0 < scale < np.inf:
        raise ValueError(f"cannot place errors: scale={scale!r}, expected a finite number above 0; a constant label has none, take 1")
    positive = log_edges(scale / 1000, 6)
    return np.concatenate((-positive[::-1], positive))


def absolute_quantile(counts: Counts, edges: Floats, q: float, greatest: float) -> Bounded | None:
    """The quantile of the size of the error, from the counts on symmetric `error_edges`; of signed errors `quantiles.quantile` tells.

    Args:
        greatest: the largest size of an error, from the kept extremes.

    >>> edges = error_edges(1.0)
    >>> found = absolute_quantile(np.bincount(np.searchsorted(edges, [-3.0, 0.5, 0.0]), minlength=243), edges, 0.6, 3.0)
    >>> found.lower < 0.5 <= found.upper
    True
    """
    middle = counts.size // 2
    folded = counts[middle:].copy()
    folded[1:] += counts[:middle][::-1]
    return quantile(folded, edges[middle:], q, 0.0, greatest)
