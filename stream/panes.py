"""The open panes of one unit: all counts in one vector, all moments in one table, so that one call adds a batch to any number of panes.

Which pane is meant is said by a small number that it keeps while it is open. The space of a pane that is closed is used again.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from stream.aggregates import Aggregate, Codes, Floats, Layout, distinct, grouped_moments, merge_moments, zero_moments
from stream.store import PaneGroup
from stream.unseen import Unseen, merged_unseen, unseen_nbytes

T = TypeVar("T", bound=np.generic)
_NO_VALUES: Final = zero_moments(1)
_MANY: Final = 4  # one in so many panes that are held


class PaneKey(NamedTuple):
    """A pane of a model."""

    model: str
    group: PaneGroup


class Panes:
    """Aggregates by number and by key."""

    def __init__(self) -> None:
        self._numbers: dict[PaneKey, int] = {}
        self._held: list[tuple[PaneKey, Layout] | None] = []
        self._starts: Codes = np.zeros(64, np.int64)  # of each pane's counts
        self._moment_starts: Codes = np.zeros(64, np.int64)
        self._dirty: npt.NDArray[np.bool_] = np.zeros(64, bool)
        self._counts: npt.NDArray[np.int64] = np.zeros(4_096, np.int64)
        self._moments: Floats = zero_moments(64)
        self._unseen: dict[int, Unseen] = {}  # by number, of panes with any; never modified, but replaced
        self._counts_end = self._moments_end = 0
        self._free: dict[tuple[int, int], list[int]] = {}  # numbers of closed panes, by how many counts and moments they had
        self.nbytes = 0

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[PaneKey]:
        return iter(self._numbers)

    def number(self, key: PaneKey, layout: Layout) -> int:
        """The pane's number; a pane that is not open is opened, empty."""
        found = self._numbers.get(key)
        return self._open(key, layout) if found is None else found

    def aggregate(self, key: PaneKey) -> Aggregate:
        """A view of an open pane; KeyError if it is not open."""
        return self._aggregate(self._numbers[key])

    def hold(self, key: PaneKey, aggregate: Aggregate) -> None:
        """Open a pane with what had been counted before."""
        number = self._open(key, aggregate.layout)
        held = self._aggregate(number)
        held.counts[:], held.moments[:] = aggregate.counts, aggregate.moments
        self._take_unseen(number, aggregate.unseen)

    def add(self, numbers: Codes, codes: Codes, weights: Codes | None = None) -> None:
        """Add to the counts at these positions: one, or the integers that are given.

        Args:
            numbers: (n,) the pane of each event.
            codes: (rows, n) positions in the pane's aggregate.
            weights: (rows, n) int64.
        """
        np.add.at(self._counts, (codes + self._starts[numbers]).ravel(), 1 if weights is None else weights.ravel())
        self._dirty[numbers] = True

    def add_moments(self, numbers: Codes, values: Floats) -> None:
        """Take `values`, (rows, n), into the moments of each event's pane, (n,); NaN is left out."""
        used, inverse = distinct(numbers)
        where = self._moment_starts[used][:, None] + np.arange(len(values))
        new = grouped_moments(inverse, used.size, values)
        self._moments[where] = merge_moments(self._moments[where].reshape(-1, 5), new.reshape(-1, 5)).reshape(new.shape)

    def add_unseen(self, numbers: Codes, codes: Codes, texts: Sequence[str]) -> None:
        """Take in values that a reference has not, (n,), that were counted at these positions of each event's pane, (n,); -1 is none."""
        found: dict[int, dict[int, dict[str, int]]] = {}
        for (number, code, text), n in Counter(zip(numbers.tolist(), codes.tolist(), texts, strict=True)).items():
            found.setdefault(number, {}).setdefault(code, {})[text] = n
        for number in found.keys() - {-1}:
            self._take_unseen(number, found[number])

    def _take_unseen(self, number: int, more: Unseen) -> None:
        if more:
            before = self._unseen.get(number, {})
            after = self._unseen[number] = merged_unseen((before, more))
            self.nbytes += unseen_nbytes(after) - unseen_nbytes(before)

    def take_dirty(self) -> list[tuple[PaneKey, Aggregate]]:
        """The panes that were added to since this was last called: views, to be read before anything is added again."""
        numbers = np.flatnonzero(self._dirty).tolist()
        self._dirty[:] = False
        return [(held[0], self._aggregate(number)) for number in numbers if (held := self._held[number]) is not None]

    def encode_dirty(self) -> list[tuple[PaneKey, bytes]]:
        """`take_dirty` as bytes. Where many are dirty, as with many models, one pass finds all counts that are not zero."""
        numbers = np.flatnonzero(self._dirty)
        dirty = self.take_dirty()
        if len(dirty) * _MANY < len(self._held):
            return [(key, aggregate.encode()) for key, aggregate in dirty]
        used, starts = np.flatnonzero(self._counts[: self._counts_end]), self._starts[numbers]
        widths = [aggregate.layout.width for _, aggregate in dirty]
        bounds = np.searchsorted(used, np.stack((starts, starts + widths))).T.tolist()
        return [
            (key, aggregate.encode(used[first:last] - start))
            for (key, aggregate), start, (first, last) in zip(dirty, starts.tolist(), bounds, strict=True)
        ]

    def forget(self, over: Callable[[PaneKey], bool]) -> bool:
        """Close the panes for which `over` holds, but those that were added to and not taken; whether there were any."""
        gone = [(key, number) for key, number in self._numbers.items() if over(key) and not self._dirty[number]]
        for key, number in gone:
            layout = self._layout(number)
            self._free.setdefault((layout.width, layout.moments), []).append(number)
            self.nbytes -= layout.nbytes + unseen_nbytes(self._unseen.pop(number, {}))
            self._held[number] = None
            del self._numbers[key]
        return bool(gone)

    def _open(self, key: PaneKey, layout: Layout) -> int:
        if free := self._free.get((layout.width, layout.moments)):
            number = free.pop()
            self._counts[self._starts[number] : self._starts[number] + layout.width] = 0
        else:
            number = len(self._held)
            self._grow(layout)
            self._held.append(None)
            self._starts[number], self._moment_starts[number] = self._counts_end, self._moments_end
            self._counts_end, self._moments_end = self._counts_end + layout.width, self._moments_end + layout.moments
        self._numbers[key], self._held[number] = number, (key, layout)
        row = self._moment_starts[number]
        self._moments[row : row + layout.moments] = _NO_VALUES
        self.nbytes += layout.nbytes
        return number

    def _grow(self, layout: Layout) -> None:
        """Room for one more pane."""
        if len(self._held) == self._starts.size:
            self._starts, self._moment_starts = _larger(self._starts), _larger(self._moment_starts)
            self._dirty = _larger(self._dirty)
        while self._counts_end + layout.width > self._counts.size:
            self._counts = _larger(self._counts)
        while self._moments_end + layout.moments > len(self._moments):
            self._moments = _larger(self._moments)

    def _layout(self, number: int) -> Layout:
        held = self._held[number]
        assert held is not None
        return held[1]

    def _aggregate(self, number: int) -> Aggregate:
        """A view of the pane."""
        layout, start, row = self._layout(number), self._starts[number], self._moment_starts[number]
        counts, moments = self._counts[start : start + layout.width], self._moments[row : row + layout.moments]
        return Aggregate(layout, counts, moments, self._unseen.get(number, {}))


def _larger(array: npt.NDArray[T]) -> npt.NDArray[T]:
    """A copy with four times the room, as copying is what costs: pages of memory that are not written take none."""
    larger = np.zeros((4 * len(array), *array.shape[1:]), array.dtype)
    larger[: len(array)] = array
    return larger
