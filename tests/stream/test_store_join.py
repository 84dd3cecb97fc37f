"""The join of labels with predictions: one suite over the memory store and over a real Redis.

A generation is 1000 ms here. A label finds a prediction of its own generation, of the TRAIL before, and of the one after:

    generation   0    1    2    3    4    5    6    7
    label                                     L
    finds             P    P    P    P    P    P    P
"""

from dataclasses import replace

import numpy as np
import pytest

from stream.join import (
    BY_LABEL,
    DUPLICATE,
    EXPIRED,
    HAS_LABEL,
    HAS_PREDICTION,
    LATE_PREDICTION,
    MATCHED,
    STORED,
    TRAIL,
    JoinBatch,
    Side,
    id_hashes,
    sources,
)
from stream.store_memory import MemoryStore
from stream.store_redis import DROP_ROWS
from tests.stream.stores import GENERATION_MS, MAX_DELAY_MS, Answer, Backend, Event, RedisBackend, answers, join_batch

BASE_MS = 1_000 * GENERATION_MS
COMPLETE = HAS_PREDICTION | HAS_LABEL
OTHER: dict[Side, Side] = {"predictions": "labels", "labels": "predictions"}
both_sides = pytest.mark.parametrize("first", ["predictions", "labels"])


def match(backend: Backend, side: Side, *events: Event, partition: int = 0, late: bool = False) -> list[Answer]:
    """What becomes of events of one partition."""
    return answers(backend.store.match(join_batch(side, *events, partition=partition, late=late)))


def completed(first: Side, source: int, time_ms: int = BASE_MS, more: int = 0) -> Answer:
    """The answer to the event that completes a match with this one of the side that came first."""
    return (MATCHED, COMPLETE | (BY_LABEL if first == "predictions" else 0) | more, source, time_ms)


@both_sides
def test_whichever_comes_second_completes_the_match(backend: Backend, first: Side) -> None:
    second = OTHER[first]
    assert match(backend, first, ("a", BASE_MS, 5), ("b", BASE_MS, 6)) == [(STORED,), (STORED,)]
    assert match(backend, second, ("b", BASE_MS + 1, 8), ("c", BASE_MS, 9)) == [completed(first, 6), (STORED,)]


@both_sides
def test_a_replay_of_the_completing_event_counts_again(backend: Backend, first: Side) -> None:
    match(backend, first, ("a", BASE_MS, 5))
    for _ in range(3):
        assert match(backend, OTHER[first], ("a", BASE_MS, 7)) == [completed(first, 5)]


@both_sides
def test_a_replay_of_the_waiting_event_counts_nothing(backend: Backend, first: Side) -> None:
    for _ in range(2):
        assert match(backend, first, ("a", BASE_MS, 5)) == [(STORED,)]
    match(backend, OTHER[first], ("a", BASE_MS, 7))
    for _ in range(2):
        assert match(backend, first, ("a", BASE_MS, 5)) == [(STORED,)]


@both_sides
def test_another_event_of_the_same_side_is_a_duplicate(backend: Backend, first: Side) -> None:
    second = OTHER[first]
    match(backend, first, ("a", BASE_MS, 5))
    assert match(backend, first, ("a", BASE_MS, 6)) == [(DUPLICATE,)]
    assert match(backend, first, ("a", BASE_MS, 5), partition=1) == [(DUPLICATE,)]  # the same offset, of another partition
    match(backend, second, ("a", BASE_MS, 5))
    for side in (first, second):
        assert match(backend, side, ("a", BASE_MS, 6)) == [(DUPLICATE,)]
        assert match(backend, side, ("a", BASE_MS, 5), partition=1) == [(DUPLICATE,)]
    assert match(backend, second, ("a", BASE_MS, 5)) == [completed(first, 5)]


