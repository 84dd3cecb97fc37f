"""The watermark over all units: one suite over the memory store and over a real Redis.

Units P0, P1 and L0; `-` has not reported, `idle` is at the end of its log and quiet:

    P0    100   100    200     200     idle
    P1     -    300    300     idle    idle
    L0     -     -     50      50      idle
    clock  -    100    200*    200     the wall clock, or held
    * of traffic; performance follows all three units and stands at 50
"""

import pytest

from stream.store import Clock, Partitions, UnitId, UnitReport
from stream.store_redis import IDLE_LEASE_MS
from stream.watermark import NO_TIME
from tests.stream.stores import L0, P0, P1, Backend, RedisBackend

BOTH = Partitions(2, 1)
NOW_MS = 1_700_000_000_000


def active(unit: UnitId, watermark_ms: int, epoch: int = 1) -> UnitReport:
    return UnitReport(unit, epoch, watermark_ms, idle=False)


def idle(unit: UnitId, watermark_ms: int, epoch: int = 1) -> UnitReport:
    return UnitReport(unit, epoch, watermark_ms, idle=True)


def report(backend: Backend, *reports: UnitReport, partitions: Partitions = BOTH, now_ms: int = NOW_MS, idle_ms: int = NO_TIME) -> Clock:
    return backend.store.report(reports, partitions, now_ms, idle_ms).now


def test_before_any_report_the_clock_has_no_time(backend: Backend) -> None:
    assert report(backend) == backend.store.clock() == Clock(NO_TIME, NO_TIME)


def test_a_unit_that_never_reported_holds_the_clock(backend: Backend) -> None:
    assert report(backend, active(P0, 100)) == Clock()
    assert report(backend, active(P1, 300)) == Clock(traffic=100)
    assert report(backend, active(L0, 50)) == Clock(100, 50)


def test_a_unit_without_any_event_yet_holds_the_clock(backend: Backend) -> None:
    assert report(backend, active(P0, 100), active(P1, NO_TIME), active(L0, 50)) == Clock()


def test_the_clock_is_the_minimum_over_the_units_of_each_kind(backend: Backend) -> None:
    assert report(backend, active(P0, 200), active(P1, 300), active(L0, 50)) == Clock(200, 50)
    assert report(backend, active(L0, 250)) == Clock(200, 200)
    assert report(backend, active(P0, 900)) == Clock(300, 250)
    assert backend.store.clock() == Clock(300, 250)


def test_without_labels_performance_follows_the_predictions(backend: Backend) -> None:
    assert report(backend, active(P0, 200), active(P1, 300), partitions=Partitions(2, 0)) == Clock(200, 200)


def test_an_idle_unit_leaves_the_minimum(backend: Backend) -> None:
    assert report(backend, active(P0, 200), idle(P1, 100), idle(L0, 50)) == Clock(200, 200)
    assert report(backend, idle(P0, 200), active(L0, 150)) == Clock(200, 200)  # all of traffic is idle: held there
    assert report(backend, active(L0, 250)) == Clock(200, 250)


def test_an_idle_unit_that_never_had_an_event_leaves_it_too(backend: Backend) -> None:
    assert report(backend, active(P0, 200), idle(P1, NO_TIME), idle(L0, NO_TIME)) == Clock(200, 200)


@pytest.mark.parametrize(("idle_ms", "expected"), [(NO_TIME, 200), (1_000, 1_000), (150, 200)])
def test_when_all_are_idle_the_wall_clock_moves_it_or_it_is_held(backend: Backend, idle_ms: int, expected: int) -> None:
    assert report(backend, active(P0, 200), active(P1, 300), active(L0, 200)) == Clock(200, 200)
    assert report(backend, idle(P0, 200), idle(P1, 300), idle(L0, 200), idle_ms=idle_ms) == Clock(expected, expected)


def test_the_clock_never_goes_back(backend: Backend) -> None:
    everyone = (active(P0, 200), active(P1, 300), active(L0, 250))
    assert report(backend, *everyone) == Clock(200, 200)
    assert report(backend, active(P0, 100, epoch=2), active(L0, 10, epoch=2)) == Clock(200, 200)
    assert report(backend, partitions=Partitions(3, 2)) == Clock(200, 200)  # more partitions: new units hold it
    assert report(backend, partitions=Partitions(0, 0)) == Clock(200, 200)


def test_the_report_of_a_former_owner_is_ignored(backend: Backend) -> None:
    assert report(backend, active(P0, 200, epoch=10), active(P1, 300), active(L0, 200)) == Clock(200, 200)
    assert report(backend, active(P0, 900, epoch=9)) == Clock(200, 200)
    assert report(backend, active(P0, 250, epoch=10)) == Clock(250, 200)
    assert report(backend, active(P0, 260, epoch=11)) == Clock(260, 200)


def test_a_unit_that_wakes_counts_again_and_learns_where_the_clock_stands(backend: Backend) -> None:
    report(backend, active(P0, 500), idle(P1, 100), active(L0, 400))
    assert backend.store.wake(active(P1, 100), NOW_MS) == Clock(500, 400)
    assert report(backend, active(P0, 900), active(L0, 900)) == Clock(500, 400)
    assert report(backend, active(P1, 600)) == Clock(600, 600)


def test_a_unit_that_wakes_first_of_all_finds_no_time(backend: Backend) -> None:
    assert backend.store.wake(active(P0, NO_TIME), NOW_MS) == Clock()


def test_times_are_exact_to_the_millisecond(backend: Backend) -> None:
    time_ms = 253_402_300_799_999  # the end of the year 9999
    assert report(backend, active(P0, time_ms), active(P1, time_ms), active(L0, 1), now_ms=time_ms) == Clock(time_ms, 1)
    assert report(backend, active(L0, time_ms - 1)) == Clock(time_ms, time_ms - 1)


def test_a_view_shows_the_last_report(backend: Backend) -> None:
    report(backend, active(P0, 7), idle(P1, NO_TIME))
    seen = backend.store.view([P0, P1, L0])
    assert [(view.watermark_ms, view.idle, view.reported_ms) for view in seen.values()] == [
        (7, False, NOW_MS),
        (NO_TIME, True, NOW_MS),
        (NO_TIME, False, NO_TIME),
    ]


def test_idleness_counts_no_longer_when_its_worker_stopped_reporting(redis_backend: RedisBackend) -> None:
    report(redis_backend, active(P0, 200), idle(P1, 100), idle(L0, 100))
    in_time, too_late = NOW_MS + IDLE_LEASE_MS, NOW_MS + IDLE_LEASE_MS + 1
    assert report(redis_backend, active(P0, 300), now_ms=in_time) == Clock(300, 300)
    assert report(redis_backend, active(P0, 400), now_ms=too_late) == Clock(300, 300)
    assert report(redis_backend, idle(P1, 100), now_ms=too_late) == Clock(400, 300)
    assert report(redis_backend, idle(L0, 100), now_ms=too_late) == Clock(400, 400)
