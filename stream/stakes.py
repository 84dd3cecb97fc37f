"""Where the values at stake are summed by cell of the confusion matrix: positions and integer weights for an outcomes aggregate. Pure."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from stream.aggregates import Codes
from stream.model import VALUE_UNITS, VALUES_MAX, Model


class StakeCoding:
    """Codes the outcomes of those of some models whose values are counted; `on` if there are any."""

    def __init__(self, models: Sequence[Model]) -> None:
        self._of = np.array([model.has_stakes for model in models], np.bool_)
        self.on = bool(self._of.any())
        self._starts = np.array([model.values_start for model in models], np.int64)
        self._told_none = np.array([model.delays_start - 1 for model in models], np.int64)

    def code(self, models: Codes, cells: Codes, stakes: npt.NDArray[np.float32]) -> tuple[Codes, Codes, Codes]:
        """Which outcomes count, (m,) of n, where, (m,), and by how much, (m,): the value in VALUE_UNITS, or one that told none.

        Args:
            models, cells, stakes: (n,) each outcome's model, its cell of the confusion matrix, row by row, and its value, NaN for none.
        """
        at = np.flatnonzero(self._of[models])
        models, values = models[at], stakes[at].astype(np.float64)
        told = np.abs(values) <= VALUES_MAX  # NaN is not
        codes = np.where(told, self._starts[models] + cells[at], self._told_none[models])
        weights = np.rint(np.where(told, values * VALUE_UNITS, 1)).astype(np.int64)
        return at, codes, weights
