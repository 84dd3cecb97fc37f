"""Wasserstein against scipy.stats.wasserstein_distance on the raw rows: exactly where each value has its bin, else within the bound."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from detectors.moments import Moments
from detectors.wasserstein import wasserstein
from tests.detectors.rows import KINDS, SIZES, Binned, Rows, binned, exact, moments, samples


def of(sides: Binned) -> tuple[float, float, float, float]:
    found = wasserstein(sides.reference, sides.current, sides.edges, sides.before, sides.now)
    return found.raw, found.normalized, found.lower, found.upper


@pytest.mark.parametrize(("n", "m"), SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_wasserstein_of_bins_bounds_that_of_the_raw_rows(kind: str, n: int, m: int) -> None:
    before, now = samples(kind, np.random.default_rng(n + m), n, m)
    truth, std = wasserstein_distance(before, now), before.std()
    for bins in (10, 256):
        raw, normalized, lower, upper = of(binned(before, now, bins))
        assert normalized == pytest.approx(raw / std)
        assert lower <= normalized * (1 + 1e-9)
        assert normalized <= upper * (1 + 1e-9)
        assert lower - 1e-9 <= truth / std <= upper + 1e-9
    if kind not in ("skewed", "heavy tails"):  # where the outermost bins are many standard deviations wide
        assert raw == pytest.approx(truth, rel=0.15, abs=0.02 * std)


@pytest.mark.parametrize(("n", "m"), SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_wasserstein_is_exact_where_every_value_has_its_bin(kind: str, n: int, m: int) -> None:
    before, now = samples(kind, np.random.default_rng(n * m), n, m)
    raw, normalized, lower, upper = of(exact(before, now))
    assert raw == pytest.approx(wasserstein_distance(before, now), rel=1e-9)
    assert upper - lower < 1e-6 * max(normalized, 1e-3)


@given(st.floats(1e-6, 1e6), st.floats(-1e3, 1e3))
def test_units_do_not_change_the_normalised_distance(scale: float, shift: float) -> None:
    before, now = samples("shifted", np.random.default_rng(1), 500, 300)
    edges = np.linspace(-2.0, 2.0, 9)

    def scored(transform: float, offset: float) -> float:
        moved = [side * transform + offset for side in (before, now)]
        counts = [np.bincount(np.searchsorted(edges * transform + offset, side), minlength=10) for side in moved]
        return wasserstein(counts[0], counts[1], edges * transform + offset, moments(moved[0]), moments(moved[1])).normalized

    assert scored(scale, scale * shift) == pytest.approx(scored(1.0, 0.0), rel=1e-6)


def test_rows_out_of_range_count_by_how_far_they_are() -> None:
    before = np.linspace(0.0, 10.0, 1001)
    for far in (20.0, 1e3, 1e9):
        now = np.full(50, far)
        raw, *_ = of(binned(before, now))
        assert raw == pytest.approx(far - 5.0)


@pytest.mark.parametrize(("value", "scale"), [(5.0, 5e-6), (0.0, 1.0), (-1e-12, 1e-18)])
def test_a_constant_reference_has_a_relative_floor(value: float, scale: float) -> None:
    before, now = np.full(100, value), np.full(80, value + 3 * scale)
    raw, normalized, _, _ = of(exact(before, now))
    assert raw == pytest.approx(3 * scale, rel=1e-3)
    assert normalized == pytest.approx(3.0, rel=1e-3)
    assert of(binned(before, before))[:2] == (0.0, 0.0)


def test_small_units_are_not_floored() -> None:
    before: Rows = np.random.default_rng(2).normal(size=1_000) * 1e-9
    assert of(exact(before, before + 1e-9))[1] == pytest.approx(1.0, rel=0.1)


def test_mismatched_and_empty_histograms_are_refused() -> None:
    two, some = Moments(0.0, 1.0, -1.0, 1.0), np.array([1, 2])
    with pytest.raises(ValueError, match="expected the same"):
        wasserstein(some, np.array([1, 2, 3]), np.array([0.0]), two, two)
    with pytest.raises(ValueError, match=r"expected \(1,\), finite and increasing"):
        wasserstein(some, some, np.array([0.0, 1.0]), two, two)
    with pytest.raises(ValueError, match="total=0 in reference"):
        wasserstein(np.array([0, 0]), some, np.array([0.0]), two, two)
    with pytest.raises(ValueError, match="total=0 in current"):
        wasserstein(some, np.array([0, 0]), np.array([0.0]), two, two)


@pytest.mark.parametrize("bad", [(np.nan, 1.0, 0.0, 1.0), (0.0, -1.0, 0.0, 1.0), (0.0, 1.0, np.inf, -np.inf), (0.0, 1.0, 2.0, 1.0)])
def test_moments_of_no_values_are_refused(bad: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="cannot use moments"):
        Moments(*bad)
