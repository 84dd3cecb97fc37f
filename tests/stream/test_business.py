"""Business figures of windows and days through the pipeline, against sums over the raw rows in decimals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from sinks.gauges import Gauges
from stream.model import Model
from stream.settings import Settings
from stream.store_memory import MemoryStore
from tests.builders import BASE_MS, MODEL, Monitor, at, label, prediction, settings
from tests.oracle import milliseconds
from tests.stream.stores import Backend

Watch = Callable[..., Monitor]
DAY_MS = 86_400_000
MIDNIGHT = (BASE_MS // DAY_MS + 1) * DAY_MS  # an hour and 46 minutes after the start of the tests' time
CLASSES = ("0", "1", "(other)")
BENEFIT = {("0", "1"): Decimal(-5), ("1", "0"): Decimal(-20), ("1", "1"): Decimal("7.5")}  # label, prediction
SHARE = {("1", "1"): Decimal("0.9"), ("1", "0"): Decimal(-1), ("0", "1"): Decimal("-0.02")}
INVESTIGATION, OPERATING = Decimal(3), Decimal("36.5")
PRICES: dict[str, Any] = {
    "benefit": {"true_positive": 7.5, "false_positive": -5.0, "false_negative": -20.0},
    "value_share": {"true_positive": 0.9, "false_negative": -1.0, "false_positive": -0.02},
    "investigation": 3.0,
    "operating_per_day": 36.5,
}
WINDOWS = [{"size": "10m"}, {"size": "40m", "slide": "20m"}]


@dataclass(frozen=True)
class Row:
    """A prediction and its label, which comes right after it; `value` is in cents below 1,000, so that a float32 holds it."""

    second: float
    truth: str
    said: str
    value: Decimal | None
    country: str = "DE"
    version: str = "7"


def priced(business: dict[str, Any] | None = None, *, mapped: bool = True, windows: Any = WINDOWS, **more: Any) -> Settings:
    events = {"predictions": {"value": "amount"}} if mapped else {}
    model = {"classes": ["0", "1"], "positive": "1", "segments": ["country"], "business": PRICES if business is None else business}
    sections = {name: more.pop(name) for name in ("labels", "time", "by_prediction_time") if name in more}
    return settings({MODEL: model | more}, windows=windows, events=events, **sections)


def events_of(rows: Sequence[Row]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Predictions and labels of the rows, in their order."""
    predictions = [
        prediction(
            f"{row.second}-{i}",
            row.second,
            row.said,
            version=row.version,
            segments={"country": row.country},
            **({} if row.value is None else {"amount": float(row.value)}),
        )
        for i, row in enumerate(rows)
    ]
    return predictions, [label(f"{row.second}-{i}", row.second, row.truth) for i, row in enumerate(rows)]


def money(rows: Sequence[Row], span_ms: int, *, segment: bool) -> dict[str, Any]:
    """What a result says of these rows, by the prices above, in decimals."""
    cells = {(i, j): Decimal(0) for i in CLASSES for j in CLASSES}
    values, idle = dict(cells), Decimal(0)
    for row in rows:
        cell = tuple(name if name in CLASSES else "(other)" for name in (row.truth, row.said))
        value = Decimal(0) if row.value is None else row.value
        cells[cell] += BENEFIT.get(cell, Decimal(0)) + SHARE.get(cell, Decimal(0)) * value
        values[cell] += value
        idle += BENEFIT.get((cell[0], "0"), Decimal(0)) + SHARE.get((cell[0], "0"), Decimal(0)) * value
    alerts = sum(row.said != "0" for row in rows)
    spent = INVESTIGATION * alerts + (0 if segment else OPERATING * span_ms / DAY_MS)
    benefit = sum(cells.values(), Decimal(0))
    found = {"benefit": benefit, "spent": spent, "net_benefit": benefit - spent, "savings": benefit - spent - idle}
    found |= {"roi": (benefit - spent) / spent if spent else None, "expected_value": (benefit - spent) / len(rows) if rows else None}
    counts = {"rows": len(rows), "alerts": alerts, "without_value": sum(row.value is None for row in rows)}
    if rows and counts["without_value"] == len(rows):
        found |= dict.fromkeys(("benefit", "net_benefit", "savings", "roi", "expected_value"))
    return found | counts | {"values": values, "cells": cells}


def check(found: dict[str, Any], expected: dict[str, Any]) -> None:
    for name in ("rows", "alerts", "without_value"):
        assert found[name] == expected[name], name
    for name in ("benefit", "spent", "net_benefit", "savings", "roi", "expected_value"):
        assert found[name] == (None if expected[name] is None else pytest.approx(float(expected[name]), rel=1e-9, abs=1e-9)), name


