"""Thresholds tried on history alert as they would have alerted live, which a replay with each of them configured shows."""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import orjson
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from detectors.judge import Thresholds
from stream.backtest import Change, History, Outcome, Point, Series, backtest, parse_thresholds, scored
from stream.cli import main
from stream.model import Model
from stream.reference import Reference
from tests.builders import MODEL, categorical, label, numeric, prediction, reference, settings, small_reference
from tests.oracle import milliseconds

ABOVE, BELOW = Thresholds(None, None, "above"), Thresholds(None, None, "below")
SERIES = Series(MODEL, "1", None, "data_drift", "amount", "psi", "1m")
TRIED = {"psi": (0.05, 0.4), "ks": (0.1, 0.2), "chi2": (0.1,), "accuracy": (0.4, 0.5), "recall": (0.5,)}
TRIED |= {"net_benefit": (-2.0, 1.0), "mean_confidence": (0.77, 0.82)}
TRIED |= {
    "missing_ratio": (0.1, 0.3),
    "unseen_ratio": (0.05, 0.1),
    "score": (0.9,),
    "quality_score": (0.95, 0.9),
    "late_ratio": (0.05,),
    "weighted_drift": (0.1,),
}
SECTION = {
    "psi": "drift",
    "ks": "drift",
    "chi2": "drift",
    "net_benefit": "business",
    "mean_confidence": "traffic",
    "weighted_drift": "summary",
    **dict.fromkeys(("missing_ratio", "unseen_ratio", "score", "quality_score", "late_ratio"), "quality"),
}  # the others: performance
CONFIG: dict[str, Any] = {
    "windows": [{"size": "1m"}, {"size": "3m", "slide": "1m"}],
    "drift": {"minimum_sample": 6},
    "performance": {"minimum_sample": 5},
    "models": {MODEL: {"classes": ["0", "1"], "positive": "1", "reference": "fraud.json", "segments": ["country"]}},
}

OFF = {"warning": "off", "critical": "off"}
BESIDE = {
    "business": {"minimum_sample": 5, "benefit": {"true_positive": 1.5, "false_positive": -1, "false_negative": -1}, "net_benefit": {}},
    "traffic": {"minimum_sample": 6, "mean_confidence": {}},
    "quality": {"minimum_sample": 6, "missing_ratio": OFF, "type_violation_ratio": OFF},
    "summary": {"minimum_sample": 6},
}


def outcome(scores: Sequence[float | None], threshold: float, direction: Thresholds = ABOVE) -> Outcome:
    """The outcome of windows that end at 10, 20, ... ms."""
    history = History({"psi"}, {SERIES: [Point(10 * i, score) for i, score in enumerate(scores, 1)]})
    (found,) = backtest(history, {"psi": [threshold]}, {"psi": direction})
    return found


# by hand


def test_an_alert_lasts_from_the_first_window_over_the_threshold_to_the_first_below_it() -> None:
    #     ms      10   20   30   40    50   60
    found = outcome([0.1, 0.2, 0.3, 0.1, 0.25, 0.0], 0.2)
    assert found.changes == (
        Change("firing", 20, 0.2),
        Change("resolved", 40, 0.1),
        Change("firing", 50, 0.25),
        Change("resolved", 60, 0.0),
    )
    assert (found.alarm_ms, found.firing, found.windows, found.insufficient) == (30, False, 6, 0)
    assert [change.end_ms for change in found.fired] == [20, 50]


def test_an_alert_that_has_not_ended_lasts_to_the_last_window() -> None:
    found = outcome([0.3, 0.1, 0.3, 0.3, 0.3], 0.2)
    assert (found.alarm_ms, found.firing, len(found.fired)) == (10 + 20, True, 2)


def test_insufficient_data_neither_fires_nor_resolves() -> None:
    found = outcome([None, 0.3, None, None, 0.1, None], 0.2)
    assert found.changes == (Change("firing", 20, 0.3), Change("resolved", 50, 0.1))
    assert (found.windows, found.insufficient, found.alarm_ms) == (6, 4, 30)


