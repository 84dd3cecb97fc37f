"""The store in Redis 6.2 or later: every write is one script, checked before its first write and safe to repeat.

The table of keys stands in `store.py`. Values are bytes; a pane's name and its place in time are readable in `redis-cli`.
"""

import logging
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from itertools import pairwise
from typing import Any, Final, cast
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
import redis
from redis.backoff import ExponentialBackoff
from redis.commands.core import Script
from redis.connection import AbstractConnection
from redis.exceptions import NoScriptError, OutOfMemoryError
from redis.retry import Retry

from stream.aggregates import distinct
from stream.join import BUCKETS, GENERATIONS, ROWS_FORMAT, SHARDS, TRAIL, JoinBatch, Matches
from stream.redis_fields import (
    counters_of,
    end_ms,
    entries_of,
    field_of,
    group_of,
    groups_of,
    is_rows,
    listed,
    message_of,
    ms_of,
    number_pairs,
    times,
)
from stream.results import timestamp
from stream.store import (
    CLOCKS,
    SUBJECTS,
    Checkpoint,
    Clock,
    Clocks,
    Closing,
    Heard,
    Held,
    HomeState,
    Mark,
    OffsetRange,
    PaneGroup,
    Partitions,
    Source,
    Subject,
    Suspect,
    UnitId,
    UnitReport,
    UnitState,
    UnitView,
    WrongSourceError,
)
from stream.watermark import NO_TIME

# Idleness that is reported less often than this no longer counts: the worker may be dead. Workers report every checkpoint (about 1 s).
IDLE_LEASE_MS = 15_000
DROP_ROWS = 10_000  # pending rows a script call counts and unlinks: a few ms, in which Redis does nothing else
READ_FIELDS = 1000  # aggregates a HMGET reads: a few MB

StoreUnavailableError = redis.RedisError  # what every method raises when Redis does not answer, or refuses


class StateChangedError(redis.RedisError):
    """The state is not the one that this store began with: Redis was restarted and may be older, or emptied, or topics have grown."""


class CannotWriteError(redis.RedisError):
    """Redis answers but takes nothing: its disk is full, or it misses its replicas."""


# Redis is away, loading, a replica now, full, or not the one we knew: begin again when it takes writes. Every other error is ours.
UNREACHABLE = (
    redis.ConnectionError,
    redis.TimeoutError,
    redis.ReadOnlyError,
    NoScriptError,
    OutOfMemoryError,
    StateChangedError,
    CannotWriteError,
)
_REFUSALS: Final = {"ANOTHERERA": StateChangedError, "MISCONF": CannotWriteError, "NOREPLICAS": CannotWriteError}
_SCRIPTS: Final = ("acquire", "checkpoint", "suspect", "trim", "close", "discard", "clock", "match", "ended", "drop", "intern", "hear")

log = logging.getLogger(__name__)

Call = tuple[list[str], list[Any]]  # keys and arguments of one run of a script


