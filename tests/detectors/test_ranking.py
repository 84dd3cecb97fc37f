"""Ranking metrics from histograms, against scikit-learn on the raw scores."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from detectors.intervals import wilson
from detectors.ranking import average_precision, lift, precision_at_fpr, recall_at_fpr, roc_auc, roc_auc_interval
from tests.detectors.scored import auc_by_pairs, wilson_by_roots

EDGES = np.array([0.0, 1e-9, *expit(np.linspace(-6, 6, 30)), 1.0])
POINTS = np.zeros(EDGES.size + 1, bool)


def binned(labels: np.ndarray[Any, Any], scores: np.ndarray[Any, Any], edges: np.ndarray[Any, Any] = EDGES) -> list[np.ndarray[Any, Any]]:
    place = np.searchsorted(edges, scores, side="right")
    return [np.bincount(place[labels == label], minlength=edges.size + 1) for label in (0, 1)]


@st.composite
def raw(draw: st.DrawFn) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Labels and scores with one of each class at least: ties, scores at 0 and 1, few positives."""
    score = st.floats(0, 1) | st.sampled_from([0.0, 1.0, 0.5, 0.1, 0.9]) | st.floats(0, 0.02)
    rows = draw(st.lists(st.tuples(st.integers(0, 9), score), min_size=2, max_size=80))
    labels = np.array([int(label < draw(st.sampled_from([1, 5]))) for label, _ in rows])
    labels[:2] = 0, 1
    return labels, np.array([score for _, score in rows])


def recall_at(labels: np.ndarray[Any, Any], scores: np.ndarray[Any, Any], rate: float) -> tuple[float, float]:
    """Recall and the false positives at the lowest threshold that keeps the rate, from the raw rows."""
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    kept = np.flatnonzero(fpr <= rate + 1e-12)[-1]
    return float(tpr[kept]), float(fpr[kept] * (labels == 0).sum())


@given(raw())
@settings(max_examples=300, deadline=None)
def test_metrics_of_the_raw_scores_lie_within_the_bounds(rows: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]) -> None:
    labels, scores = rows
    negatives, positives = binned(labels, scores)
    for metric, oracle in ((roc_auc, roc_auc_score), (average_precision, average_precision_score)):
        found = metric(negatives, positives)
        assert found is not None
        assert found.lower - 1e-12 <= oracle(labels, scores) <= found.upper + 1e-12
        assert 0 <= found.lower <= found.value <= found.upper <= 1
    for rate in (0.01, 0.05, 0.3):
        recall, false = recall_at(labels, scores, rate)
        found = recall_at_fpr(negatives, positives, rate)
        assert found is not None
        assert found.lower - 1e-12 <= recall <= found.upper + 1e-12
        precise = precision_at_fpr(negatives, positives, rate)
        if precise is not None and recall > 0:
            hits = recall * (labels == 1).sum()
            assert precise.lower - 1e-12 <= hits / (hits + false) <= precise.upper + 1e-12


@given(raw())
@settings(max_examples=200, deadline=None)
def test_with_a_bin_for_every_score_the_metrics_are_those_of_the_raw_rows(rows: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]) -> None:
    labels, scores = rows
    negatives, positives = binned(labels, scores, np.unique(scores))
    points = np.ones(negatives.size, bool)
    for metric, oracle in ((roc_auc, roc_auc_score), (average_precision, average_precision_score)):
        found = metric(negatives, positives, points=points)
        assert found is not None
        assert found.value == pytest.approx(oracle(labels, scores), abs=1e-12)
        assert (found.lower, found.upper) == pytest.approx((found.value, found.value), abs=1e-12)
    recall = recall_at_fpr(negatives, positives, 0.2)
    assert recall is not None
    assert recall.value == pytest.approx(recall_at(labels, scores, 0.2)[0], abs=1e-12)


