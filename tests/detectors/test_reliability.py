"""Reliability from histograms, against numpy and scikit-learn on the raw scores."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from scipy.special import expit
from sklearn.calibration import calibration_curve

from detectors.reliability import Group, calibration_error, reliability
from detectors.score_bins import SCORE_EDGES
from tests.detectors.scored import Labels, Scores, counted, scored_rows, simulated


def members(groups: Sequence[Group], scores: Scores) -> list[Labels]:
    """Of each group the rows that it is about; those of 1 are of the last."""
    return [(group.low <= scores) & (scores < group.high) | (scores == 1) & (group is groups[-1]) for group in groups]


@given(scored_rows())
def test_each_group_holds_the_rows_between_its_edges_and_says_how_many_are_positive(rows: tuple[Scores, Labels]) -> None:
    scores, labels = rows
    groups = reliability(*counted(scores, labels), SCORE_EDGES)
    assert sum(group.n for group in groups) == scores.size
    assert all(before.high <= after.low for before, after in pairwise(groups))
    for group, inside in zip(groups, members(groups, scores), strict=True):
        assert group.n == inside.sum()
        assert group.observed == pytest.approx(labels[inside].mean())
        assert group.least - 1e-12 <= scores[inside].mean() <= group.most + 1e-12
        assert group.least <= group.mean_score <= group.most


@given(scored_rows())
def test_the_calibration_error_of_the_raw_scores_in_these_groups_lies_within_the_bounds(rows: tuple[Scores, Labels]) -> None:
    scores, labels = rows
    groups = reliability(*counted(scores, labels), SCORE_EDGES)
    found = calibration_error(groups)
    raw = sum(abs(labels[inside].mean() - scores[inside].mean()) * inside.mean() for inside in members(groups, scores))
    assert found is not None
    assert found.lower - 1e-12 <= raw <= found.upper + 1e-12
    assert 0 <= found.lower <= found.value <= found.upper <= 1


@pytest.mark.parametrize("kind", ["calibrated", "rare positives", "distorted"])
def test_groups_are_the_deciles_of_scikit_learn_where_no_scores_are_tied(kind: str) -> None:
    scores, labels = simulated(kind, np.random.default_rng(3), 10_000)
    order = np.argsort(scores)
    scores, labels = scores[order], labels[order]
    negatives, positives = (np.bincount(np.flatnonzero(side) + 1, minlength=scores.size + 1) for side in (~labels, labels))
    groups = reliability(negatives, positives, scores)
    observed, said = calibration_curve(labels, scores, n_bins=10, strategy="quantile")
    assert [group.n for group in groups] == [1_000] * 10
    assert [group.observed for group in groups] == pytest.approx(observed.tolist())
    assert [group.least for group in groups] == pytest.approx(said.tolist())
    found = calibration_error(groups)
    assert found is not None
    assert found.lower - 1e-12 <= np.abs(observed - said).mean() <= found.upper + 1e-12


def test_bounds_are_narrow_on_even_steps_of_the_log_odds() -> None:
    scores, labels = simulated("calibrated", np.random.default_rng(1), 50_000)
    edges = expit(np.linspace(-8, 8, 251))
    place = np.searchsorted(edges, scores, side="right")
    negatives, positives = (np.bincount(place[side], minlength=252) for side in (~labels, labels))
    found = calibration_error(reliability(negatives, positives, edges))
    assert found is not None
    assert found.upper - found.lower < 0.016  # the width of the widest bin


def test_scores_that_are_all_the_same_are_one_group() -> None:
    (group,) = reliability(np.array([0, 30, 0]), np.array([0, 10, 0]), np.array([0.25, 0.5]))
    assert (group.low, group.high, group.n, group.observed) == (0.25, 0.5, 40, 0.25)


def test_without_rows_there_is_no_group_and_no_error() -> None:
    assert reliability(np.zeros(2, int), np.zeros(2, int), np.array([0.5])) == ()
    assert calibration_error(()) is None


@pytest.mark.parametrize("counts", [([1, 2], [1]), ([1, -1], [1, 1]), ([1, 2, 3], [1, 2, 3])])
def test_histograms_that_do_not_fit_are_refused(counts: tuple[list[int], list[int]]) -> None:
    with pytest.raises(ValueError, match="cannot group scores"):
        reliability(np.array(counts[0]), np.array(counts[1]), np.array([0.5]))
