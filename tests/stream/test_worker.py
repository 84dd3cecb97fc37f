"""The worker around the pipeline: what it shows follows what it owns, and what it does about the messages and limits that stop it."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
import pytest

import stream.events
import stream.worker
from sinks import OutboundMessage
from sinks.alerts import DeliveryError
from sinks.gauges import Gauges
from sinks.memory import MemorySink
from stream.kafka import Batch
from stream.model import Model
from stream.pipeline import Pipeline
from stream.rebuild import Bookmark
from stream.settings import Settings
from stream.store import Clock, Mark, Partitions, UnitId
from stream.store_memory import MemoryStore
from stream.worker import Worker
from tests.builders import BASE_MS, MODEL, label, messages, prediction, settings, small_reference

HOME, OTHER, LABELS = UnitId("predictions", 0), UnitId("predictions", 1), UnitId("labels", 0)


@dataclass
class Desk:
    """A worker with what it works on."""

    worker: Worker
    store: MemoryStore
    sink: MemorySink
    gauges: Gauges
    partitions: list[Partitions]

    def assign(self, *units: UnitId) -> dict[UnitId, tuple[int, int]]:
        return self.worker.assign(dict.fromkeys(units, (0, 100)), from_end=False, committed=lambda _: {})

    def count(self, *seconds: float, first: int = 0, unit: UnitId = HOME, epoch: int = 1) -> None:
        values = [orjson.dumps(prediction(f"{unit.partition} {second}", second)) for second in seconds]
        self.worker.process(Batch([messages(values, epoch=epoch, first=first, partition=unit.partition)]))
        self.worker.tick()

    def shown(self, name: str) -> list[str]:
        """The samples of a metric."""
        return [line for line in self.gauges.exposition()[0].decode().splitlines() if line.startswith(f"driftstream_{name}")]


@pytest.fixture
def desk() -> Callable[..., Desk]:
    def make(
        store: MemoryStore | None = None,
        sink: MemorySink | None = None,
        partitions: int = 1,
        renewed: Callable[[], bool] = lambda: False,
        configured: Settings | None = None,
        **limits: Any,
    ) -> Desk:
        configured = configured or settings({MODEL: {"classes": ["0", "1"], "labels": False}}, worker=limits)
        models = {MODEL: Model.build(configured.model(MODEL), small_reference())}
        held, out, gauges = store or MemoryStore(configured.labels.max_delay_ms), sink or MemorySink(), Gauges()
        counted = [Partitions(partitions, int(configured.models[MODEL].labels))]
        worker = Worker(
            lambda: Pipeline(configured, models, held, counted[-1]),
            held,
            out,
            gauges,
            configured,
            clock=lambda: BASE_MS + 30 * 86_400_000,
            renewed=renewed,
        )
        return Desk(worker, held, out, gauges, counted)

    return make


def test_gauges_of_a_model_leave_when_another_worker_takes_its_home(desk: Callable[..., Desk]) -> None:
    at = desk()
    at.assign(HOME)
    at.count(10, 130)
    assert at.shown("window_end_seconds{")
    at.store.acquire(HOME, [MODEL])
    at.count(190, first=2)
    assert not at.worker.owns_units()
    assert not at.shown("window_end_seconds{")


def test_gauges_by_prediction_time_are_of_the_window_that_alerts_are_about(desk: Callable[..., Desk]) -> None:
    """Each label comes three minutes late: the newest windows never have any."""
    cohorts = {"windows": [{"size": "1m"}], "revise_every": "1m"}
    at = desk(configured=settings(by_prediction_time=cohorts, labels={"max_delay": "5m"}, performance={"minimum_sample": 1}))
    at.assign(HOME, LABELS)
    for minute in range(9):
        at.count(60 * minute + 10, 60 * minute + 59, first=2 * minute)
        late = label(f"0 {60 * (minute - 3) + 10}", 60 * minute + 59, "0")
        at.worker.process(Batch([messages([orjson.dumps(late)], side="labels", first=minute)]))
        at.worker.tick()
    of = {"model": MODEL, "version": "unversioned", "segment": "", "window": "1m"}
    shown = at.gauges.registry.get_sample_value
    assert shown("driftstream_performance", {**of, "by": "prediction_time", "metric": "accuracy"}) == 1.0
    end, newest = (
        shown("driftstream_window_end_seconds", {**of, "subject": subject, "by": by})
        for subject, by in (("performance", "prediction_time"), ("traffic", ""))
    )
    assert end is not None
    assert newest == end + 120


def test_a_unit_that_was_taken_is_taken_back_if_the_group_still_gives_it(
    desk: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    at = desk()
    at.assign(HOME)
    at.count(10)
    at.store.acquire(HOME, [MODEL])
    at.count(20, first=1)
    assert at.worker.reclaims() == []
    later = time.monotonic() + stream.worker.RECLAIM_S
    monkeypatch.setattr(stream.worker.time, "monotonic", lambda: later)
    assert at.worker.reclaims() == [HOME]
    assert at.worker.reclaims() == []
    assert at.assign(HOME) == {HOME: (3, 1)}


def test_a_unit_that_was_taken_and_revoked_is_not_asked_for(desk: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch) -> None:
    at = desk()
    at.assign(HOME)
    at.store.acquire(HOME, [MODEL])
    at.count(20)
    at.worker.lose([HOME])
    later = time.monotonic() + stream.worker.RECLAIM_S
    monkeypatch.setattr(stream.worker.time, "monotonic", lambda: later)
    assert at.worker.reclaims() == []


# what Kafka no longer has


def test_messages_that_kafka_deleted_are_lost_by_their_offsets(desk: Callable[..., Desk]) -> None:
    store = MemoryStore(60_000)
    before = desk(store)
    before.assign(HOME)
    before.count(10, 11)
    at = desk(store)
    assert at.worker.assign({HOME: (5, 9)}, from_end=False, committed=lambda _: {}) == {HOME: (2, 5)}
    at.worker.tick()
    view = store.view([HOME])[HOME]
    assert (view.lost, view.counters["lost"], view.next_offset) == (((2, 4),), 3, 5)
    assert at.shown("lost_total{") == ['driftstream_lost_total{topic="driftstream.predictions"} 3.0']


def test_state_that_was_lost_begins_at_the_bookmark_and_what_kafka_deleted_since_is_lost(
    desk: Callable[..., Desk], caplog: pytest.LogCaptureFixture
) -> None:
    bookmark = Bookmark("driftstream", Clock(BASE_MS + 600_000, BASE_MS + 600_000), Mark(BASE_MS, 20)).encode()
    at = desk()
    assert at.worker.assign({HOME: (30, 90)}, from_end=True, committed=lambda _: {HOME: bookmark}) == {HOME: (1, 30)}
    at.worker.tick()
    assert at.store.view([HOME])[HOME].lost == ((20, 29),)
    assert "predictions/0: Redis has lost its state" in caplog.text
    assert at.shown("rebuilds_total") == ["driftstream_rebuilds_total 1.0"]


@pytest.mark.parametrize(("from_end", "offset"), [(False, 3), (True, 9)])
def test_without_a_bookmark_of_this_namespace_a_partition_begins_as_configured(
    desk: Callable[..., Desk], from_end: bool, offset: int
) -> None:
    other = Bookmark("another", Clock(1, 1), Mark(1, 5)).encode()
    committed = {HOME: other, OTHER: "no bookmark at all"}
    at = desk(partitions=2)
    taken = at.worker.assign({HOME: (3, 9), OTHER: (3, 9)}, from_end=from_end, committed=lambda _: committed)
    assert taken == {HOME: (1, offset), OTHER: (1, offset)}


def test_a_partition_that_its_topic_gained_is_read_from_its_first_message(desk: Callable[..., Desk]) -> None:
    at = desk(partitions=2)
    at.worker.assign({HOME: (0, 9)}, from_end=True, committed=lambda _: {})
    at.worker.tick()
    assert at.worker.assign({OTHER: (0, 9)}, from_end=True, committed=lambda _: {}) == {OTHER: (1, 0)}


# a message that ends workers


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault in the decoder: an id that contains "13" raises what nobody expects."""
    whole = stream.events.id_hashes

    def faulty(ids: list[str]) -> Any:
        if any("13" in id_ for id_ in ids):
            raise ZeroDivisionError
        return whole(ids)

    monkeypatch.setattr(stream.events, "id_hashes", faulty)


