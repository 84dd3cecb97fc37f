"""The score of every class, where events of a model of several classes tell one for each: packed for the join, coded for counts.

A score is kept as its bin of SCORE_EDGES, one byte, so a row of ten classes waits with ten bytes more. Bin 0, what is below 0, stands for
none; whatever is no probability becomes it. A packed row begins with the number of the list of classes that its bytes are of, so that
rows which wait while the configuration changes are not taken for those of other classes.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, repeat
from operator import itemgetter
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from detectors.score_bins import SCORE_EDGES
from stream.aggregates import Codes, Floats, distinct
from stream.coding import Bins
from stream.model import CLASS_BINS, Model, empty_bins, with_variants
from stream.store import NameStore

_TAG: Final = 2  # bytes: the number of the list of classes, 0 where a row has no scores
PackedScores = npt.NDArray[np.uint8]


class ClassScores:
    """Packs and codes the scores by class of some models; `width` is the bytes of a packed row, 0 if no model has them."""

    def __init__(self, models: Iterable[Model], store: NameStore) -> None:
        every = with_variants(models)
        self._classes = [model.settings.scored_classes for model in every]
        self._starts = [model.class_scores_start for model in every]
        lists = sorted({"\n".join(classes) for classes in self._classes if classes})
        numbers = {"": 0} | dict(zip(lists, store.intern("classes", lists) if lists else (), strict=True))
        self._tags = [numbers["\n".join(classes)] for classes in self._classes]
        self._bins = Bins([empty_bins("score", SCORE_EDGES)])
        most = max(map(len, self._classes), default=0)
        self.width = most and _TAG + most

    def packed(self, scores: Sequence[Any], models: Codes) -> PackedScores:
        """The scores by class among these, (n, width) uint8.

        Args:
            scores: of each event, a mapping from class to score, or anything else, which is none.
            models: (n,) index of each event's model, below 0 for none.
        """
        packed = np.zeros((len(scores), self.width), np.uint8)
        if not self.width:
            return packed
        by_class = np.array([kind is dict for kind in map(type, scores)], np.bool_)
        for model, at in self._by_model(np.where(by_class, models, -1)):
            classes = self._classes[model]
            x = _numbers(classes, [scores[i] for i in at.tolist()])
            known = (x >= 0) & (x <= 1)
            bins = np.where(known, self._bins.find(np.where(known, x, 0), np.zeros(x.size, np.int64), 0), 0)
            packed[at, :_TAG] = np.array([self._tags[model]], "<u2").view(np.uint8)
            packed[at, _TAG : _TAG + len(classes)] = bins.reshape(at.size, len(classes))
        return packed

    def code(self, models: Codes, labelled: Codes, packed: PackedScores) -> Iterator[tuple[Codes, Codes]]:
        """For each model which outcomes count, (m,) of n, and where, (classes, m): of each class in the bin of its score, in the upper
        half of its bins if it was the label.

        Args:
            models, labelled, packed: (n,), (n,) and (n, width): each outcome's model, the code of its label, and the scores.
        """
        for model, where in self._by_model(models):
            at = where[packed[where, :_TAG].copy().view("<u2").ravel() == self._tags[model]]
            if at.size:
                each = np.arange(len(self._classes[model]))[:, None]
                halves = 2 * each + (labelled[at] == each)
                yield at, self._starts[model] + halves * CLASS_BINS + packed[at, _TAG : _TAG + each.size].T

    def _by_model(self, models: Codes) -> Iterator[tuple[int, Codes]]:
        """Each model with scores by class among those of some events, and where."""
        for model in distinct(models)[0].tolist() if self.width else ():
            if model >= 0 and self._tags[model]:
                yield model, np.flatnonzero(models == model)


def _numbers(classes: Sequence[str], scores: Sequence[Mapping[str, float]]) -> Floats:
    """The score of each class, mapping by mapping, (n * classes,); NaN where it is not told."""
    try:
        rows = list(map(itemgetter(*classes), scores))
    except KeyError:
        rows = [tuple(map(told.get, classes, repeat(np.nan))) for told in scores]
    return np.frombuffer(struct.pack(f"{len(rows) * len(classes)}d", *chain.from_iterable(rows)), np.float64)
