"""Categories with a long tail, whose reference cannot have seen all of them: false alarms with what `reference build` makes of it."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from benchmarks.rates import NOMINAL, standard_errors
from detectors.psi_law import psi_p_values
from stream.aggregates import Floats
from stream.drift import measure_categories
from stream.reference import CategoricalFeature
from stream.reference_build import _CategoryCounter

PAIRS: Final = 2_000
CASES: Final = (
    (300, 1.0, 2_000, 200),
    (300, 1.0, 2_000, 2_000),
    (3_000, 1.0, 10_000, 1_000),
    (3_000, 1.0, 10_000, 10_000),
    (300, 1.5, 10_000, 1_000),
    (300, 1.5, 10_000, 10_000),
)


@dataclass(frozen=True, slots=True)
class Tail:
    """Measured over nominal rate of `psi` and `chi2`, (2, NOMINAL): the k-th value has a share in proportion to k^-exponent."""

    values: int
    exponent: float
    m: int
    n: int
    named: float
    alarms: Floats


def tail(values: int, exponent: float, m: int, n: int, rng: np.random.Generator) -> Tail:
    """One window for each reference. `named`: how many values have a name, on average."""
    shares = np.arange(1, values + 1) ** -exponent
    shares /= shares.sum()
    found, named = np.empty((2, PAIRS)), 0
    for i in range(PAIRS):
        feature, now = _feature(rng.multinomial(m, shares)), rng.multinomial(n, shares)
        known = [int(name) for name in feature.categories]
        current = np.append(now[known], n - now[known].sum())
        found[0, i] = psi_p_values(feature.counts, current, np.zeros(1, np.int64), np.zeros(1, np.bool_))[0]
        found[1, i] = measure_categories(feature.counts, current).beside["p_value"]
        named += len(known)
    alarms = np.array([[(p_values <= nominal).mean() / nominal for nominal in NOMINAL] for p_values in found])
    return Tail(values, exponent, m, n, named / PAIRS, alarms)


def _feature(counts: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> CategoricalFeature:
    """What `reference build` keeps of values that were seen so often; the k-th is named k."""
    counter = _CategoryCounter("x", "text", None)
    counter.add(pa.array(np.repeat(np.arange(counts.size), counts).astype(str)))
    return counter.feature(int(counts.sum()))


def tail_table(seed: int) -> list[str]:
    """As it stands in the report."""
    lines = [
        "## Long tails",
        "",
        "Categories of which a reference cannot have seen all, the k-th with a share in proportion to a power of 1/k. "
        "`reference build` puts what it",
        "saw fewer than 20 times together where it saw five or more values once. "
        f"{PAIRS:,} references of m rows, a window of n rows for each:",
        f"standard errors are {standard_errors(PAIRS)} of the nominal rates.",
        "",
        "| values | power | m | n | with a name | `psi` / nominal at 5 % | at 1 % | `chi2` / nominal at 5 % | at 1 % |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for case in CASES:
        found = tail(*case, np.random.default_rng((seed, *(int(10 * x) for x in case))))
        cells = " | ".join(f"{x:.2f}" for x in found.alarms.ravel())
        lines.append(f"| {found.values:,} | {found.exponent:g} | {found.m:,} | {found.n:,} | {found.named:.0f} | {cells} |")
    return lines
