"""The published balance sheet: what became of every message that was consumed. Read from the store's counters, for people and for proofs.

Each checkpoint writes a unit's counters together with its offset and panes, so the sheet of a unit adds up at every moment. The total of
the labels takes counters of both topics together (a label that waited is matched by its prediction): what only one of them knows yet is
pending.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stream.store import Partitions, UnitId, ViewStore


@dataclass(frozen=True, slots=True)
class Sheet:
    """Messages consumed and what became of them. `lost` ones were gone from Kafka before they could be consumed."""

    consumed: int
    outcomes: Mapping[str, int]
    lost: int = 0

    @property
    def adds_up(self) -> bool:
        """Whether every message consumed has exactly one outcome."""
        return self.consumed == sum(self.outcomes.values()) and min(self.outcomes.values()) >= 0

    @property
    def terms(self) -> str:
        """The outcomes as a sum."""
        return " + ".join(f"{n} {name}" for name, n in self.outcomes.items())

    def __str__(self) -> str:
        return f"{self.consumed} consumed = {self.terms}"


@dataclass(frozen=True, slots=True)
class Balance:
    """The sheet of each unit that has state, and of both topics; of the predictions that were counted or late, what came of their labels.

    A label that a unit counts as `waiting` is `matched`, `pending` or `expired` in the total. `unsettled` ones have been matched or dropped
    before they are durably waiting: there are some between two checkpoints, and none that stay.
    """

    units: Mapping[UnitId, Sheet]
    predictions: Sheet
    labels: Sheet
    joined: Sheet
    unsettled: int = 0

    @property
    def adds_up(self) -> bool:
        """Whether every sheet does."""
        return all(sheet.adds_up for sheet in (*self.units.values(), self.predictions, self.labels, self.joined))

    @property
    def lost(self) -> int:
        """Messages that were gone from Kafka before they could be consumed."""
        return self.predictions.lost + self.labels.lost


def read_balance(store: ViewStore, partitions: Partitions) -> Balance:
    """The balance sheet as the last checkpoints left it."""
    expired_predictions, expired_labels = store.expired()
    held = {unit: view.counters for unit, view in store.view(partitions.units()).items() if view.counters}
    predictions = _total(counters for unit, counters in held.items() if unit.side == "predictions")
    labels = _total(counters for unit, counters in held.items() if unit.side == "labels")
    # Of a match, or of a row that was dropped, this may be the half whose checkpoint came first; it counts when both halves are durable.
    waiting = labels["waiting"]
    completed = min(predictions["completed"], waiting)
    dropped = min(expired_labels, waiting - completed)
    # Those that came second stand in the other topic's counters, and those that were dropped in the store: likewise.
    unique = predictions["counted"] + predictions["late"]
    open_ = unique - predictions["unlabelled"] - predictions["expired"]
    matched = min(predictions["completed"] + labels["matched"], open_)
    given_up = min(expired_predictions, open_ - matched)
    return Balance(
        units={unit: unit_sheet(unit, counters) for unit, counters in held.items()},
        predictions=_sheet(predictions, _OUTCOMES["predictions"]),
        labels=Sheet(
            labels["consumed"],
            {
                "matched": labels["matched"] + completed,
                "pending": waiting - completed - dropped,
                "expired": labels["expired"] + dropped,
                "duplicate": labels["duplicate"],
                "corrected": labels["corrected"],
                "malformed": labels["malformed"],
            },
            labels["lost"],
        ),
        joined=Sheet(
            unique,
            {
                "matched": matched,
                "pending": open_ - matched - given_up,
                "expired": predictions["expired"] + given_up,
                "unlabelled": predictions["unlabelled"],
            },
        ),
        unsettled=predictions["completed"] + expired_labels - completed - dropped,
    )


_OUTCOMES = {
    "predictions": ("counted", "late", "duplicate", "malformed"),
    "labels": ("matched", "waiting", "expired", "duplicate", "corrected", "malformed"),
}


def unit_sheet(unit: UnitId, counters: Mapping[str, int]) -> Sheet:
    """The sheet of one unit."""
    return _sheet(counters, _OUTCOMES[unit.side])


def _total(counters: Iterable[Mapping[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for one in counters:
        total.update(one)
    return total


def _sheet(counters: Mapping[str, int], outcomes: Iterable[str]) -> Sheet:
    return Sheet(counters.get("consumed", 0), {name: counters.get(name, 0) for name in outcomes}, counters.get("lost", 0))
