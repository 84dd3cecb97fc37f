"""Aggregates are a commutative monoid: merging is associative and commutative, zero is neutral, and cutting a batch changes nothing.

Counts are integers, so their laws hold exactly; moments hold to rounding, with numpy over the raw rows as the oracle.
"""

from functools import reduce

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream.aggregates import (
    M2,
    MAXIMUM,
    MEAN,
    MINIMUM,
    MOMENTS_LIMIT,
    Aggregate,
    Layout,
    LayoutMismatch,
    N,
    grouped_moments,
    merge_moments,
    zero_moments,
)

WIDTH, CODES_PER_EVENT, VALUES_PER_EVENT = 12, 3, 2
LAYOUT = Layout(b"one layout".ljust(16), WIDTH, VALUES_PER_EVENT)
HEADER_BYTES, VALUE_BYTES = 25, 8

Event = tuple[list[int], list[float]]
Floats = npt.NDArray[np.float64]

# Doubles of every size, below the limit; ordinary ones more often, since they show wrong rounding.
numbers = st.floats(-1e6, 1e6) | st.floats(-MOMENTS_LIMIT, MOMENTS_LIMIT) | st.just(float("nan"))
events = st.lists(
    st.tuples(
        st.lists(st.integers(0, WIDTH - 1), min_size=CODES_PER_EVENT, max_size=CODES_PER_EVENT),
        st.lists(numbers, min_size=VALUES_PER_EVENT, max_size=VALUES_PER_EVENT),
    ),
    max_size=20,
)
columns = st.lists(numbers, max_size=30).map(lambda values: np.array(values, np.float64))
law = settings(deadline=None, max_examples=100)


def aggregate(batch: list[Event]) -> Aggregate:
    """What a batch of events comes to."""
    held = Aggregate.zero(LAYOUT)
    update(held, batch)
    return held


def update(held: Aggregate, batch: list[Event]) -> None:
    codes = np.array([codes for codes, _ in batch], np.int64).reshape(-1, CODES_PER_EVENT).T
    values = np.array([values for _, values in batch], np.float64).reshape(-1, VALUES_PER_EVENT).T
    everyone = np.zeros(len(batch), np.int64)
    np.add.at(held.counts, codes, 1)
    held.moments = merge_moments(held.moments, grouped_moments(everyone, 1, values)[0])


def of_counts(counts: npt.ArrayLike, moments: int = 0) -> Aggregate:
    array = np.array(counts, np.int64)
    return Aggregate(Layout(LAYOUT.fingerprint, array.size, moments), array, zero_moments(moments))


def assert_same_moments(a: Floats, b: Floats) -> None:
    """Equal but for rounding: of the mean by the size of the values, of the squares by the square of it."""
    for one, other in zip(a, b, strict=True):
        assert one[N] == other[N]
        assert (one[MINIMUM], one[MAXIMUM]) == (other[MINIMUM], other[MAXIMUM])
        size = max(abs(one[MINIMUM]), abs(one[MAXIMUM])) if one[N] else 0.0
        assert one[MEAN] == pytest.approx(other[MEAN], rel=1e-12, abs=1e-13 * size)
        assert one[M2] == pytest.approx(other[M2], rel=1e-9, abs=1e-13 * size**2 * one[N])


def assert_same(a: Aggregate, b: Aggregate) -> None:
    assert a.counts.tolist() == b.counts.tolist()
    assert_same_moments(a.moments, b.moments)


@given(events, events, events)
@law
def test_merging_is_associative(a: list[Event], b: list[Event], c: list[Event]) -> None:
    x, y, z = map(aggregate, (a, b, c))
    assert_same(x.merge(y).merge(z), x.merge(y.merge(z)))


@given(events, events)
@law
def test_merging_is_commutative(a: list[Event], b: list[Event]) -> None:
    assert_same(aggregate(a).merge(aggregate(b)), aggregate(b).merge(aggregate(a)))


@given(events)
@example([([0, 0, 0], [MOMENTS_LIMIT, -MOMENTS_LIMIT])])
@law
def test_zero_is_neutral_to_the_last_bit(a: list[Event]) -> None:
    held, zero = aggregate(a), Aggregate.zero(LAYOUT)
    for merged in (held.merge(zero), zero.merge(held)):
        assert merged.counts.tolist() == held.counts.tolist()
        assert merged.moments.tolist() == held.moments.tolist()


