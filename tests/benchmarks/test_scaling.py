"""The benchmark of features, models and segments, in small: every case counts its events, and the ratios are to the first of a group."""

import pytest

from benchmarks.measure import Measured
from benchmarks.scaling import CASES, Case, measure, table


@pytest.mark.parametrize("case", [Case("features", features=12), Case("models", models=3), Case("segments", segments=2)])
def test_every_prediction_of_a_case_is_counted_once(case: Case) -> None:
    assert measure(case, 200).events == 200


def test_ratios_are_to_the_first_case_of_a_group() -> None:
    runs = {name: [Measured(1.0, 1.0 + i, 10**6, events=100)] for i, name in enumerate(CASES)}
    rows = {row.split(" | ")[0].removeprefix("| "): row.split(" | ")[1:] for row in table(runs)[2:]}
    assert rows["10 features"] == ["100", "1,000", "1.00", "1.00", "1 |"]
    assert rows["200 features"] == ["50", "10,000", "0.50", "10.00", "1 |"]
    assert rows["1 model"][2] == rows["no segments"][2] == "1.00"
