"""Bad histograms are refused with what failed, the value and the rule; good ones become shares, feature by feature."""

import re

import numpy as np
import pytest

from detectors.counts import shares


@pytest.mark.parametrize(
    ("reference", "current", "starts", "message"),
    [
        ([1, 2, 3], [1, 2], [0], "reference.shape=(3,) vs current.shape=(2,), expected the same (n_bins,)"),
        ([[1, 2]], [[1, 2]], [0], "reference.shape=(1, 2) vs current.shape=(1, 2), expected the same (n_bins,)"),
        ([], [], [0], "starts=[0], expected 0, then increasing, all below n_bins=0"),
        ([1, 2], [1, 2], [], "starts=[], expected 0, then increasing"),
        ([1, 2], [1, 2], [1], "starts=[1], expected 0, then increasing"),
        ([1, 2], [1, 2], [0, 0, 1], "starts=[0, 0, 1], expected 0, then increasing"),
        ([1, 2], [1, 2], [0, 2], "starts=[0, 2], expected 0, then increasing, all below n_bins=2"),
        ([1, 2], [3, -1], [0], "least count=-1, expected >= 0"),
        ([0, 0], [1, 2], [0], "total=0 in reference feature 0, expected > 0"),
        ([1, 2, 3], [1, 2, 0], [0, 2], "total=0 in current feature 1, expected > 0"),
    ],
)
def test_histograms_that_cannot_be_compared_are_refused(reference: list[int], current: list[int], starts: list[int], message: str) -> None:
    with pytest.raises(ValueError, match="cannot compare histograms: .*" + re.escape(message)):
        shares(np.array(reference, np.int64), np.array(current, np.int64), np.array(starts, np.intp))


@pytest.mark.parametrize("pseudocount", [-0.5, float("nan")])
def test_pseudocount_below_zero_is_refused(pseudocount: float) -> None:
    with pytest.raises(ValueError, match=f"cannot smooth shares: pseudocount={pseudocount}, expected >= 0; "):
        shares(np.array([1]), np.array([1]), pseudocount=pseudocount)


def test_smoothed_shares_sum_to_one_in_each_feature() -> None:
    starts = np.array([0, 2, 5])
    pair = shares(np.array([3, 0, 1, 2, 3, 9]), np.array([0, 1, 5, 0, 0, 4]), starts, pseudocount=0.5)
    np.testing.assert_allclose(np.add.reduceat(pair, starts, axis=1), 1.0, rtol=1e-15)


def test_counts_are_not_modified() -> None:
    reference, current = np.array([3, 0]), np.array([1, 1])
    shares(reference, current, pseudocount=0.5)
    assert reference.tolist() == [3, 0]
    assert current.tolist() == [1, 1]
