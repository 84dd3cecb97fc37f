"""Windows that are compared with the model's own traffic before them: every score is that of the raw rows of the two periods."""

import math
from collections.abc import Callable, Iterable
from typing import Any, cast

import numpy as np
import pytest
from scipy.stats import chi2_contingency, ks_2samp, wasserstein_distance

from stream.results import timestamp
from stream.store import UnitId
from stream.store_memory import MemoryStore
from tests.builders import BASE_MS, MODEL, Monitor, at, prediction, seconds_of, settings, small_reference
from tests.oracle import scores
from tests.stream.stores import Backend

Watch = Callable[..., Monitor]
Rows = list[dict[str, Any]]
P0 = UnitId("predictions", 0)
AMOUNTS = (-5.0, 5.0, 15.0, 30.0, 75.0, 150.0)  # one in each fine bin of `small_reference`, so that its bins hide nothing from ks
COARSE = (0, 0, 1, 1, 2, 2)
EVERYTHING = {name: {"warning": "off"} for name in ("ks", "wasserstein", "mean_std_drift", "chi2", "psi", "js_distance", "js_divergence")}


def rows(rng: np.random.Generator, start: float, n: int, skew: float, *, length: float = 59, **more: Any) -> Rows:
    """Predictions from `start` on; the greater the skew, the larger are amounts, and the more come from France."""
    weights = np.exp(skew * np.arange(len(AMOUNTS)))
    amounts = rng.choice(AMOUNTS, n, p=weights / weights.sum()).tolist()
    countries = rng.choice(["DE", "FR", "BR"], n, p=np.array([0.6 - skew / 3, 0.2 + skew / 3, 0.2])).tolist()
    return [
        prediction(f"{start}-{i}", start + length * i / n, str(i % 2), features={"amount": amount, "country": country}, **more)
        for i, (amount, country) in enumerate(zip(amounts, countries, strict=True))
    ]


def monitored(
    watch: Watch, against: str, store: Any = None, *, windows: Any = ({"size": "1m"},), drift: Any = EVERYTHING, **more: Any
) -> Monitor:
    """A monitor of a model without labels that is compared with this."""
    time = more.pop("time", {})
    model = {"classes": ["0", "1"], "labels": False, "drift": {"minimum_sample": 50, **drift, "against": against}, **more}
    configured = settings({MODEL: model}, windows=list(windows), time=time)
    return watch(configured, {MODEL: small_reference()}, partitions=(1, 0), store=cast(MemoryStore | None, store))


def said(monitor: Monitor, start: float, *, name: str | None = None, segment: str | None = None, revision: int = 0) -> dict[str, Any]:
    """What was said of the window that begins there."""
    (found,) = [
        result
        for result in monitor.said("results")
        if seconds_of(result["window"]["start"]) == start
        and name in (None, result["window"]["name"])
        and (result["segment"], result["revision"]) == (segment, revision)
    ]
    return cast(dict[str, Any], found)


def between(events: Iterable[dict[str, Any]], start: float, end: float) -> Rows:
    return [event for event in events if at(start) <= event["timestamp"] < at(end)]


def values(events: Rows, feature: str) -> list[Any]:
    return [event["features"][feature] for event in events]


