"""What driftstream says of windows: results, as they stand on the wire; alerts and what else goes out are in `alerts`.

Objects at window rate: immutable, encoded with `alerts.encode`. No window arithmetic, no I/O. Times are RFC 3339 UTC strings here and
nowhere else; everywhere behind this line they are int milliseconds. The JSON Schemas in `config/schemas/` are generated from these types.
"""

from datetime import UTC, datetime, timedelta
from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from stream.results_performance import Business, EstimatedPerformance, Performance, RegressionPerformance
from stream.results_values import BoundedMetric, Ratio, Score, Severity, Timestamp

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
    time once more beside the performance, of all predictions of that window, labelled or not, and without verdicts. Of several results of
    one window that are not final the one with the latest `closed_at` stands.
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
