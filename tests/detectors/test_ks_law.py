"""The law of KS with ties: against the normal law where it is that, against simulated bridges, and on raw rows."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import kolmogorov
from scipy.stats import norm

from detectors.kolmogorov_smirnov import ks
from detectors.ks_law import tied_ratio
from stream.reference_bins import fine_edges

Rows = NDArray[np.float64]
ROWS = 10**6  # of either side, so that shares are as given
X = [0.1, 0.5, 1.0, 1.36, 1.63, 2.4]  # scaled differences; the third and fourth have p-values of 5 % and 1 % without ties


def tail(x: float, shares: list[float], points: list[bool]) -> float:
    """The p-value, in the limit of many rows, of a scaled difference."""
    counts = np.round(np.array(shares) * ROWS).astype(np.int64)
    return tied_ratio(x / np.sqrt(ROWS / 2), counts, counts, np.array(points)) * float(kolmogorov(x))


@pytest.mark.parametrize("x", X)
@pytest.mark.parametrize("share", [0.03, 0.3, 0.5, 0.9])
def test_of_two_values_it_is_the_normal_test_of_a_share(x: float, share: float) -> None:
    expected = 2 * norm.sf(x / np.sqrt(share * (1 - share)))
    assert tail(x, [share, 1 - share], [True, True]) == pytest.approx(expected, rel=1e-3, abs=1e-9)


@pytest.mark.parametrize("x", X)
def test_without_values_that_many_rows_share_it_is_kolmogorovs(x: float) -> None:
    assert tail(x, [0.5, 0.5], [False, False]) == kolmogorov(x)
    assert tail(x, [0.01] * 100, [True] * 100) == kolmogorov(x)


@pytest.mark.parametrize(
    ("shares", "points"),
    [
        ([0.2] * 5, [True] * 5),
        ([0.05] * 20, [True] * 20),
        ([0.6, 0.4], [True, False]),
        ([0.1, 0.3, 0.1, 0.4, 0.1], [False, True, False, True, False]),
        ([0.3, 0.01, 0.29, 0.4], [True, False, True, False]),
    ],
)
def test_it_is_how_often_bridges_leave_but_inside_jumps(shares: list[float], points: list[bool]) -> None:
    rng, draws, parts = np.random.default_rng(1), 20_000, 400
    widths = np.concatenate(
        [
            [share] if jump else np.full(round(parts * share), share / round(parts * share))
            for share, jump in zip(shares, points, strict=True)
        ]
    )
    motion = np.cumsum(rng.normal(size=(draws, widths.size)) * np.sqrt(widths), axis=1)
    highest = np.abs(motion - np.cumsum(widths) * motion[:, -1:]).max(axis=1)
    for x in (0.8, 1.2):
        expected, unseen = np.mean(highest >= x), 0.6 / np.sqrt(parts)  # a walk of steps leaves later than what it is made of: 0.583 steps
        error = 4 * np.sqrt(expected / draws)
        assert expected - error <= tail(x, shares, points) <= np.mean(highest >= x - unseen) + error


def test_the_ratio_is_never_above_one_and_falls_with_ties() -> None:
    for x in np.linspace(0.01, 4, 30):
        few, many = (tail(float(x), [1 / k] * k, [True] * k) for k in (3, 20))
        assert 0 <= few <= many * (1 + 1e-9) <= kolmogorov(x) * (1 + 1e-6)


def test_without_any_difference_the_p_value_stays_one() -> None:
    for reference, current in (([9, 0], [5, 0]), ([50, 50], [7, 7])):
        assert tied_ratio(0.0, np.array(reference), np.array(current), np.array([True, True])) == 1.0


def test_sides_without_a_value_in_common_have_a_ratio_at_any_size() -> None:
    for n in (1, 10**9):
        assert 0 <= tied_ratio(1.0, np.array([n, 0]), np.array([0, n]), np.array([True, True])) <= 1


KINDS = {
    "a share of zeros": lambda rng, size: np.where(rng.random(size) < 0.8, 0.0, rng.exponential(size=size)),
    "five whole numbers": lambda rng, size: rng.integers(5, size=size).astype(float),
    "twenty whole numbers": lambda rng, size: rng.integers(20, size=size).astype(float),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("m", "n"), [(400, 400), (4_000, 300)])
def test_without_drift_alarms_are_as_frequent_as_said_although_rows_are_tied(kind: str, m: int, n: int) -> None:
    rng, draw, draws = np.random.default_rng(2), KINDS[kind], 2_000
    tied = untied = 0
    for _ in range(draws):
        before, now = draw(rng, m), draw(rng, n)
        edges = fine_edges(before, float(before.min()), float(before.max()), 256)
        of = [np.bincount(np.searchsorted(edges, rows, side="right"), minlength=edges.size + 1) for rows in (before, now)]
        points = np.concatenate(([False], np.nextafter(edges[:-1], np.inf) == edges[1:], [False]))
        found = ks(*of, points=points)
        untied += found.p_value <= 0.05
        tied += found.p_value * tied_ratio(found.statistic, *of, points) <= 0.05
    margin = 4 * np.sqrt(0.05 / draws)
    assert 0.05 * 0.8 - margin <= tied / draws <= 0.05 + margin
    assert untied <= tied
