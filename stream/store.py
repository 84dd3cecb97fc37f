"""What the pipeline asks of its store, and the table of everything that is kept in Redis.

`store_redis.RedisStore` is the real one; `store_memory.MemoryStore` keeps the same promises in one process, for `replay` and tests. One
contract suite runs over both. Every write is atomic within one unit, one home model or one join shard, is safe to repeat, and changes
nothing when its writer no longer owns the unit. `<ns>` is `redis.namespace`, braces are Redis Cluster hash tags.

| key | type | fields | written by |
|---|---|---|---|
| `<ns>:era` | hash | id, cluster, topic:<side>, partitions:<side>, homes, rows (their format) | begin |
| `<ns>:{<unit>}:unit` | hash | epoch, sequence, next_offset, newest_ms, floor:<subject>, outbox, count:<name> | acquire, checkpoint |
| same | | quiet:<subject>, marks (newest ms and offset), lost (first and last offset), suspects | checkpoint, suspect |
| same | | sequential: JSON of the state of each stream that sequential detectors follow | checkpoint |
| `<ns>:{<unit>}:panes:<model>` | hash | <pane group> -> aggregate of this partition | checkpoint, discard_panes |
| `<ns>:{<unit>}:outbox` | stream | `<number>-0` -> topic, key, value | checkpoint, close, trim_outbox |
| `<ns>:{<home>}:closing:<model>` | hash | <subject>:sequence, :closed, :fired; alert:<dedup key> -> state | close |
| `<ns>:{<home>}:merged:<model>` | hash | <pane group> -> aggregate of all partitions | close |
| `<ns>:{<home>}:slices:<model>` | hash | <pane group>, of a slice or a day -> sum of its panes (`baselines.py`, `days.py`) | close |
| `<ns>:clock` | hash | <unit> -> epoch, watermark, idle, when, delivered; <subject>, delivered:<subject> -> ms | report, wake |
| `<ns>:{join/<shard>}:pending:<generation>:<bucket>` | hash | 8 bytes of a hashed id -> packed row (`join.py`) | match, drop |
| same, with `:corrected` | hash | the same -> newer labels than the first, and what they came to | match, drop |
| same, with `:scores` | hash | the same -> the prediction's scores by class (`class_scores.py`) | match, drop |
| `<ns>:{join/<shard>}:generations` | hash | <generation> -> its end ms; dropped -> ms up to which they are gone | match, drop |
| `<ns>:{join/<shard>}:counts` | hash | predictions, labels: dropped without a match; rows:<end ms of a generation> | drop, match |
| `<ns>:heard` | hash | counted:<model>, looked:<model> -> ms by the clock on the wall, of models with `quality.freshness` | hear |
| `<ns>:names:<kind>`, `<ns>:numbers:<kind>` | hash | name -> number, number -> name, for packed rows | intern |

A pane group reads `traffic|2026-11-20T16:00:00.000Z|<version>|<segment>`, a unit `predictions/3`; the home of a model is one of the
prediction units. A unit is written by its owner, a home by its owner, the rest by every worker, and all only in the era in which the
worker began: an empty Redis, or topics that grow, begin a new one.

No key has a TTL: state leaves by watermark, so that an outage of any length costs nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from sinks import OutboundMessage
from stream.join import JoinBatch, Matches, Side
from stream.watermark import NO_TIME

ClockName = Literal["traffic", "performance"]
# A cohort: outcomes by the time of their predictions, which is revised as labels come. The last two are of no windows: what days of the
# second and the third come to, for business figures.
Subject = Literal["traffic", "performance", "cohort", "day", "cohort_day"]
Heard = Literal["counted", "looked"]  # predictions of a model were counted; its silence was looked at
CLOCKS: tuple[ClockName, ...] = ("traffic", "performance")
SUBJECTS: tuple[Subject, ...] = (*CLOCKS, "cohort")


class UnitId(NamedTuple):
    """The unit of state: one topic-partition of the predictions or of the labels."""

    side: Side
    partition: int

    def __str__(self) -> str:
        return f"{self.side}/{self.partition}"


class PaneGroup(NamedTuple):
    """Which aggregate of a model: what it is about, the start of its pane, the version and the segment ("" = all traffic)."""

    subject: Subject
    start_ms: int
    version: str
    segment: str


Held = dict[UnitId, list[PaneGroup]]  # aggregates of one model, by the unit that holds them


class Mark(NamedTuple):
    """A place in a partition: all events before `offset` have a time of at most `newest_ms`."""

    newest_ms: int
    offset: int


class OffsetRange(NamedTuple):
    """Offsets `first` to `last`, both included."""

    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.first} to {self.last}"


class Suspect(NamedTuple):
    """A message that workers could not count, and how many of them ended over it."""

    offset: int
    kills: int


@dataclass(slots=True)
class UnitState:
    """What `acquire` found of a unit. `next_offset` is None when the unit has no state yet."""

    epoch: int
    sequence: int = 0
    next_offset: int | None = None
    newest_ms: int = NO_TIME
    outbox_end: int = 0
    floors_ms: dict[ClockName, int] = field(default_factory=dict)
    quiet_ms: dict[ClockName, int] = field(default_factory=dict)
    marks: tuple[Mark, ...] = ()
    lost: tuple[OffsetRange, ...] = ()
    suspects: tuple[Suspect, ...] = ()
    counters: dict[str, int] = field(default_factory=dict)
    panes: dict[str, dict[PaneGroup, bytes]] = field(default_factory=dict)
    outbox: list[tuple[int, OutboundMessage]] = field(default_factory=list)
    sequential: bytes = b""


@dataclass(slots=True)
class Checkpoint:
    """One atomic step of a unit: everything up to `next_offset` has been counted into these panes and counters."""

    unit: UnitId
    epoch: int
    sequence: int
    next_offset: int | None
    newest_ms: int
    floors_ms: dict[ClockName, int]
    counters: dict[str, int]
    panes: dict[str, dict[PaneGroup, bytes]]
    outbox: list[tuple[int, OutboundMessage]]
    quiet_ms: dict[ClockName, int] = field(default_factory=dict)
    marks: tuple[Mark, ...] | None = None  # None: as they were
    lost: tuple[OffsetRange, ...] | None = None
    sequential: bytes | None = None  # likewise


@dataclass(slots=True)
class HomeState:
    """What is known of a model at its home unit: how far its windows have fired and closed, its merged panes, its alerts, its slices."""

    sequence: dict[Subject, int] = field(default_factory=dict)
    closed_ms: dict[Subject, int] = field(default_factory=dict)
    fired_ms: dict[Subject, int] = field(default_factory=dict)
    merged: dict[PaneGroup, bytes] = field(default_factory=dict)
    alerts: dict[str, bytes] = field(default_factory=dict)
    slices: dict[PaneGroup, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class Closing:
    """One atomic step of a model at its home unit: panes merged, windows fired, alert states changed, messages in the outbox.

    `slices`: those that have changed. `passed`: those that no later window is compared with.
    """

    unit: UnitId
    epoch: int
    model: str
    subject: Subject
    sequence: int
    closed_ms: int
    fired_ms: int
    merged: dict[PaneGroup, bytes]
    expired: list[PaneGroup]
    alerts: dict[str, bytes | None]
    outbox: list[tuple[int, OutboundMessage]]
    slices: dict[PaneGroup, bytes] = field(default_factory=dict)
    passed: list[PaneGroup] = field(default_factory=list)


class Clock(NamedTuple):
    """The watermark over all units, by kind of window; never goes back."""

    traffic: int = NO_TIME
    performance: int = NO_TIME

    def of(self, subject: Subject) -> int:
        """The watermark that closes windows of this kind."""
        return self.traffic if subject == "traffic" else self.performance


class Clocks(NamedTuple):
    """The clock, and how far all units have delivered what it made them fire; neither goes back."""

    now: Clock
    delivered: Clock


class UnitReport(NamedTuple):
    """A checkpointed unit's watermark, as its owner reports it."""

    unit: UnitId
    epoch: int
    watermark_ms: int
    idle: bool
    delivered: Clock = Clock()  # every firing up to it, and every message before it, has left the unit's outbox


