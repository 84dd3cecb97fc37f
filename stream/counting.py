"""From columns to panes: which pane each event belongs to, whether it is late, and the counts that it adds to the aggregates.

One pass per model of a batch, whatever its windows, versions and segments: positions by `searchsorted` and look-up, sums by `bincount`.
Works on the unit it is given; no store, no clock.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from stream.aggregates import Codes, Counts, Floats, distinct, grouped_counts, grouped_moments
from stream.events import EventDecoder, Predictions
from stream.groups import Groups
from stream.model import CONFUSION_START, DUPLICATES, LABELS, LATE, PREDICTIONS, ClassCodes, Model
from stream.store import PaneGroup, Subject
from stream.unit import Unit
from stream.watermark import NO_TIME
from stream.windows import Times, pane_starts

K = TypeVar("K")
LabelOutcome = Literal["matched", "waiting", "expired", "duplicate", "malformed"]
Mask = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]


@dataclass(slots=True)
class Tally:
    """What was counted since the driver last looked, for its counters."""

    consumed: dict[str, int] = field(default_factory=dict)
    predictions: dict[tuple[str, str], int] = field(default_factory=dict)
    late: dict[tuple[str, Subject], int] = field(default_factory=dict)
    duplicates: dict[str, int] = field(default_factory=dict)
    labels: dict[LabelOutcome, int] = field(default_factory=dict)
    dead_letters: dict[str, int] = field(default_factory=dict)


def add(counts: dict[K, int], key: K, n: int) -> None:
    """Add `n` to one of the counts."""
    if n:
        counts[key] = counts.get(key, 0) + n


@dataclass(frozen=True, slots=True)
class Timing:
    """Where events stand in time, all (n,): their panes, the watermark when each arrived, and whether their first window had closed."""

    panes: Times
    ends: Times
    watermark: Times
    newest: Times
    late: Mask


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Labels matched to predictions, all (n,). `late` ones are too old for their window; `newest` is where time stood."""

    groups: Indices
    times_ms: Times
    predicted: npt.NDArray[np.uint16]
    labelled: npt.NDArray[np.uint16]
    newest: Times
    late: Mask


