"""From columns to panes: which pane each event belongs to, whether it is late, and the counts that it adds to the aggregates.

One pass per batch, however many models, windows and versions it is about: positions by `searchsorted` and look-up (`coding`), one sum for
all traffic and one for each segment key (`panes`). Works on the unit it is given; no store, no clock.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from detectors.latency import latency_bins
from stream.aggregates import Codes, Floats, distinct
from stream.coding import Bins, ClassCodes, Coding
from stream.events import EventDecoder, Predictions
from stream.groups import Groups
from stream.model import (
    CONFUSION_START,
    DUPLICATES,
    LABELS,
    LATE,
    LOSS_UNIT,
    NUMBERS_MAX,
    PREDICTED_START,
    PREDICTIONS,
    UNUSABLE,
    Model,
    with_variants,
)
from stream.regression import ErrorCoding
from stream.results import Alert
from stream.store import Subject
from stream.unit import Unit
from stream.watermark import NO_TIME
from stream.windows import Times, pane_starts

K = TypeVar("K")
LEAST_PROBABILITY = 2.0**-52  # of the truth, lest one confident mistake makes the log loss infinite; as scikit-learn clips
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
    unknown_features: dict[str, int] = field(default_factory=dict)
    alerts: list[Alert] = field(default_factory=list)  # of sequential detectors


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
    """Labels matched to predictions, all (n,). `late` ones are too old for their window; `newest` is where time stood.

    `values`: the labels that are numbers, NaN elsewhere; of a regression `scores` are its predictions. `stakes`: the predictions' `value`.
    """

    groups: Indices
    times_ms: Times
    predicted: npt.NDArray[np.uint16]
    labelled: npt.NDArray[np.uint16]
    scores: Floats
    values: Floats
    stakes: npt.NDArray[np.float32]
    newest: Times
    late: Mask


class Counting:
    """Counts events of the configured models into the panes of a unit."""

    def __init__(self, models: Mapping[str, Model], decoder: EventDecoder, classes: ClassCodes, lateness_ms: int) -> None:
        self._decoder, self._classes, self._lateness_ms = decoder, classes, lateness_ms
        self._groups: Groups = decoder.groups
        every = with_variants(models.values())
        self._names = [model.settings.name for model in every]
        self._n_classes = np.array([len(model.settings.classes) + 1 for model in every], np.int64)  # with OTHER
        self._positive = np.array([_positive(model) for model in every], np.int64)
        self._latency_start = np.array([model.latency_start for model in every], np.int64)
        self._hits_start = np.array([model.hits_start for model in every], np.int64)
        self._losses_start = np.array([model.losses_start for model in every], np.int64)
        self._score_bins = np.array([model.score.bins for model in every], np.int64)
        self._scores = Bins([model.score.feature for model in every])
        self._errors = ErrorCoding(every)
        self._most_segments = max(len(model.settings.segments) for model in every)
        self._pane_ms = math.gcd(*(model.settings.pane_ms for model in every))
        self._codings, self._coding_of, self._member_of = _codings(every)
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
        lengths = self._groups.table["pane_ms"][groups]
        starts = pane_starts(times_ms, lengths)
        return starts, starts + lengths

    def predictions(self, unit: Unit, events: Predictions, timing: Timing, duplicate: Mask) -> None:
        """Count a batch of predictions: each in its own pane; what is too old is noted in the pane where time stood."""
        late = timing.late & ~duplicate
        counted = ~(duplicate | timing.late)
        noted = np.where(timing.late, self.panes(events.groups, timing.newest)[0], timing.panes) if timing.late.any() else timing.panes
        numbers = self._numbers(unit, "traffic", events.groups, noted)
        _add(unit, numbers, np.select([duplicate, late], [DUPLICATES, LATE], PREDICTIONS)[None])
        models = self._groups.table["model"][events.groups]
        kept = np.flatnonzero(counted)
        said = PREDICTED_START + self._classes.codes(models[kept], events.classes[kept])
        _add(unit, numbers[:, kept], said[None])
        for coding, where in self._by_coding(models[kept]):
            at = kept[where]
            columns, invalid = self._decoder.feature_columns(coding.features, events.records, at)
            codes, values = coding.code([events.scores[at], *columns], invalid, self._member_of[models[at]])
            _add(unit, numbers[:, at], codes, values=values)
        self._add_latencies(unit, numbers[:, kept], models[kept], events.latencies_ms[kept])
        open_outcomes = ~self.is_late(timing.ends, np.maximum(timing.watermark, unit.floors_ms["performance"]))
        at = kept[open_outcomes[kept] & self._groups.table["labels"][events.groups[kept]]]
        _add(unit, self._numbers(unit, "performance", events.groups[at], timing.panes[at]), np.full((1, at.size), PREDICTIONS))
        for name, n in self._by_name(models[late]):
            add(self.tally.late, (name, "traffic"), n)
        for name, n in self._by_name(models[duplicate]):
            add(self.tally.duplicates, name, n)
        for index, n in _tallied(events.groups[counted]):
            group = self._groups[index]
            add(self.tally.predictions, (group.model.settings.name, group.version), n)
        for name, mask in (("duplicate", duplicate), ("late", late), ("counted", counted)):
            unit.counters[name] += int(mask.sum())

    def outcomes(self, unit: Unit, outcomes: Outcomes) -> None:
        """Count matched labels by label time; late ones are noted in the pane where time stood."""
        times = np.where(outcomes.late, outcomes.newest, outcomes.times_ms)
        numbers = self._numbers(unit, "performance", outcomes.groups, self.panes(outcomes.groups, times)[0])
        models = self._groups.table["model"][outcomes.groups]
        late, kept = np.flatnonzero(outcomes.late), np.flatnonzero(~outcomes.late)
        if self._errors.on:
            kept = self._add_errors(unit, numbers, models, outcomes, kept)
        of = models[kept]
        labelled, predicted = (self._classes.codes(of, classes[kept]) for classes in (outcomes.labelled, outcomes.predicted))
        cells = CONFUSION_START + labelled * self._n_classes[of] + predicted
        _add(unit, numbers[:, kept], np.stack([np.full(kept.size, LABELS), cells]))
        self._add_scores(
            unit, numbers[:, kept], of, labelled == np.where(self._positive[of] < 0, predicted, self._positive[of]), outcomes.scores[kept]
        )
        _add(unit, numbers[:, late], np.full((1, late.size), LATE))
        for name, n in self._by_name(models[late]):
            add(self.tally.late, (name, "performance"), n)

    def _add_errors(self, unit: Unit, numbers: Codes, models: Indices, outcomes: Outcomes, kept: Indices) -> Indices:
        """Count those of the kept outcomes that are of regressions; the others."""
        mine = self._errors.of[models[kept]]
        at = kept[mine]
        usable = (np.abs(outcomes.values[at]) <= NUMBERS_MAX) & (np.abs(outcomes.scores[at]) <= NUMBERS_MAX)
        _add(unit, numbers[:, at[~usable]], np.full((1, at.size - int(usable.sum())), UNUSABLE))
        if (at := at[usable]).size:
            codes, values = self._errors.code(models[at], outcomes.values[at], outcomes.scores[at])
            _add(unit, numbers[:, at], np.concatenate((np.full((1, at.size), LABELS), codes)), values=values)
        return kept[~mine]

    def _add_latencies(self, unit: Unit, numbers: Codes, models: Indices, latencies_ms: Floats) -> None:
        """Count the latencies that are such: not absent, below 0 or infinite."""
        has = (latencies_ms >= 0) & (latencies_ms < np.inf)
        if has.any():
            _add(unit, numbers[:, has], (self._latency_start[models[has]] + latency_bins(latencies_ms[has]))[None])

    def _add_scores(self, unit: Unit, numbers: Codes, models: Indices, hit: Mask, scores: Floats) -> None:
        """Count the scores that are probabilities by whether the label was what they are of, and how far from the truth they were."""
        has = (scores >= 0) & (scores <= 1)
        if not has.any():
            return
        models, hit, p = models[has], hit[has], scores[has]
        one = int(models[0]) if models.min() == models.max() else None
        codes = self._hits_start[models] + hit * self._score_bins[models] + self._scores.find(p, models, one)
        _add(unit, numbers[:, has], codes[None])
        truth = np.where(hit, p, 1 - p)
        losses = np.stack([(1 - truth) ** 2, -np.log(np.maximum(truth, LEAST_PROBABILITY))])
        _add(unit, numbers[:, has], self._losses_start[models] + np.array([[0], [1]]), weights=np.rint(losses / LOSS_UNIT).astype(np.int64))

    def _numbers(self, unit: Unit, subject: Subject, groups: Indices, panes: Times) -> Codes:
        """The panes that each event counts in, by number, (1 + most segments, n): of all traffic, and of its segments; -1 for none."""
        starts, place = distinct(panes // self._pane_ms)
        pairs, inverse = distinct(groups * len(starts) + place)
        table = np.full((len(pairs), 1 + self._most_segments), -1, np.int64)
        for row, pair in zip(table, pairs.tolist(), strict=True):
            group = self._groups[pair // len(starts)]
            row[: len(group.segments)] = unit.numbers(subject, group, int(starts[pair % len(starts)]) * self._pane_ms)
        return table.T[:, inverse]

    def _by_coding(self, models: Indices) -> Iterator[tuple[Coding, Indices]]:
        """Each coding among the events of these models, and where they are."""
        used, place = distinct(self._coding_of[models])
        for index, coding in enumerate(used.tolist()):
            yield self._codings[coding], np.flatnonzero(place == index)

    def _by_name(self, models: Indices) -> Iterator[tuple[str, int]]:
        """How many events there are of each model."""
        return ((self._names[index], n) for index, n in _tallied(models))


def _positive(model: Model) -> int:
    """The code of the class that the model's scores are of; -1 where they are of the predicted one."""
    settings = model.settings
    return -1 if settings.positive is None else settings.classes.index(settings.positive)


