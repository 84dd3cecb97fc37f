"""The mean of a number over the rows of a window, as it is kept and merged: Brier score, log loss and errors are such means."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import stdtrit

from detectors.counts import Floats
from detectors.intervals import Measured, z_of


@dataclass(frozen=True, slots=True)
class Mean:
    """Rows, their mean, and the sum of squared deviations from it: the first three columns of a row of the moments that an aggregate keeps.

    Merging is associative and commutative to rounding, and `NO_ROWS` is neutral.
    """

    n: int = 0
    mean: float = 0.0
    m2: float = 0.0

    def __post_init__(self) -> None:
        """Raises ValueError unless n >= 0, m2 >= 0 and all are finite."""
        if self.n < 0 or not math.isfinite(self.mean) or not 0 <= self.m2 < math.inf:
            raise ValueError(f"cannot use a mean: {self!r}, expected n >= 0, m2 >= 0 and finite numbers; leave NaN and inf out of it")

    @classmethod
    def of(cls, values: Floats) -> "Mean":
        """The mean of (n,) finite values.

        >>> Mean.of(np.array([1.0, 2.0, 6.0]))
        Mean(n=3, mean=3.0, m2=14.0)
        """
        if not values.size:
            return cls()
        mean = float(values.mean())
        return cls(values.size, mean, float(np.square(values - mean).sum()))

    def merge(self, other: "Mean") -> "Mean":
        """The mean of both sets of rows; no sum of squares is formed.

        References:
            T. F. Chan, G. H. Golub, R. J. LeVeque, Algorithms for Computing the Sample Variance, Am. Stat. 37(3), 1983, 242-247.

        >>> Mean.of(np.array([1.0, 2.0])).merge(Mean.of(np.array([6.0])))
        Mean(n=3, mean=3.0, m2=14.0)
        """
        n = self.n + other.n
        if n == 0:
            return self
        delta, share = other.mean - self.mean, other.n / n
        return Mean(n, self.mean + delta * share, self.m2 + other.m2 + delta**2 * self.n * share)

    @property
    def total(self) -> float:
        """The sum of the values."""
        return self.n * self.mean

    def measured(self, confidence: float = 0.95) -> Measured | None:
        """The mean with Student's interval, mean +- t sd / sqrt(n); None without rows, and unbounded of one row.

        >>> found = Mean(n=100, mean=0.25, m2=0.99).measured()
        >>> round(found.lower, 4), round(found.upper, 4)
        (0.2302, 0.2698)
        """
        z_of(confidence)  # refuses one that is out of range
        if self.n < 2:
            return Measured(self.mean, -math.inf, math.inf, 1) if self.n else None
        half = float(stdtrit(self.n - 1, (1 + confidence) / 2)) * math.sqrt(self.m2 / (self.n - 1) / self.n)
        return Measured(self.mean, self.mean - half, self.mean + half, self.n)


NO_ROWS: Final = Mean()
