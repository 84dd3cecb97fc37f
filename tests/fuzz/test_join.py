"""The join over both stores, whatever comes: they answer the same, and as a dictionary of ids would.

Ids of any text, some of which share bucket and shard or the eight bytes that name a row; times from 1970 to 9999; batches cut anywhere
and read again. The dictionary knows nothing of generations, so ids that come again out of reach, or after they were dropped, are left to
the stores to agree about.
"""

import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.join import (
    BUCKETS,
    CORRECTED,
    DUPLICATE,
    EXPIRED,
    LABEL,
    LATE_PREDICTION,
    MATCHED,
    PREDICTION,
    REPLACED,
    SHARDS,
    STORED,
    TRAIL,
    JoinBatch,
    Side,
    id_hashes,
    sources,
)
from stream.store import JoinStore
from stream.store_memory import MemoryStore
from stream.store_redis import RedisStore
from tests.fuzz.effort import examples
from tests.stream.stores import MAX_DELAY_MS, SOURCE, in_redis

GENERATION_MS = MAX_DELAY_MS // 4
LATEST_MS = 253_402_300_799_999
NUMBERS = [float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 0.5, 5e-324, 1.7e308]
STATUSES = (STORED, DUPLICATE, MATCHED, EXPIRED, CORRECTED, REPLACED)


@dataclass(frozen=True, slots=True)
class Event:
    """One event as it lies in its partition."""

    side: Side
    partition: int
    offset: int
    hashed: bytes
    time_ms: int
    late: bool
    number: float
    cls: int


Source = tuple[Side, int, int]


@dataclass
class Dictionary:
    """What every event must come to, if all times are near each other: what it came to when it was first read.

    The first of each side under an id waits or matches; a newer label that says something else corrects the one before.
    """

    answers: dict[Source, int] = field(default_factory=dict)
    predicted: set[bytes] = field(default_factory=set)
    labels: dict[bytes, tuple[Event, tuple[int, str]]] = field(default_factory=dict)  # the newest, and what stands

    def match(self, event: Event) -> int:
        source = (event.side, event.partition, event.offset)
        if source not in self.answers:
            self.answers[source] = self._prediction(event) if event.side == "predictions" else self._label(event)
        return self.answers[source]

    def _prediction(self, event: Event) -> int:
        if event.hashed in self.predicted:
            return DUPLICATE
        self.predicted.add(event.hashed)
        return MATCHED if event.hashed in self.labels else STORED

    def _label(self, event: Event) -> int:
        says, met = (event.cls, event.number.hex()), event.hashed in self.predicted
        if event.hashed not in self.labels:
            self.labels[event.hashed] = event, says
            return MATCHED if met else STORED
        newest, standing = self.labels[event.hashed]
        later = event.time_ms > newest.time_ms
        next_in_line = event.time_ms == newest.time_ms and event.partition == newest.partition and event.offset > newest.offset
        if says == standing:
            self.labels[event.hashed] = (event if later else newest), standing
            return DUPLICATE
        if not (later or next_in_line):
            return DUPLICATE
        self.labels[event.hashed] = event, says
        return CORRECTED if met else REPLACED


@cache
def colliding() -> list[bytes]:
    """Hashes of a few ids whose rows lie in one bucket of one shard, and two that differ only in what no row is told apart by."""
    found: dict[tuple[int, int], list[bytes]] = {}
    for i in range(60_000):
        hashed = id_hashes([f"id {i}"])[0].tobytes() if i < 3000 else random.Random(i).randbytes(16)
        place = (hashed[8] % SHARDS, int.from_bytes(hashed[9:11], "little") % BUCKETS)
        found.setdefault(place, []).append(hashed)
    crowd = max(found.values(), key=len)[:6]
    return [*crowd, crowd[0][:8] + bytes([crowd[0][8] ^ 1]) + crowd[0][9:], b"\0" * 16, b"\xff" * 16, b"\n\0\r\n" * 4]


