"""Performance compared with the model's own of a period before: the baseline is that of scikit-learn on the raw rows of the period."""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, mean_absolute_error, recall_score, root_mean_squared_error

from stream.results import timestamp
from stream.results_performance import Performance
from stream.store import UnitId
from stream.store_memory import MemoryStore
from tests.builders import BASE_MS, MODEL, Monitor, at, label, prediction, seconds_of, settings, small_reference
from tests.stream.stores import Backend

Watch = Callable[..., Monitor]
P0 = UnitId("predictions", 0)
DROPS = {metric: {"drop": {"warning": 0.1, "critical": 0.3}, "relative": {"warning": 0.1}} for metric in ("accuracy", "recall")}


class Row(NamedTuple):
    id: str
    second: float
    truth: Any
    said: Any
    more: dict[str, Any]


def minute(rng: np.random.Generator, start: float, n: int, right: float, **more: Any) -> list[Row]:
    """Labels from `start` on, of which about this share was predicted right."""
    truth, hit = rng.integers(0, 2, n), rng.random(n) < right
    said = np.where(hit, truth, 1 - truth)
    return [Row(f"{start}-{more}-{i}", start + 59 * i / n, str(truth[i]), str(said[i]), more) for i in range(n)]


def monitored(watch: Watch, against: str, store: Any = None, *, degradation: Any = DROPS, **more: Any) -> Monitor:
    """A monitor of a model whose performance is compared with this."""
    windows, sections = more.pop("windows", [{"size": "1m"}]), {name: more.pop(name, {}) for name in ("time", "labels")}
    model = {"classes": ["0", "1"], "positive": "1", "performance": {"minimum_sample": 50}, **more}
    configured = settings({MODEL: {**model, "degradation": degradation | {"against": against}}}, windows=windows, **sections)
    return watch(configured, {MODEL: small_reference()}, store=cast(MemoryStore | None, store))


def see(monitor: Monitor, rows: list[Row]) -> None:
    monitor.log(*(prediction(row.id, row.second, row.said, **row.more) for row in rows))
    monitor.log(*(label(row.id, row.second, row.truth) for row in rows), side="labels")
    monitor.read()
    monitor.read("labels")
    monitor.tick()


def end(monitor: Monitor, second: float, said: Any = "0") -> None:
    see(monitor, [Row("end", second, said, said, {})])


def said(monitor: Monitor, start: float, **about: Any) -> dict[str, Any]:
    """The performance of the window that begins there."""
    (found,) = [
        result
        for result in monitor.said("results")
        if result["subject"] == "performance"
        and seconds_of(result["window"]["start"]) == start
        and all(result[key] == value for key, value in ({"segment": None, "revision": 0} | about).items())
    ]
    return cast(dict[str, Any], found.get("performance") or found["regression"])


def alerts(monitor: Monitor, metric: str) -> list[dict[str, Any]]:
    return [alert for alert in monitor.said("alerts") if alert["metric"] == metric and alert["segment"] is None]


def between(rows: list[Row], start: float, stop: float) -> tuple[list[str], list[str]]:
    """Labels and predictions of a period."""
    mine = [row for row in rows if at(start) <= at(row.second) < at(stop)]
    return [row.truth for row in mine], [row.said for row in mine]


def rolling(start: float, length: float, slices: int) -> tuple[float, float]:
    """The period before a window, of so many slices of this length, from whole multiples of it since the epoch."""
    stop = at(start) // round(length * 1000) * length - BASE_MS / 1000
    return stop - slices * length, stop


@pytest.mark.parametrize(("against", "length", "slices"), [("5m", 60, 5), ("16m", 60, 16), ("17m", 120, 8)])
@pytest.mark.parametrize("pieces", [1, 12])
def test_the_baseline_is_what_the_labels_of_the_period_come_to(
    watch: Watch, backend: Backend, against: str, length: float, slices: int, pieces: int
) -> None:
    """Thirty minutes, in the last of which the model is mostly wrong, read at once or by as many workers one after the other."""
    rng = np.random.default_rng(1)
    rows = [row for i in range(30) for row in minute(rng, 60 * i, 100, 0.95 - 0.002 * i if i < 29 else 0.3)]
    monitor = monitored(watch, against, backend.store, windows=[{"size": "1m"}, {"size": "2m"}])
    for piece in np.array_split(np.arange(len(rows)), pieces):
        see(monitor, [rows[i] for i in piece])
        if pieces > 1:
            monitor.start()
    end(monitor, 2400)
    period = rolling(29 * 60, length, slices)
    assert said(monitor, 29 * 60)["baseline"] == f"rolling:{timestamp(at(period[0]))}..{timestamp(at(period[1]))}"
    before, now = between(rows, *period), between(rows, 29 * 60, 30 * 60)
    for metric, oracle in (("accuracy", accuracy_score(*before)), ("recall", recall_score(*before, pos_label="1"))):
        current = accuracy_score(*now) if metric == "accuracy" else recall_score(*now, pos_label="1")
        (drop,) = [alert for alert in alerts(monitor, f"{metric}_drop") if alert["window"]["name"] == "1m"]
        assert (drop["severity"], drop["baseline"], drop["value"]) == ("critical", pytest.approx(oracle), pytest.approx(oracle - current))
        (share,) = [alert for alert in alerts(monitor, f"{metric}_relative_drop") if alert["window"]["name"] == "1m"]
        assert share["value"] == pytest.approx((oracle - current) / oracle)
        cells = np.array(drop["evidence"]["baseline_confusion"])
        assert (cells[:2, :2] == confusion_matrix(*before)).all()
        assert cells.sum() == len(before[0])
    assert said(monitor, 29 * 60)["status"] == "degraded"