def check_result(result: dict[str, Any], rows: Sequence[Row]) -> bool:
    """The result is that of the raw rows of its window, and of those of its day; True."""
    start, end = (milliseconds(result["window"][name]) for name in ("start", "end"))
    mine = [row for row in rows if row.version == result["version"] and result["segment"] in (None, f"country={row.country}")]
    segment, midnight = result["segment"] is not None, (end - 1) // DAY_MS * DAY_MS
    found, inside = result["business"], [row for row in mine if start <= at(row.second) < end]
    expected = money(inside, end - start, segment=segment)
    check(found, expected)
    assert found["values"] == [[float(expected["values"][i, j]) for j in CLASSES] for i in CLASSES]
    if expected["benefit"] is not None:
        shown = [[float(expected["cells"][i, j]) for j in CLASSES] for i in CLASSES]
        assert np.array(found["cells"]) == pytest.approx(np.array(shown), rel=1e-9, abs=1e-9)
    check(found["day"], money([row for row in mine if midnight <= at(row.second) < end], end - midnight, segment=segment))
    assert milliseconds(found["day"]["start"]) == midnight
    return True


def check_results(monitor: Monitor, rows: Sequence[Row]) -> int:
    """Every performance result of the monitor is that of the raw rows, labels by their own time; how many there are."""
    results = [r for r in monitor.said("results") if r["subject"] == "performance" and r["final"]]
    return sum(check_result(result, rows) for result in results)


def random_rows(rng: np.random.Generator, start: float, end: float, n: int) -> list[Row]:
    def value() -> Decimal | None:
        return None if rng.random() < 0.1 else Decimal(int(rng.integers(-20_000, 99_999))) / 100

    said = ["0", "1", "never configured"]
    return [
        Row(
            second, *map(str, rng.choice(said, 2, p=[0.6, 0.35, 0.05])), value(), str(rng.choice(["DE", "FR"])), str(rng.choice(["7", "8"]))
        )
        for second in np.sort(rng.uniform(start, end, n)).round(3).tolist()
    ]


def feed(monitor: Monitor, rows: Sequence[Row], rng: np.random.Generator) -> None:
    """The events of these rows over all partitions, either side first, in batches cut anywhere."""
    sides = dict(zip(("predictions", "labels"), events_of(rows), strict=True))
    for side in rng.permutation(list(sides)).tolist():
        for partition in (0, 1) if side == "predictions" else (0,):
            monitor.log(*sides[side][partition :: 2 if side == "predictions" else 1], side=side, partition=partition)
            while monitor.read(side, partition, int(rng.integers(1, 60))):
                pass


@pytest.mark.parametrize(("seed", "lateness"), [(0, "0s"), (1, "0s"), (2, "15m"), (3, "15m")])
def test_every_window_and_its_day_is_worth_what_its_rows_are(watch: Watch, seed: int, lateness: str) -> None:
    """From 22:14 to 1:14: the days end and begin within windows; the worker begins anew, and some closes are of many windows at once.

    Where lateness is allowed, a fifth of the events come ten minutes late.
    """
    rng = np.random.default_rng(seed)
    monitor = watch(priced(time={"allowed_lateness": lateness}), partitions=(2, 1))
    rows, behind = list[Row](), list[Row]()
    for start in range(0, 10_800, 600):
        more = random_rows(rng, start, start + 600, 60) if rng.random() < 0.9 else []
        rows += more
        held = [row for row in more if lateness != "0s" and rng.random() < 0.2]
        feed(monitor, [*behind, *(row for row in more if row not in held)], rng)
        behind = held
        if rng.random() < 0.6:
            monitor.tick()
        if rng.random() < 0.3:
            monitor.tick()
            monitor.start()
    feed(monitor, behind, rng)
    monitor.quiet()
    assert check_results(monitor, rows) > 100
    assert {r["revision"] for r in monitor.said("results")} == ({0} if lateness == "0s" else {0, 1})


def test_days_survive_in_a_store_and_are_let_go_when_they_are_over(backend: Backend) -> None:
    rng = np.random.default_rng(7)
    store = cast(MemoryStore, backend.store)
    monitor, rows = Monitor(priced(), partitions=(2, 1), store=store), list[Row]()
    for start in range(0, 9_000, 900):
        more = random_rows(rng, start, start + 900, 40)
        feed(monitor, more, rng)
        rows += more
        monitor.tick()
        monitor.start()
    monitor.quiet()
    assert check_results(monitor, rows) > 60
    home = next(name for name in monitor.owned if backend.store.home(name, MODEL).sequence)
    kept = backend.store.home(home, MODEL).slices
    assert {group.start_ms for group in kept} == {MIDNIGHT}
    assert {(group.version, group.segment) for group in kept} == {(v, s) for v in "78" for s in ("", "country=DE", "country=FR")}