def check_scores(result: dict[str, Any], before: Rows, now: Rows) -> None:
    """The scores are those of these rows, by scipy, by numpy, and by hand."""
    amount, country = result["drift"]["amount"], result["drift"]["country"]
    assert (amount["n"], amount["reference_n"], country["n"], country["reference_n"]) == (len(now), len(before), len(now), len(before))

    old, new = np.array(values(before, "amount")), np.array(values(now, "amount"))
    bins = [[COARSE[AMOUNTS.index(x)] for x in side.tolist()] for side in (old, new)]
    for name, score in scores(*([side.count(i) for i in range(4)] for side in bins)).items():
        assert amount[name]["score"] == pytest.approx(score)
    ks = ks_2samp([AMOUNTS.index(x) for x in old.tolist()], [AMOUNTS.index(x) for x in new.tolist()])
    assert amount["ks"]["score"] == pytest.approx(ks.statistic)
    floor = 1e-6 * abs(old).max()
    relative = [abs(f(new) - f(old)) / (abs(f(old)) + floor) for f in (np.mean, np.std)]
    assert amount["mean_std_drift"]["score"] == pytest.approx(sum(relative) / 2)
    distance = wasserstein_distance(old, new) / old.std()
    low, high = amount["wasserstein"]["bounds"]
    assert low <= distance * (1 + 1e-9)
    assert distance <= high * (1 + 1e-9)

    table = [[values(side, "country").count(name) for name in ("DE", "FR", "BR")] for side in (before, now)]
    for name, score in scores(*table).items():
        assert country[name]["score"] == pytest.approx(score)
    chi2 = chi2_contingency(table, correction=False)
    assert country["chi2"]["statistic"] == pytest.approx(chi2.statistic)
    assert country["chi2"]["p_value"] == pytest.approx(chi2.pvalue)
    assert country["chi2"]["score"] == pytest.approx(math.sqrt(chi2.statistic / (len(before) + len(now))))


def name_of(kind: str, start: float, end: float) -> str:
    return f"{kind}:{timestamp(at(start))}..{timestamp(at(end))}"


# previous_window


@pytest.mark.parametrize("restart", [False, True])
def test_scores_are_those_of_the_rows_of_the_window_before(watch: Watch, backend: Backend, restart: bool) -> None:
    """
    0 ----- 60 | ----- 120 | ----- 180 |
      400         300          500        each against the one to its left
    """
    rng = np.random.default_rng(1)
    minutes = [rows(rng, 60 * i, n, skew) for i, (n, skew) in enumerate([(400, 0.0), (300, 0.4), (500, 0.1)])]
    monitor = monitored(watch, "previous_window", backend.store)
    for events in (*minutes, [prediction("end", 200)]):
        monitor.run(*events)
        if restart:
            monitor.start()
    for i in (1, 2):
        result = said(monitor, 60 * i)
        assert result["reference_id"] == name_of("previous", 60 * (i - 1), 60 * i)
        check_scores(result, minutes[i - 1], minutes[i])


def test_the_prediction_is_compared_with_the_window_before_too(watch: Watch) -> None:
    monitor = monitored(watch, "previous_window")
    shares = ["0"] * 70 + ["1"] * 30, ["0"] * 20 + ["1"] * 80
    monitor.run(*(prediction(f"{m}-{i}", 60 * m + 0.5 * i, said_) for m, minute in enumerate(shares) for i, said_ in enumerate(minute)))
    monitor.run(prediction("end", 200))
    found = said(monitor, 60)["outputs"]["prediction"]
    assert found["psi"]["score"] == pytest.approx(scores([70, 30], [20, 80])["psi"])
    assert found["reference_n"] == 100


def test_words_are_about_the_window_before(watch: Watch) -> None:
    """The reference has both countries; Germany alone was there in the minute before."""
    monitor = monitored(watch, "previous_window", drift={"psi": {"warning": 0.1, "critical": 0.2}})
    shares = ["DE"] * 100, ["DE"] * 50 + ["FR"] * 40 + ["BR"] * 10
    monitor.run(
        *(prediction(f"{m}-{i}", 60 * m + 0.5 * i, features={"country": c}) for m, all_ in enumerate(shares) for i, c in enumerate(all_))
    )
    monitor.run(prediction("end", 200))
    assert said(monitor, 60)["drift"]["country"]["direction"] == (
        "less 'DE' (100.0% -> 50.0%); category 'FR' unseen in the period before 0.0% -> 40.0%"
    )


