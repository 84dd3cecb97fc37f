"""Performance of classes from an aggregate of outcomes, against scikit-learn on the raw rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

from stream.aggregates import Aggregate
from stream.model import CONFUSION_START, LABELS, PREDICTIONS
from stream.results_performance import Performance
from stream.scoring import Scorer
from tests.builders import categorical
from tests.stream.scorers import OTHER, judged_of, scorer


def outcomes(of: Scorer, pairs: Sequence[tuple[str, str]], predictions: int = 0) -> Aggregate:
    """The aggregate of labels and the predictions they belong to."""
    classes = (*of.model.settings.classes, OTHER)
    window = Aggregate.zero(of.model.outcomes)
    window.counts[PREDICTIONS], window.counts[LABELS] = predictions, len(pairs)
    for label, predicted in pairs:
        window.counts[CONFUSION_START + classes.index(label) * len(classes) + classes.index(predicted)] += 1
    return window


def apart(pairs: Sequence[tuple[str, str]]) -> tuple[list[str], list[str]]:
    """Labels and predictions as scikit-learn wants them: two classes that are not configured are not the same class."""
    return [label for label, _ in pairs], ["another" if predicted == OTHER else predicted for _, predicted in pairs]


PAIRS = st.lists(st.tuples(*[st.sampled_from(["a", "b", "c", OTHER])] * 2), min_size=1, max_size=40)


@given(PAIRS)
def test_macro_metrics_are_those_of_scikit_learn_on_the_rows(pairs: list[tuple[str, str]]) -> None:
    of = scorer()
    _, _, found, _ = of.performance(outcomes(of, pairs))
    truth, said = apart(pairs)
    assert found.accuracy == pytest.approx(accuracy_score(truth, said))
    assert found.precision == pytest.approx(precision_score(truth, said, average="macro", zero_division=0))
    assert found.recall == pytest.approx(recall_score(truth, said, average="macro", zero_division=0))
    assert found.f1 == pytest.approx(f1_score(truth, said, average="macro", zero_division=0))


@given(PAIRS, st.sampled_from(["a", "b", "c"]))
def test_metrics_of_the_positive_class_are_those_of_scikit_learn_on_the_rows(pairs: list[tuple[str, str]], positive: str) -> None:
    of = scorer(positive=positive)
    _, _, found, _ = of.performance(outcomes(of, pairs))
    truth, said = apart(pairs)
    one: dict[str, Any] = {"labels": [positive], "average": None, "zero_division": np.nan}
    for ours, theirs in ((found.precision, precision_score), (found.recall, recall_score), (found.f1, f1_score)):
        expected = float(theirs(truth, said, **one)[0])
        assert ours is None if np.isnan(expected) else ours == pytest.approx(expected)
    assert found.accuracy == pytest.approx(accuracy_score(truth, said))


def test_two_classes_that_are_not_configured_never_agree() -> None:
    of = scorer()
    _, _, found, _ = of.performance(outcomes(of, [("a", "a"), (OTHER, OTHER)]))
    assert found.accuracy == 0.5
    assert found.confusion == ((1, 0, 0, 0), (0, 0, 0, 0), (0, 0, 0, 0), (0, 0, 0, 1))
    assert found.classes == ("a", "b", "c", OTHER)


def test_rows_are_labels_and_columns_predictions() -> None:
    of = scorer()
    _, _, found, _ = of.performance(outcomes(of, [("a", "b"), ("a", "b"), ("b", "c"), (OTHER, "a"), ("c", OTHER)]))
    assert found.confusion == ((0, 2, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (1, 0, 0, 0))


@pytest.mark.parametrize(("labels", "predictions", "coverage"), [(1, 4, 0.25), (3, 2, 1.5), (2, 0, None), (0, 5, 0.0)])
def test_coverage_is_labels_over_predictions_of_the_window(labels: int, predictions: int, coverage: float | None) -> None:
    of = scorer()
    events, _, found, _ = of.performance(outcomes(of, [("a", "a")] * labels, predictions))
    assert found.coverage == coverage
    assert (events.predictions, events.labels, events.duplicate) == (predictions, labels, UNSET)


def test_without_labels_every_metric_is_undefined_and_nothing_is_judged_bad() -> None:
    of = scorer(performance={"accuracy": {"warning": 0.9}})
    _, _, found, judged = of.performance(outcomes(of, [], predictions=7))
    assert (found.accuracy, found.precision, found.recall, found.f1) == (None,) * 4
    assert {one.verdict.severity for one in judged} == {"insufficient_data"}
    assert {value.score for value in found.verdicts.values()} == {None}


@pytest.mark.parametrize(("n", "severity", "shown"), [(9, "insufficient_data", None), (10, "critical", 0.0)])
def test_below_the_minimum_sample_performance_is_not_judged(n: int, severity: str, shown: float | None) -> None:
    of = scorer(performance={"minimum_sample": 10, "accuracy": {"warning": 0.9, "critical": 0.5}})
    _, _, found, judged = of.performance(outcomes(of, [("a", "b")] * n))
    assert judged_of(judged, "accuracy").verdict.severity == severity
    assert (found.verdicts["accuracy"].score, found.verdicts["accuracy"].severity) == (shown, severity)


def test_the_baseline_is_the_reference_own_performance() -> None:
    cells = [[8, 2, 0], [1, 6, 3], [0, 1, 9]]
    of = scorer(categorical("x", ["a"], [30, 0]), confusion=cells)
    _, _, _, judged = of.performance(outcomes(of, [("a", "a")]))
    truth = [row for row in range(3) for column in range(3) for _ in range(cells[row][column])]
    said = [column for row in range(3) for column in range(3) for _ in range(cells[row][column])]
    baseline = {one.metric: one.baseline for one in judged}
    assert baseline["accuracy"] == pytest.approx(accuracy_score(truth, said))
    assert baseline["f1"] == pytest.approx(f1_score(truth, said, average="macro"))


def test_classes_in_another_order_have_the_same_baseline() -> None:
    cells = [[8, 2, 0], [1, 6, 3], [0, 1, 9]]
    for positive in ("a", "b", "c"):
        found = []
        for classes in (["a", "b", "c"], ["c", "a", "b"]):
            of = scorer(categorical("x", ["a"], [30, 0]), confusion=cells, positive=positive, classes=classes)
            judged = of.performance(outcomes(of, [("a", "a")])).judged
            found.append({one.metric: one.baseline for one in judged})
        assert found[0] == found[1]


@pytest.mark.parametrize("classes", [["a", "x"], ["0", "1"]])
def test_there_is_no_baseline_for_classes_that_the_reference_does_not_have(classes: list[str]) -> None:
    of = scorer(categorical("x", ["a"], [30, 0]), confusion=[[8, 2, 0], [1, 6, 3], [0, 1, 9]], classes=classes)
    window = Aggregate.zero(of.model.outcomes)
    window.counts[LABELS] = window.counts[CONFUSION_START] = 1
    _, _, found, judged = of.performance(window)
    assert isinstance(found, Performance)
    assert {one.baseline for one in judged} == {UNSET}
