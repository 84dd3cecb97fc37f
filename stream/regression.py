"""Where the outcomes of a regression are counted, and how labels and predictions that are numbers become positions and moments. Pure.

An outcomes aggregate of a regression counts predictions, late labels, labels, labels that are no numbers, then the errors on fixed edges
(`detectors.regression.error_edges`), the labels on those of the reference, and last the delays, as every one does. Its moments are the
seven rows of `error_rows`, once of all outcomes that were counted, and once of those that were taken back, since moments cannot be less
than none; and both once more of wild errors, as the others would be lost in the rounding of a label like 999999999 that was corrected.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from detectors.regression import error_rows
from stream.aggregates import M2, MEAN, Codes, Floats, N, merge_moments, zero_moments
from stream.coding import Bins
from stream.model import ERROR_ROWS, Model, empty_bins

_ERROR_ROW: Final = 1  # of `error_rows`
_WILD: Final = 32.0  # standard deviations of the labels, else predictions; their fourth powers are 10^6, of which doubles keep 10^-10
_NO_BINS: Final = empty_bins("", np.zeros(1))


class ErrorCoding:
    """Codes the outcomes of those of some models that are regressions, which `of`, (models,), says; `on` if there are any."""

    def __init__(self, models: Sequence[Model]) -> None:
        slots = [model.numbers for model in models]
        self.of = np.array([slot is not None for slot in slots], np.bool_)
        self.on = bool(self.of.any())
        self._errors = Bins([slot.error.feature if slot else _NO_BINS for slot in slots])
        self._labels = Bins([slot.label.feature if slot else _NO_BINS for slot in slots])
        self._spreads = np.array([model.known_spread for model in models], np.float64)  # NaN for None
        self._starts = np.array([(slot.error.start, slot.label.start) if slot else (0, 0) for slot in slots], np.int64).T

    def code(self, models: Codes, labels: Floats, predictions: Floats, *, taken_back: bool) -> tuple[Codes, Floats]:
        """Positions of errors and labels, (2, n), and what goes into the moments, (7, 14 or 28, n). Only regressions; all (n,), n > 0."""
        rows = error_rows(labels, predictions)
        one = int(models[0]) if models.min() == models.max() else None
        bins = np.stack((self._errors.find(rows[_ERROR_ROW], models, one), self._labels.find(labels, models, one)))
        spreads = self._spreads[models]
        wild = np.abs(rows[_ERROR_ROW]) > _WILD * np.where(np.isnan(spreads), np.abs(predictions), spreads)
        return self._starts[:, models] + bins, _placed(rows, wild, taken_back=taken_back)


def _placed(rows: Floats, wild: npt.NDArray[np.bool_], *, taken_back: bool) -> Floats:
    """`error_rows`, (7, n), in the blocks of what was counted, taken back, and the same of wild ones; NaN in others, without empty ends."""
    nothing = np.full_like(rows, np.nan)
    parts = [np.where(wild, np.nan, rows), np.where(wild, rows, np.nan)] if wild.any() else [rows]
    if len(parts) == 1 and not taken_back:
        return rows
    return np.concatenate([block for part in parts for block in ((nothing, part) if taken_back else (part, nothing))])


def standing(moments: Floats) -> Floats:
    """The moments of the outcomes that were counted and not taken back, (7, 5), from those of both. Extremes stay as they were.

    Where more was taken back than is there to be counted (`Model.floored`) there is none.
    """
    usual, wild = (_left(*part.reshape(2, ERROR_ROWS, -1)) for part in np.split(moments, 2))
    return merge_moments(usual, wild)


def _left(counted: Floats, back: Floats) -> Floats:
    """The moments, (7, 5), of what was counted and not taken back; of nothing without extremes."""
    if not back[:, N].any():
        return counted
    n = np.maximum(counted[:, N] - back[:, N], 0)
    found = counted.copy()
    found[:, N], found[:, MEAN] = n, (counted[:, N] * counted[:, MEAN] - back[:, N] * back[:, MEAN]) / np.maximum(n, 1)
    deviations = [side[:, M2] + side[:, N] * (side[:, MEAN] - found[:, MEAN]) ** 2 for side in (counted, back)]
    found[:, M2] = np.maximum(deviations[0] - deviations[1], 0.0)
    found[n == 0] = zero_moments(1)
    return found