def test_quality_stays_that_against_the_reference(watch: Watch) -> None:
    """All amounts are missing in both minutes: no drift from the minute before, but a defect all the same."""
    monitor = monitored(watch, "previous_window", drift={"psi": {"warning": 0.1, "critical": 0.2}})
    monitor.run(*(prediction(str(i), i / 4, features={"country": "DE"}) for i in range(480)), prediction("end", 200))
    result = said(monitor, 60)
    assert result["drift"]["amount"]["psi"]["score"] == 0
    assert {alert["kind"] for alert in monitor.said("alerts") if alert["feature"] == "amount"} == {"data_quality"}


def test_without_rows_before_it_a_window_is_not_judged(watch: Watch, backend: Backend) -> None:
    """
    0 ----- 60 | ----- 120 | ----- 180 | ----- 240 |
      300                     300          300        nothing before the first, nor right before the second
    """
    rng = np.random.default_rng(2)
    monitor = monitored(watch, "previous_window", backend.store, drift=EVERYTHING | {"psi": {"warning": 1e-6, "critical": "off"}})
    monitor.run(*rows(rng, 0, 300, 0.0), *rows(rng, 120, 300, 0.5), *rows(rng, 180, 300, 0.0), prediction("end", 300))
    for start in (0, 120):
        for found in (*said(monitor, start)["drift"].values(), *said(monitor, start)["outputs"].values()):
            assert (found["n"], found["reference_n"], "top_bins" in found) == (300, 0, False)
            assert {found[name]["severity"] for name in EVERYTHING if name in found} == {"insufficient_data"}
            assert {found[name]["score"] for name in EVERYTHING if name in found} == {None}
    assert said(monitor, 180)["drift"]["amount"]["psi"]["severity"] == "warning"
    drifts = {alert["window"]["start"] for alert in monitor.said("alerts") if alert["kind"] != "data_quality"}
    assert drifts == {timestamp(at(180))}


@pytest.mark.parametrize(("n", "severity"), [(49, "insufficient_data"), (50, "ok")])
def test_the_minimum_sample_holds_for_the_window_before_too(watch: Watch, n: int, severity: str) -> None:
    rng = np.random.default_rng(3)
    monitor = monitored(watch, "previous_window")
    monitor.run(*rows(rng, 0, n, 0.0), *rows(rng, 60, 300, 0.0), prediction("end", 200))
    found = said(monitor, 60)["drift"]
    assert found["amount"]["reference_n"] == n
    judged = {found[feature][name]["severity"] for feature in ("amount", "country") for name in EVERYTHING if name in found[feature]}
    assert judged == {severity}


def test_of_numbers_only_values_count_as_a_sample(watch: Watch) -> None:
    """Of 100 rows before, 40 have an amount: enough for the methods that count missing values as a bin, not for the others."""
    before = [prediction(f"a{i}", i / 2, features={"amount": 5.0 if i < 40 else None, "country": "DE"}) for i in range(100)]
    monitor = monitored(watch, "previous_window")
    monitor.run(*before, *rows(np.random.default_rng(4), 60, 300, 0.0), prediction("end", 200))
    found = said(monitor, 60)["drift"]["amount"]
    judged = {name: found[name]["severity"] for name in EVERYTHING if name in found}
    assert {name for name, severity in judged.items() if severity == "insufficient_data"} == {"ks", "wasserstein", "mean_std_drift"}


def test_a_window_that_slides_is_compared_with_rows_that_it_does_not_have(watch: Watch, backend: Backend) -> None:
    """
    windows of 2m every minute    [120, 240)   against   [0, 120)
                                  [180, 300)   against   [60, 180)
    """
    rng = np.random.default_rng(5)
    events = [event for i in range(5) for event in rows(rng, 60 * i, 150 + 20 * i, 0.1 * i)]
    monitor = monitored(watch, "previous_window", backend.store, windows=[{"size": "2m", "slide": "1m"}, {"size": "1m"}])
    for event_batch in np.array_split(np.arange(len(events)), 9):
        monitor.run(*(events[i] for i in event_batch))
        monitor.start()
    monitor.run(prediction("end", 400))
    for start, size, name in ((120, 120, "2m/1m"), (180, 120, "2m/1m"), (180, 60, "1m"), (240, 60, "1m")):
        result = said(monitor, start, name=name)
        assert result["reference_id"] == name_of("previous", start - size, start)
        check_scores(result, between(events, start - size, start), between(events, start, start + size))


