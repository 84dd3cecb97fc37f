"""What results say of performance, estimated and realised, and of what it is worth. Immutable, no I/O; see `results`."""

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from stream.results_values import BoundedMetric, NonNegative, Ratio, Score, Status, Timestamp


class LabelDelay(Struct, frozen=True, kw_only=True):
    """Percentiles, in seconds, of how long after its prediction's time a label's own was, over the n labels counted.

    Each is the middle of its bin, within a share `relative_error` (5.8 %) of that of the labels, from 1 s to ten years; 0.5 says below 1 s:
    where one of the three does, the error is not known, null.
    """

    n: int
    p50: float
    p95: float
    p99: float
    relative_error: Ratio | None = None


class Estimate(Struct, frozen=True, kw_only=True):
    """What a metric is expected to be, and where the realised one lies in 95 of 100 cases while scores mean what they meant."""

    value: Ratio
    lower: Ratio
    upper: Ratio


class EstimatedPerformance(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Performance as it is expected before labels come, of the n predictions with a score, by what the reference's labels say of scores.

    It follows drift of the inputs, and is blind to a change of what they mean. A metric that is undefined is null. `verdicts`: of those
    that `performance` names, where `performance.estimated` is on, of traffic windows.
    """

    n: int
    accuracy: Estimate | None
    precision: Estimate | None
    recall: Estimate | None
    f1: Estimate | None
    roc_auc: Estimate | None
    verdicts: dict[str, Score] = {}


class ReliabilityBin(Struct, frozen=True, kw_only=True):
    """The n labels with scores in `[from, to)`, the last ones of 1 too: mean score, share positive, and Wilson's 95 % interval of that."""

    scores: tuple[Ratio, Ratio]
    n: int
    mean_score: BoundedMetric
    observed: Ratio
    interval: tuple[Ratio, Ratio]


class ScorePerformance(Struct, frozen=True, kw_only=True):
    """Performance of the score over the n labels that met one in [0, 1]: of the positive class, without one of the prediction being right.

    `recall_at_fpr_1` is the greatest recall with at most 1 % of the negatives above the threshold, `precision_at_fpr_1` the precision
    there. Without positives or without negatives these are undefined, null. Brier score and log loss are exact to 1e-9.
    `top_decile_capture` is the share of all positives that the tenth of the rows with the highest scores holds, ten times that their lift.
    `reliability` has the labels in up to ten groups of about as many, by score; the calibration error is the mean distance in these
    between mean score and share of positives. `intervals`, of 95 %, are for chance in the rows: Wilson's of recall and precision at a given
    threshold, of the capture (ten times it, of the lift) and, as of a share of positives, of average precision; DeLong's of the AUC.
    """

    n: int
    brier: float
    log_loss: float
    calibration_error: BoundedMetric | None
    roc_auc: BoundedMetric | None
    average_precision: BoundedMetric | None
    recall_at_fpr_1: BoundedMetric | None
    precision_at_fpr_1: BoundedMetric | None
    recall_at_fpr_5: BoundedMetric | None
    precision_at_fpr_5: BoundedMetric | None
    top_decile_lift: BoundedMetric | None
    top_decile_capture: BoundedMetric | None
    reliability: tuple[ReliabilityBin, ...] = ()
    intervals: dict[str, tuple[NonNegative, NonNegative]] = {}


class Averages(Struct, frozen=True, kw_only=True):
    """Means over the classes that occur: `macro` the plain one, `weighted` by each class's labels; null without labels.

    A class that is never predicted has precision 0 in them, one that never occurs as label recall 0. The micro averages are the accuracy.
    """

    precision_macro: float | None
    precision_weighted: float | None
    recall_macro: float | None
    recall_weighted: float | None
    f1_macro: float | None
    f1_weighted: float | None


class ClassPerformance(Struct, frozen=True, kw_only=True):
    """How one class fares; `support` labels are of it. Null where undefined: never predicted, never a label, neither of them.

    `intervals`, of 95 %, of precision, recall and F1 where they are defined, as in `Performance`.
    """

    name: str
    support: int
    precision: Ratio | None
    recall: Ratio | None
    f1: Ratio | None
    intervals: dict[str, tuple[Ratio, Ratio]]


class ClassRanking(Struct, frozen=True, kw_only=True):
    """How well its score tells one class from all others, over the n labels that met one; `support` of them are of the class.

    Null without rows of the class, or of others. `intervals`, of 95 %, as of `ScorePerformance`.
    """

    name: str
    n: int
    support: int
    roc_auc: BoundedMetric | None
    average_precision: BoundedMetric | None
    intervals: dict[str, tuple[Ratio, Ratio]] = {}


class OneVsRest(Struct, frozen=True, kw_only=True):
    """Performance of the scores of several classes, each against all others, over the labels that met such scores, n at most.

    `macro` is the plain mean over the classes that have the metric, `weighted` that by their support, `micro` that of all pairs of a row
    and a class taken together. `multiclass_log_loss`: the mean of -ln of the score of the true class, in nats, each at least 2^-52.
    """

    n: int
    roc_auc_macro: BoundedMetric | None
    roc_auc_weighted: BoundedMetric | None
    roc_auc_micro: BoundedMetric | None
    average_precision_macro: BoundedMetric | None
    average_precision_weighted: BoundedMetric | None
    average_precision_micro: BoundedMetric | None
    multiclass_log_loss: BoundedMetric | None
    by_class: tuple[ClassRanking, ...]


class BrokenRule(Struct, frozen=True, kw_only=True):
    """A rule that a metric breaks: its value, the threshold crossed, and whether chance is ruled out; only then does it decide the status.

    `floor`: the metric itself is too low, or an error too high. `drop`: it is too far below the baseline. `relative`: as a share of it.
    """

    metric: str
    rule: Literal["floor", "drop", "relative"]
    level: Literal["warning", "degraded"]
    value: float
    threshold: float
    significant: bool


class Performance(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Online performance of a classifier. A metric that is undefined (no positives, say) is null, never 0.

    `coverage` is labels counted over predictions made in the same window (null without predictions); by label time it may exceed 1.
    `maturity`, by prediction time: how much of `labels.max_delay`, in which labels may come, has passed since the window's end.
    `label_delay`: absent without labels, `scores` where predictions have none.
    `confusion[i][j]` counts label `classes[i]` predicted as `classes[j]`; the last class, "(other)", holds classes that are not configured.
    `intervals`, of 95 %: Wilson's of the metrics that are shares of rows, and with a positive class of F1 (that of tp / (tp + fp + fn),
    mapped) and of `lift`, precision over the share of positives, which is absent without such a class (delta method on its logarithm).
    `by_class` has the configured classes, in the order of `classes`; `one_vs_rest` too: absent where predictions tell no score for each
    class, of two classes with a positive one, and of more than 50.
    `status` is the worst level of a rule that is broken, not by chance (`broken`); absent where none of these but lift has a rule.
    `baseline`: the period that it is compared with, `rolling:<start>..<end>`; absent where that is the reference.
    """

    by: Literal["label_time", "prediction_time"]
    coverage: float | None
    classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    accuracy: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    specificity: float | None
    mcc: float | None
    intervals: dict[str, tuple[NonNegative, NonNegative]]
    verdicts: dict[str, Score]
    averages: Averages | UnsetType = UNSET
    by_class: tuple[ClassPerformance, ...] = ()
    scores: ScorePerformance | UnsetType = UNSET
    one_vs_rest: OneVsRest | UnsetType = UNSET
    lift: float | UnsetType | None = UNSET
    baseline: str | UnsetType = UNSET
    status: Status | UnsetType = UNSET
    broken: tuple[BrokenRule, ...] = ()
    maturity: Ratio | UnsetType = UNSET
    label_delay: LabelDelay | UnsetType = UNSET


class RegressionPerformance(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Online performance of a regression; the error of a row is its prediction less its label. What is undefined is null, never 0.

    `coverage`, `maturity`, `label_delay`, `status`, `broken` and `baseline` as of a classifier. `unusable`: labels that are no numbers,
    counted nowhere else. `mae`, `rmse`, `bias` (mean error, above 0: predicted too high) are in units of the label; what is judged of the
    bias is its size, `absolute_bias`. `mape` is of the labels that are not 0, `zeros` of them are; `smape`, in [0, 2], of all; `wape` the
    sum of absolute errors over that of labels. `r2` takes the mean label of the window. The quantiles of the error and of its size come
    from bins, those of the rows lie within their bounds. `intervals` are Student's, of 95 %.
    """

    by: Literal["label_time", "prediction_time"]
    coverage: float | None
    unusable: int
    zeros: int
    mae: float | None
    rmse: float | None
    bias: float | None
    mape: float | None
    smape: float | None
    wape: float | None
    r2: float | None
    error_p05: BoundedMetric | None
    error_p50: BoundedMetric | None
    error_p95: BoundedMetric | None
    absolute_error_p50: BoundedMetric | None
    absolute_error_p95: BoundedMetric | None
    intervals: dict[str, tuple[float, float]]
    verdicts: dict[str, Score]
    baseline: str | UnsetType = UNSET
    status: Status | UnsetType = UNSET
    broken: tuple[BrokenRule, ...] = ()
    maturity: Ratio | UnsetType = UNSET
    label_delay: LabelDelay | UnsetType = UNSET


class Money(Struct, frozen=True, kw_only=True):
    """What `rows` labelled predictions were worth, in the unit of the configuration, gains above 0. What is not configured is null.

    `alerts`: predictions of any class but the idle one. `benefit`: the worth of all outcomes; null too if no event told the value that it
    is a share of. `spent`: on investigating alerts, and on operation for the time. `net_benefit`: benefit - spent, `expected_value` that
    for each row, null without rows, `roi` that for each unit spent, null if nothing was. `savings`: net benefit less what
    the outcomes would have been worth had every prediction been idle. `without_value`: rows that told none, which count as 0; absent where
    no value is needed.
    """

    rows: int
    alerts: int
    benefit: float | None
    spent: float | None
    net_benefit: float | None
    expected_value: float | None
    roi: float | None
    savings: float | None
    without_value: int | UnsetType = UNSET


class MoneyOfDay(Money, frozen=True, kw_only=True):
    """That of a day in UTC so far, from its `start` to the end of the window."""

    start: Timestamp


class Business(Money, frozen=True, kw_only=True, omit_defaults=True):
    """The money of a window.

    `cells[i][j]`: that of label i predicted as j, in the order of `performance.classes`; null with `benefit`. `values[i][j]`: the sum of
    the values that those events told. `day`: that of the day of the window; absent where panes do not fit into days, and on the day on
    which all state was lost.
    """

    cells: tuple[tuple[float, ...], ...] | None
    values: tuple[tuple[float, ...], ...] | UnsetType = UNSET
    day: MoneyOfDay | UnsetType = UNSET
    verdicts: dict[str, Score] = {}
