"""The state of one topic-partition, in its owner's memory: open panes, watermark, counters, outbox, and the offset they stand for.

Nothing here talks to the store: `checkpoint()` returns the step to write, and what was written is the state from which another worker,
or this one after a crash, goes on. What is counted follows from the partition's messages alone, however they are cut into batches.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from detectors.sequential import Stream
from sinks import OutboundMessage
from stream.aggregates import Aggregate, LayoutMismatch
from stream.groups import Group
from stream.model import Model
from stream.panes import PaneKey, Panes
from stream.rebuild import Bookmark, needed, passed
from stream.store import CLOCKS, Checkpoint, Clock, ClockName, Mark, OffsetRange, PaneGroup, Subject, UnitId, UnitReport, UnitState
from stream.watermark import NO_TIME, Watermark

log = logging.getLogger(__name__)

# The balance sheet. Predictions: consumed = counted + late + duplicate + malformed; some that are counted or late are `unlabelled`, of
# models without labels, or `expired`, too old to wait for one.
# Labels: consumed = matched + waiting + expired + duplicate + corrected + malformed; a waiting label is later matched by its prediction
# (`completed`), and a label that corrects another is `corrected`, whether that one has been counted or waits.
PREDICTION_COUNTERS: Final = ("consumed", "counted", "late", "duplicate", "malformed", "completed", "unlabelled", "expired")
LABEL_COUNTERS: Final = ("consumed", "matched", "waiting", "expired", "duplicate", "corrected", "malformed")
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
        self.floors_ms: dict[ClockName, int] = dict.fromkeys(CLOCKS, NO_TIME) | state.floors_ms
        self.counters = Counter(dict.fromkeys(PREDICTION_COUNTERS if unit.side == "predictions" else LABEL_COUNTERS, 0) | state.counters)
        self.quiet_ms: dict[ClockName, int] = dict.fromkeys(CLOCKS, NO_TIME) | state.quiet_ms  # rebuilt: up to here all was said before
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
        self.panes = Panes()
        self._numbers: dict[tuple[Subject, int, int], tuple[int, ...]] = {}
        self._outbox: list[OutboundMessage] = []
        self.streams: dict[str, Stream] = {}  # that sequential detectors follow; `stream_states` holds those that have not come again yet
        self.stream_states = self._read_streams(state.sequential)
        self.streams_changed = False
        self._changed = False
        for model, groups in state.panes.items():
            for group, blob in groups.items():
                self._load(model, group, blob)

    def _load(self, model: str, group: PaneGroup, blob: bytes) -> None:
        try:
            self.panes.hold(PaneKey(model, group), Aggregate.decode(self._models[model].of(group.version).layout(group.subject), blob))
        except LayoutMismatch:
            log.error("%s: dropped an open pane of model %s, %s: it was counted on another reference or pane length", self.id, model, group)

    def _read_streams(self, written: bytes) -> dict[str, str]:
        try:
            states = msgspec.json.decode(written, type=dict[str, str]) if written else {}
        except msgspec.DecodeError as error:
            log.warning("%s: sequential detectors begin anew, their state cannot be read: %s", self.id, error)
            return {}
        return {key: state for key, state in states.items() if key.split("|")[1:2] and key.split("|")[1] in self._models}

    def _written_streams(self) -> bytes | None:
        """The states of all streams; None if there is nothing new."""
        if not self.streams_changed:
            return None
        self.streams_changed = False
        return msgspec.json.encode(self.stream_states | {key: stream.state() for key, stream in self.streams.items()})

    def numbers(self, subject: Subject, group: Group, start_ms: int) -> tuple[int, ...]:
        """The panes, by number, that an event of the group counts in: that of all traffic, and one for each of its segments."""
        key = (subject, group.number, start_ms)
        if (found := self._numbers.get(key)) is None:
            name, layout = group.model.settings.name, group.model.layout(subject)
            panes = [PaneKey(name, PaneGroup(subject, start_ms, group.version, segment)) for segment in group.segments]
            found = self._numbers[key] = tuple(self.panes.number(pane, layout) for pane in panes)
        return found

    def begin(self, mark: Mark, said: Clock) -> None:
        """There is no state: count from the mark on. `said`: what fires up to this clock had been fired and delivered before."""
        self.advance_to(mark.offset)
        self.watermark.newest_ms = mark.newest_ms
        self.marks, self._marks_changed = (mark,), True
        self.quiet_ms = {clock: said.of(clock) for clock in CLOCKS}

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
        for name in CLOCKS:
            if clock.of(name) > max(self.floors_ms[name], self.watermark.value_ms):
                self.floors_ms[name], self._changed = clock.of(name), True

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
        dirty = self.panes.encode_dirty()
        if not (self._changed or dirty or self._outbox):
            return None
        if self.next_offset is not None:
            marks = passed(self.marks, Mark(self.watermark.newest_ms, self.next_offset), self._mark_every_ms)
            self._marks_changed |= marks is not self.marks
            self.marks = marks
        panes: dict[str, dict[PaneGroup, bytes]] = {}
        for (model, group), blob in dirty:
            panes.setdefault(model, {})[group] = blob
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
            quiet_ms={clock: ms for clock, ms in self.quiet_ms.items() if ms > NO_TIME},
            marks=self.marks if self._marks_changed else None,
            lost=self._lost if self._lost_changed else None,
            sequential=self._written_streams(),
        )
        self.undelivered += outbox
        self._outbox, self._changed = [], False
        self._marks_changed = self._lost_changed = False
        return step

    def report(self) -> UnitReport:
        """What the last checkpoint says about time. Only right after a checkpoint: the clock must not run ahead of the panes."""
        return UnitReport(self.id, self.epoch, self.watermark.value_ms, self.watermark.idle, self.delivered)

    def forget_before(self, closed_ms: Mapping[Subject, int]) -> None:
        """Let go of the panes that end at or before the watermark of their kind: nothing may be counted into them any more."""

        def over(key: PaneKey) -> bool:
            return key.group.start_ms + self._models[key.model].settings.pane_of(key.group.subject) <= closed_ms[key.group.subject]

        if self.panes.forget(over):
            self._numbers.clear()