def test_a_drop_passes_once_the_new_state_is_usual(watch: Watch) -> None:
    """Against the reference, with an accuracy of 0.85, it would last."""
    rng = np.random.default_rng(2)
    monitor = monitored(watch, "4m", degradation={"accuracy": {"drop": {"warning": 0.1}}})
    for i in range(16):
        see(monitor, minute(rng, 60 * i, 200, 0.9 if i < 8 else 0.6))
    end(monitor, 1200)
    fired, resolved = alerts(monitor, "accuracy_drop")
    assert (fired["status"], seconds_of(fired["window"]["start"])) == ("firing", 480)
    assert resolved["status"] == "resolved"
    assert 540 <= seconds_of(resolved["window"]["start"]) <= 720
    assert said(monitor, 900)["status"] == "healthy"


def test_a_period_of_too_few_labels_judges_no_drop(watch: Watch) -> None:
    rng = np.random.default_rng(3)
    monitor = monitored(watch, "2m")
    for i, n in enumerate((40, 60, 200, 200)):
        see(monitor, minute(rng, 60 * i, n, 0.95 if i < 2 else 0.3))
    end(monitor, 600)
    assert [said(monitor, 60 * i)["status"] for i in (0, 1, 2)] == ["insufficient_data", "insufficient_data", "degraded"]
    assert seconds_of(alerts(monitor, "accuracy_drop")[0]["window"]["start"]) == 120


def test_each_version_and_segment_has_a_baseline_of_its_own(watch: Watch, backend: Backend) -> None:
    rng = np.random.default_rng(4)
    shares = {("1", "a"): 0.95, ("1", "b"): 0.6, ("2", "a"): 0.8, ("2", "b"): 0.5}
    rows = [
        row
        for i in range(5)
        for (version, plan), share in shares.items()
        for row in minute(rng, 60 * i, 80, share if i < 4 else 0.1, version=version, segments={"plan": plan})
    ]
    monitor = monitored(watch, "4m", backend.store, segments=["plan"])
    see(monitor, sorted(rows, key=lambda row: row.second))
    end(monitor, 600)
    drops = {(a["version"], a["segment"]): a["baseline"] for a in monitor.said("alerts") if a["metric"] == "accuracy_drop"}
    of = {(version, segment) for version in "12" for segment in (None, "plan=a", "plan=b")}
    assert set(drops) == of
    for version, segment in of:
        mine = [r for r in rows if r.more["version"] == version and segment in (None, f"plan={r.more['segments']['plan']}")]
        assert drops[version, segment] == pytest.approx(accuracy_score(*between(mine, 0, 240)))


