"""Features that upset other monitors, each from rows through `reference build` and the pipeline to results and alerts.

The reference has `ROWS` rows. A window of as many predictions like them raises nothing, and one that differs says how.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import pytest
from scipy.stats import binom, ks_2samp, norm

from stream.reference import Feature, Reference
from stream.reference_build import build_reference
from tests.builders import MODEL, Monitor, prediction, settings
from tests.stream.reference_data import write

ROWS = 600
QUALITY = {"unseen_ratio": {"warning": 0.05}, "out_of_range_ratio": {"warning": 0.05}}
METHODS = {"ks": {"warning": 0.1}, "chi2": {"warning": 0.1}}
ABSENT = object()  # the key is not there at all


class Seen(NamedTuple):
    """What a window came to: drift and quality of the feature x, and the alerts by kind, feature and metric."""

    drift: dict[str, Any]
    quality: dict[str, Any]
    alerts: dict[tuple[str, str, str], dict[str, Any]]


Compare = Callable[..., Seen]


@pytest.fixture
def compare(tmp_path: Path, watch: Callable[..., Monitor]) -> Compare:
    """What comes of a window of values of x, against the reference that is built from others."""

    def compare(before: Sequence[Any], now: Sequence[Any], *, extension: str = ".jsonl", **options: Any) -> Seen:
        known = built(tmp_path, before, extension=extension, **options)
        model = {"classes": ["0", "1"], "labels": False, "drift": METHODS, "quality": QUALITY}
        monitor = watch(settings({MODEL: model}), {MODEL: known}, partitions=(1, 0))
        events = [event(i, 50 * i / len(now), value) for i, value in enumerate(now)]
        monitor.run(*events, prediction("last", 70))
        assert monitor.counters()["counted"] == len(now) + 1
        (result,) = monitor.said("results")
        alerts = {(alert["kind"], alert["feature"], alert["metric"]): alert for alert in monitor.said("alerts")}
        return Seen(result["drift"]["x"], result["quality"]["x"], alerts)

    return compare


def built(folder: Path, values: Sequence[Any], *, extension: str = ".jsonl", **options: Any) -> Reference:
    """The reference of a feature x with these values, beside one that is not awkward."""
    rows = [{"x": value, "steady": "a"} for value in values]
    made = build_reference(write(folder, extension, rows), model=MODEL, version="1", **options)
    path = folder / "reference.json"
    made.save(path)
    return Reference.load(path)


def feature(known: Reference) -> Feature:
    return next(feature for feature in known.features if feature.name == "x")


def event(i: int, seconds: float, value: Any) -> dict[str, Any]:
    """A prediction with this value of x."""
    return prediction(i, seconds, features={"steady": "a"} | ({} if value is ABSENT else {"x": value}))


def test_a_constant_that_stays_is_quiet_and_one_that_varies_is_drift(compare: Compare) -> None:
    same = compare([5.0] * ROWS, [5.0] * ROWS)
    assert (same.drift["psi"]["score"], same.drift["ks"]["score"], same.drift["ks"]["p_value"], same.alerts) == (0, 0, 1, {})
    moved = compare([5.0] * ROWS, [5.0, 6.0] * (ROWS // 2))
    assert moved.drift["ks"]["score"] == 0.5
    assert moved.drift["direction"].startswith("more mass above 5 (0.0% -> 50.0%)")
    assert set(moved.alerts) == {("data_drift", "x", "psi"), ("data_drift", "x", "ks"), ("data_quality", "x", "out_of_range_ratio")}


def test_a_constant_category_is_quiet_while_it_stays(compare: Compare) -> None:
    same = compare(["a"] * ROWS, ["a"] * ROWS)
    assert (same.drift["psi"]["score"], same.drift["chi2"]["score"], same.drift["chi2"]["p_value"], same.alerts) == (0, 0, 1, {})


def test_a_feature_that_never_had_a_value_is_quiet_until_it_has(compare: Compare) -> None:
    same = compare([None] * ROWS, [ABSENT, None] * (ROWS // 2))
    assert same.drift["psi"]["score"] == 0
    assert same.drift["ks"] == {"score": None, "threshold": 0.1, "severity": "insufficient_data"}
    assert (same.quality["missing_ratio"], same.quality["score"], same.alerts) == (1, 1, {})
    appeared = compare([None] * ROWS, [1.5] * ROWS)
    assert ("data_drift", "x", "psi") in appeared.alerts
    assert "missing 100.0% -> 0.0%" in appeared.drift["direction"]


def test_a_feature_that_is_missing_everywhere_now_is_drift_and_a_defect(compare: Compare) -> None:
    rng = np.random.default_rng(1)
    gone = compare(rng.normal(size=ROWS).tolist(), [None] * ROWS)
    assert gone.drift["ks"]["severity"] == "insufficient_data"  # of no values there is no distribution
    assert set(gone.alerts) == {("data_drift", "x", "psi"), ("data_quality", "x", "missing_ratio")}
    assert gone.alerts["data_quality", "x", "missing_ratio"]["severity"] == "critical"


def test_a_feature_that_disappears_from_the_events_counts_as_missing(compare: Compare) -> None:
    rng = np.random.default_rng(2)
    for values in (rng.normal(size=ROWS).tolist(), rng.choice(["a", "b"], ROWS).tolist()):
        gone = compare(values, [ABSENT] * ROWS)
        assert gone.quality["missing_ratio"] == 1
        assert gone.alerts["data_quality", "x", "missing_ratio"]["severity"] == "critical"
        assert "missing 0.0% -> 100.0%" in gone.alerts["data_drift", "x", "psi"]["summary"]


def test_a_feature_that_appears_costs_nothing_and_changes_nothing(tmp_path: Path, watch: Callable[..., Monitor]) -> None:
    known = built(tmp_path, ["a"] * ROWS)
    plain, more = (watch(settings({MODEL: {"classes": ["0", "1"], "labels": False}}), {MODEL: known}, partitions=(1, 0)) for _ in range(2))
    events = [prediction(i, i / 20, features={"x": "a", "steady": "a"}) for i in range(ROWS)]
    new = [{**event, "features": {**event["features"], "brand new": {"nested": [1, None]}}} for event in events]
    for monitor, seen in ((plain, events), (more, new)):
        monitor.run(*seen, prediction("last", 70))
    assert plain.said("results") == more.said("results")
    assert more.said("dead_letter") == []


def test_point_masses_and_zero_inflation_keep_bins_of_their_own(compare: Compare, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)

    def inflated(zeros: float, n: int) -> list[float]:
        return np.where(rng.random(n) < zeros, 0.0, np.where(rng.random(n) < 0.3, 20.0, rng.lognormal(2, 1, n))).tolist()

    before, more = inflated(0.6, 5_000), inflated(0.8, 5_000)
    labels = feature(built(tmp_path, before)).bin_labels()
    assert {"= 20"} <= set(labels)
    same = compare(before, inflated(0.6, ROWS))
    assert same.alerts == {}
    moved = compare(before, more)
    bound = moved.drift["ks"]["bounds"]
    assert bound[0] - 1e-12 <= ks_2samp(before, more).statistic <= bound[1] + 1e-12
    assert ("data_drift", "x", "ks") in moved.alerts


def test_a_feature_of_two_values_is_scored_exactly(compare: Compare) -> None:
    before, now = [0.0] * 480 + [1.0] * 120, [0.0] * 300 + [1.0] * 300
    moved = compare(before, now)
    assert moved.drift["ks"]["score"] == pytest.approx(ks_2samp(before, now).statistic, abs=1e-12)
    assert moved.drift["direction"].startswith("more mass")
    assert moved.quality["out_of_range_ratio"] == 0
    assert {("data_drift", "x", "psi"), ("data_drift", "x", "ks")} == set(moved.alerts)


def test_the_p_value_of_two_values_is_that_of_their_shares(compare: Compare) -> None:
    """1.4 standard errors apart; Kolmogorov's law, of numbers without ties, would say 0.9."""
    seen = compare([0.0] * 480 + [1.0] * 120, [0.0] * 460 + [1.0] * 140)
    error = np.sqrt(260 / 1200 * 940 / 1200 * 2 / ROWS)
    assert seen.drift["ks"]["p_value"] == pytest.approx(2 * norm.sf(20 / ROWS / error), rel=0.02)