class Partitions(NamedTuple):
    """How many partitions each topic has; 0 labels when no model has labels.

    `homes`: over how many prediction partitions the models' homes are spread, for ever, however many come later; 0: over all.
    """

    predictions: int
    labels: int
    homes: int = 0

    def units(self) -> list[UnitId]:
        """All units, the predictions first."""
        return [UnitId("predictions", p) for p in range(self.predictions)] + [UnitId("labels", p) for p in range(self.labels)]


class Source(NamedTuple):
    """Where the events come from. An id is empty where it is not known."""

    cluster: str
    predictions_topic: str
    labels_topic: str
    partitions: Partitions


class WrongSourceError(RuntimeError):
    """The state belongs to another Kafka cluster, or to a topic that was deleted and created again."""


@dataclass(frozen=True, slots=True)
class UnitView:
    """A unit as a bystander sees it: its last checkpoint, how many messages wait in its outbox, and its last report to the clock.

    `next_offset` is None without state; `reported_ms` is when it was reported, NO_TIME if it never was.
    """

    next_offset: int | None = None
    counters: dict[str, int] = field(default_factory=dict)
    outbox: int = 0
    lost: tuple[OffsetRange, ...] = ()
    watermark_ms: int = NO_TIME
    idle: bool = False
    reported_ms: int = NO_TIME


