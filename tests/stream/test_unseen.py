"""The categories that a reference has not are named in results and alerts, whatever store and however many workers they come through."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stream.store import UnitId
from tests.builders import MODEL, Monitor, categorical, decoded, monitored, prediction, reference, settings, timing
from tests.oracle import key_of, mismatches, recompute
from tests.stream.stores import Backend

KNOWN = reference(
    categorical("channel", ["web", "app"], [60, 40, 0]),
    categorical("shop", ["main"], [95, 5]),
    categorical("country", ["DE", "FR"], [60, 40, 0]),
)
UNITS = [UnitId("predictions", 0), UnitId("predictions", 1), UnitId("labels", 0)]
CONFIGURED = settings(
    {MODEL: {"classes": ["0", "1"], "labels": False, "segments": ["country"], "drift": {"minimum_sample": 1}}},
    windows=[{"size": "1m"}, {"size": "2m", "slide": "30s"}],
)


def events(seed: int) -> list[dict[str, Any]]:
    """Three minutes of predictions: a few values of a channel that are new in the first two, then many; a shop that may be known."""
    rng = random.Random(seed)

    def channel(second: float) -> str:
        return rng.choice(["web", "app", "web", rng.choice(["crypto", "post"]) if second < 120 else f"user {rng.randrange(60)}"])

    return [
        prediction(
            i, i / 2, features={"channel": channel(i / 2), "shop": rng.choice(["main", "other"]), "country": rng.choice(["DE", "FR", "ES"])}
        )
        for i in range(360)
    ]


@pytest.mark.parametrize("seed", range(3))
def test_names_are_those_of_a_recount_through_any_store_and_two_workers(backend: Backend, tmp_path: Path, seed: int) -> None:
    KNOWN.save(tmp_path / "fraud.json")
    models, rng = [monitored(CONFIGURED, reference_file=tmp_path / "fraud.json")], random.Random(seed)
    first, second = (
        Monitor(CONFIGURED, {MODEL: KNOWN}, partitions=(2, 1), store=backend.client(), owned=owned)  # type: ignore[arg-type]
        for owned in (UNITS, ())
    )
    second.logs = first.logs
    for event in events(seed):
        first.log(event, partition=rng.randrange(2))
    while any(worker.read_to.get(unit, 10**9) < len(first.logs[unit]) for worker in (first, second) for unit in worker.owned):
        unit = rng.choice(UNITS[:2])
        worker, other = (first, second) if unit in first.owned else (second, first)
        worker.read(unit.side, unit.partition, rng.randrange(1, 40))
        worker.tick()
        if rng.random() < 0.2:
            worker.lose(unit)
            other.take(unit)
    for worker in (first, second, first, second):
        worker.quiet()
    first.sink.deliver(second.sink.delivered)
    results = first.said("results")
    expected = recompute(models, [decoded(first.logs[unit]) for unit in UNITS[:2]], [[]], timing(CONFIGURED))
    assert mismatches(models, results, expected) == []
    named = {key_of(result): result["drift"]["channel"]["unseen"] for result in results if not result["segment"]}
    assert {frozenset(names) for names in named.values() if len(names) < 8} >= {frozenset({"crypto", "post"})}
    assert any(len(names) == 8 for names in named.values())
    assert all("unseen" not in result["drift"]["shop"] for result in results)
    first.validate()
    first_alert = next(alert for alert in first.said("alerts") if alert["feature"] == "channel" and not alert["segment"])
    assert set(first_alert["evidence"]["unseen"]) == {"crypto", "post"}
    assert "unseen in the reference 0.0% -> " in first_alert["summary"]


@pytest.mark.parametrize(("known", "named"), [([60, 40, 0], {"crypto": 0.5}), ([60, 30, 10], None)])
def test_each_version_names_what_its_own_reference_has_not(
    watch: Callable[..., Monitor], known: list[int], named: dict[str, float] | None
) -> None:
    """Both versions are counted by one coding, in one batch."""
    own = reference(categorical("channel", ["web", "crypto"], [50, 40, 10]), categorical("shop", ["main"], [100, 0]))
    usual = reference(categorical("channel", ["web", "app"], known), categorical("shop", ["main", "x"], [99, 1, 0]))
    monitor = watch(
        settings({MODEL: {"classes": ["0", "1"], "labels": False}}), {MODEL: usual}, versions={MODEL: {"2": own}}, partitions=(1, 0)
    )
    said = [prediction(i, i, features={"channel": ["web", "crypto"][i // 2 % 2], "shop": "x"}, version=str(1 + i % 2)) for i in range(40)]
    monitor.run(*said, prediction("last", 70))
    drift = {result["version"]: result["drift"] for result in monitor.said("results")}
    assert drift["1"]["channel"].get("unseen") == named
    assert "unseen" not in drift["1"]["shop"]
    assert "unseen" not in drift["2"]["channel"]
    assert drift["2"]["shop"]["unseen"] == {"x": 1.0}


def test_against_a_period_what_it_had_is_not_unseen(watch: Callable[..., Monitor]) -> None:
    monitor = watch(
        settings(
            {MODEL: {"classes": ["0", "1"], "labels": False, "drift": {"against": "previous_window", "minimum_sample": 1}}},
        ),
        {MODEL: KNOWN},
        partitions=(1, 0),
    )
    new = {0: "web", 1: "crypto", 2: "crypto"}
    said = [prediction(i, i, features={"channel": new[i // 60] if i % 2 else "web", "shop": "main", "country": "DE"}) for i in range(180)]
    monitor.run(*said, prediction("last", 200))
    before, now, later = sorted(
        (result for result in monitor.said("results") if result["window"]["name"] == "1m"), key=lambda result: result["window"]["start"]
    )
    assert "unseen" not in before["drift"]["channel"]
    assert now["drift"]["channel"]["unseen"] == {"crypto": 0.5}
    assert "category 'crypto' unseen in the period before 0.0% -> 50.0%" in now["drift"]["channel"]["direction"]
    assert "unseen" not in later["drift"]["channel"]
