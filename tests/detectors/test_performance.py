"""Metrics from the confusion matrix against scikit-learn on the raw rows, at every prefix of the stream; the undefined by hand."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import approx_fprime
from scipy.stats import binomtest, norm
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, matthews_corrcoef, precision_score, recall_score

from detectors.performance import METRICS, accuracy, averages, f1, intervals, lift, precision, recall

Rows = NDArray[np.int64]
ORACLES = {"precision": precision_score, "recall": recall_score, "f1": f1_score}


def stream(seed: int, rows: int, classes: list[int], share_right: float = 0.6) -> tuple[Rows, Rows]:
    """Labels and predictions of `rows` rows of a classifier that is right about as often as asked."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(classes, rows)
    return labels, np.where(rng.random(rows) < share_right, labels, rng.choice(classes, rows))


def by_scikit_learn(metric: str, labels: Rows, predictions: Rows, positive: int | None) -> float:
    if metric == "accuracy":
        return float(accuracy_score(labels, predictions))
    if metric == "mcc":
        constant = len(set(labels.tolist())) == 1 or len(set(predictions.tolist())) == 1
        return math.nan if constant else float(matthews_corrcoef(labels, predictions))
    if metric == "specificity":  # the recall of "not this class"
        classes = sorted({*labels.tolist(), *predictions.tolist()}) if positive is None else [positive]
        undefined = 0 if positive is None else np.nan
        of = [recall_score(labels != c, predictions != c, labels=[True], average="macro", zero_division=undefined) for c in classes]
        return float(np.mean(of))
    if metric == "lift":
        some = positive is not None and (labels == positive).any() and (predictions == positive).any()
        return float(precision_score(labels == positive, predictions == positive) / (labels == positive).mean()) if some else math.nan
    if positive is None:
        return float(ORACLES[metric](labels, predictions, average="macro", zero_division=0))
    return float(ORACLES[metric](labels, predictions, labels=[positive], average="macro", zero_division=np.nan))


STREAMS = {
    "binary": (2, *stream(1, 60, [0, 1])),
    "binary, rare positives": (2, *stream(2, 60, [0] * 30 + [1], 0.9)),
    "binary, all right": (2, *stream(3, 30, [0, 1], 1.0)),
    "binary, one class only": (2, *stream(4, 30, [0])),
    "binary, never predicted positive": (2, stream(5, 60, [0, 1])[0], np.zeros(60, np.int64)),
    "binary, always predicted positive": (2, stream(6, 60, [0, 1])[0], np.ones(60, np.int64)),
    "four classes": (4, *stream(7, 60, [0, 1, 2, 3])),
    "four classes, two of them missing": (4, *stream(8, 80, [0, 3])),
    "four classes, predictions and labels disjoint": (4, stream(9, 60, [0, 1])[0], stream(10, 60, [2, 3])[0]),
}


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("metric", METRICS)
def test_metric_agrees_with_scikit_learn_on_every_prefix(metric: str, name: str) -> None:
    k, labels, predictions = STREAMS[name]
    for rows in range(1, len(labels) + 1):
        seen = labels[:rows], predictions[:rows]
        confusion = confusion_matrix(*seen, labels=range(k))
        for positive in (None, *range(k)):
            ours, theirs = METRICS[metric](confusion, positive), by_scikit_learn(metric, *seen, positive)
            assert ours == (None if math.isnan(theirs) else pytest.approx(theirs, rel=1e-12)), (rows, positive)


