"""Models that close at the same instant share round trips to the store: what each of them says is what it would say alone."""

from collections.abc import Callable
from typing import Any

from stream.closing import TOGETHER, home_unit
from stream.store import Partitions, UnitId
from tests.builders import Monitor, prediction, settings

NAMES = [f"model {i}" for i in range(2 * TOGETHER + 1)]
P0, P1, P2 = (UnitId("predictions", p) for p in range(3))
Watch = Callable[..., Monitor]


def many(watch: Watch) -> Monitor:
    """Model i has i + 1 predictions in [0, 60), over three partitions, whose watermark then passes 60 in all of them."""
    models: dict[str, Any] = {name: {"classes": ["0", "1"], "labels": False} for name in NAMES}
    monitor = watch(settings(models), None, partitions=(3, 0))
    for i, name in enumerate(NAMES):
        for k in range(i + 1):
            monitor.log(prediction(f"{i}/{k}", 10, model=name), partition=k % 3)
    for partition in range(3):
        monitor.log(prediction(f"end {partition}", 65, model=NAMES[0]), partition=partition)
        monitor.read(partition=partition)
    return monitor


def test_each_of_many_models_has_the_result_of_its_own_predictions(watch: Watch) -> None:
    monitor = many(watch)
    assert len(monitor.tick()) == len(NAMES)
    counted = {result["model"]: result["counts"]["predictions"] for result in monitor.said("results")}
    assert counted == {name: i + 1 for i, name in enumerate(NAMES)}
    held = monitor.store.pane_groups(NAMES[1:], Partitions(3, 0))
    assert not any(groups for units in held.values() for groups in units.values())
    assert monitor.tick() == []


def test_who_lost_a_unit_writes_nothing_of_its_models_and_all_of_the_others(watch: Watch) -> None:
    monitor = many(watch)
    theirs = {name for name in NAMES if home_unit(name, Partitions(3, 0)) == P1}
    assert 0 < len(theirs) < len(NAMES)
    assert monitor.pipeline.checkpoint(monitor.now_ms) == []
    monitor.store.acquire(P1, [])
    firings, lost = monitor.pipeline.close(monitor.now_ms)
    assert lost == [P1]
    assert sorted(firing.result.model for firing in firings if firing.result) == sorted(set(NAMES) - theirs)
    assert all(monitor.store.home(P1, name).sequence == {} for name in theirs)
    monitor.lose(P1)
    monitor.take(P1)
    assert {firing.result.model for firing in monitor.tick() if firing.result} == theirs
    monitor.deliver()
    counted = {result["model"]: result["counts"]["predictions"] for result in monitor.said("results")}
    assert counted == {name: i + 1 for i, name in enumerate(NAMES)}
    assert len(monitor.said("results")) == len(NAMES)
