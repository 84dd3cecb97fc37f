"""The bins named are those that move the PSI, in order, with the shares a reader would compute."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.explain import top_bins
from detectors.psi import psi
from tests.detectors.histograms import Pair, pairs


@given(pairs(), st.integers(0, 40))
def test_top_bins_come_largest_first_and_name_the_bin_they_describe(pair: Pair, most: int) -> None:
    reference, current = pair
    bins = top_bins(reference, current, [str(i) for i in range(reference.size)], most=most)
    contributions = [moved.contribution for moved in bins]
    assert len(bins) <= most
    assert contributions == sorted(contributions, reverse=True)
    assert all(moved.contribution > 0 for moved in bins)
    for moved in bins:
        assert moved.reference == reference[int(moved.label)] / reference.sum()
        assert moved.current == current[int(moved.label)] / current.sum()


@given(pairs())
def test_all_bins_together_explain_the_whole_psi(pair: Pair) -> None:
    bins = top_bins(*pair, [""] * pair[0].size, most=pair[0].size)
    assert sum(moved.contribution for moved in bins) == pytest.approx(psi(*pair), rel=1e-12)


def test_bins_that_did_not_move_are_left_out() -> None:
    bins = top_bins(np.array([50, 20, 30]), np.array([50, 10, 40]), ["same", "down", "up"])
    assert [moved.label for moved in bins] == ["down", "up"]


def test_ties_keep_bin_order() -> None:
    bins = top_bins(np.full(40, 10), np.array([2, 18] * 20), [str(i) for i in range(40)], most=40)
    assert [moved.label for moved in bins] == [
        str(i) for i in (*range(0, 40, 2), *range(1, 40, 2))
    ]  # a fall to 2 weighs more than a rise to 18


def test_shares_are_those_observed_while_the_contribution_is_smoothed() -> None:
    (moved,) = top_bins(np.array([30, 70]), np.array([0, 10]), ["low", "high"], most=1)
    p, q = 30.5 / 101, 0.5 / 11
    assert (moved.label, moved.reference, moved.current) == ("low", 0.3, 0.0)
    assert moved.contribution == pytest.approx((q - p) * math.log(q / p))


def test_no_drift_has_no_top_bins() -> None:
    assert top_bins(np.array([50, 50]), np.array([50, 50]), ["a", "b"]) == ()


def test_labels_that_do_not_fit_the_bins_are_refused() -> None:
    with pytest.raises(ValueError, match=r"cannot name bins: len\(labels\)=1, expected n_bins=2; "):
        top_bins(np.array([1, 2]), np.array([2, 1]), ["a"])
