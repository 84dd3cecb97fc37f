"""The errors and scores of the models that a unit reads, followed by sequential detectors; what they notice becomes alerts.

One `Stream` for each model and version of a unit, in the order of its log. Its state is written with the offsets, so a replay notices the
same changes at the same offsets, and sends alerts with the same ids.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from detectors.sequential import Change, StateError, Stream, lost_alerts
from sinks import OutboundMessage
from stream.aggregates import distinct
from stream.alerting import identity
from stream.alerts import Alert, Evidence, encode
from stream.counting import Outcomes
from stream.events import Messages
from stream.groups import Group, Groups
from stream.model import Model, with_variants
from stream.results import timestamp
from stream.store import ClockName
from stream.unit import Unit

log = logging.getLogger(__name__)

StreamName = Literal["errors", "scores"]
_SUBJECT: Final[Mapping[StreamName, ClockName]] = {"errors": "performance", "scores": "traffic"}
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Followed:
    """Events of a batch, all (n,), of which those in `kept` are followed; `index` is their place in `messages`."""

    messages: Messages
    index: Indices
    groups: Indices
    times_ms: Indices
    values: npt.NDArray[np.float64]
    kept: npt.NDArray[np.bool_]


class Detection:
    """Feeds the streams of units, and puts alerts into their outboxes."""

    def __init__(self, models: Mapping[str, Model], groups: Groups, topic: str) -> None:
        """`topic`: of the alerts."""
        self._models, self._groups, self._topic = models, groups, topic
        every = with_variants(models.values())
        found = [model.settings.sequential for model in every]
        self._numbers = np.array([model.numbers is not None for model in every])
        self._on: Mapping[StreamName, npt.NDArray[np.bool_]] = {
            "errors": np.array([bool(one.errors) for one in found]),
            "scores": np.array([bool(one.scores) for one in found]),
        }
        self.on: Mapping[StreamName, bool] = {name: bool(on.any()) for name, on in self._on.items()}

    def errors(self, outcomes: Outcomes) -> npt.NDArray[np.float64]:
        """Of each outcome whether the prediction was wrong, 0 or 1; of a regression by how much, NaN where the label is no number."""
        wrong = (outcomes.predicted != outcomes.labelled).astype(np.float64)
        numbers = self._numbers[self._groups.table["model"][outcomes.groups]]
        return np.where(numbers, np.abs(outcomes.scores - outcomes.values), wrong) if numbers.any() else wrong

    def follow(self, unit: Unit, name: StreamName, events: Followed, now_ms: int) -> list[Alert]:
        """Feed the values of a batch to the streams of their models and versions; the alerts, which are in the unit's outbox by then."""
        kept = np.flatnonzero(events.kept & np.isfinite(events.values) & self._on[name][self._groups.table["model"][events.groups]])
        if not kept.size:
            return []
        values, offsets = events.values[kept], events.messages.offsets_at(events.index[kept])
        alerts: list[Alert] = []
        for group, at in self._apart(events.groups[kept]):
            stream = self._stream(unit, name, group)
            changes = stream.push(values[at], events.times_ms[kept][at], offsets[at], now_ms)
            alerts += self._alerts(unit, name, group, changes, now_ms)
        unit.enqueue(OutboundMessage(self._topic, alert.dedup_key.encode(), encode(alert)) for alert in alerts)
        return alerts

    def retire(self, unit: Unit, now_ms: int) -> list[Alert]:
        """Resolve what fires in the states of a unit that are of no use any more, and drop these: their detectors left, or begin anew."""
        alerts: list[Alert] = []
        for key, state in list(unit.stream_states.items()):
            name, model, version = key.split("|", 2)
            settings, scale = self._models[model].settings.sequential, self._models[model].of(version).spread
            fired = lost_alerts(state, getattr(settings, name), settings.batch, scale)
            if fired:
                alerts += [_gone(unit, name, model, version, detector, since_ms, now_ms) for detector, since_ms in fired.items()]
                del unit.stream_states[key]
                unit.streams_changed = True
        unit.enqueue(OutboundMessage(self._topic, alert.dedup_key.encode(), encode(alert)) for alert in alerts)
        return alerts

    def _apart(self, groups: Indices) -> Iterator[tuple[Group, Indices]]:
        """Where the events of each model and version are, in their order."""
        used, place = distinct(groups)
        names = [(group.model.settings.name, group.version) for group in map(self._groups.__getitem__, used.tolist())]
        first = np.array([names.index(name) for name in names])[place]
        for i in np.unique(first).tolist():
            yield self._groups[int(used[i])], np.flatnonzero(first == i)

    def _stream(self, unit: Unit, name: StreamName, group: Group) -> Stream:
        """The stream, as the unit holds it, or as it was written, or new."""
        settings = group.model.settings.sequential
        key = f"{name}|{group.model.settings.name}|{group.version}"
        if (found := unit.streams.get(key)) is None:
            found = unit.streams[key] = Stream(getattr(settings, name), settings.batch, settings.resolve_after, group.model.spread)
            if (state := unit.stream_states.pop(key, None)) is not None:
                try:
                    found.restore(state)
                except StateError as error:
                    log.warning("%s: sequential detectors of %s begin anew: %s", unit.id, key, error)
        unit.streams_changed = True
        return found

    def _alerts(self, unit: Unit, name: StreamName, group: Group, changes: Sequence[Change], now_ms: int) -> list[Alert]:
        """The alerts about changes, without those that had been sent before the state was lost."""
        said = unit.quiet_ms[_SUBJECT[name]]
        return [_alert(unit, name, group, change, now_ms) for change in changes if change.detected_ms > said]


