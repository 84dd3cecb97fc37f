"""Sequential detectors in the pipeline: what they notice becomes alerts, between closes, once, whoever owns the partition when."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from stream.store import UnitId
from tests.builders import MODEL, Monitor, label, prediction, settings
from tests.stream.stores import Backend

Watch = Callable[..., Monitor]
N, CHANGE = 2400, 1760  # KSWIN first looks at 100 micro-batches of 16, 1600 values
rng = np.random.default_rng(3)
WRONG = np.concatenate([rng.random(CHANGE) < 0.1, rng.random(N - CHANGE) < 0.6])
SCORES = np.concatenate([rng.normal(0.3, 0.05, CHANGE), rng.normal(0.6, 0.05, N - CHANGE)]).clip(0, 1)
FOLLOW = {"errors": ["adwin", "hddm_a"], "scores": ["kswin"], "batch": 16, "resolve_after": 100_000}


def watched(watch: Watch, backend: Backend | None = None, **more: Any) -> Monitor:
    """A monitor with the log of a stream whose scores and errors change at offset CHANGE."""
    monitor = watch(settings(sequential=FOLLOW), **more, **({} if backend is None else {"store": backend.client()}))
    monitor.log(*(prediction(f"p{i}", i / 10, score=float(score)) for i, score in enumerate(SCORES)))
    monitor.log(*(label(f"p{i}", i / 10, str(int(wrong))) for i, wrong in enumerate(WRONG)), side="labels")
    return monitor


def read_all(monitor: Monitor, most: int | None = None) -> None:
    while monitor.read(most=most):
        monitor.tick()
    while monitor.read("labels", most=most):
        monitor.tick()


def drifts(monitor: Monitor) -> list[dict[str, Any]]:
    found = [alert for alert in monitor.said("alerts") if alert["kind"] == "sequential_drift"]
    return sorted(({**alert, "emitted_at": "", "first_fired_at": ""} for alert in found), key=lambda alert: str(alert["alert_id"]))


def test_a_change_of_errors_and_of_scores_fires_an_alert_that_says_where_it_began(watch: Watch) -> None:
    monitor = watched(watch)
    read_all(monitor)
    found = drifts(monitor)
    assert {(alert["evidence"]["stream"], alert["metric"]) for alert in found} == {
        ("errors", "adwin"),
        ("errors", "hddm_a"),
        ("scores", "kswin"),
    }
    for alert in found:
        evidence = alert["evidence"]
        assert (alert["model"], alert["status"], alert["severity"], alert["window"]) == (MODEL, "firing", "warning", None)
        assert evidence["unit"] == ("labels/0" if evidence["stream"] == "errors" else "predictions/0")
        assert abs(evidence["change_offset"] - CHANGE) <= 32
        # ADWIN is the slowest: by its bound a step of 0.5 takes 23 means, and up to 8 more until they stand in a bucket of their own
        assert CHANGE < evidence["detected_offset"] <= CHANGE + 16 * 31
        assert evidence["before"] < evidence["after"] == alert["value"]


def test_nothing_is_followed_by_default(watch: Watch) -> None:
    monitor = watch(settings())
    monitor.run(*(prediction(f"p{i}", i / 10, score=float(score)) for i, score in enumerate(SCORES)))
    assert drifts(monitor) == []
    assert monitor.pipeline.units[UnitId("predictions", 0)].streams == {}


@pytest.mark.parametrize("every", [1, 2, 3])
def test_workers_that_die_and_take_over_send_the_same_alerts_with_the_same_ids(watch: Watch, backend: Backend, every: int) -> None:
    whole = watched(watch)
    read_all(whole)
    monitor = watched(watch, backend)
    for side in ("predictions", "labels"):
        steps = 0
        while monitor.read(side, most=97):  # type: ignore[arg-type]
            steps += 1
            if steps % every == 0:
                monitor.tick()
            if steps % (2 * every + 1) == 0:
                monitor.start()  # what was read since the last checkpoint is lost, and read again
        monitor.tick()
    assert drifts(monitor) == drifts(whole)


def test_labels_that_wait_for_their_predictions_are_followed_where_they_meet(watch: Watch) -> None:
    monitor = watched(watch)
    while monitor.read("labels"):
        monitor.tick()
    read_all(monitor)
    assert {alert["evidence"]["unit"] for alert in drifts(monitor) if alert["evidence"]["stream"] == "errors"} == {"predictions/0"}


def test_a_state_that_cannot_be_read_is_dropped(watch: Watch, caplog: pytest.LogCaptureFixture) -> None:
    monitor = watched(watch)
    monitor.read(most=500)
    monitor.tick()
    written = monitor.store._units[UnitId("predictions", 0)]
    assert written.sequential
    written.sequential = written.sequential.replace(b'\\"Random\\"', b'\\"Popen\\"')
    monitor.start()
    read_all(monitor)
    assert "begin anew" in caplog.text
    assert [alert["metric"] for alert in drifts(monitor) if alert["evidence"]["stream"] == "scores"] == ["kswin"]
    monitor.store._units[UnitId("predictions", 0)].sequential = b"\x80\x04pickle"
    monitor.start()
    assert "cannot be read" in caplog.text
