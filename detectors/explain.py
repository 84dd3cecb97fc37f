"""Which bins moved, in numbers and in words. Reads the same counts as the scores and adds no score of its own."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np

from detectors.counts import ONE, PSEUDOCOUNT, Counts, Floats, Starts, shares
from detectors.psi import contributions

Part = Counts  # (width,) int64, the first one the number of rows
_AS_GOOD = 0.1  # of the score of all rows: what chance leaves is that far apart, and less than a tenth of what drifted is no matter


class BinShift(NamedTuple):
    """One bin that moved: its observed shares, unsmoothed, and its part of the PSI in nats."""

    label: str
    reference: float
    current: float
    contribution: float


def top_bins(
    reference: Counts, current: Counts, labels: Sequence[str], *, most: int = 3, pseudocount: float = PSEUDOCOUNT
) -> tuple[BinShift, ...]:
    """The bins that contribute most to `psi`, largest first, ties in bin order; bins that contribute nothing are left out.

    Args:
        reference, current: (n_bins,) int64 counts on the same edges. Not modified.
        labels: n_bins names.
        most: length of the answer at most.
        pseudocount: the one the PSI was computed with; it enters the contributions, not the shares.
    Raises:
        ValueError: as in `psi`, or labels do not fit.

    >>> top_bins(np.array([50, 30, 20]), np.array([50, 20, 30]), ["low", "mid", "high"], most=1)
    (BinShift(label='mid', reference=0.3, current=0.2, contribution=0.039...),)
    """
    return top_bins_by_feature(reference, current, ONE, [labels], most=most, pseudocount=pseudocount)[0]


def top_bins_by_feature(
    reference: Counts, current: Counts, starts: Starts, labels: Sequence[Sequence[str]], *, most: int = 3, pseudocount: float = PSEUDOCOUNT
) -> list[tuple[BinShift, ...]]:
    """`top_bins` of each feature, from histograms that lie end to end.

    Args:
        starts: (n_features,) first bin of each feature: 0, then increasing.
        labels: n_features times the names of its bins.
    Raises:
        ValueError: as in `psi`, or labels do not fit.

    >>> [[b.label for b in top] for top in top_bins_by_feature(np.array([5, 5, 7]), np.array([9, 1, 7]), np.array([0, 2]), ["ab", "c"])]
    [['b', 'a'], []]
    """
    parts = contributions(shares(reference, current, starts, pseudocount=pseudocount))
    return most_moved(parts, shares(reference, current, starts), starts, labels, most=most)


def most_moved(
    parts: Floats, pair: Floats, starts: Starts, labels: Sequence[Sequence[str]], *, most: int = 3
) -> list[tuple[BinShift, ...]]:
    """`top_bins_by_feature` from what is computed for the scores already.

    Args:
        parts: (total_bins,) contributions to the PSI.
        pair: (2, total_bins) shares of the reference and the current side, unsmoothed.
    """
    assert most >= 0
    sizes = np.diff(starts, append=parts.size)
    for names, size in zip(labels, sizes.tolist(), strict=True):
        if len(names) != size:
            raise ValueError(
                f"cannot name bins: len(labels)={len(names)!r}, expected n_bins={size!r}; labels come with the reference's edges"
            )
    feature = np.repeat(np.arange(sizes.size), sizes)
    order = np.lexsort((-parts, feature))  # stable: ties stay in bin order
    wanted = order[(np.arange(order.size) - starts[feature] < most) & (parts[order] > 0)]
    p, q = pair[:, wanted].tolist()
    found: list[list[BinShift]] = [[] for _ in labels]
    for of, i, before, now, contribution in zip(
        feature[wanted].tolist(), (wanted - starts[feature[wanted]]).tolist(), p, q, parts[wanted].tolist(), strict=True
    ):
        found[of].append(BinShift(labels[of][i], before, now, contribution))
    return [tuple(top) for top in found]


def comes_from(whole: Part, parts: Mapping[str, Part], score: Callable[[Part], float], threshold: float, minimum_sample: int) -> str | None:
    """The part of the rows that a drift comes from: without it the rest is below the threshold, and at half of the score or less.

    The half keeps chance out: a score just above its threshold falls below it whatever is taken away. The part itself has drifted at least
    as far as all rows. Of several such parts it is the smallest without which the rest has drifted as little as without any of them, but
    for a tenth of the score: without a part of what drifted the rest may be harmless, too. None if there is none, so also if the drift is
    everywhere.

    Args:
        whole: (width,) int64 counts of all rows, the first of which is how many rows there are. Not modified.
        parts: likewise of some of the rows; they may overlap.
        score: of counts.
        threshold: that the score of `whole` has reached.
        minimum_sample: rows that must be left.

    >>> counts = {"DE": np.array([60, 30, 30]), "BR": np.array([40, 40, 0])}
    >>> comes_from(np.array([100, 70, 30]), counts, lambda c: abs(c[1] / c[0] - 0.5), threshold=0.2, minimum_sample=10)
    'BR'
    """
    drifted = score(whole)
    left = {
        name: score(whole - part)
        for name, part in parts.items()
        if part[0] and whole[0] - part[0] >= max(minimum_sample, 1) and score(part) >= drifted
    }
    limit = min(threshold, drifted / 2)
    best = min(left.values(), default=limit)
    found = [(int(parts[name][0]), name) for name, rest in left.items() if rest < limit and rest <= best + drifted * _AS_GOOD]
    return min(found)[1] if found else None


_NAMELESS: Final[Mapping[str, float]] = MappingProxyType({})
_TEXT_MAX = 60  # characters of a category that are quoted; an alert is one line


def numeric_direction(pair: Floats, name: Callable[[int, int], str], *, most: int = 3) -> str:
    """Where a number went, in words: neighbouring bins that gained are one, those that lost are implied; "" if nothing moved.

    The largest movement comes first, and others only if they are at least half as large. What is said of missing values is both ways.

    Args:
        pair: (2, n_bins + 1) `shares` of reference and current counts on the same edges, the last ones of missing values. Not modified.
        name: of the bins from the first to the last number given, such as "above 812.5".
        most: how many movements are named at most.

    >>> names = {(0, 1): "below 5", (2, 2): "at or above 5"}
    >>> numeric_direction(np.array([[0.5, 0.4, 0.1, 0], [0.2, 0.2, 0.6, 0]]), lambda *bins: names[bins])
    'more mass at or above 5 (10.0% -> 60.0%)'
    """
    p, q = pair
    gained = np.diff(np.concatenate(([0], (q > p)[:-1], [0])).astype(np.int64))
    runs = list(zip(np.flatnonzero(gained > 0).tolist(), (np.flatnonzero(gained < 0) - 1).tolist(), strict=True))
    movements = [
        _Movement(f"more mass {name(first, last)}", float(p[first : last + 1].sum()), float(q[first : last + 1].sum()))
        for first, last in runs
        if last - first + 1 < p.size - 1  # all of them: only missing values became fewer
    ]
    return _said([*movements, _missing(float(p[-1]), float(q[-1]))], most)


def categorical_direction(
    pair: Floats, categories: Sequence[str], *, most: int = 3, before: str = "the reference", unseen: Mapping[str, float] = _NAMELESS
) -> str:
    """Which categories gained or lost, in words, as in `numeric_direction`.

    Args:
        pair: (2, n + 2) `shares` of the categories, of all others, and of missing values in reference and current counts. Not modified.
        categories: n texts; as they may come from anywhere, they are quoted, escaped and cut.
        before: what the first row is of.
        unseen: some of the others, as far as none of them was there before, and their shares, largest first; treated alike.

    >>> categorical_direction(np.array([[0.6, 0.4, 0, 0], [0.58, 0.35, 0.07, 0]]), ["DE", "FR"])
    "categories unseen in the reference 0.0% -> 7.0%; less 'FR' (40.0% -> 35.0%)"
    >>> categorical_direction(np.array([[0.6, 0.4, 0, 0], [0.58, 0.35, 0.07, 0]]), ["DE", "FR"], unseen={"BR": 0.07}, most=1)
    "category 'BR' unseen in the reference 0.0% -> 7.0%"
    """
    p, q = pair.tolist()
    largest = sorted(range(len(p)), key=lambda i: -_size(p[i], q[i]))[:most]  # stable: ties in their order; only these are put in words
    new = _new(unseen, q[len(categories)], most)
    return _said([_movement(i, p[i], q[i], categories, before, new) for i in largest], most)


@dataclass(frozen=True, slots=True)
class _Movement:
    """What has now another share than in the reference. `bare`: the shares follow without brackets."""

    what: str
    before: float
    now: float
    bare: bool = False

    def __str__(self) -> str:
        moved = f"{self.before:.1%} -> {self.now:.1%}"
        return f"{self.what} {moved}" if self.bare else f"{self.what} ({moved})"

    @property
    def size(self) -> float:
        return _size(self.before, self.now)


def _size(before: float, now: float) -> float:
    return round(abs(now - before), 12)  # what one gained the other may have lost: a tie, whatever the last digit says


def _movement(i: int, before: float, now: float, categories: Sequence[str], where: str, new: str) -> _Movement:
    """Of the count at `i`: of a category, of all others, `new` in words, or of missing values. `where`: what it was in before."""
    if i > len(categories):
        return _missing(before, now)
    if i == len(categories):
        return _Movement(f"{new} unseen in {where}" if before == 0 else "rare and unseen categories", before, now, bare=True)
    text = _quoted(categories[i])
    if before == 0:
        return _Movement(f"category {text} unseen in {where}", before, now, bare=True)
    return _Movement(f"no {text}" if now == 0 else f"{'more' if now > before else 'less'} {text}", before, now)


def _new(shares: Mapping[str, float], share: float, most: int) -> str:
    """Categories that together have this share, with the names of at most `most` of those whose own is known."""
    if not shares:
        return "categories"
    more = _size(sum(shares.values()), share) > 0
    if len(shares) == 1 and not more:
        return f"category {_quoted(*shares)}"
    names = ", ".join(f"{_quoted(text)} ({own:.1%})" for text, own in islice(shares.items(), most))
    return f"categories {names}{' and others' if more or len(shares) > most else ''}"


def _missing(before: float, now: float) -> _Movement:
    return _Movement("missing", before, now, bare=True)


def _said(movements: Iterable[_Movement], most: int) -> str:
    ordered = sorted(movements, key=lambda movement: -movement.size)[:most]
    return "; ".join(str(movement) for movement in ordered if movement.size > 0 and movement.size * 2 >= ordered[0].size)


def _quoted(text: str) -> str:
    """The text in quotes, without anything that does not print."""
    return repr(text if len(text) <= _TEXT_MAX else text[:_TEXT_MAX] + "...")
