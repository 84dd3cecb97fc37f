"""Topics that change under running workers, and both protocols by which a group shares partitions."""

import re
import subprocess
import uuid
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions

from stream.store import Partitions
from tests.services.fraud import FraudLoad, make_load
from tests.services.kafka import create_topic
from tests.services.topics import count, wait_until
from tests.services.worker import WorkerProcess, write_config


@pytest.fixture
def load(kafka: str, redis_url: str, redis_namespace: str, tmp_path: Path) -> FraudLoad:
    return make_load(kafka, redis_url, redis_namespace.removeprefix("test-"), tmp_path)


def with_options(load: FraudLoad, **kafka: Any) -> Path:
    """The load's configuration with other settings of Kafka."""
    return write_config(load.folder / f"{uuid.uuid4().hex}.yaml", base=load.config, kafka=kafka)


def owned(worker: WorkerProcess) -> float:
    match = re.search(r"^driftstream_units_owned (\S+)", worker.get("metrics")[1], re.MULTILINE)
    return float(match[1]) if match else 0


def test_partitions_that_a_topic_gains_are_counted_too(load: FraudLoad) -> None:
    config = with_options(load, options={"topic.metadata.refresh.interval.ms": 500})
    with WorkerProcess(config) as worker:
        load.send(20, rate=50)
        wait_until(
            lambda: load.consumed() >= count(load.kafka, load.topics["predictions"], load.topics["labels"]), otherwise=lambda: worker.log
        )
        admin = AdminClient({"bootstrap.servers": load.kafka})
        admin.create_partitions([NewPartitions(load.topics["predictions"], 6)])[load.topics["predictions"]].result(30)
        wait_until(lambda: owned(worker) == 9, otherwise=lambda: worker.log[-3000:])
        load.partitions = Partitions(6, load.partitions.labels)
        load.send(20, rate=50)
        load.close()
        wait_until(
            lambda: load.consumed() >= count(load.kafka, load.topics["predictions"], load.topics["labels"]), otherwise=lambda: worker.log
        )
        wait_until(lambda: not any(view.outbox for view in load.view().values()), otherwise=lambda: worker.log)
        assert worker.end() == 0
    assert load.mismatches(load.expected()) == []
    assert load.balance().adds_up


def test_a_topic_that_was_deleted_and_created_again_is_refused(load: FraudLoad) -> None:
    with WorkerProcess(load.config) as worker:
        load.send(5, rate=20)
        wait_until(lambda: load.consumed() > 0, otherwise=lambda: worker.log)
        assert worker.end() == 0
        before = {unit: view.next_offset for unit, view in load.view().items()}
        admin, topic = AdminClient({"bootstrap.servers": load.kafka}), load.topics["predictions"]
        admin.delete_topics([topic])[topic].result(30)
        wait_until(lambda: topic not in admin.list_topics(timeout=10).topics)
        create_topic(load.kafka, topic, load.partitions.predictions)
        refused = subprocess.run(worker.command(), capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 2
    assert f"cannot go on with the state in redis.namespace='{load.namespace}': it was made from topic:predictions=" in refused.stderr
    assert {unit: view.next_offset for unit, view in load.view().items()} == before


def test_two_workers_share_the_work_by_the_new_group_protocol(load: FraudLoad) -> None:
    config = write_config(load.folder / "new.yaml", base=load.config, kafka={"group_protocol": "consumer"})
    config.write_text(re.sub(r"\n +(session.timeout.ms|heartbeat.interval.ms): .*", "", config.read_text()))  # the broker decides on these
    with WorkerProcess(config) as first, WorkerProcess(config) as second:
        wait_until(lambda: sorted(map(owned, (first, second))) == [3, 4], otherwise=lambda: first.log + second.log)
        load.send(20, rate=100)
        assert first.end() == 0
        wait_until(lambda: owned(second) == 7, otherwise=lambda: second.log)
        load.send(10, rate=100)
        load.close()
        wait_until(
            lambda: load.consumed() >= count(load.kafka, load.topics["predictions"], load.topics["labels"]), otherwise=lambda: second.log
        )
        wait_until(lambda: not any(view.outbox for view in load.view().values()), otherwise=lambda: second.log)
        assert second.end() == 0
    assert load.mismatches(load.expected()) == []
    assert load.balance().adds_up


def test_balance_on_metrics_is_that_of_the_store(load: FraudLoad) -> None:
    with WorkerProcess(load.config) as worker:
        load.send(20, rate=50)
        load.close()
        everything = count(load.kafka, load.topics["predictions"], load.topics["labels"])
        wait_until(lambda: load.consumed() >= everything, otherwise=lambda: worker.log)
        producer = Producer({"bootstrap.servers": load.kafka})
        producer.produce(load.topics["labels"], orjson.dumps({}), partition=0)
        assert producer.flush(30) == 0

        def shown() -> dict[tuple[str, str, str], float]:
            found = re.findall(
                r'^driftstream_balance\{outcome="(.*)",partition="(.*)",topic="(.*)"\} (.*)$', worker.get("metrics")[1], re.MULTILINE
            )
            return {(topic, partition, outcome): float(n) for outcome, partition, topic, n in found}

        labels = load.topics["labels"]
        wait_until(lambda: sum(n for (topic, p, o), n in shown().items() if (p, o) == ("all", "consumed")) == everything + 1)
        total = {outcome: n for (topic, partition, outcome), n in shown().items() if (topic, partition) == (labels, "all")}
        assert total.pop("consumed") == sum(total.values())
        assert total == load.balance().labels.outcomes | {"lost": 0}
        joined = re.findall(r'^driftstream_joined_predictions\{outcome="(.*)"\} (.*)$', worker.get("metrics")[1], re.MULTILINE)
        assert {outcome: float(n) for outcome, n in joined} == load.balance().joined.outcomes
