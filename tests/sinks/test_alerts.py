"""KafkaSink against librdkafka's mock cluster: what arrives, and what is said when it does not."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from sinks import OutboundMessage
from sinks.alerts import DeliveryError, KafkaSink


@pytest.fixture(scope="module")
def brokers() -> Iterator[str]:
    """The address of a mock cluster, which lives as long as the client that hosts it."""
    host = Producer({"test.mock.num.brokers": 1})
    yield ",".join(f"{broker.host}:{broker.port}" for broker in host.list_topics(timeout=10).brokers.values())
    host.close()


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def read(brokers: str, topic: str, count: int) -> list[tuple[bytes | None, bytes | None]]:
    """Keys and values of `count` messages of all partitions of the topic, each partition in order."""
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "reader", "auto.offset.reset": "error", "enable.auto.commit": False})
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    received: list[tuple[bytes | None, bytes | None]] = []
    deadline = time.monotonic() + 20
    while len(received) < count and time.monotonic() < deadline:
        for message in consumer.consume(count - len(received), timeout=1):
            assert message.error() is None, message.error()
            received.append((message.key(), message.value()))
    received += [(message.key(), message.value()) for message in consumer.consume(1, timeout=0.2)]  # none more
    consumer.close()
    return received


def test_delivered_messages_are_in_kafka_when_deliver_returns(brokers: str) -> None:
    sink = KafkaSink({"bootstrap.servers": brokers})
    sink.deliver(
        [OutboundMessage("alerts", b"fraud", b"first"), OutboundMessage("late", None, b"x"), OutboundMessage("alerts", b"fraud", b"second")]
    )

    assert read(brokers, "alerts", 2) == [(b"fraud", b"first"), (b"fraud", b"second")]
    assert read(brokers, "late", 1) == [(None, b"x")]
    sink.close(5)


def test_nothing_to_deliver_is_delivered_at_once(brokers: str) -> None:
    sink = KafkaSink({"bootstrap.servers": brokers})
    sink.deliver([])
    sink.close(5)


def test_a_full_producer_queue_delays_and_loses_nothing(brokers: str) -> None:
    sink = KafkaSink({"bootstrap.servers": brokers, "queue.buffering.max.messages": 10})
    sink.deliver([OutboundMessage("full", b"k", b"%d" % i) for i in range(500)])

    assert read(brokers, "full", 500) == [(b"k", b"%d" % i) for i in range(500)]
    sink.close(5)


def test_a_late_event_of_the_largest_size_goes_through(brokers: str) -> None:
    largest = b"x" * (1 << 20) + b"and its envelope"
    sink = KafkaSink({"bootstrap.servers": brokers})
    sink.deliver([OutboundMessage("large", None, largest)])

    assert read(brokers, "large", 1) == [(None, largest)]
    sink.close(5)


def test_an_unreachable_broker_is_an_error_that_names_topic_and_cause(closed_port: int) -> None:
    sink = KafkaSink({"bootstrap.servers": f"127.0.0.1:{closed_port}", "message.timeout.ms": 300, "log_level": 0})
    with pytest.raises(DeliveryError, match=r"topic='alerts', error='.*_MSG_TIMED_OUT.*', failed=2 of 2") as raised:
        sink.deliver([OutboundMessage("alerts", None, b"1"), OutboundMessage("alerts", None, b"2")])
    assert "must be delivered again" in str(raised.value)
    sink.close(1)


def test_a_message_that_kafka_will_never_take_is_given_up_and_holds_no_other_back(brokers: str, caplog: pytest.LogCaptureFixture) -> None:
    refused: list[str] = []
    sink = KafkaSink({"bootstrap.servers": brokers, "message.max.bytes": 2000}, refused=refused.append)
    sink.deliver(
        [OutboundMessage("mixed", None, b"1"), OutboundMessage("dead-letter", None, b"x" * 3000), OutboundMessage("mixed", None, b"3")]
    )
    assert {value for _, value in read(brokers, "mixed", 2)} == {b"1", b"3"}
    assert refused == ["dead-letter"]
    assert "a message of 3000 bytes to dead-letter" in caplog.text
    sink.close(5)


def test_options_cannot_weaken_the_guarantees(brokers: str) -> None:
    KafkaSink({"bootstrap.servers": brokers, "acks": "0"}).close(5)  # idempotence refuses acks=0, had it been passed on
    with pytest.raises(KafkaException, match="idempotence"):  # which refuses this too, so it was not switched off
        KafkaSink({"bootstrap.servers": brokers, "enable.idempotence": False, "max.in.flight": 10})


def test_close_fails_a_delivery_that_waits_for_a_broker(closed_port: int) -> None:
    sink = KafkaSink({"bootstrap.servers": f"127.0.0.1:{closed_port}", "log_level": 0})
    errors: list[Exception] = []

    def deliver() -> None:
        try:
            sink.deliver([OutboundMessage("alerts", None, b"1")])
        except DeliveryError as error:
            errors.append(error)

    thread = threading.Thread(target=deliver)
    thread.start()
    while not len(sink._producer):  # until it is queued
        thread.join(0.01)
    sink.close(0.2)
    thread.join(10)
    assert not thread.is_alive()
    assert "PURGE" in str(errors[0])
