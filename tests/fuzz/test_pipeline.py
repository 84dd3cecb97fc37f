"""The pipeline, whatever comes: every message is under one heading of the balance sheet, and what goes out is whole.

Hostile messages go through a worker over the memory store, in batches cut anywhere, with restarts and closing windows in between. `Monitor`
checks after every tick that the balance sheets add up to the offsets.
"""

import base64
import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.join import Side
from stream.store import UnitId
from tests.builders import MODEL, SCHEMA_OF, Monitor, at, label, prediction, settings, small_reference, validator
from tests.fuzz import hostile
from tests.fuzz.effort import examples

PARTITIONS = (2, 1)
UNITS: list[tuple[Side, int]] = [("predictions", 0), ("predictions", 1), ("labels", 0)]
CONFIGURED = settings(
    {MODEL: {"classes": ["0", "1"], "segments": ["plan", "country"], "segment_values_max": 2, "drift": {"minimum_sample": 1}}},
    windows=[{"size": "1m"}, {"size": "3m", "slide": "1m"}],
    time={"allowed_lateness": "30s"},
)

logs = st.lists(
    st.tuples(st.sampled_from(UNITS), st.lists(hostile.messages, max_size=6), st.sampled_from(("read", "tick", "start"))), max_size=8
)


def monitor() -> Monitor:
    return Monitor(CONFIGURED, {MODEL: small_reference()}, partitions=PARTITIONS)


def run(watched: Monitor, log: list[tuple[tuple[Side, int], list[bytes | None], str]]) -> None:
    """Messages arrive, the worker reads, now and then it checkpoints and closes, or is started again; in the end all is quiet."""
    for (side, partition), messages, then in log:
        watched.log(*messages, side=side, partition=partition)
        watched.read(side, partition, most=4)
        if then != "read":
            getattr(watched, then)()
    finish(watched)


def finish(watched: Monitor) -> None:
    """Read all that is left, close all that is open, and start again, which decodes what was encoded."""
    for side, partition in UNITS:
        watched.read(side, partition)
    watched.tick()
    watched.quiet()
    watched.start()
    watched.tick()


def assert_nothing_is_lost(watched: Monitor) -> None:
    """Every message is counted, and each that could not be is a dead letter with all its bytes, or a late event, delivered once."""
    letters = {
        (letter["origin"]["topic"], letter["origin"]["partition"], letter["origin"]["offset"]): letter
        for letter in said(watched, "dead_letter")
    }
    refused: Counter[UnitId] = Counter()
    for (topic, partition, offset), letter in letters.items():
        unit = next(unit for unit in watched.logs if topic == f"driftstream.{unit.side}" and unit.partition == partition)
        refused[unit] += 1
        raw = watched.logs[unit][offset] or b""
        assert base64.b64decode(letter["value_base64"]) == raw[:700_000]
        assert letter["value_bytes"] == len(raw)
    for unit, log in watched.logs.items():
        counters = watched.pipeline.units[unit].counters
        assert counters["consumed"] == len(log)
        assert counters["malformed"] == refused[unit]
    late = [event["origin"]["offset"] for event in said(watched, "late") if event["subject"] == "traffic"]
    assert len(late) == sum(watched.pipeline.units[unit].counters["late"] for unit in watched.logs)


def said(watched: Monitor, topic: str) -> list[dict[str, Any]]:
    """What went to a topic, each message JSON that any reader takes, and what its published schema says."""
    values = watched.sink.values(getattr(CONFIGURED.kafka.topics, topic))
    found = [
        json.loads(value.decode(), parse_int=lambda text: int(text[:300])) for value in values
    ]  # Python reads 4300 digits, JSON has no limit
    for message in found:
        validator(topic).validate(message)
    return found


@examples(50)
@given(logs)
def test_no_message_crashes_the_worker_or_is_lost(log: list[tuple[tuple[Side, int], list[bytes | None], str]]) -> None:
    watched = monitor()
    run(watched, log)
    assert_nothing_is_lost(watched)
    for topic in SCHEMA_OF:
        said(watched, topic)


@pytest.mark.parametrize("side", ["predictions", "labels"])
@pytest.mark.parametrize("late", [False, True])
def test_every_hostile_value_passes_through_the_worker(side: Side, late: bool) -> None:
    watched = monitor()
    if late:  # what is read of each message then goes out as it came
        watched.log(*hostile_events("before", b"nothing", seconds=600)[:1], side=side)
    watched.log(*hostile_events("ignored", b"ignored"), *hostile_events("read", b"features"), side=side)
    if side == "labels":
        watched.run(*(prediction(f"ignored {i}", 1) for i in range(len(hostile.EVERY_VALUE))))
    finish(watched)
    assert_nothing_is_lost(watched)
    assert bool(said(watched, "late")) == late


def hostile_events(prefix: str, field: bytes, seconds: float = 1) -> list[bytes]:
    """An event for each hostile value, in this field, under an id of its own."""
    return [
        hostile.as_object([*hostile.whole(f"{prefix} {i}", seconds, "0"), (field, value)]) for i, value in enumerate(hostile.EVERY_VALUE)
    ]


@examples(20)
@given(st.lists(st.tuples(st.integers(0, 253_402_300_799), st.integers(0, 5)), min_size=1, max_size=8), st.booleans())
def test_events_of_any_year_are_counted_and_their_windows_close(times: list[tuple[int, int]], labels_first: bool) -> None:
    watched = monitor()
    watched.now_ms = 253_402_300_000_000  # the year 9999
    predictions = [prediction(f"id {id_}", 0) | {"timestamp": seconds * 1000} for seconds, id_ in times]
    labels = [label(f"id {id_}", 0) | {"timestamp": seconds * 1000} for seconds, id_ in times]
    for side, events in (("labels", labels), ("predictions", predictions))[:: 1 if labels_first else -1]:
        watched.run(*events, side=side)
    finish(watched)
    assert_nothing_is_lost(watched)
    traffic = [result for result in said(watched, "results") if result["subject"] == "traffic" and result["window"]["name"] == "1m"]
    finals = [result for result in traffic if result["final"] and result["segment"] is None]
    counted = sum(watched.pipeline.units[unit].counters["counted"] for unit in watched.logs)
    assert sum(result["counts"]["predictions"] for result in finals) == counted > 0


def test_a_worker_that_has_seen_hostile_messages_still_counts_the_next_one() -> None:
    watched = monitor()
    watched.run(*(hostile.as_object([*hostile.whole("a", 1, "0"), (b"timestamp", value)]) for value in hostile.EVERY_VALUE))
    before = watched.counters()["counted"]
    watched.run(prediction("another", 600), {"timestamp": at(600)})
    assert watched.counters()["counted"] == before + 1
