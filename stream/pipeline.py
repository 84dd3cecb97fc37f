"""The product in one read: decode -> join -> count into panes -> checkpoint -> advance the watermark -> close windows -> emit.

A `Pipeline` is one worker's share of the work: the units it owns, and the models whose home is among them. It is driven from outside
(`app.py` from Kafka, `replay.py` from files): messages and the time come in, results come out, all else goes through the store. It is not
thread-safe; its driver calls it from one thread at a time.
"""

import base64
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from sinks import OutboundMessage
from stream.alerts import DeadLetter, LateEvent, Origin, encode
from stream.class_scores import ClassScores
from stream.closing import Closer, Firing
from stream.coding import ClassCodes
from stream.counting import Counting, LabelOutcome, Mask, Tally, Timing, add
from stream.events import EventDecoder, Labels, Messages, Predictions
from stream.freshness import Freshness
from stream.groups import Groups
from stream.join import (
    CORRECTED,
    DUPLICATE,
    EXPIRED,
    GENERATIONS,
    LABEL,
    LATE_PREDICTION,
    MATCHED,
    PREDICTION,
    REPLACED,
    STORED,
    TOO_LATE,
    JoinBatch,
    Matches,
    Side,
    sources,
)
from stream.model import Model
from stream.outcomes import OutcomeCounting
from stream.rebuild import Bookmark, Reach
from stream.results import timestamp
from stream.schema import Rejected
from stream.sequential import Detection, Followed
from stream.settings import Settings
from stream.store import CLOCKS, SUBJECTS, Clock, ClockName, Partitions, Store, UnitId
from stream.store_memory import MemoryStore
from stream.unit import Unit
from stream.unknown_features import looked_at
from stream.watermark import NO_TIME
from stream.windows import Times

log = logging.getLogger(__name__)

FIRST_LABELS: Final = UnitId("labels", 0)
POISON_KILLS: Final = 2  # a message over which so many workers ended becomes a dead letter
DEAD_LETTER_BYTES: Final = 700_000  # raw bytes that are kept: in base64 and its envelope they fit Kafka's default message of 1 MB
KEY_BYTES: Final = 10_000  # of a key, likewise


