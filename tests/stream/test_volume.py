"""How the number of predictions compares with that of the period before: the share, the chance in it, and the alerts."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from detectors.judge import Thresholds
from stream.aggregates import Aggregate
from stream.baselines import Panes, Period
from stream.model import PREDICTIONS, Model
from stream.settings_thresholds import Rules
from stream.store import PaneGroup
from stream.verdicts import Judged
from stream.volume import volume_change
from tests.builders import MODEL, Monitor, prediction, seconds_of, settings, small_reference

Watch = Callable[..., Monitor]
MINUTE_MS = 60_000
FOUR = Period("rolling", 0, 4 * MINUTE_MS)


def counted(*rows: tuple[int, str, str, int]) -> Panes:
    """Panes of (minute, version, segment, predictions)."""
    layout = Model.build(settings().model(MODEL), None).traffic
    panes = {}
    for minute, version, segment, n in rows:
        pane = panes[PaneGroup("traffic", minute * MINUTE_MS, version, segment)] = Aggregate.zero(layout)
        pane.counts[PREDICTIONS] = n
    return panes


def judged(now: int, panes: Panes, *, warning: float | None = 0.5, critical: float | None = None, minimum_sample: int = 1) -> list[Judged]:
    rules = Rules(minimum_sample, {"volume_change": Thresholds(warning, critical, "above")})
    return volume_change(rules, now, MINUTE_MS, panes, FOUR)


@pytest.mark.parametrize(("now", "change"), [(25_000, 0.0), (10_000, 0.6), (40_000, 0.6), (0, 1.0), (100_000, 3.0)])
def test_the_value_is_the_share_by_which_the_rate_differs(now: int, change: float) -> None:
    """100,000 predictions in four minutes, of two versions; those of segments and of other times count for nothing."""
    panes = counted((0, "1", "", 60_000), (0, "1", "plan=p", 60_000), (2, "2", "", 40_000), (4, "1", "", 9), (-1, "1", "", 9))
    [one] = judged(now, panes)
    assert one.value == pytest.approx(change)
    assert one.verdict.severity == ("warning" if change else "ok")
    assert (one.evidence.n, one.evidence.reference_n) == (now, 100_000)
    assert one.evidence.direction == f"2.5e+04 -> {now:.3g} predictions a minute"


def test_the_threshold_leaves_three_standard_errors_to_chance() -> None:
    """400 in four minutes, 100 expected. Half of these is 50 +- 7.1, and 100 are known to 5 %: half of it is 2.5."""
    panes = counted((0, "1", "", 400))
    low = 3 * math.sqrt(50 + 2.5**2)
    assert [judged(now, panes)[0].verdict.severity for now in (math.floor(50 - low), math.ceil(50 - low))] == ["warning", "ok"]
    high = 3 * math.sqrt(150 + 7.5**2)
    assert [judged(now, panes)[0].verdict.severity for now in (math.ceil(150 + high), math.floor(150 + high))] == ["warning", "ok"]


@pytest.mark.parametrize("rate", [3, 50, 1_000])
def test_counts_at_the_threshold_alarm_by_chance_about_once_in_seven_hundred(rate: int) -> None:
    """A rate that fell by exactly the threshold: 0.135 % lie three standard errors below, of counts a few more or less."""
    rng = np.random.default_rng(1)
    before, now = rng.poisson(4 * rate, 4_000).tolist(), rng.poisson(0.5 * rate, 4_000).tolist()
    alarms = sum(judged(b, counted((0, "1", "", a)))[0].verdict.severity == "warning" for a, b in zip(before, now, strict=True) if a)
    assert alarms <= 16  # binomial: 5.4 are expected, more than 16 come once in 20 000 times


@pytest.mark.parametrize(
    ("panes", "sample"),
    [
        (counted(), 1),
        (counted((1, "1", "", 1_000)), 1),  # the model began later than the period
        (counted((0, "1", "", 0), (1, "1", "", 1_000)), 1),  # late ones only in its first minute
        (counted((0, "1", "", 199)), 200),
    ],
)
def test_a_period_that_is_short_or_not_whole_judges_nothing(panes: Panes, sample: int) -> None:
    [one] = judged(10_000, panes, minimum_sample=sample)
    assert one.verdict.severity == "insufficient_data"


def test_without_thresholds_nothing_is_judged() -> None:
    assert judged(10, counted((0, "1", "", 400)), warning=None) == []


def test_a_critical_threshold_is_never_easier_to_cross_than_the_warning() -> None:
    for n in (4, 40, 400):
        [one] = judged(0, counted((0, "1", "", n)), warning=0.5, critical=0.9)
        assert one.verdict.severity in ("ok", "critical")


@pytest.mark.parametrize("against", ["previous_window", "3m"])
def test_a_change_of_volume_alerts_for_all_versions_once(watch: Watch, against: str) -> None:
    """
    a minute    300 300 300 300 90      120 of each of two versions are told by the minute before, 240 of 900 by three
    alert                       firing
    """
    quality = {"minimum_sample": 200, "volume_change": {"warning": 0.4, "critical": 0.9}}
    model: Any = {"classes": ["0", "1"], "labels": False, "segments": ["plan"], "quality": quality, "drift": {"against": against}}
    monitor = watch(settings({MODEL: model}), {MODEL: small_reference()}, partitions=(1, 0))
    for minute, n in enumerate((300, 300, 300, 300, 90, 90, 90, 90)):
        monitor.run(
            *(prediction(f"{minute}-{i}", 60 * minute + 59 * i / n, version=f"v{i % 2}", segments={"plan": i % 3}) for i in range(n))
        )
        monitor.start()
    monitor.run(prediction("end", 600))
    said = [alert for alert in monitor.said("alerts") if alert["metric"] == "volume_change"]
    first = said[0]
    assert (first["status"], first["severity"], first["version"], first["segment"]) == ("firing", "warning", "(all)", None)
    assert (first["value"], seconds_of(first["window"]["start"])) == (pytest.approx(0.7), 240)
    assert first["evidence"] == {
        "n": 90,
        "reference_n": 300 if against == "previous_window" else 900,
        "direction": first["evidence"]["direction"],
    }
    assert first["summary"].endswith("; 300 -> 90 predictions a minute")
    assert all(alert["status"] == "resolved" for alert in said[1:])
    monitor.validate()


def test_against_the_reference_there_is_no_rate_to_compare_with(watch: Watch) -> None:
    quality = {"minimum_sample": 10, "volume_change": {"warning": 0.1}}
    monitor = watch(
        settings({MODEL: {"classes": ["0", "1"], "labels": False, "quality": quality}}), {MODEL: small_reference()}, partitions=(1, 0)
    )
    for minute, n in enumerate((300, 20, 300)):
        monitor.run(*(prediction(f"{minute}-{i}", 60 * minute + 59 * i / n) for i in range(n)))
    assert [alert for alert in monitor.said("alerts") if alert["metric"] == "volume_change"] == []
