"""Examines an installation: the services, the topics, the references, how far the workers are, and whether every event is accounted for.

Reads only, takes nothing over, and raises for nothing that is down: that is a finding, which says what to do.
"""

import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import redis
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from redis.backoff import NoBackoff
from redis.retry import Retry

from stream.app import build_models
from stream.balance import Balance, read_balance
from stream.drift import applies
from stream.kafka import client_options
from stream.model import Model, with_variants
from stream.reference import InvalidReferenceError
from stream.results import timestamp
from stream.settings import ModelSection, Settings
from stream.settings_services import KafkaSettings
from stream.status import baseline
from stream.store import ClockName, OffsetRange, Partitions, UnitId, UnitView
from stream.store_redis import IDLE_LEASE_MS, RedisStore
from stream.watermark import NO_TIME
from stream.worker import wall_clock_ms

TIMEOUT_S: Final = 5.0  # of each question: who takes longer is as good as down
OLDEST_REDIS: Final = (6, 2)
OUTBOX_MAX: Final = 1_000  # as in the rule DriftstreamOutboxGrowing
# A broker that never had a group makes the place to keep them when it is first asked for one.
_COORDINATOR_COMES: Final = (KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.NOT_COORDINATOR)
POLL_S: Final = 0.2
SETTLE_TRIES, SETTLE_S = 3, 1.0  # for a balance that is read between the checkpoints of two workers


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `detail` says how it is, and if it is not ok what to do."""

    ok: bool
    what: str
    detail: str


@dataclass(frozen=True, slots=True)
class _Group:
    """The partitions of the input topics, (first offset, end offset) and the offset committed to Kafka, and who reads them."""

    partitions: Partitions
    ranges: Mapping[UnitId, tuple[int, int]]
    committed: Mapping[UnitId, int]
    members: int
    owned: int


def examine(settings: Settings) -> list[Finding]:
    """All findings, the foundations first."""
    findings, group = _kafka(settings)
    findings += (answer := _redis(settings))
    if group is not None and answer[0].ok:
        findings += _state(settings, group)
    return [*_references(settings), *findings, _page(f"http://{settings.worker.web_host}:{settings.worker.web_port}/ready")]


def _references(settings: Settings) -> Iterator[Finding]:
    for name, section in settings.models.items():
        what = f"model {name}"
        try:
            model = build_models(settings.model_copy(update={"models": {name: section}}))[name]
        except (InvalidReferenceError, OSError) as error:
            yield Finding(False, what, str(error))
            continue
        named = {slot.feature.name for one in with_variants([model]) for slot in one.slots}
        for one in with_variants([model]):
            if one.reference is not None or not model.variants:
                yield _reference(section, one, named, what if one.version is None else f"{what}, version {one.version}")


def _reference(section: ModelSection, model: Model, named: set[str], what: str) -> Finding:
    """Whether what the configuration says of the features fits the model's reference. `named`: all that any version has."""
    reference, settings = model.reference, model.settings
    drops = [name for name, rules in settings.degradation.items() if any(limits.warning or limits.critical for limits in rules.values())]
    if drops and settings.labels and settings.degraded_from == "reference" and baseline(model) is None:
        rule = "expected a reference of a classifier, built from rows with prediction and label of its classes, or degradation.against: 7d"
        return Finding(False, what, f"degradation: {', '.join(drops)} has no baseline, {rule}")
    if reference is None:
        return Finding(True, what, "no reference, so no drift is scored")
    if unknown := sorted({*model.settings.feature_drift, *model.settings.feature_quality} - named):
        return Finding(
            False, what, f"drift.features, quality.features: {', '.join(unknown)} not in its reference; correct the configuration"
        )
    misplaced = [
        f"{feature.name}.{method}"
        for feature in reference.features
        if (own := section.drift.features.get(feature.name))
        for method in sorted(own.model_fields_set - {"minimum_sample"})
        if not applies(method, feature)
    ]
    if misplaced:
        return Finding(
            False, what, f"drift.features: {', '.join(misplaced)} not scored: the method is not for this kind of feature; remove it"
        )
    if model.calibration is None and any(limits.warning or limits.critical for limits in model.settings.estimated.thresholds.values()):
        rule = "expected two classes, a positive one, and a reference built from rows with score and label of both"
        return Finding(False, what, f"performance.estimated: nothing can be estimated, {rule}")
    if reference.model != model.settings.name:
        return Finding(False, what, f"its reference was built for model {reference.model}; build one with `driftstream reference build`")
    return Finding(True, what, f"reference {reference.reference_id}, {reference.rows} rows, {len(reference.features)} features")


