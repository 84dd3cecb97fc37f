"""Where results go: Kafka, Prometheus, memory. Knows the result types of `stream.results`, never windows, stores or the core."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class OutboundMessage(NamedTuple):
    """One message for a topic, encoded."""

    topic: str
    key: bytes | None
    value: bytes


class Sink(Protocol):
    """A place that messages are delivered to."""

    def deliver(self, messages: Sequence[OutboundMessage]) -> None:
        """Return once all messages are durable, in order per key; or raise, and the caller delivers all of them again."""
