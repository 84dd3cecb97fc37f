"""FALSE_ALARMS.md: what was simulated, as tables, and what the product claims of it."""

from collections.abc import Sequence
from itertools import chain
from multiprocessing import get_context
from typing import Final

import numpy as np

from benchmarks.families import CLOSES, FAR, FEATURES, Family, families, far_out
from benchmarks.families import ROWS as SEGMENT_ROWS
from benchmarks.power import NONE, REFERENCE_ROWS, Found, power
from benchmarks.rates import BINS, KINDS, NOMINAL, ROWS_MAX, Case, Measured, cases, rates, standard_errors
from benchmarks.samples import BUILT_ROWS, NUMBERS, zipf
from benchmarks.tails import tail_table
from stream.drift import TESTED_MIN

LOW, HIGH = 0.5, 1.5  # of the nominal rate: what the product claims
FAMILY_CLOSES: Final = 3_000
FAR_PAIRS: Final = 1_000_000
POWER_WINDOWS: Final = 2_000
POWER_SIZES: Final = (200, 1_000, 10_000)
METHODS: Final = ("psi", "ks", "chi2", "js", "wasserstein", "psi >= 0.1", "psi >= 0.2")

HEAD: Final = """\
# False alarms, and what the tests find

`{command}` simulated all of this with the product's own bins, tests and adjustment, and
wrote this file, in about a quarter of an hour of one core. The figures do not depend on the machine.

A pair is a window of n rows and a reference of m rows, both from one distribution: whatever alarms is a false alarm. For windows of up to
{rows_max:,} rows both sides are raw rows, and every reference has bins of its own (256 fine ones at its quantiles, in 5, 10 or 20 groups)
and serves five windows. For larger ones the bins are those of a reference that `reference build` made of a file of {built_rows:,} rows, and
the counts of both sides are drawn from the true probabilities of these bins. The numbers are uniform, heavy-tailed (Pareto, index 1.5) or
zero-inflated (60 % zeros, else exponential), the categories follow Zipf's law. {pairs:,} pairs for each figure:
so its standard error is {errors} of the nominal rate at 5 % and 1 %, up to half as much again where windows share a
reference that is not much larger, and the extremes of many figures are two or three of these beyond the rates themselves.

## What is claimed

For `psi`, `ks` and `chi2`, from {least} rows on both sides on: of windows without drift as many have a p-value of at most 5 % or 1 % as
that says, within a factor of {low} to {high}. With fewer rows on a side `auto` says `insufficient_data`; these figures are in brackets.
Where all values but one expect fewer than 5 rows there is nothing but an exact test, which alarms at most as often as it says, and mostly
less.

{summary}
"""


def whole(command: str, seed: int, pairs: int, processes: int) -> str:
    """All of it, simulated."""
    measured = rates(cases(), BINS, pairs, seed, processes)
    with get_context("spawn").Pool(processes) as pool:
        closes = pool.starmap_async(families, [(k, NOMINAL, FAMILY_CLOSES, np.random.default_rng((seed, k))) for k in (0, 10)], chunksize=1)
        powers = pool.starmap(power, [(n, POWER_WINDOWS, np.random.default_rng((seed, n))) for n in POWER_SIZES], chunksize=1)
        found = [one for each in powers for one in each]
        of_closes = [family for each in closes.get() for family in each]
    head = opening(command, pairs, summary(measured))
    tables = [family_table(of_closes), far_table(seed), tail_table(seed), power_tables(found), rate_tables(measured)]
    lines = [head, *chain.from_iterable([*table, ""] for table in tables)][:-1]
    return "\n".join(lines) + "\n"


def opening(command: str, pairs: int, of_rates: Sequence[str]) -> str:
    """How it was made and what is claimed, with the `summary` of the rates."""
    return HEAD.format(
        command=command,
        rows_max=ROWS_MAX,
        built_rows=BUILT_ROWS,
        pairs=pairs,
        errors=standard_errors(pairs),
        least=TESTED_MIN,
        low=LOW,
        high=HIGH,
        summary="\n".join(of_rates),
    )


def summary(measured: Sequence[Measured]) -> list[str]:
    """The least and the greatest of the figures that are claimed."""
    lines = [
        "| method | data | measured / nominal at 5 % | at 1 % |",
        "|---|---|---:|---:|",
    ]
    for method in ("psi", "ks", "chi2"):
        for kind in KINDS:
            if claimed := [one for one in measured if (one.method, one.case.kind) == (method, kind) and one.case.claimed]:
                ranges = [
                    (min(one.of_nominal(i) for one in claimed), max(one.of_nominal(i) for one in claimed)) for i in range(len(NOMINAL))
                ]
                lines.append(f"| `{method}` | {kind} | {' | '.join(f'{low:.2f} to {high:.2f}' for low, high in ranges)} |")
    fixed = [one for one in measured if one.method == "psi" and one.case.claimed and one.bins == 10]
    if fixed:
        shares = [(min(one.fixed[i] / one.pairs for one in fixed), max(one.fixed[i] / one.pairs for one in fixed)) for i in range(2)]
        text = [f"{low:.0%} to {high:.0%} of the windows" for low, high in shares]
        lines += [
            "",
            f"Without drift, with 10 bins, a fixed PSI of 0.1 is reached by {text[0]}, and one of 0.2 by {text[1]}: by few rows alone.",
        ]
    return lines


