"""Confidence of predictions, and thresholds on it and on their latency, from events to results, alerts and gauges."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binomtest

from sinks.gauges import Gauges
from stream.settings import Settings
from tests.builders import MODEL, Monitor, prediction, seconds_of, settings, small_reference

Watch = Callable[..., Monitor]
MINUTES = 3


def results_of(monitor: Monitor) -> dict[tuple[float, str | None], dict[str, Any]]:
    """What the traffic results say, by the start of the window and the segment."""
    said = [r for r in monitor.said("results") if r["subject"] == "traffic"]
    return {(seconds_of(r["window"]["start"]), r["segment"]): r["traffic"] for r in said}


def read_all(monitor: Monitor, events: list[dict[str, Any]], rng: np.random.Generator) -> None:
    """The events over two partitions, in batches cut anywhere."""
    for partition in (0, 1):
        monitor.log(*events[partition::2], partition=partition)
        while monitor.read(partition=partition, most=int(rng.integers(1, 200))):
            pass
    monitor.quiet()


@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("positive", ["1", None])
def test_confidence_of_every_window_is_within_its_bounds(watch: Watch, *, reference: bool, positive: str | None) -> None:
    rng = np.random.default_rng(5)
    model = {"classes": ["0", "1"], "segments": ["country"], "traffic": {"confidence_threshold": 0.8}}
    monitor = watch(
        settings({MODEL: model | ({"positive": positive} if positive else {})}),
        {MODEL: small_reference()} if reference else {},
        partitions=(2, 1),
    )
    scores = np.where(rng.random(1_500) < 0.1, rng.choice([0.0, 1.0], 1_500), expit(rng.normal(0, 2, 1_500)))
    seconds, told = np.sort(rng.uniform(0, 60 * MINUTES, 1_500)), rng.random(1_500) < 0.9
    countries = rng.choice(["DE", "FR"], 1_500)
    events = [
        prediction(i, seconds[i], str(i % 2), **{at: {"country": country} for at in ("segments", "features")}, **score)
        for i, country in enumerate(countries.tolist())
        for score in ({"score": float(scores[i])} if told[i] else {},)
    ]
    read_all(monitor, events, rng)
    found = results_of(monitor)
    assert found.keys() == {(60.0 * minute, segment) for minute in range(MINUTES) for segment in (None, "country=DE", "country=FR")}
    for (start, segment), traffic in found.items():
        mine = told & (seconds >= start) & (seconds < start + 60) & ((segment is None) | (countries == str(segment)[-2:]))
        confidence = np.maximum(scores[mine], 1 - scores[mine]) if positive else scores[mine]
        shown = traffic["confidence"]
        assert (shown["n"], shown["threshold"]) == (mine.sum(), 0.8)
        for name, true in (("mean", confidence.mean()), ("high_ratio", np.mean(confidence >= 0.8))):
            low, high = shown[name]["bounds"]
            assert low - 1e-12 <= true <= high + 1e-12, name
            if not reference:  # the small reference has four bins
                assert shown[name]["value"] == pytest.approx(true, abs=0.01)


def test_high_confidence_has_the_interval_of_wilson() -> None:
    scores = [0.505] * 3 + [0.905] * 4 + [0.015] * 2
    (low, high) = shown_of(BINARY | {"traffic": {"confidence_threshold": 0.8}}, *({"score": s} for s in scores))["confidence"]["intervals"][
        "high_ratio"
    ]
    assert (low, high) == pytest.approx(tuple(binomtest(6, 9).proportion_ci(method="wilson")), rel=1e-9)


def shown_of(model: dict[str, Any], *events: dict[str, Any]) -> dict[str, Any]:
    monitor = Monitor(settings({MODEL: model}))
    monitor.run(*(prediction(i, 1, more.pop("said", "1"), **more) for i, more in enumerate(events)))
    monitor.quiet()
    monitor.validate()
    (found,) = results_of(monitor).values()
    return found


BINARY = {"classes": ["0", "1"], "positive": "1"}


@pytest.mark.parametrize(
    ("model", "events"),
    [
        (BINARY, [{}, {}]),
        (BINARY, [{"score": 0.9}, {"score": 1.5}]),
        (BINARY, [{"score": 0.9}, {"score": -0.1}]),
        ({"classes": ["0", "1", "2"], "positive": "1"}, [{"score": 0.9}]),
        ({"task": "regression"}, [{"said": 0.5}]),
    ],
)
def test_confidence_is_absent_where_scores_say_nothing_of_it(model: dict[str, Any], events: list[dict[str, Any]]) -> None:
    assert "confidence" not in shown_of(model, *events)


def test_a_score_for_each_class_counts_as_that_of_the_prediction() -> None:
    one = {"said": "2", "score": {"0": 0.2, "1": 0.1, "2": 0.7}}
    found = shown_of({"classes": ["0", "1", "2"]}, one, one | {"said": "1"})["confidence"]
    low, high = found["mean"]["bounds"]
    assert low <= 0.4 <= high
    assert high - low < 0.02


def test_the_likelier_of_two_classes_is_what_the_model_is_sure_of() -> None:
    found = shown_of(BINARY, {"score": 0.0}, {"score": 1.0}, {"score": 0.0})["confidence"]
    assert found == {
        "n": 3,
        "threshold": 0.9,
        "mean": {"value": 1.0, "bounds": [1.0, 1.0]},
        "high_ratio": {"value": 1.0, "bounds": [1.0, 1.0]},
        "intervals": {"high_ratio": [pytest.approx(0.438503, abs=1e-6), 1.0]},
    }


def test_latency_above_and_confidence_below_their_thresholds_alarm_and_are_resolved(watch: Watch) -> None:
    limits = {
        "minimum_sample": 10,
        "latency_p95": {"warning": 100.0, "critical": 1_000.0},
        "latency_p50": {"warning": 100.0},
        "mean_confidence": {"warning": 0.8, "critical": 0.5},
        "high_confidence_ratio": {"warning": 0.5},
    }
    monitor = watch(settings({MODEL: BINARY | {"traffic": limits}}))
    slow = [prediction(i, i, latency_ms=10.0 if i < 8 else 250.0, score=0.6) for i in range(10)]
    fast = [prediction(60 + i, 60 + i, latency_ms=10.0, score=0.99) for i in range(10)]
    few = [prediction(120 + i, 120 + i, latency_ms=10_000.0, score=0.5) for i in range(9)]
    for events in (slow, fast, few, [prediction("end", 300)]):
        monitor.run(*events)
    alerts = [(one["metric"], one["status"], one["severity"], one["window"]["start"][14:16]) for one in monitor.said("alerts")]
    expected = [(name, "warning") for name in ("latency_p95", "mean_confidence", "high_confidence_ratio")]
    assert sorted(alerts) == sorted(
        (name, status, severity, minute) for name, severity in expected for status, minute in (("firing", "14"), ("resolved", "15"))
    )
    assert {one["kind"] for one in monitor.said("alerts")} == {"traffic"}
    summaries = {one["metric"]: one["summary"] for one in monitor.said("alerts") if one["status"] == "firing"}
    assert "latency_p95 rose" in summaries["latency_p95"]
    assert "mean_confidence dropped" in summaries["mean_confidence"]
    verdicts = [found["verdicts"] for _, found in sorted(results_of(monitor).items(), key=lambda one: one[0][0])]
    assert [verdict["latency_p95"]["severity"] for verdict in verdicts] == ["warning", "ok", "insufficient_data"]
    assert [verdict["latency_p50"]["severity"] for verdict in verdicts] == ["ok", "ok", "insufficient_data"]
    assert verdicts[2]["latency_p95"]["score"] is None


def test_confidence_and_verdicts_are_gauges(watch: Watch) -> None:
    monitor = watch(settings({MODEL: BINARY | {"traffic": {"minimum_sample": 2, "latency_p99": {"critical": 5.0}}}}))
    monitor.run(*(prediction(i, 1, latency_ms=20.0, score=float(i % 2)) for i in range(4)))
    gauges = Gauges()
    for firing in monitor.quiet():
        if firing.result is not None:
            gauges.observe_result(firing.result)
    of = {"model": MODEL, "version": "unversioned", "segment": "", "window": "1m"}
    shown = gauges.registry.get_sample_value
    assert (shown("driftstream_confidence", of | {"metric": "mean"}), shown("driftstream_confidence", of | {"metric": "high_ratio"})) == (
        1,
        1,
    )
    assert shown("driftstream_traffic_severity", of | {"metric": "latency_p99"}) == 2
    assert shown("driftstream_traffic_severity", of | {"metric": "latency_p50"}) is None


def test_thresholds_of_latencies_are_durations_and_are_inherited_one_by_one(load: Callable[..., Settings]) -> None:
    text = (
        "traffic: {confidence_threshold: 0.7, latency_p95: {warning: 200ms, critical: 2s}}\n"
        "models: {a: {classes: ['0', '1']}, b: {classes: ['0', '1'], traffic: {minimum_sample: 7, latency_p95: {critical: off}}}}"
    )
    a, b = (load(text).model(name).traffic for name in "ab")
    assert (a.confidence_threshold, b.confidence_threshold, a.rules.minimum_sample, b.rules.minimum_sample) == (0.7, 0.7, 100, 7)
    assert [(of.rules.thresholds["latency_p95"].warning, of.rules.thresholds["latency_p95"].critical) for of in (a, b)] == [
        (200.0, 2000.0),
        (200.0, None),
    ]
    assert a.rules.thresholds.keys() == {"latency_p95"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "latency_p95: {warning: 200}",
            "latency_p95.warning: '200', expected a duration from 1ms to 3m with its unit, such as 50ms or 2s, or off",
        ),
        ("latency_p50: {critical: 10m}", "latency_p50.critical: '10m', expected a duration from 1ms to 3m"),
        ("latency_p99: {warning: 2s, critical: 1s}", "latency_p99.critical: '1s', expected at least the warning threshold 2000"),
        ("confidence_threshold: 1.5", "confidence_threshold: '1.5', expected a number over 0 and up to 1"),
        ("mean_confidence: {warning: 2}", "mean_confidence.warning: '2', expected a number over 0 and up to 1, or off"),
        (
            "latency_p90: {}",
            "latency_p90: unknown key, expected one of minimum_sample, confidence_threshold, latency_p50, latency_p95, latency_p99, ",
        ),
    ],
)
def test_mistakes_are_told_with_key_value_and_rule(problems: Callable[..., list[str]], text: str, problem: str) -> None:
    for where, configured in (
        ("traffic", f"traffic: {{{text}}}\nmodels: {{m: {{classes: [x, y]}}}}"),
        ("models.m.traffic", f"models: {{m: {{classes: [x, y], traffic: {{{text}}}}}}}"),
    ):
        assert any(line.startswith(f"{where}.{problem}") for line in problems(configured))