ids = st.sampled_from(["", "a", "A", "ü", "u\u0308", "\0", "\n", "a" * 100_000, "1", "01", "{a}", "\U0001f600"]) | st.text(max_size=3)
hashes = ids.map(lambda id_: id_hashes([id_])[0].tobytes()) | st.integers(0, 9).map(lambda i: colliding()[i])
near = st.integers(0, 2 * GENERATION_MS - 1).map(lambda ms: 1_700_000_000_000 + ms)
ends = st.builds(lambda i, ms: i * GENERATION_MS + ms, st.integers(0, TRAIL + 3), st.sampled_from((-1, 0, 1))).map(lambda ms: 10**12 + ms)
anytime = st.sampled_from((0, 1, GENERATION_MS, LATEST_MS, LATEST_MS - GENERATION_MS)) | st.integers(0, LATEST_MS) | ends


few = st.sampled_from(id_hashes(["a", "b"]).tolist()).map(bytes)  # so that they come again at any distance


def logs(hashes: st.SearchStrategy[bytes], times: st.SearchStrategy[int]) -> st.SearchStrategy[list[Event]]:
    """Events of two partitions of either side, in the order in which they arrive."""
    rows = st.tuples(
        st.sampled_from(("predictions", "labels")),
        st.sampled_from((0, 1, 65_535)),
        hashes,
        times,
        st.booleans(),
        st.sampled_from(NUMBERS),
        st.sampled_from((0, 1, 65_535)),
    )

    def numbered(drawn: list[tuple[Side, int, bytes, int, bool, float, int]]) -> list[Event]:
        return [Event(row[0], row[1], 2**48 - 1000 + i, *row[2:]) for i, row in enumerate(drawn)]

    return st.lists(rows, max_size=20).map(numbered)


SCORES = 3  # bytes of the scores by class
cuts = st.lists(st.tuples(st.integers(0, 20), st.integers(1, 6)), max_size=8)  # where to read again from, and how many


