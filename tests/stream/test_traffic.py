"""How busy a model was, from events to result, against counts of the raw events."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import MODEL, Monitor, prediction, seconds_of, settings

SAID = st.lists(st.tuples(st.floats(0, 59.999), st.sampled_from(["0", "1", "never configured"]), st.sampled_from(["DE", "FR"])), min_size=1)


def traffic_of(said: list[tuple[float, str, str]], *, cut: int = 0) -> dict[str | None, dict[str, Any]]:
    """By segment, what the results of the first minute say of predictions (second, class, country) that come in two batches."""
    monitor = Monitor(settings({MODEL: {"classes": ["0", "1"], "segments": ["country"]}}), partitions=(1, 1))
    monitor.log(*(prediction(i, at, name, segments={"country": country}) for i, (at, name, country) in enumerate(sorted(said))))
    monitor.read(most=cut or None)
    monitor.read()
    monitor.run(prediction("end", 200))
    monitor.quiet()
    monitor.validate()
    found = [r for r in monitor.said("results") if r["subject"] == "traffic" and seconds_of(r["window"]["start"]) == 0]
    return {result["segment"]: result["traffic"] for result in found}


@given(SAID, st.integers(0, 5))
def test_rate_and_classes_are_those_of_the_raw_events_for_all_traffic_and_each_segment(
    said: list[tuple[float, str, str]], cut: int
) -> None:
    found = traffic_of(said, cut=cut)
    for segment in (None, *sorted({f"country={country}" for _, _, country in said})):
        names = [name for _, name, country in said if segment in (None, f"country={country}")]
        counted = Counter("(other)" if name == "never configured" else name for name in names)
        assert found[segment]["predictions_by_class"] == {name: counted[name] for name in ("0", "1", "(other)")}
        assert found[segment]["predictions_per_second"] == pytest.approx(len(names) / 60, rel=1e-15)


def test_the_rate_is_over_the_whole_window_even_where_the_stream_fell_silent() -> None:
    assert traffic_of([(0.0, "0", "DE"), (1.0, "1", "DE"), (2.0, "1", "DE")])[None]["predictions_per_second"] == 0.05
