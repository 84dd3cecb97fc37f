"""Sequential detectors in the pipeline: what they notice becomes alerts, between closes, once, whoever owns the partition when."""

from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
from river import drift

from sinks.gauges import Gauges
from sinks.memory import MemorySink
from stream.kafka import Batch
from stream.model import Model
from stream.pipeline import Pipeline
from stream.rebuild import Bookmark
from stream.reference import NumericFeature
from stream.results import timestamp
from stream.store import Clock, Mark, Partitions, UnitId
from stream.store_memory import MemoryStore
from stream.watermark import NO_TIME
from stream.worker import Worker
from tests.builders import (
    BASE_MS,
    HOUR_MS,
    MODEL,
    Monitor,
    at,
    categorical,
    label,
    messages,
    prediction,
    reference,
    settings,
    small_reference,
)
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


def drifts(*monitors: Monitor) -> list[dict[str, Any]]:
    found = [alert for monitor in monitors for alert in monitor.said("alerts") if alert["kind"] == "sequential_drift"]
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


@pytest.mark.parametrize("left", [["hddm_a"], []])
def test_alerts_of_detectors_that_left_or_begin_anew_are_resolved_once(watch: Watch, backend: Backend, left: list[str]) -> None:
    """Without adwin the state of the errors is made otherwise, so that hddm_a begins anew, too; kswin on the scores goes on."""
    monitor = watched(watch, backend)
    read_all(monitor)
    monitor.settings = settings(sequential=FOLLOW | {"errors": left})
    monitor.models = {MODEL: Model.build(monitor.settings.model(MODEL), None)}
    for _ in range(3):
        monitor.start()
        monitor.tick()
    resolved = [alert for alert in drifts(monitor) if alert["status"] == "resolved"]
    assert sorted(alert["metric"] for alert in resolved) == ["adwin", "hddm_a"]
    fired = {alert["dedup_key"]: alert for alert in monitor.said("alerts") if alert["status"] == "firing"}
    for alert in (alert for alert in monitor.said("alerts") if alert["status"] == "resolved"):
        assert (alert["value"], alert["threshold"], alert["window"]) == (None, None, None)
        assert alert["first_fired_at"] == fired[alert["dedup_key"]]["first_fired_at"]
        assert alert["summary"] == f"fraud unversioned: {alert['metric']} on errors of labels/0 is no longer judged"
    monitor.validate()


def test_each_version_is_followed_apart_though_they_come_in_one_batch(watch: Watch) -> None:
    """The odd ones change, the even ones do not, and every fourth prediction comes twice."""
    monitor = watch(settings(sequential=FOLLOW))
    log: list[tuple[str, int]] = []
    for i in range(N):
        log += [("steady", i), ("changing", i)] + [("steady", i)] * (i % 2)
    order = [
        prediction(f"{version} {i}", k / 10, version=version, score=float(SCORES[i if version == "changing" else i % CHANGE]))
        for k, (version, i) in enumerate(log)
    ]
    truths = [str(int(WRONG[i if version == "changing" else i % 500])) for version, i in log]
    labels = [label(event["prediction_id"], k / 10, truth) for k, (event, truth) in enumerate(zip(order, truths, strict=True))]
    monitor.log(*order)
    monitor.log(*labels, side="labels")
    read_all(monitor)
    found = drifts(monitor)
    assert {(alert["version"], alert["metric"]) for alert in found} == {("changing", name) for name in ("adwin", "hddm_a", "kswin")}
    for alert in found:
        evidence = alert["evidence"]
        assert evidence["change_at"] == timestamp(order[evidence["change_offset"]]["timestamp"])
        version, i = log[evidence["change_offset"]]
        assert version == "changing"
        assert abs(i - CHANGE) <= 32


def test_repetitions_and_corrections_are_not_followed(watch: Watch) -> None:
    """Nothing changes but for predictions that come again, with a higher score, and labels that say later that they were wrong."""
    monitor = watch(settings(sequential=FOLLOW))
    monitor.log(*(prediction(f"p{i}", i / 10, score=float(SCORES[i])) for i in range(CHANGE)))
    monitor.log(*(label(f"p{i}", i / 10, str(int(WRONG[i]))) for i in range(CHANGE)), side="labels")
    monitor.log(*(prediction(f"p{i}", CHANGE / 10, score=0.9) for i in range(600)))
    monitor.log(*(label(f"p{i}", CHANGE / 10, "1") for i in range(600)), side="labels")
    read_all(monitor)
    assert monitor.counters()["duplicate"] == 600
    assert monitor.counters("labels")["corrected"] == 600 - int(WRONG[:600].sum())
    assert drifts(monitor) == []


