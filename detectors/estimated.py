"""Performance before labels arrive, from score histograms alone (CBPE): the confusion matrix as it is expected, and how far off it may be.

A reference teaches how often a row of each bin is positive; a window's rows, counted by predicted class and score, then have an expected
number of positives. It holds as long as scores mean what they meant: it follows drift of the inputs, and is blind to concept drift.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.counts import Counts, Floats
from detectors.intervals import Measured, z_of


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """The chance that a row of a bin is positive, (n_bins,), rising, and the block of bins that taught it, (n_bins,).

    Of each block, (n_blocks,), the rows and the positives of the reference.
    """

    rates: Floats
    blocks: NDArray[np.int64]
    rows: Floats
    positives: Floats


def calibration(negatives: Counts, positives: Counts) -> Calibration:
    """What a labelled reference teaches: the share of positives in each bin, pooled where it would fall as scores rise (isotonic).

    Bins without rows lie evenly between their neighbours, or are as the nearest.

    Args:
        negatives, positives: (n_bins,) int64 counts of the reference by rising score, not modified.
    Raises:
        ValueError: shapes differ, a count is negative, or one class has no rows.

    >>> calibration(np.array([9, 0, 3, 1]), np.array([1, 0, 4, 1])).rates.round(3).tolist()
    [0.1, 0.328, 0.556, 0.556]
    """
    if negatives.ndim != 1 or negatives.shape != positives.shape or min(negatives.min(initial=0), positives.min(initial=0)) < 0:
        raise ValueError(f"cannot calibrate: shapes={negatives.shape!r} and {positives.shape!r}, expected one (n_bins,) and counts >= 0")
    if not negatives.any() or not positives.any():
        raise ValueError(
            f"cannot calibrate: negatives={int(negatives.sum())!r}, positives={int(positives.sum())!r}, expected some of both; "
            "a reference of one class cannot tell what scores mean"
        )
    from scipy.optimize import isotonic_regression  # here, as it takes 24 MB, which a worker that estimates nothing need not spend

    rows = negatives + positives
    used = np.flatnonzero(rows)
    fitted = isotonic_regression(positives[used] / rows[used], weights=rows[used])
    of_used = np.repeat(np.arange(fitted.blocks.size - 1), np.diff(fitted.blocks))
    bins = np.arange(rows.size)
    nearest = np.maximum(np.searchsorted(used, bins, side="right") - 1, 0)
    in_blocks = np.add.reduceat(np.stack((rows, positives))[:, used], fitted.blocks[:-1], axis=1).astype(np.float64)
    return Calibration(np.interp(bins, used, fitted.x), of_used[nearest], in_blocks[0], in_blocks[1])


def estimated(known: Calibration, negative: Counts, positive: Counts, confidence: float = 0.95) -> dict[str, Measured | None]:
    """Accuracy, precision, recall, f1 and roc_auc as they are expected to be, of rows that have no labels yet.

    With c_b the chance of bin b, a row predicted positive is a true positive with c_b, one predicted negative a false negative. The AUC
    takes n_b c_b positives and n_b (1 - c_b) negatives in each bin, those of one bin being ties.

    Args:
        known: learnt from the reference on the same bins.
        negative, positive: (n_bins,) int64 counts by rising score of the rows predicted negative and positive. Not modified.
        confidence: how often the realised value lies in the band while the calibration holds.
    Returns:
        None where a metric is undefined, else the expected value and the band value +- z sd, within [0, 1]; n is all rows. The variance has
        two parts: labels are drawn by chance, sum_b (d metric)^2 n_b c (1 - c), and the chances were themselves learnt from the m rows
        that a block of bins has in the reference, sum_blocks (sum_b d metric n_b)^2 c (1 - c) / m. So the band is about the realised
        value of these very rows, not about unlimited ones.
    Raises:
        ValueError: shapes differ or a count is negative.
    References:
        J. Kivimäki et al., Confidence-Based Estimators for Predictive Performance in Model Monitoring, J. Artif. Intell. Res. 82, 2025;
        the estimate is that of NannyML.

    >>> known = calibration(np.array([90, 10]), np.array([10, 90]))
    >>> found = estimated(known, np.array([50, 0]), np.array([0, 50]))
    >>> round(found["accuracy"].lower, 3), round(found["accuracy"].value, 3), round(found["accuracy"].upper, 3)
    (0.826, 0.9, 0.974)
    """
    rows = np.stack((negative, positive))
    if rows.shape != (2, known.rates.size) or rows.min(initial=0) < 0:
        raise ValueError(
            f"cannot estimate: rows.shape={rows.shape!r}, expected {(2, known.rates.size)!r} and counts >= 0; bins are the reference's"
        )
    (fn, tp), (left, raised) = (rows @ known.rates).tolist(), rows.sum(axis=1).tolist()
    n, p, s = left + raised, tp + fn, raised + tp + fn
    # value, and what one more false negative and true positive changes; the rows stay, so it is a negative less
    of_counts = {
        "accuracy": ((tp + left - fn) / n, -1 / n, 1 / n) if n else None,
        "precision": (tp / raised, 0.0, 1 / raised) if raised else None,
        "recall": (tp / p, -tp / p**2, fn / p**2) if p else None,
        "f1": (2 * tp / s, -2 * tp / s**2, 2 * (s - tp) / s**2) if s else None,
    }
    spread = _spread(known)
    (of_fn, both), (_, of_tp) = _covariance(known, rows, spread)
    found: dict[str, Measured | None] = dict.fromkeys(of_counts)
    for name, metric in of_counts.items():
        if metric is not None:
            value, by_fn, by_tp = metric
            found[name] = _measured(value, by_fn**2 * of_fn + 2 * by_fn * by_tp * both + by_tp**2 * of_tp, n, confidence)
    return found | {"roc_auc": _auc(known, rows.sum(axis=0), spread, confidence)}


def _spread(known: Calibration) -> Floats:
    """The variance of the label of a row of each block, (n_blocks,)."""
    chance = (known.positives + 1) / (known.rows + 2)  # Laplace's rule: a block without positives may still have some elsewhere
    return chance * (1 - chance)


def _covariance(known: Calibration, rows: Counts, spread: Floats) -> list[list[float]]:
    """Of the false negatives and the true positives, 2 x 2: labels are drawn, and their chances were learnt, wrong in both alike."""
    in_blocks = np.stack([np.bincount(known.blocks, side, spread.size) for side in rows])
    covariance: list[list[float]] = ((in_blocks * (spread / known.rows)) @ in_blocks.T + np.diag(in_blocks @ spread)).tolist()
    return covariance


def _auc(known: Calibration, rows: Counts, spread: Floats, confidence: float) -> Measured | None:
    """Expected AUC. One more positive, and one negative less, moves it in each bin by something else."""
    positives = rows * known.rates
    negatives = rows - positives
    p, n = float(positives.sum()), float(negatives.sum())
    if not p or not n:
        return None
    below, above = np.cumsum(negatives) - negatives / 2, p - np.cumsum(positives) + positives / 2
    value = float(positives @ below) / (p * n)
    moved = rows * ((below - above) / (p * n) - value * (1 / p - 1 / n))
    drawn = float(moved**2 / np.maximum(rows, 1) @ spread[known.blocks])
    learnt = float(np.bincount(known.blocks, moved, spread.size) ** 2 @ (spread / known.rows))
    return _measured(value, drawn + learnt, int(rows.sum()), confidence)


def _measured(value: float, variance: float, n: int, confidence: float) -> Measured:
    half = z_of(confidence) * math.sqrt(max(variance, 0.0))
    return Measured(value, max(value - half, 0.0), min(value + half, 1.0), n)