# Kafka


def _kafka(settings: Settings) -> tuple[list[Finding], _Group | None]:
    kafka = settings.kafka
    labels = any(settings.model(name).labels for name in settings.models)
    admin = AdminClient({**client_options(kafka), "log_level": 0})  # what is wrong is said here
    findings: list[Finding] = []
    try:
        metadata = admin.list_topics(timeout=TIMEOUT_S)
        findings.append(Finding(True, "Kafka", f"{len(metadata.brokers)} broker(s) of cluster {metadata.cluster_id} at {kafka.brokers}"))
        counts = {
            name: len(metadata.topics[topic].partitions) if topic in metadata.topics else 0
            for name, topic in kafka.topics
            if labels or name != "labels"
        }
        for name, n in counts.items():
            said = f"{n} partition(s)" if n else "does not exist; create it with `driftstream topics create`"
            findings.append(Finding(n > 0, f"topic {getattr(kafka.topics, name)}", said))
        if not counts["predictions"] or not counts.get("labels", 1):
            return findings, None
        return findings, _group(admin, kafka, Partitions(counts["predictions"], counts.get("labels", 0)))
    except KafkaException as error:
        said = f"{error.args[0].str()} at {kafka.brokers}; check that it runs, kafka.brokers and kafka.options"
        return [*findings, Finding(False, "Kafka", said)], None


def _group(admin: AdminClient, kafka: KafkaSettings, partitions: Partitions) -> _Group:
    places = {
        unit: TopicPartition(kafka.topics.predictions if unit.side == "predictions" else kafka.topics.labels, unit.partition)
        for unit in partitions.units()
    }
    owned = _owned(admin, kafka.group)
    # A consumer that joins nothing: AdminClient.list_consumer_group_offsets crashes the process when the group does not exist (2.16).
    consumer = Consumer({**client_options(kafka), "group.id": kafka.group, "log_level": 0})
    try:
        ranges = {unit: consumer.get_watermark_offsets(at, timeout=TIMEOUT_S) for unit, at in places.items()}
        held = {(at.topic, at.partition): at.offset for at in consumer.committed(list(places.values()), timeout=TIMEOUT_S)}
    finally:
        consumer.close()
    committed = {unit: held[at.topic, at.partition] for unit, at in places.items() if held[at.topic, at.partition] >= 0}
    return _Group(partitions, ranges, committed, len(owned), sum(owned))