def test_slices_are_few_leave_with_time_and_stand_beside_those_of_drift(watch: Watch, backend: Backend) -> None:
    """32m in slices of 2m for performance, 16m in slices of 1m for drift."""
    monitor = monitored(watch, "32m", backend.store, drift={"against": "16m"})
    rng = np.random.default_rng(5)
    for i in range(60):
        see(monitor, minute(rng, 60 * i, 4, 0.9))
    end(monitor, 60 * 60 + 5)
    held = backend.client().home(P0, MODEL).slices
    starts = {subject: sorted(group.start_ms for group in held if group.subject == subject) for subject in ("traffic", "performance")}
    first = (at(59 * 60) // 120_000 - 16) * 120_000
    assert starts["performance"] == list(range(first, at(60 * 60), 120_000))
    assert starts["traffic"] == [at(60 * i) for i in range(43, 60)]


def test_slices_of_another_period_are_no_use(watch: Watch, backend: Backend, caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(6)
    before = monitored(watch, "16m", backend.store)
    for i in range(6):
        see(before, minute(rng, 60 * i, 60, 0.9))
    assert len(backend.client().home(P0, MODEL).slices) == 5
    after = monitored(watch, "reference", backend.store)
    assert "left out 5 slices" in caplog.text
    after.logs = before.logs
    end(after, 600)
    assert "baseline" not in said(after, 300)
    assert backend.client().home(P0, MODEL).slices == {}


# by the time of the predictions

COHORTS = {"windows": [{"size": "1m"}, {"size": "2m", "slide": "1m"}], "revise_every": "1m"}


@pytest.mark.parametrize("restart", [False, True])
def test_by_prediction_time_each_revision_is_compared_with_what_is_known_of_the_period(watch: Watch, restart: bool) -> None:
    """Labels come up to three minutes late; from the eighth minute on the model is mostly wrong."""
    rng = np.random.default_rng(18)
    rows = [row for i in range(14) for row in minute(rng, 60 * i, 60, 0.95 if i < 8 else 0.3)]
    late = {row.id: row.second + rng.uniform(0, 180) for row in rows}
    monitor = monitored(watch, "4m", by_prediction_time=COHORTS, labels={"max_delay": "5m"})
    checked = {True: 0, False: 0}
    for second in range(30, 20 * 60, 30):
        clock = Row(f"clock {second}", second, "0", "0", {"version": "clock"})
        new = [row for row in rows if second - 30 <= row.second < second]
        known = [row for row in rows if late[row.id] < second]
        monitor.log(*(prediction(row.id, row.second, row.said, **row.more) for row in [*new, clock]))
        monitor.log(*(label(row.id, late[row.id], row.truth) for row in known if late[row.id] >= second - 30), side="labels")
        monitor.log(label(clock.id, second), side="labels")
        monitor.read()
        monitor.read("labels")
        for result in (firing.result for firing in monitor.tick()):
            assert result is not None
            if not isinstance(result.performance, Performance) or result.performance.by == "label_time" or result.version == "clock":
                continue
            start, stop = seconds_of(result.window.start), seconds_of(result.window.end)
            period = rolling(start, 60, 4)
            assert result.performance.baseline == f"rolling:{timestamp(at(period[0]))}..{timestamp(at(period[1]))}"
            before, now = between(known, *period), between(known, start, stop)
            if result.performance.status != "insufficient_data" and start >= 480 and len(before[0]) >= 50:
                drop = accuracy_score(*before) - accuracy_score(*now)
                told = [one.value for one in result.performance.broken if (one.metric, one.rule) == ("accuracy", "drop")]
                assert told == ([pytest.approx(drop)] if drop >= 0.1 else [])
                checked[result.final] += len(told)
        if restart:
            monitor.start()
    assert min(checked.values()) > 5
    (alert, *_) = [one for one in alerts(monitor, "accuracy_drop") if one.get("by") == "prediction_time"]
    assert alert["baseline"] == pytest.approx(0.95, abs=0.05)
    held = monitor.store.home(P0, MODEL).slices
    assert {group.subject for group in held} == {"performance", "cohort"}
    assert len({group.start_ms for group in held if group.subject == "cohort"}) <= 4 + 2 + 1


def test_slices_by_prediction_time_are_let_go_with_their_windows(watch: Watch, backend: Backend) -> None:
    rng = np.random.default_rng(19)
    before = monitored(watch, "4m", backend.store, by_prediction_time=COHORTS, labels={"max_delay": "2m"})
    for i in range(8):
        see(before, minute(rng, 60 * i, 60, 0.9 if i < 4 else 0.1))
    assert any(group.subject == "cohort" for group in backend.client().home(P0, MODEL).slices)
    assert {one["status"] for one in alerts(before, "accuracy_drop") if one.get("by")} == {"firing"}
    after = monitored(watch, "4m", backend.store, labels={"max_delay": "2m"})
    after.logs = before.logs
    end(after, 900)
    assert {one["status"] for one in alerts(after, "accuracy_drop") if one.get("by")} == {"resolved"}
    assert not [group for group in backend.client().home(P0, MODEL).slices if group.subject == "cohort"]


# regressions

RISES = {metric: {"relative": {"warning": 0.2, "critical": 1.0}} for metric in ("mae", "rmse")}
TASK = {"task": "regression", "classes": [], "positive": None, "performance": {"minimum_sample": 10}}


def numbers(rng: np.random.Generator, start: float, n: int, error: float) -> list[Row]:
    """Labels that are numbers, and predictions with errors of this size."""
    truth = rng.normal(100, 20, n)
    said = truth + rng.normal(0, error, n)
    pairs = zip(truth.tolist(), said.tolist(), strict=True)
    return [Row(f"{start}-{i}", start + 59 * i / n, *pair, {}) for i, pair in enumerate(pairs)]


@pytest.mark.parametrize("pieces", [1, 9])
def test_errors_of_a_regression_are_compared_with_those_of_the_period(watch: Watch, backend: Backend, pieces: int) -> None:
    rng = np.random.default_rng(17)
    rows = [row for i in range(12) for row in numbers(rng, 60 * i, 100, 5.0 + 0.1 * i if i < 11 else 15.0)]
    monitor = monitored(watch, "8m", backend.store, degradation=RISES, **TASK)
    for piece in np.array_split(np.arange(len(rows)), pieces):
        see(monitor, [rows[i] for i in piece])
        if pieces > 1:
            monitor.start()
    end(monitor, 900, 0.0)
    before, now = between(rows, 180, 660), between(rows, 660, 720)
    for metric, oracle in (("mae", mean_absolute_error), ("rmse", root_mean_squared_error)):
        (rise,) = alerts(monitor, f"{metric}_relative_rise")
        assert (rise["severity"], rise["baseline"]) == ("critical", pytest.approx(oracle(*before)))
        assert rise["value"] == pytest.approx(oracle(*now) / oracle(*before) - 1)
    told = said(monitor, 660)
    assert told["baseline"] == f"rolling:{timestamp(at(180))}..{timestamp(at(660))}"
    assert (told["status"], {(one["metric"], one["rule"], one["level"]) for one in told["broken"]}) == (
        "degraded",
        {("mae", "relative", "degraded"), ("rmse", "relative", "degraded")},
    )
    assert said(monitor, 600)["status"] == "healthy"


def test_larger_errors_of_a_few_labels_may_be_chance(watch: Watch) -> None:
    """A mean error that is 30 % larger is no chance among 1,000 labels, and may be among 12."""
    rng = np.random.default_rng(8)
    rows = [*numbers(rng, 0, 1000, 5.0), *numbers(rng, 60, 1000, 6.5), *numbers(rng, 120, 12, 0.0)]
    size = mean_absolute_error(*between(rows, 0, 120)) * 1.3
    few = [row._replace(said=row.truth + float(size) * (1.9 if i % 2 else 0.1)) for i, row in enumerate(rows[2000:])]
    monitor = monitored(watch, "2m", degradation=RISES, **TASK)
    for part in (rows[:1000], rows[1000:2000], few):
        see(monitor, part)
    end(monitor, 600, 0.0)
    assert [said(monitor, 60 * i)["status"] for i in range(3)] == ["insufficient_data", "warning", "healthy"]
    assert [one["significant"] for one in said(monitor, 120)["broken"] if one["metric"] == "mae"] == [False]


def test_a_few_labels_of_the_period_may_be_chance_as_well(watch: Watch) -> None:
    """Nine tenths more than the mean error of 12: beyond its interval of 95 %, and within that of 99.9 %."""
    rng = np.random.default_rng(10)
    few = [row._replace(said=row.truth + 5.0 * (1.9 if i % 2 else 0.1)) for i, row in enumerate(numbers(rng, 0, 12, 0.0))]
    many = [row._replace(said=row.truth + 9.5 + rng.normal(0, 0.1)) for row in numbers(rng, 60, 500, 0.0)]
    monitor = monitored(watch, "1m", degradation=RISES, **TASK)
    for part in (few, many):
        see(monitor, part)
    end(monitor, 600, 0.0)
    assert said(monitor, 60)["status"] == "healthy"
    (part,) = [one for one in said(monitor, 60)["broken"] if one["metric"] == "mae"]
    assert (part["value"], part["significant"]) == (pytest.approx(0.9, abs=0.01), False)


def test_a_period_of_too_few_labels_judges_no_rise(watch: Watch) -> None:
    rng = np.random.default_rng(11)
    monitor = monitored(watch, "1m", degradation=RISES, **TASK)
    for i, (n, error) in enumerate(((9, 1.0), (100, 50.0), (100, 150.0))):
        see(monitor, numbers(rng, 60 * i, n, error))
    end(monitor, 600, 0.0)
    assert [said(monitor, 60 * i)["status"] for i in range(3)] == ["insufficient_data", "insufficient_data", "degraded"]


def test_an_error_over_its_roof_makes_the_status_without_any_baseline(watch: Watch) -> None:
    limits = {"minimum_sample": 10, "mae": {"warning": 3.0, "critical": 30.0}}
    monitor = monitored(watch, "reference", degradation={}, **TASK | {"performance": limits})
    see(monitor, numbers(np.random.default_rng(9), 0, 200, 10.0))
    end(monitor, 200, 0.0)
    told = said(monitor, 0)
    assert (told["status"], told["broken"][0]["rule"], told["verdicts"]["mae"]["severity"]) == ("warning", "floor", "warning")
    assert "baseline" not in told
