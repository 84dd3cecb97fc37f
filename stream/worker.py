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
from stream.balance import Sheet, read_balance, unit_sheet
from stream.events import Messages
from stream.kafka import Batch, KafkaUnavailableError
from stream.pipeline import POISON_KILLS, Pipeline
from stream.rebuild import Bookmark, delivered_by
from stream.sequential import firing_detectors
from stream.settings import Settings
from stream.store import CLOCKS, Mark, OffsetRange, Store, UnitId
from stream.store_redis import UNREACHABLE, StateChangedError
from stream.unit import Unit
from stream.watermark import NO_TIME

log = logging.getLogger(__name__)

STALE_S: Final = 10.0  # without a checkpoint for so long, a worker is not ready; ten times the default interval
# A unit that another worker took is taken back after so long, if the group still says that it is ours: then the other was a zombie that
# woke up in an assignment of the past. Longer than the default session timeout, so that the group has noticed.
RECLAIM_S: Final = 15.0


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
        settings: Settings,
        clock: Callable[[], int] = wall_clock_ms,
        renewed: Callable[[], bool] = lambda: False,
    ) -> None:
        """`build` makes the pipeline, and makes it anew after the store was away: one that came back older may number names anew.

        `renewed` says whether it would be made of other references now.
        """
        self._build, self._store, self._sink, self._gauges, self._clock, self._renewed = build, store, sink, gauges, clock, renewed
        self._topics, self._namespace, self._limits = settings.kafka.topics, settings.redis.namespace, settings.worker
        self._pipeline = build()
        self._lock = threading.Lock()
        self._suspended = self._away = False
        self._durable: dict[UnitId, tuple[int, str]] = {}
        self._fenced_s: dict[UnitId, float] = {}
        self._held_back: frozenset[UnitId] = frozenset()
        self._ticked_s = -STALE_S

    # the consumer's thread

    def assign(
        self, units: Mapping[UnitId, tuple[int, int]], *, from_end: bool, committed: Callable[[Sequence[UnitId]], Mapping[UnitId, str]]
    ) -> dict[UnitId, tuple[int, int]]:
        """Take units over; see `kafka.Owner`."""
        taken: dict[UnitId, tuple[int, int]] = {}
        with self._lock, self._store_may_fail():
            everywhere = self._pipeline.partitions.units()
            if unknown := [unit for unit in units if unit not in everywhere]:
                raise StateChangedError(f"{unknown[0]} is new: its topic has more partitions than it had")
            owned = {unit_id: self._pipeline.assign(unit_id, self._clock()) for unit_id in units}
            if fresh := [unit for unit in owned.values() if unit.next_offset is None]:
                self._begin(fresh, units, from_end, self._bookmarks(committed(everywhere)))
            for unit_id, unit in owned.items():
                taken[unit_id] = (unit.epoch, self._place(unit, *units[unit_id]))
                self._gauges.set_consumer_lag(self._topic(unit_id), unit_id.partition, units[unit_id][1] - taken[unit_id][1])
                self._fenced_s.pop(unit_id, None)
            self._gauges.set_units_owned(len(self._pipeline.units))
        return {} if self._suspended else taken

    def _bookmarks(self, committed: Mapping[UnitId, str]) -> dict[UnitId, Bookmark]:
        found = {unit: Bookmark.decode(text, self._namespace) for unit, text in committed.items()}
        return {unit: bookmark for unit, bookmark in found.items() if bookmark is not None}

    def _begin(
        self, units: Sequence[Unit], ranges: Mapping[UnitId, tuple[int, int]], from_end: bool, bookmarks: Mapping[UnitId, Bookmark]
    ) -> None:
        """Where units without state begin: at the group's bookmarks, for there had been state; else where the configuration says."""
        said = delivered_by(bookmarks.values())
        known = {unit.side for unit, view in self._store.view(self._pipeline.partitions.units()).items() if view.next_offset is not None}
        for unit in units:
            first, end = ranges[unit.id]
            if (bookmark := bookmarks.get(unit.id)) is not None:
                log.critical(
                    "%s: Redis has lost its state; what is still open is counted anew from Kafka, from offset %d on",
                    unit.id,
                    bookmark.mark.offset,
                )
                self._gauges.add_rebuild()
                unit.begin(bookmark.mark, said)
            else:  # a partition that its topic gained later is read from its first message
                unit.begin(Mark(NO_TIME, end if from_end and unit.id.side not in known else first), said)

    def _place(self, unit: Unit, first: int, end: int) -> int:
        """Where to read on, given what Kafka has: what it no longer has is lost."""
        assert unit.next_offset is not None
        if unit.next_offset > end:
            raise RuntimeError(
                f"cannot go on with {unit.id}: next_offset={unit.next_offset}, expected at most {end}, the end of the partition; "
                "the topic was created anew or lost data: use another redis.namespace, or restore the topic"
            )
        if unit.next_offset < first:
            gone = OffsetRange(unit.next_offset, first - 1)
            log.error("%s: offsets %s are gone from Kafka before they were counted: %d messages lost", unit.id, gone, first - gone.first)
            self._gauges.add_lost(self._topic(unit.id), first - gone.first)
            unit.lose(gone)
        return unit.next_offset

    def revoke(self, units: Sequence[UnitId]) -> None:
        with self._lock, self._store_may_fail():
            self._pipeline.checkpoint(self._clock(), only=units)
            self._forget(units)

    def lose(self, units: Sequence[UnitId]) -> None:
        with self._lock:
            self._forget(units)

    def reclaims(self) -> list[UnitId]:
        """Units that another worker took a while ago, to be assigned again if the group still says that they are ours."""
        # a copy: the counting thread may add to it meanwhile
        due = [unit for unit, since_s in list(self._fenced_s.items()) if time.monotonic() - since_s >= RECLAIM_S]
        for unit in due:
            del self._fenced_s[unit]
        return due

    def batch_bytes(self, size: int) -> None:
        self._gauges.set_batch_bytes(size)

    def held_back(self) -> frozenset[UnitId]:
        """Units that are not to be read for now."""
        return self._held_back

    def _forget(self, units: Iterable[UnitId]) -> None:
        for unit in units:
            self._durable.pop(unit, None)
            self._fenced_s.pop(unit, None)
            self._pipeline.drop(unit)  # if it was lost to another worker, the pipeline has done so already
            for model in self._pipeline.at_home(unit):
                self._gauges.forget_model(model)
            self._gauges.forget_partition(self._topic(unit), unit.partition)
        self._gauges.set_units_owned(len(self._pipeline.units))
        self._gauges.set_sequential(firing_detectors(self._pipeline.units.values()))

    @contextmanager
    def _store_may_fail(self) -> Iterator[None]:
        """While the store does not answer, own nothing: what is durable is the state, and Kafka has the rest."""
        try:
            yield
        except UNREACHABLE as error:
            if not self._suspended:
                log.error("cannot go on with Redis (%s): nothing is read until it takes writes, then from the last checkpoint on", error)
            self._suspended = self._away = True
            self._forget(list(self._pipeline.units))

    def suspended(self) -> bool:
        return self._suspended

    def resumes(self) -> bool:
        with self._lock:
            try:
                self._pipeline = self._build()
            except (*UNREACHABLE, KafkaUnavailableError) as error:
                log.debug("not yet: %s", error)
                return False
            self._suspended = False
        log.info("Redis takes writes again" if self._away else "goes on with the new references, from the last checkpoint")
        self._away = False
        return True

    def _topic(self, unit: UnitId) -> str:
        return self._topics.predictions if unit.side == "predictions" else self._topics.labels

    def offsets(self) -> dict[UnitId, tuple[int, str]]:
        return dict(self._durable)

    def lag(self, lags: Mapping[UnitId, int]) -> None:
        for unit, messages in lags.items():
            self._gauges.set_consumer_lag(self._topic(unit), unit.partition, messages)

    # the counting thread

    def process(self, batch: Batch) -> None:
        """Count a batch. An exception names the messages it was at."""
        with self._lock, self._store_may_fail():
            now_ms = self._clock()
            try:
                self._pipeline.process(batch.messages, now_ms)
            except UNREACHABLE:
                raise
            except Exception as error:
                error.add_note(self._blame(batch.messages, now_ms))
                raise
            for unit_id in batch.ends:
                if unit_id in self._pipeline.units:
                    self._pipeline.units[unit_id].watermark.at_end = True
            self._count()

    def _blame(self, batch: Sequence[Messages], now_ms: int) -> str:
        """Which messages the worker ends over, as far as it can be told; the store remembers them."""
        poisons = [(messages, offset) for messages in batch if (offset := self._pipeline.find_poison(messages, now_ms)) is not None]
        if not poisons:
            counted = ", ".join(f"{_place(messages)}@{messages.offsets[0]} to {messages.offsets[-1]}" for messages in batch)
            return f"while counting {counted}, of which none fails by itself"
        return "\n".join(self._suspect(messages, offset) for messages, offset in poisons)

    def _suspect(self, messages: Messages, offset: int) -> str:
        kills = self._store.suspect(messages.unit, messages.epoch, offset)
        goes = "the next worker sends it to the dead letters" if kills >= POISON_KILLS else "if another does, it goes to the dead letters"
        return f"while counting {_place(messages)}@{offset}, over which {kills} worker(s) ended; {goes}"

    def tick(self) -> None:
        """Checkpoint, let the clock follow, close windows."""
        if self._suspended:
            return
        with self._lock, self._store_may_fail():
            now_ms, started = self._clock(), time.perf_counter()
            if self._begins_anew(now_ms):
                return
            lost = self._pipeline.checkpoint(now_ms)
            self._gauges.observe_checkpoint(time.perf_counter() - started)
            firings, lost_closing = self._pipeline.close(now_ms)
            for firing in firings:
                if firing.result:
                    self._gauges.observe_result(firing.result, spoken=firing.spoken)
                for alert in firing.alerts:
                    self._gauges.observe_alert(alert)
            for seconds in {firing.seconds for firing in firings if firing.result}:
                self._gauges.observe_window_close(seconds)
            expired = self._pipeline.expire()
            self._gauges.add_expired("predictions", expired[0])
            self._gauges.add_expired("labels", expired[1])
            if any(expired):
                log.info("dropped %d predictions without a label and %d labels without a prediction after labels.max_delay", *expired)
            if lost or lost_closing:
                log.warning("another worker owns %s by now", ", ".join(map(str, [*lost, *lost_closing])))
                self._forget([*lost, *lost_closing])
                self._fenced_s |= dict.fromkeys([*lost, *lost_closing], time.monotonic())
            self._durable = {unit.id: self._hint(unit) for unit in self._pipeline.units.values() if unit.next_offset is not None}
            for subject in CLOCKS:
                ms = self._pipeline.clock.of(subject)
                self._gauges.set_watermark(subject, None if ms == NO_TIME else ms)
            self._gauges.set_sequential(firing_detectors(self._pipeline.units.values()))
            self._look_at_limits()
            self._publish_balance()
            self._ticked_s = time.monotonic()

    def _begins_anew(self, now_ms: int) -> bool:
        """Whether all is made anew, as the references have changed: from the checkpoint that is written here on.

        Not while messages are on their way out, which would then be delivered twice.
        """
        units = self._pipeline.units.values()
        if any(unit.undelivered or unit.in_delivery for unit in units) or not self._renewed():
            return False
        self._pipeline.checkpoint(now_ms)
        self._suspended = True
        self._forget(list(self._pipeline.units))
        return True

    def _look_at_limits(self) -> None:
        """Decide which units are not to be read for now: all while the outbox is full, those ahead in time while too much is open."""
        units = self._pipeline.units.values()
        waiting, state_bytes = sum(len(unit.undelivered) for unit in units), sum(unit.panes.nbytes for unit in units)
        held = frozenset(self._pipeline.units) if waiting >= self._limits.outbox_max else frozenset()
        if state_bytes > self._limits.state_bytes:
            held |= self._pipeline.ahead()
        if held and not self._held_back:
            log.warning("%d partition(s) wait: %d messages in the outbox, %d bytes in open windows", len(held), waiting, state_bytes)
        self._held_back = held
        self._gauges.set_outbox_length(waiting)
        self._gauges.set_state(sum(len(unit.panes) for unit in units), state_bytes, self._pipeline.pending_rows)
        self._gauges.set_held_back(len(held))

    def _publish_balance(self) -> None:
        """Each unit's sheet as its last checkpoint left it. The owner of the first partition shows the totals, as the store has them."""
        sheets: dict[tuple[str, str], Sheet] = {}
        units, joined = self._pipeline.units, Sheet(0, {})
        for unit in units.values():
            sheets[self._topic(unit.id), str(unit.id.partition)] = unit_sheet(unit.id, unit.counters)
        if UnitId("predictions", 0) in units:
            balance = read_balance(self._store, self._pipeline.partitions)
            sheets[self._topics.predictions, "all"] = balance.predictions
            if self._pipeline.partitions.labels:
                sheets[self._topics.labels, "all"] = balance.labels
                joined = balance.joined
        told = {place: {"consumed": s.consumed, **s.outcomes, "lost": s.lost} for place, s in sheets.items()}
        self._gauges.set_balance(told, joined.outcomes)

    def _hint(self, unit: Unit) -> tuple[int, str]:
        bookmark = self._pipeline.bookmark(unit)
        assert unit.next_offset is not None
        return unit.next_offset, "" if bookmark is None else bookmark.encode()

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
        for model, (counts, sum_s) in tally.label_delays.items():
            self._gauges.add_label_delays(model, counts, sum_s)
        for reason, n in tally.dead_letters.items():
            self._gauges.add_dead_letters(reason, n)
        for model, n in tally.unknown_features.items():
            self._gauges.add_unknown_features(model, n)
        for alert in tally.alerts:
            self._gauges.observe_alert(alert)

    # the delivering thread

    def deliver(self) -> None:
        """Deliver what is durable and trim it; what Kafka does not take now waits for the next time."""
        with self._lock:
            pipeline = self._pipeline
            taken = pipeline.take_outbox()
        if not taken:
            return
        try:
            self._sink.deliver([message for messages in taken.values() for _, message in messages])
        except DeliveryError as error:
            log.warning("%s; the outbox keeps them", error)
            with self._lock:
                pipeline.put_back(taken)
            return
        with self._lock, self._store_may_fail():
            if pipeline is self._pipeline:  # else the state may have begun anew meanwhile, with an outbox that counts from 1
                pipeline.delivered(taken)

    # for /ready

    def owns_units(self) -> bool:
        """Whether the group gave it partitions."""
        return bool(self._pipeline.units)

    def store_answers(self) -> bool:
        """Whether the store took everything a moment ago."""
        return not self._suspended and time.monotonic() - self._ticked_s < STALE_S


def _place(messages: Messages) -> str:
    return f"{messages.topic}/{messages.unit.partition}"
