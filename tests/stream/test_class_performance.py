"""Averages and the table of the classes, from events to result at every window, against scikit-learn on the raw rows."""

from itertools import groupby
from typing import Any

import numpy as np
import pytest
from msgspec import UNSET
from scipy.stats import binomtest
from sklearn.metrics import f1_score, precision_recall_fscore_support, precision_score, recall_score

from stream.results_performance import Performance
from tests.builders import MODEL, Monitor, label, prediction, settings

CLASSES = ["cat", "dog", "fox", "owl"]
Row = tuple[float, str, str]  # second, label, prediction
ORACLES = {"precision": precision_score, "recall": recall_score, "f1": f1_score}


def performance(rows: list[Row], **section: Any) -> list[Performance]:
    """What every performance window of these rows reports, in order of time; windows are a minute long."""
    model = {"classes": CLASSES, "performance": {"minimum_sample": 1, **section}}
    monitor = Monitor(settings({MODEL: model}), {}, partitions=(1, 1))
    end = rows[-1][0] + 600
    predictions = [prediction(f"id-{i}", second, said) for i, (second, _, said) in enumerate(rows)]
    labels = [label(f"id-{i}", second, truth) for i, (second, truth, _) in enumerate(rows)]
    for side, events in (("predictions", [*predictions, prediction("end", end)]), ("labels", [*labels, label("end", end)])):
        monitor.log(*events, side=side)
        monitor.read(side)
    results = [firing.result for firing in monitor.tick() if firing.result.subject == "performance"]
    results.sort(key=lambda result: result.window.end)
    return [result.performance for result in results if result.performance is not UNSET and result.counts.labels]


def drawn(seed: int, windows: int = 4, n: int = 100) -> list[Row]:
    """What a window has of a class differs from the next; some labels and predictions are not configured, and then never right."""
    rng = np.random.default_rng(seed)
    rows = []
    for window in range(windows):
        truths = rng.choice([*CLASSES, "yak"], n, p=rng.dirichlet(np.ones(5))).tolist()
        guesses = rng.choice([*CLASSES, "emu"], n).tolist()
        said = [truth if truth in CLASSES and rng.random() < 0.6 else guess for truth, guess in zip(truths, guesses, strict=True)]
        rows += [(60 * (window + i / n), truths[i], said[i]) for i in range(n)]
    return rows


@pytest.mark.parametrize("seed", range(4))
def test_averages_and_classes_of_every_window_are_those_of_scikit_learn(seed: int) -> None:
    rows = drawn(seed)
    windows = [list(window) for _, window in groupby(rows, lambda row: int(row[0] // 60))]
    found = performance(rows)
    assert len(found) == len(windows) == 4
    for measured, window in zip(found, windows, strict=True):
        truth, said = [row[1] for row in window], [row[2] for row in window]
        assert measured.averages is not UNSET
        for metric, oracle in ORACLES.items():
            for average in ("macro", "weighted"):
                expected = oracle(truth, said, average=average, zero_division=0)
                assert getattr(measured.averages, f"{metric}_{average}") == pytest.approx(expected, rel=1e-12)
        *sides, support = precision_recall_fscore_support(truth, said, labels=CLASSES, average=None, zero_division=np.nan)
        assert [(of.name, of.support) for of in measured.by_class] == list(zip(CLASSES, support.tolist(), strict=True))
        for metric, side in zip(ORACLES, sides, strict=True):
            ours = [getattr(of, metric) for of in measured.by_class]
            assert ours == [None if np.isnan(value) else pytest.approx(value, rel=1e-12) for value in side]
        for metric, column in (("precision", said), ("recall", truth)):
            for of in measured.by_class:
                right, rows_of = sum(t == s == of.name for t, s in zip(truth, said, strict=True)), column.count(of.name)
                interval = binomtest(right, rows_of).proportion_ci(method="wilson") if rows_of else None
                assert of.intervals.get(metric) == (interval and pytest.approx((interval.low, interval.high), abs=1e-12))
        for of in measured.by_class:
            right = sum(t == s == of.name for t, s in zip(truth, said, strict=True))
            either = sum(of.name in sides for sides in zip(truth, said, strict=True))
            share = binomtest(right, either).proportion_ci(method="wilson") if either else None
            ends = share and tuple(2 * end / (1 + end) for end in (share.low, share.high))
            assert of.intervals.get("f1") == (ends and pytest.approx(ends, abs=1e-12))


def test_a_class_without_predictions_has_no_precision_and_one_without_labels_no_recall() -> None:
    (found,) = performance([(1, "cat", "dog"), (2, "cat", "cat")])
    cat, dog, fox, _ = found.by_class
    assert (cat.support, cat.precision, cat.recall) == (2, 1.0, 0.5)
    assert (dog.support, dog.precision, dog.recall, dog.f1) == (0, 0.0, None, 0.0)
    assert (fox.support, fox.precision, fox.recall, fox.f1) == (0, None, None, None)


def test_an_average_is_judged_where_it_has_thresholds() -> None:
    (found,) = performance([(1, "cat", "dog"), (2, "cat", "cat")], recall_macro={"critical": 0.3}, recall_weighted={"critical": 0.3})
    assert {name: found.verdicts[name].severity for name in ("recall_macro", "recall_weighted")} == {
        "recall_macro": "critical",  # (1/2 + 0) / 2: "dog" was said and never true
        "recall_weighted": "ok",
    }
