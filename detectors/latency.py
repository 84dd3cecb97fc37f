"""Latency percentiles of predictions, from a histogram in milliseconds that adds up over windows and partitions."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from detectors.counts import Counts, Floats
from detectors.intervals import Bounded
from detectors.quantiles import log_edges, quantile

LATENCY_EDGES_MS: Final[Floats] = log_edges(0.1, 6.3)  # 127 edges to 200 s, so 128 bins
LATENCY_EDGES_MS.flags.writeable = False


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles in ms, each within 5.8 % of the true one between 0.1 ms and 200 s; beyond, the bounds tell."""

    n: int
    p50: Bounded
    p95: Bounded
    p99: Bounded


def latency_bins(latencies_ms: Floats) -> Counts:
    """The bin of each latency, (n,) int64 in [0, 128)."""
    return np.searchsorted(LATENCY_EDGES_MS, latencies_ms, side="right")


def latency_counts(latencies_ms: Floats) -> Counts:
    """How many of (n,) latencies lie in each bin, (128,) int64."""
    return np.bincount(latency_bins(latencies_ms), minlength=LATENCY_EDGES_MS.size + 1)


def latency(counts: Counts, least_ms: float, greatest_ms: float) -> Latency | None:
    """Percentiles of the latencies counted, whose extremes are kept beside them; None without rows.

    Raises:
        ValueError: counts are not (128,), or one is negative.

    >>> found = latency(latency_counts(np.array([8.0, 9.0, 10.0, 250.0])), 8.0, 250.0)
    >>> found.n, round(found.p50.lower, 2), round(found.p50.upper, 2), round(found.p99.upper, 2)
    (4, 8.91, 10.0, 250.0)
    """
    p50, p95, p99 = (quantile(counts, LATENCY_EDGES_MS, q, least_ms, greatest_ms) for q in (0.5, 0.95, 0.99))
    if p50 is None or p95 is None or p99 is None:
        return None
    return Latency(int(counts.sum()), p50, p95, p99)
