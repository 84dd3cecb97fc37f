"""The store in one process: what `replay` runs on, and the model that Redis is tested against. Same promises, no durability."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from sinks import OutboundMessage
from stream.join import (
    ALSO,
    BY_LABEL,
    CORRECTED,
    DUPLICATE,
    EXPIRED,
    GENERATIONS,
    HAS_LABEL,
    HAS_PREDICTION,
    LABEL,
    MATCHED,
    REPLACED,
    REVISED,
    STORED,
    TRAIL,
    JoinBatch,
    Matches,
)
from stream.store import (
    Checkpoint,
    Clock,
    Clocks,
    Closing,
    Heard,
    Held,
    HomeState,
    PaneGroup,
    Partitions,
    Source,
    Suspect,
    UnitId,
    UnitReport,
    UnitState,
    UnitView,
)
from stream.watermark import NO_TIME

_SOURCE = 8  # bytes: partition and offset, the start of every row


@dataclass(slots=True)
class _Label:
    """A label that was newer than all others when it came: whether its prediction was there then, and whether it said something else."""

    row: bytes
    met: bool
    differs: bool


@dataclass(slots=True)
class _Pending:
    """One row of the join: the labels, each newer than the one before."""

    end_ms: int
    flags: int = 0
    prediction: bytes = b""
    scores: bytes = b""
    labels: list[_Label] = field(default_factory=list)


@dataclass(slots=True)
class _Report:
    epoch: int
    watermark_ms: int
    idle: bool
    reported_ms: int
    delivered: Clock


@dataclass(slots=True)
class MemoryStore:
    """`Store` in dictionaries. Idleness has no lease here: the one process is alive."""

    max_delay_ms: int
    _units: dict[UnitId, UnitState] = field(default_factory=dict)
    _homes: dict[tuple[UnitId, str], HomeState] = field(default_factory=dict)
    _reports: dict[UnitId, _Report] = field(default_factory=dict)
    _clocks: Clocks = field(default_factory=lambda: Clocks(Clock(), Clock()))
    _pending: dict[tuple[bytes, int], _Pending] = field(default_factory=dict)
    _dropped_ms: int = NO_TIME
    _expired: tuple[int, int] = (0, 0)
    _names: dict[str, dict[str, int]] = field(default_factory=dict)
    _heard: dict[tuple[Heard, str], int] = field(default_factory=dict)

    def begin(self, source: Source) -> Partitions:
        return source.partitions

    # units

    def acquire(self, unit: UnitId, models: Sequence[str]) -> UnitState:
        held = self._units.setdefault(unit, UnitState(epoch=0))
        held.epoch += 1
        panes = {model: dict(held.panes[model]) for model in models if held.panes.get(model)}
        return replace(held, panes=panes, counters=dict(held.counters), outbox=list(held.outbox))

    def checkpoint(self, checkpoints: Sequence[Checkpoint]) -> list[UnitId]:
        return [step.unit for step in checkpoints if not self._write(step)]

    def _write(self, step: Checkpoint) -> bool:
        held = self._units.get(step.unit)
        if held is None or held.epoch != step.epoch or held.sequence not in (step.sequence, step.sequence - 1):
            return False
        if held.sequence == step.sequence:
            return True
        held.sequence, held.newest_ms, held.floors_ms, held.quiet_ms = step.sequence, step.newest_ms, step.floors_ms, step.quiet_ms
        held.marks = held.marks if step.marks is None else step.marks
        held.lost = held.lost if step.lost is None else step.lost
        held.sequential = held.sequential if step.sequential is None else step.sequential
        held.next_offset = held.next_offset if step.next_offset is None else step.next_offset
        held.counters = held.counters | step.counters
        for model, groups in step.panes.items():
            held.panes.setdefault(model, {}).update(groups)
        self._send(held, step.outbox)
        return True

    def _send(self, held: UnitState, messages: list[tuple[int, OutboundMessage]]) -> None:
        if messages:
            held.outbox.extend(messages)
            held.outbox_end = messages[-1][0]

    def trim_outbox(self, unit: UnitId, delivered: int) -> None:
        if (held := self._units.get(unit)) is not None:
            held.outbox = [entry for entry in held.outbox if entry[0] > delivered]

    def suspect(self, unit: UnitId, epoch: int, offset: int) -> int:
        held = self._units.get(unit)
        if held is None or held.epoch != epoch:
            return 0
        kills = 1 + sum(known.kills for known in held.suspects if known.offset == offset)
        kept = (known for known in held.suspects if known.offset != offset and known.offset >= (held.next_offset or 0))
        held.suspects = (*kept, Suspect(offset, kills))
        return kills

    # clock

    def report(self, reports: Sequence[UnitReport], partitions: Partitions, now_ms: int, idle_ms: int) -> Clocks:
        for report in reports:
            if (held := self._reports.get(report.unit)) is None or report.epoch >= held.epoch:
                self._reports[report.unit] = _Report(report.epoch, report.watermark_ms, report.idle, now_ms, report.delivered)
        predictions = self._active([UnitId("predictions", p) for p in range(partitions.predictions)])
        labels = self._active([UnitId("labels", p) for p in range(partitions.labels)])
        now, delivered = self._clocks
        told = [self._reports[unit].delivered if unit in self._reports else Clock() for unit in partitions.units()]
        self._clocks = Clocks(
            Clock(
                max(now.traffic, min(predictions, default=idle_ms)),
                max(now.performance, min(predictions + labels, default=idle_ms)),
            ),
            Clock(
                max(delivered.traffic, min((clock.traffic for clock in told), default=NO_TIME)),
                max(delivered.performance, min((clock.performance for clock in told), default=NO_TIME)),
            ),
        )
        return self._clocks

    def _active(self, units: list[UnitId]) -> list[int]:
        """Watermarks of the units that are not idle; NO_TIME for one that never reported."""
        held = [self._reports.get(unit, _Report(0, NO_TIME, False, NO_TIME, Clock())) for unit in units]
        return [report.watermark_ms for report in held if not report.idle]

    def wake(self, report: UnitReport, now_ms: int) -> Clock:
        return self.report([report], Partitions(0, 0), now_ms, NO_TIME).now

    # join

    def match(self, batch: JoinBatch) -> Matches:
        length = -(-self.max_delay_ms // GENERATIONS)
        ends = (batch.rows["time"] // length * length + length).tolist()
        matches, also = Matches.none(batch), [np.zeros(0, ALSO)]
        for i, (hashed, end) in enumerate(zip(map(bytes, batch.hashes), ends, strict=True)):
            held = self._find(hashed, end, length if batch.side == "predictions" else -length)
            if held is None and end <= self._dropped_ms:
                matches.status[i] = EXPIRED
                continue
            if held is None:
                held = self._pending[hashed, end] = _Pending(end)
            meet = self._prediction_meets if batch.side == "predictions" else self._label_meets
            status, other, labels = meet(held, batch, i)
            matches.status[i] = status
            if status in (MATCHED, CORRECTED):
                matches.flags[i], matches.others[i] = held.flags, np.frombuffer(other, matches.others.dtype)[0]
                matches.scores[i] = _widened(held.scores, matches.scores.shape[1]) if batch.side == "labels" else 0
                also.append(np.array([(i, np.frombuffer(label, LABEL)[0]) for label in labels], ALSO))
        return replace(matches, also=np.concatenate(also))

    def _find(self, hashed: bytes, end_ms: int, step_ms: int) -> _Pending | None:
        """The row of an id, in its own generation or where the other side may be."""
        for distance in (0, -1, *range(1, TRAIL + 1)):
            if (held := self._pending.get((hashed, end_ms + distance * step_ms))) is not None:
                return held
        return None

    def _prediction_meets(self, held: _Pending, batch: JoinBatch, i: int) -> tuple[int, bytes, list[bytes]]:
        """Status, the first label that was there when the prediction came, and those that had corrected it by then."""
        row, first = batch.rows[i].tobytes(), not held.prediction
        if not first and held.prediction[:_SOURCE] != row[:_SOURCE]:
            return DUPLICATE, b"", []
        if first:
            held.prediction, held.flags = row, held.flags | HAS_PREDICTION | int(batch.flags[i])
            held.scores = batch.scores[i].tobytes()
        stood = [label for label in held.labels if label.differs and not label.met]
        if not stood:
            return STORED, b"", []
        if first:
            stood[-1].row = _met_at(stood[-1].row, int(batch.closed[i]))
        return MATCHED, stood[0].row, [label.row for label in stood[1:]]

    def _label_meets(self, held: _Pending, batch: JoinBatch, i: int) -> tuple[int, bytes, list[bytes]]:
        """Status, the prediction, and the label that is corrected."""
        row, met, before = batch.rows[i].tobytes(), bool(held.prediction), b""
        for label in held.labels:
            if label.row[:_SOURCE] == row[:_SOURCE]:
                return _answer(label, before, held.prediction)
            before = label.row if label.differs else before
        differs = not before or _says(row) != _says(before)
        if held.labels and not _is_newer(row, held.labels[-1].row, differs):
            return DUPLICATE, b"", []
        held.labels.append(_Label(row, met, differs))
        held.flags |= HAS_LABEL | (REVISED if before else BY_LABEL if met else 0)
        return _answer(held.labels[-1], before, held.prediction)

    def drop_generations(self, before_ms: int) -> tuple[int, int]:
        gone = {key: row for key, row in self._pending.items() if row.end_ms <= before_ms}
        self._dropped_ms = max(self._dropped_ms, before_ms)
        for key in gone:
            del self._pending[key]
        counted = (sum(not row.labels for row in gone.values()), sum(not row.prediction for row in gone.values()))
        self._expired = (self._expired[0] + counted[0], self._expired[1] + counted[1])
        return counted

    def pending(self) -> dict[int, int]:
        return dict(Counter(row.end_ms for row in self._pending.values()))

    def expired(self) -> tuple[int, int]:
        return self._expired

    # names

    def intern(self, kind: str, names: Sequence[str], limit: int = 0) -> list[int]:
        known = self._names.setdefault(kind, {})
        for name in names:
            if name not in known and (not limit or len(known) < limit):
                known[name] = len(known) + 1
        return [known.get(name, 0) for name in names]

    def names(self, kind: str, numbers: Sequence[int]) -> list[str | None]:
        by_number = {number: name for name, number in self._names.get(kind, {}).items()}
        return [by_number.get(number) for number in numbers]

    # closing

    def home(self, unit: UnitId, model: str) -> HomeState:
        held = self._homes.get((unit, model), HomeState())
        return HomeState(
            dict(held.sequence), dict(held.closed_ms), dict(held.fired_ms), dict(held.merged), dict(held.alerts), dict(held.slices)
        )

    def pane_groups(self, models: Sequence[str], partitions: Partitions) -> dict[str, Held]:
        return {model: {unit: list(self._panes(unit, model)) for unit in partitions.units()} for model in models}

    def read_panes(self, wanted: Mapping[str, Held]) -> dict[str, list[tuple[PaneGroup, bytes]]]:
        found: dict[str, list[tuple[PaneGroup, bytes]]] = {model: [] for model in wanted}
        for model, held in wanted.items():
            for unit, groups in held.items():
                panes = self._panes(unit, model)
                found[model] += [(group, panes[group]) for group in groups if group in panes]
        return found

    def _panes(self, unit: UnitId, model: str) -> dict[PaneGroup, bytes]:
        """What the unit holds of the model, to read or to take from."""
        return self._units[unit].panes.get(model, {}) if unit in self._units else {}

    def close(self, closings: Sequence[Closing]) -> list[UnitId]:
        return [step.unit for step in closings if not self._close(step)]

    def _close(self, step: Closing) -> bool:
        unit = self._units.get(step.unit)
        home = self._homes.setdefault((step.unit, step.model), HomeState())
        sequence = home.sequence.get(step.subject, 0)
        if unit is None or unit.epoch != step.epoch or sequence not in (step.sequence, step.sequence - 1):
            return False
        if sequence == step.sequence:
            return True
        home.sequence[step.subject], home.closed_ms[step.subject], home.fired_ms[step.subject] = (
            step.sequence,
            step.closed_ms,
            step.fired_ms,
        )
        home.merged.update(step.merged)
        for group in step.expired:
            home.merged.pop(group, None)
        home.slices.update(step.slices)
        for group in step.passed:
            home.slices.pop(group, None)
        for key, state in step.alerts.items():
            if state is None:
                home.alerts.pop(key, None)
            else:
                home.alerts[key] = state
        self._send(unit, step.outbox)
        return True

    def discard_panes(self, merged: Mapping[str, Held]) -> None:
        for model, held in merged.items():
            for unit, groups in held.items():
                for group in groups:
                    self._panes(unit, model).pop(group, None)

    # freshness

    def hear(self, what: Heard, times_ms: Mapping[str, int]) -> None:
        for model, ms in times_ms.items():
            self._heard[what, model] = max(ms, self._heard.get((what, model), ms))

    def heard(self, what: Heard, models: Sequence[str]) -> dict[str, int]:
        return {model: self._heard[what, model] for model in models if (what, model) in self._heard}

    # for reports

    def view(self, units: Sequence[UnitId]) -> dict[UnitId, UnitView]:
        return {unit: self._view(self._units.get(unit, UnitState(epoch=0)), self._reports.get(unit)) for unit in units}

    def _view(self, held: UnitState, report: _Report | None) -> UnitView:
        seen = UnitView(held.next_offset, dict(held.counters), len(held.outbox), held.lost)
        if report is None:
            return seen
        return replace(seen, watermark_ms=report.watermark_ms, idle=report.idle, reported_ms=report.reported_ms)

    def clock(self) -> Clock:
        return self._clocks.now


def _met_at(row: bytes, closed_ms: int) -> bytes:
    """The label, late by what had closed when its prediction came."""
    label = np.frombuffer(row, LABEL).copy()
    label["behind"] = np.clip(closed_ms - label["time"], label["behind"], np.iinfo(np.int32).max)
    return label.tobytes()


def _widened(scores: bytes, width: int) -> npt.NDArray[np.uint8]:
    """Scores by class that were kept, maybe when another width was configured."""
    return np.frombuffer(scores[:width].ljust(width, b"\0"), np.uint8)


def _says(row: bytes) -> bytes:
    """Class and value of a label."""
    (label,) = np.frombuffer(row, LABEL)
    return bytes(label["cls"].tobytes() + label["value"].tobytes())


def _is_newer(row: bytes, newest: bytes, differs: bool) -> bool:
    """By its time; if that is the same it replaces one that came before it in the same partition."""
    (now,), (then,) = (np.frombuffer(label, LABEL) for label in (row, newest))
    one_partition = now["source"] >> np.uint64(48) == then["source"] >> np.uint64(48)
    in_order = now["time"] == then["time"] and one_partition and now["source"] > then["source"]
    return bool(now["time"] > then["time"] or (in_order and differs))


def _answer(label: _Label, before: bytes, prediction: bytes) -> tuple[int, bytes, list[bytes]]:
    if not label.differs:
        return DUPLICATE, b"", []
    if not before:
        return MATCHED if label.met else STORED, prediction, []
    return (CORRECTED, prediction, [before]) if label.met else (REPLACED, b"", [])