def test_each_version_and_segment_is_compared_with_its_own(watch: Watch) -> None:
    rng = np.random.default_rng(6)
    events = [
        event
        for minute in range(2)
        for version in ("1", "2")
        for plan in ("a", "b")
        for event in rows(rng, 60 * minute, 100 + 20 * minute, rng.uniform(0, 0.5), version=version, segments={"plan": plan})
    ]
    monitor = monitored(watch, "previous_window", segments=["plan"])
    monitor.run(*sorted(events, key=lambda event: event["timestamp"]), prediction("end", 200))
    results = [result for result in monitor.said("results") if seconds_of(result["window"]["start"]) == 60]
    assert len(results) == 6
    for result in results:
        mine = [
            event
            for event in events
            if event["version"] == result["version"] and result["segment"] in (None, f"plan={event['segments']['plan']}")
        ]
        check_scores(result, between(mine, 0, 60), between(mine, 60, 120))


def test_a_version_that_is_new_is_not_judged_by_others(watch: Watch) -> None:
    rng = np.random.default_rng(7)
    monitor = monitored(watch, "previous_window")
    monitor.run(*rows(rng, 0, 300, 0.0, version="1"), *rows(rng, 60, 300, 0.5, version="2"), prediction("end", 200, version="2"))
    found = said(monitor, 60)
    assert (found["version"], found["drift"]["amount"]["reference_n"]) == ("2", 0)
    assert found["drift"]["amount"]["psi"]["severity"] == "insufficient_data"


@pytest.mark.parametrize("restart", [False, True])
def test_late_rows_of_the_window_before_count_once_both_are_final(watch: Watch, backend: Backend, restart: bool) -> None:
    """
    0 ----- 60 | ----- 120 | ----- 180      lateness 2m, watermark 5s behind
      a a        b b          end(130)       [60, 120) against what is known of [0, 60) by then
      late late                              50 more of [0, 60), in time
                               end(400)      both are final: [60, 120) against all of [0, 60)
    """
    rng = np.random.default_rng(8)
    first, second, late = rows(rng, 0, 200, 0.0), rows(rng, 60, 200, 0.2), rows(rng, 0.25, 50, 0.6)
    monitor = monitored(watch, "previous_window", backend.store, time={"allowed_lateness": "2m"})
    for events in ([*first, *second], [prediction("next", 130)], late, [prediction("end", 400)]):
        monitor.run(*events)
        if restart:
            monitor.start()
    early, final = said(monitor, 60), said(monitor, 60, revision=1)
    assert early["reference_id"] == final["reference_id"] == name_of("previous", 0, 60)
    assert (early["final"], final["final"]) == (False, True)
    check_scores(early, first, second)
    check_scores(final, [*first, *late], second)


def test_a_change_is_an_alert_once_and_over_when_it_lasts(watch: Watch) -> None:
    """The reference was left for good in the third minute: against the minute before, only that one differs."""
    rng = np.random.default_rng(9)
    events = [event for i in range(6) for event in rows(rng, 60 * i, 400, 0.0 if i < 2 else 0.8)]
    monitor = monitored(watch, "previous_window", drift={"psi": {"warning": 0.1, "critical": 0.2}})
    monitor.run(*events, prediction("end", 400))
    told = [(alert["status"], seconds_of(alert["window"]["start"])) for alert in monitor.said("alerts") if alert["feature"] == "amount"]
    assert told == [("firing", 120), ("resolved", 180)]


