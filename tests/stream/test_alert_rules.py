"""Alerts of rules that have left the configuration: each is resolved once, at the next close, and no other alert is."""

from collections.abc import Callable
from typing import Any, cast

import pytest

from stream.model import Model
from stream.reference import Reference
from stream.store import Partitions, UnitId
from stream.store_memory import MemoryStore
from tests.builders import MODEL, Monitor, categorical, label, prediction, reference, settings
from tests.stream.stores import Backend

Watch = Callable[..., Monitor]
P0 = UnitId("predictions", 0)
X, Y = categorical("x", ["a", "b"], [500, 500, 0]), categorical("y", ["a", "b"], [500, 500, 0])
DRIFT = {"minimum_sample": 10, "psi": {"warning": 0.1, "critical": 1.0}}
QUIET = {"minimum_sample": 10, "psi": {"warning": "off", "critical": "off"}}


def configured(watch: Watch, backend: Backend | None = None, known: Reference | None = None, **model: Any) -> Monitor:
    """A monitor of one model, all of whose partitions are predictions unless it has labels."""
    section = {"classes": ["0", "1"], "labels": False, "drift": DRIFT} | model
    partitions = (1, int(bool(section["labels"])))
    store = None if backend is None else cast(MemoryStore, backend.store)
    return watch(settings({MODEL: section}), {MODEL: known or reference(X)}, partitions=partitions, store=store)


def again(monitor: Monitor, known: Reference | None = None, windows: Any = ({"size": "1m"},), **model: Any) -> None:
    """A new worker with another configuration, or another reference, on the same state."""
    section = {"classes": ["0", "1"], "labels": False, "drift": DRIFT} | model
    monitor.settings = settings({MODEL: section}, windows=list(windows))
    monitor.models = {MODEL: Model.build(monitor.settings.model(MODEL), known or monitor.models[MODEL].reference)}
    monitor.start()


def see(monitor: Monitor, minute: int, n: int = 40, **more: Any) -> None:
    """A window of values "b" only, far from the half and half of the reference; it closes with the next one."""
    events = [prediction(f"{minute}-{i}", 60 * minute + 50 * i / n, features={"x": "b", "y": "b"}, **more) for i in range(n)]
    monitor.now_ms += 60_000
    monitor.run(*events)


def told(monitor: Monitor) -> list[tuple[str, Any, str, str | None]]:
    """(status, feature, metric, start of the window) of each alert."""
    return [
        (alert["status"], alert.get("feature"), alert["metric"], alert["window"] and alert["window"]["start"][14:19])
        for alert in monitor.said("alerts")
    ]


def test_the_alert_of_a_method_that_left_is_resolved_once_over_restarts(watch: Watch, backend: Backend) -> None:
    """
    method    psi  | none: js_distance alone is asked for
    window    14   | 15        16   17
    alert     fire | resolved
    """
    drift = {"minimum_sample": 10, "hellinger": {"warning": 0.1}, "psi": {"warning": "off", "critical": "off"}}
    monitor = configured(watch, backend, drift=drift)
    see(monitor, 0)
    see(monitor, 1)
    monitor.store = cast(MemoryStore, backend.client())
    again(monitor, drift=QUIET)
    for minute in (2, 3, 4):
        see(monitor, minute)
        again(monitor, drift=QUIET)
    assert told(monitor) == [("firing", "x", "hellinger", "14:00"), ("resolved", "x", "hellinger", "15:00")]
    fired, resolved = monitor.said("alerts")
    assert (resolved["value"], resolved["threshold"], resolved["severity"]) == (None, None, "warning")
    assert (resolved["dedup_key"], resolved["first_fired_at"]) == (fired["dedup_key"], fired["first_fired_at"])
    assert resolved["summary"] == "fraud unversioned: hellinger of x is no longer judged in 1m to 2023-11-14T22:16:00.000Z"
    assert backend.client().home(P0, MODEL).alerts == {}
    monitor.validate()


