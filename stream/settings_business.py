"""What outcomes of a model are worth in money: what each level of the tree says about it, and what that comes to.

A key of a model replaces that of all models as a whole, so `benefit: {}` switches an inherited one off. What is not configured anywhere is
absent, and so are the figures that need it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from stream.settings_thresholds import Bound, Direction, Limits, Rules, ScoredSection, contradictions, resolve
from stream.settings_values import KeyPath, Section, Text, between

MONEY_MAX: Final = 1e9  # of a cell, a cost and a threshold
_OF_POSITIVE: Final = ("true_positive", "false_positive", "false_negative", "true_negative")
_TWO_CLASSES: Final = "a cell by its classes, under by_class: this one is of a positive class and one other"

Money = Annotated[float | None, between(-MONEY_MAX, MONEY_MAX)]
Cost = Annotated[float | None, between(0, MONEY_MAX)]
Matrix = tuple[tuple[float, ...], ...]


class MoneyLimits(Limits):
    """Thresholds of money, or of its return, which may be below 0 and is bad when it is low."""

    direction: ClassVar[Direction] = "below"
    warning: Annotated[Bound, between(-1e15, 1e15, "off")] = None
    critical: Annotated[Bound, between(-1e15, 1e15, "off")] = None


class CellsSection(Section):
    """A number for each cell of the confusion matrix, 0 where none is given; `by_class` is by label, then by prediction."""

    true_positive: Money = None
    false_positive: Money = None
    false_negative: Money = None
    true_negative: Money = None
    by_class: Mapping[Text, Mapping[Text, Annotated[float, between(-MONEY_MAX, MONEY_MAX)]]] = {}

    @property
    def given(self) -> bool:
        """Whether any cell is."""
        return bool(self.of_positive()) or any(self.by_class.values())

    def of_positive(self) -> dict[str, float]:
        return {name: amount for name in _OF_POSITIVE if (amount := getattr(self, name)) is not None}

    def broken(self, classes: Sequence[str], positive: str | None) -> Iterator[tuple[KeyPath, str]]:
        """Key path and rule of each cell that a model of these classes does not have."""
        if positive is None or len(classes) != 2:
            yield from (((name,), _TWO_CLASSES) for name in self.of_positive())
        if self.of_positive() and self.by_class:
            yield ("by_class",), "nothing beside true_positive and the other three, which say the same cells"
        one_of = f"one of the classes, {', '.join(classes)}"
        for label, row in self.by_class.items():
            if label not in classes:
                yield ("by_class", label), one_of
            yield from ((("by_class", label, prediction), one_of) for prediction in row if prediction not in classes)

    def matrix(self, classes: Sequence[str], positive: str | None) -> Matrix | None:
        """Of these classes and one more, of all others, which is worth nothing; None if no cell is given."""
        if not self.given:
            return None
        rows = {label: dict(row) for label, row in self.by_class.items()}
        if of_positive := self.of_positive():
            assert positive is not None
            (negative,) = (name for name in classes if name != positive)
            cells = zip(_OF_POSITIVE, ((positive, positive), (negative, positive), (positive, negative), (negative, negative)), strict=True)
            for name, (label, prediction) in cells:
                rows.setdefault(label, {})[prediction] = of_positive.get(name, 0.0)
        every = (*classes, None)
        return tuple(tuple(rows.get(label or "", {}).get(said or "", 0.0) for said in every) for label in every)


class BusinessSection(ScoredSection):
    idle: Text | None = None
    benefit: CellsSection = CellsSection()
    value_share: CellsSection = CellsSection()
    investigation: Cost = None
    operating_per_day: Cost = None
    net_benefit: MoneyLimits = MoneyLimits()
    expected_value: MoneyLimits = MoneyLimits()
    roi: MoneyLimits = MoneyLimits()
    savings: MoneyLimits = MoneyLimits()

    @property
    def given(self) -> bool:
        """Whether anything has a price."""
        costs = (self.investigation, self.operating_per_day)
        return self.benefit.given or self.value_share.given or any(cost is not None for cost in costs)

    def idle_of(self, classes: Sequence[str], positive: str | None) -> str | None:
        """The class whose prediction does nothing; None if nobody says so."""
        if self.idle is None and positive is not None and len(classes) == 2:
            return next(name for name in classes if name != positive)
        return self.idle


BUILT_IN_BUSINESS: Final = BusinessSection(minimum_sample=100)


@dataclass(frozen=True, slots=True)
class BusinessSettings:
    """The effective values of one model. `idle`: index of a class. Matrices are (k + 1, k + 1), rows labels, the last class all others."""

    idle: int
    benefit: Matrix | None
    value_share: Matrix | None
    investigation: float | None
    operating_per_day: float | None
    rules: Rules


def _merged(levels: Sequence[BusinessSection]) -> BusinessSection:
    """What the levels, the most general first, come to; thresholds apart, which have two keys each."""
    given = {name: getattr(level, name) for level in levels for name in level.model_fields_set}
    return BusinessSection().model_copy(update=given)


def resolve_business(levels: Sequence[BusinessSection], classes: Sequence[str], positive: str | None) -> BusinessSettings | None:
    """What `levels`, the most general first, come to for a model of these classes; None if nothing has a price."""
    found = _merged(levels)
    idle = found.idle_of(classes, positive)
    if not found.given or idle is None:
        return None
    return BusinessSettings(
        idle=classes.index(idle),
        benefit=found.benefit.matrix(classes, positive),
        value_share=found.value_share.matrix(classes, positive),
        investigation=found.investigation,
        operating_per_day=found.operating_per_day,
        rules=resolve([BUILT_IN_BUSINESS, *levels]),
    )


def business_contradictions(
    levels: Sequence[BusinessSection], classes: Sequence[str], positive: str | None, *, values: bool
) -> Iterator[tuple[KeyPath, str]]:
    """Key path below the last level, and rule, of what does not fit the classes, what others contradict, and what is missing.

    `values`: whether the events say where their value stands.
    """
    yield from contradictions([BUILT_IN_BUSINESS, *levels])
    found = _merged(levels)
    for name in ("benefit", "value_share"):
        broken = list(getattr(found, name).broken(classes, positive))
        if name in levels[-1].model_fields_set:
            yield from (((name, *path), rule) for path, rule in broken)
        elif broken:
            yield (name,), "cells of its own, {} for none: those that it inherits are not of its classes"
    if found.given and found.idle_of(classes, positive) not in classes:
        yield ("idle",), f"one of the classes, {', '.join(classes)}: the one whose prediction does nothing"
    if found.value_share.given and not values:
        yield ("value_share",), "a value in the events: say where it stands, events.predictions.value"
