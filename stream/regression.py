"""Where the outcomes of a regression are counted, and how labels and predictions that are numbers become positions and moments. Pure.

An outcomes aggregate of a regression counts predictions, late labels, labels, labels that are no numbers, then the errors on fixed
edges (`detectors.regression.error_edges`) and the labels on those of the reference. Its moments are the seven rows of `error_rows`.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from detectors.regression import error_rows
from stream.aggregates import Codes, Floats
from stream.coding import Bins
from stream.model import Model, empty_bins

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

    def code(self, models: Codes, labels: Floats, predictions: Floats) -> tuple[Codes, Floats]:
        """Positions of errors and labels, (2, n), and what goes into the moments, (7, n). Only regressions; all (n,), n > 0."""
        rows = error_rows(labels, predictions)
        one = int(models[0]) if models.min() == models.max() else None
        bins = np.stack((self._errors.find(rows[_ERROR_ROW], models, one), self._labels.find(labels, models, one)))
        return self._starts[:, models] + bins, rows
