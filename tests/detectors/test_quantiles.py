"""Quantiles from bins of equal ratio, latency percentiles among them, against numpy on the raw rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.latency import LATENCY_EDGES_MS, latency, latency_counts
from detectors.quantiles import log_edges, quantile

Rows = NDArray[np.float64]
latencies = st.lists(
    st.floats(0, 1e6) | st.floats(-2, 6).map(lambda x: float(10**x)) | st.sampled_from([*LATENCY_EDGES_MS.tolist()]), min_size=1
)
law = settings(deadline=None, max_examples=200)


def check(rows: Rows) -> None:
    found = latency(latency_counts(rows), float(rows.min()), float(rows.max()))
    assert found is not None
    assert found.n == rows.size
    for q, ours in ((0.5, found.p50), (0.95, found.p95), (0.99, found.p99)):
        truth = float(np.quantile(rows, q, method="inverted_cdf"))
        assert ours.lower <= truth <= ours.upper
        assert ours.lower <= ours.value <= ours.upper
        if LATENCY_EDGES_MS[0] <= truth < LATENCY_EDGES_MS[-1]:
            assert ours.value == pytest.approx(truth, rel=0.0576)


@law
@given(latencies)
def test_percentiles_are_within_their_bounds_and_relative_error(rows: list[float]) -> None:
    check(np.array(rows))


@pytest.mark.parametrize("spread", [0.0, 0.3, 2.0])
def test_percentiles_of_many_rows_are_within_their_bounds_and_relative_error(spread: float) -> None:
    check(np.random.default_rng(1).lognormal(3.0, spread, 10_000))


@law
@given(latencies, latencies)
def test_histograms_of_parts_add_up_to_that_of_all_rows(a: list[float], b: list[float]) -> None:
    assert np.array_equal(latency_counts(np.array(a)) + latency_counts(np.array(b)), latency_counts(np.array(a + b)))


@law
@given(st.lists(st.floats(-1e3, 1e3), min_size=1), st.floats(0, 1))
def test_any_quantile_of_signed_numbers_is_within_its_bounds(rows: list[float], q: float) -> None:
    values, edges = np.array(rows), np.array([-100.0, -10.0, -1.0, 1.0, 10.0, 100.0])
    found = quantile(np.bincount(np.searchsorted(edges, values, side="right"), minlength=7), edges, q, min(rows), max(rows))
    assert found is not None
    assert found.lower <= np.quantile(values, q, method="inverted_cdf") <= found.upper


def test_there_are_128_bins_from_a_tenth_of_a_millisecond_to_200_s() -> None:
    assert latency_counts(np.array([0.0])).shape == (128,)
    assert LATENCY_EDGES_MS[[0, -1]] == pytest.approx([0.1, 199_526.2])
    ratio = LATENCY_EDGES_MS[1:] / LATENCY_EDGES_MS[:-1]
    assert ((ratio - 1) / (ratio + 1)).max() < 0.0576


def test_beyond_the_edges_the_extremes_bound_a_percentile() -> None:
    rows = np.array([0.01, 0.02, 5e5, 6e5])
    found = latency(latency_counts(rows), 0.01, 6e5)
    assert found is not None
    assert (found.p50.lower, found.p50.upper) == (0.01, pytest.approx(0.1))
    assert (found.p99.lower, found.p99.upper) == (pytest.approx(199_526.2), 6e5)


def test_nothing_has_no_quantile_and_what_does_not_fit_is_refused() -> None:
    assert latency(np.zeros(128, np.int64), 0.0, 0.0) is None
    edges = log_edges(1.0, 0.1)
    for counts in ([1, 2, 3], [1, 2, -1, 0]):
        with pytest.raises(ValueError, match="cannot take a quantile: counts"):
            quantile(np.array(counts), edges, 0.5, 0.0, 9.0)
    with pytest.raises(ValueError, match=r"q=1\.1"):
        quantile(np.array([1, 1, 1, 1]), edges, 1.1, 0.0, 9.0)
