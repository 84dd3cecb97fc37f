"""The law of the Kolmogorov-Smirnov statistic without drift where many rows share one value: the usual law is far too cautious there.

Between the ends of a value's rows F - G jumps, so its largest difference has fewer places to be at. In the limit of many rows
sqrt(nm / (n + m)) (F - G) is a Brownian bridge over the cumulative share of both sides, and the statistic is below a bound if the bridge
stays within it everywhere but inside such jumps.
"""

import math
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import kolmogorov

from detectors.counts import Counts, Floats

_JUMP_MIN: Final = 0.02  # share of both sides: smaller jumps change the p-value little, and there are at most fifty larger ones
_NODES: Final = 64  # of the quadrature: their distance stays below the standard deviation of a step of `_JUMP_MIN`
_X_MAX: Final = 2.5  # a p-value of 7e-6 without ties, where the quadrature is still exact to a thousandth; beyond, the ratio is kept


def tied_ratio(statistic: float, reference: Counts, current: Counts, points: NDArray[np.bool_]) -> float:
    """The p-value of `ks` with ties over that without, in [0, 1].

    Args:
        statistic: D, in [0, 1].
        reference, current: (n_bins,) int64 counts, no total zero. Not modified.
        points: (n_bins,) bins that hold one value only.
    References:
        J. L. Doob, Heuristic Approach to the Kolmogorov-Smirnov Theorems, Ann. Math. Stat. 20(3), 1949, 393-403.

    >>> half = np.array([500, 500])
    >>> tied_ratio(0.06, half, half, np.array([False, False])), round(tied_ratio(0.06, half, half, np.array([True, True])), 3)
    (1.0, 0.133)
    """
    n, m = int(current.sum()), int(reference.sum())
    pooled = (reference + current) / (n + m)
    steps = _steps(pooled, points)
    if statistic == 0 or not any(jump for _, jump in steps):
        return 1.0
    x = min(float(statistic * np.sqrt(n * m / (n + m))), _X_MAX)
    return float(np.clip((1 - _stays(x, steps)) / kolmogorov(x), 0.0, 1.0))


def _steps(pooled: Floats, points: NDArray[np.bool_]) -> list[tuple[float, bool]]:
    """Shares that follow each other, and whether the bridge jumps there; too short ones between jumps are part of the jump before."""
    jumps = points & (pooled > _JUMP_MIN)
    steps: list[tuple[float, bool]] = []
    for run in np.split(np.arange(pooled.size), np.flatnonzero(jumps[1:] | jumps[:-1]) + 1):
        share, jump = float(pooled[run].sum()), bool(jumps[run[0]])
        if steps and not jump and share < _JUMP_MIN:
            steps[-1] = steps[-1][0] + share, steps[-1][1]
        elif share:
            steps.append((share, jump))
    return steps


def _stays(x: float, steps: list[tuple[float, bool]]) -> float:
    """Probability that a Brownian bridge stays within (-x, x) at all times but inside jumps: its density there, step by step."""
    nodes, weights = _quadrature()
    places, weights = x * nodes, x * weights
    here, density = np.zeros(1), np.ones(1)
    for i, (share, jump) in enumerate(steps):
        there = places if i + 1 < len(steps) else np.zeros(1)
        step = np.exp(-((there[:, None] - here) ** 2) / (2 * share)) / np.sqrt(2 * np.pi * share)
        if not jump:
            step *= _within(x, here, there[:, None], share)
        here, density = there, step @ (density if i == 0 else weights * density)
    return float(density[0] * np.sqrt(2 * np.pi))  # given that it ends at 0


def _within(x: float, start: Floats, end: Floats, share: float) -> Floats:
    """Probability that a bridge from start to end stays within (-x, x), by Doob's reflections; 0 where it is below 1e-8."""
    total = np.zeros(np.broadcast_shapes(start.shape, end.shape))
    if share > 16 * x**2:
        return total
    most = math.ceil(1.5 * math.sqrt(share) / x)  # the reflections left out are below exp(-18)
    for k in range(-most, most + 1):
        total += np.exp(-2 * (2 * k * x) * (2 * k * x + end - start) / share)
        total -= np.exp(-2 * (2 * k * x + x - start) * (2 * k * x + x - end) / share)
    return total.clip(0.0, 1.0)


@cache
def _quadrature() -> tuple[Floats, Floats]:
    return np.polynomial.legendre.leggauss(_NODES)