class RedisStore:
    """`Store` over one Redis. `max_delay_ms` sets the length of the join's generations."""

    def __init__(self, url: str, namespace: str, *, max_delay_ms: int, timeout_s: float = 10.0) -> None:
        self._redis = redis.Redis.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            health_check_interval=15,
            retry=Retry(ExponentialBackoff(cap=0.5, base=0.02), 3),  # every script may be repeated
            redis_connect_func=self._on_connect,
        )
        self._namespace = namespace
        self._generation_ms = -(-max_delay_ms // GENERATIONS)
        self._begin = self._redis.register_script(_lua("begin"))
        self._scripts = {name: self._script(name) for name in _SCRIPTS}
        self._era: list[str] = []  # its key and id
        self._run_id = ""

    def _script(self, name: str) -> Script:
        return self._redis.register_script(_lua("in_era") + _lua(name))

    def _on_connect(self, connection: AbstractConnection) -> None:
        """A connection to another run of Redis is refused: its state may be older than what this worker has in its memory."""
        connection.on_connect()  # type: ignore[no-untyped-call]
        if self._run_id and self._run_id != (run_id := _run_id(connection)):
            raise StateChangedError(f"Redis was restarted: its run_id is {run_id}, expected {self._run_id}")

    def begin(self, source: Source) -> Partitions:
        before, self._run_id = self._run_id, ""
        self._redis.connection_pool.disconnect()
        self._run_id = str(self._redis.info("server")["run_id"])
        if before not in ("", self._run_id):
            self._mend_log()
        key, partitions = self._key("era"), source.partitions
        topics = (source.predictions_topic, partitions.predictions, source.labels_topic, partitions.labels)
        args = (uuid.uuid4().hex, source.cluster, *topics, ROWS_FORMAT)
        with _refusals():
            pairs = cast(list[bytes], self._begin(keys=[key], args=args))
        era = {name.decode(): value.decode() for name, value in zip(pairs[::2], pairs[1::2], strict=True)}
        known = {"cluster": source.cluster, "topic:predictions": source.predictions_topic, "topic:labels": source.labels_topic}
        for name, value in known.items():
            if value and value != era[name]:
                raise WrongSourceError(
                    f"cannot go on with the state in redis.namespace={self._namespace!r}: it was made from {name}={era[name]!r}, this is "
                    f"{value!r}; point kafka.brokers to the cluster it was made from, or start anew with another redis.namespace"
                )
        if (rows := int(era.get("rows", 1))) != ROWS_FORMAT:
            raise WrongSourceError(
                f"cannot go on with the state in redis.namespace={self._namespace!r}: predictions wait in format {rows}, expected "
                f"{ROWS_FORMAT}; delete the namespace, and all is counted again from Kafka"
            )
        self._era = [key, era["id"]]
        return Partitions(partitions.predictions, partitions.labels, int(era["homes"]))

    def _mend_log(self) -> None:
        """Have the append-only file written anew after a restart.

        Redis 7.0 may leave the beginning of a script's writes at its end, when it broke off there, and would execute it before whatever
        comes next when the file is read once more.
        """
        try:
            self._redis.bgrewriteaof()
        except redis.ResponseError as error:  # one is under way, as another worker came first, or the user may not
            log.debug("the append-only file is not written anew: %s", error)

    def _run(self, name: str, calls: Sequence[Call]) -> list[Any]:
        """What a script answers to each call, in one round trip; redis-py's own way asks first whether Redis knows the script."""
        assert self._era, "begin() comes first"
        try:
            return self._evaluate(self._scripts[name].sha, calls)
        except NoScriptError:
            self._redis.script_load(self._scripts[name].script)
            return self._evaluate(self._scripts[name].sha, calls)  # all of it once more: every script may be repeated

    def _evaluate(self, digest: str, calls: Sequence[Call]) -> list[Any]:
        key, era = self._era
        pipeline = self._redis.pipeline(transaction=False)
        for keys, args in calls:
            pipeline.evalsha(digest, len(keys) + 1, *keys, key, *args, era)
        with _refusals():
            return pipeline.execute()

    def _key(self, *parts: str) -> str:
        return ":".join((self._namespace, *parts))

    def _unit(self, unit: UnitId, *parts: str) -> str:
        return self._key(f"{{{unit}}}", *parts)

    def ping(self) -> None:
        """Raise redis.RedisError unless Redis answers."""
        self._redis.ping()

    def close_connections(self) -> None:
        """Give the connections back."""
        self._redis.close()

    # units

    def acquire(self, unit: UnitId, models: Sequence[str]) -> UnitState:
        ((epoch, pairs),) = self._run("acquire", [([self._unit(unit, "unit")], [])])
        fields = {name.decode(): value for name, value in zip(pairs[::2], pairs[1::2], strict=True)}
        pipeline = self._redis.pipeline(transaction=False)
        for model in models:
            pipeline.hgetall(self._unit(unit, "panes", quote(model)))
        panes = {model: groups_of(held) for model, held in zip(models, pipeline.execute(), strict=True) if held}
        entries = cast(list[tuple[bytes, dict[bytes, bytes]]], self._redis.xrange(self._unit(unit, "outbox")))
        return UnitState(
            epoch=epoch,
            sequence=int(fields.get("sequence", 0)),
            next_offset=int(fields["next_offset"]) if "next_offset" in fields else None,
            newest_ms=int(fields.get("newest_ms", NO_TIME)),
            outbox_end=int(fields.get("outbox", 0)),
            floors_ms=times(fields, "floor"),
            quiet_ms=times(fields, "quiet"),
            marks=number_pairs(fields, "marks", Mark),
            lost=number_pairs(fields, "lost", OffsetRange),
            suspects=number_pairs(fields, "suspects", Suspect),
            sequential=fields.get("sequential", b""),
            counters=counters_of(fields),
            panes=panes,
            outbox=[(int(number.split(b"-")[0]), message_of(entry)) for number, entry in entries],
        )

    def checkpoint(self, checkpoints: Sequence[Checkpoint]) -> list[UnitId]:
        calls: list[Call] = []
        for step in checkpoints:
            fields = {f"count:{name}": str(value) for name, value in step.counters.items()}
            fields |= {"newest_ms": str(step.newest_ms)} | {f"floor:{subject}": str(ms) for subject, ms in step.floors_ms.items()}
            fields |= {f"quiet:{subject}": str(ms) for subject, ms in step.quiet_ms.items()}
            fields |= {name: listed(pairs) for name, pairs in (("marks", step.marks), ("lost", step.lost)) if pairs is not None}
            if step.sequential is not None:
                fields["sequential"] = step.sequential.decode()
            if step.next_offset is not None:
                fields["next_offset"] = str(step.next_offset)
            if step.outbox:
                fields["outbox"] = str(step.outbox[-1][0])
            panes = [(quote(model), field_of(group), blob) for model, groups in step.panes.items() for group, blob in groups.items()]
            keys = [self._unit(step.unit, "unit"), self._unit(step.unit, "outbox")]
            args = [
                *(step.epoch, step.sequence, self._unit(step.unit, "panes", ""), len(fields), len(panes)),
                *(x for field in fields.items() for x in field),
                *(x for pane in panes for x in pane),
                *entries_of(step.outbox),
            ]
            calls.append((keys, args))
        return [step.unit for step, written in zip(checkpoints, self._run("checkpoint", calls), strict=True) if not written]

    def trim_outbox(self, unit: UnitId, delivered: int) -> None:
        self._run("trim", [([self._unit(unit, "outbox")], [delivered + 1])])

    def suspect(self, unit: UnitId, epoch: int, offset: int) -> int:
        return int(self._run("suspect", [([self._unit(unit, "unit")], [epoch, offset])])[0])

    # clock

    def report(self, reports: Sequence[UnitReport], partitions: Partitions, now_ms: int, idle_ms: int) -> Clocks:
        rows = [x for r in reports for x in (str(r.unit), r.epoch, r.watermark_ms, int(r.idle), *r.delivered)]
        args = [now_ms, IDLE_LEASE_MS, "" if idle_ms == NO_TIME else idle_ms, partitions.predictions, partitions.labels, *rows]
        traffic, performance, *delivered = map(ms_of, self._run("clock", [([self._key("clock")], args)])[0])
        return Clocks(Clock(traffic, performance), Clock(*delivered))

    def wake(self, report: UnitReport, now_ms: int) -> Clock:
        # With no partitions to look at, the script only takes the report; '' keeps the clock where it is.
        return self.report([report], Partitions(0, 0), now_ms, NO_TIME).now

    # join

    def match(self, batch: JoinBatch) -> Matches:
        generations, places = distinct(batch.rows["time"] // self._generation_ms)
        starts = [generation * self._generation_ms for generation in generations.tolist()]
        names = [x for start in starts for x in (timestamp(start), start + self._generation_ms)]
        side = "P" if batch.side == "predictions" else "L"
        shards = batch.shards()
        # One bucket's rows side by side, which the script looks up and writes at once; still in order, as equal ids have equal buckets.
        order = np.argsort(shards * np.uint16(BUCKETS) + batch.buckets(), kind="stable")
        ends = np.cumsum(np.bincount(shards, minlength=SHARDS)).tolist()
        packed = batch.packed(places)[order]
        calls: list[Call] = []
        slices: list[npt.NDArray[np.intp]] = []
        for shard, (start, end) in enumerate(pairwise((0, *ends))):
            if start == end:
                continue
            tag = f"{{join/{shard}}}"
            args = [
                side,
                self._key(tag, "pending", ""),
                packed[start:end].tobytes(),
                self._generation_ms,
                TRAIL,
                batch.scores.shape[1],
                *names,
            ]
            calls.append(([self._key(tag, "generations"), self._key(tag, "counts")], args))
            slices.append(order[start:end])
        answers = self._run("match", calls)
        return Matches.of_answers(batch, ((rows, *answer) for rows, answer in zip(slices, answers, strict=True)))

    def drop_generations(self, before_ms: int) -> tuple[int, int]:
        totals = np.zeros(2, np.int64)
        for shard in range(SHARDS):
            tag = f"{{join/{shard}}}"
            generations = self._key(tag, "generations")
            ended = cast(list[bytes], self._run("ended", [([generations], [before_ms])])[0])
            for name in ended:
                prefix = self._key(tag, "pending", name.decode())
                bucket = 0
                while bucket < BUCKETS:
                    call: Call = ([self._key(tag, "counts")], [prefix, bucket, BUCKETS, DROP_ROWS])
                    *counted, bucket = cast(list[int], self._run("drop", [call])[0])
                    totals += np.array(counted)
            if ended:
                self._run("discard", [([generations], [len(ended), *ended])])
            self._forget_rows(tag, before_ms)
        return int(totals[0]), int(totals[1])

    def _forget_rows(self, tag: str, before_ms: int) -> None:
        counts = self._key(tag, "counts")
        gone = [name for name in cast(list[bytes], self._redis.hkeys(counts)) if is_rows(name) and end_ms(name) <= before_ms]
        if gone:
            self._run("discard", [([counts], [len(gone), *gone])])

    def pending(self) -> dict[int, int]:
        pipeline = self._redis.pipeline(transaction=False)
        for shard in range(SHARDS):
            pipeline.hgetall(self._key(f"{{join/{shard}}}", "counts"))
        rows: Counter[int] = Counter()
        for held in pipeline.execute():
            rows.update({end_ms(name): int(n) for name, n in held.items() if is_rows(name)})
        return dict(rows)

    def expired(self) -> tuple[int, int]:
        pipeline = self._redis.pipeline(transaction=False)
        for shard in range(SHARDS):
            pipeline.hmget(self._key(f"{{join/{shard}}}", "counts"), "predictions", "labels")
        predictions, labels = zip(*pipeline.execute(), strict=True)
        return sum(int(x or 0) for x in predictions), sum(int(x or 0) for x in labels)

    # names

    def intern(self, kind: str, names: Sequence[str], limit: int = 0) -> list[int]:
        if not names:
            return []
        keys = [self._key("names", quote(kind)), self._key("numbers", quote(kind))]
        return cast(list[int], self._run("intern", [(keys, [limit, *names])])[0])

    def names(self, kind: str, numbers: Sequence[int]) -> list[str | None]:
        if not numbers:
            return []
        held = cast(list[bytes | None], self._redis.hmget(self._key("numbers", quote(kind)), [str(n) for n in numbers]))
        return [name.decode() if name is not None else None for name in held]

    # closing

    def home(self, unit: UnitId, model: str) -> HomeState:
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.hgetall(self._unit(unit, "closing", quote(model)))
        pipeline.hgetall(self._unit(unit, "merged", quote(model)))
        pipeline.hgetall(self._unit(unit, "slices", quote(model)))
        fields, merged, slices = pipeline.execute()
        held = {name.decode(): value for name, value in fields.items()}

        def numbers(what: str) -> dict[Subject, int]:
            return {subject: int(held[f"{subject}:{what}"]) for subject in SUBJECTS if f"{subject}:{what}" in held}

        alerts = {name.removeprefix("alert:"): value for name, value in held.items() if name.startswith("alert:")}
        return HomeState(numbers("sequence"), numbers("closed"), numbers("fired"), groups_of(merged), alerts, groups_of(slices))

    def pane_groups(self, models: Sequence[str], partitions: Partitions) -> dict[str, Held]:
        units = partitions.units()
        pipeline = self._redis.pipeline(transaction=False)
        for model in models:
            for unit in units:
                pipeline.hkeys(self._unit(unit, "panes", quote(model)))
        names = iter(pipeline.execute())
        return {model: {unit: [group_of(name) for name in next(names)] for unit in units} for model in models}

    def read_panes(self, wanted: Mapping[str, Held]) -> dict[str, list[tuple[PaneGroup, bytes]]]:
        pipeline = self._redis.pipeline(transaction=False)
        slices = [
            (model, unit, groups[i : i + READ_FIELDS])
            for model, held in wanted.items()
            for unit, groups in held.items()
            for i in range(0, len(groups), READ_FIELDS)
        ]
        for model, unit, groups in slices:
            pipeline.hmget(self._unit(unit, "panes", quote(model)), [field_of(group) for group in groups])
        found: dict[str, list[tuple[PaneGroup, bytes]]] = {model: [] for model in wanted}
        for (model, _, groups), blobs in zip(slices, pipeline.execute(), strict=True):
            found[model] += [(group, blob) for group, blob in zip(groups, blobs, strict=True) if blob is not None]
        return found

    def close(self, closings: Sequence[Closing]) -> list[UnitId]:
        calls: list[Call] = []
        for step in closings:
            fields: dict[str, str | bytes] = {f"{step.subject}:closed": str(step.closed_ms), f"{step.subject}:fired": str(step.fired_ms)}
            fields |= {f"alert:{key}": value for key, value in step.alerts.items() if value is not None}
            forgotten = [f"alert:{key}" for key, value in step.alerts.items() if value is None]
            merged, slices = ([(field_of(group), blob) for group, blob in panes.items()] for panes in (step.merged, step.slices))
            expired, passed = ([field_of(group) for group in groups] for groups in (step.expired, step.passed))
            keys = (("unit",), ("closing", quote(step.model)), ("merged", quote(step.model)), ("slices", quote(step.model)), ("outbox",))
            args = [
                *(step.epoch, step.subject, step.sequence, *map(len, (fields, forgotten, merged, expired, slices, passed))),
                *(x for field in fields.items() for x in field),
                *forgotten,
                *(x for pane in merged for x in pane),
                *expired,
                *(x for pane in slices for x in pane),
                *passed,
                *entries_of(step.outbox),
            ]
            calls.append(([self._unit(step.unit, *key) for key in keys], args))
        return [step.unit for step, written in zip(closings, self._run("close", calls), strict=True) if not written]

    def discard_panes(self, merged: Mapping[str, Held]) -> None:
        calls: list[Call] = []
        for model, of_model in merged.items():
            held = {unit: [field_of(group) for group in groups] for unit, groups in of_model.items() if groups}
            if held:
                keys = [self._unit(unit, "panes", quote(model)) for unit in held]
                calls.append((keys, [x for fields in held.values() for x in (len(fields), *fields)]))
        if calls:
            self._run("discard", calls)

    # freshness

    def hear(self, what: Heard, times_ms: Mapping[str, int]) -> None:
        if times_ms:
            self._run("hear", [([self._key("heard")], [x for model, ms in times_ms.items() for x in (f"{what}:{model}", ms)])])

    def heard(self, what: Heard, models: Sequence[str]) -> dict[str, int]:
        if not models:
            return {}
        held = cast(list[bytes | None], self._redis.hmget(self._key("heard"), [f"{what}:{model}" for model in models]))
        return {model: int(ms) for model, ms in zip(models, held, strict=True) if ms is not None}

    # for reports

    def view(self, units: Sequence[UnitId]) -> dict[UnitId, UnitView]:
        pipeline = self._redis.pipeline(transaction=False)
        for unit in units:
            pipeline.hgetall(self._unit(unit, "unit"))
            pipeline.xlen(self._unit(unit, "outbox"))
            pipeline.hget(self._key("clock"), str(unit))
        found = pipeline.execute()
        return {unit: _view(*found[i : i + 3]) for unit, i in zip(units, range(0, len(found), 3), strict=True)}

    def clock(self) -> Clock:
        return Clock(*(ms_of(value or b"") for value in cast(list[bytes | None], self._redis.hmget(self._key("clock"), list(CLOCKS)))))


def _view(held: Mapping[bytes, bytes], outbox: int, report: bytes | None) -> UnitView:
    fields = {name.decode(): value for name, value in held.items()}
    _, watermark, idle, reported, *_ = (report or b"0 %d 0 %d" % (NO_TIME, NO_TIME)).split()
    return UnitView(
        next_offset=int(fields["next_offset"]) if "next_offset" in fields else None,
        counters=counters_of(fields),
        outbox=outbox,
        lost=number_pairs(fields, "lost", OffsetRange),
        watermark_ms=int(watermark),
        idle=idle == b"1",
        reported_ms=int(reported),
    )


@contextmanager
def _refusals() -> Iterator[None]:
    """Give what Redis answers when it takes nothing a type of its own."""
    try:
        yield
    except redis.ResponseError as error:
        for code, meaning in _REFUSALS.items():
            if code in str(error):
                raise meaning(str(error)) from None
        raise


def _lua(name: str) -> str:
    return files("stream").joinpath(f"lua/{name}.lua").read_text()


def _run_id(connection: AbstractConnection) -> str:
    connection.send_command("INFO", "server")  # type: ignore[no-untyped-call]
    info = bytes(connection.read_response()).decode()
    return next(line.removeprefix("run_id:") for line in info.splitlines() if line.startswith("run_id:"))
