"""The outcomes of a day in UTC so far, at the home of a model: what its business figures add up to, window by window.

A day is a sum of panes: one that is complete is added in the step in which it is, and so once, those that are not yet are added for the
window alone. So a day is exactly the sum of the panes from midnight to the end of the window, however windows overlap and in whatever steps
they close. Kept are counts, not money: prices that change hold for the whole day.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from stream.aggregates import Aggregate, Counts, LayoutMismatch, zero_moments
from stream.baselines import Key, Panes
from stream.business import DAY_MS, BusinessMeter, midnight
from stream.store import PaneGroup, Subject
from stream.unit import log

DAYS: Final[Mapping[Subject, Subject]] = {"performance": "day", "cohort": "cohort_day"}  # what the sums of each are kept as
Sums = dict[PaneGroup, Counts]  # by version, segment and start of the day: the outcomes that `BusinessMeter` needs


class _Fresh(NamedTuple):
    """Panes of one version and segment that are in no sum yet: their ends, ascending, (n,), and the sums of the first 0 to n of them."""

    ends: Counts
    sums: Counts

    def between(self, start_ms: int, end_ms: int) -> Counts:
        """The sum of those that lie in `[start_ms, end_ms)`."""
        first, last = np.searchsorted(self.ends, (start_ms, end_ms), side="right")
        between: Counts = self.sums[last] - self.sums[first]
        return between


@dataclass(frozen=True, slots=True)
class Days:
    """Sums of complete panes of one subject. `stale`: in the store, and of no use any more."""

    sums: Sums = field(default_factory=dict)
    stale: tuple[PaneGroup, ...] = ()

    @classmethod
    def load(cls, name: str, subject: Subject, meter: BusinessMeter | None, blobs: Mapping[PaneGroup, bytes]) -> "Days":
        """What a store has of a model; what was counted of other classes, or with other parts, is stale."""
        sums: Sums = {}
        own = {group: blob for group, blob in blobs.items() if group.subject == DAYS.get(subject)}
        for group, blob in own.items():
            try:
                if meter is not None:
                    sums[group] = Aggregate.decode(meter.layout, blob).counts
            except LayoutMismatch:
                log.warning("%s: the business figures of a day begin anew: its classes, or whether values count, have changed", name)
        return cls(sums, tuple(group for group in own if group not in sums))


@dataclass(frozen=True, slots=True)
class Tallied:
    """What one pass over the windows of a model makes of its days: what stays, what of it is to be written, and what has passed.

    `nothing`: the sum of no panes; None if there are no days.
    """

    subject: Subject
    days: Days
    nothing: Counts | None = None
    before: Sums = field(default_factory=dict)
    fresh: Mapping[Key, _Fresh] = field(default_factory=dict)
    written: dict[PaneGroup, bytes] = field(default_factory=dict)
    passed: list[PaneGroup] = field(default_factory=list)

    def until(self, key: Key, end_ms: int) -> Counts | None:
        """The outcomes from midnight to the end of a window that fires in this pass; None if there are no days."""
        if self.nothing is None:
            return None
        start_ms, fresh = midnight(end_ms), self.fresh.get(key)
        before = self.before.get(_group(self.subject, key, start_ms), self.nothing)
        return before if fresh is None else before + fresh.between(start_ms, end_ms)


def tally(
    subject: Subject,
    pane_ms: int,
    meters: Callable[[str], BusinessMeter | None],
    days: Days,
    panes: Panes,
    since_ms: int,
    closed_ms: int,
) -> Tallied:
    """The days with the panes that are complete since the last pass: those that end after `since_ms`, and by `closed_ms`.

    `meters`: what measures the money of a version; None if outcomes have no prices.
    """
    some = meters("")  # all count the same
    if some is None or subject not in DAYS or DAY_MS % pane_ms:
        return Tallied(subject, Days(), passed=[*days.sums, *days.stale])
    fresh = _fresh(pane_ms, meters, panes, since_ms)
    sums = dict(days.sums)
    written: dict[PaneGroup, bytes] = {}
    for key, found in fresh.items():
        for start_ms in {midnight(end) for end in found.ends.tolist() if end <= closed_ms}:
            if start_ms + DAY_MS > closed_ms:
                group, complete = _group(subject, key, start_ms), found.between(start_ms, closed_ms)
                sums[group] = sums[group] + complete if group in sums else complete
                written[group] = Aggregate(some.layout, sums[group], zero_moments(0)).encode()
    kept = {group: total for group, total in sums.items() if group.start_ms + DAY_MS > closed_ms}
    passed = [group for group in (*days.sums, *days.stale) if group not in kept]
    return Tallied(subject, Days(kept), np.zeros(some.layout.width, np.int64), days.sums, fresh, written, passed)


def _fresh(pane_ms: int, meters: Callable[[str], BusinessMeter | None], panes: Panes, since_ms: int) -> dict[Key, _Fresh]:
    ended: dict[Key, list[tuple[int, Counts]]] = {}
    for group, pane in sorted(panes.items()):
        meter, end_ms = meters(group.version), group.start_ms + pane_ms
        if meter is not None and end_ms > since_ms:
            ended.setdefault((group.version, group.segment), []).append((end_ms, meter.outcomes(pane.counts)))
    return {
        key: _Fresh(np.array([end for end, _ in found]), np.cumsum([np.zeros_like(found[0][1]), *(counts for _, counts in found)], axis=0))
        for key, found in ended.items()
    }


def _group(subject: Subject, key: Key, start_ms: int) -> PaneGroup:
    return PaneGroup(DAYS[subject], start_ms, *key)
