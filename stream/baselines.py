"""What a window is compared with where that is not the frozen reference: a period of the model's own time before it.

Drift is that from the traffic of the period, on the bins of the reference; degradation that from its outcomes. A period ends before its
window begins, so they share no rows, and follows from the window and the settings alone. The window before is found in the panes, which are
kept for longer. A period that rolls along is cut into slices, sums of panes, so that a week takes as much room as a minute: a pane is added
to its slice in the step in which it is complete, and so once.
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
from stream.settings_thresholds import Against
from stream.store import PaneGroup, Subject
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
    def before(cls, settings: ModelSettings, subject: Subject, start_ms: int, spec: WindowSpec) -> "Period":
        """What a window of the subject that starts here is compared with.

        previous_window: as much time right before it, also of windows that overlap, which share rows with the one before. A duration: whole
        slices that have ended by then, as many as fit into it.
        """
        against = against_of(settings, subject)
        if not isinstance(against, int):
            return cls("previous", start_ms - spec.size_ms, start_ms)
        length_ms = slice_length(against, settings.pane_of(subject))
        end_ms = start_ms // length_ms * length_ms
        return cls("rolling", end_ms - against // length_ms * length_ms, end_ms)


def against_of(settings: ModelSettings, subject: Subject) -> Against:
    """What windows of the subject are compared with."""
    if subject == "traffic":
        return settings.against
    return settings.degraded_from if settings.windows_of(subject) else "reference"


def slice_length(period_ms: int, pane_ms: int) -> int:
    """Length in ms of the slices of a period: whole panes, and at most SLICES of them.

    >>> slice_length(7 * 86_400_000, 60_000) / 60_000, slice_length(600_000, 60_000) / 60_000
    (630.0, 1.0)
    """
    return -(-period_ms // (SLICES * pane_ms)) * pane_ms


@dataclass(frozen=True, slots=True)
class Slices:
    """Sums of complete panes of one subject, named by the start of their slice. `stale`: in the store, and of no use any more."""

    sums: Panes = field(default_factory=dict)
    stale: tuple[PaneGroup, ...] = ()

    @classmethod
    def load(cls, model: Model, subject: Subject, blobs: Mapping[PaneGroup, bytes]) -> "Slices":
        """What a store has; that of another period, reference or pane length is stale."""
        sums: Panes = {}
        own = {group: blob for group, blob in blobs.items() if group.subject == subject}
        for group, blob in own.items():
            of = model.of(group.version)
            try:
                sums[group] = replace(Aggregate.decode(_layout(of, subject), blob), layout=of.layout(subject))
            except LayoutMismatch:
                continue
        stale = tuple(group for group in own if group not in sums)
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


def roll(model: Model, subject: Subject, slices: Slices, panes: Panes, since_ms: int, closed_ms: int) -> Rolled:
    """The slices with the panes that are complete since the last pass: those that end after `since_ms`, and by `closed_ms`."""
    settings, against = model.settings, against_of(model.settings, subject)
    if not isinstance(against, int):
        return Rolled(Slices(), panes, passed=list(slices.stale))
    pane_ms = settings.pane_of(subject)
    length_ms = slice_length(against, pane_ms)
    complete = {group: pane for group, pane in panes.items() if since_ms < group.start_ms + pane_ms <= closed_ms}
    unfinished = {group: pane for group, pane in panes.items() if group.start_ms + pane_ms > closed_ms}
    sums = _added(slices.sums, complete, length_ms)
    first_ms = min(Period.before(settings, subject, closed_ms - spec.size_ms, spec).start_ms for spec in settings.windows_of(subject))
    kept = {group: total for group, total in sums.items() if group.start_ms >= first_ms}
    written = {
        group: _encoded(model.of(group.version), subject, total) for group, total in kept.items() if total is not slices.sums.get(group)
    }
    passed = [group for group in (*slices.sums, *slices.stale) if group not in kept]
    return Rolled(Slices(kept), _added(sums, unfinished, length_ms), written, passed)


def _added(sums: Panes, panes: Panes, length_ms: int) -> Panes:
    found = dict(sums)
    for group, pane in panes.items():
        into = group._replace(start_ms=group.start_ms // length_ms * length_ms)
        found[into] = found[into].merge(pane) if into in found else pane
    return found


def _layout(model: Model, subject: Subject) -> Layout:
    """That of a slice: its counts stand as in a pane, but what is a slice of one period is none of another."""
    against, pane = against_of(model.settings, subject), model.layout(subject)
    length_ms = slice_length(against, model.settings.pane_of(subject)) if isinstance(against, int) else 0
    return replace(pane, fingerprint=hashlib.blake2b(b"%d of " % length_ms + pane.fingerprint, digest_size=16).digest())


def _encoded(model: Model, subject: Subject, total: Aggregate) -> bytes:
    return replace(total, layout=_layout(model, subject)).encode()


def merged_groups(panes: Panes, start_ms: int, end_ms: int) -> dict[Key, Aggregate]:
    """What each version and segment comes to in `[start_ms, end_ms)`."""
    covered: dict[Key, list[Aggregate]] = {}
    for group, pane in panes.items():
        if start_ms <= group.start_ms < end_ms:
            covered.setdefault((group.version, group.segment), []).append(pane)
    return {key: Aggregate.merge_all(held) for key, held in covered.items()}


def against(scorers: Sequence[Scorer], keys: Sequence[Key], subject: Subject, panes: Panes, period: Period) -> list[Scorer]:
    """The scorers of these versions and segments, each with what it had in the period, maybe nothing, in place of the reference."""
    before = merged_groups(panes, period.start_ms, period.end_ms)
    held = [before.get(key) or Aggregate.zero(scorer.model.layout(subject)) for scorer, key in zip(scorers, keys, strict=True)]
    if subject != "traffic":
        return [scorer.degraded_from(outcomes, str(period)) for scorer, outcomes in zip(scorers, held, strict=True)]
    return [scorer.against(rows, str(period)) if scorer.model.reference else scorer for scorer, rows in zip(scorers, held, strict=True)]
