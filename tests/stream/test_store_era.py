"""A Redis that is not the one a worker began with, or whose topics are not: nothing is written, until the worker begins again."""

from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from stream.embedded import RedisServer
from stream.store import Checkpoint, Partitions, Source, Store, UnitReport, WrongSourceError
from stream.store_redis import UNREACHABLE, RedisStore, StateChangedError
from tests.stream.stores import L0, P0, SOURCE, RedisBackend, checkpoint, closing, join_batch, pane

WRITES: dict[str, Callable[[Store], object]] = {
    "acquire": lambda store: store.acquire(P0, []),
    "checkpoint": lambda store: store.checkpoint([step()]),
    "suspect": lambda store: store.suspect(P0, 1, 0),
    "trim_outbox": lambda store: store.trim_outbox(P0, 1),
    "report": lambda store: store.report([UnitReport(P0, 1, 5, idle=False)], SOURCE.partitions, 0, 0),
    "match": lambda store: store.match(join_batch("labels", ("a", 0, 0))),
    "drop_generations": lambda store: store.drop_generations(5_000),
    "intern": lambda store: store.intern("kind", ["a"]),
    "close": lambda store: store.close([closing(P0, 1, 1)]),
    "discard_panes": lambda store: store.discard_panes({"m": {P0: [pane()]}}),
}


def step(sequence: int = 1) -> Checkpoint:
    return checkpoint(P0, 1, sequence, panes={"m": {pane(): b"1"}})


@pytest.mark.parametrize("write", WRITES)
def test_nothing_reaches_a_redis_that_was_emptied_since(redis_backend: RedisBackend, write: str) -> None:
    store = redis_backend.client()
    store.acquire(P0, ["m"])
    redis_backend.clear()
    with pytest.raises(StateChangedError):
        WRITES[write](store)
    assert redis_backend.all_keys() == []


@pytest.mark.parametrize("write", WRITES)
def test_nothing_reaches_the_state_that_another_worker_has_begun_since(redis_backend: RedisBackend, write: str) -> None:
    store = redis_backend.client()
    store.acquire(P0, ["m"])
    redis_backend.clear()
    redis_backend.client().acquire(P0, ["m"])
    before = redis_backend.dump()
    with pytest.raises(StateChangedError):
        WRITES[write](store)
    assert redis_backend.dump() == before


def test_a_redis_that_was_restarted_takes_nothing_until_the_worker_begins_again(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        store = RedisStore(server.url, "test", max_delay_ms=1_000)
        try:
            store.begin(SOURCE)
            store.acquire(P0, ["m"])
            server.kill()
            server.start()
            with pytest.raises(StateChangedError, match="was restarted"):
                store.checkpoint([step()])
            store.begin(SOURCE)
            state = store.acquire(P0, ["m"])
            assert (state.epoch, state.next_offset) == (2, None)
        finally:
            store.close_connections()


@pytest.mark.parametrize("setting", ["maxmemory", "min-replicas-to-write"])
def test_a_redis_that_takes_no_writes_is_sat_out_and_gone_on_with(tmp_path: Path, setting: str) -> None:
    """It is full, or misses its replicas: whatever a worker does is refused in a way that it waits for."""
    with RedisServer(tmp_path) as server, redis.Redis.from_url(server.url) as operator:
        store = RedisStore(server.url, "test", max_delay_ms=1_000)
        try:
            store.begin(SOURCE)
            store.acquire(P0, ["m"])
            operator.config_set(setting, 1)
            with pytest.raises(UNREACHABLE):
                store.checkpoint([step()])
            with pytest.raises(UNREACHABLE):
                store.begin(SOURCE)
            operator.config_set(setting, 0)
            store.begin(SOURCE)
            assert store.checkpoint([step()]) == []
        finally:
            store.close_connections()


def test_workers_that_begin_one_after_the_other_share_an_era(redis_backend: RedisBackend) -> None:
    first = redis_backend.client()
    redis_backend.client().acquire(L0, [])
    assert first.acquire(P0, []).epoch == 1


def test_topics_that_grow_begin_an_era_and_leave_the_homes_where_they_are(redis_backend: RedisBackend) -> None:
    before = redis_backend.client()
    before.acquire(P0, ["m"])
    before.checkpoint([step()])
    grown = SOURCE._replace(partitions=Partitions(5, 1))
    store = RedisStore(redis_backend.url, redis_backend.namespace, max_delay_ms=1_000)
    try:
        assert store.begin(grown) == Partitions(5, 1, homes=2)
        assert store.acquire(P0, ["m"]).panes == {"m": {pane(): b"1"}}
        with pytest.raises(StateChangedError):
            before.acquire(L0, [])
        assert before.begin(grown) == Partitions(5, 1, homes=2)
    finally:
        store.close_connections()


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (SOURCE._replace(cluster="another"), "cluster='cluster'"),
        (SOURCE._replace(predictions_topic="made anew"), "topic:predictions='topic of predictions'"),
        (SOURCE._replace(labels_topic="made anew"), "topic:labels='topic of labels'"),
    ],
)
def test_state_from_another_cluster_or_topic_is_refused_by_name(redis_backend: RedisBackend, other: Source, named: str) -> None:
    before = redis_backend.dump()
    with pytest.raises(WrongSourceError, match=named):
        redis_backend.client().begin(other._replace(partitions=Partitions(9, 9)))
    assert redis_backend.dump() == before


def test_an_id_that_a_broker_does_not_tell_is_not_compared(redis_backend: RedisBackend) -> None:
    redis_backend.client().begin(Source("", "", "", SOURCE.partitions))
