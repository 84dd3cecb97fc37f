"""Delivers the outbox to Kafka with an idempotent producer. No outbox bookkeeping here: the caller trims what was delivered."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from sinks import OutboundMessage

log = logging.getLogger(__name__)

_TUNING: dict[str, Any] = {
    "linger.ms": 5,
    "compression.type": "lz4",
    "message.max.bytes": 8_000_000,  # the topic's limit decides; librdkafka's 1 MB would refuse a late event of 1 MiB for ever
}
# What "delivered" promises: on all in-sync replicas, once per attempt, in order. Not open to user options.
_GUARANTEES: dict[str, Any] = {"enable.idempotence": True, "acks": "all"}
# What is wrong with the message itself: trying again would end the same way.
_NEVER: frozenset[int] = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG_SIZE, KafkaError.INVALID_RECORD})
_QUEUE_FULL_WAIT_S = 0.1  # for delivery reports to free places in the producer's queue, before produce is tried again


class DeliveryError(Exception):
    """At least one message is not known to be durable; delivering the same messages again is safe, consumers tell them apart by id."""


class KafkaSink:
    """Delivers messages to Kafka and waits for every delivery report."""

    def __init__(self, options: Mapping[str, Any], refused: Callable[[str], None] = lambda _: None) -> None:
        """Connect in the background.

        Args:
            options: librdkafka's (`bootstrap.servers`, security, `message.timeout.ms`, ...).
            refused: called with the topic of each message that Kafka will never take, which is logged and given up: it would block all
                others for ever.
        """
        self._refused = refused
        self._producer = Producer({**_TUNING, **options, **_GUARANTEES}, logger=log)

    def deliver(self, messages: Sequence[OutboundMessage]) -> None:
        """Block until every message is acknowledged; call it in a thread. Waits at most `message.timeout.ms` (librdkafka: 300 s).

        Raises:
            DeliveryError: names the first topic that refused or timed out, librdkafka's error, and how many messages failed.
        """
        failures: list[tuple[str, KafkaError]] = []

        def fail(topic: str, error: KafkaError, size: int) -> None:
            if error.code() in _NEVER:
                log.error("Kafka refuses a message of %d bytes to %s for good, it is given up: %s", size, topic, error.str())
                self._refused(topic)
            else:
                failures.append((topic, error))

        def report(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                fail(message.topic() or "?", error, len(message.value() or b""))

        for message in messages:
            try:
                self._produce(message, report)
            except KafkaException as error:  # refused before it was queued: the others still go out
                fail(message.topic, error.args[0], len(message.value))
        self._producer.flush()
        if failures:
            topic, cause = failures[0]
            raise DeliveryError(
                f"cannot deliver to Kafka: topic={topic!r}, error={str(cause)!r}, failed={len(failures)} of {len(messages)}, "
                "expected every message to be acknowledged; all of them must be delivered again"
            )

    def close(self, timeout_s: float) -> None:
        """Wait at most `timeout_s` for what another thread is delivering (the rest fails there), then release the connections."""
        if self._producer.flush(timeout_s):
            self._producer.purge()
        self._producer.close()

    def _produce(self, message: OutboundMessage, report: Any) -> None:
        while True:
            try:
                self._producer.produce(message.topic, message.value, message.key, on_delivery=report)
                return
            except BufferError:  # the queue holds queue.buffering.max.messages or .kbytes
                self._producer.poll(_QUEUE_FULL_WAIT_S)
