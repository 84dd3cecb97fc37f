"""What degrades a model and what does not; how often chance alone alarms is simulated."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.degradation import Degradation, Rules, degradation, worst
from detectors.intervals import Measured, wilson
from detectors.judge import Thresholds
from detectors.means import Mean

FLOOR = Thresholds(0.85, 0.8, "below")
DROP = Thresholds(0.05, 0.1, "above")
ALL = Rules("below", minimum_sample=20, floor=FLOOR, absolute_drop=DROP, relative_drop=Thresholds(0.1, 0.2, "above"))


def ratio(hits: int, rows: int) -> Measured:
    lower, upper = wilson(np.array(hits), np.array(rows))
    return Measured(hits / rows, float(lower), float(upper), rows)


BEFORE = ratio(9_000, 10_000)


def levels(found: Degradation) -> list[tuple[str, str, bool]]:
    return [(part.rule, part.level, part.significant) for part in found.parts]


@pytest.mark.parametrize(
    ("current", "status", "parts"),
    [
        (ratio(900, 1_000), "healthy", []),
        (ratio(860, 1_000), "healthy", []),  # worse for certain, but by less than any threshold
        (ratio(845, 1_000), "warning", [("floor", "warning", False), ("absolute_drop", "warning", True)]),
        (ratio(4_100, 5_000), "warning", [("floor", "warning", True), ("absolute_drop", "warning", True)]),
        (
            ratio(790, 1_000),
            "degraded",
            [
                ("floor", "warning", True),
                ("floor", "degraded", False),
                ("absolute_drop", "degraded", True),
                ("relative_drop", "warning", True),
            ],
        ),
        (
            ratio(700, 1_000),
            "degraded",
            [("floor", "degraded", True), ("absolute_drop", "degraded", True), ("relative_drop", "degraded", True)],
        ),
        (ratio(33, 40), "healthy", [("floor", "warning", False), ("absolute_drop", "warning", False)]),
        (
            ratio(20, 40),
            "degraded",
            [("floor", "degraded", True), ("absolute_drop", "degraded", True), ("relative_drop", "degraded", True)],
        ),
        (ratio(0, 19), "insufficient_data", []),
        (None, "insufficient_data", []),
    ],
)
def test_status_is_the_worst_level_that_is_no_chance(current: Measured | None, status: str, parts: list[tuple[str, str, bool]]) -> None:
    found = degradation(current, BEFORE, ALL)
    assert found.status == status
    assert levels(found) == parts


def test_parts_say_value_and_threshold() -> None:
    floor, absolute, relative = degradation(ratio(700, 1_000), BEFORE, ALL).parts
    assert (floor.value, floor.threshold) == (0.7, 0.8)
    assert (absolute.value, absolute.threshold) == (pytest.approx(0.2), 0.1)
    assert (relative.value, relative.threshold) == (pytest.approx(0.2 / 0.9), 0.2)


def test_without_a_baseline_only_the_floor_is_looked_at() -> None:
    assert levels(degradation(ratio(700, 1_000), None, ALL)) == [("floor", "degraded", True)]
    only_drops = Rules("below", minimum_sample=20, absolute_drop=DROP)
    assert degradation(ratio(700, 1_000), None, only_drops).status == "insufficient_data"
    assert degradation(ratio(700, 1_000), BEFORE, Rules("below", minimum_sample=20)).status == "insufficient_data"


def test_a_share_of_a_baseline_of_zero_is_undefined() -> None:
    relative = Rules("above", minimum_sample=1, relative_drop=DROP)
    assert degradation(Measured(3.0, 2.0, 4.0, 100), Measured(0.0, -1.0, 1.0, 100), relative).status == "insufficient_data"


def test_an_error_degrades_by_rising() -> None:
    rng = np.random.default_rng(1)
    rules = Rules("above", minimum_sample=20, floor=Thresholds(2.0, 3.0, "above"), relative_drop=Thresholds(0.2, 0.5, "above"))
    before, same, worse, better = (Mean.of(scale * np.abs(rng.normal(size=2_000))).measured() for scale in (1.0, 1.0, 1.4, 0.5))
    assert degradation(same, before, rules).status == "healthy"
    assert levels(degradation(worse, before, rules)) == [("relative_drop", "warning", True)]
    assert degradation(better, before, rules) == Degradation("healthy")
    assert levels(degradation(Mean.of(np.full(50, 3.5) + rng.normal(size=50) / 10).measured(), before, rules))[0] == (
        "floor",
        "degraded",
        True,
    )


@pytest.mark.parametrize("rows", [40, 200, 5_000])
@pytest.mark.parametrize("accuracy", [0.6, 0.9])
def test_chance_alone_seldom_alarms_and_a_real_drop_does(accuracy: float, rows: int) -> None:
    rng, times = np.random.default_rng(rows), 1_000
    rules = Rules("below", minimum_sample=20, absolute_drop=Thresholds(0.02, 0.05, "above"))

    def alarms(now: float) -> float:
        pairs = zip(rng.binomial(2_000, accuracy, times).tolist(), rng.binomial(rows, now, times).tolist(), strict=True)
        return sum(degradation(ratio(hits, rows), ratio(before, 2_000), rules).status != "healthy" for before, hits in pairs) / times

    assert alarms(accuracy) < 0.045  # 0.025 and four standard errors
    if rows >= 200:
        assert alarms(accuracy - 0.15) > 0.95


@given(st.integers(20, 500), st.floats(0, 1), st.floats(0, 1))
def test_more_rows_right_are_never_a_worse_status(rows: int, a: float, b: float) -> None:
    fewer, more = sorted((round(a * rows), round(b * rows)))
    worse, better = (degradation(ratio(hits, rows), BEFORE, ALL).status for hits in (fewer, more))
    assert worst(worse, better) == worse


def test_a_model_is_as_its_worst_metric_that_is_known() -> None:
    assert worst() == worst("insufficient_data") == "insufficient_data"
    assert worst("insufficient_data", "healthy") == "healthy"
    assert worst("degraded", "healthy", "warning") == "degraded"


@pytest.mark.parametrize("rules", [{"floor": DROP}, {"absolute_drop": FLOOR}, {"relative_drop": FLOOR}])
def test_rules_of_the_wrong_direction_are_refused(rules: dict[str, Thresholds]) -> None:
    with pytest.raises(ValueError, match=r"cannot set rules: \w+\.direction="):
        Rules("below", minimum_sample=1, **rules)