def test_p_values_know_that_both_sides_are_chance(watch: Watch) -> None:
    """Of 400 windows like the one before, about a twentieth has a p-value of at most a twentieth: 20, and rarely under 9 or over 33."""
    rng = np.random.default_rng(10)
    events = [event for i in range(401) for event in rows(rng, 60 * i, 150, 0.0)]
    monitor = monitored(watch, "previous_window", drift={"psi": {"warning": "auto", "critical": "off"}, "chi2": {"warning": "off"}})
    monitor.run(*events, prediction("end", 30_000))
    p_values = [result["drift"]["amount"]["psi"].get("p_value") for result in monitor.said("results")]
    tested = [p for p in p_values if p is not None]
    assert len(tested) == 400
    assert 9 <= sum(p <= 0.05 for p in tested) <= 33  # binomial: the central 99.5 %


def test_p_values_do_not_say_which_side_was_first(watch: Watch) -> None:
    """A bin with 4 rows on one side and 12 on the other expects 8 on each: rare bins are judged by both, as both are chance."""
    few, more = ([5.0] * n + [15.0] * (72 - n) + [75.0] * 50 for n in (4, 12))
    events = [
        prediction(f"{m}-{i}", 60 * m + i / 3, features={"amount": amount})
        for m, minute in enumerate((few, more, few))
        for i, amount in enumerate(minute)
    ]
    monitor = monitored(watch, "previous_window")
    monitor.run(*events, prediction("end", 200))
    there, back = (said(monitor, start)["drift"]["amount"]["psi"] for start in (60, 120))
    assert there["p_value"] == pytest.approx(back["p_value"])
    assert 0.01 < there["p_value"] < 0.2


def test_panes_are_kept_for_one_more_window_and_no_longer(watch: Watch, backend: Backend) -> None:
    """Windows of 3m every minute: those that end later than 600 s begin at 480 or later, and look back to 300."""
    monitor = monitored(watch, "previous_window", backend.store, windows=[{"size": "3m", "slide": "1m"}])
    for minute in range(11):
        monitor.run(*(prediction(f"{minute}-{i}", 60 * minute + 10 * i) for i in range(6)))
    monitor.run(prediction("end", 665))
    held = backend.client().home(P0, MODEL)
    assert held.closed_ms["traffic"] == at(660)
    assert sorted({group.start_ms for group in held.merged}) == [at(60 * minute) for minute in range(6, 11)]


def test_a_model_that_is_compared_with_its_reference_keeps_no_more_than_before(watch: Watch) -> None:
    monitor = monitored(watch, "reference", windows=[{"size": "3m", "slide": "1m"}])
    for minute in range(11):
        monitor.run(*(prediction(f"{minute}-{i}", 60 * minute + 10 * i) for i in range(6)))
    monitor.run(prediction("end", 665))
    held = monitor.store.home(P0, MODEL)
    assert sorted({group.start_ms for group in held.merged}) == [at(540), at(600)]


def test_a_model_without_a_reference_has_nothing_to_compare_by(watch: Watch) -> None:
    configured = settings({MODEL: {"classes": ["0", "1"], "labels": False, "drift": {"against": "previous_window"}}})
    monitor = watch(configured, partitions=(1, 0))
    monitor.run(prediction("a", 10), prediction("b", 70), prediction("end", 200))
    assert {(result["reference_id"], str(result["drift"])) for result in monitor.said("results")} == {(None, "{}")}


@pytest.mark.parametrize("when", [30, 31, 32, 33])
def test_a_store_that_comes_back_empty_finds_the_rows_before_again(watch: Watch, when: int) -> None:
    """The state is lost after that many pieces of 20 s. What is read again begins with what the next window, of 3m, is compared with."""
    rng = np.random.default_rng(11)
    pieces = [rows(rng, 20 * i, 80, 0.02 * i, length=19) for i in range(42)]
    events = [event for piece in pieces for event in piece]
    monitor = monitored(watch, "previous_window", windows=[{"size": "3m", "slide": "1m"}])
    for piece in pieces[:when]:
        monitor.run(*piece)
    bookmark = monitor.pipeline.bookmark(monitor.pipeline.units[P0])
    assert bookmark is not None
    assert bookmark.mark.offset > 0  # not everything is read again
    monitor.empty({P0: bookmark})
    monitor.read()
    for piece in (*pieces[when:], [prediction("end", 900)]):
        monitor.run(*piece)
    starts = {start for _, start, *_ in monitor.windows()}
    assert starts >= {60 * i for i in range(12)}
    for result in monitor.said("results"):  # one that had just been said may be said again, and then says the same
        start = seconds_of(result["window"]["start"])
        if 60 <= start <= 660:
            check_scores(result, between(events, start - 180, start), between(events, start, start + 180))


