"""One worker process, without Faust: the pipeline behind a lock, its clock, its sinks and its gauges.

Three threads meet here: the consumer's (assign, revoke), the one that counts (process, tick) and the one that delivers. Everything
that touches the pipeline holds the lock; delivery does not, since Kafka may take its time.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from sinks import Sink
from sinks.alerts import DeliveryError
from sinks.gauges import Gauges
from stream.kafka import Batch
from stream.pipeline import Pipeline
from stream.settings import Topics
from stream.store import SUBJECTS, Store, UnitId
from stream.store_redis import UNREACHABLE
from stream.watermark import NO_TIME

log = logging.getLogger(__name__)

STALE_S: Final = 10.0  # without a checkpoint for so long, a worker is not ready; ten times the default interval


def wall_clock_ms() -> int:
    """Now, int ms since the epoch."""
    return time.time_ns() // 1_000_000


class Worker:
    """What the composition root drives."""

    def __init__(
        self,
        build: Callable[[], Pipeline],
        store: Store,
        sink: Sink,
        gauges: Gauges,
        topics: Topics,
        clock: Callable[[], int] = wall_clock_ms,
    ) -> None:
        """`build` makes the pipeline, and makes it anew after the store was away: one that came back older may number names anew."""
        self._build, self._store, self._sink, self._gauges, self._topics, self._clock = build, store, sink, gauges, topics, clock
        self._pipeline = build()
        self._lock = threading.Lock()
        self._suspended = False
        self._durable: dict[UnitId, int] = {}
        self._ticked_s = -STALE_S

    # the consumer's thread

    def assign(self, units: Mapping[UnitId, tuple[int, int]], *, from_end: bool) -> dict[UnitId, tuple[int, int]]:
        """Take units over; see `kafka.Owner`."""
        taken: dict[UnitId, tuple[int, int]] = {}
        with self._lock, self._store_may_fail():
            for unit_id, (first, end) in units.items():
                unit = self._pipeline.assign(unit_id, self._clock())
                if unit.next_offset is None:
                    unit.advance_to(end if from_end else first)
                elif unit.next_offset > end:
                    raise RuntimeError(
                        f"cannot go on with {unit_id}: next_offset={unit.next_offset}, expected at most {end}, the end of the partition; "
                        "the topic was created anew or lost data: use another redis.namespace, or restore the topic"
                    )
                elif unit.next_offset < first:
                    log.error("%s: %d messages are gone from Kafka before they were counted", unit_id, first - unit.next_offset)
                    unit.counters["lost"] += first - unit.next_offset
                    self._gauges.add_lost(self._topic(unit_id), first - unit.next_offset)
                    unit.advance_to(first)
                assert unit.next_offset is not None
                taken[unit_id] = (unit.epoch, unit.next_offset)
                self._gauges.set_consumer_lag(self._topic(unit_id), unit_id.partition, end - unit.next_offset)
            self._gauges.set_units_owned(len(self._pipeline.units))
        return {} if self._suspended else taken

    def revoke(self, units: Sequence[UnitId]) -> None:
        with self._lock, self._store_may_fail():
            self._pipeline.checkpoint(self._clock(), only=units)
            self._forget(units)

    def lose(self, units: Sequence[UnitId]) -> None:
        with self._lock:
            self._forget(units)

    def _forget(self, units: Iterable[UnitId]) -> None:
        for unit in units:
            self._durable.pop(unit, None)
            self._pipeline.drop(unit)  # if it was lost to another worker, the pipeline has done so already
            for model in self._pipeline.at_home(unit):
                self._gauges.forget_model(model)
            self._gauges.forget_partition(self._topic(unit), unit.partition)
        self._gauges.set_units_owned(len(self._pipeline.units))

    @contextmanager
    def _store_may_fail(self) -> Iterator[None]:
        """While the store does not answer, own nothing: what is durable is the state, and Kafka has the rest."""
        try:
            yield
        except UNREACHABLE as error:
            if not self._suspended:
                log.error(
                    "Redis does not answer (%s): nothing is read until it does, then everything goes on from the last checkpoint", error
                )
            self._suspended = True
            self._forget(list(self._pipeline.units))

    def suspended(self) -> bool:
        return self._suspended

    def resumes(self) -> bool:
        with self._lock:
            try:
                self._pipeline = self._build()
            except UNREACHABLE:
                return False
            self._suspended = False
        log.info("Redis answers again")
        return True

    def _topic(self, unit: UnitId) -> str:
        return self._topics.predictions if unit.side == "predictions" else self._topics.labels

    def offsets(self) -> dict[UnitId, int]:
        return dict(self._durable)

    def lag(self, lags: Mapping[UnitId, int]) -> None:
        for unit, messages in lags.items():
            self._gauges.set_consumer_lag(self._topic(unit), unit.partition, messages)

    # the counting thread

    def process(self, batch: Batch) -> None:
        """Count a batch. An exception names the messages it was at."""
        with self._lock, self._store_may_fail():
            now_ms = self._clock()
            for messages in batch.messages:
                try:
                    self._pipeline.process(messages, now_ms)
                except Exception as error:
                    error.add_note(
                        f"while counting {messages.topic}/{messages.unit.partition}@{messages.offsets[0]} to {messages.offsets[-1]}"
                    )
                    raise
            for unit_id in batch.ends:
                if unit_id in self._pipeline.units:
                    self._pipeline.units[unit_id].watermark.at_end = True
            self._count()

    def tick(self) -> None:
        """Checkpoint, let the clock follow, close windows."""
        if self._suspended:
            return
        with self._lock, self._store_may_fail():
            now_ms, started = self._clock(), time.perf_counter()
            lost = self._pipeline.checkpoint(now_ms)
            self._gauges.observe_checkpoint(time.perf_counter() - started)
            firings, lost_closing = self._pipeline.close(now_ms)
            for firing in firings:
                self._gauges.observe_result(firing.result)
                for alert in firing.alerts:
                    self._gauges.observe_alert(alert)
            for seconds in {firing.seconds for firing in firings}:
                self._gauges.observe_window_close(seconds)
            expired = self._pipeline.expire()
            self._gauges.add_expired("predictions", expired[0])
            self._gauges.add_expired("labels", expired[1])
            if any(expired):
                log.info("dropped %d predictions without a label and %d labels without a prediction after labels.max_delay", *expired)
            if lost or lost_closing:
                log.warning("another worker owns %s by now", ", ".join(map(str, [*lost, *lost_closing])))
                self._forget([*lost, *lost_closing])
            self._durable = {unit.id: unit.next_offset for unit in self._pipeline.units.values() if unit.next_offset is not None}
            for subject in SUBJECTS:
                ms = self._pipeline.clock.of(subject)
                self._gauges.set_watermark(subject, None if ms == NO_TIME else ms)
            self._gauges.set_outbox_length(sum(len(unit.undelivered) for unit in self._pipeline.units.values()))
            self._ticked_s = time.monotonic()

    def _count(self) -> None:
        """Move what was tallied to the counters."""
        tally = self._pipeline.take_tally()
        for topic, n in tally.consumed.items():
            self._gauges.add_consumed(topic, n)
        for (model, version), n in tally.predictions.items():
            self._gauges.add_predictions(model, version, n)
        for (model, subject), n in tally.late.items():
            self._gauges.add_late(model, subject, n)
        for model, n in tally.duplicates.items():
            self._gauges.add_duplicates(model, n)
        for outcome, n in tally.labels.items():
            self._gauges.add_labels(outcome, n)
        for reason, n in tally.dead_letters.items():
            self._gauges.add_dead_letters(reason, n)

    # the delivering thread

    def deliver(self) -> None:
        """Deliver what is durable and trim it; what Kafka does not take now waits for the next time."""
        with self._lock:
            taken = self._pipeline.take_outbox()
        if not taken:
            return
        try:
            self._sink.deliver([message for messages in taken.values() for _, message in messages])
        except DeliveryError as error:
            log.warning("%s; the outbox keeps them", error)
            with self._lock:
                self._pipeline.put_back(taken)
            return
        with self._lock, self._store_may_fail():
            for unit_id, messages in taken.items():
                self._store.trim_outbox(unit_id, messages[-1][0])

    # for /ready

    def owns_units(self) -> bool:
        """Whether the group gave it partitions."""
        return bool(self._pipeline.units)

    def store_answers(self) -> bool:
        """Whether the store took everything a moment ago."""
        return not self._suspended and time.monotonic() - self._ticked_s < STALE_S
