"""What driftstream says of windows: results, as they stand on the wire; alerts and what else goes out are in `alerts`.

Objects at window rate: immutable, encoded with `alerts.encode`. No window arithmetic, no I/O. Times are RFC 3339 UTC strings here and
nowhere else; everywhere behind this line they are int milliseconds. The JSON Schemas in `config/schemas/` are generated from these types.
"""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

Severity = Literal["ok", "warning", "critical", "insufficient_data"]
AlertKind = Literal[
    "data_drift",
    "prediction_drift",
    "label_drift",
    "data_quality",
    "freshness",
    "performance",
    "estimated_performance",
    "business",
    "traffic",
    "sequential_drift",
]
Status = Literal["healthy", "warning", "degraded", "insufficient_data"]
Ratio = Annotated[float, Meta(ge=0, le=1)]
NonNegative = Annotated[float, Meta(ge=0)]
Timestamp = Annotated[str, Meta(description="RFC 3339, UTC, millisecond precision")]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Window(Struct, frozen=True, kw_only=True):
    """One window, `[start, end)` in event time."""

    name: str
    kind: Literal["tumbling", "sliding"]
    start: Timestamp
    end: Timestamp


class BinShare(Struct, frozen=True, kw_only=True):
    """One bin or category that moved: its share in the reference and in the window, and its part of the PSI in nats."""

    label: str
    reference: Ratio
    current: Ratio
    contribution: float


class Score(Struct, frozen=True, kw_only=True):
    """One judged number. `score` is null below the minimum sample; `threshold` is the one crossed, else the warning one, null if none.

    Some drift methods say more: `p_value` (psi, ks, chi2) if there were no drift; where the threshold is `auto`, `p_adjusted`, the p-value
    adjusted for all scores of the close, and `alpha`, which it must not exceed for an alert, `threshold` then being the least effect that
    matters; `bounds` (ks, wasserstein) that the score of the raw rows, which are not kept, lies in; `raw` (wasserstein) the distance in
    units of the feature; `statistic` (chi2) the chi-square that Cramer's V, the score, was made of; `mean_shift` (mean_std_drift) in
    standard deviations of the reference.
    """

    score: float | None
    threshold: float | None
    severity: Severity
    p_value: Ratio | UnsetType = UNSET
    p_adjusted: Ratio | UnsetType = UNSET
    alpha: Ratio | UnsetType = UNSET
    bounds: tuple[float, float] | UnsetType = UNSET
    raw: float | UnsetType = UNSET
    statistic: float | UnsetType = UNSET
    mean_shift: float | UnsetType = UNSET