# a period that rolls along


def rolling(start: float, length: float, slices: int) -> tuple[float, float]:
    """The period before a window, of so many slices of this length, from whole multiples of it since the epoch."""
    end = at(start) // round(length * 1000) * length - BASE_MS / 1000
    return end - slices * length, end


@pytest.mark.parametrize(
    ("against", "length", "slices"),
    [
        ("5m", 60, 5),  # a pane is a minute
        ("16m", 60, 16),
        ("17m", 120, 8),  # seventeen slices would be too many: eight of two minutes
        ("40m", 180, 13),
    ],
)
@pytest.mark.parametrize("pieces", [1, 30])
def test_scores_are_those_of_the_rows_of_the_slices_before(
    watch: Watch, backend: Backend, against: str, length: float, slices: int, pieces: int
) -> None:
    """Fifty minutes, read at once, or in thirty pieces by as many workers one after the other."""
    rng = np.random.default_rng(12)
    events = [event for i in range(50) for event in rows(rng, 60 * i, 100, 0.01 * i)]
    monitor = monitored(watch, against, backend.store, windows=[{"size": "1m"}, {"size": "3m", "slide": "1m"}])
    for piece in np.array_split(np.arange(len(events)), pieces):
        monitor.run(*(events[i] for i in piece))
        if pieces > 1:
            monitor.start()
    monitor.run(prediction("end", 4000))
    for start, size, name in [(60 * i, size, name) for i in (8, 21, 30, 46, 47) for size, name in ((60, "1m"), (180, "3m/1m"))]:
        result, period = said(monitor, start, name=name), rolling(start, length, slices)
        assert period[1] <= start
        assert result["reference_id"] == name_of("rolling", *period)
        check_scores(result, between(events, *period), between(events, start, start + size))


@pytest.mark.parametrize("restart", [False, True])
def test_late_rows_of_the_slices_before_count_once_all_is_final(watch: Watch, backend: Backend, restart: bool) -> None:
    """As of the window before: the first firing has what was known by then, the final one all that came in time."""
    rng = np.random.default_rng(13)
    minutes = [rows(rng, 60 * i, 150, 0.1 * i) for i in range(4)]
    late = rows(rng, 120.25, 50, 0.6)
    monitor = monitored(watch, "3m", backend.store, time={"allowed_lateness": "2m"})
    for events in (*minutes, [prediction("next", 250)], late, [prediction("end", 500)]):
        monitor.run(*events)
        if restart:
            monitor.start()
    before = [event for minute in minutes[:3] for event in minute]
    check_scores(said(monitor, 180), before, minutes[3])
    check_scores(said(monitor, 180, revision=1), [*before, *late], minutes[3])


def test_each_version_and_segment_rolls_by_itself(watch: Watch, backend: Backend) -> None:
    rng = np.random.default_rng(14)
    events = [
        event
        for minute in range(5)
        for version in ("1", "2")
        for plan in ("a", "b")
        for event in rows(rng, 60 * minute, 60, rng.uniform(0, 0.5), version=version, segments={"plan": plan})
    ]
    monitor = monitored(watch, "4m", backend.store, segments=["plan"])
    monitor.run(*sorted(events, key=lambda event: event["timestamp"]), prediction("end", 400))
    results = [result for result in monitor.said("results") if seconds_of(result["window"]["start"]) == 240]
    assert len(results) == 6
    for result in results:
        mine = [
            event
            for event in events
            if event["version"] == result["version"] and result["segment"] in (None, f"plan={event['segments']['plan']}")
        ]
        check_scores(result, between(mine, 0, 240), between(mine, 240, 300))


