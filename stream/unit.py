"""The state of one topic-partition, in its owner's memory: open panes, watermark, counters, outbox, and the offset they stand for.

Nothing here talks to the store: `checkpoint()` returns the step to write, and what was written is the state from which another worker,
or this one after a crash, goes on. What is counted follows from the partition's messages alone, however they are cut into batches.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from sinks import OutboundMessage
from stream.aggregates import Aggregate, Layout, LayoutMismatch
from stream.model import Model
from stream.rebuild import Bookmark, needed, passed
from stream.store import SUBJECTS, Checkpoint, Clock, Mark, OffsetRange, PaneGroup, Subject, UnitId, UnitReport, UnitState
from stream.watermark import NO_TIME, Watermark

log = logging.getLogger(__name__)

# The balance sheet. Predictions: consumed = counted + late + duplicate + malformed.
# Labels: consumed = matched + waiting + expired + duplicate + malformed; a waiting label is later matched by its prediction (`completed`).
PREDICTION_COUNTERS: Final = ("consumed", "counted", "late", "duplicate", "malformed", "completed")
LABEL_COUNTERS: Final = ("consumed", "matched", "waiting", "expired", "duplicate", "malformed")
_LOST_RANGES: Final = 100  # the newest that are remembered; the counter knows all


class Unit:
    """One owned topic-partition."""

    def __init__(
        self, unit: UnitId, state: UnitState, models: Mapping[str, Model], *, out_of_orderness_ms: int, mark_every_ms: int
    ) -> None:
        self.id = unit
        self.epoch = state.epoch
        self.next_offset = state.next_offset
        self.watermark = Watermark(out_of_orderness_ms, state.newest_ms)
        self.floors_ms: dict[Subject, int] = dict.fromkeys(SUBJECTS, NO_TIME) | state.floors_ms
        self.counters = Counter(dict.fromkeys(PREDICTION_COUNTERS if unit.side == "predictions" else LABEL_COUNTERS, 0) | state.counters)
        self.quiet_ms: dict[Subject, int] = dict.fromkeys(SUBJECTS, NO_TIME) | state.quiet_ms  # rebuilt: up to here all was said before
        self.suspects = state.suspects
        self.outbox_end = state.outbox_end
        self.undelivered = list(state.outbox)
        self.in_delivery = False
        self.delivered = Clock()
        self.marks, self._lost = state.marks, state.lost
        self._mark_every_ms = mark_every_ms
        self._marks_changed = self._lost_changed = False
        self._sequence = state.sequence
        self._models = models
        self._panes: dict[tuple[str, PaneGroup], Aggregate] = {}
        self.state_bytes = 0
        self._dirty: set[tuple[str, PaneGroup]] = set()
        self._outbox: list[OutboundMessage] = []
        self._changed = False
        for model, groups in state.panes.items():
            for group, blob in groups.items():
                self._load(model, group, blob)

    def _load(self, model: str, group: PaneGroup, blob: bytes) -> None:
        try:
            self._hold((model, group), Aggregate.decode(self._layout(model, group.subject), blob))
        except LayoutMismatch:
            log.error("%s: dropped an open pane of model %s, %s: it was counted on another reference or pane length", self.id, model, group)

    def _layout(self, model: str, subject: Subject) -> Layout:
        return self._models[model].traffic if subject == "traffic" else self._models[model].outcomes

    @property
    def open_panes(self) -> int:
        """How many aggregates are held."""
        return len(self._panes)

    def aggregate(self, model: str, group: PaneGroup) -> Aggregate:
        """The aggregate to count into; it will be part of the next checkpoint."""
        key = (model, group)
        self._dirty.add(key)
        if (held := self._panes.get(key)) is None:
            held = self._hold(key, Aggregate.zero(self._layout(model, group.subject)))
        return held

    def _hold(self, key: tuple[str, PaneGroup], aggregate: Aggregate) -> Aggregate:
        self._panes[key] = aggregate
        self.state_bytes += aggregate.nbytes
        return aggregate

    def begin(self, mark: Mark, said: Clock) -> None:
        """There is no state: count from the mark on. `said`: what fires up to this clock had been fired and delivered before."""
        self.advance_to(mark.offset)
        self.watermark.newest_ms = mark.newest_ms
        self.marks, self._marks_changed = (mark,), True
        self.quiet_ms = {subject: said.of(subject) for subject in SUBJECTS}

    def lose(self, gone: OffsetRange) -> None:
        """These messages are gone from Kafka before they were counted."""
        self.counters["lost"] += gone.last + 1 - gone.first
        self._lost, self._lost_changed = (*self._lost, gone)[-_LOST_RANGES:], True
        self.advance_to(gone.last + 1)

    def advance_to(self, next_offset: int) -> None:
        """Everything before `next_offset` has been counted."""
        self.next_offset, self._changed = next_offset, True

    def send(self, messages: Iterable[OutboundMessage]) -> list[tuple[int, OutboundMessage]]:
        """Number the messages; the caller writes them, in a checkpoint or a close."""
        numbered = list(enumerate(messages, self.outbox_end + 1))
        self.outbox_end += len(numbered)
        return numbered

    def enqueue(self, messages: Iterable[OutboundMessage]) -> None:
        """Messages for the next checkpoint's outbox, numbered then: what is written first must have the lower number."""
        self._outbox += messages

    def raise_floors(self, clock: Clock) -> None:
        """What is behind the clock is late from now on: windows closed there while the partition was idle. No change if it was not."""
        for subject in SUBJECTS:
            if clock.of(subject) > max(self.floors_ms[subject], self.watermark.value_ms):
                self.floors_ms[subject], self._changed = clock.of(subject), True

    def settled(self, clock: Clock) -> None:
        """What the clock made fire is in the outbox; note it as delivered if nothing is left there."""
        if not (self.undelivered or self.in_delivery):
            self.delivered = clock

    def bookmark(self, namespace: str, delivered: Clock, needed_from: int) -> Bookmark | None:
        """What to commit to Kafka when everything fired by `delivered` has left; None if no place is known that is early enough."""
        kept = needed(self.marks, needed_from)
        self._marks_changed |= kept != self.marks
        self.marks = kept
        if not kept or NO_TIME < kept[0].newest_ms >= needed_from:
            return None
        return Bookmark(namespace, delivered, kept[0])

    def checkpoint(self) -> Checkpoint | None:
        """The step that makes everything counted so far durable; None if there is nothing new."""
        if not (self._changed or self._dirty or self._outbox):
            return None
        if self.next_offset is not None:
            marks = passed(self.marks, Mark(self.watermark.newest_ms, self.next_offset), self._mark_every_ms)
            self._marks_changed |= marks is not self.marks
            self.marks = marks
        panes: dict[str, dict[PaneGroup, bytes]] = {}
        for model, group in self._dirty:
            panes.setdefault(model, {})[group] = self._panes[model, group].encode()
        self._sequence += 1
        outbox = self.send(self._outbox)
        step = Checkpoint(
            unit=self.id,
            epoch=self.epoch,
            sequence=self._sequence,
            next_offset=self.next_offset,
            newest_ms=self.watermark.newest_ms,
            floors_ms=dict(self.floors_ms),
            counters=dict(self.counters),
            panes=panes,
            outbox=outbox,
            quiet_ms={subject: ms for subject, ms in self.quiet_ms.items() if ms > NO_TIME},
            marks=self.marks if self._marks_changed else None,
            lost=self._lost if self._lost_changed else None,
        )
        self.undelivered += outbox
        self._dirty, self._outbox, self._changed = set(), [], False
        self._marks_changed = self._lost_changed = False
        return step

    def report(self) -> UnitReport:
        """What the last checkpoint says about time. Only right after a checkpoint: the clock must not run ahead of the panes."""
        return UnitReport(self.id, self.epoch, self.watermark.value_ms, self.watermark.idle, self.delivered)

    def forget_before(self, closed_ms: Mapping[Subject, int]) -> None:
        """Let go of the panes that end at or before the watermark of their kind: nothing may be counted into them any more."""
        for key in [key for key in self._panes if self._end(key) <= closed_ms[key[1].subject] and key not in self._dirty]:
            self.state_bytes -= self._panes.pop(key).nbytes

    def _end(self, key: tuple[str, PaneGroup]) -> int:
        return key[1].start_ms + self._models[key[0]].settings.pane_ms
