"""Performance of the score over a window, from events to result, against scikit-learn on the raw rows."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import UNSET
from scipy.special import expit
from scipy.stats import binomtest
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    confusion_matrix,
    log_loss,
    matthews_corrcoef,
    precision_score,
    recall_score,
    roc_auc_score,
    roc_curve,
)

from detectors.performance import intervals
from stream.closing import Firing
from stream.reference_build import build_reference
from stream.results_performance import Performance, ScorePerformance
from tests.builders import MODEL, Monitor, label, prediction, settings, small_reference
from tests.detectors.scored import auc_by_pairs, wilson_by_roots
from tests.stream.reference_data import write

Rows = list[tuple[Any, int]]  # score, label


def performance(
    rows: Rows, *, positive: str | None = "1", reference: bool = False, labels_first: bool = False, **section: Any
) -> Performance:
    """What the window of these rows reports; a row is predicted "1" from a score of a half on."""
    model = {"classes": ["0", "1"], "performance": {"minimum_sample": 1, **section}} | ({"positive": positive} if positive else {})
    monitor = Monitor(settings({MODEL: model}), {MODEL: small_reference()} if reference else {}, partitions=(1, 1))
    said = [str(int((score["1"] if isinstance(score, dict) else score or 0) >= 0.5)) for score, _ in rows]
    predictions = [prediction(f"id-{i}", i / 100, said[i], score=score) for i, (score, _) in enumerate(rows)]
    labels = [label(f"id-{i}", i / 100, str(truth)) for i, (_, truth) in enumerate(rows)]
    for side, events in (
        (("labels", labels), ("predictions", predictions)) if labels_first else (("predictions", predictions), ("labels", labels))
    ):
        monitor.log(*events, side=side)
        monitor.read(side)
    for side, event in (("predictions", prediction("end", 200)), ("labels", label("end", 200))):
        monitor.log(event, side=side)
        monitor.read(side)
    firings: list[Firing] = monitor.tick()
    (found,) = (
        f.result.performance for f in firings if f.result.subject == "performance" and f.result.window.end.endswith("22:15:00.000Z")
    )
    assert found is not UNSET
    return found


def drawn(n: int = 3_000, seed: int = 1, share: float = 0.2) -> Rows:
    rng = np.random.default_rng(seed)
    truth = (rng.random(n) < share).astype(int)
    scores = expit(rng.normal(size=n) + 2 * truth - 2)
    scores[rng.random(n) < 0.05] = rng.choice([0.0, 1.0])
    return list(zip(scores.tolist(), truth.tolist(), strict=True))


def scores_of(found: Performance) -> ScorePerformance:
    assert found.scores is not UNSET
    return found.scores


@pytest.mark.parametrize("labels_first", [False, True])
@pytest.mark.parametrize("reference", [False, True])
def test_the_metrics_of_the_score_are_those_of_scikit_learn(*, reference: bool, labels_first: bool) -> None:
    rows = drawn()
    scores, truth = np.array([score for score, _ in rows]), np.array([label for _, label in rows])
    found = performance(rows, reference=reference, labels_first=labels_first)
    measured = scores_of(found)
    assert measured.n == len(rows)
    assert measured.brier == pytest.approx(brier_score_loss(truth, scores), abs=1e-9)
    assert measured.log_loss == pytest.approx(log_loss(truth, scores), rel=1e-9)
    for metric, oracle in ((measured.roc_auc, roc_auc_score), (measured.average_precision, average_precision_score)):
        assert metric is not None
        assert metric.bounds[0] <= oracle(truth, scores) <= metric.bounds[1]
        assert metric.bounds[1] - metric.bounds[0] < (1 if reference else 0.05)  # the small reference has four bins
    said = (scores >= 0.5).astype(int)
    assert found.mcc == pytest.approx(matthews_corrcoef(truth, said), rel=1e-12)
    assert found.specificity == pytest.approx(recall_score(truth, said, pos_label=0), rel=1e-12)


def windows(of: list[Rows], **section: Any) -> list[Performance]:
    """What the windows report that have these rows, in order."""
    model = {"classes": ["0", "1"], "positive": "1", "performance": {"minimum_sample": 1, **section}}
    monitor = Monitor(settings({MODEL: model}), {}, partitions=(1, 1))
    for minute, rows in enumerate(of):
        for i, (score, truth) in enumerate(rows):
            second = 60 * minute + 59 * i / len(rows)
            monitor.log(prediction(f"{minute}-{i}", second, str(int(score >= 0.5)), score=score))
            monitor.log(label(f"{minute}-{i}", second, str(truth)), side="labels")
    monitor.read()
    monitor.read("labels")
    found = [firing.result for firing in monitor.quiet() if firing.result.subject == "performance"]
    return [one.performance for one in sorted(found, key=lambda one: one.window.end) if one.performance is not UNSET]


def within(metric: Any, value: float) -> bool:
    return bool(metric is not None and metric.bounds[0] - 1e-12 <= value <= metric.bounds[1] + 1e-12)


def test_every_window_has_the_metrics_of_scikit_learn_on_its_own_rows() -> None:
    rows = [drawn(n, seed, share) for seed, (n, share) in enumerate([(1500, 0.3), (700, 0.05), (1000, 0.5), (300, 0.02)])]
    found = windows(rows)
    assert len(found) == len(rows)
    for performance, window in zip(found, rows, strict=True):
        scores, truth = (np.array(column) for column in zip(*window, strict=True))
        measured, said = scores_of(performance), (scores >= 0.5).astype(int)
        assert measured.brier == pytest.approx(brier_score_loss(truth, scores), abs=1e-9)
        assert measured.log_loss == pytest.approx(log_loss(truth, scores), rel=1e-9)
        assert within(measured.roc_auc, roc_auc_score(truth, scores))
        assert within(measured.average_precision, average_precision_score(truth, scores))
        assert performance.lift == pytest.approx(precision_score(truth, said) / truth.mean(), rel=1e-12)
        fpr, tpr, _ = roc_curve(truth, scores, drop_intermediate=False)
        for rate, recall, precise in (
            (0.01, measured.recall_at_fpr_1, measured.precision_at_fpr_1),
            (0.05, measured.recall_at_fpr_5, measured.precision_at_fpr_5),
        ):
            at = np.flatnonzero(fpr <= rate + 1e-12)[-1]
            hits, false = tpr[at] * truth.sum(), fpr[at] * (truth == 0).sum()
            assert within(recall, tpr[at])
            assert precise is None or within(precise, hits / (hits + false) if hits else 0.0)
        top = truth[np.argsort(-scores, kind="stable")][: len(window) // 10]
        assert within(measured.top_decile_lift, top.mean() / truth.mean())
        assert within(measured.top_decile_capture, top.sum() / truth.sum())
        check_reliability(measured, scores, truth)


def test_shares_of_rows_have_the_interval_of_wilson() -> None:
    rng = np.random.default_rng(4)
    truth = (rng.random(1_000) < 0.2).astype(int)
    scores = np.clip(rng.normal(0.3 + 0.3 * truth, 0.15, 1_000), 0, 1).round(1) + 0.005  # each in a bin of its own
    (found,) = windows([list(zip(np.minimum(scores, 1.0).tolist(), truth.tolist(), strict=True))])
    measured, positives = scores_of(found), int(truth.sum())
    expected = {}
    for percent in (1, 5):
        allowed = [at for at in np.unique(scores) if (scores[truth == 0] >= at).mean() <= percent / 100]
        above = scores >= min(allowed)
        expected[f"recall_at_fpr_{percent}"] = int(truth[above].sum()), positives
        expected[f"precision_at_fpr_{percent}"] = int(truth[above].sum()), int(above.sum())
    assert measured.intervals.keys() == expected.keys() | {"top_decile_capture", "top_decile_lift", "roc_auc", "average_precision"}
    for name, (right, n) in expected.items():
        assert getattr(measured, name).value == pytest.approx(right / n)
        assert measured.intervals[name] == pytest.approx(tuple(binomtest(right, n).proportion_ci(method="wilson")), rel=1e-9), name
    assert measured.top_decile_capture is not None
    captured = measured.top_decile_capture.value  # the last of its rows are a part of those that tie
    low, high = (binomtest(f(captured * positives), positives).proportion_ci(method="wilson") for f in (math.floor, math.ceil))
    assert low.low <= measured.intervals["top_decile_capture"][0] <= captured <= measured.intervals["top_decile_capture"][1] <= high.high
    assert measured.intervals["top_decile_lift"] == pytest.approx([10 * end for end in measured.intervals["top_decile_capture"]])
    auc, *ends = auc_by_pairs(truth, scores)
    assert measured.roc_auc is not None
    assert measured.roc_auc.value == pytest.approx(auc)
    assert measured.intervals["roc_auc"] == pytest.approx(ends, abs=1e-9)
    ends = list(wilson_by_roots(average_precision_score(truth, scores), positives))
    assert measured.intervals["average_precision"] == pytest.approx(ends, abs=1e-9)


def test_f1_and_lift_have_an_interval_where_there_is_a_positive_class() -> None:
    rows = drawn(600)
    found = performance(rows)
    counted = confusion_matrix([truth for _, truth in rows], [int(score >= 0.5) for score, _ in rows])
    shares = {"accuracy", "precision", "recall", "specificity"}
    assert found.intervals.keys() == shares | {"f1", "lift"}
    for name, ends in intervals(counted, 1).items():
        assert found.intervals[name] == pytest.approx(ends)
        assert ends[0] < getattr(found, name) < ends[1]
    assert performance(rows, positive=None).intervals.keys() == {"accuracy"}
    assert performance([(0.1, 0), (0.2, 0)]).intervals.keys() == {"accuracy", "specificity"}


def test_without_one_of_the_classes_there_is_no_interval() -> None:
    assert [scores_of(found).intervals for found in windows([[(0.1, 0), (0.7, 0)], [(0.1, 1), (0.7, 1)]])] == [{}, {}]


def test_an_alert_of_the_score_has_the_baseline_of_the_reference(tmp_path: Path) -> None:
    known = [
        {"x": i % 5, "prediction": int(score >= 0.5), "score": score, "label": truth}
        for i, (score, truth) in enumerate(drawn(4_000, seed=8))
    ]
    made = build_reference(write(tmp_path, ".jsonl", known), model=MODEL, version="1")
    limits = {"roc_auc": {"warning": 0.7}, "brier": {"warning": 0.1}, "minimum_sample": 1}
    monitor = Monitor(settings({MODEL: {"classes": ["0", "1"], "positive": "1", "performance": limits}}), {MODEL: made}, partitions=(1, 1))
    worse = [(1 - score, truth) for score, truth in drawn(500)]
    monitor.log(*(prediction(i, i / 10, "1", score=score) for i, (score, _) in enumerate(worse)))
    monitor.log(*(label(i, i / 10, str(truth)) for i, (_, truth) in enumerate(worse)), side="labels")
    monitor.read()
    monitor.read("labels")
    monitor.quiet()
    baselines = {alert["metric"]: alert.get("baseline") for alert in monitor.said("alerts") if alert["status"] == "firing"}
    scores, truth = ([row[name] for row in known] for name in ("score", "label"))
    assert baselines["roc_auc"] == pytest.approx(roc_auc_score(truth, scores), abs=0.005)
    assert baselines["brier"] is None  # a reference has no losses
    assert all(f"baseline {baselines['roc_auc']:.3g}" in one["summary"] for one in monitor.said("alerts") if one["metric"] == "roc_auc")


def test_an_alert_of_the_score_has_the_baseline_of_the_period_before() -> None:
    section = {
        "performance": {"brier": {"warning": 0.2}, "roc_auc": {"warning": 0.6}, "minimum_sample": 1},
        "degradation": {"against": "2m"},
    }
    monitor = Monitor(settings({MODEL: {"classes": ["0", "1"], "positive": "1"} | section}), {}, partitions=(1, 1))
    of = [drawn(300, 1), drawn(200, 2), [(1 - score, truth) for score, truth in drawn(300, 3)]]
    for start, rows in zip((40, 100, 160), of, strict=True):  # the windows begin there, as time does at 22:13:20
        for i, (score, truth) in enumerate(rows):
            monitor.log(prediction(f"{start}-{i}", start + i / 10, str(int(score >= 0.5)), score=score))
            monitor.log(label(f"{start}-{i}", start + i / 10, str(truth)), side="labels")
    monitor.read()
    monitor.read("labels")
    monitor.quiet()
    alerts = {alert["metric"]: alert["baseline"] for alert in monitor.said("alerts")}
    scores, truth = (np.array(column) for column in zip(*of[0], *of[1], strict=True))
    assert alerts["brier"] == pytest.approx(brier_score_loss(truth, scores), abs=1e-8)
    assert alerts["roc_auc"] == pytest.approx(roc_auc_score(truth, scores), abs=0.01)


def check_reliability(measured: ScorePerformance, scores: Any, truth: Any) -> None:
    """The groups hold all rows; each says what numpy does of its own, and the calibration error is theirs."""
    assert sum(group.n for group in measured.reliability) == scores.size
    error = 0.0
    for group in measured.reliability:
        low, high = group.scores
        inside = (low <= scores) & (scores < high) | (scores == 1) & (group is measured.reliability[-1])
        assert (group.n, group.observed) == (inside.sum(), pytest.approx(truth[inside].mean()))
        assert group.interval == pytest.approx(tuple(binomtest(int(truth[inside].sum()), group.n).proportion_ci(method="wilson")), abs=1e-9)
        assert within(group.mean_score, scores[inside].mean())
        error += abs(truth[inside].mean() - scores[inside].mean()) * inside.mean()
    assert within(measured.calibration_error, error)


def captured(measured: ScorePerformance) -> tuple[float, float, float]:
    """The share of all positives in the top decile, and its bounds."""
    assert measured.top_decile_capture is not None
    return (measured.top_decile_capture.value, *measured.top_decile_capture.bounds)


def test_the_top_decile_captures_the_positives_among_the_tenth_with_the_highest_scores() -> None:
    rows: Rows = [(0.95, 1)] * 6 + [(0.95, 0)] * 4 + [(0.3, 1)] * 9 + [(0.3, 0)] * 81
    measured = scores_of(performance(rows))
    assert captured(measured) == pytest.approx((6 / 15, 6 / 15, 6 / 15), rel=1e-12)
    assert captured(scores_of(performance([(0.9, 1)] + [(0.1, 0)] * 9))) == (1.0, 1.0, 1.0)
    tied: Rows = [(0.9, 1)] * 2 + [(0.5, 1)] * 4 + [(0.5, 0)] * 4 + [(0.1, 0)] * 30  # two of the four in the tenth score 0.5
    assert captured(scores_of(performance(tied))) == pytest.approx((3 / 6, 2 / 6, 4 / 6), rel=1e-12)
    assert scores_of(performance([(0.9, 0)] * 10)).top_decile_capture is None


def test_a_score_for_each_class_counts_as_that_of_the_positive_class() -> None:
    rows = drawn(500)
    as_objects: Rows = [({"0": 1 - score, "1": score}, truth) for score, truth in rows]
    assert scores_of(performance(as_objects)) == scores_of(performance(rows))


def test_without_a_positive_class_a_hit_is_a_prediction_that_was_right() -> None:
    rows = drawn(500)
    as_objects: Rows = [({"0": 1 - score, "1": score}, truth) for score, truth in rows]
    measured = scores_of(performance(as_objects, positive=None))
    confidence = np.array([max(score, 1 - score) if score != 0.5 else 0.5 for score, _ in rows])
    right = np.array([int(score >= 0.5) == truth for score, truth in rows])
    assert measured.brier == pytest.approx(np.mean((confidence - right) ** 2), abs=1e-9)
    assert measured.roc_auc is not None
    assert measured.roc_auc.bounds[0] <= roc_auc_score(right, confidence) <= measured.roc_auc.bounds[1]


def test_scores_that_are_no_probabilities_are_left_out() -> None:
    rows: Rows = [(0.9, 1), (1.5, 0), (-0.1, 1), (None, 1), (0.2, 0)]
    measured = scores_of(performance(rows))
    assert measured.n == 2
    assert measured.brier == pytest.approx((0.1**2 + 0.2**2) / 2, abs=1e-9)
    assert measured.roc_auc is not None
    assert measured.roc_auc.value == 1.0


def test_without_scores_there_is_nothing_to_say_about_them() -> None:
    assert performance([(None, 0), (None, 1)]).scores is UNSET


def test_without_a_positive_class_there_is_no_lift() -> None:
    assert performance(drawn(100), positive=None).lift is UNSET
    assert performance([(0.9, 0), (0.8, 0)]).lift is None


def test_with_one_class_only_the_ranking_is_undefined_and_the_loss_is_not() -> None:
    measured = scores_of(performance([(0.9, 1), (0.6, 1)]))
    assert (measured.roc_auc, measured.average_precision, measured.recall_at_fpr_1, measured.top_decile_lift) == (None, None, None, None)
    assert measured.log_loss == pytest.approx(-np.log([0.9, 0.6]).mean(), abs=1e-9)


def test_one_confident_mistake_does_not_make_the_log_loss_infinite() -> None:
    assert scores_of(performance([(0.0, 1), (0.5, 0)])).log_loss == pytest.approx(log_loss([1, 0], [0.0, 0.5]), rel=1e-9)


@pytest.mark.parametrize(
    ("section", "severity"),
    [
        ({"roc_auc": {"warning": 0.99}}, {"roc_auc": "warning"}),
        ({"brier": {"warning": 0.05, "critical": 0.9}}, {"brier": "warning"}),
        ({"log_loss": {"warning": 30.0}}, {"log_loss": "ok"}),
        ({"top_decile_lift": {"critical": 100.0}}, {"top_decile_lift": "critical"}),
        ({"lift": {"warning": 5.0, "critical": 1.5}}, {"lift": "warning"}),
        (
            {"recall_at_fpr_1": {"critical": 0.9}, "precision_at_fpr_5": {"warning": 0.2}},
            {"recall_at_fpr_1": "critical", "precision_at_fpr_5": "ok"},
        ),
        ({"calibration_error": {"warning": 0.5, "critical": 0.9}}, {"calibration_error": "ok"}),
    ],
)
def test_a_metric_of_the_score_is_judged_where_it_has_thresholds(section: dict[str, Any], severity: dict[str, str]) -> None:
    verdicts = performance(drawn(800), **section).verdicts
    assert set(verdicts) == {"accuracy", "precision", "recall", "f1", *section}
    assert {name: verdicts[name].severity for name in section} == severity
