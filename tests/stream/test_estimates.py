"""Performance before labels come, from rows and events to results and alerts, against the published formula on raw rows and against labels.

The formula is that of NannyML's CBPE: of calibrated probabilities p and predictions, tp is the sum of p where positive is predicted, fp
that of 1 - p there, fn and tn likewise elsewhere; the AUC is that of the expected ROC curve, each row being positive with weight p.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import roc_auc_score

from detectors.latency import LATENCY_EDGES_MS
from stream.model import Model
from stream.reference import Reference
from stream.reference_build import build_reference
from tests.builders import MODEL, Monitor, label, prediction, settings, small_reference
from tests.stream.reference_data import write

Watch = Callable[..., Monitor]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Event = dict[str, Any]
METRICS = ("accuracy", "precision", "recall", "f1", "roc_auc")
BINARY = {"classes": ["0", "1"], "positive": "1", "labels": False}


def learnt(folder: Path, scores: Floats, labels: Flags, **options: Any) -> Reference:
    """The reference of these rows."""
    rows = [
        {"x": i % 5, "prediction": int(score >= 0.5), "score": score, "label": int(truth)}
        for i, (score, truth) in enumerate(zip(scores.tolist(), labels.tolist(), strict=True))
    ]
    return build_reference(write(folder, ".jsonl", rows), model=MODEL, version="1", **options)


def drawn(rng: np.random.Generator, n: int, shift: float = 0.0, steps: int | None = None) -> tuple[Floats, Flags]:
    """Scores whose inputs have shifted, and labels of which they say too little by their square; in so many steps, if given."""
    chance = 1 / (1 + np.exp(-1.5 * rng.normal(size=n) - shift))
    chance = chance if steps is None else np.round(chance * steps) / steps
    return chance**2, rng.random(n) < chance


def published(before: tuple[Floats, Flags], scores: Floats, predicted: Flags) -> dict[str, float]:
    """What the formula says of some rows, calibrated on the reference's rows by scikit-learn."""
    p = IsotonicRegression(out_of_bounds="clip").fit(*before).predict(scores)
    tp, fp, fn, tn = p[predicted].sum(), (1 - p)[predicted].sum(), p[~predicted].sum(), (1 - p)[~predicted].sum()
    labels, weights = np.repeat([True, False], p.size), np.concatenate((p, 1 - p))
    auc = roc_auc_score(labels, np.tile(scores, 2), sample_weight=weights)
    found = ((tp + tn) / p.size, tp / (tp + fp), tp / (tp + fn), 2 * tp / (2 * tp + fp + fn), auc)
    return dict(zip(METRICS, map(float, found), strict=True))


def estimates(monitor: Monitor, segment: str | None = None, model: str = MODEL) -> list[dict[str, Any] | None]:
    """The estimates of all traffic windows of a model and segment."""
    told = [r for r in monitor.said("results") if (r["subject"], r["segment"], r["model"]) == ("traffic", segment, model)]
    return [result.get("estimated") for result in told]


def values(estimated: dict[str, Any] | None) -> dict[str, float | None]:
    assert estimated is not None
    return {name: estimated[name] and estimated[name]["value"] for name in METRICS}