def _owned(admin: AdminClient, group: str) -> list[int]:
    """How many partitions each member of the group reads."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            found = admin.describe_consumer_groups([group], request_timeout=TIMEOUT_S)[group].result()
            return [len(member.assignment.topic_partitions) for member in found.members]
        except KafkaException as error:
            if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                return []
            if error.args[0].code() not in _COORDINATOR_COMES or time.monotonic() > deadline:
                raise
        time.sleep(POLL_S)


# Redis


def _redis(settings: Settings) -> list[Finding]:
    """The first finding says whether it answers."""
    address = settings.redis.masked_url()
    url = settings.redis.url.get_secret_value()
    with redis.Redis.from_url(url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, retry=Retry(NoBackoff(), 0)) as client:
        try:
            info = cast(dict[str, Any], client.info())
        except redis.RedisError as error:
            return [Finding(False, "Redis", f"{error}; check that it runs and redis.url ({address})")]
    version = str(info["redis_version"])
    recent = tuple(int(part) for part in version.split(".")[:2]) >= OLDEST_REDIS
    policy = str(info.get("maxmemory_policy", "unknown"))
    keeps = policy in ("noeviction", "unknown")
    log = (
        "append-only file on"
        if info.get("aof_enabled")
        else "append-only file off: what is not in a snapshot is counted again after a crash"
    )
    return [
        Finding(recent, "Redis", f"version {version} at {address}" + ("" if recent else f", expected {'.'.join(map(str, OLDEST_REDIS))}")),
        Finding(keeps, "Redis memory", f"{info['used_memory_human']} used, {policy}" + ("" if keeps else _EVICTS)),
        Finding(True, "Redis durability", log),
    ]


_EVICTS: Final = ": Redis may throw state away when its memory is full; set maxmemory-policy noeviction"


# what the workers have come to


def _state(settings: Settings, group: _Group) -> list[Finding]:
    url, namespace = settings.redis.url.get_secret_value(), settings.redis.namespace
    store = RedisStore(url, namespace, max_delay_ms=settings.labels.max_delay_ms, timeout_s=TIMEOUT_S)
    try:
        view = store.view(group.partitions.units())
        started = any(seen.next_offset is not None for seen in view.values())
        waiting = sum(_behind(group.ranges[unit], seen) for unit, seen in view.items())
        findings = [_workers(settings, group, started=started, waiting=waiting)]
        if not started:
            return [*findings, Finding(True, "state", f"none in namespace {namespace}: no worker has checkpointed yet")]
        now_ms = wall_clock_ms()
        clock = store.clock()
        return [
            *findings,
            _offsets(group, view, waiting),
            *(_clock(subject, clock.of(subject), view, now_ms) for subject in _subjects(group.partitions)),
            *_balance(_settled(store, group.partitions), {unit: seen.lost for unit, seen in view.items()}),
            _outbox(view),
        ]
    except redis.RedisError as error:
        return [Finding(False, "state", f"cannot be read: {error}; check redis.url and the rights of its user")]
    finally:
        store.close_connections()


def _behind(bounds: tuple[int, int], seen: UnitView) -> int:
    first, end = bounds
    return max(end - max(first, first if seen.next_offset is None else seen.next_offset), 0)


def _workers(settings: Settings, group: _Group, *, started: bool, waiting: int) -> Finding:
    what = f"group {settings.kafka.group}"
    partitions = sum(group.partitions)
    if not group.members:
        return Finding(not started, what, f"no worker, {waiting} message(s) wait; start one with `driftstream worker`")
    said = f"{group.members} worker(s) read {group.owned} of {partitions} partition(s), {waiting} message(s) wait"
    return Finding(
        group.owned == partitions, what, said + ("" if group.owned == partitions else "; the group may be rebalancing: look again")
    )


def _offsets(group: _Group, view: Mapping[UnitId, UnitView], waiting: int) -> Finding:
    offsets = {unit: seen.next_offset for unit, seen in view.items() if seen.next_offset is not None}
    gone = {unit: group.ranges[unit][0] - offset for unit, offset in offsets.items() if offset < group.ranges[unit][0]}
    ahead = [unit for unit, offset in offsets.items() if offset > group.ranges[unit][1]]
    if ahead:
        return Finding(
            False, "offsets", f"{_names(ahead)} ended before what was read: the topic was created anew; use another redis.namespace"
        )
    if gone:
        lost = f"{sum(gone.values())} message(s) of {_names(gone)} are gone from Kafka and were not read"
        return Finding(False, "offsets", f"{lost}; raise the retention of the topic, and start workers")
    trailing = sum(max(offset - group.committed.get(unit, group.ranges[unit][0]), 0) for unit, offset in offsets.items())
    unread = [unit for unit in view if unit not in offsets]
    said = f"state of {len(offsets)} partition(s), {waiting} message(s) behind; those committed to Kafka, a hint, trail by {trailing}"
    return Finding(not unread, "offsets", said + (f"; {_names(unread)} without state: restart the workers" if unread else ""))


def _subjects(partitions: Partitions) -> tuple[ClockName, ...]:
    return ("traffic", "performance") if partitions.labels else ("traffic",)


def _clock(subject: ClockName, clock_ms: int, view: Mapping[UnitId, UnitView], now_ms: int) -> Finding:
    what = f"{subject} clock"
    stands = "not started" if clock_ms == NO_TIME else f"at {timestamp(clock_ms)}"
    units = {unit: seen for unit, seen in view.items() if unit.side == "predictions" or subject == "performance"}
    if silent := [unit for unit, seen in units.items() if seen.reported_ms == NO_TIME]:
        return Finding(False, what, f"{stands}, held by {_names(silent)}, which no worker has reported; start or restart the workers")
    active = {unit: seen for unit, seen in units.items() if not seen.idle or now_ms - seen.reported_ms > IDLE_LEASE_MS}
    if not active:
        return Finding(True, what, f"{stands}; every partition is idle")
    holder, seen = min(active.items(), key=lambda item: item[1].watermark_ms)
    return Finding(True, what, f"{stands}; {holder} holds it, last heard of {max(now_ms - seen.reported_ms, 0) / 1000:.0f} s ago")


def _settled(store: RedisStore, partitions: Partitions) -> Balance:
    balance = read_balance(store, partitions)
    for _ in range(SETTLE_TRIES):
        if balance.adds_up and not balance.unsettled:
            break
        time.sleep(SETTLE_S)
        balance = read_balance(store, partitions)
    return balance


def _ranges(gone: Mapping[UnitId, tuple[OffsetRange, ...]], side: str) -> str:
    """Which offsets, of the first few partitions."""
    said = [f"{unit} {', '.join(map(str, ranges[-3:]))}" for unit, ranges in gone.items() if ranges and unit.side == side]
    return f" ({'; '.join(said[:5])})" if said else ""


def _balance(balance: Balance, gone: Mapping[UnitId, tuple[OffsetRange, ...]]) -> Iterator[Finding]:
    for what, sheet in (("predictions", balance.predictions), ("labels", balance.labels)):
        lost = f"; {sheet.lost} were gone from Kafka before they were read{_ranges(gone, what)}: raise its retention" if sheet.lost else ""
        parts = [str(unit) for unit, own in balance.units.items() if unit.side == what and not own.adds_up]
        wrong = (
            "" if sheet.adds_up and not parts else f"; this does not add up{' in ' + ', '.join(parts) if parts else ''}: please report it"
        )
        yield Finding(not (lost or wrong), f"balance of {what}", f"{sheet}{lost}{wrong}")
    joined = balance.joined
    yield Finding(joined.adds_up, "labels of predictions", f"{joined.consumed} counted or late = {joined.terms}")
    if balance.unsettled:
        yield Finding(False, "balance", f"{balance.unsettled} label(s) met a prediction without ever having been counted: please report it")


def _outbox(view: Mapping[UnitId, UnitView]) -> Finding:
    waiting = sum(seen.outbox for seen in view.values())
    said = f"{waiting} message(s) wait for delivery"
    return Finding(
        waiting <= OUTBOX_MAX, "outbox", said + ("" if waiting <= OUTBOX_MAX else "; the log of the workers says what Kafka refuses")
    )


def _names(units: list[UnitId] | Mapping[UnitId, int]) -> str:
    """The first few."""
    names = [str(unit) for unit in units]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _page(url: str) -> Finding:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S):  # noqa: S310  http, from the configuration
            return Finding(True, "worker", f"{url} says ready")
    except urllib.error.HTTPError as refused:
        with refused:
            return Finding(False, "worker", f"{url} says {refused.code}: {refused.read(500).decode(errors='replace')}")
    except (OSError, ValueError):
        return Finding(True, "worker", f"nothing answers at {url}, as it should be if no worker runs there")