@effort(max_examples=30)
@given(
    st.lists(
        st.tuples(
            st.floats(0, 1_199),
            st.sampled_from(CLASSES),
            st.sampled_from(CLASSES),
            st.none() | st.integers(-99_999, 99_999).map(lambda cents: Decimal(cents) / 100),
        ),
        min_size=1,
        max_size=30,
    ),
    st.integers(0, 2**32),
)
def test_money_does_not_depend_on_how_a_stream_is_cut(drawn: list[tuple[float, str, str, Decimal | None]], seed: int) -> None:
    rows = [Row(round(second, 3), truth, said, value) for second, truth, said, value in sorted(drawn, key=lambda one: one[0])]
    said = []
    for feeding in (seed, seed + 1):
        monitor = Monitor(priced(), partitions=(2, 1))
        feed(monitor, rows, np.random.default_rng(feeding))
        monitor.quiet()
        assert check_results(monitor, rows)
        monitor.validate()
        said.append(sorted((r["result_id"], r["business"]) for r in monitor.said("results") if r["subject"] == "performance"))
    assert said[0] == said[1]


def business_of(rows: Sequence[Row], configured: Settings) -> dict[str, Any] | None:
    """Of all traffic of one version, what the window of all rows says."""
    monitor = Monitor(configured)
    predictions, labels = events_of(rows)
    monitor.run(*predictions)
    monitor.run(*labels, side="labels")
    monitor.quiet()
    monitor.validate()
    (result,) = [r for r in monitor.said("results") if r["subject"] == "performance" and r["segment"] is None]
    return cast(dict[str, Any] | None, result.get("business"))


ROWS = [Row(1, "1", "1", Decimal("100.5")), Row(2, "0", "1", Decimal(7)), Row(3, "1", "0", None), Row(4, "0", "0", Decimal(9))]
ONE = [{"size": "1m"}]


def test_what_is_not_configured_is_absent() -> None:
    assert business_of(ROWS, priced({}, windows=ONE)) is None
    assert business_of(ROWS, priced({"minimum_sample": 5, "roi": {"warning": 0.0}}, windows=ONE)) is None
    costs = business_of(ROWS, priced({"operating_per_day": 1440.0}, mapped=False, windows=ONE))
    assert costs is not None
    assert (costs["spent"], costs["rows"], costs["alerts"], costs["cells"]) == (1.0, 4, 2, None)
    assert {costs[name] for name in ("benefit", "net_benefit", "expected_value", "roi", "savings")} == {None}
    benefit = business_of(ROWS, priced({"benefit": {"true_positive": 10.0}}, mapped=False, windows=ONE))
    assert benefit is not None
    assert [benefit[name] for name in ("benefit", "net_benefit", "savings", "spent", "roi")] == [10.0, 10.0, 10.0, None, None]
    assert not {"values", "without_value", "verdicts"} & benefit.keys()


def test_a_value_that_no_event_tells_leaves_the_money_undefined() -> None:
    untold = [Row(row.second, row.truth, row.said, None) for row in ROWS]
    found = business_of(untold, priced(windows=ONE))
    assert found is not None
    assert (found["rows"], found["without_value"], found["benefit"], found["roi"], found["cells"]) == (4, 4, None, None, None)
    assert found["spent"] == pytest.approx(2 * 3.0 + 36.5 / 1440)


def with_amount(amount: Any) -> tuple[dict[str, Any], Monitor]:
    """What the window of `ROWS` says if the first event has this amount."""
    monitor = Monitor(priced(windows=ONE))
    predictions, labels = events_of(ROWS)
    predictions[0]["amount"] = amount
    monitor.run(*predictions)
    monitor.run(*labels, side="labels")
    monitor.quiet()
    (result,) = [r for r in monitor.said("results") if r["subject"] == "performance" and r["segment"] is None]
    return result["business"], monitor


@pytest.mark.parametrize("amount", [1.1e10, -1e11, 1e300, None, "no number", "12.5", True, {}])
def test_a_value_that_is_no_usable_number_counts_as_none(amount: Any) -> None:
    found, monitor = with_amount(amount)
    assert monitor.said("dead_letter") == []
    assert found["without_value"] == 2
    check(found, money([Row(1, "1", "1", None), *ROWS[1:]], 60_000, segment=False))


