"""Redis dies under a running worker and comes back: the worker waits, and not one count differs."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson

from stream.embedded import RedisServer
from tests.services.fraud import make_load
from tests.services.topics import count, wait_until
from tests.services.worker import WorkerProcess


def test_worker_sits_out_a_redis_that_is_killed_and_goes_on_where_it_stood(kafka: str, tmp_path: Path) -> None:
    with RedisServer() as server:
        load = make_load(kafka, server.url, uuid.uuid4().hex, tmp_path)
        with WorkerProcess(load.config) as worker, ThreadPoolExecutor(1) as sender:
            sending = sender.submit(load.send, 40, rate=300)
            wait_until(lambda: load.consumed() > 1_000, otherwise=lambda: worker.log[-3000:])
            server.kill()
            wait_until(lambda: worker.get("ready")[0] == 503, otherwise=lambda: worker.log[-3000:])
            assert orjson.loads(worker.get("ready")[1])["store"] is False
            assert worker.get("health")[0] == 200
            sending.result()
            server.start()
            load.close()
            everything = count(kafka, load.topics["predictions"], load.topics["labels"])
            wait_until(lambda: load.consumed() >= everything, otherwise=lambda: worker.log[-3000:])
            wait_until(lambda: not any(view.outbox for view in load.view().values()), otherwise=lambda: worker.log[-3000:])
            assert worker.end() == 0
            assert worker.log.count("Redis takes writes again") == 1
        assert load.mismatches(load.expected()) == []
        balance = load.balance()
        assert balance.adds_up
        assert balance.predictions.consumed + balance.labels.consumed == everything
