"""Segments and crosses of segments: each has drift, quality and performance of its own rows, and is named where drift comes from it."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score  # type: ignore[import-untyped]

from tests.builders import MODEL, Monitor, categorical, label, prediction, reference, settings
from tests.oracle import scores

Watch = Callable[..., Monitor]
Row = dict[str, Any]  # country, channel, x, said, truth
SEGMENTS = ["country", ["country", "channel"]]
KNOWN = reference(
    categorical("x", ["a", "b"], [500, 500, 0]),
    outputs=[categorical("prediction", ["0", "1"], [500, 500, 0]), categorical("label", ["0", "1"], [500, 500, 0])],
)
OFF = {"warning": "off", "critical": "off"}


def rows(rng: np.random.Generator, n: int) -> list[Row]:
    """Rows of two countries by two channels, each with shares of its own."""
    found = []
    for country in ("BR", "DE"):
        for channel in ("app", "web"):
            a, truth, right = rng.uniform(0.1, 0.9, 3)
            for _ in range(n):
                x = None if rng.random() < 0.1 * (country == "BR") else "a" if rng.random() < a else "b"
                true = "1" if rng.random() < truth else "0"
                said = true if rng.random() < right else "10"[int(true)]
                found.append({"country": country, "channel": channel, "x": x, "said": said, "truth": true})
    return found


def watched(watch: Watch, events: list[Row], **section: Any) -> Monitor:
    """A monitor that has seen these rows and their labels in one minute."""
    model: Any = {"classes": ["0", "1"], "positive": "1", "segments": SEGMENTS, "drift": {"minimum_sample": 20, "psi": OFF}} | section
    monitor = watch(settings({MODEL: model}), {MODEL: KNOWN})
    where = ("country", "channel")
    monitor.run(
        *(
            prediction(str(i), 30 * i / len(events), row["said"], features={"x": row["x"]}, segments={key: row[key] for key in where})
            for i, row in enumerate(events)
        )
    )
    monitor.run(*(label(str(i), 40, row["truth"]) for i, row in enumerate(events)), side="labels")
    monitor.quiet()
    return monitor


def parts(events: list[Row]) -> Iterator[tuple[str | None, list[Row]]]:
    """The name of each segment, None for all traffic, and its rows."""
    yield None, events
    for country in ("BR", "DE"):
        mine = [row for row in events if row["country"] == country]
        yield f"country={country}", mine
        for channel in ("app", "web"):
            yield f"country={country},channel={channel}", [row for row in mine if row["channel"] == channel]


def counts(events: list[Row], key: str) -> list[int]:
    values = [row[key] for row in events]
    return [values.count(value) for value in (("a", "b", None) if key == "x" else ("0", "1"))]


def test_each_segment_and_cross_has_the_scores_of_its_own_rows(watch: Watch) -> None:
    events = rows(np.random.default_rng(1), 60)
    monitor = watched(watch, events)
    results = {(result["subject"], result["segment"]): result for result in monitor.said("results")}
    assert len(results) == 2 * 7
    for name, mine in parts(events):
        traffic, performance = results["traffic", name], results["performance", name]
        assert traffic["drift"]["x"]["psi"]["score"] == pytest.approx(scores([500, 500, 0], counts(mine, "x"))["psi"])
        assert traffic["outputs"]["prediction"]["psi"]["score"] == pytest.approx(scores([500, 500], counts(mine, "said"))["psi"])
        assert traffic["quality"]["x"]["missing_ratio"] == pytest.approx(counts(mine, "x")[2] / len(mine))
        assert traffic["summary"]["quality_score"] == pytest.approx(1 - counts(mine, "x")[2] / len(mine))
        assert performance["outputs"]["label"]["psi"]["score"] == pytest.approx(scores([500, 500], counts(mine, "truth"))["psi"])
        truth, said = [row["truth"] for row in mine], [row["said"] for row in mine]
        assert performance["performance"]["accuracy"] == pytest.approx(accuracy_score(truth, said))
        assert performance["performance"]["f1"] == pytest.approx(f1_score(truth, said, pos_label="1"))
    monitor.validate()


def test_each_segment_has_alerts_of_its_own_on_quality_and_performance(watch: Watch) -> None:
    """In Brazil's app half of the values are missing and half of the predictions wrong: an eighth of each in all traffic."""
    events: list[Row] = [
        {"country": country, "channel": channel, "x": "ab"[i % 4 // 2], "said": "01"[i % 2], "truth": "01"[i % 2]}
        for country in ("BR", "DE")
        for channel in ("app", "web")
        for i in range(80)
    ]
    for i, row in enumerate(events[:80]):  # of Brazil's app
        row |= {"x": None if i % 4 > 1 else row["x"], "truth": "01"[i // 2 % 2]}
    monitor = watched(
        watch,
        events,
        drift={"psi": OFF},
        quality={"minimum_sample": 20, "missing_ratio": {"warning": 0.35, "critical": "off"}},
        performance={"minimum_sample": 20, "accuracy": {"warning": 0.6}},
    )
    fired = {(alert["metric"], alert["segment"]) for alert in monitor.said("alerts")}
    assert fired == {("missing_ratio", "country=BR,channel=app"), ("accuracy", "country=BR,channel=app")}


@pytest.mark.parametrize("method", ["psi", "js_distance", "hellinger", "total_variation", "kl", "chi2"])
@pytest.mark.parametrize(("drifting", "named"), [({"BR"}, "country=BR"), ({"BR,web"}, "country=BR,channel=web"), ({"BR", "DE"}, None)])
def test_drift_of_all_traffic_names_the_segment_or_cross_that_it_comes_from(
    watch: Watch, method: str, drifting: set[str], named: str | None
) -> None:
    """Of feature, prediction and label alike: where they drift all are "a", and "1"; elsewhere half of them, as in the reference."""
    events: list[Row] = []
    for country in ("BR", "DE"):
        for channel in ("app", "web"):
            moved = bool({country, f"{country},{channel}"} & drifting)
            for i in range(100):
                one = moved or i % 2 == 0
                events.append({"country": country, "channel": channel, "x": "ba"[one], "said": "01"[one], "truth": "01"[one]})
    monitor = watched(watch, events, drift={"minimum_sample": 20, "psi": OFF, method: {"warning": 0.02, "critical": "off"}})
    whole = [alert for alert in monitor.said("alerts") if alert["segment"] is None and alert["metric"] == method]
    assert {(alert["kind"], alert["feature"]) for alert in whole} == {
        ("data_drift", "x"),
        ("prediction_drift", "prediction"),
        ("label_drift", "label"),
    }
    assert {alert["evidence"].get("comes_from") for alert in whole} == {named}
    assert all(("comes from" in alert["summary"]) == (named is not None) for alert in whole)
    found = {result["subject"]: result for result in monitor.said("results") if result["segment"] is None}
    told = [found["traffic"]["drift"]["x"], found["traffic"]["outputs"]["prediction"], found["performance"]["outputs"]["label"]]
    assert [one.get("comes_from") for one in told] == [named] * 3


def test_values_that_are_new_in_all_segments_come_from_none_though_chi_square_pools_those_of_the_rest(watch: Watch) -> None:
    """Of 480 rows, a quarter of them new, beside a reference of 20,000 fewer than five new ones are expected; of 720 more."""
    known = reference(categorical("x", ["a", "b", "c"], [10_000, 6_000, 4_000, 0]))
    model: Any = {"classes": ["0", "1"], "labels": False, "segments": ["country"]}
    drift = {"psi": OFF, "chi2": {"warning": 0.1, "critical": "off"}}
    monitor = watch(settings({MODEL: model | {"drift": drift}}), {MODEL: known}, partitions=(1, 0))
    values = ["new", "a", "b", "a", "new", "c", "b", "a"]
    where = [{"country": "BR" if i % 100 < 60 else "DE"} for i in range(1200)]
    monitor.run(*(prediction(i, i / 40, features={"x": values[i % 8]}, segments=where[i]) for i in range(1200)))
    monitor.quiet()
    [alert] = [alert for alert in monitor.said("alerts") if alert["segment"] is None]
    assert "comes_from" not in alert["evidence"]
    rest = {result["segment"]: result["drift"]["x"]["chi2"]["score"] for result in monitor.said("results")}
    assert rest["country=DE"] < rest[None] / 2


def test_the_rest_must_have_the_minimum_sample_of_labels(watch: Watch) -> None:
    """Without Brazil 19 labels are left, too few to say that they have not drifted; 20 are enough."""
    for n, named in ((19, None), (20, "country=BR")):
        events = [{"country": "BR", "channel": "web", "x": "a", "said": "1", "truth": "1"} for _ in range(60)]
        events += [{"country": "DE", "channel": "web", "x": "ab"[i % 2], "said": "01"[i % 2], "truth": "01"[i % 2]} for i in range(n)]
        monitor = watched(watch, events, drift={"minimum_sample": 20, "psi": {"warning": 0.1, "critical": "off"}}, segments=["country"])
        [alert] = [alert for alert in monitor.said("alerts") if alert["kind"] == "label_drift" and alert["segment"] is None]
        assert alert["evidence"].get("comes_from") == named


def test_a_feature_that_a_segment_is_of_is_not_judged_in_it(watch: Watch) -> None:
    """In country=BR all countries are BR, in country=(none) all are missing: so it always was."""
    known = reference(
        categorical("country", ["BR", "DE"], [450, 450, 0], missing=100), categorical("channel", ["app"], [1000, 0]), KNOWN.features[0]
    )
    quality = {"minimum_sample": 20, "unseen_ratio": {"warning": 0.1}, "quality_score": {"warning": 0.9}}
    model: Any = {"classes": ["0", "1"], "labels": False, "segments": ["country", ["country", "region"]], "quality": quality}
    method = {"minimum_sample": 20, "chi2": {"warning": "auto"}, "psi": {"warning": 0.1, "critical": "off"}}
    monitor = watch(settings({MODEL: model | {"drift": method}}), {MODEL: known}, partitions=(1, 0))
    countries = ["BR", "DE"] * 450 + [None] * 100
    monitor.run(
        *(
            prediction(
                i, 30 * i / 1000, features={"country": country, "channel": "app", "x": "ab"[i % 4 // 2]}, segments={"region": "south"}
            )
            for i, country in enumerate(countries)
        )
    )
    monitor.quiet()
    assert monitor.said("alerts") == []
    found = {result["segment"]: result for result in monitor.said("results")}
    assert set(found) == {None, *(f"country={of}{cross}" for of in ("BR", "DE", "(none)") for cross in ("", ",region=south"))}
    for segment, result in found.items():
        assert set(result["drift"]) == {"channel", "x"} | (set() if segment else {"country"})
        assert result["summary"]["features"] == 2 + (segment is None)
        assert result["summary"]["quality_score"] == 1
        assert ("severity" in result["quality"]["country"]) == (segment is None)
    monitor.validate()
