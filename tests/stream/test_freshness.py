"""A model that falls silent, by the clock on the wall: told once, whatever happens to workers, and taken back when it speaks.

Events have times of 2023, the clock of the monitor is a day later: only that one moves here.
"""

from collections.abc import Callable
from typing import Any

from stream.freshness import Freshness
from stream.model import Model
from stream.store import UnitId
from stream.store_memory import MemoryStore
from tests.builders import MODEL, Monitor, prediction, settings
from tests.stream.stores import Backend

Watch = Callable[..., Monitor]
MINUTE_MS = 60_000
MODELS: dict[str, Any] = {
    MODEL: {"classes": ["0", "1"], "labels": False, "quality": {"freshness": "10m"}},
    "other": {"classes": ["0", "1"], "labels": False},
}


def silence(monitor: Monitor, minutes: float) -> None:
    """So much time, in which the worker ticks every ten seconds."""
    for _ in range(round(minutes * 6)):
        monitor.now_ms += 10_000
        monitor.tick()


def said(monitor: Monitor) -> list[tuple[str, float]]:
    """Status and seconds of silence of each alert about it."""
    return [(alert["status"], alert["value"]) for alert in monitor.said("alerts") if alert["kind"] == "freshness"]


def test_a_silent_model_is_told_once_and_taken_back_when_it_speaks(watch: Watch) -> None:
    """
    minutes    0        9.8   10            30   31
    event      x                                 x
    said                      firing             resolved
    """
    monitor = watch(settings(MODELS), partitions=(2, 0))
    monitor.run(prediction("a", 0))
    silence(monitor, 9.8)
    assert said(monitor) == []
    silence(monitor, 0.2)
    assert said(monitor) == [("firing", 600.0)]
    silence(monitor, 20)
    assert len(said(monitor)) == 1
    monitor.now_ms += MINUTE_MS
    monitor.run(prediction("b", 1), partition=1)  # an old event, in another partition than its home's: it speaks all the same
    assert said(monitor) == [("firing", 600.0), ("resolved", 0.0)]
    first, second = monitor.said("alerts")
    assert first["dedup_key"] == second["dedup_key"] == "fraud|(all)||freshness||silence_seconds|"
    assert first["alert_id"] != second["alert_id"]
    assert (first["severity"], first["threshold"], first["window"], first["segment"]) == ("critical", 600.0, None, None)
    assert first["summary"] == "fraud (all): silent, silence_seconds 600 >= 600"
    assert second["summary"] == "fraud (all): heard again, silence_seconds 0 against 600"
    monitor.validate()


def test_events_that_are_late_or_come_twice_are_heard(watch: Watch) -> None:
    monitor = watch(settings(MODELS), partitions=(1, 0))
    monitor.run(prediction("a", 600))
    for minute in range(30):
        silence(monitor, 1)
        monitor.run(prediction(str(minute), minute))
    assert monitor.counters()["late"] > 0
    assert said(monitor) == []


def test_other_models_and_bad_messages_are_not_the_model(watch: Watch) -> None:
    monitor = watch(settings(MODELS), partitions=(1, 0))
    monitor.run(prediction("a", 0))
    for minute in range(10):
        silence(monitor, 1)
        monitor.run({**prediction(f"o{minute}", minute), "model": "other"}, b"{")
    assert said(monitor) == [("firing", 600.0)]


def test_a_model_that_never_spoke_is_silent_from_the_beginning(watch: Watch) -> None:
    monitor = watch(settings(MODELS), partitions=(1, 0))
    silence(monitor, 11)
    assert said(monitor) == [("firing", 600.0)]


def test_a_restart_neither_begins_the_silence_anew_nor_tells_of_it_again(watch: Watch) -> None:
    monitor = watch(settings(MODELS), partitions=(1, 0))
    monitor.run(prediction("a", 0))
    for _ in range(3):
        silence(monitor, 3)
        monitor.start()
    silence(monitor, 1)
    assert said(monitor) == [("firing", 600.0)]
    monitor.start()
    silence(monitor, 5)
    assert len(said(monitor)) == 1
    monitor.start()
    monitor.run(prediction("b", 1))
    silence(monitor, 1)
    assert [status for status, _ in said(monitor)] == ["firing", "resolved"]


def test_a_backlog_after_an_outage_of_all_workers_is_no_silence(watch: Watch) -> None:
    """All workers were down for an hour, in which the model spoke: that is still to be read."""
    monitor = watch(settings(MODELS), partitions=(1, 0))
    monitor.run(prediction("a", 0))
    silence(monitor, 4)
    monitor.log(prediction("b", 1), prediction("c", 2))
    monitor.now_ms += 60 * MINUTE_MS
    monitor.start()
    silence(monitor, 5)  # and the partition takes its time
    assert said(monitor) == []
    monitor.read()
    silence(monitor, 5)
    assert said(monitor) == []
    silence(monitor, 5.2)
    assert [status for status, _ in said(monitor)] == ["firing"]


def test_a_home_that_moves_takes_the_silence_along(watch: Watch) -> None:
    store = MemoryStore(1)
    units = [UnitId("predictions", 0), UnitId("predictions", 1)]
    first, second = (watch(settings(MODELS), partitions=(2, 0), store=store, owned=[unit]) for unit in units)
    home = first if MODEL in first.pipeline.at_home(units[0]) else second
    away = second if home is first else first
    home.run(prediction("a", 0), partition=next(iter(home.owned)).partition)
    silence(home, 6)
    unit = next(iter(home.owned))
    home.lose(unit)
    away.now_ms = home.now_ms
    away.take(unit)
    silence(away, 4.2)
    assert said(home) == []
    assert said(away) == [("firing", 600.0)]


def test_models_without_freshness_cost_no_call(watch: Watch) -> None:
    monitor = watch(settings({MODEL: {"classes": ["0", "1"], "labels": False}}), partitions=(1, 0))
    monitor.run(prediction("a", 0))
    silence(monitor, 60)
    assert monitor.store._heard == {}
    assert monitor.said("alerts") == []


def test_it_looks_once_a_second() -> None:
    store = MemoryStore(1)
    watched = Freshness({MODEL: Model.build(settings(MODELS).model(MODEL), None)}, store)
    assert [watched.silent_ms([MODEL], now) for now in (0, 999, 1_000, 1_999, 2_000)] == [
        {MODEL: 0},
        {},
        {MODEL: 1_000},
        {},
        {MODEL: 2_000},
    ]
    assert watched.silent_ms([], 9_000) == {}


def test_the_later_time_stays_noted(backend: Backend) -> None:
    backend.store.hear("counted", {"a": 5, "b|ü": 7})
    backend.store.hear("counted", {"a": 3, "b|ü": 1_700_000_000_000})
    backend.store.hear("looked", {"a": 4})
    backend.store.hear("looked", {})
    assert backend.client().heard("counted", ["a", "b|ü", "c"]) == {"a": 5, "b|ü": 1_700_000_000_000}
    assert backend.client().heard("looked", ["a", "b|ü"]) == {"a": 4}
    assert backend.client().heard("looked", []) == {}