@given(raw(), st.sampled_from([0.8, 0.95, 0.999]))
@settings(max_examples=200, deadline=None)
def test_the_interval_of_the_auc_is_that_of_all_pairs_of_rows(
    rows: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]], confidence: float
) -> None:
    labels, scores = rows
    for edges, seen in ((np.unique(scores), scores), (EDGES, np.searchsorted(EDGES, scores, side="right"))):  # those of a bin tie
        found = roc_auc_interval(*binned(labels, scores, edges), confidence)
        if min(np.bincount(labels)) == 1:
            assert found == pytest.approx(wilson_by_roots(float(roc_auc_score(labels, seen)), 1, confidence), abs=1e-9)
        else:
            auc, lower, upper = auc_by_pairs(labels, seen, confidence)
            assert auc == pytest.approx(roc_auc_score(labels, seen))
            assert found == pytest.approx((lower, upper), abs=1e-9)


@pytest.mark.parametrize("auc", [0.5, 0.8, 0.97, 0.99])
@pytest.mark.parametrize(("positive", "negative"), [(8, 80), (20, 20), (20, 1_000), (300, 1_500)])
@pytest.mark.parametrize("spread", [1.0, 2.0])
def test_the_interval_of_the_auc_covers_it_as_often_as_asked(auc: float, positive: int, negative: int, spread: float) -> None:
    rng, times = np.random.default_rng(positive), 600
    shift = norm.ppf(auc) * np.hypot(1, spread)
    edges = np.linspace(-5, 8, 400)
    inside, wide = 0, 0.0
    for _ in range(times):
        sides = rng.normal(0, 1, negative), rng.normal(shift, spread, positive)
        found = roc_auc_interval(*(np.bincount(np.searchsorted(edges, side), minlength=401) for side in sides))
        assert found is not None
        inside += found[0] <= auc <= found[1]
        wide += (found[1] - found[0]) / times
    assert inside / times >= 0.89  # 0.906 is the least of the simulation in the docstring, its standard error here is 0.012
    if auc <= 0.9 and positive == 300:
        assert inside / times <= 0.985  # and it is not just wide


def test_without_a_pair_in_the_wrong_order_the_auc_is_as_uncertain_as_a_share_of_the_rarer_class() -> None:
    for counts in (([80, 0], [0, 20]), ([20, 0], [0, 300])):
        found = roc_auc_interval(*map(np.array, counts))
        assert found == pytest.approx(wilson_by_roots(1.0, 20), abs=1e-12)


def test_the_interval_of_the_auc_narrows_to_that_of_delong_with_many_rows() -> None:
    rng = np.random.default_rng(5)
    labels = rng.random(4_000) < 0.3
    scores = (rng.normal(size=labels.size) + 2 * labels).round(1)
    negatives, positives = binned(labels.astype(int), scores, np.unique(scores))
    found = roc_auc_interval(negatives, positives)
    assert found is not None
    wins = (scores[labels][:, None] > scores[~labels]) + 0.5 * (scores[labels][:, None] == scores[~labels])
    deviation = np.sqrt(sum(np.var(wins.mean(axis=axis), ddof=1) / wins.shape[1 - axis] for axis in (0, 1)))
    assert found[1] - found[0] == pytest.approx(2 * norm.ppf(0.975) * deviation, rel=0.02)


@pytest.mark.parametrize(("shift", "spread"), [(1.0, 1.0), (2.0, 1.0), (3.0, 1.0), (2.0, 2.0), (3.0, 0.5)])
@pytest.mark.parametrize(("positive", "negative"), [(20, 200), (20, 20), (100, 2_000)])
def test_average_precision_is_at_most_as_uncertain_as_a_share_of_the_positives(
    shift: float, spread: float, positive: int, negative: int
) -> None:
    rng, times = np.random.default_rng(positive), 500
    edges = np.linspace(-5, 8, 400)
    shares = [np.diff(np.concatenate(([0], norm.cdf(edges, *law), [1]))) for law in ((0, 1), (shift, spread))]
    hits, false = positive * np.cumsum(shares[1][::-1]), negative * np.cumsum(shares[0][::-1])
    truth = float(shares[1][::-1] @ (hits / (hits + false)))  # of unlimited rows of the same kinds, as many times more of one
    inside = 0
    for _ in range(times):
        counts = [rng.multinomial(n, law) for n, law in zip((negative, positive), shares, strict=True)]
        found = average_precision(*counts)
        assert found is not None
        lower, upper = wilson(np.array(found.value * positive), np.array(positive))
        inside += bool(lower <= truth <= upper)
    assert inside / times >= 0.92


def test_bounds_are_narrow_with_many_bins() -> None:
    rng = np.random.default_rng(1)
    labels = (rng.random(50_000) < 0.02).astype(int)
    scores = expit(rng.normal(size=labels.size) + 2 * labels - 4)
    edges = expit(np.linspace(-8, 8, 251))
    negatives, positives = binned(labels, scores, edges)
    for metric, oracle, width in ((roc_auc, roc_auc_score, 0.01), (average_precision, average_precision_score, 0.05)):
        found = metric(negatives, positives)
        assert found is not None
        assert found.upper - found.lower < width
        assert found.lower <= oracle(labels, scores) <= found.upper


@pytest.mark.parametrize("counts", [([0, 0], [1, 2]), ([1, 2], [0, 0]), ([0, 0], [0, 0])])
def test_without_one_of_the_classes_everything_is_undefined(counts: tuple[list[int], list[int]]) -> None:
    negatives, positives = map(np.array, counts)
    assert roc_auc(negatives, positives) is None
    assert average_precision(negatives, positives) is None
    assert roc_auc_interval(negatives, positives) is None
    assert recall_at_fpr(negatives, positives, 0.1) is None
    assert precision_at_fpr(negatives, positives, 0.1) is None
    assert lift(negatives, positives) is None


def test_lift_is_the_rate_of_positives_among_the_highest_over_the_rate_among_all() -> None:
    rng = np.random.default_rng(2)
    labels = (rng.random(10_000) < 0.1).astype(int)
    scores = rng.random(labels.size) + 0.5 * labels
    negatives, positives = binned(labels, scores, np.unique(scores))
    top = np.argsort(-scores)[:1_000]
    found = lift(negatives, positives, 0.1)
    assert found is not None
    assert (found.value, found.lower, found.upper) == pytest.approx((labels[top].mean() / labels.mean(),) * 3, rel=1e-9)


@given(raw(), st.sampled_from([0.1, 0.25, 0.5]))
@settings(max_examples=200, deadline=None)
def test_lift_of_the_raw_scores_lies_within_the_bounds_however_ties_are_broken(
    rows: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]], share: float
) -> None:
    labels, scores = rows
    found = lift(*binned(labels, scores), share)
    assert found is not None
    for ties in (labels, 1 - labels):  # negatives first, positives first
        order = np.lexsort((ties, -scores))
        taken = np.clip(share * labels.size - np.arange(labels.size), 0, 1)
        assert found.lower - 1e-9 <= labels[order] @ taken / labels.sum() / share <= found.upper + 1e-9
    assert 0 <= found.lower <= found.value <= found.upper <= 1 / share + 1e-9


@pytest.mark.parametrize("counts", [([1, 2], [1]), ([1, -1], [1, 1])])
def test_histograms_that_do_not_fit_are_refused(counts: tuple[list[int], list[int]]) -> None:
    with pytest.raises(ValueError, match="cannot compare scores"):
        roc_auc(*map(np.array, counts))


@pytest.mark.parametrize("times", [10**9, 10**15])
def test_billions_of_rows_rank_as_few_do(times: int) -> None:
    negatives, positives = np.array([5, 3, 1, 0]), np.array([0, 1, 2, 4])
    for metric in (roc_auc, lift):
        few, many = metric(negatives, positives), metric(negatives * times, positives * times)
        assert few is not None
        assert many is not None
        assert (many.value, many.lower, many.upper) == pytest.approx((few.value, few.lower, few.upper), rel=1e-12)
