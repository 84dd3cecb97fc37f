"""Scores become verdicts by threshold and sample size; verdicts become transitions by what was known before."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.judge import AlertState, Severity, Thresholds, Transition, Verdict, judge, transition

DRIFT = Thresholds(warning=0.1, critical=0.25, direction="above")
ACCURACY = Thresholds(warning=0.9, critical=0.8, direction="below")
UNJUDGED = Thresholds(warning=None, critical=None, direction="above")


@pytest.mark.parametrize(
    ("thresholds", "score", "severity", "threshold"),
    [
        (DRIFT, 0.0999, "ok", 0.1),
        (DRIFT, 0.1, "warning", 0.1),
        (DRIFT, 0.2499, "warning", 0.1),
        (DRIFT, 0.25, "critical", 0.25),
        (DRIFT, math.inf, "critical", 0.25),
        (ACCURACY, 0.9, "ok", 0.9),
        (ACCURACY, 0.8999, "warning", 0.9),
        (ACCURACY, 0.8, "warning", 0.9),
        (ACCURACY, 0.7999, "critical", 0.8),
        (Thresholds(None, 0.25, "above"), 0.2, "ok", 0.25),
        (Thresholds(None, 0.25, "above"), 0.3, "critical", 0.25),
        (Thresholds(0.1, None, "above"), 0.3, "warning", 0.1),
        (Thresholds(0.1, 0.1, "above"), 0.1, "critical", 0.1),
        (UNJUDGED, 9.0, "ok", None),
    ],
)
def test_score_is_judged_by_the_most_extreme_threshold_it_crosses(
    thresholds: Thresholds, score: float, severity: Severity, threshold: float | None
) -> None:
    assert judge(score, 1_000, thresholds, minimum_sample=1_000) == Verdict(severity, threshold)


@pytest.mark.parametrize(("thresholds", "threshold"), [(DRIFT, 0.1), (Thresholds(None, 0.25, "above"), 0.25), (UNJUDGED, None)])
def test_small_sample_or_undefined_score_is_insufficient_data(thresholds: Thresholds, threshold: float | None) -> None:
    assert judge(0.9, 999, thresholds, minimum_sample=1_000) == Verdict("insufficient_data", threshold)
    assert judge(None, 5_000, thresholds, minimum_sample=1_000) == Verdict("insufficient_data", threshold)


TESTED = Thresholds(warning=0.1, critical=0.25, direction="above", alpha=0.01)


@pytest.mark.parametrize(
    ("score", "p_adjusted", "severity", "threshold"),
    [
        (0.1, 0.01, "warning", 0.1),
        (0.1, 0.011, "ok", 0.1),
        (0.0999, 1e-300, "ok", 0.1),
        (0.25, 0.01, "critical", 0.25),
        (9.0, 0.02, "ok", 0.1),
        (9.0, None, "ok", 0.1),
    ],
)
def test_where_chance_is_tested_no_threshold_is_crossed_by_chance(
    score: float, p_adjusted: float | None, severity: Severity, threshold: float
) -> None:
    assert judge(score, 1_000, TESTED, 1_000, p_adjusted) == Verdict(severity, threshold)
    assert judge(score, 999, TESTED, 1_000, p_adjusted) == Verdict("insufficient_data", 0.1)


def test_only_the_least_effect_of_a_test_is_scaled() -> None:
    assert TESTED.scaled(0.5) == Thresholds(0.05, 0.25, "above", alpha=0.01)
    assert DRIFT.scaled(0.5) == DRIFT
    assert UNJUDGED.scaled(0.5) == UNJUDGED


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, math.nan])
def test_a_level_of_a_test_is_between_0_and_1(alpha: float) -> None:
    with pytest.raises(ValueError, match=f"alpha={alpha!r}, expected over 0 and below 1"):
        Thresholds(0.1, None, "above", alpha)


def test_nan_is_never_judged_ok() -> None:
    with pytest.raises(AssertionError):
        judge(math.nan, 5_000, DRIFT, minimum_sample=1_000)


@pytest.mark.parametrize(
    ("warning", "critical", "direction", "message"),
    [
        (0.25, 0.1, "above", "warning=0.25 and critical=0.1, expected critical >= warning for direction 'above'"),
        (0.8, 0.9, "below", "warning=0.8 and critical=0.9, expected critical <= warning for direction 'below'"),
        (math.nan, None, "above", "warning=nan, expected a finite number"),
        (0.1, math.inf, "above", "critical=inf, expected a finite number"),
        (0.1, 0.2, "sideways", "direction='sideways', expected 'above' or 'below'"),
    ],
)
def test_thresholds_that_contradict_each_other_are_refused(warning: float, critical: float, direction: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"cannot set thresholds: {message}; "):
        Thresholds(warning, critical, direction)  # type: ignore[arg-type]


def life(*severities: Severity) -> list[tuple[Transition | None, Severity | None, int | None]]:
    """(announced, severity, first fired) after each verdict, one verdict a second, starting from ok."""
    state = AlertState()
    story: list[tuple[Transition | None, Severity | None, int | None]] = []
    for second, severity in enumerate(severities):
        state, announced = transition(state, Verdict(severity, None), 1_000 * second)
        story.append((announced, state.severity, state.first_fired_at_ms))
    return story


def test_alert_fires_once_and_resolves_once() -> None:
    assert life("ok", "warning", "warning", "ok", "ok") == [
        (None, None, None),
        ("firing", "warning", 1_000),
        (None, "warning", 1_000),
        ("resolved", None, None),
        (None, None, None),
    ]


def test_changed_severity_fires_again_and_keeps_the_first_firing() -> None:
    assert life("warning", "critical", "critical", "warning", "ok") == [
        ("firing", "warning", 0),
        ("firing", "critical", 0),
        (None, "critical", 0),
        ("firing", "warning", 0),
        ("resolved", None, None),
    ]


def test_insufficient_data_neither_fires_nor_resolves() -> None:
    assert life("insufficient_data", "critical", "insufficient_data", "critical", "insufficient_data", "ok") == [
        (None, None, None),
        ("firing", "critical", 1_000),
        (None, "critical", 1_000),
        (None, "critical", 1_000),
        (None, "critical", 1_000),
        ("resolved", None, None),
    ]


def test_alert_that_returns_after_resolving_is_a_new_one() -> None:
    assert life("critical", "ok", "critical")[-1] == ("firing", "critical", 2_000)


@given(st.lists(st.sampled_from(["ok", "warning", "critical", "insufficient_data"])))
def test_what_is_announced_alone_tells_the_state(severities: list[Severity]) -> None:
    shown: Severity | None = None  # what a reader of the alerts believes
    for announced, severity, _ in life(*severities):
        shown = {"firing": severity, "resolved": None, None: shown}[announced]
        assert shown == severity


def test_state_that_contradicts_itself_cannot_exist() -> None:
    with pytest.raises(AssertionError):
        AlertState("firing")
    with pytest.raises(AssertionError):
        AlertState("ok", "warning", 0)
