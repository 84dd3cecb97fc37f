"""The simulation of false alarms, in small: what the product claims holds, and without what it does the rates do not."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from benchmarks.alarms_report import HIGH, LOW, opening, power_tables, rate_tables, summary
from benchmarks.families import families
from benchmarks.power import Found, power
from benchmarks.rates import NOMINAL, Case, Measured, quick

PUBLISHED = Path(__file__).parents[2] / "benchmarks" / "FALSE_ALARMS.md"


@pytest.fixture(scope="module")
def measured() -> Sequence[Measured]:
    return quick(seed=1)


def test_measured_rates_are_within_half_of_the_nominal_ones(measured: Sequence[Measured]) -> None:
    """To chance are given three standard errors of as many draws; the next test has enough draws to give nothing."""
    assert {one.method for one in measured} == {"psi", "ks", "chi2"}
    for one in measured:
        assert one.case.claimed
        for i in range(len(NOMINAL)):
            assert LOW - one.margin(i) <= one.of_nominal(i) <= HIGH + one.margin(i), one


def test_rates_over_all_cases_are_near_the_nominal_ones(measured: Sequence[Measured]) -> None:
    """Together there are enough pairs for chance to play no part."""
    for method in ("psi", "ks", "chi2"):
        of = [one for one in measured if one.method == method]
        pairs = sum(one.pairs for one in of)
        for i, nominal in enumerate(NOMINAL):
            assert LOW <= sum(one.alarms[i] for one in of) / pairs / nominal <= HIGH
            assert 4 * np.sqrt((1 - nominal) / nominal / pairs) < LOW


def test_the_published_rates_are_within_half_of_the_nominal_ones() -> None:
    """Method, data, and the least and the greatest of measured / nominal at 5 % and 1 %, over all that is claimed."""
    published = re.findall(
        r"^\| `(\w+)` \| [\w-]+ \| ([\d.]+) to ([\d.]+) \| ([\d.]+) to ([\d.]+) \|$", PUBLISHED.read_text(encoding="utf-8"), re.M
    )
    assert [method for method, *_ in published] == ["psi"] * 4 + ["ks"] * 3 + ["chi2"]
    assert all(LOW <= float(rate) <= HIGH for _, *ranges in published for rate in ranges)


def test_the_published_document_says_how_this_program_makes_it() -> None:
    text = PUBLISHED.read_text(encoding="utf-8")
    command, pairs = re.findall(r"^`(python -m benchmarks.false_alarms .*--pairs (\d+))` simulated", text, re.M)[0]
    of_rates = text[text.index("| method | data |") : text.index("\n\n## At least one alarm")].split("\n")
    assert text.startswith(opening(command, int(pairs), of_rates))


def test_fixed_thresholds_alarm_by_the_number_of_rows(measured: Sequence[Measured]) -> None:
    uniform = {(one.case.n, one.case.m): one.fixed[0] / one.pairs for one in measured if one.method == "psi" and one.case.kind == "uniform"}
    assert uniform[200, 100] > 0.5
    assert uniform[1_000, 2_000] < 0.01


def test_a_close_alarms_as_often_as_said_and_without_adjusting_at_every_other() -> None:
    (found,) = families(2, (0.05,), 400, np.random.default_rng(4))
    assert found.adjusted / found.closes <= 0.05 + 4 * np.sqrt(0.05 / found.closes)
    assert found.unadjusted / found.closes > 0.5


def test_a_larger_drift_and_more_rows_are_found_more_often() -> None:
    few, many = ({one.drift: one.share for one in power(n, 100, np.random.default_rng(5))} for n in (200, 1_000))
    assert few["mean +0.1 sd"]["psi"] < few["mean +0.5 sd"]["psi"] == 1.0
    assert few["mean +0.25 sd"]["ks"] < many["mean +0.25 sd"]["ks"]


def test_tables_have_a_row_for_every_case_and_mark_what_is_not_claimed() -> None:
    of = [
        Measured(Case(kind, 50, 25), "psi", 10, 100, (7, 2), (50, 5))
        for kind in ("uniform", "heavy-tailed", "zero-inflated", "categorical")
    ]
    of += [
        Measured(one.case, "chi2" if one.case.kind == "categorical" else "ks", 10 if one.case.kind == "categorical" else 0, 100, (4, 0))
        for one in of
    ]
    rows = rate_tables(of)
    assert "| 50 | 25 | 10 | (7.0 / 2.00) | (7.0 / 2.00) | (7.0 / 2.00) | (7.0 / 2.00) | 50.0 | 5.0 |" in rows
    assert "| 50 | 25 | (4.0 / 0.00) | (4.0 / 0.00) | (4.0 / 0.00) | (4.0 / 0.00) |" in rows
    assert len(summary(of)) == 2
    assert power_tables([Found("mean", 200, 10, {"psi": 0.5})])[-1] == "| mean | 200 | 50.0% |  |  |  |  |  |  |"