class FeatureDrift(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Drift of one feature against the reference, by each method that is chosen for it and applies to its kind.

    `direction`, if it has drifted: in words, which bins or categories gained or lost most. Categories in it are quoted and escaped.
    `unseen`: categories that what it is compared with has not, and their shares of the rows, most frequent first: all of them if they are
    no more than eight, else eight by chance, with their true shares. Each is cut at 100 characters.
    `comes_from` (all traffic): the segment without which the rest has not drifted.
    """

    kind: Literal["numeric", "categorical"]
    n: int
    reference_n: int
    psi: Score | UnsetType = UNSET
    js_distance: Score | UnsetType = UNSET
    js_divergence: Score | UnsetType = UNSET
    ks: Score | UnsetType = UNSET
    chi2: Score | UnsetType = UNSET
    wasserstein: Score | UnsetType = UNSET
    hellinger: Score | UnsetType = UNSET
    total_variation: Score | UnsetType = UNSET
    kl: Score | UnsetType = UNSET
    mean_std_drift: Score | UnsetType = UNSET
    top_bins: tuple[BinShare, ...] = ()
    direction: str = ""
    unseen: dict[str, Ratio] = {}
    comes_from: str | UnsetType = UNSET


class FeatureQuality(Struct, frozen=True, kw_only=True):
    """Shares of the predictions whose value of this feature is absent or null, of the wrong type, unseen, out of reference range.

    `outlier_ratio`: beyond the reference's fences; absent for categories, and where the reference has no fences. `score`: 1 is as good as
    the reference, see `stream.quality`. `severity`: the worst verdict on any of these; absent if none has a threshold.
    """

    missing_ratio: Ratio
    type_violation_ratio: Ratio
    unseen_ratio: Ratio
    out_of_range_ratio: Ratio
    score: Ratio
    outlier_ratio: Ratio | UnsetType = UNSET
    severity: Severity | UnsetType = UNSET


class Summary(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the features of a traffic window come to.

    `quality_score`: 1 is as good as the reference. `duplicate_ratio`, `late_ratio`: of the predictions that came. `features`: how many were
    judged for drift, and `drifted` which of them by any method; `drifted_ratio`: their share, null if none was judged.
    `weighted_drift`: mean PSI of the features, by the reference's importances if it has any. `worst_feature`: the one that adds most to it.
    `verdicts`: of those that have thresholds.
    """

    quality_score: Ratio
    duplicate_ratio: Ratio
    late_ratio: Ratio
    features: int
    drifted: tuple[str, ...]
    drifted_ratio: Ratio | None
    weighted_drift: float | None
    worst_feature: str | UnsetType = UNSET
    verdicts: dict[str, Score] = {}


class BoundedMetric(Struct, frozen=True, kw_only=True):
    """A metric from the bins of the score; that of the scores themselves, which are not kept, lies within the bounds."""

    value: float
    bounds: tuple[float, float]


class Latency(Struct, frozen=True, kw_only=True):
    """Percentiles of the latency over the n predictions that told theirs, in ms.

    Each is the middle of its bin, within a share `relative_error` (5.8 %) of that of the events, from 0.1 ms to 199 s; 0.05 says below
    0.1 ms, 199526.2 that or above: where one of the three does, the error is not known, null.
    """

    n: int
    p50: float
    p95: float
    p99: float
    relative_error: Ratio | None = None


class Confidence(Struct, frozen=True, kw_only=True):
    """How sure the model was of the n predictions that had a score: the mean, and the share of those at or above the `threshold`.

    A score of the predicted class is its confidence; of a positive class among two the confidence is that of the likelier class.
    `intervals` has that of Wilson, of 95 %, of the share.
    """

    n: int
    threshold: Ratio
    mean: BoundedMetric
    high_ratio: BoundedMetric
    intervals: dict[str, tuple[Ratio, Ratio]] = {}


class TrafficMetrics(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How busy the model was. `predictions_per_second`: mean over the whole window, also where the stream began or fell silent within it.

    `predictions_by_class`: of the configured classes, and "(other)" for all else. `latency_ms`: absent if no prediction told its own.
    `confidence`: absent without scores, where one is no probability, and where a score is of one class among more than two.
    `verdicts`: of those that have thresholds.
    """

    predictions_per_second: float
    predictions_by_class: dict[str, int]
    latency_ms: Latency | UnsetType = UNSET
    confidence: Confidence | UnsetType = UNSET
    verdicts: dict[str, Score] = {}


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

    Null without rows of the class, or of others.
    """

    name: str
    n: int
    support: int
    roc_auc: BoundedMetric | None
    average_precision: BoundedMetric | None


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
    `status` is the worst level of a rule that is broken, not by chance (`broken`); absent where no share of rows has a rule.
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


class Counts(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Events of one window. `predictions`: counted by their own time. `late`: came during the window, too old to count.

    `duplicate` (traffic): repeated the id of a prediction. `labels` (performance): matched to a prediction and counted.
    """

    predictions: int
    late: int
    duplicate: int | UnsetType = UNSET
    labels: int | UnsetType = UNSET


class Result(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that one firing of one window says about one model, version and segment (null: all traffic).

    `drift` is of the features, `outputs` of the prediction and the score (traffic), or of the label (performance), where the reference
    has them. `reference_id`: what the drift is from, a reference, or a period of the model's own traffic, `previous:<start>..<end>` or
    `rolling:<start>..<end>`. Of performance windows a classifier has `performance`, a regression `regression`. `business`: where outcomes
    have prices. `estimated`: of a classifier of two classes, one positive, whose reference has a calibration, the traffic; by prediction
    time once more beside the performance, of all predictions of that window, labelled or not, and without verdicts.
    """

    result_id: str
    subject: Literal["traffic", "performance"]
    model: str
    version: str
    segment: str | None
    window: Window
    revision: int
    final: bool
    counts: Counts
    reference_id: str | None
    closed_at: Timestamp
    watermark: Timestamp
    drift: dict[str, FeatureDrift] | UnsetType = UNSET
    outputs: dict[str, FeatureDrift] | UnsetType = UNSET
    quality: dict[str, FeatureQuality] | UnsetType = UNSET
    summary: Summary | UnsetType = UNSET
    traffic: TrafficMetrics | UnsetType = UNSET
    estimated: EstimatedPerformance | UnsetType = UNSET
    performance: Performance | UnsetType = UNSET
    regression: RegressionPerformance | UnsetType = UNSET
    business: Business | UnsetType = UNSET


def timestamp(ms: int) -> str:
    """RFC 3339 UTC of int milliseconds since the epoch.

    >>> timestamp(0)
    '1970-01-01T00:00:00.000Z'
    """
    return (_EPOCH + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")  # ms / 1000 is not exact
