"""What the outcomes of a window, and of its day so far, were worth: from the counts of an outcomes aggregate to the money. Pure."""

import hashlib
from dataclasses import replace
from typing import Final

import numpy as np
from msgspec import UNSET
from msgspec.structs import asdict

from detectors.business import Business as Found
from detectors.business import Prices, business
from detectors.judge import judge
from stream.aggregates import Counts, Floats, Layout
from stream.alerts import Evidence
from stream.model import CONFUSION_START, OTHER, PREDICTIONS, VALUE_UNITS, Model
from stream.results import timestamp
from stream.results_performance import Business, Money, MoneyOfDay
from stream.settings_business import Matrix
from stream.verdicts import Attribution, Judged, reported

DAY_MS: Final = 86_400_000  # of UTC: event time knows no leap seconds


class BusinessMeter:
    """Measures and judges the money of one model whose outcomes have prices.

    Of an outcomes aggregate it needs the confusion matrix, row by row, and where values are counted their sums by cell and how many rows
    told none: the `outcomes` of all methods, as `layout` says.
    """

    def __init__(self, model: Model) -> None:
        prices = model.settings.business
        assert prices is not None
        self._classes = (*model.settings.classes, OTHER)
        self._cells, self._has_stakes = len(self._classes) ** 2, model.has_stakes
        self._where = np.r_[CONFUSION_START : model.hits_start, model.values_start : model.delays_start]
        self._prices = Prices(prices.idle, _array(prices.benefit), _array(prices.value_share), prices.investigation)
        self._operating_per_day, self._rules = prices.operating_per_day, prices.rules
        kind = "\n".join(("values/1" if self._has_stakes else "outcomes/1", *model.settings.classes))
        self.layout = Layout(hashlib.blake2b(kind.encode(), digest_size=16).digest(), self._where.size, moments=0)

    def outcomes(self, counts: Counts) -> Counts:
        """What is needed of an outcomes aggregate, (model.outcomes.width,)."""
        return counts[self._where]

    def business(
        self, counts: Counts, span: tuple[int, int], day: Counts | None, by: Attribution, *, segment: bool
    ) -> tuple[Business, list[Judged]]:
        """The money of a window, and what was judged.

        Args:
            counts: (model.outcomes.width,) of the window, which lasts for `span`, from its start to its end.
            day: the outcomes of its day so far; None if they are not known.
            segment: it is of a part of the traffic, which bears no cost of operation.
        """
        start_ms, end_ms = span
        outcomes = self.outcomes(counts)
        found = self._found(outcomes, end_ms - start_ms, segment=segment)
        window, rules = self._money(found, outcomes), self._rules
        confusion = tuple(tuple(row) for row in self._square(outcomes).tolist())
        evidence = Evidence(n=found.rows, classes=self._classes, confusion=confusion)
        values: dict[str, float | None] = {name: getattr(window, name) for name in rules.thresholds}
        enough = by.judgeable(found.rows, int(counts[PREDICTIONS]))
        verdicts = {name: judge(values[name], enough, limits, rules.minimum_sample) for name, limits in rules.thresholds.items()}
        money = Business(
            **asdict(window),
            cells=found.cells,
            values=tuple(tuple(row) for row in self._values(outcomes).tolist()) if self._has_stakes else UNSET,
            day=UNSET if day is None else self._day(day, end_ms, segment=segment),
            verdicts={name: reported(values[name], verdict) for name, verdict in verdicts.items()},
        )
        return money, [Judged("business", name, UNSET, values[name], verdict, evidence, below=True) for name, verdict in verdicts.items()]

    def _found(self, outcomes: Counts, span_ms: int, *, segment: bool) -> Found:
        operating = None if segment or self._operating_per_day is None else self._operating_per_day * span_ms / DAY_MS
        confusion = self._square(outcomes)
        told = self._has_stakes and (confusion.sum() == 0 or outcomes[-1] < confusion.sum())
        return business(confusion, replace(self._prices, operating=operating), self._values(outcomes) if told else None)

    def _day(self, outcomes: Counts, end_ms: int, *, segment: bool) -> MoneyOfDay:
        start_ms = midnight(end_ms)
        found = self._found(outcomes, end_ms - start_ms, segment=segment)
        return MoneyOfDay(**asdict(self._money(found, outcomes)), start=timestamp(start_ms))

    def _money(self, found: Found, outcomes: Counts) -> Money:
        return Money(
            rows=found.rows,
            alerts=found.alerts,
            benefit=found.benefit,
            spent=found.spent,
            net_benefit=found.net_benefit,
            expected_value=found.expected_value,
            roi=found.roi,
            savings=found.savings,
            without_value=int(outcomes[-1]) if self._has_stakes else UNSET,
        )

    def _square(self, outcomes: Counts) -> Counts:
        return outcomes[: self._cells].reshape(len(self._classes), -1)

    def _values(self, outcomes: Counts) -> Floats:
        values: Floats = outcomes[self._cells : -1].reshape(len(self._classes), -1) / VALUE_UNITS
        return values


def midnight(end_ms: int) -> int:
    """Start of the day in UTC that a window with this end belongs to: that of its last moment.

    >>> midnight(86_400_000), midnight(86_400_001)
    (0, 86400000)
    """
    return (end_ms - 1) // DAY_MS * DAY_MS


def _array(matrix: Matrix | None) -> Floats | None:
    return None if matrix is None else np.array(matrix)
