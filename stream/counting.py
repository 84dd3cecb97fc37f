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

from detectors.latency import DELAY_BUCKETS_S, delay_bins, delay_buckets, latency_bins
from stream.aggregates import Codes, Floats, distinct
from stream.alerts import Alert
from stream.class_scores import PackedScores
from stream.coding import Bins, ClassCodes, Coding
from stream.events import EventDecoder, Predictions
from stream.groups import Groups
from stream.model import (
    CONFUSION_START,
    DUPLICATES,
    LABELS,
    LATE,
    LEAST_PROBABILITY,
    LOSS_UNIT,
    NUMBERS_MAX,
    PREDICTED_START,
    PREDICTIONS,
    UNUSABLE,
    Model,
    with_variants,
)
from stream.regression import ErrorCoding
from stream.stakes import StakeCoding
from stream.store import ClockName, Subject
from stream.unit import Unit
from stream.unseen import texts
from stream.watermark import NO_TIME
from stream.windows import Times, pane_starts

K = TypeVar("K")
LabelOutcome = Literal["matched", "waiting", "expired", "duplicate", "corrected", "malformed"]
Mask = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]


@dataclass(slots=True)
class Tally:
    """What was counted since the driver last looked, for its counters."""

    consumed: dict[str, int] = field(default_factory=dict)
    predictions: dict[tuple[str, str], int] = field(default_factory=dict)
    late: dict[tuple[str, ClockName], int] = field(default_factory=dict)
    duplicates: dict[str, int] = field(default_factory=dict)
    labels: dict[LabelOutcome, int] = field(default_factory=dict)
    dead_letters: dict[str, int] = field(default_factory=dict)
    unknown_features: dict[str, int] = field(default_factory=dict)
    label_delays: dict[str, tuple[Codes, float]] = field(default_factory=dict)  # how many in each bucket, and their sum in seconds
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

    `predicted_ms`: times of the predictions, of which the last windows had closed where it is `too_late`.
    `values`: the labels that are numbers, NaN elsewhere; of a regression `scores` are its predictions. `stakes`: the predictions' `value`.
    `class_scores`, (n, width): the predictions' scores by class, packed.
    """

    groups: Indices
    times_ms: Times
    predicted_ms: Times
    predicted: npt.NDArray[np.uint16]
    labelled: npt.NDArray[np.uint16]
    scores: Floats
    values: Floats
    stakes: npt.NDArray[np.float32]
    class_scores: PackedScores
    newest: Times
    late: Mask
    too_late: Mask


class Counting:
    """Counts events of the configured models into the panes of a unit."""

    def __init__(
        self, models: Mapping[str, Model], decoder: EventDecoder, classes: ClassCodes, lateness_ms: int, max_delay_ms: int
    ) -> None:
        self._decoder, self._classes, self._lateness_ms, self._max_delay_ms = decoder, classes, lateness_ms, max_delay_ms
        self._groups: Groups = decoder.groups
        every = with_variants(models.values())
        self._names = [model.settings.name for model in every]
        self._n_classes = np.array([len(model.settings.classes) + 1 for model in every], np.int64)  # with OTHER
        self._positive = np.array([_positive(model) for model in every], np.int64)
        self._latency_start = np.array([model.latency_start for model in every], np.int64)
        self._hits_start = np.array([model.hits_start for model in every], np.int64)
        self._losses_start = np.array([model.losses_start for model in every], np.int64)
        self._delays_start = np.array([model.delays_start for model in every], np.int64)
        self._score_bins = np.array([model.score.bins for model in every], np.int64)
        self._score_start = np.array([model.score.start for model in every], np.int64)
        self._raised_start = np.array([model.raised_start for model in every], np.int64)
        self._expected_start = np.array([model.expected_start for model in every], np.int64)
        self._estimated = np.array([model.calibration is not None for model in every], np.bool_)
        self._estimating, self._raised = bool(self._estimated.any()), np.where(self._estimated, PREDICTED_START + self._positive, -1)
        self._scores = Bins([model.score.feature for model in every])
        self._errors = ErrorCoding(every)
        self._stakes = StakeCoding(every)
        self._most_segments = max(len(model.settings.segments) for model in every)
        self._cohorts = [model.settings.cohorts for model in every if model.settings.cohorts]
        self._pane_ms = math.gcd(*(model.settings.pane_ms for model in every), *(cohorts.pane_ms for cohorts in self._cohorts))
        self._codings, self._coding_of, self._member_of = _codings(every)
        self.tally = Tally()

    def timing(self, unit: Unit, groups: Indices, times_ms: Times, watermark: Times, clock: ClockName) -> Timing:
        """Panes and lateness of events that arrived when the unit's watermark stood at `watermark`."""
        closed = np.maximum(watermark, unit.floors_ms[clock])
        panes, ends = self.panes(groups, times_ms)
        return Timing(panes, ends, watermark, newest(unit, times_ms, watermark, clock), self.is_late(ends, closed))

    def is_late(self, ends: Times, closed_ms: Times) -> Mask:
        """Whether the first window of a pane with this end had closed when the watermark stood at `closed_ms`."""
        return ends + self._lateness_ms <= closed_ms

    def too_late(self, groups: Indices, times_ms: Times, closed_ms: Times) -> Mask:
        """Whether the last window by the time of these predictions had closed at `closed_ms`, or there is none."""
        if not self._cohorts:
            return np.ones(groups.size, np.bool_)
        lengths = self._groups.table["cohort_ms"][groups]
        ends = pane_starts(times_ms, np.maximum(lengths, 1)) + lengths
        closed: Mask = (lengths == 0) | (ends + self._max_delay_ms <= closed_ms)
        return closed

    def panes(self, groups: Indices, times_ms: Times) -> tuple[Times, Times]:
        """Start and end of each event's pane."""
        lengths = self._groups.table["pane_ms"][groups]
        starts = pane_starts(times_ms, lengths)
        return starts, starts + lengths

    def predictions(self, unit: Unit, events: Predictions, timing: Timing, duplicate: Mask, too_late: Mask) -> None:
        """Count a batch of predictions: each in its own pane; what is too old is noted in the pane where time stood.

        `too_late`: of which the last windows by their time have closed.
        """
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
            members = self._member_of[models[at]]
            codes, values = coding.code([events.scores[at], *columns], invalid, members)
            _add(unit, numbers[:, at], codes, values=values)
            for i, new in coding.unseen(codes, members):
                named = texts([columns[i][one] for one in new.tolist()])
                for panes in numbers[:, at[new]]:
                    unit.panes.add_unseen(panes, codes[i + 1, new], named)
            if self._estimating:
                self._add_raised(unit, numbers[:, at], models[at], said[where], codes[0])
        self._add_latencies(unit, numbers[:, kept], models[kept], events.latencies_ms[kept])
        open_outcomes = ~self.is_late(timing.ends, np.maximum(timing.watermark, unit.floors_ms["performance"]))
        at = kept[open_outcomes[kept] & self._groups.table["labels"][events.groups[kept]]]
        _add(unit, self._numbers(unit, "performance", events.groups[at], timing.panes[at]), np.full((1, at.size), PREDICTIONS))
        if self._cohorts:
            at = np.flatnonzero(~(too_late | duplicate))
            numbers = self._cohort_numbers(unit, events.groups[at], events.times_ms[at])
            _add(unit, numbers, np.full((1, at.size), PREDICTIONS))
            if self._estimating:
                self._add_expected(unit, numbers, models[at], events.classes[at], events.scores[at])
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
        """Count matched labels by label time and by the time of their predictions; late ones are noted in the pane where time stood."""
        late = np.flatnonzero(outcomes.late)
        if late.size:
            groups = outcomes.groups[late]
            numbers = self._numbers(unit, "performance", groups, self.panes(groups, outcomes.newest[late])[0])
            _add(unit, numbers, np.full((1, late.size), LATE))
            for name, n in self._by_name(self._groups.table["model"][groups]):
                add(self.tally.late, (name, "performance"), n)
        self._tally_delays(outcomes)
        self._add_outcomes(unit, outcomes, 1)

    def take_back(self, unit: Unit, outcomes: Outcomes) -> None:
        """Count outcomes no longer, where their windows are open; a part of a pane may thereby be below zero, the sum of all is not."""
        self._add_outcomes(unit, outcomes, -1)

    def _tally_delays(self, outcomes: Outcomes) -> None:
        """Note how long labels took, late ones as well; one that was before its prediction took no time."""
        used, place = distinct(self._groups.table["model"][outcomes.groups])
        delays_s, n = np.maximum(outcomes.times_ms - outcomes.predicted_ms, 0) / 1000, DELAY_BUCKETS_S.size + 1
        counts = np.bincount(place * n + delay_buckets(delays_s), minlength=used.size * n).reshape(used.size, n)
        sums_s = np.bincount(place, delays_s, used.size)
        for index, count, sum_s in zip(used.tolist(), counts, sums_s.tolist(), strict=True):
            before, before_s = self.tally.label_delays.get(self._names[index], (0, 0.0))
            self.tally.label_delays[self._names[index]] = (before + count, before_s + sum_s)

    def _add_outcomes(self, unit: Unit, outcomes: Outcomes, sign: int) -> None:
        kept = np.flatnonzero(~(outcomes.late & outcomes.too_late))
        groups = outcomes.groups[kept]
        numbers = self._numbers(unit, "performance", groups, self.panes(groups, outcomes.times_ms[kept])[0], ~outcomes.late[kept])
        if self._cohorts:
            numbers = np.concatenate((numbers, self._cohort_numbers(unit, groups, outcomes.predicted_ms[kept], ~outcomes.too_late[kept])))
        of = self._groups.table["model"][groups]
        delays = self._delays_start[of] + delay_bins((outcomes.times_ms[kept] - outcomes.predicted_ms[kept]) / 1000)
        if self._errors.on and (mine := self._errors.of[of]).any():
            at = kept[mine]
            self._add_errors(unit, numbers[:, mine], of[mine], outcomes.values[at], outcomes.scores[at], delays[mine], sign)
            kept, of, numbers, delays = kept[~mine], of[~mine], numbers[:, ~mine], delays[~mine]
        labelled, predicted = (self._classes.codes(of, classes[kept]) for classes in (outcomes.labelled, outcomes.predicted))
        cells = CONFUSION_START + labelled * self._n_classes[of] + predicted
        _add(unit, numbers, np.stack([np.full(kept.size, LABELS), cells, delays]), sign=sign)
        if self._stakes.on:
            at, codes, weights = self._stakes.code(of, cells - CONFUSION_START, outcomes.stakes[kept])
            _add(unit, numbers[:, at], codes[None], weights=weights[None], sign=sign)
        hit = labelled == np.where(self._positive[of] < 0, predicted, self._positive[of])
        self._add_scores(unit, numbers, of, hit, outcomes.scores[kept], sign)
        for at, codes in self._decoder.class_scores.code(of, labelled, outcomes.class_scores[kept]):
            _add(unit, numbers[:, at], codes, sign=sign)

    def _add_errors(
        self, unit: Unit, numbers: Codes, models: Indices, labels: Floats, predictions: Floats, delays: Codes, sign: int
    ) -> None:
        """Count outcomes of regressions."""
        usable = (np.abs(labels) <= NUMBERS_MAX) & (np.abs(predictions) <= NUMBERS_MAX)
        _add(unit, numbers[:, ~usable], np.full((1, usable.size - int(usable.sum())), UNUSABLE), sign=sign)
        if usable.any():
            codes, values = self._errors.code(models[usable], labels[usable], predictions[usable], taken_back=sign < 0)
            codes = np.concatenate((np.full((1, values.shape[1]), LABELS), codes, delays[None, usable]))
            _add(unit, numbers[:, usable], codes, values=values, sign=sign)

    def _add_raised(self, unit: Unit, numbers: Codes, models: Indices, said: Codes, scores: Codes) -> None:
        """Count once more, in bins of their own, the scores of predictions that are positive, of models whose performance is estimated.

        `said`, `scores`: the positions of class and score in the aggregate.
        """
        at = np.flatnonzero(said == self._raised[models])
        bins = scores[at] - self._score_start[models[at]]
        has = bins < self._score_bins[models[at]]  # behind them stand those that are missing
        _add(unit, numbers[:, at[has]], (self._raised_start[models[at[has]]] + bins[has])[None])

    def _add_expected(self, unit: Unit, numbers: Codes, models: Indices, classes: npt.NDArray[np.uint16], scores: Floats) -> None:
        """Count the scores of predictions by whether they are positive, of models whose performance is estimated."""
        has = self._estimated[models] & ~np.isnan(scores)
        if has.any():
            models, x = models[has], scores[has]
            positive = self._classes.codes(models, classes[has]) == self._positive[models]
            bins = self._scores.find(x, models, int(models[0]) if models.min() == models.max() else None)
            _add(unit, numbers[:, has], (self._expected_start[models] + positive * self._score_bins[models] + bins)[None])

    def _add_latencies(self, unit: Unit, numbers: Codes, models: Indices, latencies_ms: Floats) -> None:
        """Count the latencies that are such: not absent, below 0 or infinite."""
        has = (latencies_ms >= 0) & (latencies_ms < np.inf)
        if has.any():
            _add(unit, numbers[:, has], (self._latency_start[models[has]] + latency_bins(latencies_ms[has]))[None])

    def _add_scores(self, unit: Unit, numbers: Codes, models: Indices, hit: Mask, scores: Floats, sign: int) -> None:
        """Count the scores that are probabilities by whether the label was what they are of, and how far from the truth they were."""
        has = (scores >= 0) & (scores <= 1)
        if not has.any():
            return
        models, hit, p = models[has], hit[has], scores[has]
        one = int(models[0]) if models.min() == models.max() else None
        codes = self._hits_start[models] + hit * self._score_bins[models] + self._scores.find(p, models, one)
        _add(unit, numbers[:, has], codes[None], sign=sign)
        truth = np.where(hit, p, 1 - p)
        losses = np.rint(np.stack([(1 - truth) ** 2, -np.log(np.maximum(truth, LEAST_PROBABILITY))]) / LOSS_UNIT).astype(np.int64)
        _add(unit, numbers[:, has], self._losses_start[models] + np.array([[0], [1]]), weights=losses, sign=sign)

    def _cohort_numbers(self, unit: Unit, groups: Indices, predicted_ms: Times, where: Mask | None = None) -> Codes:
        """`_numbers` by the time of predictions."""
        return self._numbers(
            unit, "cohort", groups, pane_starts(predicted_ms, np.maximum(self._groups.table["cohort_ms"][groups], 1)), where
        )

    def _numbers(self, unit: Unit, subject: Subject, groups: Indices, panes: Times, where: Mask | None = None) -> Codes:
        """The panes that each event counts in, by number, (1 + most segments, n): of all traffic, and of its segments; -1 for none.

        `where`, (n,): which events count at all.
        """
        if where is not None and not where.all():
            numbers = np.full((1 + self._most_segments, groups.size), -1, np.int64)
            numbers[:, where] = self._numbers(unit, subject, groups[where], panes[where])
            return numbers
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


def newest(unit: Unit, times_ms: Times, watermark: Times, clock: ClockName) -> Times:
    """Where time stood for events that arrived at `watermark`, their own included: each may be the first of its partition."""
    behind = np.where(watermark > NO_TIME, watermark + unit.watermark.out_of_orderness_ms, NO_TIME)
    return np.maximum(np.maximum(behind, unit.floors_ms[clock]), np.maximum(watermark, times_ms))


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


def _add(unit: Unit, numbers: Codes, codes: Codes, *, values: Floats | None = None, weights: Codes | None = None, sign: int = 1) -> None:
    """Count events, by `codes` and `weights`, (rows, n), in each of their panes, `numbers`, (panes, n), and take in their `values`."""
    if sign < 0:
        weights = np.full(codes.shape, -1) if weights is None else -weights
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