@pytest.mark.usefixtures("poison")
def test_a_message_that_ended_two_workers_is_a_dead_letter_for_the_third(desk: Callable[..., Desk]) -> None:
    store = MemoryStore(60_000)
    for kills, fate in ((1, "if another does"), (2, "the next worker sends it to the dead letters")):
        at = desk(store)
        at.assign(HOME)
        with pytest.raises(ZeroDivisionError) as crash:
            at.count(10, 11, 12, 13, 14, epoch=kills)
        assert f"driftstream.predictions/0@3, over which {kills} worker(s) ended; {fate}" in crash.value.__notes__[0]
    at = desk(store)
    assert at.assign(HOME) == {HOME: (3, 0)}
    at.count(10, 11, 12, 13, 14, epoch=3)
    at.worker.deliver()
    (letter,) = map(orjson.loads, at.sink.values("driftstream.dead-letter"))
    assert (letter["reason"], letter["origin"]["offset"]) == ("poison", 3)
    counters = store.view([HOME])[HOME].counters
    assert (counters["consumed"], counters["counted"], counters["malformed"]) == (5, 4, 1)


@pytest.mark.usefixtures("poison")
def test_two_messages_that_end_workers_are_told_apart(desk: Callable[..., Desk]) -> None:
    store = MemoryStore(60_000)
    for kills in range(1, 5):
        at = desk(store)
        at.assign(HOME)
        with pytest.raises(ZeroDivisionError):
            at.count(10, 13, 113, 14, epoch=kills)
    at = desk(store)
    at.assign(HOME)
    at.count(10, 13, 113, 14, epoch=5)
    assert at.shown("dead_letter_total{") == ['driftstream_dead_letter_total{reason="poison"} 2.0']


