"""What the scores by class of a window must come to, from its raw rows: each class against all others."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Ranked = tuple[int, tuple[float | None, ...]]  # the label's class, and the score of each class where it is a probability


class Within(NamedTuple):
    """What must lie within the bounds of a metric that comes from bins."""

    value: float

    def differs(self, actual: Any) -> bool:
        low, high = actual["bounds"] if isinstance(actual, Mapping) else (math.inf, -math.inf)
        return not low - 1e-9 <= self.value <= high + 1e-9


def ranked(classes: Sequence[str], label: int, score: Any) -> list[Ranked]:
    """A row with at most one entry: what a prediction with this score, of a label, adds to a window."""
    if not isinstance(score, dict):
        return []
    told = tuple(p if (p := score.get(name)) is not None and 0 <= p <= 1 else None for name in classes)
    return [(label, told)] if any(p is not None for p in told) else []


def one_vs_rest(classes: Sequence[str], rows: Sequence[Ranked]) -> dict[str, Any] | None:
    """The part of a result about them, as far as it follows from the rows; None without any."""
    if not rows:
        return None
    tables = [[(label == c, told[c]) for label, told in rows if told[c] is not None] for c in range(len(classes))]
    each = [
        {"name": name, "n": len(table), "support": sum(hit for hit, _ in table), "roc_auc": _auc(table)}
        for name, table in zip(classes, tables, strict=True)
    ]
    known = [(one["roc_auc"].value, one["support"]) for one in each if one["roc_auc"] is not None]
    truths = [told[label] for label, told in rows if label < len(classes) and told[label] is not None]
    return {
        "n": max(map(len, tables)),
        "roc_auc_macro": Within(math.fsum(auc for auc, _ in known) / len(known)) if known else None,
        "roc_auc_weighted": Within(math.fsum(auc * n for auc, n in known) / sum(n for _, n in known)) if known else None,
        "roc_auc_micro": _auc([row for table in tables for row in table]),
        "multiclass_log_loss": Within(math.fsum(-math.log(max(p or 0, 2.0**-52)) for p in truths) / len(truths)) if truths else None,
        "by_class": each,
    }


def _auc(table: Sequence[tuple[bool, float | None]]) -> Within | None:
    """The share of pairs of a positive and a negative in which the positive scores higher, ties for half."""
    positives, negatives = (sorted(p or 0.0 for hit, p in table if hit is side) for side in (True, False))
    if not positives or not negatives:
        return None
    below = [bisect_left(negatives, p) + bisect_right(negatives, p) for p in positives]
    return Within(sum(below) / (2 * len(positives) * len(negatives)))