def family_table(of: Sequence[Family]) -> list[str]:
    lines = [
        "## At least one alarm at a close",
        "",
        f"A model of {FEATURES} features (uniform, zero-inflated, categories), {SEGMENT_ROWS} rows of each segment, a reference of "
        f"{REFERENCE_ROWS:,} rows; through the",
        f"product's scorer, all traffic being the sum of its segments. {of[0].closes:,} closes, {CLOSES} on one reference. "
        "`auto` goes by the adjusted p-values;",
        f"standard errors are {standard_errors(of[0].closes)} of the nominal rates.",
        "The second family has single tests at levels down to 0.005 %: see the next table.",
        "",
        "| features x windows | nominal | closes with an alarm | without adjusting |",
        "|---|---:|---:|---:|",
    ]
    for one in of:
        windows = f"{FEATURES} x {one.segments + 1 if one.segments else 1}" + (" (all traffic and 10 segments)" if one.segments else "")
        lines.append(f"| {windows} | {one.nominal:.0%} | {one.adjusted / one.closes:.2%} | {one.unadjusted / one.closes:.1%} |")
    return lines


def far_table(seed: int) -> list[str]:
    lines = [
        "## Far out",
        "",
        "With many features and closes the level of a single test is far below 1 %. PSI of ten bins, even or by Zipf's law, counts",
        f"drawn on both sides, {FAR_PAIRS:,} pairs: measured over nominal rate. By chance alone these would stay below "
        + ", ".join(f"{1 + 3 / np.sqrt(FAR_PAIRS * far):.2f}" for far in FAR)
        + ".",
        "",
        f"| n | m | {' | '.join(f'even, {far:g}' for far in FAR)} | {' | '.join(f'Zipf, {far:g}' for far in FAR)} |",
        "|---:|---:|" + "---:|" * (2 * len(FAR)),
    ]
    for n, m in ((200, 200), (200, 2_000), (1_000, 10_000), (10_000, 10_000)):
        rng = np.random.default_rng((seed, n, m))
        found = (*far_out(n, m, np.full(10, 0.1), FAR_PAIRS, rng), *far_out(n, m, zipf(10), FAR_PAIRS, rng))
        lines.append(f"| {n:,} | {m:,} | {' | '.join(f'{x:.2f}' for x in found)} |")
    return lines


def power_tables(found: Sequence[Found]) -> list[str]:
    lines = [
        "## What is found",
        "",
        "Share of the windows with a drift that alarm, at 1 % of false alarms: of a normal feature, or ten categories, against references",
        f"of {REFERENCE_ROWS:,} rows, 10 bins, {found[0].windows:,} windows. `psi`, `ks` and `chi2` by p-value, single tests without a",
        "floor; `js` (divergence) and `wasserstein` by the threshold that 1 % of the windows without drift exceed. Last the fixed ones,",
        "at the rate they have.",
        "",
        f"| drift | n | {' | '.join(f'`{name}`' for name in METHODS)} |",
        "|---|---:|" + "---:|" * len(METHODS),
    ]
    for drift in dict.fromkeys(one.drift for one in found if one.drift != NONE):
        for one in found:
            if one.drift == drift:
                cells = [f"{one.share[name]:.1%}" if name in one.share else "" for name in METHODS]
                lines.append(f"| {drift} | {one.n:,} | {' | '.join(cells)} |")
    return lines


def rate_tables(measured: Sequence[Measured]) -> list[str]:
    """Every figure: per cent of the pairs with a p-value of at most 5 % and 1 %."""
    by = {(one.case, one.method, one.bins): one for one in measured}
    pairs = list(dict.fromkeys((one.case.n, one.case.m) for one in measured))
    bins = sorted({one.bins for one in measured if one.method == "psi"})
    lines = [
        "## Every figure",
        "",
        "Per cent of the pairs without drift that alarm at nominal 5 % / 1 %; of the fixed thresholds of PSI those of uniform numbers.",
        "",
        f"| `psi`: n | m | bins | {' | '.join(KINDS)} | PSI >= 0.1 | PSI >= 0.2 |",
        "|---:|---:|---:|" + "---:|" * (len(KINDS) + 2),
    ]
    for n, m in pairs:
        for each in bins:
            cells = [_cell(by[Case(kind, n, m), "psi", each]) for kind in KINDS]
            uniform = by[Case("uniform", n, m), "psi", each]
            cells += [f"{100 * fixed / uniform.pairs:.1f}" for fixed in uniform.fixed]
            lines.append(f"| {n:,} | {m:,} | {each} | {' | '.join(cells)} |")
    lines += [
        "",
        f"| n | m | {' | '.join(f'`ks`: {kind}' for kind in NUMBERS)} | {' | '.join(f'`chi2`: {each} categories' for each in bins)} |",
    ]
    lines.append("|---:|---:|" + "---:|" * (len(NUMBERS) + len(bins)))
    for n, m in pairs:
        cells = [_cell(by[Case(kind, n, m), "ks", 0]) for kind in NUMBERS]
        cells += [_cell(by[Case("categorical", n, m), "chi2", each]) for each in bins]
        lines.append(f"| {n:,} | {m:,} | {' | '.join(cells)} |")
    return lines


def _cell(one: Measured) -> str:
    text = " / ".join(f"{100 * alarms / one.pairs:.{1 if i == 0 else 2}f}" for i, alarms in enumerate(one.alarms))
    return text if one.case.claimed else f"({text})"