@pytest.mark.parametrize("name", STREAMS)
def test_averages_agree_with_scikit_learn_on_every_prefix(name: str) -> None:
    k, labels, predictions = STREAMS[name]
    merged = np.zeros((k, k), np.int64)
    for rows in range(1, len(labels) + 1):
        merged[labels[rows - 1], predictions[rows - 1]] += 1
        seen, ours = (labels[:rows], predictions[:rows]), averages(merged)
        theirs = {
            f"{metric}_{average}": oracle(*seen, average=average, zero_division=0)
            for metric, oracle in ORACLES.items()
            for average in ("macro", "weighted")
        }
        assert ours == pytest.approx(theirs, rel=1e-12), rows
        for oracle in ORACLES.values():  # why there is no micro average of its own
            assert accuracy(merged) == pytest.approx(oracle(*seen, average="micro"), rel=1e-12)


def test_averages_are_undefined_without_rows() -> None:
    assert set(averages(np.zeros((3, 3), np.int64)).values()) == {None}


@pytest.mark.parametrize("name", STREAMS)
def test_the_interval_of_f1_is_that_of_the_share_right_of_rows_that_are_of_the_class_or_said_to_be(name: str) -> None:
    k, labels, predictions = STREAMS[name]
    for rows in range(1, len(labels) + 1, 7):
        seen = labels[:rows], predictions[:rows]
        for positive in range(k):
            right, either = (int(np.sum(of(*(side == positive for side in seen)))) for of in (np.logical_and, np.logical_or))
            ends = binomtest(right, either).proportion_ci(0.9, method="wilson") if either else None
            expected = ends and pytest.approx((2 * ends.low / (1 + ends.low), 2 * ends.high / (1 + ends.high)), abs=1e-12)
            assert intervals(confusion_matrix(*seen, labels=range(k)), positive, 0.9).get("f1") == expected


@pytest.mark.parametrize("name", STREAMS)
def test_the_interval_of_lift_is_that_of_the_delta_method(name: str) -> None:
    k, labels, predictions = STREAMS[name]

    def log_lift(cells: NDArray[np.float64]) -> float:
        tp, fp, fn, _ = cells
        return float(np.log(tp * cells.sum() / ((tp + fp) * (tp + fn))))

    confusion = confusion_matrix(labels, predictions, labels=range(k))
    for positive in range(k):
        true, said = labels == positive, predictions == positive
        cells = np.array([(true & said).sum(), (~true & said).sum(), (true & ~said).sum(), (~true & ~said).sum()], float)
        found = intervals(confusion, positive).get("lift")
        if not cells[0]:  # nothing is right: the greater of what recall and precision can be, in times of what they were by chance
            ends = [binomtest(0, int(of.sum())).proportion_ci(method="wilson").high if of.any() else 0 for of in (true, said)]
            most = max(ends[0] / said.mean(), ends[1] / true.mean()) if true.any() and said.any() else None
            assert found == (None if most is None else pytest.approx((0.0, most)))
            continue
        cells += 0.25
        slope, shares = approx_fprime(cells, log_lift, 1e-6), cells / cells.sum()
        deviation = np.sqrt(slope @ (np.diag(shares) - np.outer(shares, shares)) @ slope * cells.sum())
        lower, upper = np.exp(log_lift(cells) + np.array([-1, 1]) * norm.ppf(0.975) * deviation)
        value = lift(confusion, positive)
        assert value is not None
        assert found == pytest.approx((min(lower, value), max(upper, value)), rel=1e-4)


@pytest.mark.parametrize(("positives", "found", "false_alarms"), [(0.02, 0.6, 0.05), (0.1, 0.9, 0.01), (0.3, 0.3, 0.2), (0.7, 0.1, 0.02)])
@pytest.mark.parametrize("rows", [500, 3_000])
def test_intervals_of_f1_and_lift_cover_them_as_often_as_asked(positives: float, found: float, false_alarms: float, rows: int) -> None:
    shares = np.array([(1 - positives) * (1 - false_alarms), (1 - positives) * false_alarms, positives * (1 - found), positives * found])
    f1_of_all, lift_of_all = 2 * shares[3] / (1 + shares[3] - shares[0]), shares[3] / (shares[1] + shares[3]) / positives
    rng, times, inside = np.random.default_rng(rows), 1_500, np.zeros(2)
    for cells in rng.multinomial(rows, shares, times):
        (low, high), (least, most) = intervals(cells.reshape(2, 2), 1).values()
        inside += low <= f1_of_all <= high, least <= lift_of_all <= most
    assert (inside / times >= 0.93).all()  # 0.95 less four standard errors
    assert (inside / times <= 0.985).all()


