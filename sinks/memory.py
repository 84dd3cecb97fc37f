"""A sink that keeps what it is given, for tests and `driftstream replay`."""

from collections.abc import Sequence

from sinks import OutboundMessage


class MemorySink:
    """Delivers into the list `delivered`, in order."""

    def __init__(self) -> None:
        self.delivered: list[OutboundMessage] = []

    def deliver(self, messages: Sequence[OutboundMessage]) -> None:
        self.delivered.extend(messages)

    def values(self, topic: str) -> list[bytes]:
        """The values delivered to one topic.

        >>> sink = MemorySink()
        >>> sink.deliver([OutboundMessage("alerts", None, b"{}"), OutboundMessage("results", b"fraud", b"[]")])
        >>> sink.values("results")
        [b'[]']
        """
        return [message.value for message in self.delivered if message.topic == topic]
