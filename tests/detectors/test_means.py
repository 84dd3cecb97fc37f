"""Means merge as the rows would: numpy on all rows is the oracle."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from detectors.means import Mean

values = st.lists(st.floats(-1e6, 1e6), max_size=30)


def of(rows: list[float]) -> Mean:
    return Mean.of(np.array(rows, np.float64))


def near(mean: Mean, scale: float) -> object:
    return (mean.n, pytest.approx(mean.mean, rel=1e-9, abs=1e-9), pytest.approx(mean.m2, rel=1e-9, abs=1e-9 * scale))


@given(values, values, values)
def test_merging_is_associative_commutative_and_agrees_with_numpy(a: list[float], b: list[float], c: list[float]) -> None:
    rows = np.array(a + b + c)
    scale = float((rows**2).sum()) + 1
    left, right = of(a).merge(of(b)).merge(of(c)), of(c).merge(of(b).merge(of(a)))
    assert (left.n, left.mean, left.m2) == near(right, scale)
    assert left.n == rows.size
    if rows.size:
        assert left.mean == pytest.approx(rows.mean(), rel=1e-9, abs=1e-9)
        assert left.m2 == pytest.approx(rows.var() * rows.size, rel=1e-9, abs=1e-9 * scale)
        assert left.total == pytest.approx(rows.sum(), rel=1e-9, abs=1e-6)


@given(values)
def test_no_rows_are_neutral(a: list[float]) -> None:
    assert of(a).merge(Mean()) == of(a) == Mean().merge(of(a))


def test_a_small_spread_around_a_large_mean_is_not_lost() -> None:
    rows = 1e9 + np.random.default_rng(1).normal(size=2_000)
    merged = Mean.of(rows[:700]).merge(Mean.of(rows[700:]))
    assert merged.m2 / merged.n == pytest.approx(np.var(rows - 1e9), rel=1e-6)


@pytest.mark.parametrize("confidence", [0.9, 0.95])
@pytest.mark.parametrize("n", [2, 5, 500])
def test_interval_agrees_with_scipy(n: int, confidence: float) -> None:
    rows = np.random.default_rng(n).lognormal(size=n)
    theirs, ours = ttest_1samp(rows, 0).confidence_interval(confidence), Mean.of(rows).measured(confidence)
    assert ours is not None
    assert (ours.lower, ours.upper) == pytest.approx((theirs.low, theirs.high))


def test_one_row_bounds_nothing_and_none_is_undefined() -> None:
    one = of([3.0]).measured()
    assert one is not None
    assert (one.lower, one.value, one.upper) == (-np.inf, 3.0, np.inf)
    assert Mean().measured() is None


@pytest.mark.parametrize("bad", [(-1, 0.0, 0.0), (1, np.nan, 0.0), (1, 0.0, -1.0), (1, 0.0, np.inf)])
def test_means_of_what_is_no_number_are_refused(bad: tuple[int, float, float]) -> None:
    with pytest.raises(ValueError, match="cannot use a mean"):
        Mean(*bad)
