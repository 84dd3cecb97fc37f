"""The open panes of a unit: what is added to many at once is what a plain loop adds to each."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.aggregates import MAXIMUM, MEAN, MINIMUM, Aggregate, Layout, N, zero_moments
from stream.panes import PaneKey, Panes
from stream.store import PaneGroup

NARROW, WIDE = Layout(b"narrow".ljust(16), 4, 1), Layout(b"wide".ljust(16), 7_000, 3)


def key(i: int) -> PaneKey:
    return PaneKey("m", PaneGroup("traffic", i, "1", ""))


def layout(i: int) -> Layout:
    return WIDE if i % 2 else NARROW


def add(panes: Panes, events: list[tuple[int, int, float]]) -> None:
    numbers = np.array([panes.number(key(pane), layout(pane)) for pane, _, _ in events], np.int64)
    panes.add(numbers, np.array([[code for _, code, _ in events]], np.int64).reshape(1, -1))
    panes.add_moments(numbers, np.array([[value for _, _, value in events]]).reshape(1, -1))


EVENTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.floats(-1e6, 1e6) | st.just(float("nan"))), min_size=1, max_size=40)


@given(EVENTS, EVENTS)
def test_each_pane_holds_what_a_plain_loop_adds_to_it(first: list[tuple[int, int, float]], second: list[tuple[int, int, float]]) -> None:
    panes = Panes()
    add(panes, first)
    add(panes, second)
    assert {each.group.start_ms for each in panes} == {pane for pane, _, _ in first + second}
    for each in panes:
        held = panes.aggregate(each)
        mine = [(code, value) for pane, code, value in first + second if pane == each.group.start_ms]
        assert held.counts[:4].tolist() == [sum(code == position for code, _ in mine) for position in range(4)]
        assert held.counts[4:].sum() == 0
        values = np.array([value for _, value in mine if value == value])
        assert held.moments[0, N] == values.size
        if values.size:
            assert held.moments[0, MEAN] == pytest.approx(values.mean(), abs=1e-9)
            assert (held.moments[0, MINIMUM], held.moments[0, MAXIMUM]) == (values.min(), values.max())
        np.testing.assert_array_equal(held.moments[1:], zero_moments(held.layout.moments - 1))


def test_only_what_was_added_to_is_dirty_and_only_once() -> None:
    panes = Panes()
    add(panes, [(0, 1, 1.0), (1, 1, 1.0)])
    assert {each.group.start_ms for each, _ in panes.take_dirty()} == {0, 1}
    add(panes, [(1, 2, 1.0)])
    assert [(each.group.start_ms, int(held.counts.sum())) for each, held in panes.take_dirty()] == [(1, 2)]
    assert panes.take_dirty() == []


@given(EVENTS, EVENTS)
def test_dirty_panes_are_encoded_as_each_would_be_alone(first: list[tuple[int, int, float]], second: list[tuple[int, int, float]]) -> None:
    """The second time few panes may be dirty among many."""
    panes, same = Panes(), Panes()
    for events in (first, second):
        add(panes, events)
        add(same, events)
        assert panes.encode_dirty() == [(each, held.encode()) for each, held in same.take_dirty()]
    assert panes.encode_dirty() == []


def test_a_dirty_pane_is_not_forgotten() -> None:
    panes = Panes()
    add(panes, [(0, 1, 1.0), (1, 1, 1.0)])
    assert not panes.forget(lambda _: True)
    panes.take_dirty()
    add(panes, [(1, 1, 1.0)])
    assert panes.forget(lambda _: True)
    assert [each.group.start_ms for each in panes] == [1]


def test_the_space_of_a_forgotten_pane_is_used_again_and_empty() -> None:
    panes = Panes()
    for i in range(1_000):
        add(panes, [(2 * i, i % 4, 5.0), (2 * i + 1, 3, 7.0)])
        for each in panes:
            assert panes.aggregate(each).counts.sum() == 1
            assert panes.aggregate(each).moments[0, N] == 1
        panes.take_dirty()
        panes.forget(lambda _: True)
        assert (len(panes), panes.nbytes) == (0, 0)
    assert panes.number(key(0), NARROW) < 2


def test_panes_found_in_the_store_are_counted_on() -> None:
    panes, before = Panes(), Aggregate.zero(WIDE)
    before.counts[[3, 6_999]] = 5, 2**40
    panes.hold(key(1), before)
    assert panes.take_dirty() == []
    add(panes, [(1, 3, 1.0)])
    assert panes.aggregate(key(1)).counts[[3, 6_999]].tolist() == [6, 2**40]
    assert before.counts[3] == 5


def test_many_panes_keep_their_counts_while_the_space_grows() -> None:
    panes = Panes()
    for i in range(300):
        add(panes, [(i, i % 4, float(i))])
    assert [int(panes.aggregate(key(i)).counts[i % 4]) for i in range(300)] == [1] * 300
    assert [panes.aggregate(key(i)).moments[0, MEAN] for i in range(300)] == list(map(float, range(300)))
    assert panes.nbytes == sum(held.counts.nbytes + held.moments.nbytes for held in map(panes.aggregate, panes))
