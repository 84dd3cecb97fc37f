"""PSI against its definition in plain python and against scipy's entropies, its laws, and its edges by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2, entropy

from detectors.psi import psi, psi_by_feature, psi_contributions
from tests.detectors.histograms import Histogram, Pair, end_to_end, pairs, reordered_pairs


def by_definition(reference: Histogram, current: Histogram, pseudocount: float) -> float:
    total = 0.0
    used = [(c, d) for c, d in zip(reference.tolist(), current.tolist(), strict=True) if c or d]
    for c, d in used:
        p = (c + pseudocount) / (sum(reference.tolist()) + pseudocount * len(used))
        q = (d + pseudocount) / (sum(current.tolist()) + pseudocount * len(used))
        total += (q - p) * (math.log(q) - math.log(p))
    return total


@given(pairs(), st.sampled_from([1e-4, 0.5, 1.0, 10.0]))
def test_psi_agrees_with_the_definition_and_with_scipy_entropies(pair: Pair, pseudocount: float) -> None:
    score = psi(*pair, pseudocount=pseudocount)
    used = (pair[0] + pair[1]) > 0
    p, q = (counts[used] + pseudocount for counts in pair)  # entropy() normalises
    assert score == pytest.approx(by_definition(*pair, pseudocount), rel=1e-9, abs=1e-12)
    assert score == pytest.approx(entropy(q, p) + entropy(p, q), rel=1e-9, abs=1e-12)


@given(pairs())
def test_without_pseudocount_psi_is_the_textbook_value_or_infinite(pair: Pair) -> None:
    assert psi(*pair, pseudocount=0) == pytest.approx(entropy(pair[1], pair[0]) + entropy(pair[0], pair[1]), rel=1e-9, abs=1e-12)


@given(pairs(), st.sampled_from([0.0, 0.5]))
def test_psi_is_symmetric_and_never_negative(pair: Pair, pseudocount: float) -> None:
    reference, current = pair
    score = psi(reference, current, pseudocount=pseudocount)
    assert score >= 0
    assert score == pytest.approx(psi(current, reference, pseudocount=pseudocount), rel=1e-9, abs=1e-12)


@given(pairs())
def test_psi_of_a_histogram_against_itself_is_exactly_zero(pair: Pair) -> None:
    assert psi(pair[0], pair[0]) == 0.0


@given(reordered_pairs())
def test_order_of_bins_does_not_change_psi(both: tuple[Pair, Pair]) -> None:
    pair, reordered = both
    assert psi(*reordered) == pytest.approx(psi(*pair), rel=1e-12, abs=1e-15)


@given(pairs(), st.sampled_from([0.0, 0.5]))
def test_contributions_are_never_negative_and_sum_to_psi(pair: Pair, pseudocount: float) -> None:
    contributions = psi_contributions(*pair, pseudocount=pseudocount)
    assert contributions.shape == pair[0].shape
    assert (contributions >= 0).all()
    assert contributions.sum() == pytest.approx(psi(*pair, pseudocount=pseudocount), rel=1e-12)


@given(st.lists(pairs(), min_size=1, max_size=8))
def test_features_scored_together_score_as_they_do_alone(several: list[Pair]) -> None:
    together = psi_by_feature(*end_to_end(several))
    np.testing.assert_allclose(together, [psi(*pair) for pair in several], rtol=1e-12)


def test_one_bin_cannot_drift() -> None:
    assert psi(np.array([7]), np.array([90_000])) == 0.0


def test_all_mass_in_opposite_bins_stays_finite_with_pseudocount_and_is_infinite_without() -> None:
    reference, current = np.array([99, 0]), np.array([0, 99])
    assert psi(reference, current) == pytest.approx(2 * 0.99 * math.log(199))  # shares 0.995 and 0.005
    assert psi(reference, current, pseudocount=0) == math.inf


@pytest.mark.parametrize("pseudocount", [0.0, 0.5])
def test_bins_empty_on_both_sides_change_nothing(pseudocount: float) -> None:
    kept_for_later = psi_contributions(np.array([5, 0, 5, 0]), np.array([80, 0, 20, 0]), pseudocount=pseudocount)
    alone = psi_contributions(np.array([5, 5]), np.array([80, 20]), pseudocount=pseudocount)
    assert kept_for_later.tolist() == [alone[0], 0.0, alone[1], 0.0]


@pytest.mark.parametrize(("n", "expected"), [(100, 0.12), (1_000, 0.23), (10_000, 0.35)])
def test_emptied_bin_of_five_percent_weighs_more_the_more_rows_there_are(n: int, expected: float) -> None:
    reference = np.array([n // 20, *[0] * 8, n - n // 20])
    current = np.array([0, *[0] * 8, n])
    assert psi_contributions(reference, current)[0] == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(("n", "m"), [(1_000, 1_000), (10_000, 1_000), (10_000, 100_000)])
def test_without_drift_psi_follows_the_scaled_chi_square(n: int, m: int) -> None:
    rng = np.random.default_rng(7)
    even = np.full(10, 0.1)
    scores = [psi(rng.multinomial(n, even), rng.multinomial(m, even)) for _ in range(2_000)]
    nominal = chi2.isf(0.05, df=9) * (1 / n + 1 / m)
    assert np.mean(scores) == pytest.approx(9 * (1 / n + 1 / m), rel=0.05)
    assert np.mean(np.array(scores) > nominal) == pytest.approx(0.05, abs=0.015)  # 3 standard errors of 2000 draws


def test_mismatched_histograms_are_refused() -> None:
    with pytest.raises(ValueError, match=r"cannot compare histograms: .*expected the same"):
        psi(np.array([1, 2]), np.array([1, 2, 3]))


def test_empty_window_is_refused_rather_than_scored() -> None:
    with pytest.raises(ValueError, match="total=0 in current feature 0, expected > 0"):
        psi(np.array([1, 2]), np.array([0, 0]))
