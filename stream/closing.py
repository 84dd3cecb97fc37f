"""Closing windows: merge the panes of all partitions, fire each window once per revision, and write all of it in one step.

The owner of a model's home unit does this. A pane that is complete is merged over the partitions once, kept with the home until the last
window over it has closed, and its parts are discarded. A window fires when the clock passes its end, and, with `allowed_lateness`, once
more, finally, when the clock passes its end + lateness. A crash between the step and the discarding leaves parts of panes that are closed:
they are discarded next time, never merged again.
"""

import hashlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from zlib import crc32

import msgspec
from msgspec import UNSET, UnsetType

from detectors.judge import AlertState, transition
from sinks import OutboundMessage
from stream.aggregates import Aggregate, LayoutMismatch
from stream.model import Model
from stream.rebuild import Reach
from stream.results import Alert, FeatureDrift, FeatureQuality, Performance, Result, Window, encode, timestamp
from stream.scoring import Judged, Scorer
from stream.settings import Settings
from stream.store import SUBJECTS, Clock, Closing, HomeState, HomeStore, PaneGroup, Partitions, Subject, UnitId
from stream.unit import Unit, log
from stream.watermark import NO_TIME
from stream.windows import WindowSpec, expired_panes, windows_ending

Panes = dict[PaneGroup, Aggregate]


def home_unit(model: str, partitions: Partitions) -> UnitId:
    """The prediction partition whose owner closes the model's windows: a hash of the name, the same in every worker and for ever."""
    return UnitId("predictions", crc32(model.encode()) % (partitions.homes or partitions.predictions))


@dataclass(frozen=True, slots=True)
class Firing:
    """One result, the alerts that came of it, and how long the close of its model took."""

    result: Result
    alerts: tuple[Alert, ...]
    seconds: float


@dataclass(slots=True)
class _Home:
    """A model at its home unit."""

    unit: Unit
    scorer: Scorer
    sequence: dict[Subject, int]
    closed_ms: dict[Subject, int]
    fired_ms: dict[Subject, int]
    merged: dict[Subject, Panes]
    alerts: dict[str, AlertState]

    @property
    def model(self) -> Model:
        return self.scorer.model


@dataclass(slots=True)
class _Step:
    """What one pass over a model's windows came to, before it is written."""

    closing: Closing
    merged: Panes
    parts: dict[UnitId, list[PaneGroup]]
    alerts: dict[str, AlertState]
    fired: list[tuple[Result, tuple[Alert, ...]]] = field(default_factory=list)


