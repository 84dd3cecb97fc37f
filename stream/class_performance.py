"""How each class of a classifier fares in a window, from its confusion matrix. Pure."""

from collections.abc import Sequence

import numpy as np

from detectors.intervals import wilson
from detectors.performance import by_class, f1_ends
from stream.aggregates import Counts
from stream.results_performance import Averages, ClassPerformance

AVERAGES = Averages.__struct_fields__


def class_table(confusion: Counts, classes: Sequence[str]) -> tuple[ClassPerformance, ...]:
    """One row a configured class; the last of `classes`, of those that are not, has none, as it is never right."""
    sides = np.stack(by_class(confusion, None), axis=1)[:-1]
    shares, of_f1 = wilson(sides[:, :1], sides[:, 1:]).transpose(1, 2, 0).tolist(), f1_ends(*sides.T).T.tolist()
    return tuple(
        ClassPerformance(
            name=name,
            support=of_label,
            precision=right / said if said else None,
            recall=right / of_label if of_label else None,
            f1=2 * right / (of_label + said) if of_label + said else None,
            intervals={
                metric: (low, high)
                for metric, rows, (low, high) in (("recall", of_label, found), ("precision", said, hit), ("f1", of_label + said, both))
                if rows
            },
        )
        for name, (right, of_label, said), (found, hit), both in zip(classes, sides.tolist(), shares, of_f1, strict=False)
    )
