"""Kafka stops under a running worker, for a while or for good."""

import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from tests.services.fraud import FraudLoad, make_load
from tests.services.kafka import KafkaBroker
from tests.services.topics import count, wait_until
from tests.services.worker import WorkerProcess, write_config


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaBroker]:
    """A broker of this module's own, which its tests stop and start."""
    with KafkaBroker() as broker:
        yield broker


@pytest.fixture
def load(broker: KafkaBroker, redis_url: str, tmp_path: Path) -> FraudLoad:
    return make_load(broker.bootstrap, redis_url, uuid.uuid4().hex, tmp_path)


def counts_all(load: FraudLoad, worker: WorkerProcess) -> None:
    everything = count(load.kafka, load.topics["predictions"], load.topics["labels"])
    wait_until(lambda: load.consumed() >= everything, otherwise=lambda: worker.log[-3000:])
    wait_until(lambda: not any(view.outbox for view in load.view().values()), otherwise=lambda: worker.log[-3000:])


@pytest.mark.parametrize("away_s", [0, 15], ids=["restarted", "away for longer than the session"])
def test_worker_reconnects_by_itself_and_nothing_is_lost(broker: KafkaBroker, load: FraudLoad, away_s: float) -> None:
    with WorkerProcess(load.config) as worker:
        load.send(30, rate=100)
        wait_until(lambda: load.consumed() > 500, otherwise=lambda: worker.log)
        broker.kill()
        if away_s:
            wait_until(lambda: not orjson.loads(worker.get("ready")[1])["kafka"], otherwise=lambda: worker.log)
            assert worker.get("ready")[0] == 503
            assert worker.get("health")[0] == 200
            time.sleep(away_s)  # this is the outage
        broker.start()
        load.send(10, rate=100)
        load.close()
        counts_all(load, worker)
        wait_until(lambda: worker.get("ready")[0] == 200, otherwise=lambda: worker.get("ready"))
        assert worker.end() == 0
    assert load.mismatches(load.expected()) == []
    assert load.balance().adds_up


def test_worker_that_is_asked_to_stop_while_kafka_is_away_ends_in_order_and_keeps_its_outbox(broker: KafkaBroker, load: FraudLoad) -> None:
    falls_idle = write_config(load.folder / "idle.yaml", base=load.config, time={"idle_after": "4s", "when_idle": "wall_clock"})
    load.send(30, rate=100)
    with WorkerProcess(falls_idle) as worker:
        everything = count(load.kafka, load.topics["predictions"], load.topics["labels"])
        wait_until(lambda: load.consumed() >= everything, every_s=0.01, otherwise=lambda: worker.log[-3000:])
        time.sleep(1)  # the ends of the partitions are seen: from here on they are quiet, and fall idle before the session ends
        broker.kill()
        wait_until(lambda: any(view.outbox for view in load.view().values()), otherwise=lambda: worker.log[-3000:])
        started = time.monotonic()
        assert worker.end() == 0
        assert time.monotonic() - started < 25
        assert any(view.outbox for view in load.view().values())
        broker.start()
        worker.start()
        expected = load.expected()  # the windows that are left close when the partitions fall idle again
        wait_until(lambda: load.mismatches(expected) == [], every_s=0.5, otherwise=lambda: load.mismatches(expected))
        assert worker.end() == 0
