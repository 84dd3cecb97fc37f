"""Thresholds on the latency and the confidence of predictions: what each level of the tree says about them, and what that comes to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from stream.settings_thresholds import Bound, Direction, Limits, PerformanceLimits, Rules, ScoredSection, resolve
from stream.settings_values import limit_duration, number

_LONGEST: Final = "3m"  # the last bin of the latency begins at 199 s


class LatencyLimits(Limits):
    """Latencies in ms, in the file durations, that are too long."""

    direction: ClassVar[Direction] = "above"
    warning: Annotated[Bound, limit_duration(_LONGEST)] = None
    critical: Annotated[Bound, limit_duration(_LONGEST)] = None


class TrafficSection(ScoredSection):
    confidence_threshold: Annotated[float | None, number(1)] = None
    latency_p50: LatencyLimits = LatencyLimits()
    latency_p95: LatencyLimits = LatencyLimits()
    latency_p99: LatencyLimits = LatencyLimits()
    mean_confidence: PerformanceLimits = PerformanceLimits()
    high_confidence_ratio: PerformanceLimits = PerformanceLimits()


BUILT_IN_TRAFFIC: Final = TrafficSection(minimum_sample=100, confidence_threshold=0.9)


@dataclass(frozen=True, slots=True)
class TrafficSettings:
    """The effective values of one model: thresholds by metric, those of latencies in ms, and from where on a confidence is high."""

    rules: Rules
    confidence_threshold: float


def resolve_traffic(levels: Sequence[TrafficSection]) -> TrafficSettings:
    """What `levels`, the most general first, and the built-in one come to."""
    high = next(level.confidence_threshold for level in (*reversed(levels), BUILT_IN_TRAFFIC) if level.confidence_threshold is not None)
    return TrafficSettings(resolve([BUILT_IN_TRAFFIC, *levels]), high)