@given(events, events)
@law
def test_a_batch_may_be_cut_anywhere(a: list[Event], b: list[Event]) -> None:
    whole, cut = aggregate(a + b), aggregate(a)
    assert_same(whole, cut.merge(aggregate(b)))
    update(cut, b)
    assert_same(whole, cut)


@given(st.lists(events, min_size=1, max_size=6))
@example([[([0, 0, 0], [MOMENTS_LIMIT, -MOMENTS_LIMIT])]] * 3)
@law
def test_all_at_once_are_what_they_are_one_after_the_other(parts: list[list[Event]]) -> None:
    held = [aggregate(part) for part in parts]
    assert_same(Aggregate.merge_all(held), reduce(Aggregate.merge, held))


@given(events, events)
@law
def test_merging_modifies_neither(a: list[Event], b: list[Event]) -> None:
    x, y = aggregate(a), aggregate(b)
    before = (x.encode(), y.encode())
    x.merge(y)
    assert (x.encode(), y.encode()) == before


@given(columns)
@law
def test_moments_are_those_numpy_computes_from_the_raw_rows(column: Floats) -> None:
    moments = grouped_moments(np.zeros(column.size, np.int64), 1, column[None])[0, 0]
    kept = column[~np.isnan(column)]
    assert moments[N] == kept.size
    if kept.size:
        size = float(np.abs(kept).max())
        assert moments[MEAN] == pytest.approx(kept.mean(), rel=1e-12, abs=1e-13 * size)
        assert moments[M2] == pytest.approx(kept.var() * kept.size, rel=1e-9, abs=1e-13 * size**2 * kept.size)
        assert (moments[MINIMUM], moments[MAXIMUM]) == (kept.min(), kept.max())


def test_values_far_from_zero_keep_their_variance() -> None:
    rng = np.random.default_rng(1)
    column = 1e9 + rng.normal(0, 1, 10_000)
    held = zero_moments(1)
    for part in np.array_split(column, 7):
        held = merge_moments(held, grouped_moments(np.zeros(part.size, np.int64), 1, part[None])[0])
    assert held[0, M2] / column.size == pytest.approx(column.var(), rel=1e-6)


@given(st.lists(st.tuples(st.integers(0, 3), numbers, numbers), max_size=40), st.integers(4, 6))
@law
def test_moments_by_group_are_those_of_a_plain_loop(rows: list[tuple[int, float, float]], n_groups: int) -> None:
    table = np.array(rows, np.float64).reshape(-1, 3).T
    groups = table[0].astype(np.int64)
    found = grouped_moments(groups, n_groups, table[1:])
    assert found.shape == (n_groups, 2, 5)
    for group in range(n_groups):
        alone = table[1:, groups == group]
        assert_same_moments(found[group], grouped_moments(np.zeros(alone.shape[1], np.int64), 1, alone)[0])


@pytest.mark.parametrize("extreme", [1e300, -1e300, 1.8e308, 5e-324, 1e-300, np.inf, -np.inf, 0.0])
def test_moments_stay_finite_whatever_the_values(extreme: float) -> None:
    column = np.array([extreme, -extreme, 1.0, extreme] * 50)
    moments = grouped_moments(np.zeros(column.size, np.int64), 1, column[None])[0]
    merged = merge_moments(merge_moments(moments, zero_moments(1)), moments)
    for table in (moments, merged, merge_moments(zero_moments(1), moments)):
        assert np.isfinite(table).all()
        assert table[0, MINIMUM] <= table[0, MEAN] <= table[0, MAXIMUM]
        assert table[0, M2] >= 0


def test_values_past_the_limit_count_as_the_limit() -> None:
    moments = grouped_moments(np.zeros(2, np.int64), 1, np.array([[1e300, -np.inf]]))[0, 0]
    assert moments.tolist() == [2, 0, pytest.approx(2 * MOMENTS_LIMIT**2), -MOMENTS_LIMIT, MOMENTS_LIMIT]