def test_the_alerts_of_a_feature_that_left_the_reference_are_resolved_and_others_stay(watch: Watch) -> None:
    """The window that was open when the reference changed is dropped, so minute 2 is the first to be judged by the new one."""
    monitor = configured(watch, known=reference(X, Y))
    see(monitor, 0)
    see(monitor, 1)
    again(monitor, known=reference(X))
    see(monitor, 2)
    see(monitor, 3)
    assert told(monitor) == [("firing", "x", "psi", "14:00"), ("firing", "y", "psi", "14:00"), ("resolved", "y", "psi", "16:00")]


CHECKS: dict[str, Any] = {
    "missing_ratio": {"minimum_sample": 10, "missing_ratio": {"warning": 0.1, "critical": 0.5}},
    "score": {"minimum_sample": 10, "missing_ratio": {"warning": "off", "critical": "off"}, "score": {"warning": 0.9}},
    "quality_score": {"minimum_sample": 10, "missing_ratio": {"warning": "off", "critical": "off"}, "quality_score": {"warning": 0.9}},
    "volume_min": {"missing_ratio": {"warning": "off", "critical": "off"}, "volume_min": {"warning": 100}},
}


@pytest.mark.parametrize("check", CHECKS)
def test_the_alert_of_a_check_that_was_switched_off_is_resolved(watch: Watch, check: str) -> None:
    monitor = configured(watch, known=reference(categorical("z", ["a"], [1000, 0])), drift=QUIET, quality=CHECKS[check])
    see(monitor, 0)
    see(monitor, 1)
    again(monitor, drift=QUIET, quality={"missing_ratio": {"warning": "off", "critical": "off"}})
    see(monitor, 2)
    see(monitor, 3)
    feature = "z" if check in ("missing_ratio", "score") else None
    assert told(monitor) == [("firing", feature, check, "14:00"), ("resolved", feature, check, "15:00")]


@pytest.mark.parametrize("left", ["segments", "windows"])
def test_alerts_of_segments_and_windows_that_left_are_resolved_without_a_window(watch: Watch, left: str) -> None:
    segments, windows = ["plan", ["plan", "land"]], [{"size": "1m"}, {"size": "2m", "slide": "1m"}]
    where: Any = {"segments": {"plan": "p", "land": "BR"}}
    monitor = watch(
        settings({MODEL: {"classes": ["0", "1"], "labels": False, "drift": DRIFT, "segments": segments}}, windows=windows),
        {MODEL: reference(X)},
        partitions=(1, 0),
    )
    for minute in (0, 1, 2):
        see(monitor, minute, **where)
    fired = {(alert["segment"], alert["window"]["name"]) for alert in monitor.said("alerts")}
    assert fired == {(segment, window) for segment in (None, "plan=p", "plan=p,land=BR") for window in ("1m", "2m/1m")}
    kept: Any = {"segments": ["plan"], "windows": windows} if left == "segments" else {"segments": segments, "windows": windows[:1]}
    again(monitor, **kept)
    for minute in (3, 4, 5):  # what was open is judged as before once more
        see(monitor, minute, **where)
    resolved = [alert for alert in monitor.said("alerts") if alert["status"] == "resolved"]
    expected = {one for one in fired if (one[0] == "plan=p,land=BR" if left == "segments" else one[1] == "2m/1m")}
    assert {(alert["segment"], alert["dedup_key"].rpartition("|")[2]) for alert in resolved} == expected
    assert len(resolved) == len(expected)
    assert {alert["window"] for alert in resolved} == {None}
    monitor.validate()


def test_alerts_on_labels_are_resolved_when_the_model_has_none_any_more(watch: Watch) -> None:
    labelled: Any = {"labels": True, "drift": QUIET, "performance": {"minimum_sample": 4, "accuracy": {"warning": 0.9}}}
    monitor = configured(watch, **labelled)
    for minute in (0, 1):
        see(monitor, minute)
        monitor.run(*(label(f"{minute}-{i}", 60 * minute + 55, "1") for i in range(40)), side="labels")
    assert told(monitor) == [("firing", None, "accuracy", "14:00")]
    monitor.partitions, monitor.owned = Partitions(1, 0), {P0}
    again(monitor, drift=QUIET)
    for minute in (2, 3, 4):
        see(monitor, minute)
    assert told(monitor)[1:] == [("resolved", None, "accuracy", None)]