class Counting:
    """Counts events of the configured models into the panes of a unit."""

    def __init__(self, decoder: EventDecoder, classes: ClassCodes, lateness_ms: int) -> None:
        self._decoder, self._classes, self._lateness_ms = decoder, classes, lateness_ms
        self._groups: Groups = decoder.groups
        self.tally = Tally()

    def timing(self, unit: Unit, groups: Indices, times_ms: Times, watermark: Times, subject: Subject) -> Timing:
        """Panes and lateness of events that arrived when the unit's watermark stood at `watermark`."""
        closed = np.maximum(watermark, unit.floors_ms[subject])
        panes, ends = self.panes(groups, times_ms)
        behind = np.where(watermark > NO_TIME, watermark + unit.watermark.out_of_orderness_ms, NO_TIME)
        newest = np.maximum(np.maximum(behind, closed), times_ms)  # its own time too: it may be the first event of its partition
        return Timing(panes, ends, watermark, newest, self.is_late(ends, closed))

    def is_late(self, ends: Times, closed_ms: Times) -> Mask:
        """Whether the first window of a pane with this end had closed when the watermark stood at `closed_ms`."""
        return ends + self._lateness_ms <= closed_ms

    def panes(self, groups: Indices, times_ms: Times) -> tuple[Times, Times]:
        """Start and end of each event's pane."""
        used, inverse = distinct(groups)
        lengths = np.array([self._groups[index].model.settings.pane_ms for index in used.tolist()], np.int64)[inverse]
        starts = pane_starts(times_ms, lengths)
        return starts, starts + lengths

    def predictions(self, unit: Unit, events: Predictions, timing: Timing, duplicate: Mask) -> None:
        """Count a batch of predictions: each in its own pane; what is too old is noted in the pane where time stood."""
        late = timing.late & ~duplicate
        counted = ~(duplicate | timing.late)
        noted = np.where(timing.late, self.panes(events.groups, timing.newest)[0], timing.panes)
        kinds = np.select([duplicate, late], [DUPLICATES, LATE], PREDICTIONS)
        open_outcomes = ~self.is_late(timing.ends, np.maximum(timing.watermark, unit.floors_ms["performance"]))
        for model, where in self._by_model(events.groups):
            self._add(unit, model, "traffic", events.groups[where], noted[where], kinds[None, where])
            kept = where[counted[where]]
            if model.slots and kept.size:
                codes, values = model.code(*self._decoder.feature_columns(model, events.records, kept))
                self._add(unit, model, "traffic", events.groups[kept], timing.panes[kept], codes, values)
            kept = kept[open_outcomes[kept]]
            if model.settings.labels and kept.size:
                self._add(unit, model, "performance", events.groups[kept], timing.panes[kept], np.full((1, kept.size), PREDICTIONS))
            add(self.tally.late, (model.settings.name, "traffic"), int(late[where].sum()))
            add(self.tally.duplicates, model.settings.name, int(duplicate[where].sum()))
        for index, n in enumerate(np.bincount(events.groups[counted]).tolist()):
            group = self._groups[index]
            add(self.tally.predictions, (group.model.settings.name, group.version), int(n))
        for name, mask in (("duplicate", duplicate), ("late", late), ("counted", counted)):
            unit.counters[name] += int(mask.sum())

    def outcomes(self, unit: Unit, outcomes: Outcomes) -> None:
        """Count matched labels by label time; late ones are noted in the pane where time stood."""
        times = np.where(outcomes.late, outcomes.newest, outcomes.times_ms)
        panes = self.panes(outcomes.groups, times)[0]
        for model, where in self._by_model(outcomes.groups):
            late, kept = where[outcomes.late[where]], where[~outcomes.late[where]]
            classes = len(model.settings.classes) + 1
            predicted = self._classes.codes(model, outcomes.predicted[kept])
            labelled = self._classes.codes(model, outcomes.labelled[kept])
            cells = np.stack([np.full(kept.size, LABELS), CONFUSION_START + labelled * classes + predicted])
            self._add(unit, model, "performance", outcomes.groups[kept], panes[kept], cells)
            self._add(unit, model, "performance", outcomes.groups[late], panes[late], np.full((1, late.size), LATE))
            add(self.tally.late, (model.settings.name, "performance"), late.size)

    def _by_model(self, groups: Indices) -> Iterator[tuple[Model, Indices]]:
        """Each model among the events, and where they are."""
        used, inverse = distinct(groups)
        models = [self._groups[index].model for index in used.tolist()]
        names = [model.settings.name for model in models]
        by_name = dict(zip(names, models, strict=True))
        if len(by_name) == 1:
            yield models[0], np.arange(groups.size)
            return
        place = {name: i for i, name in enumerate(by_name)}
        codes = np.array([place[name] for name in names], np.int64)[inverse]
        order = np.argsort(codes, kind="stable")
        yield from zip(by_name.values(), np.split(order, np.flatnonzero(np.diff(codes[order])) + 1), strict=True)

    def _add(
        self, unit: Unit, model: Model, subject: Subject, groups: Indices, panes: Times, codes: Codes, values: Floats | None = None
    ) -> None:
        """Add one count per event and row of `codes` to the aggregates of all traffic and of each of the events' segments."""
        if groups.size == 0:
            return
        layout = model.traffic if subject == "traffic" else model.outcomes
        used, inverse = distinct(groups)
        starts, pane = distinct(panes // model.settings.pane_ms)
        members = [self._groups[index] for index in used.tolist()]
        for position in range(1 + len(model.settings.segments)):
            keys = [(group.version, group.segments[position]) for group in members]
            named = list(dict.fromkeys(keys))
            place = {key: i for i, key in enumerate(named)}
            target = np.array([place[key] for key in keys], np.int64)[inverse] * len(starts) + pane
            n = len(named) * len(starts)
            counts: Counts = grouped_counts(target, n, codes, layout.width)
            moments = grouped_moments(target, n, values) if values is not None and len(values) else [None] * n
            for slot in distinct(target)[0].tolist():
                version, segment = named[slot // len(starts)]
                group = PaneGroup(subject, int(starts[slot % len(starts)]) * model.settings.pane_ms, version, segment)
                unit.aggregate(model.settings.name, group).add(counts[slot], moments[slot])