def test_performance_alerts_below_its_threshold_and_not_on_it() -> None:
    found = outcome([0.9, 0.85, 0.9, 0.89], 0.9, BELOW)
    assert [(change.status, change.end_ms) for change in found.changes] == [("firing", 20), ("resolved", 30), ("firing", 40)]


def test_a_revision_of_an_older_window_counts_at_the_newest_one() -> None:
    history = History({"psi"}, {SERIES: [Point(10, 0.0), Point(20, 0.5), Point(10, 0.1), Point(20, 0.6)]})
    (found,) = backtest(history, {"psi": [0.2]}, {"psi": ABOVE})
    assert [(change.status, change.end_ms) for change in found.changes] == [("firing", 20), ("resolved", 20), ("firing", 20)]
    assert found.alarm_ms == 0


def test_a_window_that_no_alert_is_about_changes_nothing() -> None:
    history = History({"psi"}, {SERIES: [Point(10, 0.0), Point(20, 0.5), Point(10, 0.1, spoken=False), Point(20, 0.6)]})
    (found,) = backtest(history, {"psi": [0.2]}, {"psi": ABOVE})
    assert [(change.status, change.end_ms) for change in found.changes] == [("firing", 20)]
    assert (found.windows, found.insufficient) == (4, 0)


def test_a_metric_that_no_window_had_has_no_outcome() -> None:
    assert backtest(History({"psi"}), {"psi": [0.1]}, {"psi": ABOVE}) == []


# laws

SCORES = st.lists(st.none() | st.floats(0, 1), min_size=1, max_size=30)


@given(SCORES, st.floats(0, 1), st.floats(0, 1))
def test_a_stricter_threshold_is_in_alarm_no_longer(scores: list[float | None], one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert outcome(scores, low).alarm_ms >= outcome(scores, high).alarm_ms
    assert outcome(scores, low, BELOW).alarm_ms <= outcome(scores, high, BELOW).alarm_ms


@given(SCORES, st.floats(0, 1))
def test_alerts_begin_and_end_in_turn(scores: list[float | None], threshold: float) -> None:
    found = outcome(scores, threshold)
    assert [change.status for change in found.changes] == (["firing", "resolved"] * 30)[: len(found.changes)]
    assert found.firing == (len(found.changes) % 2 == 1)


# thresholds as they are given


def test_thresholds_are_sorted_and_each_is_tried_once() -> None:
    assert parse_thresholds(["psi=0.2,0.1", "ks=.5", "psi=1e-1,3"], {"psi", "ks"}) == {"psi": (0.1, 0.2, 3.0), "ks": (0.5,)}


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("psi", "expected METRIC=NUMBER"),
        ("", "expected METRIC=NUMBER"),
        ("psi=", "'', expected a finite number"),
        ("psi=0.1,", "'', expected a finite number"),
        ("psi=high", "'high', expected a finite number"),
        ("psi=nan", "'nan', expected a finite number"),
        ("psi=0.1,-inf", "'-inf', expected a finite number"),
        ("pzi=0.1", "'pzi' is not scored here, expected one of accuracy, psi"),
        ("=0.1", "'' is not scored here"),
        ("psi=" + ",".join(map(str, range(51))), "51 thresholds, expected at most 50"),
    ],
)
def test_thresholds_that_cannot_be_read_are_refused_with_the_rule(text: str, rule: str) -> None:
    with pytest.raises(ValueError, match=r".") as raised:
        parse_thresholds([text], {"psi", "accuracy"})
    assert rule in str(raised.value)


def test_auto_is_for_methods_with_a_p_value_and_comes_last() -> None:
    assert parse_thresholds(["psi=auto,0.3", "psi=auto", "ks=auto"], {"psi", "ks"}) == {"psi": (0.3, "auto"), "ks": ("auto",)}
    with pytest.raises(ValueError, match="'accuracy=auto': expected a finite number; auto is for methods with a p-value, psi, ks, chi2"):
        parse_thresholds(["accuracy=auto"], {"accuracy"})