def batch(events: list[Event]) -> JoinBatch:
    """Events of one partition and side."""
    side, partition = events[0].side, events[0].partition
    rows = np.zeros(len(events), PREDICTION if side == "predictions" else LABEL)
    rows["source"] = sources(partition, np.array([event.offset for event in events], np.int64))
    rows["time"], rows["cls"] = [event.time_ms for event in events], [event.cls for event in events]
    rows["score" if side == "predictions" else "value"] = [event.number for event in events]
    rows["group" if side == "predictions" else "behind"] = 2**32 - 1 if side == "predictions" else [event.cls // 2 for event in events]
    hashed = np.frombuffer(b"".join(event.hashed for event in events), np.uint8).reshape(-1, 16)
    if side == "labels":
        return JoinBatch.of_labels(hashed, rows, SCORES)
    flags = np.array([LATE_PREDICTION * event.late for event in events], np.uint8)
    scores = np.array([[event.cls % 3, event.offset % 7, event.cls % 2] for event in events], np.uint8)  # now and then none at all
    return JoinBatch(side, hashed, rows, flags, rows["time"] + rows["cls"], scores)


def batches(log: list[Event], again: list[tuple[int, int]]) -> Iterator[list[Event]]:
    """The log as it is read: neighbours of one partition together; then, as after crashes, parts of it once more."""
    order = [*log, *(event for start, n in again for event in log[start : start + n])]
    while order:
        n = next((i for i, event in enumerate(order) if (event.side, event.partition) != (order[0].side, order[0].partition)), len(order))
        yield order[:n]
        order = order[n:]


def asked(store: JoinStore, events: list[Event]) -> tuple[list[int], list[int], list[bytes], bytes, list[bytes]]:
    """Status, flags, the other side's row, scores and the replaced label, byte by byte (NaN is not equal to itself), of each event."""
    found = store.match(batch(events))
    assert set(found.status.tolist()) <= set(STATUSES)
    others, also = ([row.tobytes() for row in rows] for rows in (found.others, found.also))
    return found.status.tolist(), found.flags.tolist(), others, found.scores.tobytes(), also


@pytest.fixture(scope="module")
def shared_redis(redis_url: str) -> str:
    """The URL of the Redis that all examples share; each has keys of its own."""
    return redis_url


@examples(60)
@given(logs(hashes, near), cuts)
def test_the_memory_store_joins_as_a_dictionary_would(log: list[Event], again: list[tuple[int, int]]) -> None:
    store, expected = MemoryStore(MAX_DELAY_MS), Dictionary()
    for events in batches(log, again):
        assert asked(store, events)[0] == [expected.match(event) for event in events]


@examples(100)
@given(
    log=logs(hashes, near) | logs(few, anytime) | logs(few, ends),
    again=cuts,
    drops=st.lists(st.tuples(st.integers(0, 8), anytime), max_size=2),
)
def test_both_stores_answer_the_same(
    shared_redis: str, log: list[Event], again: list[tuple[int, int]], drops: list[tuple[int, int]]
) -> None:
    memory = MemoryStore(MAX_DELAY_MS)
    with in_redis(shared_redis, f"test-{uuid.uuid4().hex}") as backend:
        for i, events in enumerate(batches(log, again)):
            assert asked(memory, events) == asked(backend.store, events)
            for before_ms in (ms for at, ms in drops if at == i):
                assert memory.drop_generations(before_ms) == backend.store.drop_generations(before_ms)
        assert memory.expired() == backend.store.expired()


@examples(40)
@given(
    max_delay_ms=st.sampled_from((1, 3, 5, 1001, 3650 * 86_400_000)),
    log=logs(hashes, near) | logs(few, anytime) | logs(few, ends),
    again=cuts,
)
def test_both_stores_answer_the_same_whatever_the_delay(
    shared_redis: str, max_delay_ms: int, log: list[Event], again: list[tuple[int, int]]
) -> None:
    memory = MemoryStore(max_delay_ms)
    with in_redis(shared_redis, f"test-{uuid.uuid4().hex}") as backend:
        store = RedisStore(shared_redis, backend.namespace, max_delay_ms=max_delay_ms)
        store.begin(SOURCE)
        try:
            for events in batches(log, again):
                assert asked(memory, events) == asked(store, events)
        finally:
            store.close_connections()


@pytest.mark.parametrize("first", ["predictions", "labels"])
def test_both_stores_reach_as_far(shared_redis: str, first: Side) -> None:
    """At every distance in generations, and a millisecond more and less."""
    second: Side = "labels" if first == "predictions" else "predictions"
    memory, base_ms = MemoryStore(MAX_DELAY_MS), 10**12
    apart = [distance * GENERATION_MS + ms for distance in range(-TRAIL - 2, TRAIL + 3) for ms in (-1, 0, 1)]
    hashed = [one.tobytes() for one in id_hashes([f"id {i}" for i in range(len(apart))])]
    with in_redis(shared_redis, f"test-{uuid.uuid4().hex}") as backend:
        for side, times in ((first, [base_ms] * len(apart)), (second, [base_ms + ms for ms in apart])):
            events = [Event(side, 0, i, id_, time, False, 0.5, 1) for i, (id_, time) in enumerate(zip(hashed, times, strict=True))]
            found = asked(memory, events)
            assert found == asked(backend.store, events)
        assert {STORED, MATCHED} == set(found[0])


def test_a_large_batch_of_few_ids_is_joined_alike(shared_redis: str) -> None:
    chance = np.random.default_rng(7)
    pool = id_hashes([f"id {i}" for i in range(5000)])
    memory = MemoryStore(MAX_DELAY_MS)
    with in_redis(shared_redis, f"test-{uuid.uuid4().hex}") as backend:
        for step in range(4):
            drawn = chance.integers(0, len(pool), 8000).tolist()
            events = [
                Event(
                    "labels" if step % 2 else "predictions", 0, step * 8000 + i, pool[which].tobytes(), 10**12 + which % 2000, False, 0.5, 1
                )
                for i, which in enumerate(drawn)
            ]
            assert asked(memory, events) == asked(backend.store, events)
