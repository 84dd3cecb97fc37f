"""Pane algebra: panes partition time, windows are unions of panes, and every shortcut agrees with counting on one's fingers.

time     0        10        20        30        40        50
panes    [---0---)[---10--)[---20--)[---30--)[---40--)
size 30  [-------- ends 30 --------)
slide 10          [-------- ends 40 --------)
"""

from bisect import bisect_right
from itertools import pairwise
from math import gcd

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.windows import WindowSpec, expired_panes, pane_length, pane_starts, windows_ending

TIMES = range(-300, 600)
times = st.integers(TIMES.start, TIMES.stop - 1)
law = settings(deadline=None, max_examples=100)


@st.composite
def window_specs(draw: st.DrawFn) -> WindowSpec:
    size = draw(st.integers(1, 120))
    return WindowSpec(draw(st.uuids()).hex, size, draw(st.integers(1, size)))


families = st.lists(window_specs(), min_size=1, max_size=3)


def ends_by_hand(spec: WindowSpec, time_ms: int) -> list[int]:
    """Ends of the windows `[k * slide, k * slide + size)` that contain the time."""
    around = range(-(-(time_ms - spec.size_ms) // spec.slide_ms) - 1, time_ms // spec.slide_ms + 2)
    starts = [k * spec.slide_ms for k in around]
    return [start + spec.size_ms for start in starts if start <= time_ms < start + spec.size_ms]


@given(families, st.lists(times))
@law
def test_every_time_is_in_exactly_one_pane(specs: list[WindowSpec], at: list[int]) -> None:
    length = pane_length(specs)
    for time_ms, start in zip(at, pane_starts(np.array(at, np.int64), length).tolist(), strict=True):
        assert start % length == 0
        assert start <= time_ms < start + length


def test_each_time_may_have_a_pane_length_of_its_own() -> None:
    assert pane_starts(np.array([25, 25, -1]), np.array([10, 7, 10])).tolist() == [20, 21, -10]


@given(families, times)
@law
def test_a_window_is_the_disjoint_union_of_its_panes(specs: list[WindowSpec], time_ms: int) -> None:
    length = pane_length(specs)
    for spec in specs:
        for end in spec.ends_covering(time_ms):
            inside = range(end - spec.size_ms, end)
            panes = sorted(set(pane_starts(np.array(inside), length).tolist()))
            assert [t for start in panes for t in range(start, start + length)] == list(inside)


@given(families, times)
@law
def test_all_times_of_a_pane_are_in_the_same_windows(specs: list[WindowSpec], time_ms: int) -> None:
    length = pane_length(specs)
    start = time_ms // length * length
    for spec in specs:
        assert spec.ends_covering(time_ms) == spec.ends_covering(start) == spec.ends_covering(start + length - 1)


@given(families)
@law
def test_no_longer_pane_would_do(specs: list[WindowSpec]) -> None:
    length = pane_length(specs)
    parts = [part // length for spec in specs for part in (spec.size_ms, spec.slide_ms)]
    assert all(part * length in (spec.size_ms, spec.slide_ms) for spec, part in zip(np.repeat(np.array(specs), 2), parts, strict=True))
    assert gcd(*parts) == 1


@given(window_specs(), times)
@law
def test_ends_covering_are_those_found_by_hand(spec: WindowSpec, time_ms: int) -> None:
    assert list(spec.ends_covering(time_ms)) == ends_by_hand(spec, time_ms)
    assert spec.last_end_covering(time_ms) == ends_by_hand(spec, time_ms)[-1]


@given(st.integers(1, 120), times)
@law
def test_a_tumbling_window_is_a_sliding_one_that_slides_by_its_size(size: int, time_ms: int) -> None:
    spec = WindowSpec("w", size, size)
    assert spec.kind == "tumbling"
    assert list(spec.ends_covering(time_ms)) == [time_ms // size * size + size]
    assert size == 1 or WindowSpec("w", size, size - 1).kind == "sliding"


@given(families, st.sets(times, max_size=8), times, times)
@law
def test_windows_ending_are_those_found_by_hand(specs: list[WindowSpec], at: set[int], after: int, until: int) -> None:
    panes = [time_ms // pane_length(specs) * pane_length(specs) for time_ms in at]
    expected = {(end, spec) for spec in specs for pane in panes for end in ends_by_hand(spec, pane) if after < end <= until}
    found = windows_ending(specs, panes, after, until)
    assert set(found) == expected
    assert len(found) == len(expected)
    assert [end for end, _ in found] == sorted(end for end, _ in expected)


@given(families, st.sets(times, min_size=1, max_size=8), st.lists(times, max_size=5))
@law
def test_every_window_ends_in_exactly_one_step_of_the_clock(specs: list[WindowSpec], panes: set[int], clock: list[int]) -> None:
    steps = [-10_000, *sorted(clock), 10_000]
    once = windows_ending(specs, panes, steps[0], steps[-1])
    assert [window for a, b in pairwise(steps) for window in windows_ending(specs, panes, a, b)] == once


@given(families, st.lists(times, max_size=8), times)
@law
def test_expired_panes_are_those_that_no_later_window_contains(specs: list[WindowSpec], panes: list[int], until: int) -> None:
    expected = [pane for pane in panes if not any(end > until for spec in specs for end in ends_by_hand(spec, pane))]
    assert expired_panes(specs, panes, until) == expected


@given(families, st.lists(times, max_size=8), times)
@law
def test_panes_that_windows_are_compared_with_expire_once_no_later_window_has_them_before_it(
    specs: list[WindowSpec], panes: list[int], until: int
) -> None:
    """In `[start - size, start)`, or in the window itself."""

    def serves(spec: WindowSpec, pane: int) -> bool:
        ends = {*ends_by_hand(spec, pane), *ends_by_hand(spec, pane + spec.size_ms)}
        return any(end > until for end in ends)

    expected = [pane for pane in panes if not any(serves(spec, pane) for spec in specs)]
    assert expired_panes(specs, panes, until, compared=True) == expected


@given(families, st.sets(times, max_size=8), times, st.integers(0, 300))
@law
def test_an_expired_pane_is_in_no_window_that_ends_later(specs: list[WindowSpec], panes: set[int], until: int, ahead: int) -> None:
    expired = expired_panes(specs, panes, until)
    assert windows_ending(specs, expired, until, until + ahead) == []


def test_a_day_sliding_by_the_minute_is_closed_without_walking_all_its_windows() -> None:
    minute, day = 60_000, 86_400_000
    spec = WindowSpec("1d/1m", day, minute)
    panes = range(0, day, minute)
    found = windows_ending([spec], panes, day - minute, day)
    assert found == [(day, spec)]
    assert bisect_right(spec.ends_covering(0), day) == day // minute


@pytest.mark.parametrize("size", [1, 7, 60_000])
def test_one_window_family_alone_has_panes_as_long_as_its_slide_allows(size: int) -> None:
    assert pane_length([WindowSpec("w", size * 4, size * 4)]) == size * 4
    assert pane_length([WindowSpec("w", size * 4, size)]) == size
    assert pane_length([WindowSpec("w", size * 4, size * 3)]) == size
