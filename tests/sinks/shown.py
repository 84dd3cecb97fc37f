"""Results to be shown, and what the gauges show of them."""

from typing import Literal

from msgspec import UNSET
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from sinks.gauges import Gauges
from stream.results import Counts, FeatureDrift, FeatureQuality, Latency, Result, Summary, TrafficMetrics, Window, timestamp
from stream.results_performance import (
    Performance,
)
from stream.results_values import Score

MINUTE_MS = 60_000
Clock = Literal["label_time", "prediction_time"]


def scrape(gauges: Gauges) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample of the exposition by name and labels; empty labels are left out, as Prometheus does."""
    page, _ = gauges.exposition()
    samples = [sample for family in text_string_to_metric_families(page.decode()) for sample in family.samples]
    values = {(s.name, frozenset((k, v) for k, v in s.labels.items() if v)): s.value for s in samples}
    assert len(values) == len(samples), "one value per series"
    return values


def value(gauges: Gauges, name: str, **labels: str) -> float | None:
    """The value of the series with exactly these labels, None if there is none."""
    return scrape(gauges).get((f"driftstream_{name}", frozenset(labels.items())))


def window(end_minute: int, name: str = "1m") -> Window:
    return Window(name=name, kind="tumbling", start=timestamp((end_minute - 1) * MINUTE_MS), end=timestamp(end_minute * MINUTE_MS))


def traffic(
    end_minute: int = 1, *, psi: Score | None = None, model: str = "fraud", segment: str | None = None, revision: int = 0
) -> Result:
    psi = psi or Score(score=0.31, threshold=0.25, severity="critical")
    return Result(
        result_id=f"{model}-{end_minute}",
        subject="traffic",
        model=model,
        version="3",
        segment=segment,
        window=window(end_minute),
        revision=revision,
        final=True,
        counts=Counts(predictions=500, late=0),
        reference_id="r1",
        closed_at=timestamp(0),
        watermark=timestamp(0),
        drift={
            "amount": FeatureDrift(
                kind="numeric", n=500, reference_n=9000, psi=psi, js_distance=Score(score=0.0, threshold=0.1, severity="ok")
            )
        },
        summary=Summary(
            quality_score=0.7,
            duplicate_ratio=0.1,
            late_ratio=0.0,
            features=1,
            drifted=("amount",),
            drifted_ratio=1.0,
            weighted_drift=None,
            verdicts={"drifted_ratio": Score(score=1.0, threshold=0.5, severity="warning")},
        ),
        traffic=TrafficMetrics(
            predictions_per_second=8.5,
            predictions_by_class={"0": 400, "1": 100, "(other)": 0},
            latency_ms=Latency(n=500, p50=12.5, p95=250.0, p99=1_500.0),
        ),
        quality={
            "amount": FeatureQuality(
                missing_ratio=0.02, type_violation_ratio=0.0, unseen_ratio=0.0, out_of_range_ratio=0.5, score=0.73, severity="warning"
            )
        },
    )


def performance(end_minute: int = 1, *, by: Clock = "label_time", recall: float | None = 0.5) -> Result:
    return replace(
        traffic(end_minute),
        subject="performance",
        drift=UNSET,
        quality=UNSET,
        summary=UNSET,
        traffic=UNSET,
        performance=Performance(
            by=by,
            coverage=0.8,
            classes=("0", "1", "(other)"),
            confusion=((1, 0, 0), (1, 2, 0), (0, 0, 0)),
            accuracy=0.75,
            precision=1.0,
            recall=recall,
            f1=None,
            specificity=None,
            mcc=0.31,
            intervals={"accuracy": (0.7, 0.9)},
            verdicts={"recall": Score(score=recall, threshold=0.6, severity="warning" if recall is not None else "insufficient_data")},
            status="degraded" if recall is not None else "insufficient_data",
        ),
    )


ALL = {"model": "fraud", "version": "3", "window": "1m"}
AMOUNT = {**ALL, "feature": "amount"}
