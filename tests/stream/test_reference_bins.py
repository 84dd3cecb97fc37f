"""Fine edges and coarse groups: laws over ties, atoms and zero inflation; numpy on the raw values as oracle."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.reference import Counts, Floats
from stream.reference_bins import coarse_groups, fine_edges


@st.composite
def samples(draw: st.DrawFn) -> Floats:
    """Up to 3000 values: continuous, rounded or few, with up to three values repeated often."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n = draw(st.integers(1, 3000))
    values = rng.normal(size=n) * 10.0 ** draw(st.integers(-12, 12))
    if draw(st.booleans()):
        values = np.round(values, draw(st.integers(0, 3)))
    for share in draw(st.lists(st.floats(0.001, 0.9), max_size=3)):
        values[rng.random(n) < share] = draw(st.sampled_from([0.0, values[0], 1.0, -7.5]))
    return values + 0.0


def counted(edges: Floats, values: Floats) -> Counts:
    return np.histogram(values, np.concatenate(([-np.inf], edges, [np.inf])))[0]


def binned(values: Floats, bins: int) -> tuple[Floats, Counts]:
    edges = fine_edges(values, values.min(), values.max(), bins)
    return edges, counted(edges, values)


@given(samples(), st.sampled_from([2, 10, 256]))
def test_edges_are_values_of_the_reference_or_the_number_after_one(values: Floats, bins: int) -> None:
    edges, counts = binned(values, bins)
    assert (np.diff(edges) > 0).all()
    assert np.isin(edges, np.concatenate((values, np.nextafter(values, np.inf)))).all()
    assert (edges[0], edges[-1]) == (values.min(), np.nextafter(values.max(), np.inf))
    assert counts[0] == counts[-1] == 0
    assert counts.sum() == values.size
    assert edges.size <= 2 * bins + 1


@given(samples(), st.sampled_from([2, 10, 256]))
def test_repeated_value_with_a_share_of_one_bin_has_a_bin_for_itself(values: Floats, bins: int) -> None:
    edges, counts = binned(values, bins)
    atoms = {
        value: count for value, count in zip(*np.unique(values, return_counts=True), strict=True) if count >= max(2, values.size / bins)
    }
    for value, count in atoms.items():
        place = np.searchsorted(edges, value, side="right")
        assert (edges[place - 1], edges[place], counts[place]) == (value, np.nextafter(value, np.inf), count)


@given(samples(), st.sampled_from([2, 10, 256]))
def test_bin_of_several_values_holds_at_most_two_shares(values: Floats, bins: int) -> None:
    edges, counts = binned(values, bins)
    several = np.nextafter(edges[:-1], np.inf) < edges[1:]
    assert counts[1:-1][several].max(initial=0) <= 2 * values.size / bins + 1  # its own share, and ties of its edge below the quantile


@pytest.mark.parametrize("n", [256, 1000, 99_991])
def test_edges_of_continuous_values_are_their_quantiles(n: int) -> None:
    values = np.random.default_rng(1).lognormal(size=n)
    edges, counts = binned(values, 256)
    levels = np.arange(256) / 256
    assert edges.size == 257
    assert (np.quantile(values, levels, method="lower") <= edges[:-1]).all()
    assert (edges[:-1] <= np.quantile(values, levels, method="higher")).all()
    assert np.ptp(counts[1:-1]) <= 1


def test_edges_of_a_sample_still_span_the_whole_reference() -> None:
    edges = fine_edges(np.array([2.0, 3.0]), -5.0, 9.0, 256)
    assert edges.tolist() == [-5.0, 2.0, 3.0, np.nextafter(9.0, 10.0)]
    assert fine_edges(np.empty(0), -5.0, 9.0, 256).tolist() == [-5.0, np.nextafter(9.0, 10.0)]


def masses(values: Floats, *, bins: int = 256, coarse: int = 10) -> list[int]:
    edges, counts = binned(values, bins)
    return np.bincount(coarse_groups(edges, counts, coarse), counts).astype(int).tolist()


def test_constant_has_the_groups_below_at_and_above() -> None:
    assert masses(np.full(50, 3.25)) == [0, 50, 0]
    assert masses(np.array([3.25])) == [0, 1, 0]


def test_continuous_values_have_equal_groups() -> None:
    groups = masses(np.random.default_rng(2).normal(size=25_600))
    assert len(groups) == 10
    assert max(groups) - min(groups) <= 100  # one fine bin


def test_zeros_of_a_zero_inflated_feature_are_their_own_group() -> None:
    values = np.random.default_rng(3).exponential(size=10_000)
    values[:6_000] = 0.0
    groups = masses(values)
    assert groups[:2] == [0, 6_000]  # nothing is below the zeros
    assert len(groups) == 6
    assert max(groups[2:]) - min(groups[2:]) <= 80


def test_two_values_have_groups_below_between_and_above() -> None:
    assert masses(np.array([0.0, 1.0] * 50)) == [0, 50, 0, 50, 0]


def test_out_of_range_bins_join_their_neighbours() -> None:
    values = np.arange(100.0)
    edges, counts = binned(values, 4)
    assert coarse_groups(edges, counts, 2).tolist() == [0, 0, 0, 1, 1, 1]
    assert coarse_groups(edges, counts, 10).tolist() == [0, 0, 1, 2, 3, 3]


def test_values_between_two_heavy_ones_are_grouped_by_themselves() -> None:
    values = np.concatenate((np.zeros(300), np.linspace(0.1, 0.9, 400), np.ones(300)))
    groups = masses(values)
    assert (groups[:2], groups[-2:]) == ([0, 300], [300, 0])
    assert len(groups) == 8
    assert max(groups[2:-2]) <= 110


def test_without_values_there_is_one_group() -> None:
    assert coarse_groups(np.zeros(1), np.zeros(2, np.int64), 10).tolist() == [0, 0]
    assert coarse_groups(np.zeros(1), np.array([3, 4]), 10).tolist() == [0, 0]


@given(samples(), st.sampled_from([2, 5, 10]))
def test_groups_are_consecutive_even_and_leave_heavy_values_alone(values: Floats, coarse: int) -> None:
    edges, counts = binned(values, 256)
    groups = coarse_groups(edges, counts, coarse)
    assert groups[0] == 0
    assert np.isin(np.diff(groups), (0, 1)).all()
    one_value = np.concatenate(([False], np.nextafter(edges[:-1], np.inf) == edges[1:], [False]))
    heavy = one_value & (counts * coarse >= values.size)
    sizes, mass = np.bincount(groups), np.bincount(groups, counts)
    assert (sizes[groups[heavy]] == 1).all()
    light = np.setdiff1d(groups, groups[heavy])
    assert mass[light].max(initial=0) <= 1.5 * values.size / coarse + counts[~heavy].max(initial=0)
    for end, neighbour in ((0, 1), (-1, -2)):
        assert (groups[end] == groups[neighbour]) != heavy[neighbour]
