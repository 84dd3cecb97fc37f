"""From values to positions in aggregates, for all events of a batch at once, whatever models they are of.

Models whose references have the same features share a `Coding`: the edges of all of them stand in one table, and one search per feature
finds every event's bin in its own model.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stream.aggregates import Codes, Floats, mapped
from stream.model import ALIAS, FeatureSlot, Model, with_variants
from stream.reference import CategoricalFeature, Feature, NumericFeature

CELLS: Final = 2_048
CELLED_EDGES: Final = 40  # fewer are found as fast without
CELLED_MODELS: Final = 50  # of one family, for which cells are kept: 18 KB a feature


class _Numbered(dict[Any, int]):
    """Number by value; 0 for every other value."""

    def __missing__(self, value: Any) -> int:
        return 0


class _Cells:
    """Even cells over the edges of one model: how many edges lie before a cell is where a search for the numbers in it begins.

    Most numbers are two comparisons from their bin then, a fifth of what a binary search costs. A number's cell grows with the number,
    however it is rounded, so the edges in cells before its own are below it, and those in cells behind it above.
    """

    def __init__(self, edges: Floats) -> None:
        with np.errstate(all="ignore"):
            self._low, self._per_unit = edges[0], CELLS / (edges[-1] - edges[0])
        self._edges, self._ahead = edges, np.append(edges, (np.nan, np.nan))
        held = np.bincount(self._of(edges), minlength=CELLS + 1)
        self._before, self._crowded = np.cumsum(held) - held, held > 2

    def _of(self, x: Floats) -> Codes:
        with np.errstate(all="ignore"):  # beyond doubles all is one cell
            place = (x - self._low) * self._per_unit
        cells: Codes = np.fmax(np.fmin(place, CELLS, out=place), 0, out=place).astype(np.int64)
        return cells

    def find(self, x: Floats) -> Codes:
        """The bin of each number, (n,); of NaN any."""
        cells = self._of(x)
        bins = self._before.take(cells)
        for _ in range(2):
            bins += self._ahead.take(bins) <= x
        crowded = np.flatnonzero(self._crowded.take(cells))
        if crowded.size:
            bins[crowded] = np.searchsorted(self._edges, x[crowded], side="right")
        return bins


class Bins:
    """A number, by the edges of each model."""

    def __init__(self, features: Sequence[Feature]) -> None:
        self._edges = [feature.edges for feature in features if isinstance(feature, NumericFeature)]
        few = len(self._edges) <= CELLED_MODELS
        self._cells = [_Cells(edges) if few and edges.size >= CELLED_EDGES else None for edges in self._edges]
        self._width = 1 << max(edges.size for edges in self._edges).bit_length()
        table = np.full((len(self._edges), self._width), np.nan)  # below which no number is: a search goes past it
        for row, edges in zip(table, self._edges, strict=True):
            row[: edges.size] = edges
        self._table = table.ravel()

    def find(self, x: Floats, members: Codes, one: int | None) -> Codes:
        """The bin of each number, (n,); of NaN any. `one`: the model, if all are of the same.

        Otherwise a binary search in the edges of each number's own model, of all numbers step by step.
        """
        if one is not None:
            cells = self._cells[one]
            return np.searchsorted(self._edges[one], x, side="right") if cells is None else cells.find(x)
        before = members * self._width - 1
        last, step = before.copy(), self._width // 2  # the last edge that is known not to be above
        while step:
            last += step * (self._table[last + step] <= x)
            step //= 2
        return last - before


class _Categories:
    """A category, by the known ones of each model; None is missing, every other value the last bin."""

    def __init__(self, features: Sequence[CategoricalFeature]) -> None:
        readers: dict[str, Callable[[str], Any]] = {"string": str, "integer": int, "boolean": "true".__eq__}
        read = readers[features[0].value_type]
        texts = dict.fromkeys(text for feature in features for text in feature.categories)
        place = {text: number for number, text in enumerate(texts, 2)}
        self._numbers = _Numbered({None: 1} | {read(text): number for text, number in place.items()})
        self._table = np.zeros((len(features), len(texts) + 2), np.int64)
        for row, feature in zip(self._table, features, strict=True):
            row[:] = len(feature.categories)
            row[1] = feature.bins  # where MISSING stands
            row[[place[text] for text in feature.categories]] = np.arange(len(feature.categories))

    def find(self, values: Sequence[Any] | Floats, members: Codes) -> Codes:
        """The bin of each value, (n,)."""
        return self._table[members, mapped(self._numbers, values)]


class Coding:
    """How the score and the features of events become positions, for models whose references have the same features in the same order."""

    def __init__(self, models: Sequence[Model]) -> None:
        self.features = models[0].slots  # of any of them: names, kinds and rows of moments are the same for all
        self.slots = (models[0].score, *self.features)
        self._moments = models[0].traffic.moments
        by_slot = list(zip(*((model.score, *model.slots) for model in models), strict=True))
        positions = [[(slot.start, slot.missing, slot.invalid) for slot in slots] for slots in by_slot]
        self._starts, self._missing, self._invalid = (
            np.array(positions, np.int64).reshape(len(self.slots), len(models), 3).transpose(2, 0, 1)
        )
        self._numeric = np.array([i for i, slot in enumerate(self.slots) if slot.moments >= 0], np.int64)
        self._new = np.array([[_place_of_new(slot) for slot in slots] for slots in by_slot], np.int64)
        self._may_be_new = np.flatnonzero((self._new >= 0).any(axis=1)).tolist()
        self._finders: list[Bins | _Categories] = []
        for slots in by_slot:
            numbers = [slot.feature for slot in slots if isinstance(slot.feature, NumericFeature)]
            self._finders.append(
                Bins(numbers) if numbers else _Categories([f for s in slots if isinstance(f := s.feature, CategoricalFeature)])
            )

    @staticmethod
    def key(model: Model) -> tuple[Any, ...]:
        """Equal for models that may share one."""
        return tuple((slot.feature.name, getattr(slot.feature, "value_type", "number")) for slot in model.slots)

    def code(
        self, columns: Sequence[Sequence[Any] | Floats], invalid: Mapping[str, Sequence[int]], members: Codes | None = None
    ) -> tuple[Codes, Floats]:
        """Positions of all values in their models' aggregates, (slots, n), and the numeric values, (moments, n), NaN where there is none.

        Args:
            columns: scores, then values of each feature in order of the slots: of the feature's type, or None where missing or invalid.
            invalid: per feature, which events had a value of the wrong type.
            members: (n,) int64 which of the models each event is of; None: all of the first.
        """
        n = len(columns[0])
        members = np.zeros(n, np.int64) if members is None else members
        one = int(members[0]) if n and members.min() == members.max() else None
        codes, values = np.empty((len(self.slots), n), np.int64), np.empty((self._moments, n))
        for row, (slot, finder, column) in enumerate(zip(self.slots, self._finders, columns, strict=True)):
            if isinstance(finder, Bins):
                values[slot.moments] = column
                codes[row] = finder.find(values[slot.moments], members, one)
            else:
                codes[row] = finder.find(column, members)
            codes[row] += self._starts[row, members if one is None else one]
        absent, event = np.nonzero(np.isnan(values))
        rows = self._numeric[absent]
        codes[rows, event] = self._missing[rows, members[event]]
        for row, slot in enumerate(self.features, 1):
            if wrong := invalid.get(slot.feature.name):
                codes[row, wrong] = self._invalid[row, members[wrong]]
        return codes, values

    def unseen(self, codes: Codes, members: Codes) -> Iterator[tuple[int, Codes]]:
        """Of each of `features` with values that are not in its reference, which it is, and which events have one.

        Args:
            codes: what `code` said of the events. members: as there.
        """
        for row in self._may_be_new:
            new = self._new[row] if self._new.shape[1] == 1 else self._new[row].take(members)
            if (where := np.flatnonzero(codes[row] == new)).size:
                yield row - 1, where


def _place_of_new(slot: FeatureSlot) -> int:
    """Where values that the reference has not are counted; -1 if it counts rare ones of its own there."""
    feature = slot.feature
    return slot.other if isinstance(feature, CategoricalFeature) and not feature.counts[-1] else -1


class ClassCodes:
    """Classes as small numbers: those of pending rows, shared by all models, and each model's own codes for its confusion matrix."""

    def __init__(self, models: Iterable[Model], numbers: Mapping[str, int]) -> None:
        self._numbers = _Numbered()
        for text, number in numbers.items():
            self._numbers[text] = number
            if text in ("true", "false"):
                self._numbers.setdefault(text == "true", number)
            elif re.fullmatch("0|-?[1-9][0-9]*", text):  # as an integer is written: "01" is a text and nothing else
                self._numbers.setdefault(int(text), number)
        self._codes = np.stack([self._own(model.settings.classes, numbers) for model in with_variants(models)])

    def numbers(self, values: Iterable[Any]) -> npt.NDArray[np.uint16]:
        """The stored number of each class, (n,); 0 if no model has it. A class may come as text, whole number or boolean."""
        return mapped(self._numbers, values).astype(np.uint16)

    def codes(self, models: Codes | int, numbers: npt.NDArray[np.uint16]) -> Codes:
        """The code of each class in the model of this index, (n,); the number of the model's classes for every other class."""
        codes: Codes = self._codes[models, np.minimum(numbers, self._codes.shape[1] - 1)]
        return codes

    @staticmethod
    def _own(classes: tuple[str, ...], numbers: Mapping[str, int]) -> Codes:
        own = np.full(max(numbers.values(), default=0) + 2, len(classes), np.int64)
        # 1 and true are one value in Python, so a model with class "1" takes what another model calls "true"
        for text, number in numbers.items():
            known = text if text in classes else ALIAS.get(text)
            if known in classes:
                own[number] = classes.index(known)
        return own
