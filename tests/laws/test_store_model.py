"""Memory and Redis side by side: whatever two workers do to them, in whatever order and however often, they answer the same.

Workers count events, checkpoint, close, crash and take over each other's units. Steps are sent at once, late, again, or out of order.
After every action each unit holds exactly as many counted events as its durable offset says: nothing twice, nothing lost.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from sinks import OutboundMessage
from stream.join import Side
from stream.store import SUBJECTS, Checkpoint, Clock, Closing, PaneGroup, Partitions, Store, UnitId, UnitReport, UnitState
from tests.stream.stores import (
    GENERATION_MS,
    L0,
    P0,
    P1,
    MemoryBackend,
    RedisBackend,
    answers,
    checkpoint,
    closing,
    join_batch,
    message,
    pane,
)

T = TypeVar("T")
UNITS, PARTITIONS = (P0, P1, L0), Partitions(2, 1)
NOW_MS = 1_700_000_000_000  # within the lease of idleness, which memory does not have

workers = st.sampled_from(("first", "second"))
units = st.sampled_from(UNITS)
panes = st.builds(pane, st.sampled_from((0, 60_000)), st.sampled_from(("v1", "|")), st.sampled_from(("", "a=%")))
sides: st.SearchStrategy[Side] = st.sampled_from(("predictions", "labels"))
join_events = st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 8).map(lambda i: i * GENERATION_MS), st.integers(0, 3))


@dataclass
class Owned:
    """A unit in its owner's memory: what it was when it was acquired, and what has been counted since."""

    epoch: int
    sequence: int
    offset: int
    outbox_end: int
    panes: dict[PaneGroup, int]
    newest_ms: int
    closings: int
    dirty: set[PaneGroup] = field(default_factory=set)

    def number(self, texts: list[str]) -> list[tuple[int, OutboundMessage]]:
        numbered = [(self.outbox_end + i, message(text)) for i, text in enumerate(texts, 1)]
        self.outbox_end += len(texts)
        return numbered


