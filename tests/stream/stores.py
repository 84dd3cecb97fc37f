"""Both stores behind one face, and the steps that are written to them, for the contract suite and the laws."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import redis

from sinks import OutboundMessage
from stream.join import LABEL, LATE_PREDICTION, MATCHED, PREDICTION, JoinBatch, Matches, Side, id_hashes, sources
from stream.store import Checkpoint, Closing, PaneGroup, Partitions, Source, Store, UnitId
from stream.store_memory import MemoryStore
from stream.store_redis import RedisStore

GENERATION_MS = 1_000
MAX_DELAY_MS = 4 * GENERATION_MS
SOURCE = Source("cluster", "topic of predictions", "topic of labels", Partitions(2, 1))
P0, P1, L0 = UnitId("predictions", 0), UnitId("predictions", 1), UnitId("labels", 0)

Event = tuple[str, int, int]  # prediction id, time in ms, offset
Answer = tuple[int, ...]
Scores = Sequence[Sequence[int]]  # the bytes of each event


class Backend(Protocol):
    """State that any number of workers share; `store` is that of one of them."""

    store: Store

    def client(self) -> Store:
        """The store of one more worker."""
        ...

    def dump(self) -> object:
        """All state there is, to compare: equal dumps mean that nothing changed."""
        ...


class MemoryBackend:
    """State in one process."""

    def __init__(self) -> None:
        self.store: Store = MemoryStore(MAX_DELAY_MS)

    def client(self) -> Store:
        return self.store

    def dump(self) -> object:
        return copy.deepcopy(self.store)


class RedisBackend:
    """State in the keys of one namespace."""

    def __init__(self, url: str, namespace: str) -> None:
        self.url, self.namespace = url, namespace
        self.redis = redis.Redis.from_url(url)
        self._clients: list[RedisStore] = []
        self.store: Store = self.client()

    def client(self) -> RedisStore:
        self._clients.append(RedisStore(self.url, self.namespace, max_delay_ms=MAX_DELAY_MS))
        self._clients[-1].begin(SOURCE)
        return self._clients[-1]

    def all_keys(self) -> list[bytes]:
        """All keys of the namespace."""
        return sorted(self.redis.scan_iter(f"{self.namespace}:*", count=10_000))

    def dump(self) -> dict[bytes, bytes | None]:
        return {key: self.redis.dump(key) for key in self.all_keys()}

    def clear(self) -> None:
        """Forget everything, as a Redis that came back empty has."""
        if keys := self.all_keys():
            self.redis.unlink(*keys)

    def close(self) -> None:
        for client in self._clients:
            client.close_connections()
        self.redis.close()


@contextmanager
def in_redis(url: str, namespace: str) -> Iterator[RedisBackend]:
    """A backend that leaves no keys and no connections behind."""
    backend = RedisBackend(url, namespace)
    try:
        yield backend
    finally:
        backend.clear()
        backend.close()


def pane(start_ms: int = 0, version: str = "v1", segment: str = "") -> PaneGroup:
    """A pane of traffic."""
    return PaneGroup("traffic", start_ms, version, segment)


def message(text: str, key: bytes | None = b"key") -> OutboundMessage:
    return OutboundMessage("topic", key, text.encode())


def checkpoint(unit: UnitId, epoch: int, sequence: int, **changes: Any) -> Checkpoint:
    """A step of the unit that moves its offset to `10 * sequence` and changes nothing else but what is given."""
    fields: dict[str, Any] = {"next_offset": 10 * sequence, "newest_ms": 100 * sequence, "floors_ms": {}, "counters": {}}
    return Checkpoint(**{"unit": unit, "epoch": epoch, "sequence": sequence, **fields, "panes": {}, "outbox": [], **changes})


def closing(unit: UnitId, epoch: int, sequence: int, **changes: Any) -> Closing:
    """A step of model m at its home unit."""
    fields: dict[str, Any] = {"model": "m", "subject": "traffic", "closed_ms": 100 * sequence, "fired_ms": 110 * sequence, "merged": {}}
    return Closing(**{"unit": unit, "epoch": epoch, "sequence": sequence, **fields, "expired": [], "alerts": {}, "outbox": [], **changes})


def join_batch(side: Side, *events: Event, partition: int = 0, late: bool = False, says: int = 1, scores: Scores = ()) -> JoinBatch:
    """Events of one partition, labels that say all the same; the class of a prediction is its offset, to tell whose row came back.

    `scores`: of each event, as bytes; labels have as many, of 0.
    """
    ids, times, offsets = zip(*events, strict=True) if events else ((), (), ())
    rows = np.zeros(len(events), PREDICTION if side == "predictions" else LABEL)
    rows["source"], rows["time"] = sources(partition, np.array(offsets, np.int64)), times
    rows["cls"] = np.array(offsets, np.int64) % 2**16 if side == "predictions" else says
    packed = np.array(scores or [()] * len(events), np.uint8).reshape(len(events), -1 if scores else 0)
    if side == "labels":
        return JoinBatch.of_labels(id_hashes(list(ids)), rows, packed.shape[1])
    flags, closed = np.full(len(events), LATE_PREDICTION * late, np.uint8), np.zeros(len(events), np.int64)
    return JoinBatch(side, id_hashes(list(ids)), rows, flags, closed, packed)


def answers(matches: Matches) -> list[Answer]:
    """The status of each event, and where it matched the flags and the other side's source and time."""
    return [
        (int(status), int(flags), int(other["source"]), int(other["time"])) if status == MATCHED else (int(status),)
        for status, flags, other in zip(matches.status, matches.flags, matches.others, strict=True)
    ]
