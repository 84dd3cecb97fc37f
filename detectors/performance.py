"""Every classification metric from one confusion matrix. What is undefined is None: never 0, never 0.5, never NaN.

`confusion` is (k, k) int64, `confusion[i, j]` rows of label i predicted as j. With `positive` (a class index) precision, recall and f1
are that class's own. Without, they are macro averages as in scikit-learn with its default labels and zero_division=0: the plain mean over
the classes that occur as label or as prediction. In that mean a class that is never predicted has precision 0 and one that never occurs
as label has recall 0; leaving it out would reward a model for giving a class up.
"""

from collections.abc import Callable

import numpy as np

from detectors.counts import Counts

Metric = Callable[[Counts, int | None], float | None]


def accuracy(confusion: Counts, positive: int | None = None) -> float | None:
    """Share of rows predicted right, in [0, 1]; None without rows. `positive` changes nothing; all metrics share one signature.

    >>> accuracy(np.array([[4, 1], [2, 3]]))
    0.7
    """
    hits, labelled, _ = by_class(confusion, positive)
    return float(hits.sum() / labelled.sum()) if labelled.any() else None


def precision(confusion: Counts, positive: int | None = None) -> float | None:
    """Share of the predictions of a class that are right, in [0, 1]; None if `positive` is never predicted, or without rows.

    >>> precision(np.array([[4, 1], [2, 3]]), 1)
    0.75
    >>> precision(np.array([[4, 0], [2, 0]]), 1) is None
    True
    """
    hits, labelled, predicted = by_class(confusion, positive)
    return _ratio(hits, predicted, labelled + predicted, positive)


def recall(confusion: Counts, positive: int | None = None) -> float | None:
    """Share of the rows of a class that are found, in [0, 1]; None if `positive` never occurs as label, or without rows.

    >>> recall(np.array([[4, 1], [2, 3]]), 1)
    0.6
    """
    hits, labelled, predicted = by_class(confusion, positive)
    return _ratio(hits, labelled, labelled + predicted, positive)


def f1(confusion: Counts, positive: int | None = None) -> float | None:
    """2 tp / (2 tp + fp + fn), in [0, 1]; None if `positive` occurs neither as label nor as prediction, or without rows.

    Macro: the mean of the classes' f1, not the harmonic mean of macro precision and recall.

    >>> round(f1(np.array([[4, 1], [2, 3]]), 1), 4)
    0.6667
    """
    hits, labelled, predicted = by_class(confusion, positive)
    return _ratio(2 * hits, labelled + predicted, labelled + predicted, positive)


def specificity(confusion: Counts, positive: int | None = None) -> float | None:
    """Share of the rows that are not of a class and were not predicted as it, in [0, 1]; None if `positive` is every row's label.

    Macro: a class that is every row's label counts 0, as recall does for one that never occurs.

    >>> specificity(np.array([[4, 1], [2, 3]]), 1)
    0.8
    """
    hits, labelled, predicted = by_class(confusion, positive)
    others = labelled.sum() - labelled
    return _ratio(others - (predicted - hits), others, labelled + predicted, positive)


def mcc(confusion: Counts, positive: int | None = None) -> float | None:
    """Matthews correlation coefficient, in [-1, 1]; None if all labels or all predictions are of one class. `positive` changes nothing.

    With more than two classes Gorodkin's generalisation, as in scikit-learn, which says 0 where this is undefined.

    References:
        J. Gorodkin, Comparing two K-category assignments by a K-category correlation coefficient, Comput. Biol. Chem. 28(5), 2004, 367-374.

    >>> round(mcc(np.array([[4, 1], [2, 3]])), 4)
    0.4082
    """
    hits, labelled, predicted = (side.astype(np.float64) for side in by_class(confusion, positive))
    n = labelled.sum()
    spread = (n**2 - (labelled**2).sum()) * (n**2 - (predicted**2).sum())
    return float((hits.sum() * n - labelled @ predicted) / np.sqrt(spread)) if spread > 0 else None


def lift(confusion: Counts, positive: int | None = None) -> float | None:
    """How many times more often rows predicted as `positive` are right than all rows are positive: precision over base rate, >= 0.

    None without `positive`, if it is never predicted, and if it never occurs as label.

    >>> lift(np.array([[4, 1], [2, 3]]), 1)
    1.5
    """
    hits, labelled, predicted = by_class(confusion, positive)
    if positive is None or not (labelled[positive] and predicted[positive]):
        return None
    return float(hits[positive] * labelled.sum() / (predicted[positive] * labelled[positive]))


METRICS: dict[str, Metric] = {
    "accuracy": accuracy,
    "precision": precision,
    "recall": recall,
    "f1": f1,
    "specificity": specificity,
    "mcc": mcc,
    "lift": lift,
}


def averages(confusion: Counts) -> dict[str, float | None]:
    """Precision, recall and f1 as means over the classes, by name: `_macro` the plain mean, `_weighted` by the rows labelled as each.

    Each is in [0, 1], as in scikit-learn with zero_division=0, or None without rows. The micro averages of all three are the accuracy,
    and so is the weighted recall.

    >>> round(averages(np.array([[4, 1], [2, 3]]))["precision_weighted"], 4)
    0.7083
    """
    hits, labelled, predicted = by_class(confusion, None)
    occurs = labelled + predicted
    found: dict[str, float | None] = {}
    for name, right, rows in (("precision", hits, predicted), ("recall", hits, labelled), ("f1", 2 * hits, occurs)):
        found[f"{name}_macro"] = _ratio(right, rows, occurs, None)
        found[f"{name}_weighted"] = float(right / np.maximum(rows, 1) @ labelled / labelled.sum()) if labelled.any() else None
    return found


def by_class(confusion: Counts, positive: int | None) -> tuple[Counts, Counts, Counts]:
    """Rows right, rows labelled and rows predicted, each (k,)."""
    if confusion.ndim != 2 or confusion.shape[0] != confusion.shape[1]:
        raise ValueError(f"cannot read confusion matrix: shape={confusion.shape!r}, expected (k, k); rows are labels, columns predictions")
    if (confusion < 0).any():
        raise ValueError(f"cannot read confusion matrix: least count={int(confusion.min())!r}, expected >= 0; counts are never subtracted")
    if positive is not None and not 0 <= positive < len(confusion):
        raise ValueError(f"cannot pick class: positive={positive!r}, expected 0 <= positive < k={len(confusion)!r}; it is an index")
    return confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)


def _ratio(hits: Counts, rows: Counts, occurs: Counts, positive: int | None) -> float | None:
    """hits / rows of class `positive`, else its mean over the classes with occurs > 0, 0 / 0 counting as 0; None if undefined."""
    if positive is not None:
        return float(hits[positive] / rows[positive]) if rows[positive] else None
    return float((hits / np.maximum(rows, 1))[occurs > 0].mean()) if occurs.any() else None
