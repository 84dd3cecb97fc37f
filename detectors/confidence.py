"""How sure a model is of its predictions, from a histogram of their scores. What the bins hide is said by bounds."""

from dataclasses import dataclass

import numpy as np

from detectors.counts import Counts, Floats
from detectors.intervals import Bounded


@dataclass(frozen=True, slots=True)
class Confidence:
    """Of n scores: their mean confidence, and the share that is at or above the threshold, both in [0, 1]."""

    n: int
    mean: Bounded
    high_ratio: Bounded


class ConfidenceBins:
    """What each bin of a score in [0, 1] says about confidence: for scores that lie evenly in it, at least, and at most.

    The confidence of a score p is p itself, of `folded` scores, which are of one class of two, that of the likelier class: max(p, 1 - p).

    Args:
        edges: (k,) increasing; bin i is [edges[i-1], edges[i]), the first and the last one end at 0 and 1.
        threshold: in (0, 1].

    >>> bins = ConfidenceBins(np.array([0.2, 0.5, 0.8]), 0.8, folded=True)
    >>> found = bins.confidence(np.array([2, 1, 0, 1]))
    >>> found.n, round(found.mean.value, 4), found.high_ratio
    (4, 0.8375, Bounded(value=0.75, lower=0.75, upper=1.0))
    """

    def __init__(self, edges: Floats, threshold: float, *, folded: bool) -> None:
        ends = np.append(edges, np.inf)
        low, high = np.clip(np.append(0.0, edges), 0, 1), np.clip(ends, 0, 1)
        high = np.where(np.nextafter(low, np.inf) == ends, low, high)  # a bin of one value
        last = np.where(ends > 1, high, np.nextafter(high, -np.inf))  # that may occur
        last = np.maximum(last, low)
        of_low, of_high, of_last = (np.maximum(p, 1 - p) if folded else p for p in (low, high, last))
        straddles = (low < 0.5) & (high > 0.5) & folded
        least = np.where(straddles, 0.5, np.minimum(of_low, of_high))
        bent = 0.5 + ((high - 0.5) ** 2 + (0.5 - low) ** 2) / (2 * np.where(straddles, high - low, 1))  # the mean over a bin around a half
        surely = least >= threshold
        possibly = np.maximum(of_low, of_last) >= threshold
        reached = np.clip(high - np.maximum(low, threshold), 0, None)
        if folded:
            reached = reached + np.clip(np.minimum(high, min(1 - threshold, threshold)) - low, 0, None)
        inside = ~surely & possibly & (high > low)  # such a bin ends at a threshold that is not 0, so it is not too narrow to divide by
        share = np.where(inside, np.clip(reached / np.where(inside, high - low, 1), 0, 1), possibly)
        mean = np.where(straddles, bent, (of_low + of_high) / 2)
        self._table: Floats = np.stack((mean, least, np.maximum(of_low, of_high), share, surely, possibly))

    def confidence(self, counts: Counts) -> Confidence | None:
        """Of the scores counted, (k + 1,), all of which lie in [0, 1]; None without any."""
        n = int(counts.sum())
        if not n:
            return None
        mean, least, most, share, surely, possibly = (self._table @ counts / n).tolist()
        return Confidence(n, Bounded(mean, least, most), Bounded(share, surely, possibly))