def test_slices_are_few_and_leave_with_time(watch: Watch, backend: Backend) -> None:
    """A period of 32m in slices of 2m, after 99 minutes: of the windows to come the first, of 10m, begins at 90 and looks back to 58."""
    monitor = monitored(watch, "32m", backend.store, windows=[{"size": "10m", "slide": "1m"}])
    for minute in range(100):
        monitor.run(prediction(f"{minute}", 60 * minute))
    monitor.run(prediction("end", 100 * 60 + 5))
    held = backend.client().home(P0, MODEL)
    assert held.closed_ms["traffic"] == at(100 * 60)
    starts = sorted(group.start_ms for group in held.slices)
    first = (at(90 * 60) // 120_000 - 16) * 120_000
    assert starts == list(range(first, at(100 * 60), 120_000))
    assert len(starts) <= 16 + 5 + 1


def test_slices_of_a_model_that_fell_silent_leave_too(watch: Watch, backend: Backend) -> None:
    """Time goes on by what another model predicts."""
    rolls = {"classes": ["0", "1"], "labels": False, "drift": {"against": "16m"}}
    configured = settings({MODEL: rolls, "other": {"classes": ["0", "1"], "labels": False}})
    monitor = watch(configured, {MODEL: small_reference()}, partitions=(1, 0), store=cast(MemoryStore, backend.store))
    monitor.run(*rows(np.random.default_rng(15), 0, 100, 0.0))
    for seconds, starts in ((70, {0}), (60 * 18 + 4, {0}), (60 * 18 + 5, set())):
        monitor.run(prediction(seconds, seconds, model="other"))
        assert {group.start_ms for group in backend.client().home(P0, MODEL).slices} == {at(start) for start in starts}


@pytest.mark.parametrize("now", ["32m", "reference", "previous_window"])
def test_slices_of_another_period_are_no_use(watch: Watch, backend: Backend, caplog: pytest.LogCaptureFixture, now: str) -> None:
    """What was summed in slices of one minute is not taken for slices of two, and goes."""
    rng = np.random.default_rng(16)
    minutes = [rows(rng, 60 * i, 100, 0.0) for i in range(12)]
    before = monitored(watch, "16m", backend.store)
    before.run(*(event for minute in minutes[:6] for event in minute))
    old = set(backend.client().home(P0, MODEL).slices)
    assert len(old) == 5
    after = monitored(watch, now, backend.store)
    assert "left out 5 slices" in caplog.text
    after.logs = before.logs
    after.run(*(event for minute in minutes[6:] for event in minute), prediction("end", 900))
    held = backend.client().home(P0, MODEL).slices
    if now == "32m":
        assert said(after, 660)["drift"]["amount"]["reference_n"] == len(between([e for m in minutes for e in m], 300, 600))
        assert all(group.start_ms % 120_000 == 0 for group in held)
    else:
        assert held == {}


def test_a_period_fills_from_nothing(watch: Watch) -> None:
    """Minute by minute there is more to compare with; until there is the minimum sample, nothing is judged."""
    rng = np.random.default_rng(17)
    monitor = monitored(watch, "3m", drift=EVERYTHING | {"minimum_sample": 150})
    monitor.run(*(event for i in range(6) for event in rows(rng, 60 * i, 150 if i > 3 else 100, 0.0)), prediction("end", 500))
    found = [said(monitor, 60 * i)["drift"]["amount"] for i in range(6)]
    assert [feature["reference_n"] for feature in found] == [0, 100, 200, 300, 300, 350]
    assert [feature["psi"]["severity"] for feature in found] == ["insufficient_data"] * 4 + ["ok"] * 2
