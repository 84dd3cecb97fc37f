"""Each pair of a prediction and a label is counted exactly once, in whatever order they arrive and whoever crashes when.

Predictions and labels, duplicates among them, lie in partitions. The units read theirs in batches, in any interleaving. A unit's counts
become durable together with its offset; when it crashes it goes back to both, and reads the same messages again:

    P0   a b c |           | a b c        the crash takes the match of c, and replaying c counts it again
    L0       | a    | c                   a was counted by the label, which is durable, so its prediction's replay counts nothing

Labels under one id may say different things: what is counted in the end is one of the newest, and nothing else.
"""

import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.join import CORRECTED, DUPLICATE, MATCHED, REPLACED, STORED, Side
from stream.store import JoinStore, UnitId
from tests.stream.stores import GENERATION_MS, MemoryBackend, in_redis, join_batch

Action = tuple[int, Literal["read", "checkpoint", "crash"], int]  # which unit does it, and for a read how many messages

ids = st.sampled_from([f"id {i}" for i in range(8)])
times = st.integers(0, 2 * GENERATION_MS - 1)  # a duplicate's own time must not take it out of reach: see test_store_join.py
Log = list[tuple[str, int, int]]  # id, time, and of a label what it says
logs = st.lists(st.lists(st.tuples(ids, times, st.integers(0, 2)), max_size=10), min_size=1, max_size=3)
actions: st.SearchStrategy[list[Action]] = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from(("read", "read", "read", "checkpoint", "crash")), st.integers(1, 5)), max_size=40
)


@dataclass
class Counted:
    """What a unit knows: how far it has read, what it found on the way, by status, and what it counted, by id and what the label said."""

    offset: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    outcomes: Counter[tuple[str, int]] = field(default_factory=Counter)

    def copy(self) -> "Counted":
        return Counted(self.offset, self.statuses.copy(), self.outcomes.copy())


class Unit:
    """Reads its partition; what it has counted is durable only once it has checkpointed."""

    def __init__(self, unit: UnitId, log: Log, store: JoinStore) -> None:
        self.unit, self.log, self.store = unit, log, store
        self.held, self.durable = Counted(), Counted()

    def read(self, most: int) -> None:
        read = self.log[self.held.offset : self.held.offset + most]
        if not read:
            return
        batch = join_batch(
            self.unit.side,
            *[(id_, time_ms, self.held.offset + i) for i, (id_, time_ms, _) in enumerate(read)],
            partition=self.unit.partition,
        )
        if self.unit.side == "labels":
            batch.rows["cls"] = [says for _, _, says in read]
        found = self.store.match(batch)
        for i, ((id_, _, _), status, row, other) in enumerate(zip(read, found.status, batch.rows, found.others, strict=True)):
            self.held.statuses[int(status)] += 1
            also = [int(label["cls"]) for label in found.also["row"][found.also["event"] == i]]
            if status == CORRECTED:
                self.held.outcomes.update({(id_, int(row["cls"])): 1})
                self.held.outcomes.subtract({(id_, also[0]): 1})
            elif status == MATCHED:
                self.held.outcomes[id_, int(row["cls"]) if self.unit.side == "labels" else [int(other["cls"]), *also][-1]] += 1
        self.held.offset += len(read)

    def checkpoint(self) -> None:
        self.durable = self.held.copy()

    def crash(self) -> None:
        self.held = self.durable.copy()


def run(store: JoinStore, partitions: dict[Side, list[Log]], steps: list[Action]) -> list[Unit]:
    """The units after these steps, each then read to the end and durable."""
    units = [Unit(UnitId(side, number), log, store) for side, logs in partitions.items() for number, log in enumerate(logs)]
    for which, action, most in steps:
        unit = units[which % len(units)]
        if action == "read":
            unit.read(most)
        else:
            getattr(unit, action)()
    for unit in units:
        unit.read(len(unit.log))
        unit.checkpoint()
    return units


def assert_each_pair_counts_once(units: list[Unit]) -> None:
    seen: dict[Side, Counter[str]] = {"predictions": Counter(), "labels": Counter()}
    found: dict[Side, Counter[int]] = {"predictions": Counter(), "labels": Counter()}
    newest: dict[str, set[int]] = {}
    outcomes: Counter[tuple[str, int]] = Counter()
    for unit in units:
        seen[unit.unit.side].update(id_ for id_, _, _ in unit.log)
        found[unit.unit.side].update(unit.durable.statuses)
        outcomes.update(unit.durable.outcomes)
    labels = [event for unit in units if unit.unit.side == "labels" for event in unit.log]
    for id_, time_ms, says in labels:
        if time_ms == max(other_ms for other, other_ms, _ in labels if other == id_):
            newest.setdefault(id_, set()).add(says)
    counted = {pair: n for pair, n in outcomes.items() if n}
    assert set(counted.values()) <= {1}
    assert Counter(id_ for id_, _ in counted) == Counter(seen["predictions"].keys() & seen["labels"].keys())
    assert all(says in newest[id_] for id_, says in counted)
    for side, events in seen.items():
        again = found[side][DUPLICATE] + found[side][CORRECTED] + found[side][REPLACED]
        assert again == events.total() - len(events)
        assert found[side][MATCHED] + found[side][STORED] == len(events)


@given(logs, logs, actions)
@settings(deadline=None, max_examples=200)
def test_each_pair_counts_once_in_memory(predictions: list[Log], labels: list[Log], steps: list[Action]) -> None:
    assert_each_pair_counts_once(run(MemoryBackend().store, {"predictions": predictions, "labels": labels}, steps))


@pytest.fixture(scope="module")
def shared_redis(redis_url: str) -> str:
    """The URL of the Redis that all examples share; each has keys of its own."""
    return redis_url


@given(predictions=logs, labels=logs, steps=actions)
@settings(deadline=None, max_examples=60)
def test_each_pair_counts_once_in_redis(shared_redis: str, predictions: list[Log], labels: list[Log], steps: list[Action]) -> None:
    with in_redis(shared_redis, f"test-{uuid.uuid4().hex}") as backend:
        partitions: dict[Side, list[Log]] = {"predictions": predictions, "labels": labels}
        units = run(backend.store, partitions, steps)
        assert_each_pair_counts_once(units)
        in_memory = run(MemoryBackend().store, partitions, steps)
        assert [unit.durable for unit in units] == [unit.durable for unit in in_memory]
