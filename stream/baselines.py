"""What the drift of a window is compared with where that is not the frozen reference: a period of the model's own traffic before it.

The bins stay those of the reference: a period has counts on them, as a window has. A period ends before its window begins, so they share no
rows, and follows from the window and the settings alone. The window before is found in the panes, which are kept for longer. A period
that rolls along is cut into slices, sums of panes, so that a week takes as much room as a minute: a pane is added to its slice
in the step in which it is complete, and so once.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from stream.aggregates import Aggregate, Layout, LayoutMismatch
from stream.model import Model
from stream.results import timestamp
from stream.scoring import Scorer
from stream.settings import ModelSettings
from stream.store import PaneGroup
from stream.unit import log
from stream.windows import WindowSpec

SLICES: Final = 16  # of a period: as many aggregates are kept of each version and segment, and what is newest may be a sixteenth old

Panes = dict[PaneGroup, Aggregate]
Key = tuple[str, str]  # version and segment


class Period(NamedTuple):
    """Time `[start_ms, end_ms)`, and what it is to a window."""

    kind: str
    start_ms: int
    end_ms: int

    def __str__(self) -> str:
        return f"{self.kind}:{timestamp(self.start_ms)}..{timestamp(self.end_ms)}"

    @classmethod
    def before(cls, settings: ModelSettings, start_ms: int, spec: WindowSpec) -> "Period":
        """What a window that starts here is compared with.

        previous_window: as much time right before it, also of windows that overlap, which share rows with the one before. A duration: whole
        slices that have ended by then, as many as fit into it.
        """
        if not isinstance(settings.against, int):
            return cls("previous", start_ms - spec.size_ms, start_ms)
        length_ms = slice_length(settings.against, settings.pane_ms)
        end_ms = start_ms // length_ms * length_ms
        return cls("rolling", end_ms - settings.against // length_ms * length_ms, end_ms)


def slice_length(period_ms: int, pane_ms: int) -> int:
    """Length in ms of the slices of a period: whole panes, and at most SLICES of them.

    >>> slice_length(7 * 86_400_000, 60_000) / 60_000, slice_length(600_000, 60_000) / 60_000
    (630.0, 1.0)
    """
    return -(-period_ms // (SLICES * pane_ms)) * pane_ms


@dataclass(frozen=True, slots=True)
class Slices:
    """Sums of complete panes, named by the start of their slice. `stale`: what stands in the store, and is of no use any more."""

    sums: Panes = field(default_factory=dict)
    stale: tuple[PaneGroup, ...] = ()

    @classmethod
    def load(cls, model: Model, blobs: Mapping[PaneGroup, bytes]) -> "Slices":
        """What a store has; that of another period, reference or pane length is stale."""
        sums: Panes = {}
        for group, blob in blobs.items():
            of = model.of(group.version)
            try:
                sums[group] = replace(Aggregate.decode(_layout(of), blob), layout=of.traffic)
            except LayoutMismatch:
                continue
        stale = tuple(group for group in blobs if group not in sums)
        if stale:
            log.warning(
                "%s: left out %d slices of a period: they are of another reference, pane length or period", model.settings.name, len(stale)
            )
        return cls(sums, stale)


@dataclass(frozen=True, slots=True)
class Rolled:
    """What one pass over the windows of a model makes of its slices: what stays, what of it is to be written, and what has passed.

    `before`: what the windows that fire in this pass are compared with is found in these.
    """

    slices: Slices
    before: Panes = field(default_factory=dict)
    written: dict[PaneGroup, bytes] = field(default_factory=dict)
    passed: list[PaneGroup] = field(default_factory=list)


def roll(model: Model, slices: Slices, panes: Panes, since_ms: int, closed_ms: int) -> Rolled:
    """The slices with the panes that are complete since the last pass: those that end after `since_ms`, and by `closed_ms`."""
    settings = model.settings
    if not isinstance(settings.against, int):
        return Rolled(Slices(), panes, passed=list(slices.stale))
    length_ms = slice_length(settings.against, settings.pane_ms)
    complete = {group: pane for group, pane in panes.items() if since_ms < group.start_ms + settings.pane_ms <= closed_ms}
    unfinished = {group: pane for group, pane in panes.items() if group.start_ms + settings.pane_ms > closed_ms}
    sums = _added(slices.sums, complete, length_ms)
    first_ms = min(Period.before(settings, closed_ms - spec.size_ms, spec).start_ms for spec in settings.windows)
    kept = {group: total for group, total in sums.items() if group.start_ms >= first_ms}
    written = {group: _encoded(model.of(group.version), total) for group, total in kept.items() if total is not slices.sums.get(group)}
    passed = [group for group in (*slices.sums, *slices.stale) if group not in kept]
    return Rolled(Slices(kept), _added(sums, unfinished, length_ms), written, passed)


def _added(sums: Panes, panes: Panes, length_ms: int) -> Panes:
    found = dict(sums)
    for group, pane in panes.items():
        into = group._replace(start_ms=group.start_ms // length_ms * length_ms)
        found[into] = found[into].merge(pane) if into in found else pane
    return found


def _layout(model: Model) -> Layout:
    """That of a slice: its counts stand as in a pane, but what is a slice of one period is none of another."""
    against = model.settings.against
    length_ms = slice_length(against, model.settings.pane_ms) if isinstance(against, int) else 0
    return replace(model.traffic, fingerprint=hashlib.blake2b(b"%d of " % length_ms + model.traffic.fingerprint, digest_size=16).digest())


def _encoded(model: Model, total: Aggregate) -> bytes:
    return replace(total, layout=_layout(model)).encode()


def merged_groups(panes: Panes, start_ms: int, end_ms: int) -> dict[Key, Aggregate]:
    """What each version and segment comes to in `[start_ms, end_ms)`."""
    covered: dict[Key, list[Aggregate]] = {}
    for group, pane in panes.items():
        if start_ms <= group.start_ms < end_ms:
            covered.setdefault((group.version, group.segment), []).append(pane)
    return {key: Aggregate.merge_all(held) for key, held in covered.items()}


def against(scorers: Sequence[Scorer], keys: Sequence[Key], panes: Panes, period: Period) -> list[Scorer]:
    """The scorers of these versions and segments, each with its own traffic of the period, maybe none, in place of the reference."""
    before = merged_groups(panes, period.start_ms, period.end_ms)
    return [
        scorer.against(before.get(key) or Aggregate.zero(scorer.model.traffic), str(period)) if scorer.model.reference else scorer
        for scorer, key in zip(scorers, keys, strict=True)
    ]