@pytest.mark.parametrize("amount", [1234.56, 98_765.43, 12_345_678.9, 9.9e9, 0.001])
def test_a_large_value_is_right_to_the_precision_of_a_float32_and_a_small_one_to_a_ten_thousandth(amount: float) -> None:
    found = business_of([Row(1, "1", "1", Decimal(amount)), *ROWS[1:]], priced(windows=ONE))
    assert found is not None
    assert found["values"][1][1] == pytest.approx(amount, rel=0, abs=6e-8 * amount + 5.1e-5)


def test_a_model_of_three_classes_is_priced_by_its_classes() -> None:
    cells = {"ham": {"spam": -50.0}, "spam": {"ham": -1.0, "spam": 2.0}}
    configured = settings(
        {MODEL: {"classes": ["ham", "spam", "virus"], "business": {"idle": "ham", "benefit": {"by_class": cells}, "investigation": 0.5}}}
    )
    rows = [Row(1, "ham", "spam", None), Row(2, "spam", "spam", None), Row(3, "spam", "virus", None), Row(4, "spam", "ham", None)]
    found = business_of(rows, configured)
    assert found is not None
    assert (found["benefit"], found["alerts"], found["spent"], found["net_benefit"], found["savings"]) == (-49.0, 3, 1.5, -50.5, -47.5)
    assert found["cells"][0][1] == -50.0


def test_only_models_that_price_values_have_room_for_them() -> None:
    layouts = [Model.build(priced(business).model(MODEL), None).outcomes for business in ({}, {"investigation": 3.0}, PRICES)]
    assert layouts[0] == layouts[1]
    assert (layouts[2].width, layouts[2].fingerprint != layouts[0].fingerprint) == (layouts[0].width + 3 * 3 + 1, True)


def test_panes_that_do_not_fit_into_a_day_have_no_day() -> None:
    found = business_of(ROWS, priced(windows=[{"size": "7h"}]))
    assert found is not None
    assert "day" not in found


