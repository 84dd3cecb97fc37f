"""Pane and window arithmetic over event time: int milliseconds, half-open `[start, end)`, aligned to the epoch.

Time is cut into panes of length gcd(all sizes and slides) of a model [Li et al. 2005], so that each event is counted once however many
windows overlap it. A tumbling window is a sliding one with slide = size. No clock, no state.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from math import gcd
from typing import Literal

import numpy as np
import numpy.typing as npt

Times = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """A family of windows `[k * slide, k * slide + size)`."""

    name: str
    size_ms: int
    slide_ms: int

    @property
    def kind(self) -> Literal["tumbling", "sliding"]:
        """Tumbling when no two windows overlap."""
        return "tumbling" if self.slide_ms == self.size_ms else "sliding"

    def last_end_covering(self, time_ms: int) -> int:
        """End of the last window that contains `time_ms`."""
        return time_ms // self.slide_ms * self.slide_ms + self.size_ms

    def ends_covering(self, time_ms: int) -> range:
        """Ends of all windows that contain `time_ms`, ascending.

        >>> list(WindowSpec("w", size_ms=30, slide_ms=10).ends_covering(25))
        [30, 40, 50]
        """
        last = self.last_end_covering(time_ms)
        first = time_ms + 1 + (last - time_ms - 1) % self.slide_ms
        return range(first, last + 1, self.slide_ms)


def pane_length(specs: Iterable[WindowSpec]) -> int:
    """Length in ms of the panes that every window of `specs` is a whole number of."""
    return gcd(*(length for spec in specs for length in (spec.size_ms, spec.slide_ms)))


def pane_starts(times_ms: Times, pane_ms: int | Times) -> Times:
    """Start of the pane of each time, (n,); the length is one for all, or one each."""
    return times_ms // pane_ms * pane_ms


def windows_ending(specs: Sequence[WindowSpec], panes: Collection[int], after: int, until: int) -> list[tuple[int, WindowSpec]]:
    """The windows `(end, spec)` with `after < end <= until` that contain one of the pane starts `panes`, by end."""
    found = {(end, spec.name): spec for spec in specs for pane in panes for end in _between(spec.ends_covering(pane), after, until)}
    return [(end, spec) for (end, _), spec in sorted(found.items())]


def _between(ends: range, after: int, until: int) -> range:
    """The part of an ascending range with `after < end <= until`, without walking through the rest."""
    first = max(0, (after - ends.start) // ends.step + 1)
    return ends[first : max(first, (until - ends.start) // ends.step + 1)]


def expired_panes(specs: Sequence[WindowSpec], panes: Iterable[int], until: int, *, compared: bool = False) -> list[int]:
    """The pane starts that no window ending after `until` contains.

    `compared`: windows are compared with as much time before them, so that a pane also serves those that begin up to their size later.
    """
    return [pane for pane in panes if all(spec.last_end_covering(pane + spec.size_ms * compared) <= until for spec in specs)]
