"""Windows by the time of the predictions: provisional, revised as labels come, final at `labels.max_delay`; and labels that correct others.

Timelines as in test_pipeline_labels.py. Windows by prediction time are one minute long here, may be revised every minute, and are final
five minutes after their end.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from stream.rebuild import Bookmark
from stream.reference import Reference
from stream.settings import Settings
from stream.store import Clock, Mark, UnitId
from stream.store_memory import MemoryStore
from stream.watermark import NO_TIME
from tests.builders import MODEL, Monitor, at, label, numeric, prediction, reference, seconds_of, settings

Watch = Callable[..., Monitor]


def delayed(models: Any = None, minimum_coverage: str = "0.5", revise_every: str = "1m", **more: Any) -> Settings:
    cohorts = {"windows": [{"size": "1m"}], "revise_every": revise_every, "minimum_coverage": minimum_coverage}
    return settings(models, by_prediction_time=cohorts, labels={"max_delay": "5m"}, **more)


def pass_to(monitor: Monitor, seconds: float) -> None:
    """Both clocks pass this time, by events of another version."""
    monitor.run(prediction(f"clock {seconds}", seconds + 5.001, 0, version="clock"))
    monitor.run(label(f"nobody {seconds}", seconds + 5.001, 0), side="labels")


def said(monitor: Monitor, by: str = "prediction_time", start: float = 0) -> list[tuple[int, bool, int, int, float | None]]:
    """(revision, final, predictions, labels, accuracy) of the results about the first window of version v."""
    found = []
    for result in monitor.said("results"):
        if result["subject"] == "performance" and result["version"] == "v" and seconds_of(result["window"]["start"]) == start:
            performance, counts = result["performance"], result["counts"]
            if performance["by"] == by:
                found.append((result["revision"], result["final"], counts["predictions"], counts["labels"], performance["accuracy"]))
    return found


def v(id_: str, seconds: float, says: str | float = "1") -> dict[str, Any]:
    return prediction(id_, seconds, says, version="v")


def test_a_window_is_provisional_revised_and_final(watch: Watch) -> None:
    """
    P  a(10) b(20) |
    L       a(30)  |        b(70) |              |  ...  |
                  60: 1 of 2     120: 2 of 2    180: -  360: final
    """
    monitor = watch(delayed())
    monitor.run(v("a", 10), v("b", 20))
    monitor.run(label("a", 30, "1"), side="labels")
    pass_to(monitor, 60)
    assert said(monitor) == [(0, False, 2, 1, 1.0)]
    monitor.run(label("b", 70, "0"), side="labels")
    pass_to(monitor, 120)
    assert said(monitor)[1:] == [(1, False, 2, 2, 0.5)]
    pass_to(monitor, 180)
    pass_to(monitor, 359.9)
    assert len(said(monitor)) == 2
    pass_to(monitor, 360)
    assert said(monitor)[2:] == [(6, True, 2, 2, 0.5)]
    assert not [group for group in monitor.store._units[next(iter(monitor.owned))].panes.get("fraud", {}) if group.version == "v"]
    monitor.validate()


def test_a_label_that_is_too_late_for_its_own_window_still_counts_by_the_time_of_its_prediction(watch: Watch) -> None:
    monitor = watch(delayed())
    monitor.run(v("a", 10))
    pass_to(monitor, 200)
    monitor.run(label("a", 30, "1"), side="labels")
    assert monitor.counters(side="labels")["matched"] == 1
    pass_to(monitor, 240)
    assert said(monitor, "label_time") == [(0, True, 1, 0, None)]
    assert said(monitor) == [(2, False, 1, 0, None), (3, False, 1, 1, 1.0)]


def test_a_late_prediction_still_counts_by_its_own_time_with_its_label(watch: Watch) -> None:
    monitor = watch(delayed())
    pass_to(monitor, 100)
    monitor.run(v("a", 10))
    monitor.run(label("a", 106, "1"), side="labels")
    assert monitor.counters()["late"] == 1
    pass_to(monitor, 360)
    assert said(monitor)[-1] == (6, True, 1, 1, 1.0)


def test_a_prediction_that_is_too_late_in_its_own_partition_counts_nowhere_nor_does_its_label_though_others_are_behind(
    watch: Watch,
) -> None:
    monitor = watch(delayed(), partitions=(2, 1))
    monitor.run(v("a", 10))
    monitor.run(label("a", 30, "1"), side="labels")
    monitor.run(prediction("clock", 365.001, 0, version="clock"), v("b", 20))
    monitor.run(label("b", 40, "1"), label("nobody", 365.001, 0), side="labels")
    monitor.run(prediction("other clock", 365.001, 0, version="clock"), partition=1)
    assert said(monitor)[-1] == (6, True, 1, 1, 1.0)


def test_labels_after_the_last_revision_change_nothing(watch: Watch) -> None:
    monitor = watch(delayed())
    monitor.run(v("a", 10), v("b", 10))
    pass_to(monitor, 60)
    monitor.run(label("a", 364, "1"), side="labels")
    pass_to(monitor, 370)
    final = said(monitor)[-1]
    assert final[1:] == (True, 2, 1, 1.0)
    monitor.run(label("b", 380, "1"), side="labels")
    pass_to(monitor, 900)
    assert said(monitor)[-1] == final


def test_revisions_come_no_more_often_than_configured(watch: Watch) -> None:
    monitor = watch(delayed(revise_every="2m"))
    monitor.run(*[v(f"p{i}", 10) for i in range(10)])
    for i in range(10):
        pass_to(monitor, 60 + 30 * i)
        monitor.run(label(f"p{i}", 60 + 30 * i, "1"), side="labels")
    pass_to(monitor, 400)
    revisions = [revision for revision, *_ in said(monitor)]
    assert revisions == sorted(set(revisions))
    assert len(revisions) <= 1 + 3 + 1  # at 60; at 120, 240 and 360 at most; and in the end
    assert said(monitor)[-1][1:] == (True, 10, 10, 1.0)


def test_maturity_and_coverage_stand_beside_the_metrics(watch: Watch) -> None:
    monitor = watch(delayed())
    monitor.run(v("a", 10), v("b", 20))
    monitor.run(label("a", 30), side="labels")
    pass_to(monitor, 120)
    pass_to(monitor, 360)
    found = [r["performance"] for r in monitor.said("results") if r["version"] == "v" and r["subject"] == "performance"]
    by = {one["by"]: one for one in found}
    assert "maturity" not in by["label_time"]
    assert by["prediction_time"]["coverage"] == 0.5
    mature = [one["maturity"] for one in found if one["by"] == "prediction_time"]
    assert mature == [pytest.approx(0.2, abs=1e-4), 1.0]


def test_what_was_read_again_after_a_loss_of_all_state_is_said_as_soon_as_it_is_news(watch: Watch) -> None:
    """
    L   a(30) |              | b(124)
                            120: said, then all state is gone; both labels are read again before the clock is at 120 once more
    """
    monitor = watch(delayed())
    monitor.run(v("a", 10), v("b", 20))
    monitor.run(label("a", 30, "1"), side="labels")
    pass_to(monitor, 120)
    assert said(monitor) == [(1, False, 2, 1, 1.0)]
    monitor.log(label("b", 124, "0"), side="labels")
    delivered = Bookmark("driftstream", Clock(at(120), at(120)), Mark(NO_TIME, 0))
    monitor.empty(dict.fromkeys(monitor.logs, delivered))
    monitor.read("predictions")
    monitor.read("labels")
    monitor.tick()
    assert len(said(monitor)) == 1
    pass_to(monitor, 180)
    assert said(monitor)[1:] == [(2, False, 2, 2, 0.5)]


# alerts

FLOOR = {"performance": {"minimum_sample": 1, "accuracy": {"warning": 0.9, "critical": 0.4}}}


def alerts(monitor: Monitor) -> list[tuple[str, str, float]]:
    """(status, severity, start) of the alerts by prediction time."""
    return [
        (one["status"], one["severity"], seconds_of(one["window"]["start"]))
        for one in monitor.said("alerts")
        if one.get("by") == "prediction_time" and one["metric"] == "accuracy"
    ]


def test_alerts_wait_for_labels_enough(watch: Watch) -> None:
    monitor = watch(delayed(**FLOOR))
    monitor.run(*[v(f"p{i}", 10) for i in range(4)])
    monitor.run(label("p0", 70, "0"), side="labels")
    pass_to(monitor, 120)
    assert said(monitor)[-1][2:] == (4, 1, 0.0)
    (verdict,) = {
        r["performance"]["verdicts"]["accuracy"]["severity"]
        for r in monitor.said("results")
        if r["version"] == "v" and r["subject"] == "performance" and r["performance"]["by"] == "prediction_time"
    }
    assert (verdict, alerts(monitor)) == ("insufficient_data", [])
    monitor.run(label("p1", 130, "0"), side="labels")
    pass_to(monitor, 180)
    assert alerts(monitor) == [("firing", "critical", 0)]
    (alert,) = [one for one in monitor.said("alerts") if one.get("by")]
    assert "by prediction time" in alert["summary"]
    monitor.validate()


def test_a_revision_of_an_older_window_does_not_speak_over_a_newer_one(watch: Watch) -> None:
    """The window of 0 turns bad after that of 60 has been judged good; the alert is about the newest one that can be judged."""
    monitor = watch(delayed(**FLOOR))
    monitor.run(v("old", 10), v("young", 70))
    monitor.run(label("young", 80, "1"), side="labels")
    pass_to(monitor, 120)
    monitor.run(label("old", 130, "0"), side="labels")
    pass_to(monitor, 180)
    assert said(monitor)[-1][-1] == 0.0
    assert alerts(monitor) == []


def test_alerts_are_about_the_newest_window_that_has_labels_enough(watch: Watch) -> None:
    """That of 60 has ended, without a label, when those of 0 come."""
    monitor = watch(delayed(**FLOOR))
    monitor.run(v("old", 10), v("young", 70))
    pass_to(monitor, 120)
    monitor.run(label("old", 130, "0"), side="labels")
    pass_to(monitor, 180)
    assert alerts(monitor) == [("firing", "critical", 0)]
    monitor.run(label("young", 190, "1"), side="labels")
    pass_to(monitor, 240)
    assert alerts(monitor)[1:] == [("resolved", "critical", 60)]


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_drops_wait_for_labels_enough_too(watch: Watch, task: str) -> None:
    """All of the first minute is right, all of the second wrong; of that there is a third of the labels, then all."""
    metric, kind = ("accuracy", "drop") if task == "classification" else ("mae", "relative")
    model = {"task": task, "performance": {"minimum_sample": 10}} | ({"classes": ["0", "1"]} if task == "classification" else {})
    degradation = {"against": "1m", metric: {kind: {"warning": 0.2}}}
    monitor = watch(delayed({MODEL: model | {"degradation": degradation}}))
    monitor.run(*[v(f"{minute}-{i}", 60 * minute + 10, 1) for minute in (0, 1) for i in range(60)])
    monitor.run(*[label(f"0-{i}", 70, 1 if task == "classification" else 1.1 + i / 1000) for i in range(60)], side="labels")

    def of_second() -> tuple[str, float, bool, set[str]]:
        """Status, maturity, whether a rule is broken, and alerts by prediction time."""
        (*_, newest) = (
            one.get("performance") or one["regression"]
            for one in monitor.said("results")
            if one["subject"] == "performance" and one["version"] == "v" and seconds_of(one["window"]["start"]) == 60
            if (one.get("performance") or one["regression"])["by"] == "prediction_time"
        )
        fired = {one["metric"] for one in monitor.said("alerts") if one.get("by") == "prediction_time"}
        return newest["status"], newest["maturity"], bool(newest.get("broken")), fired

    for some, seconds in ((range(20), 130), (range(20, 60), 190)):
        monitor.run(*[label(f"1-{i}", seconds, 0 if task == "classification" else 9 + i / 10) for i in some], side="labels")
        pass_to(monitor, seconds // 60 * 60 + 60)
        if seconds == 130:
            assert of_second() == ("insufficient_data", pytest.approx(5 / 300), False, set())
    assert of_second() == (
        "warning",
        pytest.approx(2 / 5, abs=1e-4),
        True,
        {"accuracy_drop" if task == "classification" else "mae_relative_rise"},
    )
    monitor.validate()


# corrections


def test_a_correction_replaces_the_outcome_in_both_windows_while_they_are_open(watch: Watch) -> None:
    monitor = watch(delayed())
    monitor.run(v("a", 10), v("b", 20))
    monitor.run(label("a", 30, "1"), label("b", 31, "1"), label("a", 40, "0"), side="labels")
    assert monitor.counters(side="labels") == {"consumed": 3, "matched": 2, "corrected": 1}
    pass_to(monitor, 60)
    assert said(monitor, "label_time") == [(0, True, 2, 2, 0.5)]
    assert said(monitor) == [(0, False, 2, 2, 0.5)]


def test_a_correction_after_the_window_of_the_label_revises_that_of_the_prediction(watch: Watch) -> None:
    monitor = watch(delayed())
    monitor.run(v("a", 10))
    monitor.run(label("a", 30, "1"), side="labels")
    pass_to(monitor, 120)
    monitor.run(label("a", 130, "0"), side="labels")
    pass_to(monitor, 180)
    assert said(monitor, "label_time") == [(0, True, 1, 1, 1.0)]
    assert said(monitor, "label_time", start=120) == [
        (0, True, 0, 1, 0.0)
    ]  # what was known then stays said; the new label counts in its own
    assert [one[2:] for one in said(monitor)] == [(1, 1, 1.0), (1, 1, 0.0)]


@pytest.mark.parametrize("partition", [0, 1])
def test_a_correction_may_come_in_another_partition(watch: Watch, partition: int) -> None:
    """Its part of the pane has counted less than nothing; the sum is right."""
    monitor = watch(delayed(), partitions=(1, 2))
    monitor.run(v("a", 10), v("b", 11))
    monitor.run(label("a", 30, "1"), label("b", 31, "0"), side="labels")
    monitor.run(label("a", 40, "0"), side="labels", partition=partition)
    monitor.start()  # what is open is read from the store
    for one in (0, 1):
        monitor.run(label(f"nobody {one}", 70), side="labels", partition=one)
    monitor.run(prediction("clock", 70, version="clock"))
    assert said(monitor, "label_time") == [(0, True, 2, 2, 0.0)]
    assert said(monitor) == [(0, False, 2, 2, 0.0)]


def test_a_correction_before_the_prediction_is_what_counts(watch: Watch) -> None:
    monitor = watch(delayed())
    monitor.run(label("a", 20, "1"), label("a", 25, "0"), side="labels")
    monitor.run(v("a", 10))
    assert monitor.counters(side="labels") == {"consumed": 2, "waiting": 1, "corrected": 1}
    pass_to(monitor, 60)
    assert said(monitor) == [(0, False, 1, 1, 0.0)]


def test_a_correction_that_is_too_late_in_its_own_partition_changes_nothing_though_others_are_behind(watch: Watch) -> None:
    """
    L0      a(30): 1  |  ...  |  nobody(365.001)  a(100): 0
    L1                60     360                             nobody(365.001): final
    """
    monitor = watch(delayed(), partitions=(1, 2))
    monitor.run(v("a", 10))
    monitor.run(label("a", 30, "1"), side="labels")
    monitor.run(prediction("clock", 365.001, 0, version="clock"))
    monitor.run(label("nobody", 365.001, 0), label("a", 100, "0"), side="labels")
    assert monitor.counters(side="labels")["corrected"] == 1
    monitor.run(label("somebody", 365.001, 0), side="labels", partition=1)
    assert said(monitor)[-1] == (6, True, 1, 1, 1.0)


@pytest.mark.parametrize("before", [0, 1, 2, 3])
def test_a_correction_of_a_correction_takes_back_that_one_alone(watch: Watch, before: int) -> None:
    """`before`: how many of the three labels are there when the prediction comes."""
    monitor = watch(delayed())
    labels = [label("a", 20 + i, truth) for i, truth in enumerate("101")]
    monitor.run(*labels[:before], side="labels")
    monitor.run(v("a", 10))
    monitor.run(*labels[before:], side="labels")
    pass_to(monitor, 60)
    for by in ("label_time", "prediction_time"):
        assert [counts[2:] for counts in said(monitor, by)] == [(1, 1, 1.0)]
    (confusion,) = {
        str(one["performance"]["confusion"])
        for one in monitor.said("results")
        if one["version"] == "v" and one["subject"] == "performance" and seconds_of(one["window"]["start"]) == 0
    }
    assert confusion == "[[0, 0, 0], [0, 1, 0], [0, 0, 0]]"


def test_a_worker_that_dies_between_counting_and_writing_corrects_once(watch: Watch) -> None:
    monitor = watch(delayed())
    monitor.run(v("a", 10))
    monitor.log(label("a", 30, "1"), label("a", 40, "0"), label("a", 41, "0"), side="labels")
    for _ in range(3):
        monitor.read("labels")
        monitor.start()  # nothing was written: all is read again
    monitor.read("labels")
    pass_to(monitor, 60)
    assert monitor.counters(side="labels")["corrected"] == 1
    assert said(monitor) == [(0, False, 1, 1, 0.0)]


def test_without_windows_by_prediction_time_corrections_count_by_their_own(watch: Watch) -> None:
    monitor = watch(settings())
    monitor.run(v("a", 10))
    monitor.run(label("a", 30, "1"), label("a", 40, "0"), side="labels")
    pass_to(monitor, 60)
    assert (said(monitor), said(monitor, "label_time")) == ([], [(0, True, 1, 1, 0.0)])


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_correction_that_is_written_before_what_it_corrects_is_revised_when_that_is(watch: Watch, task: str) -> None:
    """One worker has counted the first label and not written it yet when another, which has written the correction, closes windows."""
    said_, first, second = ("1", "1", "0") if task == "classification" else (1.0, 1.0, 4.0)
    model = (
        {"task": task}
        if task == "regression"
        else {"classes": ["0", "1"], "positive": "1", "business": {"benefit": {"true_positive": 9.0}}}
    )
    configured, store = delayed({MODEL: model}), MemoryStore(5 * 60_000)
    p0, l0, l1 = UnitId("predictions", 0), UnitId("labels", 0), UnitId("labels", 1)
    other = watch(configured, partitions=(1, 2), store=store, owned=[l0])
    home = watch(configured, partitions=(1, 2), store=store, owned=[p0, l1])
    home.run(v("a", 10, said_), v("b", 20, said_), prediction("clock", 125.001, said_, version="clock"))
    other.run(label("b", 125.001, first), side="labels")
    other.log(label("a", 130, first), side="labels")
    other.read("labels")
    home.run(label("a", 140, second), side="labels", partition=1)

    def found() -> list[tuple[int, Any]]:
        results = [r for r in home.said("results") if r["version"] == "v" and seconds_of(r["window"]["start"]) == 0]
        told = [r.get("performance") or r.get("regression") for r in results if r["subject"] == "performance"]
        return [(one["coverage"], one.get("confusion") or one["mae"]) for one in told if one["by"] == "prediction_time"]

    assert len(found()) == 1
    other.run(label("x", 190, first), side="labels")
    home.run(label("y", 190, first), side="labels", partition=1)
    home.run(prediction("later", 190, said_, version="clock"))
    assert found()[1:] == [(1.0, [[0, 1, 0], [0, 1, 0], [0, 0, 0]] if task == "classification" else 1.5)]


def test_of_a_regression_that_has_nothing_but_such_a_correction_every_metric_is_undefined(watch: Watch) -> None:
    configured, store = (
        delayed({MODEL: {"task": "regression", "performance": {"absolute_error_p95": {"warning": 1}}}}),
        MemoryStore(5 * 60_000),
    )
    l0 = UnitId("labels", 0)
    other = watch(configured, partitions=(1, 2), store=store, owned=[l0])
    home = watch(configured, partitions=(1, 2), store=store, owned=[UnitId("predictions", 0), UnitId("labels", 1)])
    home.run(v("a", 10, 1.0), prediction("clock", 125.001, 1.0, version="clock"))
    other.run(label("b", 125.001, 1.0), side="labels")
    other.log(label("a", 130, 3.0), side="labels")
    other.read("labels")
    home.run(label("a", 140, 4.0), side="labels", partition=1)
    home.validate()
    (found,) = (
        r["regression"] for r in home.said("results") if r["version"] == "v" and r.get("regression", {}).get("by") == "prediction_time"
    )
    assert [found[name] for name in ("mae", "error_p50", "absolute_error_p95")] == [None] * 3
    assert found["verdicts"]["absolute_error_p95"]["score"] is None


def test_a_correction_of_a_regression_leaves_no_trace_of_what_it_replaced(watch: Watch) -> None:
    models = {"fraud": {"task": "regression"}}
    corrected, right = watch(delayed(models)), watch(delayed(models))
    for monitor, labels in ((corrected, [("a", 1000.0), ("b", 3.5), ("a", 2.0)]), (right, [("b", 3.5), ("a", 2.0)])):
        monitor.run(v("a", 10, 1.5), v("b", 20, 3.0))
        monitor.run(*[label(id_, 30 + i, truth) for i, (id_, truth) in enumerate(labels)], side="labels")
        pass_to(monitor, 60)
    found, expected = (
        [r["regression"] for r in monitor.said("results") if r["version"] == "v" and r["subject"] == "performance"]
        for monitor in (corrected, right)
    )
    assert len(found) == len(expected) == 2
    for one, other in zip(found, expected, strict=True):
        for metric in ("mae", "rmse", "bias", "mape", "smape", "wape", "r2"):
            assert one[metric] == pytest.approx(other[metric], rel=1e-9), metric


@pytest.mark.parametrize("wild", [1e5, -999_999_999, 1e12, 1e60])
@pytest.mark.parametrize("unit", [1.0, 1e4])
@pytest.mark.parametrize(
    "references", [{}, {MODEL: reference(numeric("x", [0.0, 1.0], [0, 100, 0], [0, 0, 0]))}], ids=["none", "no outputs"]
)
def test_a_wild_label_that_is_corrected_is_not_felt_in_what_is_left(
    watch: Watch, wild: float, unit: float, references: dict[str, Reference]
) -> None:
    """A placeholder, say, whose square is so large that errors of usual size are lost in its rounding."""
    rng = np.random.default_rng(1)
    truth = rng.normal(10, 3, 200) * unit
    made = (truth + rng.normal(0, 1, 200) * unit).tolist()
    labels = [label(f"p{i}", 20 + i / 100, one) for i, one in enumerate(truth.tolist())]
    found = []
    for first in (labels, [label(f"p{i}", 15, wild * unit) for i in (7, 150)] + labels):
        monitor = watch(delayed({MODEL: {"task": "regression"}}), references)
        monitor.run(*[v(f"p{i}", 10, said_) for i, said_ in enumerate(made)])
        monitor.run(*first, side="labels")
        pass_to(monitor, 60)
        found.append([r["regression"] for r in monitor.said("results") if r["version"] == "v" and r["subject"] == "performance"])
    for one, other in zip(*found, strict=True):
        for metric in ("mae", "rmse", "bias", "mape", "smape", "wape", "r2"):
            assert one[metric] == pytest.approx(other[metric], rel=1e-9), metric
        for metric, ends in other["intervals"].items():
            assert one["intervals"][metric] == pytest.approx(ends, rel=1e-6), metric
        assert one["error_p95"] == other["error_p95"]