def test_nothing_is_followed_by_default(watch: Watch) -> None:
    monitor = watch(settings())
    monitor.run(*(prediction(f"p{i}", i / 10, score=float(score)) for i, score in enumerate(SCORES)))
    assert drifts(monitor) == []
    assert monitor.pipeline.units[UnitId("predictions", 0)].streams == {}


def test_a_version_with_a_reference_of_its_own_is_followed_as_its_model_is_and_no_other(watch: Watch) -> None:
    models = {name: {"classes": ["0", "1"], "sequential": FOLLOW if name == MODEL else {}} for name in ("before", MODEL, "after")}
    own = {name: {"7": small_reference(name)} for name in models}
    monitor = watch(settings(models), versions=own)
    monitor.log(
        *(
            {**prediction(f"{name}{i}", i / 10, score=float(score), version="7"), "model": name}
            for i, score in enumerate(SCORES)
            for name in models
        )
    )
    read_all(monitor)
    assert {(alert["model"], alert["version"]) for alert in drifts(monitor)} == {(MODEL, "7")}


def of_numbers(watch: Watch, unit: float, *, labels_first: bool = False) -> tuple[Monitor, np.ndarray[Any, Any]]:
    """A regression in these units whose errors become larger at offset CHANGE, and the size of each."""
    noise = np.random.default_rng(4)
    truth = noise.normal(100, 20, N) * unit
    errors = noise.normal(0, 4, N) * np.where(np.arange(N) < CHANGE, 1, 3) * unit
    moments = {"mean": 100 * unit, "std": 20 * unit, "minimum": 0.0, "maximum": 200 * unit}
    label_of = NumericFeature(
        name="label", missing=0, edges=np.array([100 * unit]), counts=np.array([500, 500]), groups=np.array([0, 1]), **moments
    )
    known = reference(categorical("x", ["a"], [1000, 0]), outputs=[label_of])
    follow = {"errors": ["adwin", "page_hinkley", "hddm_a"], "scores": ["adwin"], "batch": 16, "resolve_after": 100_000}
    monitor = watch(settings({MODEL: {"task": "regression"}}, sequential=follow), {MODEL: known})
    monitor.log(*(prediction(f"p{i}", i / 10, said) for i, said in enumerate((truth + errors).tolist())))
    monitor.log(*(label(f"p{i}", i / 10, value) for i, value in enumerate(truth.tolist())), side="labels")
    for side in ("labels", "predictions") if labels_first else ("predictions", "labels"):
        monitor.read(side)  # type: ignore[arg-type]
        monitor.tick()
    return monitor, np.abs(errors)