def _codings(models: Sequence[Model]) -> tuple[list[Coding], Indices, Indices]:
    """The codings, and of each model the index of its coding and its own in there."""
    members: dict[Any, list[int]] = {}
    for index, model in enumerate(models):
        members.setdefault(Coding.key(model), []).append(index)
    coding_of, member_of = np.zeros(len(models), np.int64), np.zeros(len(models), np.int64)
    for coding, indices in enumerate(members.values()):
        coding_of[indices], member_of[indices] = coding, np.arange(len(indices))
    return [Coding([models[index] for index in indices]) for indices in members.values()], coding_of, member_of


def _add(unit: Unit, numbers: Codes, codes: Codes, *, values: Floats | None = None, weights: Codes | None = None) -> None:
    """Count events, by `codes` and `weights`, (rows, n), in each of their panes, `numbers`, (panes, n), and take in their `values`."""
    for panes in numbers:
        has = panes >= 0  # models differ in how many segment keys they have
        at = slice(None) if has.all() else has
        if not has.any():
            continue
        unit.panes.add(panes[at], codes[:, at], None if weights is None else weights[:, at])
        if values is not None and len(values):
            unit.panes.add_moments(panes[at], values[:, at])


def _tallied(indices: Indices) -> Iterator[tuple[int, int]]:
    """Each index that occurs, and how often."""
    counts = np.bincount(indices)
    used = np.flatnonzero(counts)
    return zip(used.tolist(), counts[used].tolist(), strict=True)
