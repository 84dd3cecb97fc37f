"""Chi-square against scipy's chi2_contingency without Yates, and its Cramer's V; pooling and edges by hand."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray
from scipy.stats import chi2_contingency, fisher_exact
from scipy.stats.contingency import association

from detectors.chi_square import chi2, pooled, v_of_shares
from tests.detectors.histograms import Pair, pairs

SHARES = {"even": [1.0] * 6, "skewed": [50.0, 20, 10, 5, 3, 2], "long tail": [1 / (i + 1) ** 1.5 for i in range(40)], "two": [0.7, 0.3]}


def table(before: NDArray[np.int64], now: NDArray[np.int64], categories: int) -> NDArray[np.int64]:
    counts = Counter(before.tolist()), Counter(now.tolist())
    return np.array([[side[category] for category in range(categories)] for side in counts])


@pytest.mark.parametrize(("n", "m"), [(100, 100), (20_000, 500), (500, 20_000), (300_000, 100_000)])
@pytest.mark.parametrize("drift", [0.0, 0.3])
@pytest.mark.parametrize("name", SHARES)
def test_chi2_is_that_of_scipy_on_the_raw_rows(name: str, drift: float, n: int, m: int) -> None:
    rng = np.random.default_rng(n + m)
    p = np.array(SHARES[name]) / sum(SHARES[name])
    q = (1 - drift) * p + drift * p[::-1]
    rows = rng.choice(p.size, n, p=p), rng.choice(p.size, m, p=q)
    cells = table(*rows, p.size)
    found, tested = chi2(*cells), pooled(cells)
    truth = chi2_contingency(tested, correction=False)
    assert truth.expected_freq.min() >= 5
    assert (found.statistic, found.df) == (pytest.approx(truth.statistic, rel=1e-9), truth.dof)
    assert found.p_value == pytest.approx(truth.pvalue, rel=1e-6, abs=1e-300)
    assert found.cramers_v == pytest.approx(association(tested, method="cramer", correction=False), rel=1e-9)
    if chi2_contingency(cells[:, cells.any(axis=0)]).expected_freq.min() >= 5:
        assert tested.tolist() == cells.tolist(), "nothing to pool"


@given(pairs())
def test_chi2_loses_no_row_and_is_within_its_range(pair: Pair) -> None:
    tested, found, back = pooled(np.stack(pair)), chi2(*pair), chi2(pair[1], pair[0])
    assert tested.sum(axis=1).tolist() == [pair[0].sum(), pair[1].sum()]
    assert found.statistic >= 0
    assert 0 <= found.p_value <= 1
    assert 0 <= found.cramers_v <= 1
    assert found.statistic == pytest.approx(back.statistic, rel=1e-9, abs=1e-9)
    assert chi2(pair[0], pair[0]).statistic == pytest.approx(0, abs=1e-9)


def test_small_categories_are_pooled_and_the_pool_takes_in_the_smallest_other() -> None:
    assert pooled(np.array([[50, 4, 0, 40, 3], [50, 5, 0, 40, 8]])).tolist() == [[50, 40, 7], [50, 40, 13]]
    assert pooled(np.array([[50, 20, 40, 2], [50, 20, 40, 1]])).tolist() == [[50, 40, 22], [50, 40, 21]]


def test_two_by_two_has_no_yates_correction() -> None:
    cells = np.array([[30, 20], [18, 32]])
    plain, corrected = (chi2_contingency(cells, correction=yates).statistic for yates in (False, True))
    assert chi2(*cells).statistic == pytest.approx(plain)
    assert plain != pytest.approx(corrected)


@pytest.mark.parametrize("new", [1, 5, 200])
def test_a_constant_that_starts_to_vary_is_tested_exactly(new: int) -> None:
    cells = np.array([[20_000, 0], [300 - new, new]])
    found = chi2(*cells)
    assert found.df == 1
    assert found.statistic == pytest.approx(chi2_contingency(cells, correction=False).statistic)
    assert found.p_value == pytest.approx(fisher_exact(cells).pvalue if new < 200 else chi2_contingency(cells, correction=False).pvalue)


@pytest.mark.parametrize("cells", [[[2_000_000, 9], [500_000, 5]], [[1_500_000, 1], [300, 0]], [[900_000, 600_000], [6, 1]]])
def test_exact_p_values_of_many_rows_are_nearly_those_of_fisher(cells: list[list[int]]) -> None:
    assert chi2(*np.array(cells)).p_value == pytest.approx(fisher_exact(cells).pvalue, abs=0.003)


def test_exact_p_values_of_any_number_of_rows_are_probabilities() -> None:
    assert chi2(np.array([2**52, 0]), np.array([300, 5])).p_value < 1e-50
    assert 0 < chi2(np.array([2**52, 2**52]), np.array([3, 2])).p_value <= 1


@given(pairs())
def test_v_of_shares_is_that_of_samples_of_equal_size(pair: Pair) -> None:
    shares = np.stack([side / side.sum() for side in pair])
    found = chi2_contingency(shares[:, shares.any(axis=0)], correction=False)
    assert v_of_shares(*pair) == pytest.approx(np.sqrt(found.statistic / 2), abs=1e-7)


def test_a_constant_column_does_not_drift() -> None:
    for cells in ([[60], [40]], [[0, 60, 0], [0, 40, 0]]):
        found = chi2(*np.array(cells))
        assert (found.statistic, found.df, found.p_value, found.cramers_v) == (0.0, 0, 1.0, 0.0)


def test_opposite_categories_are_one_apart() -> None:
    assert chi2(np.array([500, 0]), np.array([0, 80])).cramers_v == pytest.approx(1)


@pytest.mark.parametrize(("n", "m"), [(50, 100), (1_000, 1_000), (1_000, 10_000)])
def test_without_drift_p_values_keep_their_level(n: int, m: int) -> None:
    rng = np.random.default_rng(5)
    p = np.array(SHARES["skewed"]) / sum(SHARES["skewed"])
    p_values = np.array([chi2(rng.multinomial(m, p), rng.multinomial(n, p)).p_value for _ in range(2_000)])
    assert np.mean(p_values < 0.05) == pytest.approx(0.05, abs=0.015)  # 3 standard errors of 2000 draws


def test_mismatched_and_empty_histograms_are_refused() -> None:
    with pytest.raises(ValueError, match="expected the same"):
        chi2(np.array([1, 2]), np.array([1, 2, 3]))
    with pytest.raises(ValueError, match="total=0 in reference"):
        chi2(np.array([0, 0]), np.array([1, 2]))
    with pytest.raises(ValueError, match="total=0 in current"):
        chi2(np.array([1, 2]), np.array([0, 0]))
