"""Wilson's interval against scipy's, and how often intervals cover the truth in simulated streams."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from detectors.intervals import combined, exact, wilson, wilson_of


@given(st.integers(1, 10**6) | st.integers(10**12, 10**13), st.floats(0, 1), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_agrees_with_scipy(rows: int, share: float, confidence: float) -> None:
    hits = round(share * rows)
    theirs = binomtest(hits, rows).proportion_ci(confidence, method="wilson")
    assert wilson(np.array(hits), np.array(rows), confidence) == pytest.approx([theirs.low, theirs.high], abs=1e-12)


@given(st.integers(1, 10**6), st.floats(0, 1), st.sampled_from([0.8, 0.95, 0.999]))
def test_the_exact_interval_agrees_with_scipy(rows: int, share: float, confidence: float) -> None:
    hits = round(share * rows)
    theirs = binomtest(hits, rows).proportion_ci(confidence, method="exact")
    assert exact(np.array(hits), np.array(rows), confidence) == pytest.approx([theirs.low, theirs.high], abs=1e-9)


def test_an_interval_without_rows_is_everything_and_never_nan() -> None:
    assert wilson(np.array([0, 0, 7]), np.array([0, 5, 7]))[:, [0]].tolist() == [[0.0], [1.0]]
    assert wilson(np.array([0, 7]), np.array([5, 7]))[[0, 1], [0, 1]].tolist() == [0.0, 1.0]
    assert exact(np.array([0, 0, 7]), np.array([0, 5, 7]))[:, [0]].tolist() == [[0.0], [1.0]]
    assert exact(np.array([0, 7]), np.array([5, 7]))[[0, 1], [0, 1]].tolist() == [0.0, 1.0]


@pytest.mark.parametrize("confidence", [0.0, 1.0, 1.5, float("nan")])
def test_a_confidence_out_of_range_is_refused(confidence: float) -> None:
    for interval in (wilson, exact):
        with pytest.raises(ValueError, match=r"expected in \(0, 1\)"):
            interval(np.array(1), np.array(2), confidence)


@given(st.floats(0, 1), st.floats(0, 1e-2), st.integers(1, 50), st.integers(50, 10**5))
def test_an_effective_number_of_rows_stays_within_its_limits(value: float, variance: float, least: int, most: int) -> None:
    lower, upper = wilson_of(value, variance, least, most)
    widest, narrowest = (wilson(np.array(value * n), np.array(float(n))) for n in (least, most))
    assert 0 <= widest[0] <= lower + 1e-12
    assert lower <= value <= upper
    assert upper <= widest[1] + 1e-12
    assert upper - lower >= narrowest[1] - narrowest[0] - 1e-12


@pytest.mark.parametrize(("p", "q", "n", "m"), [(0.9, 0.8, 100, 60), (0.98, 0.95, 40, 400), (0.5, 0.5, 30, 30)])
def test_the_interval_of_a_difference_covers_it_as_often_as_asked(p: float, q: float, n: int, m: int) -> None:
    rng, times = np.random.default_rng(n), 2_000
    a, b = rng.binomial(n, p, times), rng.binomial(m, q, times)
    first, second = wilson(a, np.full(times, n)), wilson(b, np.full(times, m))
    covered = 0
    for i in range(times):
        values = np.array([a[i] / n, b[i] / m])
        lower, upper = combined(values, np.stack((first[:, i], second[:, i]), axis=1), np.array([1.0, -1.0]))
        covered += lower <= p - q <= upper
    assert 0.935 <= covered / times <= 0.975  # four standard errors are 0.02