def test_an_error_that_no_message_makes_by_itself_names_the_batch(desk: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch) -> None:
    at = desk()
    at.assign(HOME)

    def fail_once(*_: Any) -> None:
        monkeypatch.undo()
        raise ZeroDivisionError

    monkeypatch.setattr(Pipeline, "process", fail_once)
    with pytest.raises(ZeroDivisionError) as crash:
        at.count(10, 11)
    assert "driftstream.predictions/0@0 to 1, of which none fails by itself" in crash.value.__notes__[0]


# limits


class ClosedSink(MemorySink):
    """Kafka is away."""

    def deliver(self, messages: Any) -> None:
        raise DeliveryError("away")


def test_nothing_is_read_while_the_outbox_is_full(desk: Callable[..., Desk]) -> None:
    at = desk(sink=ClosedSink(), outbox_max=100)
    at.assign(HOME)
    at.worker.process(Batch([messages([b"?"] * 150)]))
    assert at.worker.held_back() == set()
    at.worker.tick()
    at.worker.deliver()
    at.worker.tick()
    assert at.worker.held_back() == {HOME}
    assert at.shown("outbox_length") == ["driftstream_outbox_length 150.0"]
    at.worker._sink = MemorySink()
    at.worker.deliver()
    at.worker.tick()
    assert at.worker.held_back() == set()


def test_partitions_that_run_ahead_wait_while_too_much_is_open(desk: Callable[..., Desk]) -> None:
    at = desk(partitions=2, state_bytes="1MiB")
    at.assign(HOME, OTHER)
    at.count(0, unit=OTHER)
    assert at.worker.held_back() == set()
    at.count(*range(0, 300_000, 60))  # one pane each, and OTHER holds them all open
    assert at.worker.held_back() == {HOME}
    assert at.shown("partitions_held_back") == ["driftstream_partitions_held_back 1.0"]
    at.count(300_000, first=1, unit=OTHER)
    at.worker.tick()
    assert at.worker.held_back() == set()


def test_a_partition_that_its_topic_gained_makes_the_worker_begin_again(desk: Callable[..., Desk]) -> None:
    at = desk()
    at.assign(HOME)
    at.count(10)
    assert at.assign(OTHER) == {}
    assert at.worker.suspended()
    at.partitions.append(Partitions(2, 0))
    assert at.worker.resumes()
    assert at.assign(HOME, OTHER) == {HOME: (2, 1), OTHER: (1, 0)}


def test_what_was_delivered_after_the_state_began_anew_trims_nothing(desk: Callable[..., Desk], caplog: pytest.LogCaptureFixture) -> None:
    at = desk()
    at.assign(HOME)
    caplog.set_level(logging.CRITICAL)

    class Slow(MemorySink):
        def deliver(self, messages: list[OutboundMessage]) -> None:  # type: ignore[override]
            at.worker._pipeline = at.worker._build()
            super().deliver(messages)

    at.worker._sink = Slow()
    at.worker.process(Batch([messages([b"?"] * 3)]))
    at.worker.tick()
    at.worker.deliver()
    assert at.store.view([HOME])[HOME].outbox == 3


# the balance sheet


def test_balance_of_each_partition_and_in_total_is_shown(desk: Callable[..., Desk]) -> None:
    at = desk(partitions=2)
    at.assign(HOME, OTHER)
    at.worker.process(
        Batch([messages([orjson.dumps(prediction("a", 10)), b"?"]), messages([orjson.dumps(prediction("b", 10))], partition=1)])
    )
    at.worker.tick()
    shown = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in at.shown("balance{")}

    def of(partition: str, outcome: str) -> float:
        return shown[f'driftstream_balance{{outcome="{outcome}",partition="{partition}",topic="driftstream.predictions"}}']

    assert [of("0", outcome) for outcome in ("consumed", "counted", "malformed", "late", "duplicate", "lost")] == [2, 1, 1, 0, 0, 0]
    assert [of("all", outcome) for outcome in ("consumed", "counted", "malformed")] == [3, 2, 1]
    assert at.shown("joined_predictions{") == []  # there is no topic of labels
    at.worker.revoke([OTHER])
    at.worker.tick()
    assert not [line for line in at.shown("balance{") if 'partition="1"' in line]


def test_changed_references_wait_until_nothing_is_on_its_way_out_and_lose_no_event(desk: Callable[..., Desk]) -> None:
    changed: list[bool] = []
    at = desk(renewed=lambda: bool(changed) and changed.pop())
    at.assign(HOME)
    at.count(10, 70)  # fires a window, whose result is in the outbox
    changed.append(True)
    at.worker.tick()
    assert not at.worker.suspended()
    at.worker.deliver()
    at.worker.tick()
    assert at.worker.suspended()
    assert not at.worker.owns_units()
    assert at.worker.resumes()
    ((_, place),) = at.assign(HOME).values()
    assert place == 2
    at.worker.deliver()
    assert len(at.sink.delivered) == 1