def test_intervals_without_any_row_right_begin_at_zero_and_are_not_certain_of_it() -> None:
    none_right = np.array([[80, 10], [10, 0]])  # by chance one of the ten that are positive would be right
    assert f1(none_right, 1) == lift(none_right, 1) == 0.0
    for name, (lower, upper) in intervals(none_right, 1).items():
        assert lower == 0.0, name
        assert 0.1 < upper < 3, name


def test_intervals_are_undefined_where_the_metric_is_and_without_a_positive_class() -> None:
    assert intervals(np.array([[4, 1], [2, 3]]), None) == {}
    assert intervals(np.array([[4, 0], [0, 0]]), 1) == {}
    assert intervals(np.array([[4, 0], [2, 0]]), 1).keys() == {"f1"}


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("positive", [None, 0, 1])
def test_every_metric_is_undefined_without_rows(metric: str, positive: int | None) -> None:
    assert METRICS[metric](np.zeros((2, 2), np.int64), positive) is None


def test_precision_is_undefined_without_predicted_positives_while_recall_is_zero() -> None:
    confusion = np.array([[8, 0], [2, 0]])
    assert precision(confusion, positive=1) is None
    assert recall(confusion, positive=1) == 0.0
    assert f1(confusion, positive=1) == 0.0


def test_recall_is_undefined_without_positives_while_precision_is_zero() -> None:
    confusion = np.array([[8, 2], [0, 0]])
    assert recall(confusion, positive=1) is None
    assert precision(confusion, positive=1) == 0.0
    assert f1(confusion, positive=1) == 0.0


def test_f1_is_undefined_only_with_neither_positives_nor_predicted_positives() -> None:
    assert f1(np.array([[8, 0], [0, 0]]), positive=1) is None


def test_macro_average_leaves_out_absent_classes_and_counts_given_up_ones_as_zero() -> None:
    confusion = np.array([[6, 0, 0], [4, 0, 0], [0, 0, 0]])  # class 1 is never predicted, class 2 never seen
    assert precision(confusion) == pytest.approx((0.6 + 0) / 2)
    assert recall(confusion) == pytest.approx((1 + 0) / 2)


def test_accuracy_does_not_depend_on_the_positive_class() -> None:
    assert accuracy(np.array([[4, 1], [2, 3]]), 0) == accuracy(np.array([[4, 1], [2, 3]]), 1) == 0.7


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("confusion", "positive", "message"),
    [
        ([[1, 2]], None, r"cannot read confusion matrix: shape=\(1, 2\), expected \(k, k\); "),
        ([1, 2], None, r"cannot read confusion matrix: shape=\(2,\), expected \(k, k\); "),
        ([[1, -2], [0, 3]], None, "cannot read confusion matrix: least count=-2, expected >= 0; "),
        ([[1, 2], [0, 3]], 2, "cannot pick class: positive=2, expected 0 <= positive < k=2; "),
        ([[1, 2], [0, 3]], -1, "cannot pick class: positive=-1, expected 0 <= positive < k=2; "),
    ],
)
def test_matrices_and_classes_that_do_not_fit_are_refused(metric: str, confusion: list[int], positive: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        METRICS[metric](np.array(confusion), positive)


@pytest.mark.parametrize("metric", METRICS)
def test_billions_of_rows_are_measured_as_few_are(metric: str) -> None:
    confusion = np.array([[4, 1], [2, 3]])
    assert METRICS[metric](confusion * 10**11, 1) == pytest.approx(METRICS[metric](confusion, 1), rel=1e-12)
