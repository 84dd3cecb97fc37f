"""What the tests find: how many windows with a drift of a known size alarm, at the same rate of false alarms.

psi, ks and chi2 alarm by their p-values. Methods without one get the threshold that as many windows without drift exceed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from benchmarks.samples import category, counted, reference, window, zipf
from detectors.jensen_shannon import js_divergence
from detectors.psi import psi
from detectors.psi_law import psi_p_values
from stream.aggregates import Counts, Floats
from stream.drift import measure_categories, measure_numbers

Draw = Callable[[np.random.Generator, int], Floats]

NOMINAL: Final = 0.01
REFERENCE_ROWS: Final = 10_000
WINDOWS: Final = 20  # on one reference
VALUES: Final = 10
NONE: Final = "none"
NUMBERS: Final[dict[str, Draw]] = {
    NONE: lambda rng, n: rng.normal(size=n),
    "mean +0.1 sd": lambda rng, n: rng.normal(0.1, size=n),
    "mean +0.25 sd": lambda rng, n: rng.normal(0.25, size=n),
    "mean +0.5 sd": lambda rng, n: rng.normal(0.5, size=n),
    "variance x 1.5": lambda rng, n: rng.normal(scale=np.sqrt(1.5), size=n),
    "skewed, same mean and variance": lambda rng, n: (rng.gamma(4, size=n) - 4) / 2,  # skewness 1
}
SWAPPED: Final = "two categories swapped"
_SWAP: Final = [0, 1, 3, 2, *range(4, VALUES)]  # the third and the fourth of ten by Zipf's law: 11 % and 9 %


@dataclass(frozen=True, slots=True)
class Found:
    """Share of the windows of n rows with this drift that alarm, by method; `psi >= 0.1` and `psi >= 0.2` are fixed thresholds."""

    drift: str
    n: int
    windows: int
    share: dict[str, float]


def power(n: int, windows: int, rng: np.random.Generator) -> list[Found]:
    """Every drift; first none, which the thresholds of methods without a p-value are taken from."""
    numbers = {drift: _scores(_numbers(draw, n, windows, rng)) for drift, draw in NUMBERS.items()}
    categories = {drift: _scores(_categories(order, n, windows, rng)) for drift, order in ((NONE, range(VALUES)), (SWAPPED, _SWAP))}
    found = []
    for scores in (numbers, categories):
        limits = {name: float(np.quantile(values, 1 - NOMINAL)) for name, values in scores[NONE].items() if name in ("js", "wasserstein")}
        for drift, methods in scores.items():
            share = {name: _share(name, values, limits) for name, values in methods.items()}
            share |= {f"psi >= {fixed}": float(np.mean(methods["psi score"] >= fixed)) for fixed in (0.1, 0.2)}
            found.append(Found(drift, n, windows, {name: value for name, value in share.items() if name != "psi score"}))
    return found


def _share(name: str, values: Floats, limits: dict[str, float]) -> float:
    return float(np.mean(values > limits[name] if name in limits else values <= NOMINAL))


def _scores(windows: Sequence[dict[str, float]]) -> dict[str, Floats]:
    return {name: np.array([one[name] for one in windows]) for name in windows[0]}


def _numbers(draw: Draw, n: int, windows: int, rng: np.random.Generator) -> list[dict[str, float]]:
    """p-values of psi and ks, scores of psi, js and wasserstein."""
    found = []
    for _ in range(windows // WINDOWS):
        feature = reference(NUMBERS[NONE](rng, REFERENCE_ROWS), 10)
        for _ in range(WINDOWS):
            rows = draw(rng, n)
            current = counted(feature, rows)
            of = window(feature, current, rows)
            distance = measure_numbers("wasserstein", *of).score
            assert distance is not None
            scores = _of_bins(feature.coarse_counts(), feature.coarsen(current, 0), quantiles=True)
            found.append(scores | {"ks": measure_numbers("ks", *of).beside["p_value"], "wasserstein": distance})
    return found


def _categories(order: Sequence[int], n: int, windows: int, rng: np.random.Generator) -> list[dict[str, float]]:
    """p-values of psi and chi2, scores of psi and js."""
    found = []
    for _ in range(windows // WINDOWS):
        before = category(rng.multinomial(REFERENCE_ROWS, zipf(VALUES))).coarse_counts()
        for _ in range(WINDOWS):
            now = category(rng.multinomial(n, zipf(VALUES)[list(order)])).coarse_counts()
            found.append(_of_bins(before, now, quantiles=False) | {"chi2": measure_categories(before, now).beside["p_value"]})
    return found


def _of_bins(before: Counts, now: Counts, *, quantiles: bool) -> dict[str, float]:
    p_value = psi_p_values(before, now, np.zeros(1, np.intp), np.array([quantiles]))[0]
    return {"psi": float(p_value), "psi score": psi(before, now), "js": js_divergence(before, now)}
