"""Histograms of many windows are compared in one pass, and each as if it were alone."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream.drift import BY_BINS, Histograms, compare


@st.composite
def histograms(draw: st.DrawFn) -> Histograms:
    """Of one window with some features."""
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    starts = np.cumsum([0, *sizes[:-1]])
    sides = [np.array(draw(st.lists(st.integers(0, 300), min_size=sum(sizes), max_size=sum(sizes)))) for _ in range(2)]
    for side in sides:
        side[starts] += 1  # no feature is empty
    quantiles = np.array(draw(st.lists(st.booleans(), min_size=len(sizes), max_size=len(sizes))))
    labels = [[f"{feature}:{i}" for i in range(size)] for feature, size in enumerate(sizes)]
    methods = draw(st.sampled_from([("psi", "js_distance"), tuple(BY_BINS), ("hellinger",)]))
    return Histograms(*sides, starts, quantiles, labels, methods)


@given(st.lists(histograms(), max_size=5), st.sampled_from([1, 8, 20_000]))
def test_windows_that_are_compared_together_come_to_what_each_does_alone(windows: list[Histograms], at_once: int) -> None:
    together = compare(windows, at_once)
    assert len(together) == len(windows)
    for window, found in zip(windows, together, strict=True):
        (alone,) = compare([window])
        assert (found.scores, found.p_values, found.tops) == (alone.scores, alone.p_values, alone.tops)
        assert set(found.scores) == set(window.methods)
        np.testing.assert_array_equal(found.pair, alone.pair)
        np.testing.assert_array_equal(found.current, window.current)
