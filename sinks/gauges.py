"""Everything driftstream tells Prometheus. Holds no state that a restart must keep; knows results, never windows or stores.

Gauges of a window are not set one by one: each result replaces all samples of the one before it, so what became undefined disappears.
So do those of a version or segment that has no windows any more while the model has.
Label values are bounded by the configuration (model, version, segment, feature, method, metric, window), and are never ids.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Literal, get_args

import numpy as np
from msgspec import UNSET
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from detectors.counts import Counts
from detectors.latency import DELAY_BUCKETS_S
from sinks.window_samples import SEVERITY_NUMBER, WINDOW_GAUGES, Sample, Slot, Subject, samples_of, seconds_of
from stream.alerts import Alert
from stream.results import AlertKind, Result

Side = Literal["predictions", "labels"]
LabelOutcome = Literal["matched", "waiting", "expired", "duplicate", "corrected", "malformed"]

_Age = tuple[bool, float, float, int]  # whether alerts are about a window, its end, when it was closed, its revision
_Family = tuple[str, str, Subject, str]  # what the slots of all versions and segments share: model, window, subject and by

SUBJECTS: tuple[Subject, ...] = get_args(Subject)
SIDES: tuple[Side, ...] = get_args(Side)
LABEL_OUTCOMES: tuple[LabelOutcome, ...] = get_args(LabelOutcome)

_CHECKPOINT_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_WINDOW_CLOSE_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

_STAYS = 10  # windows without one of its own: so long lasts an alert on a version that was rolled back; a rarer segment comes and goes
_NO_DELAYS = np.zeros(DELAY_BUCKETS_S.size + 1, np.int64)


class Gauges:
    """The metrics of one worker, on a registry of its own. Safe to scrape from another thread than the one that updates it."""

    def __init__(self, registry: CollectorRegistry | None = None, *, dead_letter_reasons: Iterable[str] = ()) -> None:
        """Register all metrics; counters of known labels start at 0, because Prometheus sees no increase in a series that appears at 1."""
        self.registry = CollectorRegistry() if registry is None else registry
        self._windows = _NewestWindows()
        self.registry.register(self._windows)
        self._balance = _BalanceSheet()
        self.registry.register(self._balance)
        self._sequential = _SequentialDetectors()
        self.registry.register(self._sequential)
        self._label_delays = _LabelDelays()
        self.registry.register(self._label_delays)
        ProcessCollector(registry=self.registry)

        def counter(name: str, help_text: str, *labels: str) -> Counter:
            return Counter(f"driftstream_{name}", help_text, labels, registry=self.registry)

        def gauge(name: str, help_text: str, *labels: str) -> Gauge:
            return Gauge(f"driftstream_{name}", help_text, labels, registry=self.registry)

        def histogram(name: str, help_text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"driftstream_{name}", help_text, buckets=buckets, registry=self.registry)

        self._consumed = counter("consumed_total", "Messages consumed from Kafka.", "topic")
        self._predictions = counter("predictions_total", "Predictions counted in a window.", "model", "version")
        self._labels = counter("labels_total", "Labels by what became of them.", "outcome")
        self._late = counter("late_total", "Events too old to be counted.", "model", "subject")
        self._duplicates = counter("duplicates_total", "Predictions whose id had been seen before.", "model")
        self._dead_letters = counter("dead_letter_total", "Messages that could not be counted, by reason.", "reason")
        self._unknown_features = counter(
            "unknown_features_total", "Names of features found in predictions that the reference does not have.", "model"
        )
        self._lost = counter("lost_total", "Messages that Kafka deleted before they were counted.", "topic")
        self._rebuilds = counter("rebuilds_total", "Partitions counted anew from Kafka because Redis had lost their state.")
        self._expired = counter("expired_total", "Events that waited for their counterpart in vain.", "side")
        self._alerts = counter("alerts_total", "Alert transitions emitted.", "model", "kind", "severity", "status")
        self._watermark = gauge("watermark_seconds", "Watermark over all units, event time in seconds since the epoch.", "subject")
        self._lag = gauge("consumer_lag", "Messages in the partition that are not consumed yet.", "topic", "partition")
        self._units = gauge("units_owned", "Topic-partitions this worker owns.")
        self._open_panes = gauge("open_panes", "Aggregates of windows that are open in this worker.")
        self._state = gauge("state_bytes", "Memory that they take.")
        self._pending = gauge("pending_rows", "Predictions and labels kept in Redis for the join; shown by one worker.")
        self._held_back = gauge("partitions_held_back", "Partitions not read for now, because a limit is reached.")
        self._batch = gauge("batch_bytes", "Size of the newest batch.")
        self._refused = counter("refused_total", "Messages that Kafka refused for good, given up.", "topic")
        self._outbox = gauge("outbox_length", "Messages waiting in the outbox of the units this worker owns.")
        self._checkpoint = histogram("checkpoint_seconds", "Time to write one checkpoint.", _CHECKPOINT_BUCKETS_S)
        self._window_close = histogram("window_close_seconds", "Time to merge, score and emit one window.", _WINDOW_CLOSE_BUCKETS_S)

        for outcome in LABEL_OUTCOMES:
            self._labels.labels(outcome)
        for side in SIDES:
            self._expired.labels(side)
        for reason in dead_letter_reasons:
            self._dead_letters.labels(reason)

    def observe_result(self, result: Result, *, spoken: bool = True) -> None:
        """Export the result, unless a newer window or revision of the same series has been, or much newer ones of others of the model.

        `spoken`: alerts are about it; by prediction time they are about the newest window that has labels enough. One that they are not
        about is exported only until there is one that they are.
        """
        self._windows.observe(result, spoken=spoken)
        for kind, severity, status in product(get_args(AlertKind), ("warning", "critical"), ("firing", "resolved")):
            self._alerts.labels(result.model, kind, severity, status)  # at 0, before the first alert

    def observe_alert(self, alert: Alert) -> None:
        self._alerts.labels(alert.model, alert.kind, alert.severity, alert.status).inc()

    def forget_model(self, model: str) -> None:
        """Remove what the model's home unit exported. Counts of its events stay: this worker may own other partitions with them."""
        self._windows.forget(model)
        self._alerts.remove_by_labels({"model": model})

    def forget_partition(self, topic: str, partition: int) -> None:
        """Remove the consumer lag of a partition that left this worker."""
        self._lag.remove(topic, str(partition))

    def add_consumed(self, topic: str, n: int) -> None:
        self._consumed.labels(topic).inc(n)

    def add_predictions(self, model: str, version: str, n: int) -> None:
        self._predictions.labels(model, version).inc(n)
        self._duplicates.labels(model)
        self._unknown_features.labels(model)
        for subject in SUBJECTS:
            self._late.labels(model, subject)
        self._label_delays.add(model, _NO_DELAYS, 0.0)

    def add_labels(self, outcome: LabelOutcome, n: int) -> None:
        self._labels.labels(outcome).inc(n)

    def add_label_delays(self, model: str, counts: Counts, sum_s: float) -> None:
        """Count labels by how long after their predictions they were: `counts` on `DELAY_BUCKETS_S`, (10,), and the sum of the delays."""
        self._label_delays.add(model, counts, sum_s)

    def add_late(self, model: str, subject: Subject, n: int) -> None:
        self._late.labels(model, subject).inc(n)

    def add_duplicates(self, model: str, n: int) -> None:
        self._duplicates.labels(model).inc(n)

    def add_dead_letters(self, reason: str, n: int) -> None:
        self._dead_letters.labels(reason).inc(n)

    def add_unknown_features(self, model: str, n: int) -> None:
        self._unknown_features.labels(model).inc(n)

    def add_lost(self, topic: str, n: int) -> None:
        self._lost.labels(topic).inc(n)

    def add_rebuild(self) -> None:
        self._rebuilds.inc()

    def add_expired(self, side: Side, n: int) -> None:
        """Count predictions without a label, or labels without a prediction, that were given up after `labels.max_delay`."""
        self._expired.labels(side).inc(n)

    def set_watermark(self, subject: Subject, watermark_ms: int | None) -> None:
        """Export the minimum over all units of the group, as the store keeps it; None removes it."""
        if watermark_ms is None:
            self._watermark.remove(subject)
        else:
            self._watermark.labels(subject).set(watermark_ms / 1000)

    def set_consumer_lag(self, topic: str, partition: int, messages: int) -> None:
        self._lag.labels(topic, str(partition)).set(messages)

    def set_units_owned(self, n: int) -> None:
        self._units.set(n)

    def set_state(self, panes: int, state_bytes: int, pending_rows: int) -> None:
        self._open_panes.set(panes)
        self._state.set(state_bytes)
        self._pending.set(pending_rows)

    def set_held_back(self, partitions: int) -> None:
        self._held_back.set(partitions)

    def set_batch_bytes(self, size: int) -> None:
        self._batch.set(size)

    def add_refused(self, topic: str) -> None:
        self._refused.labels(topic).inc()

    def set_balance(self, sheets: Mapping[tuple[str, str], Mapping[str, int]], joined: Mapping[str, int]) -> None:
        """Replace the balance sheets: by topic and partition ("all": the total) how many messages were consumed, and became what.

        `joined`: of the predictions that were counted or late, what came of their labels.
        """
        self._balance.sheets, self._balance.joined = sheets, joined

    def set_sequential(self, firing: Mapping[tuple[str, str, str, str], bool]) -> None:
        """Replace the states of the sequential detectors: by model, version, stream and detector whether it fires."""
        self._sequential.firing = firing

    def set_outbox_length(self, n: int) -> None:
        self._outbox.set(n)

    def observe_checkpoint(self, seconds: float) -> None:
        self._checkpoint.observe(seconds)

    def observe_window_close(self, seconds: float) -> None:
        self._window_close.observe(seconds)

    def exposition(self) -> tuple[bytes, str]:
        """The page to be scraped, and its content type."""
        return generate_latest(_WithoutCreated(self.registry)), CONTENT_TYPE_LATEST


