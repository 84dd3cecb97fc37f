"""KS against scipy.stats.ks_2samp on the raw rows: exactly where each value has its bin, else within the bound; its edges by hand."""

import numpy as np
import pytest
from hypothesis import given
from scipy.stats import ks_2samp, kstwo

from detectors.kolmogorov_smirnov import ks
from tests.detectors.histograms import Pair, pairs
from tests.detectors.rows import KINDS, SIZES, binned, exact, samples


@pytest.mark.parametrize(("n", "m"), SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_ks_of_bins_bounds_that_of_the_raw_rows(kind: str, n: int, m: int) -> None:
    rows = samples(kind, np.random.default_rng(n + m), n, m)
    for bins in (10, 256):
        of = binned(*rows, bins)
        found, truth = ks(of.reference, of.current, points=of.points), ks_2samp(*rows, method="asymp")
        largest = max(side.max() / side.sum() for side in (of.reference, of.current))
        assert found.statistic - 1e-12 <= truth.statistic <= found.upper + 1e-12
        assert found.upper <= found.statistic + largest + 1e-12
        assert found.p_value >= truth.pvalue - 1e-12
        assert ks(of.reference, of.current).upper >= found.upper
    assert found.upper - found.statistic < 0.025, "256 bins and points of their own leave little open"


@pytest.mark.parametrize(("n", "m"), SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_ks_is_exact_where_every_value_has_its_bin(kind: str, n: int, m: int) -> None:
    rows = samples(kind, np.random.default_rng(n * m), n, m)
    of = exact(*rows)
    found, truth = ks(of.reference, of.current, points=of.points), ks_2samp(*rows, method="asymp")
    assert found.statistic == pytest.approx(truth.statistic, abs=1e-12)
    assert found.upper == pytest.approx(found.statistic, abs=1e-12)
    assert found.p_value == pytest.approx(truth.pvalue, rel=1e-6, abs=1e-300)


@given(pairs())
def test_ks_is_symmetric_and_within_its_range(pair: Pair) -> None:
    found, back = ks(*pair), ks(pair[1], pair[0])
    assert 0 <= found.statistic <= found.upper <= 1
    assert 0 <= found.p_value <= 1
    assert found.statistic == pytest.approx(back.statistic, abs=1e-15)
    assert ks(pair[0], 3 * pair[0]).statistic == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize(("n", "m"), [(50, 100), (1_000, 1_000), (1_000, 10_000)])
def test_without_drift_few_p_values_are_small(n: int, m: int) -> None:
    rng = np.random.default_rng(3)
    even = np.full(256, 1 / 256)
    p_values = np.array([ks(rng.multinomial(m, even), rng.multinomial(n, even)).p_value for _ in range(1_000)])
    assert np.mean(p_values < 0.05) < 0.05 + 0.02  # 3 standard errors of 1000 draws; bins make it conservative


@pytest.mark.parametrize("n", [4_000, 20_000, 200_000])
@pytest.mark.parametrize("difference", [0.7, 1.0, 1.36, 1.63, 2.4])
def test_with_many_rows_the_p_value_is_that_of_the_exact_law(n: int, difference: float) -> None:
    """Of two sides of n rows, that is n / 2 for the law; the differences have p-values from 0.7 to 2e-5."""
    moved = round(difference * np.sqrt(2 * n))
    found = ks(np.array([n // 2, n - n // 2]), np.array([n // 2 - moved, n - n // 2 + moved]))
    assert found.p_value == pytest.approx(kstwo.sf(moved / n, n // 2), rel=0.01)


def test_all_mass_in_one_bin_cannot_differ_but_inside_of_it() -> None:
    found = ks(np.array([0, 7, 0]), np.array([0, 90_000, 0]))
    assert (found.statistic, found.upper, found.p_value) == (0.0, 1.0, 1.0)
    assert ks(np.array([0, 7, 0]), np.array([0, 90_000, 0]), points=np.array([False, True, False])).upper == 0.0


def test_opposite_bins_are_one_apart_and_have_a_p_value_at_any_size() -> None:
    for n in (1, 100, 10**9):
        found = ks(np.array([n, 0, 0]), np.array([0, 0, n]))
        assert (found.statistic, found.upper) == (1.0, 1.0)
        assert 0 <= found.p_value <= 1
    assert found.p_value < 1e-100


def test_mismatched_and_empty_histograms_are_refused() -> None:
    with pytest.raises(ValueError, match="expected the same"):
        ks(np.array([1, 2]), np.array([1, 2, 3]))
    with pytest.raises(ValueError, match="total=0 in reference"):
        ks(np.array([0, 0]), np.array([1, 2]))
    with pytest.raises(ValueError, match="total=0 in current"):
        ks(np.array([1, 2]), np.array([0, 0]))