def test_only_what_the_configuration_scores_can_be_tried() -> None:
    features = {"amount": {"wasserstein": {"warning": "off"}}, "country": {"ks": {"warning": 0.1}}}  # ks has no meaning for a category
    configured = settings({MODEL: {"classes": ["0", "1"], "drift": {"features": features}}})
    model = Model.build(configured.model(MODEL), small_reference())
    above = {"psi", "js_distance", "js_divergence", "wasserstein", "drifted_ratio", "weighted_drift", "duplicate_ratio", "late_ratio"}
    above |= {"missing_ratio", "type_violation_ratio", "unseen_ratio", "out_of_range_ratio", "outlier_ratio"}
    below = {"score", "quality_score"}
    assert scored([model], labels=False).keys() == above | below
    with_labels = scored([model], labels=True)
    assert with_labels.keys() == above | below | {"accuracy", "precision", "recall", "f1"}
    assert {name for name, thresholds in with_labels.items() if thresholds.direction == "below"} == with_labels.keys() - above


# the oracle: what a replay says with each threshold in its configuration


def history() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Half an hour of two versions and three countries: amounts and one country's share swing, accuracy falls and recovers, a gap."""
    predictions, labels = [], []
    for i in range(400):
        at = 4 * i + (300 if i > 300 else 0) - (100 if i % 29 == 28 else 0)
        swing = i // 45 % 3
        features = {
            "amount": (i * 7 % 60) + 25 * swing,
            "country": ["DE", "FR", "ES"][(i % (3 + 2 * swing)) % 3],
            "channel": 1 if swing or i % 4 else None,
            "new": False,
        }
        more = {"version": str(1 + (i % 5 == 0)), "score": (i * 3 % 100) / (100 + 100 * swing), "features": features}
        predictions.append(prediction(str(i), at, int(i % (2 + swing) == 0), **more))
        labels.append(label(str(i), at + 30, (i + (i % 4 == 0) * (i // 70)) % 2))
    return predictions, labels


def replayed(folder: Path, config: dict[str, Any], *options: str, known: Reference | None = None) -> Path:
    """The folder with what a replay of the history wrote; the reference is `known` or the small one."""
    (known or small_reference()).save(folder / "fraud.json")
    (folder / "config.yaml").write_text(json.dumps(config), "utf-8")
    for name, events in zip(("p", "l"), history(), strict=True):
        (folder / f"{name}.jsonl").write_bytes(b"\n".join(map(orjson.dumps, events)))
    files = [f"--{name}={folder / file}" for name, file in (("config", "config.yaml"), ("predictions", "p.jsonl"), ("labels", "l.jsonl"))]
    done = CliRunner().invoke(main, ["replay", *files, f"--out={folder / 'out'}", *options], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return folder / "out"


def calibrated_reference() -> Reference:
    """The small one, which also knows the labels of its scores."""
    made = msgspec.structs.replace(small_reference(), calibration=np.array([[0, 36, 18, 4, 0], [0, 4, 12, 16, 0]]))
    return msgspec.structs.replace(made, reference_id=made.content_id)


def alerts_said(out: Path) -> dict[tuple[Any, ...], list[tuple[str, int, float]]]:
    """(status, window end, score) of the alerts of each rule, in the order in which they were sent."""
    found = defaultdict(list)
    for line in (out / "alerts.jsonl").read_bytes().splitlines():
        alert = orjson.loads(line)
        rule = [alert[name] for name in ("model", "version", "segment")]
        key = (*rule, alert["kind"], alert.get("feature"), alert["metric"], alert["window"]["name"], alert.get("by"))
        found[key].append((alert["status"], milliseconds(alert["window"]["end"]), alert["value"]))
    return found


@pytest.mark.parametrize("lateness", ["0s", "2m"])
def test_each_threshold_alerts_as_a_live_configuration_of_it_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lateness: str) -> None:
    monkeypatch.setattr("stream.replay.BATCH", 80)  # or windows by prediction time are looked at but twice
    config = CONFIG | BESIDE | {"time": {"allowed_lateness": lateness, "out_of_orderness": "0s"}}
    config["drift"] = config["drift"] | {"ks": {"warning": "off"}, "chi2": {"warning": "off"}, "psi": {"warning": "off", "critical": "off"}}
    config["performance"] = config["performance"] | {"estimated": True}
    config |= {"by_prediction_time": {"windows": [{"name": "1m", "size": "2m"}], "revise_every": "1m"}, "labels": {"max_delay": "10m"}}
    known = calibrated_reference()
    tried = [f"--thresholds={metric}={','.join(map(str, values))}" for metric, values in TRIED.items()]
    outcomes = orjson.loads((replayed(tmp_path, config, *tried, known=known) / "backtest.json").read_bytes())
    compared, kinds = 0, set()
    for turn in range(2):
        alone = {metric: values[turn] for metric, values in TRIED.items() if turn < len(values)}
        live = config | {
            section: dict(config[section]) for section in ("drift", "performance", "business", "traffic", "quality", "summary")
        }
        for metric, threshold in alone.items():
            live[SECTION.get(metric, "performance")][metric] = {"warning": threshold, "critical": "off"}
        (tmp_path / str(turn)).mkdir()
        said = alerts_said(replayed(tmp_path / str(turn), live, known=known))
        for found in outcomes:
            if alone.get(found["metric"]) != found["threshold"]:
                continue
            key = tuple(found[name] for name in ("model", "version", "segment", "kind", "feature", "metric", "window", "by"))
            expected = said.pop(key, [])
            changes = [(change["status"], milliseconds(change["window_end"]), change["score"]) for change in found["changes"]]
            if found["metric"].endswith("_ratio") and found["feature"]:  # alerts have the ratio itself
                changes, expected = ([(*change, 0.0) for *change, _ in one] for one in (changes, expected))  # type: ignore[misc]
            assert [(status, score) for status, _, score in changes] == [(status, score) for status, _, score in expected], key
            assert found["alerts"] == sum(status == "firing" for status, _, _ in expected)
            if lateness == "0s":
                assert changes == expected
            compared += len(expected)
            kinds |= {found["by"] or found["kind"]} if expected else set()
        assert said == {}
    assert compared > 100
    assert kinds == {
        "data_drift",
        "prediction_drift",
        "label_drift",
        "performance",
        "estimated_performance",
        "business",
        "traffic",
        "data_quality",
        "prediction_time",
    }


AUTO: dict[str, Any] = {
    "windows": [{"size": "10m", "slide": "1m"}, {"size": "15m"}],
    "drift": {"minimum_sample": 6, "false_alarms_per_day": 1000},
    "models": {
        MODEL: {
            **CONFIG["models"][MODEL],
            "drift": {
                "chi2": {"warning": "off"},
                "features": {
                    "amount": {"psi": {"warning": 0.15, "floor": 0.1}, "ks": {"critical": 0.4}},
                    "country": {"minimum_sample": 120},
                },
            },
        }
    },
}


def larger_reference() -> Reference:
    """The small one with more rows, so that windows of 100 rows can be tested."""
    return reference(
        numeric("amount", [0.0, 10.0, 20.0, 50.0, 100.0], [0, 120, 120, 80, 60, 0], [0, 0, 1, 1, 2, 2], missing=20),
        categorical("country", ["DE", "FR"], [240, 120, 40]),
        outputs=(categorical("prediction", ["0", "1"], [296, 104, 0]), categorical("label", ["1", "0"], [80, 320, 0])),
    )


def auto_alone(metric: str) -> dict[str, Any]:
    """AUTO as somebody would edit it to have `metric: auto` and no other threshold of it, by hand."""
    only, live = {"warning": "auto", "critical": "off"}, json.loads(json.dumps(AUTO))
    of_model = live["models"][MODEL]["drift"]
    if metric == "psi":
        live["drift"]["psi"] = only
        of_model["features"]["amount"]["psi"] = {**only, "floor": 0.1}
    elif metric == "ks":
        of_model["features"]["amount"]["ks"] = only
    else:
        of_model["chi2"] = only
    return live  # type: ignore[no-any-return]


def results(out: Path) -> list[dict[str, Any]]:
    """The results, without what depends on the clock on the wall."""
    return [{**orjson.loads(line), "closed_at": None} for line in (out / "results.jsonl").read_bytes().splitlines()]


@pytest.mark.parametrize(("metric", "kinds", "statuses"), [("psi", 3, 2), ("ks", 1, 1), ("chi2", 3, 2)])
def test_auto_alerts_as_a_live_configuration_of_it(tmp_path: Path, metric: str, kinds: int, statuses: int) -> None:
    out = replayed(tmp_path, AUTO, f"--thresholds={metric}=0.2,auto", known=larger_reference())
    (tmp_path / "live").mkdir()
    live = replayed(tmp_path / "live", auto_alone(metric), known=larger_reference())
    said = {key: alerts for key, alerts in alerts_said(live).items() if key[5] == metric}
    found = [one for one in orjson.loads((out / "backtest.json").read_bytes()) if one["threshold"] == "auto"]
    tried = {
        tuple(one[name] for name in ("model", "version", "segment", "kind", "feature", "metric", "window", "by")): [
            (change["status"], milliseconds(change["window_end"]), change["score"]) for change in one["changes"]
        ]
        for one in found
    }
    assert {key: changes for key, changes in tried.items() if changes} == said
    assert len({key[3] for key in said}) == kinds
    assert len({status for alerts in said.values() for status, _, _ in alerts}) == statuses
    assert any(one["insufficient"] for one in found)
    assert results(out / f"{metric}-auto") == results(live)


def test_auto_changes_neither_the_results_of_the_replay_nor_what_numbers_come_to(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    without, out = replayed(tmp_path, AUTO, "--thresholds=psi=0.2"), replayed(tmp_path / "other", AUTO, "--thresholds=psi=0.2,auto")
    assert results(without) == results(out)
    numbers = [found for found in orjson.loads((out / "backtest.json").read_bytes()) if found["threshold"] != "auto"]
    assert numbers == orjson.loads((without / "backtest.json").read_bytes())


# the command line


def test_the_table_and_the_report_are_written(tmp_path: Path) -> None:
    out = replayed(
        tmp_path, CONFIG, "--thresholds", "psi=0.1,9", "--thresholds", "accuracy=0.4", "--report", str(tmp_path / "new" / "r.html")
    )
    outcomes = orjson.loads((out / "backtest.json").read_bytes())
    assert {found["threshold"] for found in outcomes if found["metric"] == "psi"} == {0.1, 9}
    assert {found["alerts"] for found in outcomes if found["threshold"] == 9} == {0}
    html = (tmp_path / "new" / "r.html").read_text("utf-8")
    series = len({str(o | dict.fromkeys(CHANGING)) for o in outcomes})
    assert html.count("<svg") + html.count("insufficient data in every window") == series


CHANGING = ("threshold", "windows", "insufficient", "alerts", "alarm_seconds", "firing_at_the_end", "first_alert", "changes")


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        (["--thresholds", "pzi=0.1"], "'pzi' is not scored here, expected one of drifted_ratio, duplicate_ratio, js_distance"),
        (["--thresholds", "ks=0.1"], "a drift method is scored where the configuration gives it thresholds"),
        (["--thresholds", "accuracy=0.9"], "performance where there are labels"),
        (["--thresholds", "psi=x"], "'x', expected a finite number"),
        (["--report", "r.html"], "--report needs --thresholds"),
    ],
)
def test_bad_thresholds_have_exit_code_2_and_leave_nothing(tmp_path: Path, options: list[str], rule: str) -> None:
    small_reference().save(tmp_path / "fraud.json")
    (tmp_path / "config.yaml").write_text(json.dumps(CONFIG), "utf-8")
    (tmp_path / "p.jsonl").write_bytes(b"")
    files = [f"--config={tmp_path / 'config.yaml'}", f"--predictions={tmp_path / 'p.jsonl'}", f"--out={tmp_path / 'out'}"]
    done = CliRunner().invoke(main, ["replay", *files, *options])
    assert done.exit_code == 2
    assert rule in done.output
    assert not (tmp_path / "out").exists()