@pytest.mark.parametrize("left", ["windows", "threshold"])
def test_alerts_by_prediction_time_are_resolved_when_their_windows_or_thresholds_leave(watch: Watch, left: str) -> None:
    """Windows by label time have the same name, and the same alert, which stays while the threshold does."""
    cohorts: Any = {"by_prediction_time": {"windows": [{"name": "1m", "size": "2m"}], "revise_every": "1m"}}
    labelled: Any = {"labels": True, "drift": QUIET, "performance": {"minimum_sample": 4}}
    floor: Any = {"performance": {"minimum_sample": 4, "accuracy": {"warning": 0.9}}}
    monitor = configured(watch, **labelled | floor | cohorts)
    for minute in range(8):
        if minute == 4:
            again(monitor, **labelled | (floor if left == "windows" else cohorts))
        see(monitor, minute)
        monitor.run(*(label(f"{minute}-{i}", 60 * minute + 55, "1") for i in range(40)), side="labels")
    said = sorted((alert.get("by", ""), alert["status"]) for alert in monitor.said("alerts"))
    by_label_time = [("", "firing")] if left == "windows" else [("", "firing"), ("", "resolved")]
    assert said == [*by_label_time, ("prediction_time", "firing"), ("prediction_time", "resolved")]
    monitor.validate()


def test_the_alert_of_a_silence_that_nobody_watches_any_more_is_resolved(watch: Watch) -> None:
    monitor = configured(watch, drift=QUIET, quality={"freshness": "10m"})
    see(monitor, 0)
    for _ in range(45):  # nobody who looks less often than every 30 s can tell a silence from an outage
        monitor.now_ms += 20_000
        monitor.tick()
    assert told(monitor) == [("firing", None, "silence_seconds", None)]
    again(monitor, drift=QUIET)
    see(monitor, 1)
    see(monitor, 2)
    assert told(monitor)[1:] == [("resolved", None, "silence_seconds", None)]


def test_a_window_that_cannot_say_resolves_nothing(watch: Watch) -> None:
    """The first window after the restart has late events only of version 1, the next one a single prediction of it."""
    monitor = configured(watch)
    see(monitor, 0, version="1")
    see(monitor, 1, version="1")
    monitor.run(prediction("far", 361, version="2"))
    again(monitor)
    see(monitor, 3, version="1")
    monitor.run(prediction("farther", 425, version="1"), prediction("last", 485, version="1"))
    counts = {result["window"]["start"][14:19]: result["counts"] for result in monitor.said("results") if result["version"] == "1"}
    assert [(counts[start]["predictions"], counts[start]["late"]) for start in ("20:00", "21:00")] == [(0, 40), (1, 0)]
    assert told(monitor) == [("firing", "x", "psi", "14:00")]


def test_a_segment_or_version_without_traffic_keeps_its_alerts(watch: Watch) -> None:
    monitor = configured(watch, segments=["plan"])
    see(monitor, 0, version="1", segments={"plan": "p"})
    see(monitor, 1, version="2", segments={"plan": "q"})
    again(monitor, segments=["plan"])
    for minute in (2, 3):
        see(monitor, minute, version="2", segments={"plan": "q"})
    assert {alert["status"] for alert in monitor.said("alerts")} == {"firing"}


def test_a_rule_that_comes_back_fires_anew(watch: Watch) -> None:
    monitor = configured(watch, drift=QUIET | {"hellinger": {"warning": 0.1}})
    see(monitor, 0)
    see(monitor, 1)
    again(monitor, drift=QUIET)
    see(monitor, 2)
    again(monitor, drift=QUIET | {"hellinger": {"warning": 0.1}})
    see(monitor, 3)
    assert [status for status, *_ in told(monitor)] == ["firing", "resolved", "firing"]
    first, _, second = monitor.said("alerts")
    assert first["alert_id"] != second["alert_id"]