@both_sides
def test_duplicates_within_one_batch_are_seen(backend: Backend, first: Side) -> None:
    second = OTHER[first]
    assert match(backend, first, ("a", BASE_MS, 1), ("a", BASE_MS, 2), ("b", BASE_MS, 3), ("a", BASE_MS, 1)) == [
        (STORED,),
        (DUPLICATE,),
        (STORED,),
        (STORED,),
    ]
    assert match(backend, second, ("a", BASE_MS, 1), ("a", BASE_MS, 2), ("b", BASE_MS, 3), ("a", BASE_MS, 1)) == [
        completed(first, 1),
        (DUPLICATE,),
        completed(first, 3),
        completed(first, 1),
    ]


@both_sides
def test_a_duplicate_with_a_time_of_its_own_is_seen_in_the_next_generation(backend: Backend, first: Side) -> None:
    match(backend, first, ("a", BASE_MS, 1))
    earlier_or_later = -GENERATION_MS if first == "predictions" else GENERATION_MS
    assert match(backend, first, ("a", BASE_MS + earlier_or_later, 2)) == [(DUPLICATE,)]


@both_sides
def test_a_replay_finds_itself_when_its_id_was_used_again_much_later(backend: Backend, first: Side) -> None:
    apart = 2 if first == "predictions" else -2  # out of reach of each other, so neither is a duplicate
    events = [("a", BASE_MS, 1), ("a", BASE_MS + apart * GENERATION_MS, 2)]
    assert match(backend, first, *events) == [(STORED,), (STORED,)]
    assert match(backend, first, *events) == [(STORED,), (STORED,)]
    assert match(backend, OTHER[first], ("a", BASE_MS, 3)) == [completed(first, 1)]
    assert match(backend, first, *events) == [(STORED,), (STORED,)]


@both_sides
def test_that_a_prediction_was_late_is_remembered(backend: Backend, first: Side) -> None:
    match(backend, first, ("a", BASE_MS, 1), ("b", BASE_MS, 2), late=first == "predictions")
    found = match(backend, OTHER[first], ("a", BASE_MS, 1), late=first == "labels")
    assert found == [completed(first, 1, more=LATE_PREDICTION)]
    on_time = match(backend, "labels", ("c", BASE_MS, 3)) + match(backend, "predictions", ("c", BASE_MS, 3))
    assert on_time == [(STORED,), completed("labels", 3)]


def test_rows_come_back_byte_for_byte(backend: Backend) -> None:
    batch = join_batch("predictions", *[(f"id {i}", BASE_MS + i, 2**48 - 1 - i) for i in range(300)], partition=65_535)
    rng = np.random.default_rng(1)
    batch.rows["score"], batch.rows["group"] = rng.normal(size=300), rng.integers(0, 2**32, 300)
    batch.rows["score"][::3] = np.nan
    batch.rows["value"] = rng.normal(size=300)
    backend.store.match(batch)
    labels = join_batch("labels", *[(f"id {i}", BASE_MS, i) for i in range(300)])
    labels.rows["behind"], labels.rows["value"] = 2**31 - 1, -np.inf
    found = backend.store.match(labels)
    assert found.others.tobytes() == batch.rows.tobytes()
    again = backend.store.match(batch)
    assert again.status.tolist() == [STORED] * 300


@both_sides
@pytest.mark.parametrize("distance", range(-3, TRAIL + 3))
def test_a_label_finds_predictions_a_little_later_and_max_delay_earlier(backend: Backend, first: Side, distance: int) -> None:
    times: dict[Side, int] = {"predictions": BASE_MS, "labels": BASE_MS + distance * GENERATION_MS}
    match(backend, first, ("a", times[first], 1))
    found = match(backend, OTHER[first], ("a", times[OTHER[first]], 1))
    assert found == [completed(first, 1, times[first]) if -1 <= distance <= TRAIL else (STORED,)]


def test_a_batch_may_reach_over_any_number_of_generations(backend: Backend) -> None:
    events = [(f"id {i}", BASE_MS + i * GENERATION_MS, i) for i in range(1_500)]
    assert match(backend, "predictions", *events) == [(STORED,)] * 1_500
    assert match(backend, "labels", *events[::-1]) == [completed("predictions", i, time_ms) for _, time_ms, i in events[::-1]]