class TwoStores(RuleBasedStateMachine):
    """Every action goes to both stores; every answer is compared."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.memory, self.redis = MemoryBackend(), RedisBackend(self.url, f"test-{uuid.uuid4().hex}")
        self.owned: dict[tuple[str, UnitId], Owned] = {}
        self.sent: list[Checkpoint | Closing] = []
        self.clock = Clock()

    def teardown(self) -> None:
        self.redis.clear()
        self.redis.close()

    def both(self, ask: Callable[[Store], T]) -> T:
        answer = ask(self.memory.store)
        assert ask(self.redis.store) == answer
        return answer

    def send(self, step: Checkpoint | Closing) -> list[UnitId]:
        if isinstance(step, Checkpoint):
            return self.both(lambda store: store.checkpoint([step]))
        return self.both(lambda store: store.close([step]))

    def own(self, worker: str, unit: UnitId) -> Owned:
        """The unit as this worker knows it; it may be somebody else's by now."""
        if (worker, unit) not in self.owned:
            self.acquire(worker, unit)
        return self.owned[worker, unit]

    @rule(worker=workers, unit=units)
    def acquire(self, worker: str, unit: UnitId) -> None:
        state: UnitState = self.both(lambda store: store.acquire(unit, ["m"]))
        home = self.both(lambda store: store.home(unit, "m"))
        held = {group: int(blob) for group, blob in state.panes.get("m", {}).items()}
        assert sum(held.values()) == (state.next_offset or 0)
        assert [number for number, _ in state.outbox] == sorted({number for number, _ in state.outbox})
        closings = home.sequence.get("traffic", 0)
        self.owned[worker, unit] = Owned(
            state.epoch, state.sequence, state.next_offset or 0, state.outbox_end, held, state.newest_ms, closings
        )

    @rule(worker=workers, unit=units, events=st.lists(panes, min_size=1, max_size=4))
    def count(self, worker: str, unit: UnitId, events: list[PaneGroup]) -> None:
        own = self.own(worker, unit)
        for group in events:
            own.panes[group] = own.panes.get(group, 0) + 1
        own.dirty.update(events)
        own.offset += len(events)

    def step(self, unit: UnitId, own: Owned, **changes: Any) -> Checkpoint:
        own.sequence += 1
        own.newest_ms = max(own.newest_ms, 100 * own.offset)
        blobs = {group: b"%d" % own.panes[group] for group in own.dirty}
        own.dirty.clear()
        step = checkpoint(unit, own.epoch, own.sequence, next_offset=own.offset, newest_ms=own.newest_ms, panes={"m": blobs}, **changes)
        self.sent.append(step)
        return step

    @rule(worker=workers, unit=units, texts=st.lists(st.text(max_size=3), max_size=2))
    def checkpoint(self, worker: str, unit: UnitId, texts: list[str]) -> None:
        own = self.own(worker, unit)
        floors = {"traffic": own.offset, "performance": -own.offset}
        step = self.step(unit, own, outbox=own.number(texts), counters={"consumed": own.offset}, floors_ms=floors)
        if self.send(step):
            del self.owned[worker, unit]  # somebody else owns it

    @rule(worker=workers, unit=units)
    def checkpoint_that_is_held_up(self, worker: str, unit: UnitId) -> None:
        own = self.own(worker, unit)
        floors = {"traffic": own.offset, "performance": -own.offset}
        self.step(unit, own, counters={"consumed": own.offset}, floors_ms=floors)

    @rule(worker=workers, unit=units, merged=panes, expired=panes, alert=st.sampled_from((b"fires", None)), text=st.text(max_size=3))
    def close(self, worker: str, unit: UnitId, merged: PaneGroup, expired: PaneGroup, alert: bytes | None, text: str) -> None:
        own = self.own(worker, unit)
        own.closings += 1
        gone = [expired] if expired != merged else []
        step = closing(
            *(unit, own.epoch, own.closings),
            merged={merged: b"merged"},
            expired=gone,
            alerts={"rule": alert},
            outbox=own.number([text]),
        )
        self.sent.append(step)
        if self.send(step):
            del self.owned[worker, unit]

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def a_step_arrives_late_or_again(self, data: st.DataObject) -> None:
        self.send(data.draw(st.sampled_from(self.sent[-6:])))

    @rule(worker=workers)
    def crash(self, worker: str) -> None:
        self.owned = {key: own for key, own in self.owned.items() if key[0] != worker}

    @rule(unit=units, number=st.integers(0, 8))
    def trim(self, unit: UnitId, number: int) -> None:
        self.both(lambda store: store.trim_outbox(unit, number))

    @rule(worker=workers, unit=units, offset=st.integers(0, 2))
    def suspect(self, worker: str, unit: UnitId, offset: int) -> None:
        own = self.own(worker, unit)
        self.both(lambda store: store.suspect(unit, own.epoch, offset))

    @rule(worker=workers, unit=units, ms=st.integers(0, 500), idle=st.booleans(), stale=st.booleans(), wall_ms=st.integers(0, 500))
    def report(self, worker: str, unit: UnitId, ms: int, idle: bool, stale: bool, wall_ms: int) -> None:
        reports = [UnitReport(unit, self.own(worker, unit).epoch - stale, ms, idle, self.clock)]
        clocks = self.both(lambda store: store.report(reports, PARTITIONS, NOW_MS, wall_ms))
        for subject in SUBJECTS:
            assert clocks.now.of(subject) >= self.clock.of(subject)
            assert clocks.now.of(subject) >= clocks.delivered.of(subject)
        self.clock = clocks.now

    @rule(worker=workers, unit=units)
    def wake(self, worker: str, unit: UnitId) -> None:
        own = self.own(worker, unit)
        report = UnitReport(unit, own.epoch, own.newest_ms, idle=False)
        assert self.both(lambda store: store.wake(report, NOW_MS)) == self.clock

    @rule(side=sides, events=st.lists(join_events, max_size=6), partition=st.integers(0, 1), late=st.booleans())
    def match(self, side: Side, events: list[tuple[str, int, int]], partition: int, late: bool) -> None:
        batch = join_batch(side, *events, partition=partition, late=late and side == "predictions")
        self.both(lambda store: answers(store.match(batch)))

    @rule(before_ms=st.integers(0, 6 * GENERATION_MS))
    def drop_generations(self, before_ms: int) -> None:
        self.both(lambda store: store.drop_generations(before_ms))
        self.both(lambda store: store.expired())

    @rule(names=st.lists(st.sampled_from(("a", "b", "", "ü|")), max_size=3), limit=st.integers(0, 3))
    def intern(self, names: list[str], limit: int) -> None:
        numbers = self.both(lambda store: store.intern("kind", names, limit))
        self.both(lambda store: store.names("kind", numbers))

    @invariant()
    def every_event_up_to_the_offset_is_counted_once(self) -> None:
        views = self.both(lambda store: store.view(UNITS))
        groups = self.both(lambda store: {unit: set(held) for unit, held in store.pane_groups(["m"], PARTITIONS)["m"].items()})
        for unit, view in views.items():
            assert self.total(unit, sorted(groups[unit])) == (view.next_offset or 0)
            assert view.counters.get("consumed", 0) == (view.next_offset or 0)

    def total(self, unit: UnitId, groups: list[PaneGroup]) -> int:
        """How many events are counted in these panes."""
        return sum(int(blob) for _, blob in self.both(lambda store: store.read_panes({"m": {unit: groups}})["m"]))


def test_both_stores_answer_the_same_and_count_every_event_once(redis_url: str) -> None:
    machine = type("OverRedis", (TwoStores,), {"url": redis_url})
    run_state_machine_as_test(machine, settings=settings(max_examples=40, stateful_step_count=40, deadline=None))
