"""How often p-values alarm without drift: windows and references from one distribution, through the product's bins and tests.

For small windows both sides are raw rows; for large ones counts are drawn from the true probabilities of the bins.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Final

import numpy as np

from benchmarks.samples import NUMBERS, built, category, counted, reference, regrouped, window, with_counts, zipf
from detectors.psi import psi_by_feature
from detectors.psi_law import psi_p_values
from stream.aggregates import Counts, Floats
from stream.drift import TESTED_MIN, measure_categories, measure_numbers
from stream.reference import NumericFeature

NOMINAL: Final = (0.05, 0.01)
FIXED: Final = (0.1, 0.2)
SIZES: Final = (50, 200, 1_000, 10_000, 100_000, 1_000_000)
RATIOS: Final = (0.5, 1, 2, 10)
BINS: Final = (5, 10, 20)
KINDS: Final = (*NUMBERS, "categorical")
ROWS_MAX: Final = 1_000  # up to here windows are raw rows, and each reference has bins of its own; beyond, counts are drawn
WINDOWS: Final = 5  # on one reference of raw rows


@dataclass(frozen=True, slots=True)
class Case:
    """Windows of n rows against references of m rows, all from one distribution."""

    kind: str
    n: int
    m: int

    @property
    def claimed(self) -> bool:
        """Whether the product tests such a pair: below, `auto` says insufficient_data."""
        return min(self.n, self.m) >= TESTED_MIN


@dataclass(frozen=True, slots=True)
class Measured:
    """How many of `pairs` had a p-value of at most each of NOMINAL, and a score of at least each of FIXED (psi)."""

    case: Case
    method: str
    bins: int
    pairs: int
    alarms: tuple[int, ...]
    fixed: tuple[int, ...] = ()

    def of_nominal(self, i: int) -> float:
        """Measured over nominal rate."""
        return self.alarms[i] / self.pairs / NOMINAL[i]

    def margin(self, i: int) -> float:
        """Three standard errors of `of_nominal` where it is 1."""
        return 3 * standard_error(i, self.pairs)


def standard_error(i: int, draws: int) -> float:
    """That of measured over nominal rate, of draws that do not depend on each other and alarm at the nominal rate."""
    return float(np.sqrt((1 - NOMINAL[i]) / NOMINAL[i] / draws))


def standard_errors(draws: int) -> str:
    """At each of NOMINAL, in words."""
    return " and ".join(f"{standard_error(i, draws):.2f}" for i in range(len(NOMINAL)))


def simulate(case: Case, bins: Sequence[int], pairs: int, rng: np.random.Generator) -> list[Measured]:
    """All methods that apply."""
    if case.kind == "categorical":
        return [found for values in bins for found in _categories(case, values, pairs, rng)]
    draw = _of_rows if case.n <= ROWS_MAX else _of_counts
    coarse: list[list[tuple[Counts, Counts]]] = []
    ks: list[float] = []
    for features, before, now in draw(case, bins, pairs, rng):
        coarse.append([(feature.coarsen(before, 0), feature.coarsen(now, 0)) for feature in features])
        ks.append(measure_numbers("ks", *window(with_counts(features[0], before), now)).beside["p_value"])
    psi = [_psi(case, each, [pair[i] for pair in coarse], quantiles=True) for i, each in enumerate(bins)]
    return [*psi, Measured(case, "ks", 0, len(ks), _alarms(ks))]


Pair = tuple[list[NumericFeature], Counts, Counts]  # a feature with each number of coarse bins; fine counts of the reference and the window


def _of_rows(case: Case, bins: Sequence[int], pairs: int, rng: np.random.Generator) -> Iterator[Pair]:
    """From raw rows, each reference with bins of its own."""
    numbers = NUMBERS[case.kind]
    for _ in range(pairs // WINDOWS):
        feature = reference(numbers.rows(rng, case.m), bins[0])
        features = [regrouped(feature, each) for each in bins]
        for _ in range(WINDOWS):
            yield features, feature.counts, counted(feature, numbers.rows(rng, case.n))


def _of_counts(case: Case, bins: Sequence[int], pairs: int, rng: np.random.Generator) -> Iterator[Pair]:
    """On the bins of one reference of a file, both sides drawn by the true probabilities of these."""
    feature, probabilities = built(NUMBERS[case.kind], bins[0], rng)
    features = [regrouped(feature, each) for each in bins]
    for _ in range(pairs):
        yield features, rng.multinomial(case.m, probabilities), rng.multinomial(case.n, probabilities)


def _categories(case: Case, values: int, pairs: int, rng: np.random.Generator) -> list[Measured]:
    before, now = (rng.multinomial(size, zipf(values), pairs) for size in (case.m, case.n))
    of = [(category(p).coarse_counts(), category(q).coarse_counts()) for p, q in zip(before, now, strict=True)]
    chi2 = [measure_categories(*pair).beside["p_value"] for pair in of]
    return [_psi(case, values, of, quantiles=False), Measured(case, "chi2", values, pairs, _alarms(chi2))]


def _psi(case: Case, bins: int, pairs: Sequence[tuple[Counts, Counts]], *, quantiles: bool) -> Measured:
    """All pairs in one pass, as if each were a feature of a model."""
    before, now = (np.concatenate(side) for side in zip(*pairs, strict=True))
    starts = np.cumsum([0, *(side.size for side, _ in pairs[:-1])])
    p_values = psi_p_values(before, now, starts, np.full(len(pairs), quantiles))
    scores = psi_by_feature(before, now, starts)
    return Measured(case, "psi", bins, len(pairs), _alarms(p_values), tuple(int((scores >= fixed).sum()) for fixed in FIXED))


def _alarms(p_values: Sequence[float] | Floats) -> tuple[int, ...]:
    return tuple(int((np.asarray(p_values) <= nominal).sum()) for nominal in NOMINAL)


def cases(sizes: Sequence[int] = SIZES, ratios: Sequence[float] = RATIOS) -> list[Case]:
    return [Case(kind, n, int(n * ratio)) for kind in KINDS for n in sizes for ratio in ratios]


def quick(seed: int) -> list[Measured]:
    """A few sizes with 10 bins, in some seconds."""
    return rates(cases((200, 1_000), (0.5, 2)), (10,), 1_800, seed, 1)


def rates(of: Sequence[Case], bins: Sequence[int], pairs: int, seed: int, processes: int) -> list[Measured]:
    """Every case with a generator of its own, so that the figures do not depend on how many processes share the work."""
    work = [(case, bins, pairs, np.random.default_rng((seed, case.n, case.m, KINDS.index(case.kind)))) for case in of]
    if processes == 1:
        return [found for arguments in work for found in simulate(*arguments)]
    with get_context("spawn").Pool(processes) as pool:
        return [found for each in pool.starmap(simulate, work, chunksize=1) for found in each]
