"""Healthy, warning or degraded: by which rules, beyond chance, and which class got worse. Windows are made from confusion matrices."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET
from scipy.stats import binom, binomtest
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

from stream.aggregates import Aggregate
from stream.alerting import summary
from stream.model import CONFUSION_START, LABELS, Model
from stream.results import Window
from stream.scoring import Outcomes, Scorer
from stream.status import SURE, ratios
from stream.verdicts import Judged
from tests.builders import MODEL, categorical, reference, settings

BEFORE = [[900, 100], [100, 900]]  # accuracy, and recall of each class, 0.9
DROPS = {"accuracy": {"drop": {"warning": 0.05, "critical": 0.1}, "relative": {"warning": 0.1, "critical": 0.5}}}
WINDOW = Window(name="1m", kind="tumbling", start="2026-03-01T12:00:00.000Z", end="2026-03-01T12:01:00.000Z")


def scorer(confusion: Any = BEFORE, *, classes: tuple[str, ...] = ("a", "b"), inherited: Any = None, **section: Any) -> Scorer:
    """A scorer of a model whose reference has this confusion matrix; None: none. `inherited`: `degradation` of all models."""
    tree = {"classes": list(classes), "performance": {"minimum_sample": 30}, **section}
    made = reference(categorical("x", ["a"], [2000, 0]), classes=classes, confusion=confusion)
    return Scorer(Model.build(settings({MODEL: tree}, degradation=inherited or {}).model(MODEL), made))


def closed(of: Scorer, confusion: Any) -> Outcomes:
    """What a window with this confusion matrix comes to."""
    cells = np.pad(np.array(confusion, np.int64), (0, 1))
    window = Aggregate.zero(of.model.outcomes)
    window.counts[LABELS] = cells.sum()
    window.counts[CONFUSION_START : CONFUSION_START + cells.size] = cells.ravel()
    return of.performance(window)


def judged(found: Outcomes, metric: str) -> Judged:
    return next(one for one in found.judged if one.metric == metric)


def right(hits: int, rows: int) -> list[list[int]]:
    """A matrix of so many rows, half of each label, so many of them right."""
    a, b = hits // 2, hits - hits // 2
    return [[a, rows // 2 - a], [rows - rows // 2 - b, b]]


@pytest.mark.parametrize(
    ("window", "status", "severity", "relative"),
    [
        (right(900, 1000), "healthy", "ok", "ok"),
        (right(840, 1000), "warning", "warning", "ok"),  # 0.06 lower, 0.067 of the baseline
        (right(700, 1000), "degraded", "critical", "warning"),  # 0.2 lower, 0.22 of it
        (right(32, 40), "healthy", "ok", "ok"),  # 0.1 lower, as 0.84 of a thousand is not: may be chance
        (right(16, 40), "degraded", "critical", "critical"),  # 0.5 lower is no chance even then
        (right(0, 28), "insufficient_data", "insufficient_data", "insufficient_data"),
    ],
)
def test_a_drop_counts_if_it_is_large_enough_and_no_chance(window: Any, status: str, severity: str, relative: str) -> None:
    found = closed(scorer(degradation=DROPS), window)
    assert found.performance.status == status
    drop, share = judged(found, "accuracy_drop"), judged(found, "accuracy_relative_drop")
    assert (drop.verdict.severity, share.verdict.severity) == (severity, relative)
    cells = np.array(window)
    assert drop.value == pytest.approx(0.9 - cells.trace() / cells.sum())
    assert share.value == pytest.approx((0.9 - cells.trace() / cells.sum()) / 0.9)
    assert (drop.kind, drop.baseline, drop.below) == ("performance", 0.9, False)


@pytest.mark.parametrize("accuracy", [0.6, 0.8, 0.9])
def test_forty_labels_do_not_alarm_where_nothing_has_changed(accuracy: float) -> None:
    share = round(accuracy * 1000)
    of = scorer([[share, 1000 - share], [1000 - share, share]], degradation=DROPS)
    alarming = [hits for hits in range(41) if closed(of, right(hits, 40)).performance.status != "healthy"]
    assert alarming == list(range(len(alarming)))
    assert 0 < binom.cdf(len(alarming) - 1, 40, accuracy) < 0.002


@pytest.mark.parametrize("recall", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("rule", [{"degradation": {"recall": {"drop": {"warning": 0.01}}}}, {"performance": {"recall": {"warning": 0.01}}}])
def test_few_positives_alarm_by_chance_no_more_often_than_is_said(recall: float, rule: dict[str, Any]) -> None:
    """Of n positives, each found as often as before: the chance of all numbers found that are called a drop, or below that floor."""
    found_before = round(1000 * recall)
    if "performance" in rule:
        rule = {"performance": {"minimum_sample": 30, "recall": {"warning": recall}}}
    of = scorer([[900, 100], [1000 - found_before, found_before]], positive="b", **rule)
    for n in (1, 2, 3, 4, 5, 7, 9, 12, 20, 40):
        statuses = [closed(of, [[90, 10], [n - found, found]]).performance.status for found in range(n + 1)]
        by_chance = sum(binom.pmf(found, n, recall) for found, status in enumerate(statuses) if status != "healthy")
        assert by_chance <= (1 - SURE) / 2, n
    assert closed(of, [[90, 10], [40, 0]]).performance.status == "warning"


def test_what_is_broken_is_said_and_whether_it_may_be_chance() -> None:
    found = closed(scorer(degradation=DROPS), right(31, 40)).performance
    assert [(one.metric, one.rule, one.level, one.significant) for one in found.broken] == [
        ("accuracy", "drop", "degraded", False),
        ("accuracy", "relative", "warning", False),
    ]
    certain = closed(scorer(degradation=DROPS), right(840, 1000)).performance.broken
    assert [(one.rule, one.level, one.threshold, one.significant) for one in certain] == [("drop", "warning", 0.05, True)]
    assert certain[0].value == pytest.approx(0.06)


def test_a_floor_needs_no_baseline_but_the_whole_interval_below_it() -> None:
    of = scorer(None, performance={"minimum_sample": 30, "accuracy": {"warning": 0.9, "critical": 0.8}})
    for hits, rows, status in ((92, 100, "healthy"), (88, 100, "healthy"), (830, 1000, "warning"), (700, 1000, "degraded")):
        upper = binomtest(hits, rows).proportion_ci(0.999, method="wilson").high
        assert status == ("degraded" if upper < 0.8 else "warning" if upper < 0.9 else "healthy")
        found = closed(of, right(hits, rows))
        assert found.performance.status == status
        assert judged(found, "accuracy").verdict.severity == ("ok" if hits == 92 else "critical" if hits == 700 else "warning")


def test_the_worst_metric_makes_the_status() -> None:
    recall = {"recall": {"drop": {"warning": 0.05, "critical": 0.1}}}
    found = closed(scorer(positive="b", degradation=DROPS | recall), [[930, 70], [250, 750]])
    assert found.performance.status == "degraded"
    assert [(one.metric, one.level) for one in found.performance.broken] == [("accuracy", "warning"), ("recall", "degraded")]
    assert judged(found, "recall_drop").value == pytest.approx(0.15)


def test_without_rules_there_is_no_status_and_nothing_new_is_judged() -> None:
    found = closed(scorer(), right(500, 1000))
    assert (found.performance.status, found.performance.broken) == (UNSET, ())
    assert not [one.metric for one in found.judged if "drop" in one.metric]


def test_f1_has_a_part_in_the_status_and_lift_none_though_it_has_an_interval() -> None:
    floors = {"minimum_sample": 30, "f1": {"warning": 0.99}, "lift": {"warning": 1.95}}
    found = closed(scorer(positive="b", performance=floors, degradation={"accuracy": {}}), right(900, 1000))
    assert found.performance.intervals["lift"][1] < 1.95
    assert [judged(found, name).verdict.severity for name in ("f1", "lift")] == ["warning", "warning"]
    assert (found.performance.status, [one.metric for one in found.performance.broken]) == ("warning", ["f1"])


@pytest.mark.parametrize("metric", ["precision", "recall", "f1"])
def test_without_a_positive_class_what_is_a_mean_over_classes_makes_no_status(metric: str) -> None:
    """Nor does it hold one up that accuracy has."""
    floors: dict[str, Any] = {"minimum_sample": 30, metric: {"warning": 0.99}}
    alone = closed(scorer(performance=floors, inherited={metric: {"drop": {"warning": 0.01}}}), right(900, 1000))
    assert (judged(alone, metric).verdict.severity, alone.performance.status) == ("warning", UNSET)
    beside = closed(scorer(performance=floors | {"accuracy": {"warning": 0.5}}), right(900, 1000))
    assert beside.performance.status == "healthy"


def test_a_drop_of_f1_counts_if_it_is_no_chance() -> None:
    """That of the baseline is 0.9; of 40 rows any from 0.6 on may be."""
    of = scorer(positive="b", degradation={"f1": {"drop": {"warning": 0.05}}})
    for hits, rows, status in ((800, 1000, "warning"), (32, 40, "healthy"), (880, 1000, "healthy")):
        found = closed(of, right(hits, rows))
        cells = np.array(right(hits, rows))
        value = 2 * cells[1, 1] / (2 * cells[1, 1] + cells[0, 1] + cells[1, 0])
        assert judged(found, "f1_drop").value == pytest.approx(0.9 - value)
        assert (found.performance.status, judged(found, "f1_drop").verdict.severity) == (status, "ok" if status == "healthy" else status)


def test_without_a_baseline_a_drop_is_not_judged() -> None:
    found = closed(scorer(None, degradation=DROPS), right(500, 1000))
    assert found.performance.status == "insufficient_data"
    assert not [one.metric for one in found.judged if "drop" in one.metric]
    assert judged(found, "accuracy").evidence.baseline_confusion is UNSET


def test_a_model_inherits_what_it_does_not_say() -> None:
    of = scorer(inherited=DROPS, degradation={"accuracy": {"drop": {"critical": "off"}}})
    drop = judged(closed(of, right(700, 1000)), "accuracy_drop")
    assert (drop.verdict.severity, drop.verdict.threshold) == ("warning", 0.05)


def test_evidence_has_the_matrix_before_and_the_class_that_got_worse_most() -> None:
    before = [[90, 10, 0], [5, 190, 5], [0, 0, 300]]
    of = scorer(before, classes=("a", "b", "c"), degradation=DROPS)
    found = closed(of, [[90, 10, 0], [0, 60, 140], [0, 60, 240]])  # b falls from 0.95 to 0.3, c from 1 to 0.8
    evidence = judged(found, "accuracy_drop").evidence
    assert evidence.baseline_confusion == ((90, 10, 0, 0), (5, 190, 5, 0), (0, 0, 300, 0), (0, 0, 0, 0))
    assert evidence.confusion == ((90, 10, 0, 0), (0, 60, 140, 0), (0, 60, 240, 0), (0, 0, 0, 0))
    assert evidence.worst_class == "b"
    told = summary("fraud", judged(found, "accuracy_drop"), WINDOW, "firing")
    assert "accuracy_drop" in told
    assert "class 'b' got worse most" in told


def test_a_drop_that_may_be_chance_now_does_not_say_that_it_is_back() -> None:
    of = scorer(degradation=DROPS)
    told = [summary("fraud", judged(closed(of, right(*rows)), "accuracy_drop"), WINDOW, "resolved") for rows in ((32, 40), (900, 1000))]
    assert told[0].startswith("fraud: accuracy_drop may be chance now, accuracy_drop 0.1 against 0.05 in 1m")
    assert told[1].startswith("fraud: accuracy_drop is back, accuracy_drop 0 against 0.05 in 1m")


def test_one_miss_of_a_rare_class_is_not_what_got_worse() -> None:
    of = scorer([[9, 1], [100, 900]], performance={"minimum_sample": 1, "accuracy": {"warning": 0.9}})
    assert judged(closed(of, [[0, 1], [200, 800]]), "accuracy").evidence.worst_class == "b"  # b: 0.9 to 0.8; of a one row, missed
    assert judged(closed(of, [[0, 1], [100, 800]]), "accuracy").evidence.worst_class is UNSET


@given(st.lists(st.integers(0, 30), min_size=4, max_size=4).filter(lambda cells: sum(cells) > 0))
def test_ratios_are_those_of_scikit_learn_and_their_intervals_those_of_scipy(cells: list[int]) -> None:
    confusion = np.array(cells, np.int64).reshape(2, 2)
    truth, said = np.repeat([0, 0, 1, 1], cells), np.repeat([0, 1, 0, 1], cells)
    found = ratios(np.pad(confusion, (0, 1)), positive=1)
    oracles = {
        "accuracy": (accuracy_score(truth, said), len(truth)),
        "precision": (precision_score(truth, said, zero_division=0), int((said == 1).sum())),
        "recall": (recall_score(truth, said, zero_division=0), int((truth == 1).sum())),
        "specificity": (recall_score(truth, said, pos_label=0, zero_division=0), int((truth == 0).sum())),
    }
    either = int(((truth == 1) | (said == 1)).sum())
    f1, lift = found.pop("f1", None), found.pop("lift", None)
    assert (f1 is None, lift is None) == (either == 0, not ((truth == 1).any() and (said == 1).any()))
    if f1 is not None:  # 2 j / (1 + j), j the share right of the rows that are of the class or said to be
        shared = binomtest(cells[3], either).proportion_ci(method="wilson")
        assert f1.value == pytest.approx(f1_score(truth, said))
        assert (f1.lower, f1.upper) == pytest.approx((2 * shared.low / (1 + shared.low), 2 * shared.high / (1 + shared.high)), abs=1e-12)
    assert set(found) == {name for name, (_, rows) in oracles.items() if rows}
    for name, ratio in found.items():
        value, rows = oracles[name]
        ends = binomtest(round(value * rows), rows).proportion_ci(method="wilson")
        assert (ratio.value, ratio.lower, ratio.upper) == pytest.approx((value, ends.low, ends.high))
        assert ratio.n == len(truth)
    decide = ratios(np.pad(confusion, (0, 1)), positive=1, sure=True)
    decide.pop("lift", None)  # which never decides
    j = decide.pop("f1", None)
    for name, ratio in decide.items():
        ends = binomtest(round(oracles[name][0] * oracles[name][1]), oracles[name][1]).proportion_ci(SURE, method="exact")
        assert (ratio.lower, ratio.upper) == pytest.approx((ends.low, ends.high))
    if j is not None:
        ends = binomtest(cells[3], either).proportion_ci(SURE, method="exact")
        assert (j.lower, j.upper) == pytest.approx((2 * ends.low / (1 + ends.low), 2 * ends.high / (1 + ends.high)))