class Closer:
    """Closes the windows of the models at home in this worker."""

    def __init__(self, models: Mapping[str, Model], store: HomeStore, partitions: Partitions, settings: Settings, reach: Reach) -> None:
        self._models, self._store, self._partitions, self._reach = models, store, partitions, reach
        self._lateness_ms, self._topics = settings.time.allowed_lateness_ms, settings.kafka.topics
        self._homes: dict[str, _Home] = {}

    def own(self, unit: Unit) -> None:
        """Take over the models whose home is the unit."""
        for name in self.at_home(unit.id):
            self._homes[name] = self._load(unit, self._models[name], self._store.home(unit.id, name))

    def disown(self, unit_id: UnitId) -> None:
        """Let go of the models whose home is the unit."""
        for name in self.at_home(unit_id):
            self._homes.pop(name, None)

    def at_home(self, unit_id: UnitId) -> list[str]:
        """The models whose home the unit is, whoever owns it."""
        return [name for name in self._models if home_unit(name, self._partitions) == unit_id]

    def _load(self, unit: Unit, model: Model, state: HomeState) -> _Home:
        merged: dict[Subject, Panes] = {subject: {} for subject in SUBJECTS}
        for group, aggregate in _decoded(model, state.merged.items()):
            merged[group.subject][group] = aggregate
        return _Home(
            unit=unit,
            scorer=Scorer(model),
            sequence=dict.fromkeys(SUBJECTS, 0) | state.sequence,
            closed_ms=dict.fromkeys(SUBJECTS, NO_TIME) | state.closed_ms,
            fired_ms=dict.fromkeys(SUBJECTS, NO_TIME) | state.fired_ms,
            merged=merged,
            alerts={key: msgspec.json.decode(value, type=AlertState) for key, value in state.alerts.items()},
        )

    def close(self, clock: Clock, now_ms: int) -> tuple[list[Firing], list[UnitId]]:
        """Fire all windows that are due by the clock; the firings, and the units that somebody else owns by now."""
        firings: list[Firing] = []
        lost: set[UnitId] = set()
        for home in list(self._homes.values()):
            for subject in SUBJECTS:
                if clock.of(subject) == NO_TIME or home.unit.id in lost:
                    continue
                started = time.perf_counter()
                step = self._pass(home, subject, clock.of(subject), now_ms)
                if step is None:
                    continue
                lost.update(self._store.close([step.closing]))
                if home.unit.id in lost:
                    continue
                self._apply(home, subject, step)
                self._store.discard_panes(home.model.settings.name, step.parts)
                seconds = time.perf_counter() - started
                firings += [Firing(result, alerts, seconds) for result, alerts in step.fired]
        return firings, sorted(lost)

    def _pass(self, home: _Home, subject: Subject, clock_ms: int, now_ms: int) -> _Step | None:
        """What is to be written now; None if the clock has not passed the end of a pane, or nothing was in it."""
        settings = home.model.settings
        closed = (clock_ms - self._lateness_ms) // settings.pane_ms * settings.pane_ms
        fired = clock_ms // settings.pane_ms * settings.pane_ms
        if closed <= home.closed_ms[subject] and fired <= home.fired_ms[subject]:
            return None
        held = self._store.pane_groups(settings.name, self._partitions)
        ended = {unit: [g for g in groups if g.subject == subject and g.start_ms < fired] for unit, groups in held.items()}
        complete = {unit: [g for g in groups if g.start_ms + settings.pane_ms <= closed] for unit, groups in ended.items()}
        unread = {unit: [g for g in groups if g.start_ms + settings.pane_ms > home.closed_ms[subject]] for unit, groups in ended.items()}
        panes = dict(home.merged[subject])
        for group, aggregate in _decoded(home.model, self._store.read_panes(settings.name, unread)):
            panes[group] = panes[group].merge(aggregate) if group in panes else aggregate
        starts = {group.start_ms for group in panes}
        final = windows_ending(settings.windows, starts, home.closed_ms[subject], closed)
        early = windows_ending(settings.windows, starts, max(home.fired_ms[subject], closed), fired)
        merged = {group: panes[group] for unit in complete.values() for group in unit if group in panes}
        expired = set(expired_panes(settings.windows, {g.start_ms for g in [*home.merged[subject], *merged]}, closed))
        if not (final or early or any(complete.values()) or expired):
            home.closed_ms[subject], home.fired_ms[subject] = closed, fired  # nothing was there: nothing to write
            return None
        kept = {group: pane for group, pane in merged.items() if group.start_ms not in expired}
        step = _Step(
            closing=Closing(
                unit=home.unit.id,
                epoch=home.unit.epoch,
                model=settings.name,
                subject=subject,
                sequence=home.sequence[subject] + 1,
                closed_ms=closed,
                fired_ms=fired,
                merged={group: pane.encode() for group, pane in kept.items()},
                expired=[group for group in home.merged[subject] if group.start_ms in expired],
                alerts={},
                outbox=[],
            ),
            merged=kept,
            parts=complete,
            alerts={},
        )
        for end, spec in final:
            revision = 1 if end <= home.fired_ms[subject] else 0
            self._fire(home, step, panes, end, spec, revision, final=True, clock_ms=clock_ms, now_ms=now_ms)
        for end, spec in early:
            self._fire(home, step, panes, end, spec, 0, final=False, clock_ms=clock_ms, now_ms=now_ms)
        self._address(home, step)
        return step

    def _fire(
        self, home: _Home, step: _Step, panes: Panes, end: int, spec: WindowSpec, revision: int, *, final: bool, clock_ms: int, now_ms: int
    ) -> None:
        """Add the results and alerts of one window, for each version and segment in it.

        After a rebuild a window that was fired and delivered before is judged again, for the states of its alerts, and not sent again.
        """
        start, quiet = end - spec.size_ms, home.unit.quiet_ms[step.closing.subject]
        said = end <= quiet - (self._lateness_ms if final else 0)
        if said and start < self._reach.whole_from(home.model.settings.name, quiet):
            return
        groups: dict[tuple[str, str], Aggregate] = {}
        for group, pane in panes.items():
            if start <= group.start_ms < end:
                key = (group.version, group.segment)
                groups[key] = groups[key].merge(pane) if key in groups else pane
        for (version, segment), aggregate in sorted(groups.items(), key=lambda item: item[0]):
            settings, subject = home.model.settings, step.closing.subject
            reference = home.model.reference
            window = Window(name=spec.name, kind=spec.kind, start=timestamp(start), end=timestamp(end))
            drift: dict[str, FeatureDrift] | UnsetType = UNSET
            quality: dict[str, FeatureQuality] | UnsetType = UNSET
            performance: Performance | UnsetType = UNSET
            if subject == "traffic":
                counts, drift, quality, judged = home.scorer.traffic(aggregate)
            else:
                counts, performance, judged = home.scorer.performance(aggregate)
            result = Result(
                result_id=identity(settings.name, version, segment, subject, spec.name, str(start), str(end), str(revision)),
                subject=subject,
                model=settings.name,
                version=version,
                segment=segment or None,
                window=window,
                revision=revision,
                final=final,
                counts=counts,
                reference_id=reference.reference_id if reference else None,
                closed_at=timestamp(now_ms),
                watermark=timestamp(clock_ms),
                drift=drift,
                quality=quality,
                performance=performance,
            )
            alerts = [alert for one in judged if (alert := self._alert(home, step, result, one, now_ms)) is not None]
            if not said:
                step.fired.append((result, tuple(alerts)))

    def _alert(self, home: _Home, step: _Step, result: Result, judged: Judged, now_ms: int) -> Alert | None:
        """The alert that the verdict makes of the rule's state, if any; the new state goes with the step."""
        feature = "" if judged.feature is UNSET else str(judged.feature)
        rule = "|".join((result.model, result.version, result.segment or "", judged.kind, feature, judged.metric, result.window.name))
        before = step.alerts.get(rule, home.alerts.get(rule, AlertState()))
        after, status = transition(before, judged.verdict, now_ms)
        if after != before:
            step.alerts[rule] = after
        if status is None or judged.value is None:
            return None
        fired = after if status == "firing" else before
        assert fired.severity is not None
        assert fired.first_fired_at_ms is not None
        assert judged.verdict.threshold is not None
        return Alert(
            alert_id=identity(rule, result.window.start, result.window.end, str(result.revision), status, fired.severity),
            dedup_key=rule,
            status=status,
            severity=fired.severity,
            model=result.model,
            version=result.version,
            segment=result.segment,
            kind=judged.kind,
            feature=judged.feature,
            metric=judged.metric,
            value=judged.value,
            threshold=judged.verdict.threshold,
            baseline=judged.baseline,
            window=result.window,
            summary=summary(result, judged, status),
            evidence=judged.evidence,
            first_fired_at=timestamp(fired.first_fired_at_ms),
            emitted_at=timestamp(now_ms),
        )

    def _address(self, home: _Home, step: _Step) -> None:
        """Put the messages and alert states into the step."""
        key = home.model.settings.name.encode()
        messages = []
        for result, alerts in step.fired:
            messages.append(OutboundMessage(self._topics.results, key, encode(result)))
            messages += [OutboundMessage(self._topics.alerts, alert.dedup_key.encode(), encode(alert)) for alert in alerts]
        step.closing.outbox = home.unit.send(messages)
        step.closing.alerts = {rule: None if state == AlertState() else msgspec.json.encode(state) for rule, state in step.alerts.items()}

    def _apply(self, home: _Home, subject: Subject, step: _Step) -> None:
        """The step was written: it is the state now."""
        closing = step.closing
        home.sequence[subject], home.closed_ms[subject], home.fired_ms[subject] = closing.sequence, closing.closed_ms, closing.fired_ms
        gone = set(closing.expired)
        kept = {group: pane for group, pane in home.merged[subject].items() if group not in gone}
        home.merged[subject] = kept | step.merged
        home.alerts |= step.alerts
        home.unit.undelivered += closing.outbox


