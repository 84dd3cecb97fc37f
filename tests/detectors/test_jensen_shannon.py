"""Jensen-Shannon against scipy's distance in base 2, its laws, and its edges by hand."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from detectors.jensen_shannon import js_distance, js_distance_by_feature, js_divergence, js_divergence_by_feature
from tests.detectors.histograms import Histogram, Pair, end_to_end, pairs, reordered_pairs


@given(pairs())
def test_distance_agrees_with_scipy_in_base_two(pair: Pair) -> None:
    # Near 0 rounding of 1e-16 in the divergence is 1e-8 in its root; scipy's may even fall below 0 there and come out as nan.
    with np.errstate(invalid="ignore"):
        theirs = np.nan_to_num(jensenshannon(*pair, base=2))
    assert js_divergence(*pair) == pytest.approx(theirs**2, rel=1e-9, abs=1e-15)
    assert js_distance(*pair) == pytest.approx(theirs, rel=1e-9, abs=5e-8)


@given(pairs())
def test_both_lie_between_zero_and_one_and_are_symmetric(pair: Pair) -> None:
    reference, current = pair
    for score in (js_divergence, js_distance):
        assert 0 <= score(reference, current) <= 1
        assert score(reference, current) == score(current, reference)


@given(pairs())
def test_equal_shares_score_exactly_zero_whatever_the_totals(pair: Pair) -> None:
    assert js_divergence(pair[0], 3 * pair[0]) == 0.0


@given(reordered_pairs())
def test_order_of_bins_does_not_change_the_divergence(both: tuple[Pair, Pair]) -> None:
    pair, reordered = both
    assert js_divergence(*reordered) == pytest.approx(js_divergence(*pair), rel=1e-9, abs=1e-15)


@given(st.lists(pairs(), min_size=1, max_size=8))
def test_features_scored_together_score_as_they_do_alone(several: list[Pair]) -> None:
    ragged = end_to_end(several)
    np.testing.assert_allclose(js_divergence_by_feature(*ragged), [js_divergence(*pair) for pair in several], rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(js_distance_by_feature(*ragged), [js_distance(*pair) for pair in several], rtol=1e-12, atol=5e-8)


def test_shares_without_a_common_bin_score_one() -> None:
    assert js_divergence(np.array([1, 2, 0, 0]), np.array([0, 0, 5, 0])) == 1.0
    assert js_distance(np.array([1, 2, 0, 0]), np.array([0, 0, 5, 0])) == 1.0


def test_one_bin_cannot_drift() -> None:
    assert js_divergence(np.array([7]), np.array([90_000])) == 0.0


def test_half_the_mass_moved_to_an_empty_bin_scores_what_the_definition_says() -> None:
    # p = (1, 0), q = (1/2, 1/2), m = (3/4, 1/4): (log2(4/3) + (log2(2/3) + log2(2)) / 2) / 2
    expected = (np.log2(4 / 3) + (np.log2(2 / 3) + 1) / 2) / 2
    assert js_divergence(np.array([10, 0]), np.array([4, 4])) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("score", [js_divergence, js_distance])
def test_mismatched_histograms_and_empty_windows_are_refused(score: Callable[[Histogram, Histogram], float]) -> None:
    with pytest.raises(ValueError, match=r"cannot compare histograms: .*expected the same"):
        score(np.array([1, 2]), np.array([1, 2, 3]))
    with pytest.raises(ValueError, match="total=0 in current feature 0, expected > 0"):
        score(np.array([1, 2]), np.array([0, 0]))
