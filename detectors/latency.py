"""Percentiles of the latency of predictions and of the delay of labels, from histograms that add up over windows and partitions."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from detectors.counts import Counts, Floats
from detectors.intervals import Bounded
from detectors.quantiles import log_edges, quantile

LATENCY_EDGES_MS: Final[Floats] = log_edges(0.1, 6.3)  # 127 edges to 200 s, so 128 bins
DELAY_EDGES_S: Final[Floats] = log_edges(1.0, 8.5)  # 171 edges to ten years, so 172 bins
DELAY_BUCKETS_S: Final[Floats] = np.array([1.0, 10, 60, 600, 3_600, 21_600, 86_400, 604_800, 2_592_000])  # 30 d; coarse, for a metric
LATENCY_EDGES_MS.flags.writeable = DELAY_EDGES_S.flags.writeable = DELAY_BUCKETS_S.flags.writeable = False


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles, each within a share `relative_error` of the true one: 5.8 %. None if one is not between the first and the last edge."""

    n: int
    p50: Bounded
    p95: Bounded
    p99: Bounded
    relative_error: float | None


def latency_bins(latencies_ms: Floats) -> Counts:
    """The bin of each latency, (n,) int64 in [0, 128)."""
    return np.searchsorted(LATENCY_EDGES_MS, latencies_ms, side="right")


def latency_counts(latencies_ms: Floats) -> Counts:
    """How many of (n,) latencies lie in each bin, (128,) int64."""
    return np.bincount(latency_bins(latencies_ms), minlength=LATENCY_EDGES_MS.size + 1)


def delay_bins(delays_s: Floats) -> Counts:
    """The bin of each delay, (n,) int64 in [0, 172)."""
    return np.searchsorted(DELAY_EDGES_S, delays_s, side="right")


def delay_buckets(delays_s: Floats) -> Counts:
    """The bucket of each delay, (n,) int64 in [0, 10): the first whose bound is not below it, the last has none.

    >>> delay_buckets(np.array([-1.0, 1.0, 1.5, 3e6])).tolist()
    [0, 0, 1, 9]
    """
    return np.searchsorted(DELAY_BUCKETS_S, delays_s, side="left")


def latency(counts: Counts, least: float, greatest: float, edges: Floats = LATENCY_EDGES_MS) -> Latency | None:
    """Percentiles of what was counted on these edges, whose extremes are kept beside; None without rows.

    Raises:
        ValueError: counts are not (n_edges + 1,), or one is negative.

    >>> found = latency(latency_counts(np.array([8.0, 9.0, 10.0, 250.0])), 8.0, 250.0)
    >>> found.n, round(found.p50.lower, 2), round(found.p50.upper, 2), round(found.p99.upper, 2)
    (4, 8.91, 10.0, 250.0)
    """
    p50, p95, p99 = (quantile(counts, edges, q, least, greatest) for q in (0.5, 0.95, 0.99))
    if p50 is None or p95 is None or p99 is None:
        return None
    found = (p50, p95, p99)
    inside = edges[0] <= p50.lower and p99.lower < edges[-1]  # they ascend
    errors = ((one.upper - one.lower) / (one.upper + one.lower) for one in found)
    return Latency(int(counts.sum()), *found, max(errors) if inside else None)