def firing_detectors(units: Iterable[Unit]) -> dict[tuple[str, str, str, str], bool]:
    """By model, version, stream and detector whether it fires in any of the units, of the streams that have had an event here."""
    found: dict[tuple[str, str, str, str], bool] = {}
    for unit in units:
        for key, stream in unit.streams.items():
            name, model, version = key.split("|", 2)
            for detector in stream.detectors:
                place = (model, version, name, detector)
                found[place] = found.get(place, False) or detector in stream.firing
    return found


def _rule(unit: Unit, name: str, model: str, version: str, detector: str) -> str:
    return f"{model}|{version}||sequential_drift|{name} {unit.id}|{detector}|"


def _gone(unit: Unit, name: str, model: str, version: str, detector: str, since_ms: int, now_ms: int) -> Alert:
    """The end of an alert whose detector is not there any more."""
    rule, since = _rule(unit, name, model, version, detector), timestamp(since_ms)
    return Alert(
        alert_id=identity(rule, since, "resolved"),
        dedup_key=rule,
        status="resolved",
        severity="warning",
        model=model,
        version=version,
        segment=None,
        kind="sequential_drift",
        metric=detector,
        value=None,
        threshold=None,
        window=None,
        summary=f"{model} {version}: {detector} on {name} of {unit.id} is no longer judged",
        evidence=Evidence(n=0, stream="errors" if name == "errors" else "scores", unit=str(unit.id)),
        first_fired_at=since,
        emitted_at=timestamp(now_ms),
    )


def _alert(unit: Unit, name: StreamName, group: Group, change: Change, now_ms: int) -> Alert:
    model, status = group.model.settings.name, "resolved" if change.resolved else "firing"
    rule = _rule(unit, name, model, group.version, change.detector)
    what = f"no further change in {change.n} values" if change.resolved else f"mean {change.before:.3g} -> {change.after:.3g}"
    began = timestamp(change.time_ms)
    evidence = Evidence(
        n=change.n,
        stream=name,
        unit=str(unit.id),
        change_at=began,
        change_offset=change.offset,
        detected_offset=change.detected,
        before=change.before,
        after=change.after,
    )
    return Alert(
        alert_id=identity(rule, str(change.detected), status),
        dedup_key=rule,
        status="resolved" if change.resolved else "firing",
        severity="warning",
        model=model,
        version=group.version,
        segment=None,
        kind="sequential_drift",
        metric=change.detector,
        value=change.after,
        threshold=None,
        window=None,
        summary=f"{model} {group.version}: {change.detector} on {name} of {unit.id} {status}, {what}, about {began}",
        evidence=evidence,
        first_fired_at=timestamp(change.first_fired_ms),
        emitted_at=timestamp(now_ms),
        baseline=change.before,
    )
