"""Latency percentiles, from events to result, against numpy on the raw latencies."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from tests.builders import MODEL, Monitor, prediction, seconds_of, settings

ERROR = 0.058  # half a bin of 20 to a decade, (r - 1) / (r + 1) with r = 10 ** 0.05, rounded up: as results state it
LATENCIES = st.floats(0.1, 199_000)
UNTOLD = st.sampled_from([None, -1.0, -0.001, "12", True, {}])  # not counted, at no cost to the event


def results_of(latencies: list[Any], countries: list[str], *, cut: int = 0) -> dict[str | None, dict[str, Any]]:
    """By segment, the results of the first minute for predictions with these latencies, over two partitions, one of them in two batches."""
    monitor = Monitor(settings({MODEL: {"classes": ["0", "1"], "segments": ["country"], "windows": [{"size": "1m"}]}}), partitions=(2, 1))
    for i, (latency_ms, country) in enumerate(zip(latencies, countries, strict=True)):
        told = {} if latency_ms is None else {"latency_ms": latency_ms}
        monitor.log(prediction(i, i % 50, segments={"country": country}, **told), partition=i % 2)
    monitor.read(most=cut or None)
    monitor.read()
    monitor.read(partition=1)
    monitor.log(prediction("end 0", 200), partition=0)
    monitor.log(prediction("end 1", 200), partition=1)
    monitor.read()
    monitor.read(partition=1)
    monitor.quiet()
    monitor.validate()
    found = [r for r in monitor.said("results") if r["subject"] == "traffic" and seconds_of(r["window"]["start"]) == 0]
    return {result["segment"]: result for result in found}


@effort(max_examples=40)
@given(st.lists(st.tuples(LATENCIES | UNTOLD, st.sampled_from(["DE", "FR"])), min_size=1, max_size=40), st.integers(0, 5))
def test_percentiles_are_those_of_the_raw_latencies_to_the_stated_error(said: list[tuple[Any, str]], cut: int) -> None:
    found = results_of([latency for latency, _ in said], [country for _, country in said], cut=cut)
    for segment in (None, *{f"country={country}" for _, country in said}):
        those = [latency for latency, country in said if segment in (None, f"country={country}")]
        told = [x for x in those if type(x) is float and x >= 0]
        assert found[segment]["counts"]["predictions"] == len(those)
        if not told:
            assert "latency_ms" not in found[segment]["traffic"]
            continue
        shown = found[segment]["traffic"]["latency_ms"]
        assert shown["n"] == len(told)
        true = {name: np.quantile(told, q, method="inverted_cdf") for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))}
        inside = all(0.1 <= latency < 199_526 for latency in true.values())
        assert (shown["relative_error"] is not None) == inside
        for name, latency in true.items():
            assert shown[name] == pytest.approx(latency, rel=shown["relative_error"] + 1e-9 if inside else ERROR)
        assert not inside or shown["relative_error"] < ERROR


def test_latencies_beyond_the_bins_show_the_ends() -> None:
    assert results_of([0.0, 0.05, 1e9], ["DE"] * 3)[None]["traffic"]["latency_ms"] == {
        "n": 3,
        "p50": 0.05,
        "p95": 199526.2314968879,
        "p99": 199526.2314968879,
        "relative_error": None,
    }


def test_a_repeated_prediction_does_not_count_its_latency_again() -> None:
    monitor = Monitor(settings({MODEL: {"classes": ["0", "1"]}}), partitions=(1, 1))
    monitor.log(prediction(1, 1, latency_ms=5.0), prediction(1, 1, latency_ms=5_000.0))
    monitor.read()
    monitor.run(prediction("end", 200))
    monitor.quiet()
    (first, *_) = [r for r in monitor.said("results") if r["subject"] == "traffic"]
    assert first["counts"]["predictions"] == 1
    assert first["traffic"]["latency_ms"]["n"] == 1
    assert first["traffic"]["latency_ms"]["p99"] == pytest.approx(5.0, rel=ERROR)
