"""What driftstream says beside results: alerts with their evidence, late events and dead letters, as they stand on the wire.

As in `results`: immutable, encoded with `encode`, with schemas in `config/schemas/` that are generated from these types.
"""

from typing import Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from stream.results import AlertKind, BinShare, Result, Window
from stream.results_values import Ratio, Timestamp


class Evidence(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why: the sample sizes, the bins that moved, also in words, with what was tested of the score, as in `Score`, or the confusion matrix.

    `unseen`: of a category, as in `FeatureDrift`.
    `comes_from`: the segment that drift, or bad performance, of all traffic is due to. `drifted`: the features, if it is about how many.
    `baseline_confusion`: the matrix of the baseline, of the same classes. `worst_class`: the label that is recognised less often than
    there, beyond chance, and among such the one for which most is certain. `interval`: of an estimate, as in `Estimate`.
    The last ones are of sequential detectors: the `stream` in the partition `unit`, the event at which it changed, by estimate, the one at
    which that was noticed, and the means before and after; `n` is how many values there were since the change before.
    """

    n: int
    reference_n: int | UnsetType = UNSET
    p_value: Ratio | UnsetType = UNSET
    p_adjusted: Ratio | UnsetType = UNSET
    alpha: Ratio | UnsetType = UNSET
    top_bins: tuple[BinShare, ...] | UnsetType = UNSET
    direction: str = ""
    unseen: dict[str, Ratio] = {}
    comes_from: str | UnsetType = UNSET
    drifted: tuple[str, ...] | UnsetType = UNSET
    classes: tuple[str, ...] | UnsetType = UNSET
    confusion: tuple[tuple[int, ...], ...] | UnsetType = UNSET
    baseline_confusion: tuple[tuple[int, ...], ...] | UnsetType = UNSET
    worst_class: str | UnsetType = UNSET
    interval: tuple[Ratio, Ratio] | UnsetType = UNSET
    stream: Literal["errors", "scores"] | UnsetType = UNSET
    unit: str | UnsetType = UNSET
    change_at: Timestamp | UnsetType = UNSET
    change_offset: int | UnsetType = UNSET
    detected_offset: int | UnsetType = UNSET
    before: float | UnsetType = UNSET
    after: float | UnsetType = UNSET


class Alert(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A transition of one rule: it starts firing, changes its severity, or is resolved.

    What is about all versions of a model has the version "(all)". `window` is null for the freshness of a model, which has none: its
    `value` and `threshold` are seconds of silence. `threshold` is null where the rule has none any more, so that the alert is resolved.
    `value` is null, too, where the rule itself has left the configuration; `window` then is the first without it, null if there is none.
    `threshold` and `window` are null for `sequential_drift`, whose `metric` is the detector, `value` the mean after the change and
    `baseline` the mean before.
    `by` is there if the window is one by prediction time.
    `estimated`: it is about what is expected before labels come, of kind `estimated_performance`; absent of all others.
    """

    alert_id: str
    dedup_key: str
    status: Literal["firing", "resolved"]
    severity: Literal["warning", "critical"]
    model: str
    version: str
    segment: str | None
    kind: AlertKind
    metric: str
    value: float | None
    threshold: float | None
    window: Window | None
    summary: str
    evidence: Evidence
    first_fired_at: Timestamp
    emitted_at: Timestamp
    feature: str | UnsetType = UNSET
    baseline: float | UnsetType = UNSET
    by: Literal["prediction_time"] | UnsetType = UNSET
    estimated: bool = False


class Origin(Struct, frozen=True, kw_only=True):
    """Where an event stood in Kafka."""

    topic: str
    partition: int
    offset: int


class DeadLetter(Struct, frozen=True, kw_only=True):
    """A message that could not be counted: why, where it stood, and its raw bytes (of `value_bytes`, at most the first 700 000)."""

    reason: str
    detail: str
    origin: Origin
    key_base64: str | None
    value_base64: str
    value_bytes: int
    emitted_at: Timestamp


class LateEvent(Struct, frozen=True, kw_only=True):
    """An event that came after its windows had closed; `event` is the message as it was received.

    `watermark` is that of its partition, null where it was the first event: the label of a late prediction is late wherever it comes.
    """

    subject: Literal["traffic", "performance"]
    model: str
    timestamp: Timestamp
    watermark: Timestamp | None
    origin: Origin
    event: msgspec.Raw


def encode(message: Result | Alert | DeadLetter | LateEvent) -> bytes:
    """The message as JSON bytes."""
    return msgspec.json.encode(message)