@pytest.mark.parametrize("labels_first", [False, True])
@pytest.mark.parametrize("unit", [0.001, 1.0, 1000.0])
def test_errors_of_a_regression_are_followed_whatever_their_unit(watch: Watch, unit: float, labels_first: bool) -> None:
    monitor, sizes = of_numbers(watch, unit, labels_first=labels_first)
    found = drifts(monitor)
    assert {(alert["evidence"]["stream"], alert["metric"]) for alert in found} == {("errors", "adwin"), ("errors", "page_hinkley")}
    river, noticed = drift.ADWIN(), []
    for i, size in enumerate((sizes / (20 * unit)).tolist()):
        river.update(size)
        if river.drift_detected:
            noticed.append(i // 16 * 16 + 15)
    of_adwin = [alert["evidence"] for alert in found if alert["metric"] == "adwin"]
    assert sorted(one["detected_offset"] for one in of_adwin) == noticed
    first = min(of_adwin, key=lambda one: one["detected_offset"])
    assert abs(first["change_offset"] - CHANGE) <= 32
    assert first["before"] == pytest.approx(sizes[: first["change_offset"]].mean())
    assert first["after"] == pytest.approx(sizes[first["change_offset"] : first["detected_offset"] + 1].mean())


def test_a_label_that_is_no_number_is_no_error(watch: Watch) -> None:
    models = {MODEL: {"task": "regression"}, "other": {"classes": ["0", "1"]}}
    monitor = watch(settings(models, sequential={"errors": ["adwin"], "batch": 1}))
    monitor.log(*(prediction(f"p{i}", i, i) for i in range(10)))
    monitor.log(*(label(f"p{i}", i, "none" if i % 2 else i) for i in range(10)), side="labels")
    read_all(monitor)
    (stream,) = monitor.pipeline.units[UnitId("labels", 0)].streams.values()
    assert stream._watches[0].batches == 5


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


def test_another_worker_goes_on_where_the_last_checkpoint_was_while_the_old_one_is_still_at_it(watch: Watch, backend: Backend) -> None:
    """Of what the old one noticed after it, nothing is sent by it, and all by the new one:

    old  |--- read, written ---|--- read: notices all changes ---| refused
    new                        |--- takes over, reads: notices them ---------|
    """
    whole = watched(watch)
    read_all(whole)
    old = watched(watch, backend)
    for side in ("predictions", "labels"):
        old.read(side, most=CHANGE - 37)  # type: ignore[arg-type]
    old.tick()
    assert drifts(old) == []
    new = watched(watch, backend)
    assert new.read_to == {UnitId("predictions", 0): CHANGE - 37, UnitId("labels", 0): CHANGE - 37}
    for side in ("predictions", "labels"):
        old.read(side)  # type: ignore[arg-type]
    assert len(old.pipeline.take_tally().alerts) == len(drifts(whole)) == 3
    old.tick()
    read_all(new, most=97)
    assert not old.owned
    assert drifts(old) == []
    assert drifts(new) == drifts(whole)


def test_alerts_are_counted_and_a_gauge_shows_who_fires_until_the_partition_goes() -> None:
    unit, follow = UnitId("predictions", 0), {**FOLLOW, "errors": [], "resolve_after": 64}
    configured = settings({MODEL: {"classes": ["0", "1"], "labels": False}}, sequential=follow)
    models, gauges, sink = {MODEL: Model.build(configured.model(MODEL), None)}, Gauges(), MemorySink()
    store = MemoryStore(configured.labels.max_delay_ms)
    worker = Worker(
        lambda: Pipeline(configured, models, store, Partitions(1, 0)), store, sink, gauges, configured, lambda: BASE_MS + HOUR_MS
    )
    worker.assign({unit: (0, N)}, from_end=False, committed=lambda _: {})
    counter, gauge = "driftstream_alerts_total", "driftstream_sequential_severity"
    place = {"model": MODEL, "version": "unversioned", "stream": "scores", "detector": "kswin"}
    assert gauges.registry.get_sample_value(gauge, place) is None
    seen = []
    for first in range(0, N, 32):
        events = [orjson.dumps(prediction(f"p{i}", i / 10, score=float(SCORES[i]))) for i in range(first, min(first + 32, N))]
        worker.process(Batch([messages(events, first=first)]))
        worker.tick()
        worker.deliver()
        said = [alert for alert in map(orjson.loads, sink.values(configured.kafka.topics.alerts)) if alert["kind"] == "sequential_drift"]
        for status in ("firing", "resolved"):
            kind = {"model": MODEL, "kind": "sequential_drift", "severity": "warning", "status": status}
            assert (gauges.registry.get_sample_value(counter, kind) or 0) == sum(alert["status"] == status for alert in said)
        shown = gauges.registry.get_sample_value(gauge, place)
        assert shown == (1 if said and said[-1]["status"] == "firing" else 0)
        seen.append(shown)
    assert {0, 1} == set(seen)
    assert (seen[0], seen[-1]) == (0, 0)
    worker.revoke([unit])
    assert gauges.registry.get_sample_value(gauge, place) is None


def test_labels_that_wait_for_their_predictions_are_followed_where_they_meet(watch: Watch) -> None:
    monitor = watched(watch)
    while monitor.read("labels"):
        monitor.tick()
    read_all(monitor)
    assert {alert["evidence"]["unit"] for alert in drifts(monitor) if alert["evidence"]["stream"] == "errors"} == {"predictions/0"}


@pytest.mark.parametrize("delivered", [True, False])
def test_after_all_state_is_lost_only_what_had_not_been_delivered_is_said(watch: Watch, delivered: bool) -> None:
    monitor = watched(watch)
    read_all(monitor)
    before = drifts(monitor)
    to = at(N / 10) if delivered else NO_TIME
    monitor.empty(dict.fromkeys(monitor.logs, Bookmark("driftstream", Clock(to, to), Mark(NO_TIME, 0))))
    monitor.sink = MemorySink()
    read_all(monitor)
    assert drifts(monitor) == ([] if delivered else before)


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