class _BalanceSheet:
    """A collector: all sheets at once, so that they add up whenever they are read."""

    def __init__(self) -> None:
        self.sheets: Mapping[tuple[str, str], Mapping[str, int]] = {}
        self.joined: Mapping[str, int] = {}

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "driftstream_balance",
            "Messages consumed, and what became of them, as the last checkpoint left it: consumed is the sum of all others but lost.",
            labels=("topic", "partition", "outcome"),
        )
        for (topic, partition), sheet in self.sheets.items():
            for outcome, n in sheet.items():
                family.add_metric((topic, partition, outcome), n)
        yield family
        family = GaugeMetricFamily(
            "driftstream_joined_predictions",
            "Predictions that were counted or late, by what came of their labels: together they are all of these.",
            labels=("outcome",),
        )
        for outcome, n in self.joined.items():
            family.add_metric((outcome,), n)
        yield family


class _SequentialDetectors:
    """A collector: of the streams of this worker, so those that it lost disappear."""

    def __init__(self) -> None:
        self.firing: Mapping[tuple[str, str, str, str], bool] = {}

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "driftstream_sequential_severity",
            "State of a sequential detector in the partitions of this worker: 0 ok, 1 its last change is not resolved in one of them.",
            labels=("model", "version", "stream", "detector"),
        )
        for labels, fires in self.firing.items():
            family.add_metric(labels, SEVERITY_NUMBER["warning" if fires else "ok"])
        yield family


