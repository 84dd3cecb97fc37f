"""Hellinger, total variation and Kullback-Leibler against numpy and scipy on raw rows, their laws, and their edges by hand."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cityblock, euclidean
from scipy.stats import entropy

from detectors.counts import Counts
from detectors.hellinger import hellinger, hellinger_by_feature
from detectors.kullback_leibler import kl, kl_by_feature
from detectors.psi import psi
from detectors.total_variation import total_variation, total_variation_by_feature
from tests.detectors.histograms import Pair, end_to_end, pairs, reordered_pairs

Score = Callable[[Counts, Counts], float]
SCORES: list[Score] = [hellinger, total_variation, kl]
DISTANCES: list[Score] = [hellinger, total_variation]


@given(pairs())
def test_scores_agree_with_scipy(pair: Pair) -> None:
    p, q = (side / side.sum() for side in pair)
    used = (pair[0] + pair[1]) > 0
    assert hellinger(*pair) == pytest.approx(euclidean(np.sqrt(p), np.sqrt(q)) / math.sqrt(2), rel=1e-9, abs=1e-12)
    assert total_variation(*pair) == pytest.approx(cityblock(p, q) / 2, rel=1e-9, abs=1e-12)
    assert kl(*pair) == pytest.approx(entropy(pair[1][used] + 0.5, pair[0][used] + 0.5), rel=1e-9, abs=1e-12)
    assert kl(*pair, pseudocount=0) == pytest.approx(entropy(pair[1], pair[0]), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("n", "m"), [(50, 200), (5_000, 1_000)])
def test_scores_of_raw_rows(n: int, m: int) -> None:
    rng = np.random.default_rng(n)
    before, now = rng.choice(["a", "b", "c"], n, p=[0.5, 0.3, 0.2]), rng.choice(["a", "b", "d"], m, p=[0.2, 0.3, 0.5])
    pair = tuple(np.array([(rows == value).sum() for value in "abcde"]) for rows in (before, now))
    p, q = ([float((rows == value).mean()) for value in "abcde"] for rows in (before, now))
    assert hellinger(*pair) == pytest.approx(math.sqrt(1 - sum(math.sqrt(a * b) for a, b in zip(p, q, strict=True))))
    assert total_variation(*pair) == pytest.approx(sum(max(a - b, 0) for a, b in zip(p, q, strict=True)))
    smooth = [((a * n + 0.5) / (n + 2), (b * m + 0.5) / (m + 2)) for a, b in zip(p[:4], q[:4], strict=True)]
    assert kl(*pair) == pytest.approx(sum(b * math.log(b / a) for a, b in smooth))


@given(pairs())
def test_scores_are_in_their_ranges_and_bound_one_another(pair: Pair) -> None:
    h, tv = hellinger(*pair), total_variation(*pair)
    assert 0 <= h <= 1
    assert 0 <= tv <= 1
    assert h**2 - 1e-12 <= tv <= math.sqrt(2) * h + 1e-12
    assert kl(*pair) >= 0
    assert kl(*pair) + kl(pair[1], pair[0]) == pytest.approx(psi(*pair), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("score", DISTANCES)
@given(pair=pairs())
def test_distances_are_symmetric(score: Score, pair: Pair) -> None:
    assert score(*pair) == pytest.approx(score(pair[1], pair[0]), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("score", SCORES)
@given(pair=pairs(), both=reordered_pairs())
def test_order_of_bins_changes_nothing_and_a_histogram_does_not_drift_from_itself(
    score: Score, pair: Pair, both: tuple[Pair, Pair]
) -> None:
    assert score(pair[0], pair[0]) == 0.0
    assert score(*both[1]) == pytest.approx(score(*both[0]), rel=1e-9, abs=1e-12)


@given(st.lists(pairs(), min_size=1, max_size=8))
def test_features_scored_together_score_as_they_do_alone(several: list[Pair]) -> None:
    ragged = end_to_end(several)
    for together, alone in (
        (hellinger_by_feature, hellinger),
        (total_variation_by_feature, total_variation),
        (kl_by_feature, kl),
    ):
        np.testing.assert_allclose(together(*ragged), [alone(*pair) for pair in several], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("score", SCORES)
def test_one_bin_cannot_drift_and_empty_bins_change_nothing(score: Score) -> None:
    assert score(np.array([7]), np.array([90_000])) == 0.0
    assert score(np.array([5, 0, 5, 0]), np.array([80, 0, 20, 0])) == score(np.array([5, 5]), np.array([80, 20]))


def test_opposite_bins_are_one_apart() -> None:
    assert hellinger(np.array([1, 2, 0]), np.array([0, 0, 5])) == pytest.approx(1)
    assert total_variation(np.array([1, 2, 0]), np.array([0, 0, 5])) == pytest.approx(1)
    assert kl(np.array([99, 0]), np.array([0, 99])) == pytest.approx(0.99 * math.log(199))  # shares 0.995 and 0.005
    assert kl(np.array([99, 0]), np.array([0, 99]), pseudocount=0) == math.inf


@pytest.mark.parametrize("score", SCORES)
def test_mismatched_and_empty_histograms_are_refused(score: Score) -> None:
    with pytest.raises(ValueError, match="expected the same"):
        score(np.array([1, 2]), np.array([1, 2, 3]))
    with pytest.raises(ValueError, match="total=0 in reference"):
        score(np.array([0, 0]), np.array([1, 2]))
    with pytest.raises(ValueError, match="total=0 in current"):
        score(np.array([1, 2]), np.array([0, 0]))