def test_estimates_are_those_of_the_published_formula_on_the_raw_rows(watch: Watch, tmp_path: Path) -> None:
    """Of scores that have a bin each; the class does not follow from the score. All traffic and segments, over batches and partitions."""
    rng = np.random.default_rng(3)
    before = drawn(rng, 4_000, steps=20)
    scores, _ = drawn(rng, 600, shift=0.7, steps=20)
    scores[:2] = 1.5, -2.0  # a score need be no probability: beyond the reference it means what the last one there means
    predicted = rng.random(600) < 0.2 + 0.6 * scores
    events = [
        prediction(i, i / 12, str(int(said)), score=score, segments={"country": ("DE", "FR")[i % 2]})
        for i, (score, said) in enumerate(zip(scores.tolist(), predicted.tolist(), strict=True))
    ]
    uncounted = [prediction("none", 1, "1"), prediction("text", 1, "1", score="0.9"), prediction("null", 1, "1", score=None)]
    monitor = watch(
        settings({MODEL: BINARY | {"labels": True, "segments": ["country"]}}), {MODEL: learnt(tmp_path, *before)}, partitions=(2, 1)
    )
    for partition in (0, 1):
        part = [event for i, event in enumerate(events) if (i % 3 == 0) == partition]
        monitor.log(*part, *part[:9], *uncounted[partition::2], partition=partition)  # some of them twice
        monitor.read(partition=partition, most=100)
        monitor.tick()
        monitor.start()  # what was counted is what was written
        monitor.read(partition=partition)
    monitor.log(prediction("end 0", 120))
    monitor.run(prediction("end 1", 120), partition=1)
    monitor.read()
    monitor.quiet()
    for segment, of in ((None, slice(None)), ("country=DE", slice(0, None, 2)), ("country=FR", slice(1, None, 2))):
        found = estimates(monitor, segment)[0]
        assert values(found) == pytest.approx(published(before, scores[of], predicted[of]), abs=1e-9)
        assert found is not None
        assert found["n"] == scores[of].size
        assert all(found[name]["lower"] <= found[name]["value"] <= found[name]["upper"] for name in METRICS)