class UnitStore(Protocol):
    """State of the topic-partitions."""

    def acquire(self, unit: UnitId, models: Sequence[str]) -> UnitState:
        """The unit's state with the panes of these models, now owned by the caller under a new epoch; every older owner is fenced off."""
        ...

    def checkpoint(self, checkpoints: Sequence[Checkpoint]) -> list[UnitId]:
        """Write each step or nothing of it; the units that turned out to be owned by somebody else."""
        ...

    def trim_outbox(self, unit: UnitId, delivered: int) -> None:
        """Forget the unit's outbox up to and with the message number `delivered`."""
        ...

    def suspect(self, unit: UnitId, epoch: int, offset: int) -> int:
        """Note that a worker ends over the message at `offset`; how many have by now, 0 if somebody else owns the unit."""
        ...


class ClockStore(Protocol):
    """The watermark over all units."""

    def report(self, reports: Sequence[UnitReport], partitions: Partitions, now_ms: int, idle_ms: int) -> Clocks:
        """Take the reports and return the clocks.

        A unit that never reported holds it; an idle one leaves the minimum while its reports are fresh. `idle_ms` is the watermark when
        every unit is idle (NO_TIME: hold).
        """
        ...

    def wake(self, report: UnitReport, now_ms: int) -> Clock:
        """The unit counts again; from now on it must treat what is behind the returned clock as late."""
        ...


class JoinStore(Protocol):
    """Pending predictions and labels. See `join.py` for rows, statuses and generations."""

    def match(self, batch: JoinBatch) -> Matches:
        """Store or match each event, in order, atomically per shard; the same answer when the same event comes again after a replay."""
        ...

    def drop_generations(self, before_ms: int) -> tuple[int, int]:
        """Drop the generations that end at or before `before_ms`; how many unmatched predictions and labels went with them.

        From now on what would be stored in one of them is expired.
        """
        ...

    def expired(self) -> tuple[int, int]:
        """Unmatched predictions and labels that were dropped since the beginning."""
        ...

    def pending(self) -> dict[int, int]:
        """How many rows the generation that ends at each time holds, met or not."""
        ...


class NameStore(Protocol):
    """Small numbers for names, the same for every worker and for ever."""

    def intern(self, kind: str, names: Sequence[str], limit: int = 0) -> list[int]:
        """The number, from 1, of each name; 0 for a new name of a kind that already has `limit` names (0: no limit)."""
        ...

    def names(self, kind: str, numbers: Sequence[int]) -> list[str | None]:
        """The name of each number."""
        ...


class HomeStore(Protocol):
    """What the owner of a model's home unit needs to close its windows."""

    def home(self, unit: UnitId, model: str) -> HomeState:
        """The model's state at its home unit."""
        ...

    def pane_groups(self, models: Sequence[str], partitions: Partitions) -> dict[str, Held]:
        """Which aggregates of each model each unit holds."""
        ...

    def read_panes(self, wanted: Mapping[str, Held]) -> dict[str, list[tuple[PaneGroup, bytes]]]:
        """Those aggregates of each model, of all units."""
        ...

    def close(self, closings: Sequence[Closing]) -> list[UnitId]:
        """Write each step or nothing of it; the units that turned out to be owned by somebody else."""
        ...

    def discard_panes(self, merged: Mapping[str, Held]) -> None:
        """Forget partial aggregates of each model that have been merged for good."""
        ...


class FreshnessStore(Protocol):
    """When models were last heard of; only of those that are watched."""

    def hear(self, what: Heard, times_ms: Mapping[str, int]) -> None:
        """Note a time for each model; an earlier one than is known changes nothing."""
        ...

    def heard(self, what: Heard, models: Sequence[str]) -> dict[str, int]:
        """The time noted for each model, without those that have none."""
        ...


class ViewStore(Protocol):
    """State for reports: reading it takes nothing over and changes nothing."""

    def view(self, units: Sequence[UnitId]) -> dict[UnitId, UnitView]:
        """Each of the units as it stands; one without state is an empty view."""
        ...

    def clock(self) -> Clock:
        """The clock as it stands."""
        ...

    def expired(self) -> tuple[int, int]:
        """As in `JoinStore`."""
        ...


class Store(UnitStore, ClockStore, JoinStore, NameStore, HomeStore, FreshnessStore, ViewStore, Protocol):
    """All of it, as the composition root builds it."""

    def begin(self, source: Source) -> Partitions:
        """Tie the caller to the state as it is now, made new if there is none; the partitions, with the homes that were settled first.

        From here on every write raises if the state is another by then.

        Raises:
            WrongSourceError: the state was made from another source.
        """
        ...
