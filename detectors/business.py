"""What the predictions of a window were worth in money, from the confusion matrix and, if events carry a value, its sums by cell.

Money is in the unit of the configuration: gains above 0, costs of an outcome below. What is not configured is absent, None, and never 0.
All parts are sums over rows and windows, so windows add up to days (`Business.merge`); ratios are made of the sums, never averaged.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.counts import Counts, Floats
from detectors.performance import by_class


@dataclass(frozen=True, slots=True, eq=False)
class Prices:
    """What outcomes are worth. `idle` is the class whose prediction does nothing; any other prediction is an alert.

    benefit: (k, k) money for a row of label i predicted as j. value_share: (k, k) money for each unit of the `value` of such rows, as
    1 for a fraud that was stopped and -1 for one that was not. investigation: the cost of an alert, >= 0. operating: the cost of
    running the model for the time of one window, >= 0.
    """

    idle: int
    benefit: Floats | None = None
    value_share: Floats | None = None
    investigation: float | None = None
    operating: float | None = None

    def __post_init__(self) -> None:
        """Raises ValueError unless matrices are square, finite and of one size, costs are finite and >= 0, and idle is a class."""
        matrices = [m for m in (self.benefit, self.value_share) if m is not None]
        sizes = {m.shape for m in matrices}
        if len(sizes) > 1 or any(m.ndim != 2 or m.shape[0] != m.shape[1] or not np.isfinite(m).all() for m in matrices):
            raise ValueError(f"cannot price outcomes: shapes={sorted(sizes)!r}, expected one (k, k) of finite numbers; rows are labels")
        for name in ("investigation", "operating"):
            cost = getattr(self, name)
            if cost is not None and not 0 <= cost < np.inf:
                raise ValueError(f"cannot price outcomes: {name}={cost!r}, expected a finite number >= 0; costs are given without a sign")
        if not 0 <= self.idle < (len(matrices[0]) if matrices else np.inf):
            raise ValueError(f"cannot price outcomes: idle={self.idle!r}, expected the index of a class")


@dataclass(frozen=True, slots=True)
class Business:
    """The money of `rows` labelled predictions, `alerts` of them alerts; None: not configured, or the value it needs was not sent.

    cells: (k, k) money by label and prediction. idle: what outcomes would have been worth had every prediction been the idle one. spent: on
    alerts and operation, as far as configured.
    """

    rows: int
    alerts: int
    cells: tuple[tuple[float, ...], ...] | None
    idle: float | None
    spent: float | None

    @property
    def benefit(self) -> float | None:
        """Sum of the cells."""
        return None if self.cells is None else float(sum(map(sum, self.cells)))

    @property
    def net_benefit(self) -> float | None:
        """benefit - spent; the benefit itself if no cost is configured."""
        return None if self.benefit is None else self.benefit - (self.spent or 0.0)

    @property
    def expected_value(self) -> float | None:
        """net benefit / rows: what one prediction is worth. None without rows."""
        return None if self.net_benefit is None or not self.rows else self.net_benefit / self.rows

    @property
    def roi(self) -> float | None:
        """net benefit / spent, the return on what was spent: 0 breaks even, -1 loses it all. None if nothing was spent."""
        return None if self.net_benefit is None or not self.spent else self.net_benefit / self.spent

    @property
    def savings(self) -> float | None:
        """net benefit - idle: how much better than doing nothing, which spends nothing."""
        return None if self.net_benefit is None or self.idle is None else self.net_benefit - self.idle

    def merge(self, other: "Business") -> "Business":
        """The money of both windows, of one model and one configuration; absent in one is absent in both."""
        cells = None
        if self.cells is not None and other.cells is not None:
            both = zip(self.cells, other.cells, strict=True)
            cells = tuple(tuple(a + b for a, b in zip(*rows, strict=True)) for rows in both)
        idle, spent = ((None if a is None or b is None else a + b) for a, b in ((self.idle, other.idle), (self.spent, other.spent)))
        return Business(self.rows + other.rows, self.alerts + other.alerts, cells, idle, spent)


def business(confusion: Counts, prices: Prices, values: Floats | None = None) -> Business:
    """The money of one window.

    Args:
        confusion: (k, k) int64, rows labels, columns predictions.
        values: (k, k) sums of the `value` of the rows of each cell; None: events carry none.
    Raises:
        ValueError: shapes do not fit the prices.

    >>> prices = Prices(idle=0, benefit=np.array([[0.0, -5.0], [-100.0, 80.0]]), investigation=2.0, operating=10.0)
    >>> found = business(np.array([[90, 4], [2, 6]]), prices)  # 460 - 2 * 100 = 260 - 2 * 10 - 10 = 230; idle: 8 * -100
    >>> found.benefit, found.net_benefit, round(found.expected_value, 4), round(found.roi, 4), found.savings
    (260.0, 230.0, 2.2549, 7.6667, 1030.0)
    """
    _, labelled, predicted = by_class(confusion, prices.idle)
    for matrix in (prices.benefit, prices.value_share, values):
        if matrix is not None and matrix.shape != confusion.shape:
            raise ValueError(f"cannot price outcomes: confusion.shape={confusion.shape!r} vs {matrix.shape!r}, expected one (k, k)")
    alerts = int(labelled.sum() - predicted[prices.idle])
    costs = [cost for cost in (prices.operating, _times(prices.investigation, alerts)) if cost is not None]
    shared = prices.value_share is not None
    if (prices.benefit is None and not shared) or (shared and values is None):
        return Business(int(labelled.sum()), alerts, None, None, sum(costs) if costs else None)
    cells: NDArray[np.float64] = np.zeros(confusion.shape)
    idle = 0.0
    for amounts, price in ((confusion, prices.benefit), (values, prices.value_share)):
        if amounts is not None and price is not None:
            cells = cells + amounts * price
            idle += float(amounts.sum(axis=1) @ price[:, prices.idle])
    return Business(int(labelled.sum()), alerts, tuple(map(tuple, cells.tolist())), idle, sum(costs) if costs else None)


def _times(price: float | None, times: int) -> float | None:
    return None if price is None else price * times