class _LabelDelays:
    """A collector: a histogram that takes a whole batch at once."""

    def __init__(self) -> None:
        self._counted: dict[str, tuple[Counts, float]] = {}

    def add(self, model: str, counts: Counts, sum_s: float) -> None:
        before, before_s = self._counted.get(model, (0, 0.0))
        self._counted[model] = (before + counts, before_s + sum_s)

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(
            "driftstream_matched_label_delay_seconds",
            "How long after its prediction a label was, of all that met theirs, late ones and corrections too; 0 of one before it.",
            labels=("model",),
        )
        bounds = [*map(str, DELAY_BUCKETS_S.tolist()), "+Inf"]
        for model, (counts, sum_s) in list(self._counted.items()):
            family.add_metric((model,), list(zip(bounds, counts.cumsum().tolist(), strict=True)), sum_s)
        yield family


class _NewestWindows:
    """A collector: the samples of the newest firing of each window, replaced as a whole."""

    def __init__(self) -> None:
        self._fired: dict[_Family, dict[Slot, tuple[_Age, list[Sample]]]] = {}
        # Of any version and segment: whether alerts are about a window, and the end of the newest that they are about, without one of all.
        self._newest: dict[_Family, tuple[bool, float]] = {}

    def observe(self, result: Result, *, spoken: bool) -> None:
        by = next((found.by for found in (result.performance, result.regression) if found is not UNSET), "")
        slot = Slot(result.model, result.version, result.segment or "", result.window.name, result.subject, by)
        start_s, end_s = seconds_of(result.window.start), seconds_of(result.window.end)
        family = (slot.model, slot.window, slot.subject, slot.by)
        age = (
            spoken,
            end_s,
            seconds_of(result.closed_at),
            result.revision,
        )  # after a loss of state what knows more may have a lower number
        fired, stays_s = self._fired.setdefault(family, {}), _STAYS * (end_s - start_s)
        newest = self._newest.get(family, (False, -math.inf))
        if newest < (spoken, end_s):
            newest = self._newest[family] = (spoken, end_s)
            for gone in [other for other, ((_, ended_s, *_), _) in fired.items() if ended_s < end_s - stays_s]:
                del fired[gone]
        if end_s >= newest[1] - stays_s and (slot not in fired or fired[slot][0] <= age):
            fired[slot] = (age, list(samples_of(result, slot)))

    def forget(self, model: str) -> None:
        for family in [family for family in self._fired if family[0] == model]:
            del self._fired[family]
            self._newest.pop(family, None)

    def describe(self) -> Iterator[GaugeMetricFamily]:
        for name, (documentation, labels) in WINDOW_GAUGES.items():
            yield GaugeMetricFamily(name, documentation, labels=labels)

    def collect(self) -> Iterator[Metric]:
        families = {family.name: family for family in self.describe()}
        for fired in list(self._fired.values()):
            for _, samples in list(fired.values()):
                for name, labels, value in samples:
                    families[name].add_metric(labels, value)
        return iter(families.values())


class _WithoutCreated:
    """A registry without the `_created` series, which would double the number of series for nothing that we show."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric
