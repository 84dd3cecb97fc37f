"""Kafka in: one consumer in one thread, micro-batches out, and the group's assignments turned into owned units.

Offsets come from the store; those committed to Kafka are a hint for lag tools. librdkafka calls back on the thread that consumes, so a
rebalance is handled between two batches.
"""

import itertools
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence, Set
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicCollection, TopicPartition, Uuid
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from stream.events import Messages
from stream.join import Side
from stream.settings_services import KafkaSettings
from stream.store import Partitions, Source, UnitId

log = logging.getLogger(__name__)

CONSUME_TIMEOUT_S: Final = 0.1  # how long a batch waits to fill; part of the alert latency on a quiet topic
HINT_EVERY_S: Final = 5.0  # between commits of offsets to Kafka, which nothing depends on
LAG_EVERY_S: Final = 1.0
METADATA_TIMEOUT_S: Final = 10.0
REACH_S: Final = 5.0  # for the first answer of a broker, when a command starts
RETRY_S: Final = 0.5  # between two looks whether the store answers again
NOT_TAKEN: Final = -1  # the epoch of messages that no unit of this worker takes
# New objects between two runs of Python's cycle collector, for the whole process. At the default of 700 it runs 14 times for every
# 10 000 messages, all of them alive: a fifth of a worker's CPU. Nothing makes cycles at event rate, so what waits longer is little.
COLLECT_EVERY: Final = 200_000
# For so long nobody reads the partitions of a worker that was killed. librdkafka's 45 s are long for alerts within seconds; it heartbeats
# in a thread of its own, so a busy worker stays a member. `kafka.options` may change it.
_DEFAULTS: Final[dict[str, Any]] = {"session.timeout.ms": 10_000}
_RECONNECT: Final[dict[str, Any]] = {
    "reconnect.backoff.ms": 250,
    "reconnect.backoff.max.ms": 2_000,
}  # librdkafka's 10 s are long for alerts
_OF_CONSUMERS: Final = (
    "session.",
    "heartbeat.",
    "max.poll.",
    "max.partition.",
    "fetch.",
    "group.",
    "queued.",
    "auto.",
    "enable.auto.",
    "isolation.",
)
_REFRESH: Final[dict[str, Any]] = {"topic.metadata.refresh.interval.ms": 30_000}  # until partitions that a topic gained are read
# What is fetched ahead, as little as full speed on a near broker allows; librdkafka's own 1 MB a partition and 64 MB in all took some 90 MB
# more. A broker that is far away may want more (`kafka.options`).
FETCH: Final[dict[str, Any]] = {
    "max.partition.fetch.bytes": 262_144,
    "fetch.max.bytes": 4_194_304,
    "queued.min.messages": 10_000,
    "queued.max.messages.kbytes": 8_192,
    "fetch.queue.backoff.ms": 10,  # before it is fetched again once so much waits; at librdkafka's 1000 the worker runs dry
}
# What exactly-once counting stands on.
_OPTIONS: Final[dict[str, Any]] = {"enable.auto.commit": False, "enable.partition.eof": True, "auto.offset.reset": "error"}
# With the protocol "consumer" the broker assigns, incrementally too, and decides on the session timeout.
_CLASSIC: Final[dict[str, Any]] = {"partition.assignment.strategy": "cooperative-sticky"}


class KafkaUnavailableError(RuntimeError):
    """Kafka cannot do what is needed: no broker answers, or a topic does not exist."""


class InvalidOptionError(ValueError):
    """librdkafka does not take `kafka.options`."""


@dataclass(slots=True)
class Batch:
    """What one `consume` brought: messages by unit, and the partitions whose end was reached."""

    messages: list[Messages] = field(default_factory=list)
    ends: list[UnitId] = field(default_factory=list)


class Owner(Protocol):
    """Who keeps the units: the worker."""

    def assign(
        self, units: Mapping[UnitId, tuple[int, int]], *, from_end: bool, committed: Callable[[Sequence[UnitId]], Mapping[UnitId, str]]
    ) -> dict[UnitId, tuple[int, int]]:
        """Take units over, given the first and the end offset of each in Kafka; the epoch and the offset to read from.

        A unit without state begins where the texts that are `committed` beside the offsets say, else at the end if `from_end`, else at
        the first message. Nothing is taken while the store does not answer.
        """
        ...

    def suspended(self) -> bool:
        """Whether the store stopped answering; nothing is owned then."""
        ...

    def resumes(self) -> bool:
        """Whether the store answers again; units may be assigned anew."""
        ...

    def revoke(self, units: Sequence[UnitId]) -> None:
        """Make the units durable and let go of them."""
        ...

    def lose(self, units: Sequence[UnitId]) -> None:
        """The units are somebody else's already: let go, write nothing."""
        ...

    def reclaims(self) -> Sequence[UnitId]:
        """Units to be assigned again, if the group has given them to nobody else."""
        ...

    def batch_bytes(self, size: int) -> None:
        """How large a batch was."""
        ...

    def held_back(self) -> Set[UnitId]:
        """Units that are not to be read for now."""
        ...

    def offsets(self) -> dict[UnitId, tuple[int, str]]:
        """The durable offset of each unit, and a text to commit beside it."""
        ...

    def lag(self, lags: Mapping[UnitId, int]) -> None:
        """How many messages of each unit wait in Kafka."""
        ...


def client_options(kafka: KafkaSettings) -> dict[str, Any]:
    """librdkafka's options for every client; those that only a consumer knows are for `consumer_options`."""
    options = {name: value for name, value in kafka.client_options().items() if not name.startswith(_OF_CONSUMERS)}
    return {"bootstrap.servers": kafka.brokers, "client.id": "driftstream", **_RECONNECT, **options}


def consumer_options(kafka: KafkaSettings) -> dict[str, Any]:
    """librdkafka's options for the consumer of the group."""
    defaults, protocol = (_DEFAULTS, _CLASSIC) if kafka.group_protocol == "classic" else ({}, {"group.protocol": "consumer"})
    return {
        **_REFRESH,
        **FETCH,
        **defaults,
        **client_options(kafka),
        **kafka.client_options(),
        "group.id": kafka.group,
        **_OPTIONS,
        **protocol,
    }


def check_options(kafka: KafkaSettings) -> None:
    """Raise InvalidOptionError unless librdkafka takes `kafka.options`; connects to nothing."""
    try:
        Consumer(consumer_options(kafka) | {"bootstrap.servers": "", "log_level": 0}).close()
    except KafkaException as error:
        raise InvalidOptionError(f"kafka.options: {error.args[0].str()}; see librdkafka's list of configuration properties") from None


def count_partitions(kafka: KafkaSettings, *, labels: bool) -> Partitions:
    """How many partitions the input topics have. Raises KafkaUnavailableError if no broker answers or a topic is missing."""
    return find_source(kafka, labels=labels).partitions


def find_source(kafka: KafkaSettings, *, labels: bool) -> Source:
    """Which cluster and topics the events come from. Raises KafkaUnavailableError if no broker answers or a topic is missing."""
    admin = AdminClient(client_options(kafka))
    topics = [kafka.topics.predictions, *([kafka.topics.labels] if labels else [])]
    try:
        found = [admin.list_topics(topic, timeout=REACH_S) for topic in topics]
        # The mock broker names a controller that is not there, and has no ids.
        ids = [_topic_id(admin, topic) if found[0].controller_id in found[0].brokers else "" for topic in topics]
    except KafkaException as error:
        raise _unreachable(error) from None
    counts = []
    for topic, metadata in zip(topics, found, strict=True):
        if metadata.topics[topic].error is not None or not metadata.topics[topic].partitions:
            raise KafkaUnavailableError(f"no topic {topic!r}, expected it to exist; create it with `driftstream topics create`")
        counts.append(len(metadata.topics[topic].partitions))
    return Source(found[0].cluster_id or "", ids[0], ids[1] if labels else "", Partitions(counts[0], counts[1] if labels else 0))


def _topic_id(admin: AdminClient, topic: str) -> str:
    """The id that a topic keeps until it is deleted; empty if the broker gives it none, or there is no such topic."""
    try:
        id_ = admin.describe_topics(TopicCollection([topic]), request_timeout=REACH_S)[topic].result().topic_id
    except KafkaException as error:
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return ""
        raise
    return "" if id_ == Uuid(0, 0) else str(id_)


def _unreachable(error: KafkaException) -> KafkaUnavailableError:
    return KafkaUnavailableError(f"cannot reach Kafka: {error.args[0].str()}; check kafka.brokers")


def create_topics(kafka: KafkaSettings, *, partitions: int, replication: int) -> dict[str, str]:
    """Create the six topics; what became of each: "created" or "exists". Raises KafkaUnavailableError."""
    admin = AdminClient(client_options(kafka))
    names = [topic for _, topic in kafka.topics]
    try:
        admin.list_topics(timeout=REACH_S)  # without a broker, creating only times out
    except KafkaException as error:
        raise _unreachable(error) from None
    results: dict[str, Future[None]] = admin.create_topics(
        [NewTopic(name, num_partitions=partitions, replication_factor=replication) for name in names], request_timeout=METADATA_TIMEOUT_S
    )
    done = {}
    for name, result in results.items():
        try:
            result.result()
            done[name] = "created"
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise KafkaUnavailableError(f"cannot create topic {name!r}: {error.args[0].str()}") from None
            done[name] = "exists"
    return done


class _Keys(Sequence[bytes | None]):
    """The keys of messages, read when they are asked for: of a rejected or a late event, or by a field that is mapped from them."""

    def __init__(self, messages: list[Any]) -> None:
        self._messages = messages

    def __len__(self) -> int:
        return len(self._messages)

    def __getitem__(self, index: Any) -> Any:
        return self._messages[index].key()


def _offsets(messages: list[Any]) -> Sequence[int]:
    """The offset of each message: a range, unless some are missing, as after compaction or in a transaction."""
    first, last = messages[0].offset(), messages[-1].offset()
    if last - first + 1 == len(messages):
        return range(first, last + 1)
    return [message.offset() for message in messages]


class KafkaSource:
    """Consumes both topics and hands batches on, one at a time ahead of the one that is being counted."""

    def __init__(
        self, kafka: KafkaSettings, owner: Owner, *, batch_size: int, batch_bytes: int, labels: bool, headers: bool, timestamps: bool
    ) -> None:
        """`headers`, `timestamps`: whether anything is read from Kafka's own, which costs time at event rate."""
        self._owner, self._start = owner, kafka.start
        self._most = self._batch_size = batch_size
        self._batch_bytes = batch_bytes
        self._headers, self._timestamps = headers, timestamps
        self._topics: dict[Side, str] = {"predictions": kafka.topics.predictions}
        if labels:
            self._topics["labels"] = kafka.topics.labels
        self._sides: dict[str, Side] = {topic: side for side, topic in self._topics.items()}
        self._epochs: dict[UnitId, int] = {}
        self._paused: Set[UnitId] = frozenset()
        self._stop = threading.Event()
        self._hinted_s = self._lagged_s = time.monotonic()
        self._consumer = Consumer(consumer_options(kafka) | {"error_cb": self._on_error}, logger=log)
        self.connected = True

    def run(self, dispatch: Callable[[Batch], Future[None]]) -> None:
        """Consume until `stop`; `dispatch` takes a batch, and its future is waited for before the next but one is consumed."""
        self._consumer.subscribe(list(self._sides), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)
        pending: Future[None] | None = None
        while not self._stop.is_set():
            batch = self._batch(self._consumer.consume(self._most, CONSUME_TIMEOUT_S))
            self._limit(batch)
            if pending is not None:
                pending.result()
                pending = None
            if self._owner.suspended():
                self._sit_out()
                continue
            if batch.messages or batch.ends:
                pending = dispatch(batch)
            self._hold_back()
            self._reclaim()
            self._hint()
        if pending is not None:
            pending.result()

    def stop(self) -> None:
        """Make `run` return after the batch it is at."""
        self._stop.set()

    def close(self) -> None:
        """Leave the group; the units are revoked first."""
        self._consumer.close()

    def _batch(self, messages: list[Any]) -> Batch:
        batch = Batch()
        failed = [message for message in messages if message.error() is not None]
        for message in failed:
            error = message.error()
            if error.code() == KafkaError._PARTITION_EOF:
                batch.ends.append(UnitId(self._sides[message.topic()], message.partition()))
            elif not error.retriable():
                raise KafkaUnavailableError(f"cannot consume {message.topic()}/{message.partition()}@{message.offset()}: {error.str()}")
        usable = [message for message in messages if message.error() is None] if failed else messages
        batch.messages = [self._messages(unit, found) for unit, found in self._by_unit(usable).items()]
        return batch

    def _by_unit(self, messages: list[Any]) -> dict[UnitId, list[Any]]:
        """The messages of each partition. They come in runs, as they were fetched, so it is the runs that are looked at."""
        by_unit: defaultdict[UnitId, list[Any]] = defaultdict(list)
        places: dict[str | None, int] = {topic: i for i, topic in enumerate(self._sides)}
        sides = np.fromiter(map(places.__getitem__, map(Message.topic, messages)), np.int64, len(messages))
        partitions = np.fromiter(map(Message.partition, messages), np.int64, len(messages))
        starts = np.flatnonzero(np.diff(partitions, prepend=-1) | np.diff(sides, prepend=-1)).tolist()
        for start, end in itertools.pairwise([*starts, len(messages)]):
            by_unit[UnitId(self._sides[messages[start].topic()], messages[start].partition())] += messages[start:end]
        return by_unit

    def _limit(self, batch: Batch) -> None:
        """How many messages the next batch may have, if they are of the size of these."""
        n = sum(len(messages.values) for messages in batch.messages)
        if n:
            size = sum(sum(map(len, filter(None, messages.values))) for messages in batch.messages)
            self._owner.batch_bytes(size)
            self._most = max(1, min(self._batch_size, self._batch_bytes * n // max(size, 1)))

    def _messages(self, unit: UnitId, messages: list[Any]) -> Messages:
        return Messages(
            topic=self._topics[unit.side],
            unit=unit,
            epoch=self._epochs.get(unit, NOT_TAKEN),
            offsets=_offsets(messages),
            values=list(map(Message.value, messages)),
            timestamps=[message.timestamp()[1] for message in messages] if self._timestamps else [],
            keys=_Keys(messages),
            headers=[dict(message.headers() or ()) for message in messages] if self._headers else [],
        )

    def _unit(self, at: TopicPartition) -> UnitId:
        return UnitId(self._sides[at.topic], at.partition)

    def _sit_out(self) -> None:
        """Keep the membership in the group, and read nothing, until the store answers; then begin again where it stands."""
        self._consumer.pause(self._consumer.assignment())
        while not self._stop.is_set() and not self._owner.resumes():
            self._consumer.poll(RETRY_S)  # serves heartbeats and rebalances; what it may still return is read again later
        held = self._consumer.assignment()
        self._consumer.incremental_unassign(held)
        if not self._stop.is_set():
            self._on_assign(self._consumer, held)

    def _hold_back(self) -> None:
        """Pause what the owner wants no more of for now, and resume what it wants again."""
        wanted = self._owner.held_back()
        if wanted == self._paused:
            return
        held = self._consumer.assignment()
        self._consumer.pause([p for p in held if self._unit(p) in wanted - self._paused])
        self._consumer.resume([p for p in held if self._unit(p) in self._paused - wanted])
        self._paused = frozenset(wanted)

    def _reclaim(self) -> None:
        again = self._owner.reclaims()
        held = [p for p in self._consumer.assignment() if self._unit(p) in again] if again else []
        if held:
            log.warning("takes back %s", ", ".join(str(self._unit(p)) for p in held))
            self._consumer.incremental_unassign(held)
            self._on_assign(self._consumer, held)

    def _committed(self, units: Sequence[UnitId]) -> dict[UnitId, str]:
        """The texts that are committed beside the group's offsets."""
        places = [TopicPartition(self._topics[unit.side], unit.partition) for unit in units]
        found = self._consumer.committed(places, timeout=METADATA_TIMEOUT_S)
        return {self._unit(at): at.metadata for at in found if at.metadata}

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._paused -= {self._unit(p) for p in partitions}
        ranges = {self._unit(p): consumer.get_watermark_offsets(p, timeout=METADATA_TIMEOUT_S) for p in partitions}
        taken = self._owner.assign(ranges, from_end=self._start == "latest", committed=self._committed)
        for p in partitions:
            self._epochs[self._unit(p)], p.offset = taken.get(self._unit(p), (NOT_TAKEN, OFFSET_END))
        consumer.incremental_assign(partitions)
        if taken:
            log.info("assigned %s", ", ".join(f"{self._unit(p)}@{p.offset}" for p in partitions))
            consumer.resume(partitions)  # they stay paused over an assignment if they were before
        else:
            consumer.pause(partitions)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        log.info("revoked %s", ", ".join(str(self._unit(p)) for p in partitions))
        self._owner.revoke([self._unit(p) for p in partitions])
        consumer.incremental_unassign(partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        log.warning("lost %s", ", ".join(str(self._unit(p)) for p in partitions))
        self._owner.lose([self._unit(p) for p in partitions])
        consumer.incremental_unassign(partitions)

    def _on_error(self, error: KafkaError) -> None:
        """librdkafka reconnects by itself, and logs each broker that is away; that all are is for `/ready`."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self.connected = False
            log.warning("Kafka: %s", error.str())

    def _hint(self) -> None:
        now = time.monotonic()
        if not self.connected and now - self._lagged_s >= LAG_EVERY_S:
            self.connected = self._answers()
        if now - self._lagged_s >= LAG_EVERY_S:
            self._lagged_s = now
            self._owner.lag(self._lags())
        if now - self._hinted_s >= HINT_EVERY_S:
            self._hinted_s = now
            offsets = [
                TopicPartition(self._topics[unit.side], unit.partition, offset, text)
                for unit, (offset, text) in self._owner.offsets().items()
            ]
            if offsets:
                self._consumer.commit(offsets=offsets, asynchronous=True)

    def _answers(self) -> bool:
        """Whether a broker answers again, after all were down."""
        try:
            self._consumer.list_topics(self._topics["predictions"], timeout=LAG_EVERY_S)
        except KafkaException:
            return False
        return True

    def _lags(self) -> dict[UnitId, int]:
        lags = {}
        for at in self._consumer.position(self._consumer.assignment()):
            _, end = self._consumer.get_watermark_offsets(at, cached=True)
            if end >= 0:
                lags[self._unit(at)] = max(end - at.offset, 0) if at.offset >= 0 else end
        return lags
