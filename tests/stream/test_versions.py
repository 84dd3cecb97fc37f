"""Versions of a model with references of their own: each is counted and scored as if it were alone with its reference."""

from collections.abc import Callable
from typing import Any

import pytest
from scipy.stats import false_discovery_control

from tests.builders import MODEL, Monitor, categorical, label, numeric, prediction, reference, settings, small_reference

Watch = Callable[..., Monitor]
Result = dict[str, Any]
OWN = reference(  # other bins of the amount, a country that became a number, and a feature that the others do not have
    numeric("amount", [0.0, 40.0, 80.0], [0, 10, 20, 70], [0, 0, 1, 2]),
    numeric("country", [0.0, 1.0], [10, 80, 10], [0, 1, 2]),
    categorical("device", ["phone"], [90, 10]),
    classes=("0", "1"),
    confusion=[[50, 0], [10, 40]],
    outputs=(numeric("score", [0.0, 0.5, 1.0], [0, 50, 50, 0], [0, 0, 1, 1]),),
)
SMALL = {"drift": {"minimum_sample": 10, "ks": {"warning": 0.1}}, "performance": {"minimum_sample": 10, "accuracy": {"warning": 0.99}}}


def events(version: str | None, n: int = 60) -> list[dict[str, Any]]:
    """Predictions of a version in the first minute, then one that ends it."""
    country = (lambda i: i % 3) if version == "7" else (lambda i: ["DE", "FR", "BR"][i % 3])
    seen = [
        prediction(
            f"{version}-{i}",
            59 * i / n,
            str(i % 2),
            version=version,
            score=i / n,
            features={"amount": 2.0 * i, "country": country(i), "device": "phone"},
        )
        for i in range(n)
    ]
    return [*seen, prediction(f"{version}-end", 70, version=version)]


def labels(version: str | None, n: int = 60) -> list[dict[str, Any]]:
    return [*(label(f"{version}-{i}", 59 * i / n, str(i % 4 % 2)) for i in range(n)), label(f"{version}-end", 70)]


def told(monitor: Monitor, version: str) -> list[Result]:
    """What was said of a version."""
    return [result for result in monitor.said("results") if result["version"] == version]


def both(watch: Watch, *versions: str | None, restart: bool = False) -> Monitor:
    """A monitor with a reference for all and one for version 7, which has seen a window of these versions."""
    monitor = watch(settings({MODEL: {"classes": ["0", "1"], **SMALL}}), {MODEL: small_reference()}, versions={MODEL: {"7": OWN}})
    for version in versions:
        monitor.log(*events(version)[:-1])
        monitor.log(*labels(version)[:-1], side="labels")
    monitor.read(most=50)
    monitor.tick()
    if restart:
        monitor.start()
    monitor.log(prediction("end", 70))
    monitor.log(label("end", 70), side="labels")
    monitor.read()
    monitor.read("labels")
    monitor.tick()
    return monitor


def alone(watch: Watch, made: Any, version: str) -> Monitor:
    """A monitor with one reference, which has seen nothing but this version."""
    monitor = watch(settings({MODEL: {"classes": ["0", "1"], **SMALL}}), {MODEL: made})
    monitor.log(*events(version))
    monitor.log(*labels(version), side="labels")
    monitor.read()
    monitor.read("labels")
    monitor.tick()
    return monitor


@pytest.mark.parametrize("restart", [False, True])
def test_each_version_is_scored_as_if_it_were_alone_with_its_reference(watch: Watch, restart: bool) -> None:
    together = both(watch, "6", "7", restart=restart)
    for version, made in (("6", small_reference()), ("7", OWN)):
        assert told(together, version) == told(alone(watch, made, version), version)
        assert {result["reference_id"] for result in told(together, version)} == {made.reference_id}
    assert [result["subject"] for result in told(together, "7")] == ["traffic", "performance"]
    assert set(told(together, "7")[0]["drift"]) == {"amount", "country", "device"}
    assert [alert["version"] for alert in together.said("alerts") if alert["metric"] == "ks" and alert["feature"] == "country"] == ["7"]


def test_without_a_reference_for_all_other_versions_have_none(watch: Watch) -> None:
    monitor = watch(settings({MODEL: {"classes": ["0", "1"], "labels": False}}), versions={MODEL: {"7": OWN}}, partitions=(1, 0))
    monitor.run(*events("7")[:-1], *events("6"))
    said = {result["version"]: (result.get("reference_id"), set(result.get("drift", {}))) for result in monitor.said("results")}
    assert said == {"6": (None, set()), "7": (OWN.reference_id, {"amount", "country", "device"})}


def test_a_version_with_a_reference_is_never_counted_as_other(watch: Watch) -> None:
    configured = settings({MODEL: {"classes": ["0", "1"], "labels": False, "versions_max": 2}})
    monitor = watch(configured, {MODEL: small_reference()}, versions={MODEL: {"7": OWN}}, partitions=(1, 0))
    monitor.run(*(event for version in ("1", "2", "3", "7") for event in events(version)[:-1]), prediction("end", 70))
    assert {result["version"] for result in monitor.said("results")} == {"1", "7", "(other)"}


def test_p_values_are_adjusted_for_all_versions_that_close_together(watch: Watch) -> None:
    drift = {"psi": {"warning": "auto"}, "minimum_sample": 10}
    configured = settings({MODEL: {"classes": ["0", "1"], "labels": False, "drift": drift}})
    monitor = watch(configured, {MODEL: small_reference()}, versions={MODEL: {"7": OWN}}, partitions=(1, 0))
    monitor.run(*events("6", 120)[:-1], *events("7", 120))
    scores = [
        found["psi"]
        for result in monitor.said("results")
        for found in (*result.get("outputs", {}).values(), *result["drift"].values())
        if "p_adjusted" in found["psi"]
    ]
    assert len(scores) == 6 + 4  # prediction, score and four features; score and three features
    expected = false_discovery_control([score["p_value"] for score in scores])
    assert [score["p_adjusted"] for score in scores] == pytest.approx(expected.tolist())
