"""Drift of mean and standard deviation against numpy on the raw rows, and its edges by hand."""

import numpy as np
import pytest

from detectors.mean_std import mean_std_drift
from tests.detectors.rows import KINDS, SIZES, moments, samples


@pytest.mark.parametrize(("n", "m"), SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_score_is_the_formula_on_the_raw_rows(kind: str, n: int, m: int) -> None:
    before, now = samples(kind, np.random.default_rng(n + m), n, m)
    eps = 1e-6 * np.abs(before).max()
    of_mean = abs(now.mean() - before.mean()) / (abs(before.mean()) + eps)
    of_std = abs(now.std() - before.std()) / (before.std() + eps)
    found = mean_std_drift(moments(before), moments(now))
    assert found.score == pytest.approx((of_mean + of_std) / 2)
    assert found.mean_shift == pytest.approx((now.mean() - before.mean()) / before.std())


def test_units_do_not_change_it() -> None:
    before, now = samples("skewed", np.random.default_rng(0), 500, 300)
    plain = mean_std_drift(moments(before), moments(now))
    tiny = mean_std_drift(moments(before * 1e-12), moments(now * 1e-12))
    assert (tiny.score, tiny.mean_shift) == (pytest.approx(plain.score), pytest.approx(plain.mean_shift))


def test_a_constant_does_not_drift_until_it_changes() -> None:
    five, six, zero = (moments(np.full(10, value)) for value in (5.0, 6.0, 0.0))
    assert mean_std_drift(five, five).score == mean_std_drift(zero, zero).score == 0.0
    assert mean_std_drift(five, six).score == pytest.approx(0.1, rel=1e-4)
    assert mean_std_drift(five, six).mean_shift == pytest.approx(2e5)
    assert mean_std_drift(zero, five).score == 2.5  # eps is 1 where there is no scale