def test_unseen_categories_are_counted_together_and_said(compare: Compare) -> None:
    moved = compare(["a"] * 400 + ["b"] * 200, ["a"] * 360 + ["b"] * 180 + [f"new {i}" for i in range(60)])
    assert moved.quality["unseen_ratio"] == 0.1
    assert ("data_quality", "x", "unseen_ratio") in moved.alerts
    (top, *_) = moved.drift["top_bins"]
    assert (top["label"], top["reference"], top["current"]) == ("(other)", 0, 0.1)
    assert re.match(r"categories ('new \d+' \(0.2%\), ){2}'new \d+' \(0.2%\) and others unseen .* 0.0% -> 10.0%", moved.drift["direction"])
    assert moved.drift["unseen"].keys() <= {f"new {i}" for i in range(60)}
    assert list(moved.drift["unseen"].values()) == [1 / ROWS] * 8


def test_a_category_that_the_reference_has_not_is_named(compare: Compare) -> None:
    moved = compare(["a"] * 400 + ["b"] * 200, ["a"] * 350 + ["b"] * 175 + ["crypto"] * 45 + ["x" * 1_000] * 30)
    said = f"categories 'crypto' (7.5%), '{'x' * 60}...' (5.0%) unseen in the reference 0.0% -> 12.5%"
    assert moved.drift["direction"].startswith(said)
    assert moved.drift["unseen"] == {"crypto": 0.075, "x" * 100: 0.05}
    alert = moved.alerts["data_drift", "x", "psi"]
    assert said in alert["summary"]
    assert list(alert["evidence"]["unseen"]) == ["crypto", "x" * 100]
    only = compare(["a"] * 400 + ["b"] * 200, ["a"] * 372 + ["b"] * 186 + ["crypto"] * 42)
    assert only.drift["direction"].startswith("category 'crypto' unseen in the reference 0.0% -> 7.0%")


