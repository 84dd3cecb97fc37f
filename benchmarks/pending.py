"""What a prediction costs in Redis while it waits for its label: memory, and the CPU of storing it."""

import time
from typing import Any

import numpy as np
import redis

from benchmarks.data import RATE, START_MS
from benchmarks.measure import Measured, peak_rss_bytes
from stream.join import PREDICTION, JoinBatch, id_hashes
from stream.settings import Settings
from stream.store import Partitions, Source
from stream.store_redis import RedisStore

BATCH = 10_000


def measure(config: Settings, client: redis.Redis, predictions: int) -> Measured:
    """Store the rows of this many predictions."""
    store = RedisStore(config.redis.url.get_secret_value(), config.redis.namespace, max_delay_ms=config.labels.max_delay_ms)
    ids = [f"20260101T000000000-7-{number:07d}" for number in range(predictions)]
    rows = np.zeros(predictions, PREDICTION)
    rows["source"], rows["time"] = np.arange(predictions), START_MS + np.arange(predictions) * 1000 // RATE
    store.begin(Source("", "", "", Partitions(1, 1)))
    before, wall, cpu = _info(client), time.perf_counter(), time.process_time()
    for start in range(0, predictions, BATCH):
        batch = rows[start : start + BATCH]
        flags, closed = np.zeros(len(batch), np.uint8), np.zeros(len(batch), np.int64)
        store.match(
            JoinBatch("predictions", id_hashes(ids[start : start + BATCH]), batch, flags, closed, np.zeros((len(batch), 0), np.uint8))
        )
    measured = time.perf_counter() - wall, time.process_time() - cpu
    after = _info(client)
    store.close_connections()
    return Measured(
        *measured,
        peak_rss_bytes=peak_rss_bytes("self"),
        redis_cpu_s=sum(after[name] - before[name] for name in ("used_cpu_user", "used_cpu_sys")),
        redis_bytes=after["used_memory"] - before["used_memory"],
    )


def _info(client: redis.Redis) -> dict[str, Any]:
    return client.info()