def test_money_below_a_threshold_alarms_and_is_shown_as_gauges(watch: Watch) -> None:
    limits = {"minimum_sample": 4, "net_benefit": {"warning": 1000.0, "critical": -1000.0}, "roi": {"critical": -5.0}}
    monitor = watch(priced(PRICES | limits, windows=ONE, segments=[]))
    predictions, labels = events_of(ROWS)
    monitor.run(*predictions)
    monitor.run(*labels, side="labels")
    monitor.quiet()
    (alert,) = [one for one in monitor.said("alerts") if one["kind"] == "business"]
    expected = money(ROWS, 60_000, segment=False)
    assert (alert["metric"], alert["severity"], alert["threshold"]) == ("net_benefit", "warning", 1000.0)
    assert alert["value"] == pytest.approx(float(expected["net_benefit"]))
    assert "net_benefit dropped" in alert["summary"]
    assert alert["evidence"]["confusion"] == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]
    gauges = Gauges()
    for firing in monitor.firings:
        if firing.result is not None:
            gauges.observe_result(firing.result)
    of = {"model": MODEL, "version": "7", "segment": "", "window": "1m", "by": "label_time"}
    shown = gauges.registry.get_sample_value
    for name in ("net_benefit", "roi", "rows", "alerts", "without_value"):
        assert shown("driftstream_business", of | {"metric": name}) == pytest.approx(float(expected[name]))
    of_day = money(ROWS, at(60) - BASE_MS // DAY_MS * DAY_MS, segment=False)
    assert shown("driftstream_business_day", of | {"metric": "spent"}) == pytest.approx(float(of_day["spent"]))
    assert shown("driftstream_business_severity", of | {"metric": "net_benefit"}) == 1
    assert shown("driftstream_business_severity", of | {"metric": "roi"}) == 0


def test_after_all_state_is_lost_a_day_that_is_not_whole_is_not_said(watch: Watch) -> None:
    """
    22:14 ---- 23:34 the state is lost ---- | 0:00 ---- 0:34
    """
    rng = np.random.default_rng(3)
    monitor, rows = watch(priced(windows=[{"size": "10m"}], labels={"max_delay": "10m"}), partitions=(2, 1)), list[Row]()

    def run(start: int, end: int) -> None:
        for second in range(start, end, 300):
            rows.extend(more := random_rows(rng, second, second + 300, 30))
            feed(monitor, more, rng)
            monitor.tick()

    run(0, 4_800)
    committed = {unit: mark for unit, held in monitor.pipeline.units.items() if (mark := monitor.pipeline.bookmark(held)) is not None}
    assert committed.keys() == monitor.owned
    assert all(bookmark.mark.offset > 0 for bookmark in committed.values())  # not everything is read again
    monitor.empty(committed)
    for unit in sorted(monitor.owned):
        monitor.read(unit.side, unit.partition)
    said = len(monitor.said("results"))
    run(4_800, 8_400)
    monitor.quiet()
    after = [r for r in monitor.said("results")[said:] if r["subject"] == "performance"]
    assert {("day" in r["business"], milliseconds(r["window"]["end"]) > MIDNIGHT) for r in after} == {(False, False), (True, True)}
    for result in after:
        mine = [row for row in rows if row.version == result["version"] and result["segment"] in (None, f"country={row.country}")]
        end = milliseconds(result["window"]["end"])
        of_day = [row for row in mine if MIDNIGHT <= at(row.second) < end]
        if "day" in result["business"]:
            check(result["business"]["day"], money(of_day, end - MIDNIGHT, segment=result["segment"] is not None))


def test_by_the_time_of_predictions_windows_and_days_are_worth_what_corrected_labels_say(watch: Watch) -> None:
    """Labels come up to half an hour later, and some are corrected; each window is final 40 minutes after its end, and so is its day."""
    rng = np.random.default_rng(11)
    cohorts = {"windows": [{"size": "10m"}, {"size": "40m", "slide": "20m"}], "revise_every": "10m", "minimum_coverage": 0.1}
    monitor = watch(priced(labels={"max_delay": "40m"}, by_prediction_time=cohorts), partitions=(2, 1))
    rows = random_rows(rng, 0, 9_000, 500)
    predictions, _ = events_of(rows)
    labels: list[tuple[float, dict[str, Any]]] = []
    for i, row in enumerate(rows):
        second = round(row.second + float(rng.uniform(0, 1_200)), 3)
        wrong = {"0": "1", "1": "0"}.get(row.truth, "0")
        if corrected := rng.random() < 0.2:
            labels.append((second, label(f"{row.second}-{i}", second, wrong)))
        second = round(second + float(rng.uniform(1, 600)) * corrected, 3)
        labels.append((second, label(f"{row.second}-{i}", second, row.truth)))
    for end in range(300, 12_300, 300):
        now = [event for event in predictions if at(end - 300) <= event["timestamp"] < at(end)]
        monitor.log(*now[::2])
        monitor.log(*now[1::2], partition=1)
        monitor.log(*(event for second, event in sorted(labels, key=lambda one: one[0]) if end - 300 <= second < end), side="labels")
        for partition in (0, 1):
            monitor.read("predictions", partition)
        while monitor.read("labels", most=int(rng.integers(1, 40))):
            pass
        monitor.tick()
        if rng.random() < 0.2:
            monitor.start()
    monitor.quiet()
    said = [r for r in monitor.said("results") if r.get("performance", {}).get("by") == "prediction_time"]
    assert {r["final"] for r in said} == {True, False}
    assert all("day" in r["business"] for r in said)
    assert sum(check_result(result, rows) for result in said if result["final"]) > 60
    kept = [group for home in monitor.owned for group in monitor.store.home(home, MODEL).slices]
    assert {(group.subject, group.start_ms) for group in kept} == {("day", MIDNIGHT), ("cohort_day", MIDNIGHT)}


def test_by_the_time_of_predictions_money_is_judged_once_there_are_labels_enough(watch: Watch) -> None:
    cohorts = {"windows": [{"size": "1m"}], "revise_every": "1m", "minimum_coverage": 0.75}
    limits = {"minimum_sample": 1, "net_benefit": {"warning": 1e6}}
    monitor = watch(priced(PRICES | limits, segments=[], windows=ONE, labels={"max_delay": "5m"}, by_prediction_time=cohorts))
    predictions, labels = events_of(ROWS)
    for second, some in ((70, labels[:2]), (130, labels[2:])):
        monitor.run(*predictions)
        monitor.run(*({**one, "timestamp": at(second)} for one in some), side="labels")
        monitor.run(prediction(f"end {second}", second + 60, version="clock"))
        monitor.run(label(f"end {second}", second + 60), side="labels")
        predictions = []
    said = [r for r in monitor.said("results") if r["version"] == "7" and r.get("performance", {}).get("by") == "prediction_time"]
    verdicts = [(r["counts"]["labels"], r["business"]["verdicts"]["net_benefit"]["severity"]) for r in said]
    assert verdicts == [(2, "insufficient_data"), (4, "warning")]
    assert [(one["metric"], one["by"]) for one in monitor.said("alerts") if one["kind"] == "business" and "by" in one] == [
        ("net_benefit", "prediction_time")
    ]
