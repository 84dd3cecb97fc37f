from sinks import OutboundMessage, Sink
from sinks.memory import MemorySink


def test_memory_sink_keeps_order_over_several_deliveries() -> None:
    sink = MemorySink()
    as_seen_by_the_deliverer: Sink = sink
    as_seen_by_the_deliverer.deliver([OutboundMessage("a", None, b"1")])
    as_seen_by_the_deliverer.deliver([OutboundMessage("b", b"k", b"2"), OutboundMessage("a", None, b"3")])

    assert sink.delivered == [("a", None, b"1"), ("b", b"k", b"2"), ("a", None, b"3")]
    assert sink.values("a") == [b"1", b"3"]
    assert sink.values("never") == []