def test_models_in_one_stream_are_estimated_by_their_own_references(watch: Watch, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    told = {"fine": drawn(rng, 3_000, steps=30), "coarse": drawn(rng, 2_000, steps=5)}
    references = {name: learnt(tmp_path, *rows) for name, rows in told.items()}
    references |= {"turned": references["fine"], "unsaid": references["fine"], "plain": small_reference("plain")}
    sections = {name: BINARY | {"positive": {"turned": "0", "unsaid": None}.get(name, "1")} for name in (*references, "none")}
    monitor = watch(settings(sections), references, partitions=(1, 0))
    scores, _ = drawn(rng, 400, steps=5)
    predicted = rng.random(400) < 0.5
    monitor.run(
        *(
            prediction(f"{name} {i}", i / 10, str(int(said)), score=score, model=name)
            for i, (score, said) in enumerate(zip(scores.tolist(), predicted.tolist(), strict=True))
            for name in sections
        ),
        prediction("end", 90, model="fine"),
    )
    monitor.quiet()
    assert values(estimates(monitor, model="coarse")[0]) == pytest.approx(published(told["coarse"], scores, predicted), abs=1e-9)
    fine, turned = estimates(monitor, model="fine")[0], estimates(monitor, model="turned")[0]
    assert values(fine) == pytest.approx(published(told["fine"], scores, predicted), abs=1e-9)
    negated = told["fine"][0], ~told["fine"][1]  # the more of "1", the less of "0": nothing is learnt but how many there are
    assert values(turned) == pytest.approx(published(negated, scores, ~predicted), abs=1e-9)
    assert [estimates(monitor, model=name)[0] for name in ("plain", "none", "unsaid")] == [None] * 3


def windows(watch: Watch, known: Reference, batches: list[tuple[Floats, Flags]], **section: Any) -> Monitor:
    """A monitor that has seen a minute of each batch, predictions and labels, which come in the same minute; the last one is open."""
    monitor = watch(settings({MODEL: BINARY | {"labels": True} | section}), {MODEL: known})
    for minute, (scores, labels) in enumerate(batches):
        when = 60 * minute + np.arange(scores.size) / scores.size * 50
        ids = [f"{minute} {i}" for i in range(scores.size)]
        monitor.log(*map(said, ids, when.tolist(), scores.tolist()))
        monitor.log(*(label(*row) for row in zip(ids, when.tolist(), labels.astype(int).astype(str).tolist(), strict=True)), side="labels")
        monitor.now_ms += 60_000
        monitor.read()
        monitor.read("labels")
        monitor.tick()
    return monitor


def closed(*args: Any, **section: Any) -> Monitor:
    """The same, with the last one closed."""
    monitor = windows(*args, **section)
    monitor.quiet()
    return monitor


def said(id_: str, second: float, score: float) -> Event:
    return prediction(id_, second, str(int(score >= 0.25)), score=score)  # a score is the square of the chance


def realised(monitor: Monitor) -> list[dict[str, float]]:
    """The same metrics, of the performance windows, which have the same rows."""
    told = [result["performance"] for result in monitor.said("results") if result["subject"] == "performance"]
    return [{name: found[name] for name in METRICS[:-1]} | {"roc_auc": found["scores"]["roc_auc"]["value"]} for found in told]


def covered(monitor: Monitor) -> dict[str, float]:
    """By metric the share of the windows whose realised value lies in the band."""
    pairs = list(zip(estimates(monitor), realised(monitor), strict=True))
    assert all(estimated is not None for estimated, _ in pairs)
    return {name: float(np.mean([e[name]["lower"] <= r[name] <= e[name]["upper"] for e, r in pairs if e is not None])) for name in METRICS}


def test_band_covers_what_labels_say_later_while_only_the_inputs_drift(watch: Watch, tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    known = learnt(tmp_path, *drawn(rng, 10_000))
    usual, shifted = ([drawn(rng, 250, shift) for _ in range(40)] for shift in (0.0, 1.2))
    monitor = closed(watch, known, usual + shifted)
    for name, share in covered(monitor).items():
        assert share > 0.95 - 3.2 * np.sqrt(0.95 * 0.05 / 80), name
    told = realised(monitor)
    before, after = (np.mean([found["recall"] for found in part]) for part in (told[:40], told[40:]))
    assert after > before + 0.1  # so that it is the shift that the band follows


def test_estimate_is_wrong_where_the_concept_drifts_as_the_readme_says(watch: Watch, tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    known = learnt(tmp_path, *drawn(rng, 10_000))
    batches = [drawn(rng, 250) for _ in range(10)]
    turned = [(scores, np.where(rng.random(scores.size) < 0.4, ~labels, labels)) for scores, labels in batches]
    usual, drifted = closed(watch, known, batches), closed(watch, known, turned)
    assert estimates(drifted) == estimates(usual)
    shares = covered(drifted)
    assert shares["accuracy"] == shares["roc_auc"] == 0
    assert min(found["accuracy"] for found in realised(usual)) > max(found["accuracy"] for found in realised(drifted))


def test_a_window_by_prediction_time_has_the_estimate_of_all_its_predictions_beside_what_is_realised(watch: Watch, tmp_path: Path) -> None:
    """Half of the predictions get labels, and a twelfth come too late for the traffic, but not for this window."""
    rng = np.random.default_rng(8)
    before = drawn(rng, 4_000, steps=20)
    scores, labels = drawn(rng, 600, shift=0.5, steps=20)
    rows = list(zip(range(600), scores.tolist(), labels.tolist(), strict=True))
    cohorts = {"windows": [{"size": "1m"}], "revise_every": "1m", "minimum_coverage": 0.1}
    configured = settings(
        {MODEL: BINARY | {"labels": True, "segments": ["country"], "by_prediction_time": cohorts}}, labels={"max_delay": "10m"}
    )
    monitor = watch(configured, {MODEL: learnt(tmp_path, *before)}, partitions=(2, 1))
    events = [said(f"{i}", i / 12, score) | {"segments": {"country": ("DE", "FR")[i % 2]}} for i, score, _ in rows]
    for partition in (0, 1):
        part = events[partition::2]
        late, on_time = part[::12], [event for i, event in enumerate(part) if i % 12]
        passed = said(f"passed {partition}", 100, 0.5)
        monitor.run(*on_time, prediction("none", 1, "1"), passed, *late, *part[:9], partition=partition)
        monitor.start()  # what was counted is what was written
    told = [label(str(i), 60 + i / 12, str(int(truth))) for i, _, truth in rows if i % 4 < 2]
    monitor.run(*told, label("end", 900), side="labels")
    for partition in (0, 1):
        monitor.run(prediction(f"end {partition}", 900), partition=partition)
    first = [r for r in monitor.said("results") if r["window"]["start"].endswith("22:14:00.000Z")]
    parts = {None: slice(None), "country=DE": slice(0, None, 2), "country=FR": slice(1, None, 2)}
    by_prediction = [r for r in first if r.get("performance", {}).get("by") == "prediction_time" and r["segment"] in parts]
    assert {(r["segment"], r["final"]) for r in by_prediction} == {(segment, final) for segment in parts for final in (True, False)}
    for result in by_prediction:
        of = parts[result["segment"]]
        found = result["estimated"]
        assert found["n"] == result["counts"]["predictions"] - (result["segment"] is None) == scores[of].size
        assert values(found) == pytest.approx(published(before, scores[of], scores[of] >= 0.25), abs=1e-9)
        assert "verdicts" not in found
    final = next(r for r in by_prediction if r["final"] and r["segment"] is None)
    assert final["performance"]["coverage"] == pytest.approx(0.5, abs=0.01)
    assert final["estimated"]["accuracy"]["lower"] < final["performance"]["accuracy"] < final["estimated"]["accuracy"]["upper"]
    assert all("estimated" not in r for r in monitor.said("results") if r.get("performance", {}).get("by") == "label_time")


def test_without_a_calibration_nothing_stands_beside_what_is_realised(watch: Watch) -> None:
    cohorts = {"windows": [{"size": "1m"}], "revise_every": "1m"}
    monitor = watch(
        settings({MODEL: BINARY | {"labels": True, "by_prediction_time": cohorts}}, labels={"max_delay": "10m"}), {MODEL: small_reference()}
    )
    monitor.run(said("a", 1, 0.5), said("end", 900, 0.5))
    monitor.run(label("a", 2, "1"), label("end", 900, "1"), side="labels")
    told = [r for r in monitor.said("results") if r.get("performance", {}).get("by") == "prediction_time"]
    assert told
    assert all("estimated" not in result for result in told)


GOOD, BAD = np.full(60, 0.01), np.full(60, 0.24)  # scores that are all predicted "0": nearly always right, and about half of the time
STEPS = (np.repeat([0.01, 0.24], 1_000), np.arange(2_000) % 20 == 0)  # the reference's rows, the second half of which is positive in turn
STEPS[1][1_000:] = np.arange(1_000) % 2 == 0
LIMITS = {"minimum_sample": 50, "accuracy": {"warning": 0.9, "critical": 0.6}}


def alerts(monitor: Monitor) -> list[dict[str, Any]]:
    return [alert for alert in monitor.said("alerts") if alert["kind"] in ("performance", "estimated_performance")]


def test_estimates_alert_apart_from_labels_where_that_is_asked_for(watch: Watch, tmp_path: Path) -> None:
    """
    estimated accuracy  .95  .5   .95
    estimated alert          crit resolved
    realised accuracy   .5   1    .5     labels say the opposite
    realised alert      crit resolved crit
    """
    known, right, half = learnt(tmp_path, *STEPS), np.zeros(60, bool), np.arange(60) % 2 == 0
    monitor = closed(watch, known, [(GOOD, half), (BAD, right), (GOOD, half)], performance=LIMITS | {"estimated": True})
    said_of = {
        estimated: [(a["status"], a["severity"], a["window"]["start"][14:16]) for a in alerts(monitor) if ("estimated" in a) == estimated]
        for estimated in (True, False)
    }
    assert said_of[True] == [("firing", "critical", "15"), ("resolved", "critical", "16")]
    assert said_of[False] == [("firing", "critical", "14"), ("resolved", "critical", "15"), ("firing", "critical", "16")]
    assert {a["dedup_key"] for a in alerts(monitor)} == {
        "fraud|unversioned||performance||accuracy|1m",
        "fraud|unversioned||estimated_performance||accuracy|1m",
    }
    first = next(alert for alert in alerts(monitor) if "estimated" in alert)
    assert (first["estimated"], first["kind"]) == (True, "estimated_performance")
    assert (first["metric"], first["value"], first["threshold"], first["baseline"]) == ("accuracy", 0.5, 0.6, pytest.approx(0.725))
    assert first["evidence"]["n"] == 60
    low, high = first["evidence"]["interval"]
    assert 0.3 < low < 0.5 < high < 0.7
    assert first["summary"].startswith(
        f"fraud unversioned: estimated accuracy dropped, accuracy 0.5 < 0.6 ({low:.3g} to {high:.3g}) in 1m to "
    )
    second = estimates(monitor)[1]
    assert second is not None
    assert second["verdicts"]["accuracy"] == {"score": 0.5, "threshold": 0.6, "severity": "critical"}
    assert second["verdicts"]["recall"] == {"score": 0.0, "threshold": None, "severity": "ok"}
    assert second["precision"] is second["verdicts"]["precision"]["score"] is None


def test_estimates_alert_of_nothing_by_default_nor_below_the_minimum_sample(watch: Watch, tmp_path: Path) -> None:
    known, right = learnt(tmp_path, *STEPS), np.zeros(60, bool)
    plain = closed(watch, known, [(BAD, right)], performance=LIMITS)
    few = closed(watch, known, [(BAD[:40], right[:40])], performance=LIMITS | {"estimated": True})
    assert (alerts(plain), alerts(few)) == ([], [])
    assert [found and found.get("verdicts") for found in estimates(plain)] == [None]
    assert [found and found["verdicts"]["accuracy"]["severity"] for found in estimates(few)] == ["insufficient_data"]


def test_an_alert_is_resolved_when_estimates_are_no_longer_judged(watch: Watch, tmp_path: Path) -> None:
    known, right = learnt(tmp_path, *STEPS), np.zeros(60, bool)
    monitor = windows(watch, known, [(BAD, right), (BAD, right)], performance=LIMITS | {"estimated": True})
    monitor.settings = settings({MODEL: BINARY | {"labels": True, "performance": LIMITS}})
    monitor.models = {MODEL: Model.build(monitor.settings.model(MODEL), known)}
    monitor.start()
    monitor.quiet()
    assert [(alert["status"], alert["threshold"]) for alert in alerts(monitor)] == [("firing", 0.6), ("resolved", None)]
    assert all(alert["estimated"] for alert in alerts(monitor))


@pytest.mark.parametrize(
    "section",
    [
        {"positive": None},
        {"classes": ["0", "1", "2"]},
        {"classes": ["1", "yes"]},
        {"task": "regression", "classes": (), "positive": None},
    ],
)
def test_only_two_classes_with_a_positive_one_are_estimated(tmp_path: Path, section: Mapping[str, Any]) -> None:
    known = learnt(tmp_path, *STEPS)
    plain = Model.build(settings({MODEL: BINARY | dict(section)}).model(MODEL), known)
    assert plain.calibration is None
    assert plain.traffic.width == max(slot.invalid for slot in (plain.score, *plain.slots)) + 1 + LATENCY_EDGES_MS.size + 1


def test_the_scores_of_positive_predictions_stand_in_the_layout_only_with_a_calibration(tmp_path: Path) -> None:
    known = learnt(tmp_path, *STEPS)
    before = msgspec.structs.replace(known, calibration=None)
    with_it, turned, without = (
        Model.build(settings({MODEL: BINARY | {"positive": positive}}).model(MODEL), of)
        for positive, of in (("1", known), ("0", known), ("1", before))
    )
    assert with_it.traffic.width == without.traffic.width + with_it.score.bins
    assert with_it.raised_start == with_it.slots[-1].invalid + 1 == with_it.latency_start - with_it.score.bins
    assert with_it.traffic.fingerprint != turned.traffic.fingerprint
    assert with_it.calibration is not None
    assert turned.calibration is not None
    assert with_it.calibration.tolist() == turned.calibration[::-1].tolist()
