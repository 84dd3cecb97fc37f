"""Regression metrics from sums against scikit-learn and numpy on the raw rows, however the rows were merged."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import ttest_1samp
from sklearn.metrics import mean_absolute_error, mean_absolute_percentage_error, r2_score, root_mean_squared_error

from detectors.intervals import Measured
from detectors.means import Mean
from detectors.quantiles import quantile
from detectors.regression import ErrorSums, absolute_quantile, error_edges, error_rows

Rows = NDArray[np.float64]
number = st.floats(-1e4, 1e4).map(lambda x: round(x, 3)) | st.sampled_from([0.0, 1e-300, 1.0, -1.0])
rows = st.lists(st.tuples(number, number), max_size=25)
law = settings(deadline=None, max_examples=150)


def columns(pairs: list[tuple[float, float]]) -> tuple[Rows, Rows]:
    both = np.array(pairs, np.float64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def sums(pairs: list[tuple[float, float]]) -> ErrorSums:
    return ErrorSums.of(*columns(pairs))


def simulated(kind: str, n: int) -> tuple[Rows, Rows]:
    rng = np.random.default_rng(n)
    labels = {"normal": rng.normal(size=n), "prices": rng.lognormal(5, 1, n), "far from 0": 1e7 + rng.normal(size=n)}.get(kind)
    if labels is None:
        labels = rng.poisson(1.0, n).astype(np.float64)
    return labels, labels + rng.normal(0.2, 0.5, n)


@pytest.mark.parametrize("kind", ["normal", "prices", "far from 0", "counts with zeros"])
def test_metrics_agree_with_scikit_learn_on_every_prefix_however_merged(kind: str) -> None:
    labels, predictions = simulated(kind, 300)
    held = ErrorSums()
    for start in range(0, 300, 20):
        held = held.merge(ErrorSums.of(labels[start : start + 20], predictions[start : start + 20]))
        y, p = labels[: start + 20], predictions[: start + 20]
        found = held.metrics()
        assert found is not None
        assert found.mae.value == pytest.approx(mean_absolute_error(y, p), rel=1e-9)
        assert found.rmse.value == pytest.approx(root_mean_squared_error(y, p), rel=1e-9)
        assert found.bias.value == pytest.approx((p - y).mean(), rel=1e-7)
        assert found.r2 == pytest.approx(r2_score(y, p), rel=1e-6, abs=1e-6)
        assert found.wape == pytest.approx(np.abs(p - y).sum() / np.abs(y).sum(), rel=1e-9)
        assert found.smape.value == pytest.approx(np.mean(2 * np.abs(p - y) / (np.abs(p) + np.abs(y))), rel=1e-9)
        assert found.mape is not None
        assert found.mape.value == pytest.approx(mean_absolute_percentage_error(y[y != 0], p[y != 0]), rel=1e-9)
        assert (found.n, found.zeros, found.mape.n) == (y.size, (y == 0).sum(), (y != 0).sum())


def near(a: Mean, b: Mean) -> bool:
    return (
        a.n == b.n and a.mean == pytest.approx(b.mean, rel=1e-9, abs=1e-9) and a.m2 == pytest.approx(b.m2, rel=1e-6, abs=1e-3 + 1e-9 * b.m2)
    )


@law
@given(rows, rows, rows)
def test_merging_is_associative_and_commutative_and_nothing_is_neutral(
    a: list[tuple[float, float]], b: list[tuple[float, float]], c: list[tuple[float, float]]
) -> None:
    left, right, whole = sums(a).merge(sums(b)).merge(sums(c)), sums(c).merge(sums(b).merge(sums(a))), sums(a + b + c)
    for name in ("label", "error", "size", "label_size", "symmetric"):
        assert near(getattr(left, name), getattr(right, name))
        assert near(getattr(left, name), getattr(whole, name))
    for name in ("square", "relative"):  # of far larger numbers
        assert getattr(left, name).n == getattr(whole, name).n
        assert getattr(left, name).mean == pytest.approx(getattr(whole, name).mean, rel=1e-9)
    assert sums(a).merge(ErrorSums()) == sums(a) == ErrorSums().merge(sums(a))


@law
@given(rows)
def test_nothing_is_ever_nan_and_metrics_stay_in_their_ranges(pairs: list[tuple[float, float]]) -> None:
    found = sums(pairs).metrics()
    assert (found is None) == (not pairs)
    if found is None:
        return
    for m in (found.mae, found.rmse, found.bias, found.mape, found.smape):
        assert m is None or m.lower <= m.value <= m.upper
    assert 0 <= found.smape.value <= 2 + 1e-9
    assert found.r2 is None or found.r2 <= 1
    assert found.wape is None or found.wape >= 0


def test_relative_errors_are_undefined_where_all_labels_are_zero() -> None:
    found = sums([(0.0, 1.0), (0.0, 0.0)]).metrics()
    assert found is not None
    assert (found.mape, found.wape, found.zeros) == (None, None, 2)
    assert found.smape.value == 1.0


@pytest.mark.parametrize("label", [0.0, 0.1, 1e9 / 3])
def test_r2_is_undefined_for_a_constant_label_and_one_row(label: float) -> None:
    parts = [sums([(label, 1.0)] * times) for times in (1, 3, 7)]
    for held in (parts[0], parts[0].merge(parts[1]).merge(parts[2])):
        found = held.metrics()
        assert found is not None
        assert found.r2 is None


def test_intervals_agree_with_scipy() -> None:
    labels, predictions = simulated("normal", 200)
    found = ErrorSums.of(labels, predictions).metrics(0.9)
    assert found is not None
    error = predictions - labels
    for ours, values in ((found.mae, np.abs(error)), (found.bias, error)):
        theirs = ttest_1samp(values, 0).confidence_interval(0.9)
        assert (ours.lower, ours.upper) == pytest.approx((theirs.low, theirs.high))
    theirs = ttest_1samp(error**2, 0).confidence_interval(0.9)
    assert found.rmse == Measured(found.rmse.value, pytest.approx(theirs.low**0.5), pytest.approx(theirs.high**0.5), 200)


@pytest.mark.parametrize("kind", ["normal", "prices", "counts with zeros"])
def test_error_quantiles_of_the_raw_rows_lie_within_the_bounds(kind: str) -> None:
    labels, predictions = simulated(kind, 5_000)
    error, edges = error_rows(labels, predictions)[1], error_edges(float(labels.std()))
    counts = np.bincount(np.searchsorted(edges, error, side="right"), minlength=edges.size + 1)
    for q in (0.01, 0.05, 0.5, 0.95, 0.99):
        signed = quantile(counts, edges, q, error.min(), error.max())
        size = absolute_quantile(counts, edges, q, np.abs(error).max())
        for ours, values in ((signed, error), (size, np.abs(error))):
            truth = np.quantile(values, q, method="inverted_cdf")
            assert ours is not None
            assert ours.lower <= truth <= ours.upper
            assert abs(ours.value - truth) <= max(0.0576 * abs(truth), labels.std() / 1000)


@pytest.mark.parametrize("scale", [0.0, -1.0, np.inf, np.nan])
def test_a_scale_that_is_none_is_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="cannot place errors"):
        error_edges(scale)