def test_an_empty_batch_matches_nothing(backend: Backend) -> None:
    for side in OTHER:
        assert match(backend, side) == []


def test_dropping_counts_what_never_matched(backend: Backend) -> None:
    match(backend, "predictions", *[(f"p{i}", BASE_MS, i) for i in range(30)], *[(f"m{i}", BASE_MS, 30 + i) for i in range(20)])
    match(backend, "labels", *[(f"l{i}", BASE_MS, i) for i in range(7)], *[(f"m{i}", BASE_MS, 7 + i) for i in range(20)])
    match(backend, "predictions", ("next", BASE_MS + GENERATION_MS, 50))
    store = backend.client()
    assert store.drop_generations(BASE_MS + GENERATION_MS - 1) == (0, 0)
    assert store.drop_generations(BASE_MS + GENERATION_MS) == (30, 7)
    assert store.drop_generations(BASE_MS + GENERATION_MS) == (0, 0)
    assert store.expired() == (30, 7)
    assert store.drop_generations(BASE_MS + 2 * GENERATION_MS) == (1, 0)
    assert store.expired() == backend.client().expired() == (31, 7)


@both_sides
def test_a_match_across_generations_leaves_nothing_unmatched(backend: Backend, first: Side) -> None:
    times: dict[Side, int] = {"predictions": BASE_MS, "labels": BASE_MS + GENERATION_MS}
    match(backend, first, ("a", times[first], 1))
    match(backend, OTHER[first], ("a", times[OTHER[first]], 2))
    assert backend.store.drop_generations(BASE_MS + 3 * GENERATION_MS) == (0, 0)


def test_nothing_is_stored_behind_what_was_dropped(backend: Backend) -> None:
    match(backend, "predictions", ("old", BASE_MS, 1), ("young", BASE_MS + GENERATION_MS, 2))
    backend.store.drop_generations(BASE_MS + GENERATION_MS)
    for side in OTHER:  # whatever their shard, and whether or not anything stood there
        old = [(f"new {i}", BASE_MS - i * GENERATION_MS, 10 + i) for i in range(30)]
        assert match(backend, side, ("old", BASE_MS, 1), *old) == [(EXPIRED,)] * 31
    assert match(backend, "labels", ("young", BASE_MS, 1)) == [completed("predictions", 2, BASE_MS + GENERATION_MS)]
    assert match(backend, "labels", ("new", BASE_MS + GENERATION_MS, 4)) == [(STORED,)]


def test_dropping_less_than_before_brings_nothing_back(backend: Backend) -> None:
    store = backend.client()
    match(backend, "predictions", ("a", BASE_MS, 1), ("b", BASE_MS + GENERATION_MS, 2))
    store.drop_generations(BASE_MS + 2 * GENERATION_MS)
    store.drop_generations(BASE_MS)
    assert match(backend, "predictions", ("b", BASE_MS + GENERATION_MS, 2)) == [(EXPIRED,)]


def test_a_prediction_that_came_before_the_drop_can_still_be_matched(backend: Backend) -> None:
    match(backend, "predictions", ("a", BASE_MS + GENERATION_MS, 1))
    backend.store.drop_generations(BASE_MS + GENERATION_MS)
    label_time = BASE_MS + (1 + TRAIL) * GENERATION_MS
    assert match(backend, "labels", ("a", label_time, 1)) == [completed("predictions", 1, BASE_MS + GENERATION_MS)]


def test_a_dropped_generation_leaves_nothing_in_redis(redis_backend: RedisBackend) -> None:
    n = 2 * 8 * DROP_ROWS + 100  # each shard takes several calls
    rows = join_batch("predictions", *[(str(i), BASE_MS, i) for i in range(n)])
    store = redis_backend.client()
    store.match(rows)
    assert store.drop_generations(BASE_MS + GENERATION_MS) == store.expired() == (n, 0)
    left = {key.rsplit(b":", 1)[1] for key in redis_backend.all_keys()}
    assert left == {b"counts", b"era", b"generations"}
    assert {name for key in redis_backend.all_keys() if key.endswith(b"generations") for name in redis_backend.redis.hkeys(key)} == {
        b"dropped"
    }
    assert store.pending() == {}


