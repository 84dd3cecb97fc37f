"""Drift of the prediction, the score and the label, against the counts that they have."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2_contingency

from stream.aggregates import Aggregate
from stream.model import CONFUSION_START, LABELS, PREDICTIONS, Model
from stream.results_values import Score
from stream.scoring import Scorer, close_performance
from tests.builders import MODEL, categorical, numeric, reference, settings, small_reference
from tests.stream.scorers import benjamini_hochberg, counted, of_score, score, scorer


def with_outputs(drift: dict[str, Any] | None = None) -> Scorer:
    tree = {"classes": ["0", "1"], "drift": {"minimum_sample": 1} | (drift or {}), "performance": {"minimum_sample": 1}}
    return Scorer(Model.build(settings({MODEL: tree}).model(MODEL), small_reference()))


def smoothed_psi(before: Sequence[int], now: Sequence[int]) -> float:
    p, q = ((np.array(counts) + 0.5) / (sum(counts) + 0.5 * len(counts)) for counts in (before, now))
    return float(((q - p) * np.log(q / p)).sum())


def test_the_drift_of_prediction_and_score_is_measured_as_that_of_features() -> None:
    of = with_outputs()
    window = Aggregate.zero(of.model.traffic)
    window.counts[PREDICTIONS] = 100
    window.counts[of.model.predicted.start : of.model.predicted.start + 3] = 40, 50, 10
    window.counts[of.model.score.start : of.model.score.start + 5] = 0, 10, 20, 60, 0
    window.counts[of.model.score.missing] = 10
    for slot in of.model.slots:
        window.counts[slot.missing] = 100
    found = of.traffic(window)
    assert list(found.outputs) == ["prediction", "score"]
    assert set(found.drift) == {slot.feature.name for slot in of.model.slots}
    assert score(found.outputs["prediction"].psi) == pytest.approx(smoothed_psi([74, 25, 0, 1], [40, 50, 10, 0]), rel=1e-12)
    assert score(found.outputs["score"].psi) == pytest.approx(smoothed_psi([40, 30, 20, 10], [10, 20, 60, 10]), rel=1e-12)
    judged = {(one.kind, one.feature) for one in found.judged if one.metric == "psi" and one.verdict.severity == "critical"}
    assert {("prediction_drift", "prediction"), ("prediction_drift", "score")} <= judged
    assert not any(kind == "data_drift" and feature in ("prediction", "score") for kind, feature in judged)


def test_the_drift_of_the_label_is_measured_on_the_labels_that_were_counted() -> None:
    of = with_outputs({"chi2": {"warning": 0.1}})
    window = Aggregate.zero(of.model.outcomes)
    window.counts[[PREDICTIONS, LABELS]] = 500, 60
    window.counts[CONFUSION_START : of.model.hits_start].reshape(3, 3)[:] = [[10, 5, 0], [20, 15, 5], [5, 0, 0]]  # labels 0, 1, (other)
    found = of.performance(window)
    drift = found.outputs["label"]
    assert (drift.n, drift.reference_n) == (60, 100)
    assert score(drift.psi) == pytest.approx(smoothed_psi([80, 20, 0], [15, 40, 5]), rel=1e-12)
    expected = chi2_contingency([[80, 20], [15, 45]], correction=False).statistic  # (other) is pooled: it expects too little
    assert isinstance(drift.chi2, Score)
    assert drift.chi2.statistic == pytest.approx(expected, rel=1e-9)
    assert {one.kind for one in found.judged if one.feature == "label"} == {"label_drift"}


def test_auto_tests_outputs_with_the_features_and_labels_with_those_of_other_segments() -> None:
    of = with_outputs({"psi": {"warning": "auto"}})
    labels = []
    for drifted in (60, 25):  # of 100 labels, where the reference has 20
        window = Aggregate.zero(of.model.outcomes)
        window.counts[[PREDICTIONS, LABELS]] = 100
        window.counts[CONFUSION_START : of.model.hits_start].reshape(3, 3)[:2, 0] = 100 - drifted, drifted
        labels.append(window)
    found = [of_score(one.outputs["label"].psi) for one in close_performance([of] * len(labels), labels)]
    assert [one.severity for one in found] == ["critical", "ok"]
    assert [one.p_adjusted for one in found] == pytest.approx(benjamini_hochberg([one.p_value for one in found]))  # type: ignore[misc]

    traffic = Aggregate.zero(of.model.traffic)
    traffic.counts[PREDICTIONS] = 100
    traffic.counts[of.model.predicted.start] = traffic.counts[of.model.score.start] = 100
    for slot in of.model.slots:
        traffic.counts[slot.start] = 100
    told = of.traffic(traffic)
    scores = [of_score(one.psi) for one in (*told.outputs.values(), *told.drift.values())]
    assert [one.p_adjusted for one in scores] == pytest.approx(benjamini_hochberg([one.p_value for one in scores]))  # type: ignore[misc]


def test_without_outputs_in_the_reference_their_drift_is_absent() -> None:
    of = scorer(numeric("x", [1.0], [5, 5], [0, 1]))
    assert of.traffic(counted(of, [[1.0] * 10])).outputs == {}
    window = Aggregate.zero(of.model.outcomes)
    window.counts[[LABELS, CONFUSION_START]] = 10
    assert of.performance(window).outputs == {}


def test_a_reference_of_words_serves_a_model_of_digits() -> None:
    made = reference(categorical("c", ["a"], [10, 0]), outputs=[categorical("prediction", ["false", "true"], [7, 3, 0], "boolean")])
    model = Model.build(settings({MODEL: {"classes": ["0", "1"]}}).model(MODEL), made)
    assert model.predicted.feature.counts.tolist() == [7, 3, 0]
