"""The watermark never goes back, follows from the events alone however they are cut into batches, and idles only at the end of the log."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.watermark import NO_TIME, Watermark

event_times = st.lists(st.integers(0, 2_000), max_size=30)
out_of_orderness = st.integers(0, 100)
law = settings(deadline=None, max_examples=100)


def advance(watermark: Watermark, batch: list[int]) -> list[int]:
    """Where the watermark stood when each event of the batch arrived."""
    stood: list[int] = watermark.advance(np.array(batch, np.int64)).tolist()
    return stood


def test_before_any_event_there_is_no_watermark() -> None:
    watermark = Watermark(10)
    assert watermark.value_ms == NO_TIME
    assert advance(watermark, []) == []
    assert watermark.value_ms == NO_TIME


def test_an_event_sees_the_watermark_of_those_before_it() -> None:
    watermark = Watermark(10)
    assert advance(watermark, [100, 50, 120, 90]) == [NO_TIME, 90, 90, 110]
    assert watermark.value_ms == 110
    assert advance(watermark, [0]) == [110]


@given(event_times, out_of_orderness)
@law
def test_the_watermark_trails_the_newest_event_and_never_goes_back(times: list[int], behind_ms: int) -> None:
    watermark = Watermark(behind_ms)
    stood = [*advance(watermark, times), watermark.value_ms]
    assert stood == sorted(stood)
    assert stood == [NO_TIME, *(max(times[: i + 1]) - behind_ms for i in range(len(times)))]


@given(event_times, out_of_orderness, st.lists(st.integers(0, 30), max_size=5))
@law
def test_the_cut_into_batches_changes_nothing(times: list[int], behind_ms: int, cuts: list[int]) -> None:
    whole, parts = Watermark(behind_ms), Watermark(behind_ms)
    bounds = [0, *sorted(min(cut, len(times)) for cut in cuts), len(times)]
    stood = [ms for start, end in pairwise(bounds) for ms in advance(parts, times[start:end])]
    assert stood == advance(whole, times)
    assert parts.value_ms == whole.value_ms


@given(event_times, event_times, out_of_orderness)
@law
def test_a_restart_goes_on_from_the_newest_time(before: list[int], after: list[int], behind_ms: int) -> None:
    whole = Watermark(behind_ms)
    advance(whole, before)
    restarted = Watermark(behind_ms, whole.newest_ms)
    assert advance(restarted, after) == advance(whole, after)


@pytest.mark.parametrize(
    ("at_end", "quiet_ms", "idle"),
    [
        (True, 5_000, True),  # at the end of the log, and quiet for long enough
        (True, 4_999, False),
        (False, 1_000_000, False),  # stalled: there is more to read, so it holds the clock
    ],
)
def test_a_unit_is_idle_only_at_the_end_of_the_log_and_after_a_while(at_end: bool, quiet_ms: int, idle: bool) -> None:
    watermark = Watermark(10)
    watermark.hear(1_000)
    watermark.at_end = at_end
    assert watermark.falls_idle(1_000 + quiet_ms, 5_000) is idle
    assert watermark.idle is idle


def test_a_unit_falls_idle_once_until_it_hears_something() -> None:
    watermark = Watermark(10, at_end=True, heard_ms=0)
    assert [watermark.falls_idle(now, 5) for now in (4, 5, 6)] == [False, True, False]
    assert watermark.idle
    watermark.hear(7)
    assert not watermark.idle
    assert not watermark.falls_idle(100, 5)  # hearing also means that it is not at the end
    watermark.at_end = True
    assert watermark.falls_idle(100, 5)


def test_being_idle_leaves_the_watermark_where_it_was() -> None:
    watermark = Watermark(10)
    advance(watermark, [100])
    watermark.at_end = True
    watermark.falls_idle(10**6, 5)
    assert watermark.value_ms == 90