class Pipeline:
    """One worker's share of the work."""

    def __init__(self, settings: Settings, models: Mapping[str, Model], store: Store, partitions: Partitions) -> None:
        """`models` and `partitions` (how many each topic has) are the same in every worker."""
        self._settings, self._time, self._labels, self._topics = settings, settings.time, settings.labels, settings.kafka.topics
        self._models, self._store, self.partitions = models, store, partitions
        texts = sorted({text for model in models.values() for text in model.settings.classes})
        classes = ClassCodes(models.values(), dict(zip(texts, store.intern("class", texts), strict=True)))
        class_scores = ClassScores(models.values(), store)
        self._decoder = EventDecoder(settings.events, models, lambda columns: Groups(models, columns, store), classes, class_scores)
        self._counting = Counting(models, self._decoder, classes, self._time.allowed_lateness_ms, self._labels.max_delay_ms)
        self._outcomes = OutcomeCounting(self._counting)
        self._detection = Detection(models, self._decoder.groups, self._topics.alerts)
        self._reach = Reach(models.values(), self._time.allowed_lateness_ms, self._labels.max_delay_ms)
        self._freshness = Freshness(models, store)
        self._closer = Closer(models, store, partitions, settings, self._reach, self._freshness)
        self.units: dict[UnitId, Unit] = {}
        self.clock = Clock()
        self._delivered = Clock()
        self._expired_ms = NO_TIME
        self.pending_rows = 0

    # who owns what

    def assign(self, unit_id: UnitId, now_ms: int) -> Unit:
        """Take a unit over; its `next_offset` says where to read on (None: it has no state yet)."""
        unit = Unit(
            unit_id,
            self._store.acquire(unit_id, list(self._models)),
            self._models,
            out_of_orderness_ms=self._time.out_of_orderness_ms,
            mark_every_ms=self._reach.spacing_ms,
        )
        self._wake(unit, now_ms)
        self.units[unit_id] = unit
        self._closer.own(unit)
        self._counting.tally.alerts += self._detection.retire(unit, now_ms)
        return unit

    def drop(self, unit_id: UnitId) -> None:
        """Let go of a unit without writing anything."""
        self.units.pop(unit_id, None)
        self._closer.disown(unit_id)

    def at_home(self, unit_id: UnitId) -> list[str]:
        """The models whose home the unit is, whoever owns it."""
        return self._closer.at_home(unit_id)

    def _wake(self, unit: Unit, now_ms: int) -> None:
        """The unit holds the clock again, and counts what is behind the clock as late."""
        unit.watermark.hear(now_ms)
        unit.raise_floors(self._store.wake(unit.report(), now_ms))

    # one batch

    def process(self, batch: Sequence[Messages], now_ms: int) -> None:
        """Count consecutive messages of some units; what was consumed before a unit changed hands is left to its owner."""
        parts = [(unit, part) for messages in batch for unit, part in self._parts(messages, now_ms)]
        self._process_predictions([part for part in parts if part[0].id.side == "predictions"], now_ms)
        self._process_labels([part for part in parts if part[0].id.side == "labels"], now_ms)
        for unit, messages in parts:
            self._consumed(unit, messages)

    def _parts(self, messages: Messages, now_ms: int) -> Iterator[tuple[Unit, Messages]]:
        """The messages to be counted; what workers ended over before becomes a dead letter instead."""
        unit = self.units.get(messages.unit)
        if unit is None or unit.epoch != messages.epoch:
            return
        assert unit.next_offset is None or messages.offsets[0] >= unit.next_offset  # else they would be counted twice
        if unit.watermark.idle:
            self._wake(unit, now_ms)
        unit.watermark.hear(now_ms)
        for poison in sorted(suspect.offset for suspect in unit.suspects if suspect.kills >= POISON_KILLS):
            if poison not in messages.offsets:
                continue
            at = messages.offsets.index(poison)
            if at > 0:
                yield unit, messages.part(0, at)
            self._reject(unit, messages, [Rejected(at, "poison", f"{POISON_KILLS} workers ended while they counted it")], now_ms)
            self._consumed(unit, messages.part(at, at + 1))
            messages = messages.part(at + 1, len(messages.offsets))
        if messages.offsets:
            yield unit, messages

    def _consumed(self, unit: Unit, messages: Messages) -> None:
        unit.counters["consumed"] += len(messages.offsets)
        add(self._counting.tally.consumed, messages.topic, len(messages.offsets))
        unit.advance_to(messages.offsets[-1] + 1)

    def find_poison(self, messages: Messages, now_ms: int) -> int | None:
        """The offset of the first message that raises when it is counted, tried on a store in memory; None if none does by itself."""
        if messages.unit not in self.units or not self._raises(messages, now_ms):
            return None
        good, bad = 0, len(messages.offsets)  # the first `good` messages can be counted, the first `bad` cannot
        while bad - good > 1:
            middle = (good + bad) // 2
            good, bad = (good, middle) if self._raises(messages.part(0, middle), now_ms) else (middle, bad)
        return messages.offsets[good]

    def _raises(self, messages: Messages, now_ms: int) -> bool:
        trial = Pipeline(self._settings, self._models, MemoryStore(self._labels.max_delay_ms), self.partitions)
        unit = trial.assign(messages.unit, now_ms)
        unit.suspects = self.units[messages.unit].suspects
        try:
            trial.process([replace(messages, epoch=unit.epoch)], now_ms)
            trial.checkpoint(now_ms)
        except Exception:
            return True
        return False

    def _process_predictions(self, parts: Sequence[tuple[Unit, Messages]], now_ms: int) -> None:
        decoded: list[tuple[Unit, Messages, Predictions, Timing]] = []
        batches: list[JoinBatch] = []
        for unit, messages in parts:
            events, rejected = self._decoder.predictions(messages, now_ms + self._time.max_future_skew_ms)
            self._reject(unit, messages, rejected, now_ms)
            if events.index.size == 0:
                continue
            self._look_for_unknown_features(messages, events)
            timing = self._counting.timing(unit, events.groups, events.times_ms, unit.watermark.advance(events.times_ms), "traffic")
            decoded.append((unit, messages, events, timing))
            batches.append(self._rows_of_predictions(unit, messages, events, timing))
        joined = [self._decoder.groups.table["labels"][events.groups] for _, _, events, _ in decoded]
        found = zip(decoded, batches, joined, self._join(batches, joined), strict=True)
        for (unit, messages, events, timing), batch, has_labels, matches in found:
            duplicate = matches.status == DUPLICATE
            unit.counters["unlabelled"] += has_labels.size - int(has_labels.sum())
            unit.counters["expired"] += int((matches.status == EXPIRED).sum())
            self._counting.predictions(unit, events, timing, duplicate, (batch.flags & TOO_LATE) > 0)
            if self._detection.on["scores"]:
                kept = ~(duplicate | timing.late)
                followed = Followed(messages, events.index, events.groups, events.times_ms, events.scores, kept)
                self._counting.tally.alerts += self._detection.follow(unit, "scores", followed, now_ms)
            late = np.flatnonzero(timing.late & ~duplicate)
            self._send_late(
                unit, messages, "traffic", events.index[late], events.groups[late], events.times_ms[late], timing.watermark[late]
            )
            matched = np.flatnonzero(matches.status == MATCHED)
            if matched.size:
                self._count_early_labels(unit, messages, events, timing, matches.at(matched), matched, now_ms)

    def _look_for_unknown_features(self, messages: Messages, events: Predictions) -> None:
        if self._decoder.unknown is None:
            return
        for i in looked_at(messages.offsets_at(events.index)):
            model, event = self._decoder.groups[int(events.groups[i])].model.settings.name, messages.values[int(events.index[i])]
            assert event is not None  # it was decoded
            add(self._counting.tally.unknown_features, model, self._decoder.unknown.look(model, event))

    def _rows_of_predictions(self, unit: Unit, messages: Messages, events: Predictions, timing: Timing) -> JoinBatch:
        rows = np.zeros(events.index.size, PREDICTION)
        rows["source"] = sources(unit.id.partition, messages.offsets_at(events.index))
        rows["time"], rows["cls"], rows["score"], rows["value"] = events.times_ms, events.classes, events.scores, events.values
        rows["group"] = self._decoder.groups.table["number"][events.groups]
        closed = np.maximum(timing.watermark, unit.floors_ms["performance"])
        too_late = self._counting.too_late(events.groups, events.times_ms, closed)
        flags = (LATE_PREDICTION * timing.late + TOO_LATE * too_late).astype(np.uint8)
        return JoinBatch("predictions", events.hashes, rows, flags, closed, events.class_scores)

    def _join(self, batches: Sequence[JoinBatch], joined: Sequence[Mask]) -> list[Matches]:
        """What is found for each of some batches of one side: in one call, as a row costs Redis the less the more of them come together.

        Events that are not `joined`, those of models without labels, count as stored.
        """
        if not batches:
            return []
        whole, where = JoinBatch.concat(batches), np.concatenate(joined)
        matches = Matches.none(whole)
        if where.all():
            matches = self._store.match(whole)
        elif where.any():
            matches = matches.put(where, self._store.match(whole.at(where)))
        return matches.split([len(batch.rows) for batch in batches])

    def _count_early_labels(
        self,
        unit: Unit,
        messages: Messages,
        events: Predictions,
        timing: Timing,
        matches: Matches,
        matched: npt.NDArray[np.int64],
        now_ms: int,
    ) -> None:
        """Count the labels that had been waiting for these predictions, as on time as they were when both were there."""
        outcomes = self._outcomes.of_predictions(unit, events, timing, matches, matched)
        if self._detection.on["errors"]:
            errors = self._detection.errors(outcomes)
            followed = Followed(messages, events.index[matched], outcomes.groups, outcomes.times_ms, errors, ~outcomes.late)
            self._counting.tally.alerts += self._detection.follow(unit, "errors", followed, now_ms)
        unit.counters["completed"] += matched.size
        add(self._counting.tally.labels, "matched", matched.size)

    def _process_labels(self, parts: Sequence[tuple[Unit, Messages]], now_ms: int) -> None:
        latest_ms = now_ms + self._time.max_future_skew_ms
        decoded: list[tuple[Unit, Messages, Labels, Times]] = []
        batches: list[JoinBatch] = []
        for unit, messages in parts:
            events, rejected = self._decoder.labels(messages, latest_ms, by_arrival=self._labels.clock == "arrival")
            self._reject(unit, messages, rejected, now_ms)
            if events.index.size == 0:
                continue
            decoded.append((unit, messages, events, unit.watermark.advance(events.times_ms)))
            batches.append(self._rows_of_labels(*decoded[-1]))
        joined = [np.ones(events.index.size, bool) for _, _, events, _ in decoded]
        for (unit, messages, events, watermark), batch, matches in zip(decoded, batches, self._join(batches, joined), strict=True):
            outcomes: tuple[tuple[LabelOutcome, int], ...] = (
                ("matched", MATCHED),
                ("waiting", STORED),
                ("duplicate", DUPLICATE),
                ("expired", EXPIRED),
                ("corrected", CORRECTED),
                ("corrected", REPLACED),
            )
            for name, status in outcomes:
                n = int((matches.status == status).sum())
                unit.counters[name] += n
                add(self._counting.tally.labels, name, n)
            self._count_labels(unit, messages, events, watermark, batch.rows, matches, now_ms)

    def _rows_of_labels(self, unit: Unit, messages: Messages, events: Labels, watermark: Times) -> JoinBatch:
        rows = np.zeros(events.index.size, LABEL)
        rows["source"] = sources(unit.id.partition, messages.offsets_at(events.index))
        rows["time"], rows["cls"], rows["value"] = events.times_ms, events.classes, events.values
        behind = np.maximum(watermark, unit.floors_ms["performance"]) - events.times_ms
        rows["behind"] = np.clip(behind, np.iinfo(np.int32).min, np.iinfo(np.int32).max)
        return JoinBatch.of_labels(events.hashes, rows, self._decoder.class_scores.width)

    def _count_labels(
        self,
        unit: Unit,
        messages: Messages,
        events: Labels,
        watermark: Times,
        rows: npt.NDArray[np.void],
        found: Matches,
        now_ms: int,
    ) -> None:
        """Count the labels that have met their predictions; for those that correct another, what that one had counted no longer."""
        at = np.flatnonzero((found.status == MATCHED) | (found.status == CORRECTED))
        groups = self._decoder.groups.of_numbers(found.others["group"][at])
        at, groups = at[groups >= 0], groups[groups >= 0]  # the model of an older prediction may have left the configuration
        if at.size == 0:
            return
        matches, watermark = found.at(at), watermark[at]
        outcomes = self._outcomes.of_labels(unit, groups, rows[at], watermark, matches)
        late = outcomes.late
        if self._detection.on["errors"]:
            errors, counted = self._detection.errors(outcomes), ~late & (matches.status == MATCHED)
            followed = Followed(messages, events.index[at], groups, outcomes.times_ms, errors, counted)
            self._counting.tally.alerts += self._detection.follow(unit, "errors", followed, now_ms)
        self._send_late(unit, messages, "performance", events.index[at][late], groups[late], outcomes.times_ms[late], watermark[late])

    def _reject(self, unit: Unit, messages: Messages, rejected: Sequence[Rejected], now_ms: int) -> None:
        """Count unusable messages and send them to the dead letters with their reason and raw bytes."""
        unit.counters["malformed"] += len(rejected)
        if unit.id.side == "labels":
            add(self._counting.tally.labels, "malformed", len(rejected))
        for one in rejected:
            add(self._counting.tally.dead_letters, one.reason, 1)
            key, value = _short(messages.keys[one.index]), messages.values[one.index] or b""
            letter = DeadLetter(
                reason=one.reason,
                detail=one.detail,
                origin=self._origin(messages, one.index),
                key_base64=None if key is None else base64.b64encode(key).decode(),
                value_base64=base64.b64encode(value[:DEAD_LETTER_BYTES]).decode(),
                value_bytes=len(value),
                emitted_at=timestamp(now_ms),
            )
            unit.enqueue([OutboundMessage(self._topics.dead_letter, key, encode(letter))])

    def _send_late(
        self,
        unit: Unit,
        messages: Messages,
        subject: ClockName,
        index: npt.NDArray[np.int64],
        groups: npt.NDArray[np.int64],
        times_ms: npt.NDArray[np.int64],
        watermark: npt.NDArray[np.int64],
    ) -> None:
        """Send late events to their topic, as they were received."""
        stood = np.maximum(watermark, unit.floors_ms[subject])
        for i, group, time_ms, stood_ms in zip(index.tolist(), groups.tolist(), times_ms.tolist(), stood.tolist(), strict=True):
            event = LateEvent(
                subject=subject,
                model=self._decoder.groups[group].model.settings.name,
                timestamp=timestamp(time_ms),
                watermark=timestamp(stood_ms) if stood_ms > NO_TIME else None,
                origin=self._origin(messages, i),
                event=msgspec.Raw(_readable(messages.values[i] or b"null")),
            )
            unit.enqueue([OutboundMessage(self._topics.late, _short(messages.keys[i]), encode(event))])

    def _origin(self, messages: Messages, i: int) -> Origin:
        return Origin(topic=messages.topic, partition=messages.unit.partition, offset=messages.offsets[i])

    # checkpoint, watermark, windows

    def checkpoint(self, now_ms: int, only: Iterable[UnitId] | None = None) -> list[UnitId]:
        """Make what was counted durable, then let the clock follow. The units that somebody else owns by now, which were dropped."""
        units = [self.units[unit] for unit in (self.units if only is None else only) if unit in self.units]
        for unit in units:
            unit.watermark.falls_idle(now_ms, self._time.idle_after_ms)
        steps = [step for step in (unit.checkpoint() for unit in units) if step is not None]
        lost = self._store.checkpoint(steps) if steps else []
        self._freshness.counted([step for step in steps if step.unit not in lost], now_ms)
        for unit_id in lost:
            self.drop(unit_id)
        reports = [unit.report() for unit in units if unit.id not in lost]
        idle_ms = now_ms - self._time.idle_after_ms if self._time.when_idle == "wall_clock" else NO_TIME
        if reports:
            self.clock, self._delivered = self._store.report(reports, self.partitions, now_ms, idle_ms)
        lateness_ms = {"cohort": self._labels.max_delay_ms}
        closed = {subject: self.clock.of(subject) - lateness_ms.get(subject, self._time.allowed_lateness_ms) for subject in SUBJECTS}
        for unit in self.units.values():
            unit.forget_before(closed)
        return lost

    def close(self, now_ms: int) -> tuple[list[Firing], list[UnitId]]:
        """Fire the windows that the clock has passed, of the models at home here; and the units that were lost on the way."""
        firings, lost = self._closer.close(self.clock, now_ms)
        for unit_id in lost:
            self.drop(unit_id)
        for unit in self.units.values():
            unit.settled(self.clock)
        return firings, lost

    def bookmark(self, unit: Unit) -> Bookmark | None:
        """What to commit to Kafka beside the unit's offset, for the day when the state is gone from Redis; None if too little is known."""
        delivered = Clock(*(max(self._delivered.of(name), unit.quiet_ms[name]) for name in CLOCKS))
        return unit.bookmark(self._settings.redis.namespace, delivered, self._reach.needed_from(delivered))

    def expire(self) -> tuple[int, int]:
        """Drop the pending predictions and labels that waited longer than `labels.max_delay`, or are too many; how many there were."""
        before_ms = self.clock.performance - self._labels.max_delay_ms
        due = self.clock.performance > NO_TIME and before_ms - self._expired_ms >= self._labels.max_delay_ms // GENERATIONS
        if due:
            self._expired_ms = before_ms
            return self._store.drop_generations(before_ms)
        if FIRST_LABELS in self.units:  # one worker looks
            rows = self._store.pending()
            self.pending_rows = sum(rows.values())
            if self.pending_rows > self._labels.pending_max:
                log.error("%d rows wait for their label, more than labels.pending_max: the oldest are dropped", self.pending_rows)
                return self._store.drop_generations(min(rows))
        return 0, 0

    def ahead(self) -> frozenset[UnitId]:
        """The units whose watermark is ahead of the clock: what they hold stays open until others have caught up."""
        subject: dict[Side, ClockName] = {"predictions": "traffic", "labels": "performance"}
        return frozenset(unit.id for unit in self.units.values() if unit.watermark.value_ms > self.clock.of(subject[unit.id.side]))

    def take_tally(self) -> Tally:
        """What was counted since this was last called."""
        taken, self._counting.tally = self._counting.tally, Tally()
        return taken

    def take_outbox(self) -> dict[UnitId, list[tuple[int, OutboundMessage]]]:
        """The durable messages that wait for delivery, now the caller's: they are `delivered`, or `put_back`."""
        taken = {unit.id: unit.undelivered for unit in self.units.values() if unit.undelivered}
        for unit_id in taken:
            self.units[unit_id].undelivered, self.units[unit_id].in_delivery = [], True
        return taken

    def delivered(self, taken: Mapping[UnitId, list[tuple[int, OutboundMessage]]]) -> None:
        """All of them are delivered: the store may forget them."""
        for unit_id, messages in taken.items():
            if unit_id in self.units:
                self.units[unit_id].in_delivery = False
            self._store.trim_outbox(unit_id, messages[-1][0])

    def put_back(self, taken: Mapping[UnitId, list[tuple[int, OutboundMessage]]]) -> None:
        """These messages wait again, before all others; a unit that left meanwhile has them in its durable outbox."""
        for unit_id, messages in taken.items():
            if unit_id in self.units:
                self.units[unit_id].undelivered[:0], self.units[unit_id].in_delivery = messages, False


def _short(key: bytes | None) -> bytes | None:
    return None if key is None else key[:KEY_BYTES]


def _readable(value: bytes) -> bytes:
    """The event with "?" for each byte that is no UTF-8: in a field that is not read there may be some."""
    return value.decode(errors="surrogateescape").encode(errors="replace")