def identity(*parts: str) -> str:
    """A deterministic id of these parts: the same window, rule and revision always gets the same one."""
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()


def summary(result: Result, judged: Judged, status: str) -> str:
    """One sentence for a human: what, by how much, when, and where it went."""
    who = f"{result.model} {result.version}" + (f" {result.segment}" if result.segment else "")
    what = f"{judged.feature} drifted" if judged.kind == "data_drift" else f"{judged.metric} dropped"
    relation = ">=" if judged.kind == "data_drift" else "<"
    if status == "resolved":
        what, relation = what.replace("drifted", "is back").replace("dropped", "is back"), "against"
    text = f"{who}: {what}, {judged.metric} {judged.value:.3g} {relation} {judged.verdict.threshold:g}"
    text += f" in {result.window.name} to {result.window.end}"
    if judged.evidence.direction:
        text += f"; {judged.evidence.direction}"
    if judged.baseline is not UNSET:
        text += f"; baseline {judged.baseline:.3g}"
    return text


def _decoded(model: Model, blobs: Iterable[tuple[PaneGroup, bytes]]) -> Iterable[tuple[PaneGroup, Aggregate]]:
    for group, blob in blobs:
        layout = model.traffic if group.subject == "traffic" else model.outcomes
        try:
            yield group, Aggregate.decode(layout, blob)
        except LayoutMismatch:
            log.error("%s: left out a pane, %s: it was counted on another reference or pane length", model.settings.name, group)
