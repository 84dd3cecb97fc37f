"""Each class against all others, from events to result at every window, against scikit-learn on the raw rows."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pytest
from msgspec import UNSET
from pydantic import ValidationError
from scipy.stats import norm
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from detectors.ranking import roc_auc_interval
from detectors.score_bins import SCORE_EDGES, score_counts
from stream.closing import Firing
from stream.results import Result
from stream.results_performance import OneVsRest
from stream.results_values import BoundedMetric
from stream.store_memory import MemoryStore
from tests.builders import MODEL, Monitor, label, prediction, settings

CLASSES = ["cat", "dog", "fox", "owl"]
Row = tuple[float, str, Any]  # second, label, score


def monitor(**section: Any) -> Monitor:
    model = {"classes": CLASSES, "performance": {"minimum_sample": 1}} | section
    return Monitor(settings({MODEL: model}, labels={"max_delay": "5m"}), {}, partitions=(1, 1))


def said(score: Any) -> str:
    return max(score, key=score.__getitem__) if isinstance(score, dict) else "cat"


def results(rows: Sequence[Row], *, labels_first: bool = False, **section: Any) -> list[Result]:
    """The results of performance windows with labels, in order of time; windows are a minute long."""
    made, end = monitor(**section), rows[-1][0] + 600
    predictions = [prediction(f"id-{i}", second, said(score), score=score) for i, (second, _, score) in enumerate(rows)]
    labels = [label(f"id-{i}", second, truth) for i, (second, truth, _) in enumerate(rows)]
    sides = [("predictions", [*predictions, prediction("end", end)]), ("labels", [*labels, label("end", end)])]
    for side, events in reversed(sides) if labels_first else sides:
        made.log(*events, side=side)
        made.read(side)
    return of_performance(made.tick())


def of_performance(firings: Sequence[Firing]) -> list[Result]:
    found = [firing.result for firing in firings if firing.result is not None and firing.result.subject == "performance"]
    return sorted((result for result in found if result.counts.labels), key=lambda result: result.window.end)


def ranked(result: Result) -> OneVsRest:
    assert result.performance is not UNSET
    assert result.performance.one_vs_rest is not UNSET
    return result.performance.one_vs_rest


def drawn(seed: int, windows: int = 3, n: int = 150, *, binned: bool = False) -> list[Row]:
    """Rows of classes that are more or less easy to tell; in the last window there is no owl. `binned`: a score of each bin only."""
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    for window in range(windows):
        classes = [*CLASSES[: 3 if window == windows - 1 else 4], "yak"]
        for i, truth in enumerate(rng.choice(classes, n, p=rng.dirichlet(np.full(len(classes), 5.0)))):
            drawn = rng.gamma(0.7, size=4) + 1e-3
            if truth in CLASSES:
                drawn[CLASSES.index(truth)] += rng.gamma(1.0)
            scores = drawn / drawn.sum()
            if binned:
                scores = SCORE_EDGES[np.maximum(np.searchsorted(SCORE_EDGES, scores, side="right") - 1, 1)]
            rows.append((60 * (window + i / n), str(truth), dict(zip(CLASSES, scores.tolist(), strict=True))))
    return rows


def by_window(rows: Sequence[Row]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of each window the labels as (n, classes) booleans, and the scores, (n, classes)."""
    tables = []
    for _, window in groupby(rows, lambda row: int(row[0] // 60)):
        held = list(window)
        truth = np.array([[row[1] == name for name in CLASSES] for row in held])
        tables.append((truth, np.array([[row[2][name] for name in CLASSES] for row in held])))
    return tables


@pytest.mark.parametrize("labels_first", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_scores_that_the_bins_tell_apart_are_ranked_as_scikit_learn_does(seed: int, labels_first: bool) -> None:
    rows = drawn(seed, binned=True)
    found, windows = results(rows, labels_first=labels_first), by_window(rows)
    assert len(found) == len(windows) == 3
    for result, (truth, scores) in zip(found, windows, strict=True):
        ours, used = ranked(result), np.flatnonzero(truth.any(axis=0))
        assert (ours.n, [of.n for of in ours.by_class]) == (150, [150] * 4)
        assert [(of.name, of.support) for of in ours.by_class] == list(zip(CLASSES, truth.sum(axis=0).tolist(), strict=True))
        for metric, oracle in (("roc_auc", roc_auc_score), ("average_precision", average_precision_score)):
            each = [float(oracle(truth[:, c], scores[:, c])) if c in used else None for c in range(4)]
            values = [None if value is None else value.value for value in (getattr(of, metric) for of in ours.by_class)]
            assert values == [None if value is None else pytest.approx(value, abs=1e-12) for value in each]
            for of, value in zip(ours.by_class, each, strict=True):
                assert (metric in of.intervals) == (value is not None)
                assert value is None or of.intervals[metric][0] <= value + 1e-12 <= of.intervals[metric][1] + 2e-12
            for average in ("macro", "weighted", "micro"):
                expected = (
                    oracle(truth[:, used], scores[:, used], average=average)
                    if average != "micro"
                    else oracle(truth, scores, average="micro")
                )
                assert getattr(ours, f"{metric}_{average}").value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_the_figures_of_the_raw_scores_lie_within_the_bounds(seed: int) -> None:
    rows = drawn(seed)
    for result, (truth, scores) in zip(results(rows), by_window(rows), strict=True):
        ours, used = ranked(result), np.flatnonzero(truth.any(axis=0))
        known = truth.any(axis=1)
        raw: dict[str, float] = {"multiclass_log_loss": log_loss(truth[known].argmax(axis=1), scores[known], labels=range(4))}
        for metric, oracle in (("roc_auc", roc_auc_score), ("average_precision", average_precision_score)):
            raw |= {f"{metric}_{average}": oracle(truth[:, used], scores[:, used], average=average) for average in ("macro", "weighted")}
            raw[f"{metric}_micro"] = oracle(truth, scores, average="micro")
            for c in used.tolist():
                assert is_within(getattr(ours.by_class[c], metric), oracle(truth[:, c], scores[:, c]))
        assert all(is_within(getattr(ours, name), value) for name, value in raw.items())
        assert raw["multiclass_log_loss"] == pytest.approx(ours.multiclass_log_loss and ours.multiclass_log_loss.value, abs=0.01)


def is_within(metric: BoundedMetric | None, raw: float, most: float = 0.05) -> bool:
    """Whether the raw figure is within the bounds, which are tight enough to say something."""
    assert metric is not None
    low, high = metric.bounds
    return low <= metric.value <= high and low - 1e-9 <= raw <= high + 1e-9 and high - low < most


def test_a_window_by_prediction_time_ranks_them_too_and_a_correction_changes_both() -> None:
    made = monitor(by_prediction_time={"windows": [{"size": "1m"}], "revise_every": "1m"})
    sure = {"cat": 0.9, "dog": 0.1}
    made.log(*(prediction(f"id-{i}", i, "cat", score=sure if i < 3 else {"cat": 0.2, "dog": 0.8}) for i in range(6)), side="predictions")
    made.log(*(label(f"id-{i}", i + 1, "cat" if i < 3 else "dog") for i in range(6)), label("id-0", 10, "dog"), side="labels")
    made.log(prediction("end", 600), side="predictions")
    made.log(label("end", 600), side="labels")
    for side in ("predictions", "labels"):
        made.read(side)
    found = of_performance(made.tick())
    assert {result.performance.by for result in found if result.performance is not UNSET} == {"label_time", "prediction_time"}
    for result in found:
        cat, dog, fox, _ = ranked(result).by_class
        assert (cat.n, cat.support, dog.support, fox.n, fox.roc_auc) == (6, 2, 4, 0, None)
        assert cat.roc_auc is not None
        assert cat.roc_auc.value == pytest.approx(roc_auc_score([0, 1, 1, 0, 0, 0], [0.9, 0.9, 0.9, 0.2, 0.2, 0.2]))


def test_what_is_no_probability_counts_for_no_class() -> None:
    rows: list[Row] = [(1, "cat", {"cat": 0.5, "dog": 1.5, "fox": -0.1}), (2, "dog", {"cat": 0.0, "dog": 1.0, "emu": 0.3}), (3, "cat", 0.7)]
    (found,) = results(rows)
    cat, dog, fox, owl = ranked(found).by_class
    assert [(of.n, of.support) for of in (cat, dog, fox, owl)] == [(2, 1), (1, 1), (0, 0), (0, 0)]
    assert cat.roc_auc == BoundedMetric(value=1.0, bounds=(1.0, 1.0))
    assert dog.roc_auc is None


def test_each_class_has_the_intervals_of_its_own_two_histograms() -> None:
    rows = drawn(2, windows=2, binned=True)
    (found, _), ((truth, scores), _) = results(rows), by_window(rows)
    for c, of in enumerate(ranked(found).by_class):
        sides = [score_counts(scores[truth[:, c] == side, c]) for side in (False, True)]
        assert of.roc_auc is not None
        assert of.average_precision is not None
        assert of.intervals["roc_auc"] == roc_auc_interval(*sides)
        expected = wilson_interval(of.average_precision.value * of.support, of.support)
        assert of.intervals["average_precision"] == pytest.approx(expected, abs=1e-12)


def wilson_interval(hits: float, rows: int) -> tuple[float, float]:
    """Wilson's, of 95 %, by its formula."""
    z, share = norm.ppf(0.975), hits / rows
    middle, half = share + z**2 / (2 * rows), z * np.sqrt(share * (1 - share) / rows + z**2 / (4 * rows**2))
    return (middle - half) / (1 + z**2 / rows), (middle + half) / (1 + z**2 / rows)


def test_scores_of_one_class_only_are_not_taken_for_those_of_all() -> None:
    (found,) = results([(1, "cat", 0.5), (2, "dog", 0.7)])
    assert found.performance is not UNSET
    assert found.performance.one_vs_rest is UNSET


@pytest.mark.parametrize(
    "classes", [{"classes": ["cat", "dog"], "positive": "cat"}, {"classes": [f"class {i}" for i in range(51)]}], ids=["binary", "many"]
)
def test_a_model_with_a_positive_class_and_another_or_very_many_counts_none_and_refuses_their_thresholds(classes: Any) -> None:
    rows: list[Row] = [(1, classes["classes"][0], dict.fromkeys(classes["classes"][:2], 0.5))]
    (found,) = results(rows, **classes)
    assert found.performance is not UNSET
    assert found.performance.one_vs_rest is UNSET
    with pytest.raises(ValidationError, match=r"fraud\.performance\.roc_auc_macro\n +expected none: it takes a score for each class"):
        settings({MODEL: classes | {"performance": {"roc_auc_macro": {"warning": 0.8}}}})


def test_two_classes_without_a_positive_one_have_them() -> None:
    rows: list[Row] = [(1, "cat", {"cat": 0.8, "dog": 0.2}), (2, "dog", {"cat": 0.3, "dog": 0.7})]
    (found,) = results(rows, classes=["cat", "dog"])
    assert [of.roc_auc for of in ranked(found).by_class] == [BoundedMetric(value=1.0, bounds=(1.0, 1.0))] * 2


def test_a_mean_over_classes_is_judged_where_it_has_thresholds() -> None:
    rows = drawn(1, windows=1)
    (found,) = results(rows, performance={"minimum_sample": 1, "roc_auc_macro": {"critical": 1.0}, "multiclass_log_loss": {"warning": 9}})
    assert found.performance is not UNSET
    verdicts = found.performance.verdicts
    assert {name: verdicts[name].severity for name in ("roc_auc_macro", "multiclass_log_loss")} == {
        "roc_auc_macro": "critical",
        "multiclass_log_loss": "ok",
    }
    assert verdicts["roc_auc_macro"].score == pytest.approx(ranked(found).roc_auc_macro and ranked(found).roc_auc_macro.value)


def test_without_scores_by_class_a_threshold_on_them_is_told_to_have_no_data() -> None:
    (found,) = results([(1, "cat", 0.5)], performance={"minimum_sample": 1, "roc_auc_macro": {"critical": 1.0}})
    assert found.performance is not UNSET
    assert found.performance.verdicts["roc_auc_macro"].severity == "insufficient_data"


def test_scores_that_wait_while_the_classes_change_are_not_taken_for_those_of_others() -> None:
    store = MemoryStore(86_400_000)
    before = Monitor(settings({MODEL: {"classes": CLASSES}}), {}, partitions=(1, 1), store=store)
    before.log(prediction("a", 1, "cat", score={"cat": 0.9, "dog": 0.1}), side="predictions")
    before.read("predictions")
    before.tick()
    after = Monitor(settings({MODEL: {"classes": CLASSES[::-1]}}), {}, partitions=(1, 1), store=store)
    after.log(prediction("a", 1, "cat", score={"cat": 0.9, "dog": 0.1}), side="predictions")
    after.log(prediction("b", 2, "cat", score={"cat": 0.8, "dog": 0.2}), prediction("end", 600), side="predictions")
    after.log(label("a", 3, "cat"), label("b", 4, "dog"), label("end", 600), side="labels")
    for side in ("predictions", "labels"):
        after.read(side)
    (found,) = of_performance(after.tick())
    assert found.counts.labels == 2
    assert [(of.name, of.n) for of in ranked(found).by_class] == [("owl", 0), ("fox", 0), ("dog", 1), ("cat", 1)]


def test_an_alert_has_the_baseline_of_the_period_before() -> None:
    """A good minute, then one of which the labels are anything."""
    rng = np.random.default_rng(5)
    rows = [*drawn(3, windows=1), *((60 + i / 3, str(rng.choice(CLASSES)), score) for i, (_, _, score) in enumerate(drawn(4, windows=1)))]
    limits = {"minimum_sample": 50, "roc_auc_macro": {"warning": 0.7}, "multiclass_log_loss": {"critical": 1.5}}
    made = monitor(performance=limits, degradation={"against": "1m"})
    made.log(
        *(prediction(f"id-{i}", second, said(score), score=score) for i, (second, _, score) in enumerate(rows)), prediction("end", 600)
    )
    made.log(*(label(f"id-{i}", second, truth) for i, (second, truth, _) in enumerate(rows)), label("end", 600), side="labels")
    for side in ("predictions", "labels"):
        made.read(side)
    before, _ = of_performance(made.tick())[:2]
    made.quiet()
    firing = {alert["metric"]: alert for alert in made.said("alerts") if alert["status"] == "firing"}
    of_before = {name: getattr(ranked(before), name).value for name in ("roc_auc_macro", "multiclass_log_loss")}
    assert {name: firing[name]["baseline"] for name in of_before} == {name: pytest.approx(value) for name, value in of_before.items()}
    assert firing["roc_auc_macro"]["value"] < 0.7 < of_before["roc_auc_macro"]