def test_values_that_are_all_missing_have_the_moments_of_none() -> None:
    nothing = grouped_moments(np.zeros(3, np.int64), 2, np.full((1, 3), np.nan))
    assert nothing.tolist() == [zero_moments(1).tolist()] * 2


@given(events)
@law
def test_an_aggregate_survives_its_encoding(a: list[Event]) -> None:
    held = aggregate(a)
    read = Aggregate.decode(LAYOUT, held.encode())
    assert read.counts.dtype == np.int64
    assert read.counts.tolist() == held.counts.tolist()
    assert read.moments.tolist() == held.moments.tolist()
    read.counts += held.counts  # what was read can be counted into: it is no view of the bytes
    read.moments[:] = merge_moments(read.moments, held.moments)
    assert read.counts.tolist() == (2 * held.counts).tolist()


@pytest.mark.parametrize(("largest", "size"), [(255, 1), (256, 2), (65_535, 2), (65_536, 4), (2**32 - 1, 4), (2**32, 8), (2**63 - 1, 8)])
@pytest.mark.parametrize("sparse", [False, True])
def test_counts_take_the_narrowest_type_that_holds_the_largest(largest: int, size: int, *, sparse: bool) -> None:
    counts = [0] * 99 + [largest] if sparse else [largest, *range(1, 100)]
    held = of_counts(counts)
    data = held.encode()
    assert len(data) == HEADER_BYTES + ((4 + size) if sparse else 100 * size)
    assert Aggregate.decode(held.layout, data).counts.tolist() == counts


@law
@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-300, 300), min_size=1, max_size=40))
def test_sums_below_zero_survive_their_encoding(counts: list[int]) -> None:
    held = Aggregate(Layout(LAYOUT.fingerprint, len(counts), 0), np.array(counts, np.int64), zero_moments(0))
    assert Aggregate.decode(held.layout, held.encode()).counts.tolist() == counts


def test_sparse_counts_are_chosen_where_they_are_smaller() -> None:
    few, many = of_counts([7] * 10 + [0] * 90), of_counts([7] * 40 + [0] * 60)
    assert len(few.encode()) == HEADER_BYTES + 10 * (4 + 1)
    assert len(many.encode()) == HEADER_BYTES + 100 * 1
    for held in (few, many):
        assert Aggregate.decode(held.layout, held.encode()).counts.tolist() == held.counts.tolist()


@pytest.mark.parametrize("width", [0, 1, 5])
def test_an_aggregate_of_nothing_survives_its_encoding(width: int) -> None:
    held = of_counts([0] * width, moments=2)
    read = Aggregate.decode(held.layout, held.encode())
    assert read.counts.tolist() == [0] * width
    assert read.moments.tolist() == zero_moments(2).tolist()
    assert len(held.encode()) == HEADER_BYTES + 2 * 5 * VALUE_BYTES


def test_aggregates_of_two_references_are_neither_merged_nor_read() -> None:
    other = Layout(b"another".ljust(16), WIDTH, VALUES_PER_EVENT)
    with pytest.raises(LayoutMismatch, match="expected equal ones; both must come from one reference"):
        Aggregate.zero(LAYOUT).merge(Aggregate.zero(other))
    with pytest.raises(LayoutMismatch, match=f"expected {other.fingerprint.hex()}"):
        Aggregate.decode(other, Aggregate.zero(LAYOUT).encode())


@pytest.mark.parametrize(("rows", "n"), [(1, 1), (40, 7), (3, 3_000), (2, 20_000)])
def test_moments_are_those_of_numpy_whatever_the_shape(rows: int, n: int) -> None:
    rng = np.random.default_rng(3)
    values, groups = rng.normal(5.0, 2.0, (rows, n)), rng.integers(0, 3, n)
    values[rng.random((rows, n)) < 0.2] = np.nan
    found = grouped_moments(groups, 3, values)
    for group in range(3):
        for row in range(rows):
            x = values[row, groups == group]
            x = x[~np.isnan(x)]
            expected = (x.size, x.mean(), x.var() * x.size, x.min(), x.max()) if x.size else (0, 0.0, 0.0, np.inf, -np.inf)
            np.testing.assert_allclose(found[group, row], expected, rtol=1e-9, atol=1e-12)