def test_what_may_be_a_rare_category_of_the_reference_is_not_called_unseen(compare: Compare) -> None:
    before = ["a"] * 400 + ["b"] * 180 + [f"rare {i}" for i in range(20)]
    moved = compare(before, ["a"] * 300 + ["b"] * 180 + ["rare 3"] * 60 + ["crypto"] * 60)
    assert "rare and unseen categories 3.3% -> 20.0%" in moved.drift["direction"]
    assert "unseen" not in moved.drift


def test_unseen_values_of_any_type_are_named_as_a_reference_would(compare: Compare) -> None:
    assert compare([3, 12, 7] * 200, [3, 12, 7, -40] * 150, categorical=["x"]).drift["unseen"] == {"-40": 0.25}
    assert compare([True] * ROWS, [True, False] * 300).drift["unseen"] == {"false": 0.5}


def test_rare_categories_that_the_reference_knows_do_not_alarm_more_often_than_chance(compare: Compare) -> None:
    """A tail of 60 categories, 1.5 rows of each in a window: p-values at most 0.05 come once in 20 windows."""
    rng = np.random.default_rng(4)
    names = ["common", *(f"rare {i}" for i in range(60))]
    shares = np.array([0.85, *[0.15 / 60] * 60])
    for method in ("psi", "chi2"):
        windows = [compare(*(rng.choice(names, n, p=shares).tolist() for n in (6_000, ROWS))).drift for _ in range(20)]
        assert sum(drift[method]["p_value"] <= 0.05 for drift in windows) <= binom.ppf(0.999, 20, 0.05)


def test_many_values_of_a_category_stay_bounded(compare: Compare, tmp_path: Path) -> None:
    before, now = [f"user {i}" for i in range(ROWS)], [f"user {i + ROWS}" for i in range(ROWS)]
    known = feature(built(tmp_path, before, top_categories=20))
    assert (known.bins, int(known.counts.sum())) == (21, ROWS)
    seen = compare(before, now, top_categories=20)
    assert seen.quality["unseen_ratio"] == 1
    assert all(len(top["label"]) < 20 for top in seen.drift["top_bins"])
    assert ("data_quality", "x", "unseen_ratio") not in compare(before, before, top_categories=20).alerts


def test_infinities_of_the_reference_count_in_the_end_bins_and_leave_the_moments_finite(compare: Compare, tmp_path: Path) -> None:
    before = [*range(ROWS - 2), float("inf"), float("-inf")]
    known = feature(built(tmp_path, [float(x) for x in before], extension=".parquet"))
    assert (int(known.counts[0]), int(known.counts[-1]), known.missing) == (1, 1, 0)
    assert (known.minimum, known.maximum) == (0, ROWS - 3)
    same = compare([float(x) for x in before], [float(x) for x in range(ROWS - 2)], extension=".parquet")
    assert same.alerts == {}


@pytest.mark.parametrize("text", [b"1e999", b"-Infinity", b"NaN"])
def test_an_infinity_in_an_event_is_no_json_and_goes_to_the_dead_letters(
    tmp_path: Path, watch: Callable[..., Monitor], text: bytes
) -> None:
    known = built(tmp_path, [float(x) for x in range(ROWS)])
    monitor = watch(settings({MODEL: {"classes": ["0", "1"], "labels": False}}), {MODEL: known}, partitions=(1, 0))
    infinite = orjson.dumps(prediction("bad", 11, features={"x": "@"})).replace(b'"@"', text)
    monitor.run(prediction("good", 10, features={"x": 1.5}), infinite, prediction("last", 70))
    assert [letter["reason"] for letter in monitor.said("dead_letter")] == ["not_finite"]
    assert monitor.said("results")[0]["counts"]["predictions"] == 1


def test_integers_may_be_names(compare: Compare) -> None:
    before, now = [3, 12, 7] * 200, [3, 12, 40] * 200
    moved = compare(before, now, categorical=["x"])
    assert moved.drift["kind"] == "categorical"
    assert moved.quality["unseen_ratio"] == pytest.approx(1 / 3)
    assert moved.quality["type_violation_ratio"] == 0
    texts = compare(before, [str(x) for x in before], categorical=["x"])
    assert texts.quality["type_violation_ratio"] == 1


def test_booleans_are_two_categories_and_a_one_is_none_of_them(compare: Compare) -> None:
    before = [True, False, False] * 200
    assert compare(before, before).alerts == {}
    moved = compare(before, [True] * ROWS)
    assert ("data_drift", "x", "psi") in moved.alerts
    assert "more 'true' (33.3% -> 100.0%)" in moved.drift["direction"]
    assert compare(before, [1, 0, 0] * 200).quality["type_violation_ratio"] == 1