def test_rows_that_are_kept_are_counted_by_the_end_of_their_generation(backend: Backend) -> None:
    match(backend, "predictions", ("a", 0, 0), ("b", 0, 1), ("c", GENERATION_MS, 2))
    match(backend, "predictions", ("a", 0, 0))  # a replay
    match(backend, "labels", ("a", 0, 0), ("early", GENERATION_MS, 1))
    match(backend, "predictions", ("early", GENERATION_MS, 3))
    assert backend.store.pending() == {GENERATION_MS: 2, 2 * GENERATION_MS: 2}
    backend.store.drop_generations(GENERATION_MS)
    assert backend.store.pending() == {2 * GENERATION_MS: 2}


def test_pending_rows_stay_small_in_redis(redis_backend: RedisBackend) -> None:
    ids = [str(i) for i in range(40_000)]
    events = [(id_, BASE_MS, i) for i, id_ in enumerate(ids)]
    match(redis_backend, "predictions", *events)
    match(redis_backend, "labels", *events)
    buckets = [key for key in redis_backend.all_keys() if b":pending:" in key]
    encodings = {redis_backend.redis.object("encoding", key) for key in buckets[::50]}
    assert encodings <= {b"listpack", b"ziplist"}


@both_sides
def test_rows_crowded_in_one_bucket_are_judged_one_after_the_other(backend: Backend, first: Side) -> None:
    """Redis looks up and writes rows of one bucket together; ids come again in the same batch, and in the generations next to theirs."""
    rng = np.random.default_rng(3)
    one_by_one = MemoryStore(MAX_DELAY_MS)
    for step, n in enumerate((1, 300, 300, 300)):
        side = first if step % 2 == 0 else OTHER[first]
        numbers, generations = rng.integers(0, 500, n).tolist(), (np.arange(n) * 3 // n).tolist()
        batch = join_batch(
            side, *[(f"id {i}", BASE_MS + g * GENERATION_MS, 1000 * step + i) for i, g in zip(numbers, generations, strict=True)]
        )
        batch = replace(batch, hashes=batch.hashes * (np.arange(16) < 8).astype(np.uint8))  # what chooses shard and bucket is cleared
        alone = [batch.at(np.arange(n) == i) for i in range(n)]
        assert answers(backend.store.match(batch)) == [answer for event in alone for answer in answers(one_by_one.match(event))]
    assert backend.store.pending() == one_by_one.pending()


@both_sides
def test_rows_stay_small_when_they_have_met(redis_backend: RedisBackend, first: Side) -> None:
    for side, size in ((first, {"predictions": 33, "labels": 29}[first]), (OTHER[first], 61)):
        match(redis_backend, side, ("a", BASE_MS, 5))
        (key,) = (key for key in redis_backend.all_keys() if b":pending:" in key)
        assert [len(value) for value in redis_backend.redis.hvals(key)] == [size]


def test_an_event_is_named_by_its_partition_and_offset() -> None:
    assert sources(0, np.array([0, 1])).tolist() == [0, 1]
    assert sources(65_535, np.array([2**48 - 1])).tolist() == [2**64 - 1]
    assert len({int(source) for p in range(3) for source in sources(p, np.arange(3))}) == 9


def test_ids_are_spread_over_shards_and_buckets() -> None:
    hashes = id_hashes([str(i) for i in range(10_000)])
    batch = JoinBatch.of_labels(hashes, join_batch("labels", *[("", 0, 0)] * 10_000).rows)
    shards = np.bincount(batch.shards(), minlength=8)
    packed = batch.packed(np.zeros(10_000, np.int64))["address"]
    assert shards.min() > 1_000
    assert np.bincount(packed["bucket"], minlength=1024).max() < 40
    assert len(set(packed["id"].tolist())) == 10_000
