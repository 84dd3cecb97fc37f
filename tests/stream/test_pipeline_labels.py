"""Labels and predictions, in either order: what is joined, what is late, and when windows of performance fire.

Timelines as in test_pipeline.py; `P` is the partition of the predictions, `L` that of the labels. Windows are one minute long, both
watermarks trail by 5 s.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from stream.balance import Sheet, read_balance
from stream.join import Side
from stream.store import UnitId
from tests.builders import MODEL, Monitor, at, label, prediction, seconds_of, settings

Watch = Callable[..., Monitor]
L0 = UnitId("labels", 0)


def performance(monitor: Monitor) -> list[tuple[float, int, int, int, float | None]]:
    """(start, predictions, labels, late, coverage) of the results about performance of all traffic."""
    found = []
    for result in monitor.said("results"):
        if result["subject"] == "performance" and result["segment"] is None:
            counts = result["counts"]
            start = seconds_of(result["window"]["start"])
            found.append((start, counts["predictions"], counts["labels"], counts["late"], result["performance"]["coverage"]))
    return found


def close_all(monitor: Monitor) -> None:
    """Both clocks pass everything, with events that are counted in no earlier window."""
    monitor.run(prediction("end", 10_000))
    monitor.run(label("end", 10_000), side="labels")


def test_a_window_of_performance_waits_for_both_clocks(watch: Watch) -> None:
    """
    P  a(10) ------- 60 | ------- b(65)     W = 60: traffic fires, performance waits for L
    L       a(30) -- 60 | -- z(64)          W = 59
    L                60 | --- y(65)         W = 60: performance fires
    """
    monitor = watch(settings())
    monitor.run(prediction("a", 10), prediction("b", 65))
    assert [subject for subject, *_ in monitor.windows()] == ["traffic"]
    monitor.run(label("a", 30), label("z", 64), side="labels")
    assert performance(monitor) == []
    monitor.run(label("y", 65), side="labels")
    assert performance(monitor) == [(0, 1, 1, 0, 1.0)]


def test_slow_predictions_hold_performance_too(watch: Watch) -> None:
    monitor = watch(settings())
    monitor.run(prediction("a", 10))
    monitor.run(label("a", 30), label("b", 500), side="labels")
    assert monitor.windows() == []
    monitor.run(prediction("c", 65))
    assert {subject for subject, *_ in monitor.windows()} == {"traffic", "performance"}


@pytest.mark.parametrize("label_first", [False, True])
def test_a_label_counts_by_its_own_time_whichever_comes_first(watch: Watch, label_first: bool) -> None:
    """
    P  a(10) ---- 60 | --------- 120
    L                | a(70)           counted in [60, 120), as a prediction of version v1
    """
    monitor = watch(settings())
    steps: list[tuple[Side, Any]] = [("predictions", prediction("a", 10, "1", version="v1")), ("labels", label("a", 70, 1))]
    for side, event in reversed(steps) if label_first else steps:
        monitor.run(event, side=side)
    completed = monitor.counters().get("completed", 0)
    assert (monitor.counters(side="labels").get("matched", 0), completed) == ((0, 1) if label_first else (1, 0))
    close_all(monitor)
    assert performance(monitor) == [(0, 1, 0, 0, 0.0), (60, 0, 1, 0, None)]
    assert {r["version"] for r in monitor.said("results")} == {"v1"}
    (counted,) = [r for r in monitor.said("results") if r["subject"] == "performance" and r["counts"]["labels"]]
    assert counted["performance"]["confusion"] == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_a_prediction_that_comes_twice_is_a_duplicate(watch: Watch) -> None:
    """
    P  a(10)  a(20) ... a(10)
    """
    monitor = watch(settings(), partitions=(2, 1))
    monitor.run(prediction("a", 10, "1"), prediction("a", 20, "0"))
    monitor.run(prediction("a", 10, "0"), partition=1)
    monitor.run(label("a", 30, "1"), side="labels")
    assert monitor.counters() == {"consumed": 2, "counted": 1, "duplicate": 1}
    assert monitor.counters(partition=1) == {"consumed": 1, "duplicate": 1}
    monitor.quiet()
    said = monitor.said("results")
    assert [(r["counts"]["predictions"], r["counts"].get("duplicate")) for r in said] == [(1, 2), (1, None)]
    assert said[1]["performance"]["confusion"] == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]  # the first prediction is the one that counts


def test_a_duplicate_in_one_batch_is_recognised(watch: Watch) -> None:
    monitor = watch(settings())
    monitor.run(*[prediction("a", 10)] * 5, prediction("b", 10))
    monitor.run(*[label("a", 20)] * 3, side="labels")
    assert monitor.counters() == {"consumed": 6, "counted": 2, "duplicate": 4}
    assert monitor.counters(side="labels") == {"consumed": 3, "matched": 1, "duplicate": 2}


def test_a_label_that_comes_twice_counts_once(watch: Watch) -> None:
    monitor = watch(settings())
    monitor.run(label("a", 20, "1"), label("a", 25, "1"), side="labels")
    monitor.run(prediction("a", 10, "1"))
    monitor.run(label("a", 30, "1"), side="labels")
    assert monitor.counters(side="labels") == {"consumed": 3, "waiting": 1, "duplicate": 2}
    close_all(monitor)
    assert performance(monitor) == [(0, 1, 1, 0, 1.0)]
    assert monitor.said("results")[-1]["performance"]["accuracy"] == 1.0


def test_delays_of_labels_are_tallied_once_with_late_ones_and_corrections_in_any_order(watch: Watch) -> None:
    """
    P  a(10) b(20) c(30) o(30) |                                                         | d(4005)
    L       a(10.5) b(90) b(90), o(3630) | b(100) corrects, c(29): late, before its prediction, d(4065)
    """
    monitor = watch(settings({name: {"classes": ["0", "1"]} for name in (MODEL, "other")}))
    monitor.run(prediction("a", 10), prediction("b", 20), prediction("c", 30), prediction("o", 30, model="other"))
    monitor.run(label("a", 10.5, "0"), label("b", 90, "0"), label("b", 90, "0"), label("o", 3_630, "0"), side="labels")
    monitor.run(label("b", 100, "1"), label("c", 29, "1"), label("d", 4_065, "0"), side="labels")
    monitor.run(prediction("d", 4_005))
    delays = monitor.pipeline.take_tally().label_delays
    assert {model: (counts.tolist(), sum_s) for model, (counts, sum_s) in delays.items()} == {
        MODEL: ([2, 0, 1, 2, 0, 0, 0, 0, 0, 0], 0.5 + 70 + 80 + 0 + 60),
        "other": ([0, 0, 0, 0, 1, 0, 0, 0, 0, 0], 3_600),
    }


def test_percentiles_of_the_delays_are_those_of_numpy_to_the_stated_error(watch: Watch) -> None:
    delays = np.random.default_rng(3).lognormal(4, 1.5, 400).clip(1, 5_000)
    monitor = watch(settings(windows=[{"size": "2h"}]))
    monitor.run(*(prediction(i, i / 10) for i in range(400)))
    monitor.run(*(label(i, i / 10 + delays[i]) for i in np.argsort(np.arange(400) / 10 + delays).tolist()), side="labels")
    close_all(monitor)
    found = [r["performance"]["label_delay"] for r in monitor.said("results") if r["subject"] == "performance" and r["counts"]["labels"]]
    (delay,) = found
    assert delay["n"] == 400
    assert 0.05 < delay["relative_error"] < 0.058
    for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        assert delay[name] == pytest.approx(
            np.quantile(delays, q, method="inverted_cdf"), rel=delay["relative_error"] + 1e-4
        )  # events have ms


def test_percentiles_of_delays_beyond_the_bins_state_no_error(watch: Watch) -> None:
    monitor = watch(settings())
    monitor.run(prediction("a", 10))
    monitor.run(label("a", 10.5), side="labels")
    close_all(monitor)
    (found,) = [r["performance"]["label_delay"] for r in monitor.said("results") if r["subject"] == "performance" and r["counts"]["labels"]]
    assert found == {"n": 1, "p50": 0.5, "p95": 0.5, "p99": 0.5, "relative_error": None}


def test_a_label_without_a_prediction_waits_and_counts_nowhere(watch: Watch) -> None:
    monitor = watch(settings())
    monitor.run(prediction("a", 10))
    monitor.run(label("nobody", 20), side="labels")
    close_all(monitor)
    assert monitor.counters(side="labels")["waiting"] == 1
    assert performance(monitor) == [(0, 1, 0, 0, 0.0)]


def test_pending_rows_expire_with_the_watermark_and_later_labels_with_them(watch: Watch) -> None:
    """labels.max_delay = 2m, in generations of 30 s: a(10) and its generation leave when the watermark passes 150."""
    monitor = watch(settings(labels={"max_delay": "2m"}))
    monitor.run(prediction("a", 10), prediction("b", 400))
    monitor.run(label("b", 400), side="labels")
    assert monitor.store.expired() == (1, 0)
    monitor.run(label("a", 20), side="labels")
    assert monitor.counters(side="labels") == {"consumed": 2, "matched": 1, "expired": 1}


def test_every_prediction_ends_matched_pending_expired_or_unlabelled(watch: Watch) -> None:
    """
    P  a(10) b(20) e(30) n(30) | d(400) w(400) w(400) | c(10): late, and its generation has gone
    L    a(20)                 | d(400)               | b(50): too late
    """
    models = {MODEL: {"classes": ["0", "1"]}, "other": {"classes": ["0", "1"], "labels": False}}
    monitor = watch(settings(models, labels={"max_delay": "2m"}))
    monitor.run(prediction("a", 10), prediction("b", 20), prediction("e", 30), prediction("n", 30, model="other"))
    monitor.run(label("e", 25), label("e", 40, "1"), label("a", 20), side="labels")
    monitor.run(prediction("d", 400), prediction("w", 400), prediction("w", 400))
    monitor.run(label("d", 400), side="labels")
    monitor.run(prediction("c", 10))
    monitor.run(label("b", 50), label("c", 50), side="labels")
    balance = read_balance(monitor.store, monitor.pipeline.partitions)
    assert balance.predictions.outcomes == {"counted": 6, "late": 1, "duplicate": 1, "malformed": 0}
    assert balance.joined == Sheet(7, {"matched": 3, "pending": 1, "expired": 2, "unlabelled": 1})
    assert balance.adds_up


def test_when_too_many_wait_the_oldest_go_early(watch: Watch) -> None:
    """
    P  900 at 0 --- 200 at 3000
    L  a(0) ------------------- b(3000)     two generations of 1000 s: the first has gone, with 899 that had no label
    """
    monitor = watch(settings(labels={"max_delay": "4000s", "pending_max": 1_000}))
    monitor.run(*(prediction(f"a{i}", i / 1_000) for i in range(900)))
    assert monitor.pipeline.pending_rows == 900
    monitor.run(label("a0", 1), side="labels")
    assert monitor.store.expired() == (0, 0)
    monitor.run(*(prediction(f"b{i}", 3_000 + i / 1_000) for i in range(200)))
    assert monitor.store.expired() == (899, 0)
    monitor.run(label("a1", 2), label("b1", 3_001), side="labels")
    monitor.tick()
    assert monitor.pipeline.pending_rows == 200
    assert monitor.counters(side="labels") == {"consumed": 3, "matched": 2, "expired": 1}


def test_a_late_label_goes_to_the_late_topic_and_is_noted_where_time_stood(watch: Watch) -> None:
    """
    P  a(10)  ---- 60 | ------------- b(130)
    L              60 |      b(130), then a(20): its window closed at W = 125: noted in [120, 180)
    """
    monitor = watch(settings())
    monitor.run(prediction("a", 10), prediction("b", 130))
    monitor.run(label("b", 130), label("a", 20), side="labels")
    close_all(monitor)
    assert performance(monitor) == [(0, 1, 0, 0, 0.0), (120, 1, 1, 1, 1.0)]
    (late,) = monitor.said("late")
    assert (late["subject"], late["origin"]["topic"], late["event"]) == ("performance", "driftstream.labels", label("a", 20))
    assert monitor.counters(side="labels")["matched"] == 3
    assert monitor.pipeline.take_tally().late == {(MODEL, "performance"): 1}


def test_the_label_of_a_late_prediction_is_late(watch: Watch) -> None:
    """
    P  b(200), a(10): late
    L               a(250)   the first event of its partition: late all the same, and noted where it stands
    """
    monitor = watch(settings())
    monitor.run(prediction("b", 200), prediction("a", 10))
    monitor.run(label("a", 250), side="labels")
    assert [(late["subject"], late["watermark"]) for late in monitor.said("late")][1:] == [("performance", None)]
    close_all(monitor)
    assert performance(monitor) == [(180, 1, 0, 0, 0.0), (240, 0, 0, 1, None)]


def test_a_late_label_that_waited_for_the_first_prediction_is_late(watch: Watch) -> None:
    """
    L  z(200), a(10): behind its watermark by more than its window
    P                a(20): the first event of its partition
    """
    monitor = watch(settings())
    monitor.run(label("z", 200), label("a", 10), side="labels")
    monitor.run(prediction("a", 20))
    close_all(monitor)
    assert performance(monitor) == [(0, 1, 0, 1, 0.0)]
    assert monitor.counters()["completed"] == 1


def test_a_label_that_waited_is_as_late_as_it_was_when_it_came(watch: Watch) -> None:
    """
    L  a(50): on time, waits        ... and goes on to 500
    P                    a(20)      the label has not become late by waiting
    """
    monitor = watch(settings())
    monitor.run(label("a", 50), side="labels")
    monitor.run(label("z", 500), side="labels")
    monitor.run(prediction("a", 20))
    close_all(monitor)
    assert performance(monitor) == [(0, 1, 1, 0, 1.0)]


def test_predictions_that_wake_behind_the_clock_of_performance_count_for_no_closed_window(watch: Watch) -> None:
    """
    P  a(10), idle from then on; the wall clock shows 100, so traffic stands at 70
    L  a(20) ------------------------------------- z(400)   performance stands at 395
    P  b(90): its traffic window is open, its performance window has closed; its label came first, and is late
    """
    monitor = watch(settings())
    monitor.now_ms = at(70)
    monitor.run(prediction("a", 10))
    monitor.run(label("a", 20), label("b", 110), side="labels")
    monitor.pipeline.units[UnitId("predictions", 0)].watermark.at_end = True
    monitor.now_ms = at(100)
    monitor.run(label("z", 400), side="labels")
    assert (monitor.pipeline.clock.traffic, monitor.pipeline.clock.performance) == (at(70), at(395))
    monitor.run(prediction("b", 90))
    monitor.now_ms = at(1000)
    monitor.run(prediction("c", 1000))
    monitor.run(label("c", 1000), side="labels")
    assert [window for window in monitor.windows() if window[0] == "traffic"] == [("traffic", 0, 0, True, 1), ("traffic", 60, 0, True, 1)]
    assert performance(monitor) == [(0, 1, 1, 0, 1.0), (360, 0, 0, 1, None)]


def test_with_lateness_performance_is_provisional_first(watch: Watch) -> None:
    """
    P  a(10) b(20) -- 60 | ------------ c(70)  ...  d(500)
    L     a(30) ----- 60 | ------------ c(70)            W = 65: [0, 60) provisional, one label
    L        b(40): within the lateness of 1m                 d(500): final, two labels
    """
    monitor = watch(settings(time={"allowed_lateness": "1m"}))
    monitor.run(prediction("a", 10), prediction("b", 20, "1"), prediction("c", 70))
    monitor.run(label("a", 30), label("c", 70), side="labels")
    monitor.run(label("b", 40), side="labels")
    monitor.run(prediction("d", 500))
    monitor.run(label("d", 500), side="labels")
    said = [w for w in monitor.windows() if w[0] == "performance" and w[1] == 0]
    assert said == [("performance", 0, 0, False, 1), ("performance", 0, 1, True, 2)]
    assert monitor.said("late") == []


def test_labels_may_run_by_their_arrival(watch: Watch) -> None:
    """A nightly feed: labels say when the truth was known, the windows go by when Kafka got them."""
    monitor = watch(settings(labels={"clock": "arrival"}))
    monitor.run(prediction("a", 10))
    monitor.run(label("a", -5000), side="labels")  # every message of the tests' log arrives at second 0
    monitor.quiet()
    assert performance(monitor) == [(0, 1, 1, 0, 1.0)]


def test_labels_of_a_model_without_labels_wait_for_nothing(watch: Watch) -> None:
    models: dict[str, Any] = {MODEL: {"classes": ["0", "1"], "labels": False}, "other": {"classes": ["0", "1"]}}
    monitor = watch(settings(models))
    monitor.run(prediction("a", 10), prediction("b", 10) | {"model": "other"})
    monitor.run(label("a", 20), label("b", 20), side="labels")
    monitor.quiet()
    assert monitor.counters(side="labels") == {"consumed": 2, "matched": 1, "waiting": 1}
    assert [r["model"] for r in monitor.said("results") if r["subject"] == "performance"] == ["other"]


def test_segments_of_performance_are_those_of_the_prediction(watch: Watch) -> None:
    monitor = watch(settings({MODEL: {"classes": ["0", "1"], "segments": ["plan"]}}))
    monitor.run(prediction("a", 10, "1", segments={"plan": "x"}), prediction("b", 10, "0", segments={"plan": "y"}))
    monitor.run(label("a", 20, "1"), label("b", 20, "1"), side="labels")
    monitor.quiet()
    said = {r["segment"]: r["performance"]["accuracy"] for r in monitor.said("results") if r["subject"] == "performance"}
    assert said == {None: 0.5, "plan=x": 1.0, "plan=y": 0.0}


def test_classes_that_are_not_configured_are_other_and_never_right(watch: Watch) -> None:
    monitor = watch(settings())
    monitor.run(prediction("a", 10, "x"), prediction("b", 10, "0"), prediction("c", 10, 2.5))
    monitor.run(label("a", 20, "x"), label("b", 20, "maybe"), label("c", 20, True), side="labels")
    monitor.quiet()
    (said,) = [r for r in monitor.said("results") if r["subject"] == "performance"]
    assert said["performance"]["confusion"] == [[0, 0, 0], [0, 0, 1], [1, 0, 1]]
    assert said["performance"]["accuracy"] == 0.0


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_correction_of_what_was_dropped_with_its_pane_takes_nothing_back(watch: Watch, task: str) -> None:
    """The length of the panes has changed between a label and its correction; what was open then was left out."""
    said, first, second = ("1", "1", "0") if task == "classification" else (1.0, 1.0, 4.0)
    model = (
        {"task": task}
        if task == "regression"
        else {"classes": ["0", "1"], "positive": "1", "business": {"benefit": {"true_positive": 9.0}}}
    )
    before = watch(settings({MODEL: model}))
    before.run(prediction("a", 10, said))
    before.run(label("a", 30, first), side="labels")
    after = watch(settings({MODEL: model}, windows=[{"size": "2m"}]), store=before.store)
    after.logs = before.logs
    after.run(label("a", 150, second), side="labels")
    after.run(prediction("end", 1000, said))
    after.run(label("end", 1000, first), side="labels")
    results = [result for result in after.said("results") if result["subject"] == "performance"]
    assert [(seconds_of(one["window"]["start"]), one["counts"]["labels"]) for one in results] == [(0, 0), (120, 1)]
    found = [one["performance"]["accuracy"] if task == "classification" else one["regression"]["mae"] for one in results]
    assert found == ([None, 0.0] if task == "classification" else [None, 3.0])


def test_a_label_that_cannot_be_read_is_a_dead_letter(watch: Watch) -> None:
    monitor = watch(settings())
    monitor.run(b"[]", label("a", 1) | {"label": None}, label("b", 1), side="labels")
    assert [letter["reason"] for letter in monitor.said("dead_letter")] == ["wrong_type", "missing_field"]
    assert monitor.counters(side="labels") == {"consumed": 3, "malformed": 2, "waiting": 1}


def test_pending_predictions_of_a_model_that_left_the_configuration_count_nowhere(watch: Watch) -> None:
    both = {MODEL: {"classes": ["0", "1"]}, "old": {"classes": ["0", "1"]}}
    before = watch(settings(both))
    before.run(prediction("a", 10) | {"model": "old"}, prediction("b", 10))
    after = watch(settings({MODEL: both[MODEL]}), store=before.store)
    after.logs = before.logs
    after.run(label("a", 20), label("b", 20), side="labels")
    after.quiet()
    assert after.counters(side="labels") == {"consumed": 2, "matched": 2}
    assert [r["model"] for r in after.said("results") if r["subject"] == "performance"] == [MODEL]
