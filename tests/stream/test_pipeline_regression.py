"""Regressions through the pipeline, every window against scikit-learn and numpy on its raw rows, beside a classifier."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from sinks.gauges import Gauges
from stream.model import Model
from stream.reference import NumericFeature, Reference
from tests.builders import MODEL, Monitor, at, label, prediction, reference, seconds_of, settings

Watch = Callable[..., Monitor]
Rows = list[tuple[float, float]]  # label, prediction
PRICE = "price"
MINUTES = 4
TASKS = {MODEL: {"classes": ["0", "1"]}, PRICE: {"task": "regression", "segments": ["country"]}}


def number_output(name: str, values: np.ndarray[Any, np.dtype[np.float64]]) -> NumericFeature:
    """A numeric output of a reference in ten bins of equal mass."""
    edges = np.quantile(values, np.linspace(0.1, 0.9, 9))
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=10)
    moments = {"mean": values.mean(), "std": values.std(), "minimum": values.min(), "maximum": values.max()}
    return NumericFeature(
        name=name, missing=0, edges=edges, counts=counts, groups=np.arange(10), **{k: float(v) for k, v in moments.items()}
    )


def price_reference(rng: np.random.Generator) -> Reference:
    labels, errors = rng.normal(100, 30, 2_000), rng.normal(0, 5, 2_000)
    outputs = [number_output("prediction", labels + errors), number_output("label", labels)]
    return reference(number_output("x", labels), model=PRICE, outputs=outputs)


def run_random(
    watch: Watch, seed: int, references: Mapping[str, Reference], *, shift: float = 0.0
) -> tuple[Monitor, dict[tuple[float, str | None], Rows], list[tuple[str, str]]]:
    """Random streams of both models, labels before or after their predictions; the rows of each window, and the pairs of the classifier."""
    rng = np.random.default_rng(seed)
    monitor = watch(settings(TASKS), references, partitions=(2, 2))
    rows: dict[tuple[float, str | None], Rows] = {}
    pairs: list[tuple[str, str]] = []
    for minute in range(MINUTES):
        events: dict[str, list[dict[str, Any]]] = {"predictions": [], "labels": []}
        for i, second in enumerate(np.sort(rng.uniform(0, 60, 300)) + 60 * minute):
            id_, country = f"{minute}-{i}", str(rng.choice(["DE", "FR"]))
            if rng.random() < 0.3:
                truth, said = str(rng.integers(2)), str(rng.integers(2))
                pairs.append((truth, said))
                events["predictions"].append(prediction(id_, second, said))
                events["labels"].append(label(id_, second, truth))
                continue
            y = 0.0 if rng.random() < 0.05 else round(float(rng.normal(100 + shift, 30)), int(rng.integers(3)))
            p = y + float(rng.standard_t(3)) * 5
            said, truth = (int(p), int(y)) if rng.random() < 0.2 else (p, y)
            events["predictions"].append(prediction(id_, second, said, model=PRICE, segments={"country": country}))
            events["labels"].append(label(id_, second, truth))
            for segment in (None, f"country={country}"):
                rows.setdefault((60.0 * minute, segment), []).append((float(truth), float(said)))
        for side in rng.permutation(["predictions", "labels"]).tolist():
            for partition in (0, 1):
                monitor.log(*events[side][partition::2], side=side, partition=partition)
                while monitor.read(side, partition, int(rng.integers(20, 200))):
                    pass
        monitor.tick()
    monitor.quiet()
    return monitor, rows, pairs


def said_by(monitor: Monitor, model: str, subject: str) -> list[dict[str, Any]]:
    return [r for r in monitor.said("results") if r["model"] == model and r["subject"] == subject and r["final"]]


@pytest.mark.parametrize("seed", range(6))
def test_every_window_of_a_regression_is_what_scikit_learn_says_of_its_rows(watch: Watch, seed: int) -> None:
    references = {PRICE: price_reference(np.random.default_rng(seed))} if seed % 2 else {}
    monitor, rows, pairs = run_random(watch, seed, references)
    results = said_by(monitor, PRICE, "performance")
    assert {(seconds_of(r["window"]["start"]), r["segment"]) for r in results} == rows.keys()
    for result in results:
        y, p = np.array(rows[seconds_of(result["window"]["start"]), result["segment"]]).T
        found, error, nonzero = result["regression"], p - y, y != 0
        assert "performance" not in result
        assert (result["counts"]["labels"], found["coverage"], found["unusable"]) == (len(y), 1.0, 0)
        assert found["zeros"] == int((~nonzero).sum())
        expected = {
            "mae": metrics.mean_absolute_error(y, p),
            "rmse": metrics.root_mean_squared_error(y, p),
            "mape": metrics.mean_absolute_percentage_error(y[nonzero], p[nonzero]),
            "r2": metrics.r2_score(y, p),
            "bias": error.mean(),
            "wape": np.abs(error).sum() / np.abs(y).sum(),
            "smape": np.mean([0.0 if a == b == 0 else 2 * abs(a - b) / (abs(a) + abs(b)) for a, b in zip(y, p, strict=True)]),
        }
        assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-9, abs=1e-9)
        for name, values in (("error", error), ("absolute_error", np.abs(error))):
            for q in (5, 50, 95) if name == "error" else (50, 95):
                low, high = found[f"{name}_p{q:02}"]["bounds"]
                assert low <= np.quantile(values, q / 100, method="inverted_cdf") <= high
    (matrix,) = np.array([[r["performance"]["confusion"] for r in said_by(monitor, MODEL, "performance")]]).sum(axis=1)
    assert matrix[:2, :2].tolist() == metrics.confusion_matrix(*zip(*pairs, strict=True), labels=["0", "1"]).tolist()


def test_batches_and_order_change_a_regression_only_in_the_last_digits(watch: Watch) -> None:
    events = [(f"{i}", i / 10, float(i % 7) * 1.1, float(i % 5)) for i in range(500)]
    found = []
    for most, label_first in ((500, False), (7, True)):
        monitor = watch(settings({PRICE: {"task": "regression"}}))
        monitor.log(*(prediction(id_, second, said, model=PRICE) for id_, second, said, _ in events))
        monitor.log(*(label(id_, second, truth) for id_, second, _, truth in events), side="labels")
        for side in ("labels", "predictions") if label_first else ("predictions", "labels"):
            while monitor.read(side, most=most):
                monitor.tick()
        monitor.quiet()
        (result,) = said_by(monitor, PRICE, "performance")
        found.append({k: v for k, v in result["regression"].items() if isinstance(v, float)})
    assert found[0] == pytest.approx(found[1], rel=1e-12)
    assert found[0]["mae"] == pytest.approx(np.mean([abs(said - truth) for *_, said, truth in events]))


def test_a_prediction_that_is_no_number_goes_to_the_dead_letters_with_a_reason(watch: Watch) -> None:
    monitor = watch(settings(TASKS))
    for i, said in enumerate([True, "12.5", "twelve", 1e71, 12.5]):
        monitor.run(prediction(str(i), i, said, model=PRICE))
    assert monitor.counters() == {"consumed": 5, "counted": 1, "malformed": 4}
    letters = monitor.said("dead_letter")
    assert {letter["reason"] for letter in letters} == {"wrong_type"}
    assert [letter["detail"].split(",")[0] for letter in letters] == [
        "prediction: found True",
        "prediction: found '12.5'",
        "prediction: found 'twelve'",
        "prediction: found 1e+71",
    ]


def test_a_label_that_is_no_number_goes_to_the_dead_letters_where_all_labels_are_numbers(watch: Watch) -> None:
    monitor = watch(settings({PRICE: {"task": "regression"}}))
    monitor.run(*(prediction(str(i), 1, 2.0, model=PRICE) for i in range(3)))
    monitor.run(label("0", 2, "2.0"), label("1", 2, True), label("2", 2, 3), side="labels")
    assert monitor.counters(side="labels") == {"consumed": 3, "matched": 1, "malformed": 2}
    monitor.quiet()
    (result,) = said_by(monitor, PRICE, "performance")
    assert (result["counts"]["labels"], result["regression"]["mae"]) == (1, 1.0)


@pytest.mark.parametrize("label_first", [False, True])
def test_beside_a_classifier_a_label_that_is_no_number_is_said_in_its_window(watch: Watch, label_first: bool) -> None:
    monitor = watch(settings(TASKS))
    predictions = [prediction(str(i), 1, 2.0, model=PRICE) for i in range(2)]
    labels = [label("0", 2, "two"), label("1", 2, 1.5)]
    for side in ("labels", "predictions") if label_first else ("predictions", "labels"):
        monitor.run(*(labels if side == "labels" else predictions), side=side)
    monitor.quiet()
    (result,) = [r for r in said_by(monitor, PRICE, "performance") if r["segment"] is None]
    assert (result["counts"]["labels"], result["regression"]["unusable"], result["regression"]["bias"]) == (1, 1, 0.5)


def test_without_labels_every_metric_is_undefined(watch: Watch) -> None:
    monitor = watch(settings({PRICE: {"task": "regression"}}))
    monitor.run(prediction("a", 1, 2.0, model=PRICE))
    monitor.quiet()
    (result,) = said_by(monitor, PRICE, "performance")
    found = result["regression"]
    assert {found[name] for name in ("mae", "rmse", "bias", "mape", "smape", "wape", "r2", "error_p50", "absolute_error_p95")} == {None}
    assert (found["coverage"], found["intervals"]) == (0.0, {})


def test_r2_of_equal_labels_and_mape_of_zeros_are_undefined(watch: Watch) -> None:
    monitor = watch(settings({PRICE: {"task": "regression"}}))
    monitor.run(*(prediction(str(i), 1, float(i), model=PRICE) for i in range(3)))
    monitor.run(*(label(str(i), 1, 0) for i in range(3)), side="labels")
    monitor.quiet()
    (result,) = said_by(monitor, PRICE, "performance")
    found = result["regression"]
    assert [found[name] for name in ("r2", "mape", "wape", "zeros", "mae")] == [None, None, None, 3, 1.0]
    assert found["rmse"] == pytest.approx(math.sqrt(5 / 3))


def test_numbers_that_move_are_drift_of_prediction_and_label(watch: Watch) -> None:
    references = {PRICE: price_reference(np.random.default_rng(1))}
    steady, moved = (run_random(watch, 3, references, shift=shift)[0] for shift in (0.0, 60.0))
    for monitor, alarmed in ((steady, False), (moved, True)):
        for subject, output, kind in (("traffic", "prediction", "prediction_drift"), ("performance", "label", "label_drift")):
            (drift, *_) = [r["outputs"][output] for r in said_by(monitor, PRICE, subject) if r["segment"] is None]
            assert drift["kind"] == "numeric"
            assert (drift["psi"]["severity"] == "critical") == alarmed
            assert any(alert["kind"] == kind and alert["severity"] == "critical" for alert in monitor.said("alerts")) == alarmed


def test_errors_above_their_threshold_and_r2_below_it_alarm(watch: Watch) -> None:
    limits = {"minimum_sample": 10, "rmse": {"warning": 1, "critical": 3}, "r2": {"warning": 0.5}, "mae": {"warning": 2.1}}
    monitor = watch(settings({PRICE: {"task": "regression", "performance": limits}}))
    monitor.run(*(prediction(str(i), 1, i % 2 + 2.0, model=PRICE) for i in range(20)))
    monitor.run(*(label(str(i), 1, i % 2) for i in range(20)), side="labels")
    monitor.quiet()
    alerts = {alert["metric"]: (alert["severity"], alert["value"], alert["threshold"]) for alert in monitor.said("alerts")}
    assert alerts == {"rmse": ("warning", 2.0, 1.0), "r2": ("warning", -15.0, 0.5)}
    (result,) = said_by(monitor, PRICE, "performance")
    assert {name: verdict["severity"] for name, verdict in result["regression"]["verdicts"].items()} == {
        "rmse": "warning",
        "r2": "warning",
        "mae": "ok",
    }


@pytest.mark.parametrize("error", [-3.0, 3.0])
def test_a_bias_alarms_whichever_way_it_is(watch: Watch, error: float) -> None:
    limits = {"minimum_sample": 10, "absolute_bias": {"warning": 2, "critical": 3.5}}
    monitor = watch(settings({PRICE: {"task": "regression", "performance": limits}}))
    monitor.run(*(prediction(str(i), 1, i + error, model=PRICE) for i in range(20)))
    monitor.run(*(label(str(i), 1, i) for i in range(20)), side="labels")
    monitor.quiet()
    (alert,) = [alert for alert in monitor.said("alerts") if alert["metric"] == "absolute_bias"]
    assert (alert["severity"], alert["value"], alert["threshold"]) == ("warning", 3.0, 2.0)
    (result,) = said_by(monitor, PRICE, "performance")
    assert result["regression"]["bias"] == error
    assert result["regression"]["verdicts"]["absolute_bias"] == {"score": 3.0, "threshold": 2.0, "severity": "warning"}


def test_errors_are_counted_in_units_of_the_labels_of_the_reference_else_of_its_predictions() -> None:
    rng = np.random.default_rng(9)
    outputs = number_output("prediction", rng.normal(0, 500, 2_000)), number_output("label", rng.normal(0, 200, 2_000))
    section = settings({PRICE: {"task": "regression"}}).model(PRICE)
    widest = []
    for known in ((), outputs[:1], outputs):
        numbers = Model.build(section, reference(outputs[0], model=PRICE, outputs=known)).numbers
        assert numbers is not None
        assert isinstance(numbers.error.feature, NumericFeature)
        widest.append(float(numbers.error.feature.edges[-1]))
    assert widest == pytest.approx([1e3, 500e3, 200e3], rel=0.2)


def test_metrics_verdicts_and_coverage_of_a_regression_are_gauges(watch: Watch) -> None:
    monitor = watch(settings({PRICE: {"task": "regression", "performance": {"minimum_sample": 1, "rmse": {"warning": 1}}}}))
    monitor.run(*(prediction(str(i), 1, i + 2.0, model=PRICE) for i in range(4)))
    monitor.run(*(label(str(i), 1, i) for i in range(2)), side="labels")
    monitor.quiet()
    gauges = Gauges()
    for firing in monitor.firings:
        if firing.result is not None:
            gauges.observe_result(firing.result)
    by = {"model": PRICE, "version": "unversioned", "segment": "", "window": "1m", "by": "label_time"}
    shown = {name: gauges.registry.get_sample_value("driftstream_performance", by | {"metric": name}) for name in ("rmse", "bias", "mape")}
    assert shown == {"rmse": 2.0, "bias": 2.0, "mape": 2.0}
    assert gauges.registry.get_sample_value("driftstream_performance_severity", by | {"metric": "rmse"}) == 1
    assert gauges.registry.get_sample_value("driftstream_label_coverage_ratio", by) == 0.5
    assert gauges.registry.get_sample_value("driftstream_performance", by | {"metric": "error_p50"}) == 2.0  # least and greatest error


def test_a_regression_survives_a_restart_between_checkpoint_and_close(watch: Watch) -> None:
    monitor = watch(settings({PRICE: {"task": "regression"}}))
    monitor.run(*(prediction(str(i), 1, i + 0.5, model=PRICE) for i in range(30)))
    monitor.run(*(label(str(i), 1, i) for i in range(15)), side="labels")
    monitor.start()
    monitor.run(*(label(str(i), 1, i) for i in range(15, 30)), side="labels")
    monitor.quiet()
    (result,) = said_by(monitor, PRICE, "performance")
    assert (result["counts"]["labels"], result["regression"]["mae"], result["regression"]["rmse"]) == (30, 0.5, 0.5)
    assert result["window"]["start"] == f"{np.datetime64(at(0), 'ms')}Z"
