"""The state of a topic-partition: what a checkpoint carries, what may be forgotten, and what another owner finds."""

import numpy as np
import pytest

from stream.model import Model
from stream.panes import PaneKey
from stream.settings import Settings
from stream.store import Clock, PaneGroup, UnitState
from stream.unit import Unit
from stream.watermark import NO_TIME
from tests.stream.stores import P0, MemoryBackend, message, pane

PANE_MS = 60_000


def models(size: str = "1m") -> dict[str, Model]:
    tree = Settings.model_validate({"models": {"m": {"classes": ["0", "1"], "windows": [{"size": size}]}}})
    return {"m": Model.build(tree.model("m"), None)}


MODELS = models()


def unit(state: UnitState | None = None, size: str = "1m") -> Unit:
    return Unit(P0, state or UnitState(epoch=1), models(size), out_of_orderness_ms=10, mark_every_ms=1)


def count(held: Unit, group: PaneGroup, n: int = 1) -> None:
    number = held.panes.number(PaneKey("m", group), MODELS["m"].layout(group.subject))
    held.panes.add(np.full(n, number), np.zeros((1, n), np.int64))


def counted(state: UnitState) -> dict[PaneGroup, int]:
    """What an owner that finds this state has counted."""
    panes = unit(state).panes
    return {key.group: int(panes.aggregate(key).counts[0]) for key in panes}


def test_without_anything_new_there_is_no_checkpoint() -> None:
    held = unit()
    assert held.checkpoint() is None
    held.advance_to(1)
    assert held.checkpoint() is not None
    assert held.checkpoint() is None


def test_a_checkpoint_carries_only_the_panes_that_changed() -> None:
    held = unit()
    count(held, pane(0))
    count(held, pane(PANE_MS))
    first = held.checkpoint()
    count(held, pane(PANE_MS))
    second = held.checkpoint()
    assert first is not None
    assert second is not None
    assert [set(step.panes["m"]) for step in (first, second)] == [{pane(0), pane(PANE_MS)}, {pane(PANE_MS)}]
    assert [step.sequence for step in (first, second)] == [1, 2]
    assert len(held.panes) == 2


def test_a_checkpoint_is_not_changed_by_what_is_counted_later() -> None:
    held = unit()
    held.counters["consumed"] = 1
    held.advance_to(1)
    step = held.checkpoint()
    assert step is not None
    held.counters["consumed"] = 2
    held.floors_ms["traffic"] = 7
    held.enqueue([message("later")])
    assert (step.counters["consumed"], step.floors_ms["traffic"], step.outbox) == (1, NO_TIME, [])


def test_what_was_checkpointed_is_what_the_next_owner_has() -> None:
    store = MemoryBackend().store
    held = unit(store.acquire(P0, ["m"]))
    for n, offset in enumerate((3, 8, 20), 1):
        count(held, pane(n % 2 * PANE_MS), n)
        held.counters["consumed"] = offset
        held.watermark.newest_ms = 100 * n
        held.advance_to(offset)
        held.enqueue([message(str(n))])
        step = held.checkpoint()
        assert step is not None
        assert store.checkpoint([step]) == []
    count(held, pane(0), 99)  # not checkpointed: lost with its owner
    state = store.acquire(P0, ["m"])
    assert counted(state) == {pane(0): 2, pane(PANE_MS): 4}
    after = unit(state)
    assert (after.next_offset, after.watermark.value_ms, after.counters["consumed"]) == (20, 290, 20)
    assert after.undelivered == held.undelivered == [(n, message(str(n))) for n in (1, 2, 3)]
    assert after.send([message("next")]) == [(4, message("next"))]


def test_messages_are_numbered_in_the_order_in_which_they_become_durable() -> None:
    held = unit(UnitState(epoch=1, outbox_end=5))
    held.enqueue([message("waits for the checkpoint")])
    assert held.send([message("closed at once")]) == [(6, message("closed at once"))]
    step = held.checkpoint()
    assert step is not None
    assert step.outbox == [(7, message("waits for the checkpoint"))]
    assert held.undelivered == step.outbox
    assert held.outbox_end == 7


def test_panes_are_forgotten_when_their_kind_of_window_has_passed_them() -> None:
    held = unit()
    outcomes = PaneGroup("performance", 0, "v1", "")
    for group in (pane(0), pane(PANE_MS), outcomes):
        count(held, group)
    held.checkpoint()
    held.forget_before({"traffic": PANE_MS - 1, "performance": NO_TIME})
    assert len(held.panes) == 3
    held.forget_before({"traffic": PANE_MS, "performance": NO_TIME})
    assert len(held.panes) == 2
    held.forget_before({"traffic": PANE_MS, "performance": PANE_MS})
    assert len(held.panes) == 1


def test_a_pane_that_is_not_durable_yet_is_not_forgotten() -> None:
    held = unit()
    count(held, pane(0))
    held.forget_before({"traffic": PANE_MS, "performance": PANE_MS})
    assert len(held.panes) == 1
    held.checkpoint()
    held.forget_before({"traffic": PANE_MS, "performance": PANE_MS})
    assert len(held.panes) == 0


@pytest.mark.parametrize(("clock", "expected"), [(89, NO_TIME), (90, NO_TIME), (91, 91)])
def test_floors_rise_only_above_the_unit_s_own_watermark(clock: int, expected: int) -> None:
    held = unit(UnitState(epoch=1, newest_ms=100))  # watermark 90
    held.raise_floors(Clock(traffic=clock, performance=NO_TIME))
    assert held.floors_ms == {"traffic": expected, "performance": NO_TIME}
    assert (held.checkpoint() is not None) is (expected != NO_TIME)


def test_floors_never_sink_and_are_durable() -> None:
    store = MemoryBackend().store
    held = unit(store.acquire(P0, []))
    held.raise_floors(Clock(500, 400))
    held.raise_floors(Clock(300, 450))
    assert held.floors_ms == {"traffic": 500, "performance": 450}
    step = held.checkpoint()
    assert step is not None
    store.checkpoint([step])
    assert unit(store.acquire(P0, [])).floors_ms == {"traffic": 500, "performance": 450}


def test_a_report_says_what_the_unit_knows_of_time() -> None:
    held = unit(UnitState(epoch=3, newest_ms=100))
    assert held.report() == (P0, 3, 90, False, Clock())
    held.watermark.at_end = True
    held.watermark.falls_idle(10_000, 5_000)
    assert held.report() == (P0, 3, 90, True, Clock())


def test_an_open_pane_of_another_pane_length_is_dropped_and_said_so(caplog: pytest.LogCaptureFixture) -> None:
    held = unit()
    count(held, pane(0))
    step = held.checkpoint()
    assert step is not None
    changed = unit(UnitState(epoch=2, panes=step.panes), size="2m")
    assert len(changed.panes) == 0
    assert "dropped an open pane of model m" in caplog.text
