"""The p-value of PSI against the laws that it stands on, taken from scipy, and against simulation on raw rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom, chi2, chi2_contingency

from detectors.psi import psi
from detectors.psi_law import psi_p_values
from tests.detectors.histograms import Histogram, Pair, end_to_end, pairs

ALONE = np.zeros(1, np.intp)
DRAWS = 4_000


def p_value(reference: Histogram, current: Histogram, *, quantiles: bool = False) -> float:
    return float(psi_p_values(reference, current, ALONE, np.array([quantiles]))[0])


def by_law(reference: Histogram, current: Histogram) -> float:
    """Tail of the two-sample law, with every bin as it is: of a third of Yurdakul's statistic and two thirds of Pearson's."""
    yurdakul = psi(reference, current) / (1 / reference.sum() + 1 / current.sum())
    pearson = chi2_contingency(np.stack((reference, current)), correction=False).statistic
    return float(chi2.sf((yurdakul + 2 * pearson) / 3, reference.size - 1))


def of_rare(k: int, n: int, of_reference: int, m: int) -> float:
    """Twice the smaller tail of k of so many rows being current."""
    law = binom(k + of_reference, n / (n + m))
    return min(2 * min(law.sf(k - 1), law.cdf(k)), 1.0)


def rate(p_values: NDArray[np.float64], nominal: float) -> float:
    return float(np.mean(p_values <= nominal)) / nominal


def margin(nominal: float) -> float:
    """Four standard errors of `rate`, if it is 1."""
    return 4 * float(np.sqrt((1 - nominal) / nominal / DRAWS))


@pytest.mark.parametrize("quantiles", [False, True])
@pytest.mark.parametrize("current", [[11, 9, 8, 12], [300, 280, 310, 305], [60, 30, 40, 90]])
def test_where_every_bin_expects_enough_it_is_the_two_sample_law(current: list[int], quantiles: bool) -> None:
    pair = np.array([2_000, 1_900, 2_100, 2_050]), np.array(current)
    assert p_value(*pair, quantiles=quantiles) == pytest.approx(by_law(*pair), rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_with_many_rows_it_is_that_of_pearsons_test(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pair = rng.multinomial(400_000, [0.1] * 10), rng.multinomial(100_000, [0.1] * 10)
    assert p_value(*pair) == pytest.approx(chi2_contingency(np.stack(pair)).pvalue, rel=0.02)


def test_neighbours_that_expect_few_are_pooled() -> None:
    """Of the smaller side, 1000 rows, the bins expect 400, 300, then four times 3, then 288: the four become one of 12."""
    apart = np.array([40_000, 30_000, 300, 300, 300, 300, 28_800]), np.array([390, 310, 2, 5, 1, 6, 286])
    pooled = np.array([40_000, 30_000, 1_200, 28_800]), np.array([390, 310, 14, 286])
    assert p_value(*apart, quantiles=True) == pytest.approx(by_law(*pooled), rel=1e-9)


def test_a_value_that_was_never_seen_is_tested_exactly() -> None:
    """A constant of which 1 of 100 rows becomes another value: too little for any pool."""
    found = p_value(np.array([10_000, 0]), np.array([99, 1]), quantiles=True)
    assert found == pytest.approx(of_rare(1, 100, 0, 10_000))
    assert p_value(np.array([10_000, 0]), np.array([90, 10]), quantiles=True) == pytest.approx(of_rare(10, 100, 0, 10_000))


@pytest.mark.parametrize("unseen", [1, 3, 30])
def test_rare_bins_beside_a_law_have_a_tenth_of_the_level(unseen: int) -> None:
    pair = np.array([5_000, 5_000]), np.array([480, 520])
    law, rare = by_law(*pair), of_rare(unseen, 1_000 + unseen, 0, 10_000)
    found = p_value(np.append(pair[0], 0), np.append(pair[1], unseen), quantiles=True)
    assert found == pytest.approx(min(law / 0.9, rare / 0.1, 1.0))


def test_all_in_one_bin_is_no_evidence() -> None:
    assert p_value(np.array([50, 0, 0]), np.array([900, 0, 0])) == 1.0
    assert p_value(np.array([7]), np.array([10**9])) == 1.0


def test_sides_without_a_bin_in_common_are_beyond_chance() -> None:
    for n in (50, 10**9):
        for quantiles in (False, True):
            assert p_value(np.array([n, n, 0, 0]), np.array([0, 0, n, n]), quantiles=quantiles) < 1e-12


@given(st.lists(st.tuples(pairs(), st.booleans()), min_size=1, max_size=5))
def test_features_end_to_end_have_the_p_values_of_each_alone(several: list[tuple[Pair, bool]]) -> None:
    reference, current, starts = end_to_end([pair for pair, _ in several])
    found = psi_p_values(reference, current, starts, np.array([quantiles for _, quantiles in several]))
    assert found.tolist() == pytest.approx([p_value(*pair, quantiles=quantiles) for pair, quantiles in several], rel=1e-6, abs=1e-300)
    assert ((found >= 0) & (found <= 1)).all()


@given(pairs())
def test_where_both_sides_are_chance_they_may_change_places(pair: Pair) -> None:
    assert p_value(*pair) == pytest.approx(p_value(*pair[::-1]), rel=1e-6, abs=1e-300)


def quantile_bins(rng: np.random.Generator, m: int, n: int, bins: int, zeros: float) -> Pair:
    """DRAWS references of m raw rows, each cut at its own quantiles, the zeros apart, and n raw rows on the same bins; (bins * DRAWS,)."""
    pairs = np.empty((2, DRAWS, bins + 1), np.int64)
    for i in range(DRAWS):
        before, now = (np.where(rng.random(size) < zeros, 0.0, rng.exponential(size=size)) for size in (m, n))
        edges = np.quantile(before[before > 0], np.arange(1, bins) / bins)
        for side, rows in enumerate((before, now)):
            pairs[side, i] = np.append((rows == 0).sum(), np.bincount(np.searchsorted(edges, rows[rows > 0]), minlength=bins))
    return pairs[0].ravel(), pairs[1].ravel()


@pytest.mark.parametrize(("m", "n", "zeros"), [(400, 200, 0.0), (200, 400, 0.6), (2_000, 200, 0.6)])
def test_without_drift_of_a_number_alarms_are_as_frequent_as_said(m: int, n: int, zeros: float) -> None:
    pair = quantile_bins(np.random.default_rng(5), m, n, 10, zeros)
    found = psi_p_values(*pair, 11 * np.arange(DRAWS), np.ones(DRAWS, np.bool_))
    for nominal in (0.05, 0.01):
        assert 1 - margin(nominal) <= rate(found, nominal) <= 1 + margin(nominal), nominal


@pytest.mark.parametrize(("m", "n"), [(100, 200), (200, 200), (10_000, 1_000)])
@pytest.mark.parametrize("values", [5, 50])
def test_without_drift_of_a_category_alarms_are_as_frequent_as_said(m: int, n: int, values: int) -> None:
    rng, shares = np.random.default_rng(6), 1 / np.arange(1, values + 1)
    reference, current = (rng.multinomial(size, shares / shares.sum(), DRAWS).ravel() for size in (m, n))
    found = psi_p_values(reference, current, values * np.arange(DRAWS), np.zeros(DRAWS, np.bool_))
    for nominal in (0.05, 0.01):
        assert 1 - margin(nominal) <= rate(found, nominal) <= 1 + margin(nominal), nominal


def test_rare_values_alone_alarm_at_most_as_often_as_said() -> None:
    rng = np.random.default_rng(7)
    reference, current = (rng.multinomial(size, [0.98, 0.01, 0.01], DRAWS).ravel() for size in (1_000, 100))
    found = psi_p_values(reference, current, 3 * np.arange(DRAWS), np.zeros(DRAWS, np.bool_))
    assert rate(found, 0.05) <= 1 + margin(0.05)
