"""Alerts of closing windows: they fire once, change severity, resolve, and have ids that a repetition repeats."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from scipy.stats import chi2, chi2_contingency

from stream.model import Model
from tests.builders import HOUR_MS, MODEL, Monitor, categorical, label, numeric, prediction, reference, settings

Watch = Callable[..., Monitor]
N = 40  # events a window
OK, WARNING, CRITICAL = 0.5, 0.25, 0.0  # shares of category "a", which has half of the reference: psi of 0, 0.27 and 3.9
DRIFT = {"minimum_sample": 10, "psi": {"warning": 0.1, "critical": 1.0}}


def drifting(watch: Watch, *shares: float | None, **sections: Any) -> Monitor:
    """A monitor that has seen a window with each of these shares of "a", then a minute of nothing; None: too few events to say."""
    known = reference(categorical("x", ["a", "b"], [500, 500, 0]))
    monitor = watch(
        settings({MODEL: {"classes": ["0", "1"], "drift": DRIFT, "labels": False}}, **sections), {MODEL: known}, partitions=(1, 0)
    )
    for minute, share in enumerate(shares):
        see(monitor, minute, share)
    monitor.run(prediction("last", 60 * len(shares) + 5))
    return monitor


def see(monitor: Monitor, minute: int, share: float | None) -> None:
    n, a = (3, 0) if share is None else (N, round(share * N))
    events = [prediction(f"{minute}-{i}", 60 * minute + 50 * i / n, features={"x": "a" if i < a else "b"}) for i in range(n)]
    monitor.now_ms += 60_000
    monitor.run(*events)


def transitions(monitor: Monitor) -> list[tuple[str, str, str]]:
    """(status, severity, start of the window) of each alert, in order."""
    return [(alert["status"], alert["severity"], alert["window"]["start"][14:19]) for alert in monitor.said("alerts")]


def test_an_alert_fires_once_changes_its_severity_and_resolves(watch: Watch) -> None:
    """
    share of a    .5   .25  .25   0    0   .25   .5   .5
    alert              warn      crit     warn   resolved
    """
    monitor = drifting(watch, OK, WARNING, WARNING, CRITICAL, CRITICAL, WARNING, OK, OK)
    assert transitions(monitor) == [
        ("firing", "warning", "15:00"),
        ("firing", "critical", "17:00"),
        ("firing", "warning", "19:00"),
        ("resolved", "warning", "20:00"),
    ]
    said = monitor.said("alerts")
    assert len({alert["alert_id"] for alert in said}) == 4
    assert {alert["dedup_key"] for alert in said} == {"fraud|unversioned||data_drift|x|psi|1m"}
    assert len({alert["first_fired_at"] for alert in said}) == 1


def test_an_alert_whose_threshold_was_switched_off_resolves_and_has_none(watch: Watch) -> None:
    monitor = drifting(watch, CRITICAL)
    off = {"minimum_sample": 10, "psi": {"warning": "off", "critical": "off"}}
    monitor.settings = settings({MODEL: {"classes": ["0", "1"], "drift": off, "labels": False}})
    monitor.models = {MODEL: Model.build(monitor.settings.model(MODEL), monitor.models[MODEL].reference)}
    monitor.start()
    see(monitor, 1, CRITICAL)
    monitor.run(prediction("after", 125))
    fired, resolved = monitor.said("alerts")
    assert (fired["status"], fired["threshold"]) == ("firing", 1.0)
    assert (resolved["status"], resolved["severity"], resolved["threshold"]) == ("resolved", "critical", None)
    assert f"x is back, psi {resolved['value']:.3g}, no longer judged in 1m" in resolved["summary"]


def test_an_alert_says_what_moved(watch: Watch) -> None:
    monitor = drifting(watch, OK, CRITICAL)
    (alert,) = monitor.said("alerts")
    assert (alert["kind"], alert["feature"], alert["metric"], alert["threshold"]) == ("data_drift", "x", "psi", 1.0)
    assert alert["evidence"]["n"] == N
    assert alert["evidence"]["reference_n"] == 1000
    assert {b["label"]: (b["reference"], b["current"]) for b in alert["evidence"]["top_bins"]} == {"a": (0.5, 0.0), "b": (0.5, 1.0)}
    assert alert["summary"] == (
        f"fraud unversioned: x drifted, psi {alert['value']:.3g} >= 1 in 1m to 2023-11-14T22:16:00.000Z"
        "; no 'a' (50.0% -> 0.0%); more 'b' (50.0% -> 100.0%)"
    )
    assert alert["evidence"]["direction"] == "no 'a' (50.0% -> 0.0%); more 'b' (50.0% -> 100.0%)"
    assert [result["drift"]["x"].get("direction") for result in monitor.said("results")] == [None, alert["evidence"]["direction"]]


def test_a_chosen_method_alerts_on_its_own_threshold_and_gives_its_p_value(watch: Watch) -> None:
    drift = {"minimum_sample": 10, "psi": {"warning": "off", "critical": "off"}, "chi2": {"warning": 0.1, "critical": 0.9}}
    known = reference(categorical("x", ["a", "b"], [500, 500, 0]))
    monitor = watch(settings({MODEL: {"classes": ["0", "1"], "drift": drift, "labels": False}}), {MODEL: known}, partitions=(1, 0))
    for minute, share in enumerate((OK, CRITICAL, OK)):
        see(monitor, minute, share)
    monitor.run(prediction("last", 185))
    assert transitions(monitor) == [("firing", "warning", "15:00"), ("resolved", "warning", "16:00")]
    fired, _ = monitor.said("alerts")
    assert (fired["metric"], fired["threshold"]) == ("chi2", 0.1)
    assert fired["evidence"]["p_value"] < 1e-6
    said = [result["drift"]["x"] for result in monitor.said("results") if result["counts"]["predictions"] == N]
    assert [set(drift) - {"kind", "n", "reference_n", "top_bins", "direction"} for drift in said] == [
        {"psi", "js_distance", "js_divergence", "chi2"}
    ] * 3
    assert said[1]["chi2"]["score"] == fired["value"] == math.sqrt(said[1]["chi2"]["statistic"] / (N + 1000))


def test_auto_adjusts_the_alerts_of_a_segment_for_all_segments(watch: Watch) -> None:
    """
    Plan 0 has 69 "a" of 100 instead of 50, a p-value of 1e-4. A window of 1m may alarm by chance with 1/1440 = 7e-4: it does for plan 0
    in minute 0, which only has plan 0. In minute 2 there are nine further plans without drift, and 11 p-values with all traffic.
    """
    known = reference(categorical("x", ["a", "b"], [50_000, 50_000, 0]))
    drift = {"minimum_sample": 50, "psi": {"warning": "auto"}}
    models = {MODEL: {"classes": ["0", "1"], "drift": drift, "labels": False, "segments": ["plan"]}}
    monitor = watch(settings(models), {MODEL: known}, partitions=(1, 0))
    for minute, plans in ((0, 1), (1, 0), (2, 10)):
        for plan in range(plans):
            rows = ["a"] * (69 if plan == 0 else 50)
            rows += ["b"] * (100 - len(rows))
            monitor.run(
                *(
                    prediction(f"{minute}-{plan}-{i}", 60 * minute + i / 2, features={"x": x}, segments={"plan": plan})
                    for i, x in enumerate(rows)
                )
            )
    monitor.run(prediction("last", 245))
    said = [alert for alert in monitor.said("alerts") if alert["status"] == "firing"]
    assert {(alert["segment"], alert["window"]["start"][14:19]) for alert in said} == {(None, "14:00"), ("plan=0", "14:00")}
    evidence = said[1]["evidence"]
    pearson = chi2_contingency([[50_000, 50_000], [69, 31]], correction=False).statistic
    assert evidence["p_value"] == pytest.approx(chi2.sf((said[1]["value"] / (1 / 100 + 1 / 100_000) + 2 * pearson) / 3, 1))
    assert evidence["p_adjusted"] <= evidence["alpha"] == 1 / 1440
    assert f"psi {said[1]['value']:.3g} >= 0.04, adjusted p {evidence['p_adjusted']:.2g} <= 0.00069 in 1m" in said[1]["summary"]
    (quiet,) = (r for r in monitor.said("results") if r["segment"] == "plan=0" and r["window"]["start"][14:19] == "16:00")
    psi = quiet["drift"]["x"]["psi"]
    assert (psi["severity"], psi["p_value"], psi["p_adjusted"]) == ("ok", evidence["p_value"], pytest.approx(11 * evidence["p_value"]))


def test_a_window_with_too_few_events_neither_fires_nor_resolves(watch: Watch) -> None:
    monitor = drifting(watch, None, CRITICAL, None, CRITICAL, OK)
    assert transitions(monitor) == [("firing", "critical", "15:00"), ("resolved", "critical", "18:00")]


def test_a_rule_that_resolved_fires_again(watch: Watch) -> None:
    monitor = drifting(watch, CRITICAL, OK, CRITICAL)
    assert [status for status, *_ in transitions(monitor)] == ["firing", "resolved", "firing"]
    first, _, second = monitor.said("alerts")
    assert first["alert_id"] != second["alert_id"]
    assert first["first_fired_at"] < second["first_fired_at"]


def test_ids_do_not_depend_on_the_wall_clock_nor_on_how_many_windows_close_at_once(watch: Watch) -> None:
    shares = (OK, WARNING, CRITICAL, OK)
    slowly = drifting(watch, *shares)
    at_once = watch(slowly.settings, {MODEL: slowly.models[MODEL].reference}, partitions=(1, 0))
    at_once.now_ms += 7 * HOUR_MS
    at_once.logs = slowly.logs
    at_once.read()
    at_once.tick()
    assert [alert["alert_id"] for alert in at_once.said("alerts")] == [alert["alert_id"] for alert in slowly.said("alerts")]
    assert [result["result_id"] for result in at_once.said("results")] == [result["result_id"] for result in slowly.said("results")]


def test_the_state_of_an_alert_survives_a_restart(watch: Watch) -> None:
    monitor = drifting(watch, WARNING)
    monitor.start()
    see(monitor, 2, WARNING)
    see(monitor, 3, OK)
    monitor.quiet()
    assert [status for status, *_ in transitions(monitor)] == ["firing", "resolved"]


def test_each_window_family_and_segment_has_a_rule_of_its_own(watch: Watch) -> None:
    known = reference(categorical("x", ["a", "b"], [500, 500, 0]))
    models = {MODEL: {"classes": ["0", "1"], "drift": DRIFT, "labels": False, "segments": ["plan"]}}
    monitor = watch(settings(models, windows=[{"size": "1m"}, {"size": "2m", "slide": "1m"}]), {MODEL: known}, partitions=(1, 0))
    monitor.run(*(prediction(str(i), i, features={"x": "a" if i % 2 else "b"}, segments={"plan": i % 2}) for i in range(40)))
    monitor.quiet()
    firing = {(alert["segment"], alert["window"]["name"]) for alert in monitor.said("alerts") if alert["status"] == "firing"}
    assert firing == {(segment, window) for segment in ("plan=0", "plan=1") for window in ("1m", "2m/1m")}
    assert all(alert["dedup_key"].split("|")[2] == alert["segment"] for alert in monitor.said("alerts"))


def test_performance_below_its_threshold_alerts_with_baseline_and_confusion(watch: Watch) -> None:
    known = reference(categorical("x", ["a"], [100, 0]), classes=("0", "1"), confusion=[[45, 5], [5, 45]])
    models = {MODEL: {"classes": ["0", "1"], "performance": {"minimum_sample": 4, "accuracy": {"warning": 0.8, "critical": 0.5}}}}
    monitor = watch(settings(models), {MODEL: known})
    for minute, right in enumerate((8, 6, 2, 8)):
        monitor.run(*(prediction(f"{minute}-{i}", 60 * minute + i, "1") for i in range(8)))
        monitor.run(*(label(f"{minute}-{i}", 60 * minute + 10, "1" if i < right else "0") for i in range(8)), side="labels")
    monitor.quiet()
    said = [alert for alert in monitor.said("alerts") if alert["kind"] == "performance"]
    assert [(alert["status"], alert["severity"], alert["value"]) for alert in said] == [
        ("firing", "warning", 0.75),
        ("firing", "critical", 0.25),
        ("resolved", "critical", 1.0),
    ]
    assert said[0]["baseline"] == 0.9
    assert "feature" not in said[0]
    assert said[1]["evidence"] == {
        "n": 8,
        "classes": ["0", "1", "(other)"],
        "confusion": [[0, 6, 0], [0, 2, 0], [0, 0, 0]],
        "baseline_confusion": [[45, 5, 0], [5, 45, 0], [0, 0, 0]],
        "worst_class": "0",
    }
    assert "accuracy dropped, accuracy 0.25 < 0.5" in said[1]["summary"]
    assert "accuracy is back" in said[2]["summary"]


def test_a_drop_below_the_baseline_fires_and_resolves_also_when_it_is_switched_off(watch: Watch) -> None:
    """
    of 40 right   36   24   36       24   24   24
    alert              crit resolved crit      switched off before this one closes: resolved
    """
    known = reference(categorical("x", ["a"], [2000, 0]), classes=("0", "1"), confusion=[[900, 100], [100, 900]])

    def configured(critical: float | str) -> Any:
        drop = {"accuracy": {"drop": {"warning": "off", "critical": critical}}}
        return settings({MODEL: {"classes": ["0", "1"], "performance": {"minimum_sample": 40}, "degradation": drop}})

    monitor = watch(configured(0.1), {MODEL: known})
    for minute, right in enumerate((36, 24, 36, 24, 24, 24)):
        if minute == 5:  # the window of minute 3 has closed, that of minute 4 has not
            monitor.settings = configured("off")
            monitor.models = {MODEL: Model.build(monitor.settings.model(MODEL), known)}
            monitor.start()
        monitor.run(*(prediction(f"{minute}-{i}", 60 * minute + i, "1") for i in range(40)))
        monitor.run(*(label(f"{minute}-{i}", 60 * minute + 45, "1" if i < right else "0") for i in range(40)), side="labels")
    monitor.quiet()
    said = [alert for alert in monitor.said("alerts") if alert["kind"] == "performance"]
    assert [(alert["metric"], alert["status"], alert["severity"], alert["threshold"]) for alert in said] == [
        ("accuracy_drop", "firing", "critical", 0.1),
        ("accuracy_drop", "resolved", "critical", 0.1),
        ("accuracy_drop", "firing", "critical", 0.1),
        ("accuracy_drop", "resolved", "critical", None),
    ]
    assert said[0]["value"] == pytest.approx(0.9 - 24 / 40)
    assert said[0]["baseline"] == 0.9
    assert "accuracy_drop rose, accuracy_drop 0.3 >= 0.1" in said[0]["summary"]


def test_a_model_without_thresholds_never_alerts(watch: Watch) -> None:
    off = {"psi": {"warning": "off", "critical": "off"}, "minimum_sample": 1}
    known = reference(categorical("x", ["a"], [500, 0]))
    monitor = watch(settings({MODEL: {"classes": ["0", "1"], "drift": off}}), {MODEL: known})
    monitor.run(*(prediction(str(i), i, features={"x": "b"}) for i in range(40)))
    monitor.quiet()
    assert monitor.said("alerts") == []
    assert monitor.said("results")[0]["drift"]["x"]["psi"]["severity"] == "ok"


def of_countries(watch: Watch, shares: dict[str, float], segments: list[Any], method: str = "psi", **sections: Any) -> Monitor:
    """A monitor that has seen a window of 100 predictions from each country, with these shares of "a" and half of them by web."""
    drift = {"minimum_sample": 10, "psi": {"warning": "off", "critical": "off"}, method: {"warning": 0.05, "critical": 0.9}}
    known = reference(categorical("x", ["a", "b"], [500, 500, 0]), numeric("y", [0.0, 1.0, 2.0], [0, 500, 500, 0], [0, 0, 1, 1]))
    model = {"classes": ["0", "1"], "labels": False, "segments": segments, "drift": drift} | sections
    monitor = watch(settings({MODEL: model}), {MODEL: known}, partitions=(1, 0))
    for country, share in shares.items():
        a = [i < share * 100 for i in range(100)]
        where = [{"country": country, "channel": "web" if i % 2 else "app"} for i in range(100)]
        monitor.run(
            *(
                prediction(f"{country}{i}", i / 2, features={"x": "a" if one else "b", "y": 0.5 if one else 1.5}, segments=at)
                for i, (one, at) in enumerate(zip(a, where, strict=True))
            )
        )
    monitor.quiet()
    return monitor


@pytest.mark.parametrize("method", ["psi", "js_distance", "total_variation", "chi2", "ks"])
def test_drift_of_all_traffic_says_which_segment_it_comes_from(watch: Watch, method: str) -> None:
    monitor = of_countries(watch, {"DE": 0.5, "FR": 0.5, "BR": 1.0}, ["country"], method)
    whole = [alert for alert in monitor.said("alerts") if alert["segment"] is None and alert["kind"] == "data_drift"]
    assert {alert["feature"] for alert in whole} == {"chi2": {"x"}, "ks": {"y"}}.get(method, {"x", "y"})
    assert {alert["evidence"]["comes_from"] for alert in whole} == {"country=BR"}
    assert all(alert["summary"].endswith("; comes from country=BR") for alert in whole)
    [result] = [result for result in monitor.said("results") if result["segment"] is None]
    assert {result["drift"][alert["feature"]]["comes_from"] for alert in whole} == {"country=BR"}
    parts = [alert for alert in monitor.said("alerts") if alert["segment"] is not None]
    assert {alert["segment"] for alert in parts} == {"country=BR"}
    assert all("comes_from" not in alert["evidence"] and "fraud unversioned country=BR: " in alert["summary"] for alert in parts)
    monitor.validate()


def test_drift_that_is_everywhere_names_no_segment(watch: Watch) -> None:
    monitor = of_countries(watch, {"DE": 0.8, "FR": 0.8}, ["country"])
    whole = [alert for alert in monitor.said("alerts") if alert["segment"] is None]
    assert whole
    assert all("comes_from" not in alert["evidence"] and "comes from" not in alert["summary"] for alert in whole)


def test_a_cross_has_its_own_windows_and_is_named_if_it_says_more(watch: Watch) -> None:
    """In Brazil all web traffic is "a", all of the app's "b": the country as a whole looks as ever."""
    known = reference(categorical("x", ["a", "b"], [500, 500, 0]))
    model = {"classes": ["0", "1"], "labels": False, "segments": ["country", ["country", "channel"]], "drift": DRIFT}
    monitor = watch(settings({MODEL: model}), {MODEL: known}, partitions=(1, 0))
    for i in range(200):
        where = {"country": "BR" if i % 4 < 2 else "DE", "channel": "web" if i % 2 else "app"}
        x = ("a" if i % 2 else "b") if i % 4 < 2 else "ab"[i // 4 % 2]
        monitor.log(prediction(str(i), i / 4, features={"x": x}, segments=where))
    monitor.read()
    monitor.quiet()
    counts = {result["segment"]: result["counts"]["predictions"] for result in monitor.said("results")}
    crosses = {f"country={country},channel={channel}": 50 for country in ("BR", "DE") for channel in ("web", "app")}
    assert counts == {None: 200, "country=BR": 100, "country=DE": 100} | crosses
    drifted = {alert["segment"] for alert in monitor.said("alerts") if alert["metric"] == "psi"}
    assert drifted == {"country=BR,channel=web", "country=BR,channel=app"}


def test_data_quality_alerts_with_the_reference_as_baseline(watch: Watch) -> None:
    known = reference(categorical("x", ["a"], [90, 0], missing=10))
    quality = {"minimum_sample": 10, "missing_ratio": {"warning": 0.1, "critical": 0.5}}
    model = {"classes": ["0", "1"], "labels": False, "quality": quality}
    monitor = watch(settings({MODEL: model}), {MODEL: known}, partitions=(1, 0))
    for minute, missing in enumerate((10, 60, 100, 10)):
        values = [{} if i < missing else {"x": "a"} for i in range(100)]
        monitor.run(*(prediction(f"{minute}-{i}", 60 * minute + i / 2, features=x) for i, x in enumerate(values)))
    monitor.quiet()
    said = [alert for alert in monitor.said("alerts") if alert["metric"] == "missing_ratio"]
    assert [(alert["status"], alert["severity"], alert["value"]) for alert in said] == [
        ("firing", "warning", 0.6),
        ("firing", "critical", 1.0),
        ("resolved", "critical", 0.1),
    ]
    allowed = 0.1 + 0.1 + 3 * math.sqrt(0.1 * 0.9 * (1 / 100 + 1 / 100))
    assert (said[0]["kind"], said[0]["feature"], said[0]["baseline"]) == ("data_quality", "x", 0.1)
    assert said[0]["threshold"] == pytest.approx(allowed)
    assert said[0]["dedup_key"] == "fraud|unversioned||data_quality|x|missing_ratio|1m"
    assert said[0]["summary"].startswith(f"fraud unversioned: x is off, missing_ratio 0.6 >= {allowed:g} in 1m to ")
    scores = [result["quality"]["x"] for result in monitor.said("results")]
    assert [(one["severity"], one["score"]) for one in scores] == [
        ("ok", 1.0),
        ("warning", pytest.approx(0.5)),
        ("critical", pytest.approx(0.1)),
        ("ok", 1.0),
    ]
    monitor.validate()


def test_what_the_features_come_to_alerts_for_the_model(watch: Watch) -> None:
    summary = {"minimum_sample": 10, "drifted_ratio": {"warning": 0.5, "critical": 1.0}}
    monitor = of_countries(watch, {"DE": 0.5, "BR": 1.0}, [], "hellinger", summary=summary)
    [alert] = [alert for alert in monitor.said("alerts") if alert["metric"] == "drifted_ratio"]
    assert (alert["kind"], alert["severity"], alert["value"], alert["evidence"]) == (
        "data_drift",
        "critical",
        1.0,
        {"n": 200, "drifted": ["x", "y"]},
    )
    assert "feature" not in alert
    assert "fraud unversioned: drifted_ratio drifted, drifted_ratio 1 >= 1 in 1m" in alert["summary"]
    assert alert["summary"].endswith("; 'x', 'y'")
    [result] = monitor.said("results")
    assert result["summary"]["drifted"] == ["x", "y"]
    assert result["summary"]["verdicts"]["drifted_ratio"] == {"score": 1.0, "threshold": 1.0, "severity": "critical"}


def test_volume_is_that_of_all_versions_and_told_once(watch: Watch) -> None:
    quality = {"volume_min": {"warning": 20, "critical": 5}}
    monitor = watch(
        settings({MODEL: {"classes": ["0", "1"], "labels": False, "segments": ["plan"], "quality": quality}}), partitions=(1, 0)
    )
    for minute, each in enumerate((10, 9, 2, 30)):
        monitor.run(*(prediction(f"{minute}-{i}", 60 * minute + i, version=f"v{i % 2}") for i in range(2 * each)))
    monitor.quiet()
    said = monitor.said("alerts")
    assert [(alert["status"], alert["severity"], alert["value"], alert["version"]) for alert in said] == [
        ("firing", "warning", 18.0, "(all)"),
        ("firing", "critical", 4.0, "(all)"),
        ("resolved", "critical", 60.0, "(all)"),
    ]
    assert "volume_min is off, volume_min 18 < 20" in said[0]["summary"]
