"""Labels and predictions that have met: their outcomes are counted by either time, and what a correction replaces is taken back.

Whichever came second is counted where it was read. A prediction whose label had been corrected while it waited counts as if it had been
there when the labels came, one after the other.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stream.class_scores import PackedScores
from stream.counting import Counting, Indices, Outcomes, Timing, newest
from stream.events import Predictions
from stream.join import LATE_PREDICTION, TOO_LATE, Matches
from stream.unit import Unit
from stream.windows import Times


class _Predicted(NamedTuple):
    """What predictions said that labels have met, all (n,)."""

    times_ms: Times
    classes: npt.NDArray[np.uint16]
    scores: npt.NDArray[np.float64]
    values: npt.NDArray[np.float32]
    class_scores: PackedScores  # (n, width)

    def at(self, where: npt.NDArray[np.int64]) -> "_Predicted":
        return _Predicted(self.times_ms[where], self.classes[where], self.scores[where], self.values[where], self.class_scores[where])


class OutcomeCounting:
    """Counts outcomes into the panes of a unit."""

    def __init__(self, counting: Counting) -> None:
        self._counting = counting

    def of_predictions(self, unit: Unit, events: Predictions, timing: Timing, matches: Matches, matched: Indices) -> Outcomes:
        """Of labels that had been waiting for these predictions, as on time as they were when both were there; the first of each."""
        labels, groups = matches.others, events.groups[matched]
        predicted = _Predicted(events.times_ms, events.classes, events.scores, events.values, events.class_scores).at(matched)
        stood = np.maximum(timing.watermark[matched], unit.floors_ms["performance"])
        noted = np.maximum(timing.newest[matched], unit.floors_ms["performance"])  # which may be ahead of the traffic's
        outcomes = replace(self._made(groups, matches.flags, labels, predicted, np.maximum(stood, _closed(labels))), newest=noted)
        self._counting.outcomes(unit, outcomes)
        standing, corrections = labels.copy(), matches.also
        while corrections.size:
            at, first = np.unique(corrections["event"], return_index=True)
            more, corrections = corrections["row"][first], np.delete(corrections, first)
            closed = np.maximum(stood[at], _closed(more))
            now = self._made(groups[at], matches.flags[at], more, predicted.at(at), closed)
            self._counting.outcomes(unit, replace(now, newest=noted[at]))
            self._take_back(unit, groups[at], matches.flags[at], standing[at], predicted.at(at), closed)
            standing[at] = more
        return outcomes

    def of_labels(self, unit: Unit, groups: Indices, rows: npt.NDArray[np.void], watermark: Times, matches: Matches) -> Outcomes:
        """Of labels that have met their predictions, `matches`; for those that correct another, what that one had counted no longer."""
        others, closed = matches.others, np.maximum(watermark, unit.floors_ms["performance"])
        predicted = _Predicted(others["time"], others["cls"], others["score"], others["value"], matches.scores)
        stood = newest(unit, rows["time"], watermark, "performance")
        outcomes = replace(self._made(groups, matches.flags, rows, predicted, closed), newest=stood)
        self._counting.outcomes(unit, outcomes)
        at = matches.also["event"]
        if at.size:
            self._take_back(unit, groups[at], matches.flags[at], matches.also["row"], predicted.at(at), closed[at])
        return outcomes

    def _take_back(
        self,
        unit: Unit,
        groups: npt.NDArray[np.int64],
        flags: npt.NDArray[np.uint8],
        labels: npt.NDArray[np.void],
        predicted: _Predicted,
        closed: Times,
    ) -> None:
        """Count no longer what these labels had counted, which are corrected, where they were counted and it can still be changed."""
        before, now = (self._made(groups, flags, labels, predicted, when) for when in (_closed(labels), closed))
        self._counting.take_back(unit, replace(before, late=before.late | now.late, too_late=before.too_late | now.too_late))

    def _made(
        self,
        groups: npt.NDArray[np.int64],
        flags: npt.NDArray[np.uint8],
        labels: npt.NDArray[np.void],
        predicted: _Predicted,
        closed: Times,
    ) -> Outcomes:
        """Labels with their predictions, and whether the windows of either time had closed, as time stood at `closed`."""
        times_ms = labels["time"]
        late = self._counting.is_late(self._counting.panes(groups, times_ms)[1], closed)
        return Outcomes(
            groups=groups,
            times_ms=times_ms,
            predicted_ms=predicted.times_ms,
            predicted=predicted.classes,
            labelled=labels["cls"],
            scores=predicted.scores,
            values=labels["value"],
            stakes=predicted.values,
            class_scores=predicted.class_scores,
            newest=times_ms,
            late=late | ((flags & LATE_PREDICTION) > 0),
            too_late=self._counting.too_late(groups, predicted.times_ms, closed) | ((flags & TOO_LATE) > 0),
        )


def _closed(labels: npt.NDArray[np.void]) -> Times:
    """Where time stood when these rows of labels could first be counted."""
    return labels["time"] + labels["behind"].astype(np.int64)
