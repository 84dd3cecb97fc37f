"""Confidence from bins against the scores themselves: always within the bounds, and exact where every score has a bin of its own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.confidence import ConfidenceBins

GRID = [0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0]
unit = st.sampled_from(GRID) | st.floats(0, 1)
edges_of = st.lists(unit | st.floats(-2, 3), min_size=1, max_size=12, unique=True).map(lambda edges: np.array(sorted(edges)))


def counted(edges: np.ndarray, scores: np.ndarray) -> np.ndarray:
    return np.bincount(np.searchsorted(edges, scores, side="right"), minlength=edges.size + 1)


@pytest.mark.parametrize("folded", [False, True])
@settings(deadline=None, max_examples=400)
@given(
    edges=edges_of, scores=st.lists(unit, min_size=1, max_size=20).map(np.array), threshold=st.sampled_from(GRID[1:]) | st.floats(0.01, 1)
)
def test_mean_and_share_of_the_scores_lie_within_the_bounds(
    edges: np.ndarray, scores: np.ndarray, threshold: float, *, folded: bool
) -> None:
    confidence = np.maximum(scores, 1 - scores) if folded else scores
    found = ConfidenceBins(edges, threshold, folded=folded).confidence(counted(edges, scores))
    assert found is not None
    assert found.n == len(scores)
    assert found.mean.lower - 1e-12 <= confidence.mean() <= found.mean.upper + 1e-12
    assert found.high_ratio.lower - 1e-12 <= np.mean(confidence >= threshold) <= found.high_ratio.upper + 1e-12
    for one in (found.mean, found.high_ratio):
        assert -1e-12 <= one.lower - 1e-12 <= one.value <= one.upper + 1e-12 <= 1 + 2e-12


@pytest.mark.parametrize("folded", [False, True])
@settings(deadline=None, max_examples=100)
@given(scores=st.lists(st.sampled_from(GRID), min_size=1, max_size=30).map(np.array), threshold=st.sampled_from(GRID[1:]))
def test_it_is_exact_where_each_score_has_a_bin_of_its_own(scores: np.ndarray, threshold: float, *, folded: bool) -> None:
    edges = np.array(sorted(edge for score in GRID for edge in (score, np.nextafter(score, 2))))
    confidence = np.maximum(scores, 1 - scores) if folded else scores
    found = ConfidenceBins(edges, threshold, folded=folded).confidence(counted(edges, scores))
    assert found is not None
    assert (found.mean.lower, found.mean.upper) == (pytest.approx(confidence.mean()), pytest.approx(confidence.mean()))
    share = np.mean(confidence >= threshold)
    assert (found.high_ratio.lower, found.high_ratio.value, found.high_ratio.upper) == (pytest.approx(share),) * 3


@pytest.mark.parametrize("folded", [False, True])
def test_of_scores_that_lie_evenly_the_value_is_theirs(*, folded: bool) -> None:
    edges, scores = np.array([0.05, 0.3, 0.45, 0.62, 0.8]), np.linspace(0, 1, 200_001)
    confidence = np.maximum(scores, 1 - scores) if folded else scores
    for threshold in (0.2, 0.5, 0.55, 0.75, 0.9):
        found = ConfidenceBins(edges, threshold, folded=folded).confidence(counted(edges, scores))
        assert found is not None
        assert found.mean.value == pytest.approx(confidence.mean(), abs=1e-5)
        assert found.high_ratio.value == pytest.approx(np.mean(confidence >= threshold), abs=2e-5)


def test_without_scores_there_is_none() -> None:
    assert ConfidenceBins(np.array([0.5]), 0.9, folded=True).confidence(np.zeros(2, np.int64)) is None
