"""Where the outcomes of a regression are counted, and how labels and predictions that are numbers become positions and moments. Pure.

An outcomes aggregate of a regression counts predictions, late labels, labels, labels that are no numbers, then the errors on fixed edges
(`detectors.regression.error_edges`), the labels on those of the reference, and last the delays, as every one does. Its moments are the
seven rows of `error_rows`, once of all outcomes that were counted, and once of those that were taken back, since moments cannot be less
than none.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from detectors.regression import error_rows
from stream.aggregates import M2, MEAN, Codes, Floats, N
from stream.coding import Bins
from stream.model import ERROR_ROWS, Model, empty_bins

_ERROR_ROW: Final = 1  # of `error_rows`
_NO_BINS: Final = empty_bins("", np.zeros(1))


class ErrorCoding:
    """Codes the outcomes of those of some models that are regressions, which `of`, (models,), says; `on` if there are any."""

    def __init__(self, models: Sequence[Model]) -> None:
        slots = [model.numbers for model in models]
        self.of = np.array([slot is not None for slot in slots], np.bool_)
        self.on = bool(self.of.any())
        self._errors = Bins([slot.error.feature if slot else _NO_BINS for slot in slots])
        self._labels = Bins([slot.label.feature if slot else _NO_BINS for slot in slots])
        self._starts = np.array([(slot.error.start, slot.label.start) if slot else (0, 0) for slot in slots], np.int64).T

    def code(self, models: Codes, labels: Floats, predictions: Floats, *, taken_back: bool) -> tuple[Codes, Floats]:
        """Positions of errors and labels, (2, n), and what goes into the moments, (7 or 14, n). Only regressions; all (n,), n > 0."""
        rows = error_rows(labels, predictions)
        one = int(models[0]) if models.min() == models.max() else None
        bins = np.stack((self._errors.find(rows[_ERROR_ROW], models, one), self._labels.find(labels, models, one)))
        return self._starts[:, models] + bins, np.concatenate((np.full_like(rows, np.nan), rows)) if taken_back else rows


def standing(moments: Floats) -> Floats:
    """The moments of the outcomes that were counted and not taken back, (7, 5), from those of both. Extremes stay as they were.

    Where more was taken back than is there to be counted (`Model.floored`) there is none.
    """
    counted, back = moments[:ERROR_ROWS], moments[ERROR_ROWS:]
    n = np.maximum(counted[:, N] - back[:, N], 0)
    found = counted.copy()
    found[:, N], found[:, MEAN] = n, (counted[:, N] * counted[:, MEAN] - back[:, N] * back[:, MEAN]) / np.maximum(n, 1)
    deviations = [side[:, M2] + side[:, N] * (side[:, MEAN] - found[:, MEAN]) ** 2 for side in (counted, back)]
    found[:, M2] = np.maximum(deviations[0] - deviations[1], 0.0)
    return found if back[:, N].any() else counted
