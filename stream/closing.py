"""Closing windows: merge the panes of all partitions, fire each window once per revision, and write all of it in one step.

The owner of a model's home unit does this. A pane that is complete is merged over the partitions once, kept with the home until the last
window over it has closed, and its parts are discarded. A window fires when the clock passes its end, and, with `allowed_lateness`, once
more, finally, when the clock passes its end + lateness. A crash between the step and the discarding leaves parts of panes that are closed:
they are discarded next time, never merged again.
"""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple
from zlib import crc32

from msgspec import UNSET, UnsetType

from detectors.judge import AlertState, Verdict, transition
from sinks import OutboundMessage
from stream.aggregates import Aggregate, LayoutMismatch
from stream.alert_rules import Rule, decoded, encoded
from stream.alerting import ALL_VERSIONS, About, alert_of, identity, silence
from stream.alerts import Alert, Evidence, encode
from stream.baselines import Key, Panes, Period, Rolled, Slices, against, against_of, merged_groups, roll
from stream.business import BusinessMeter, midnight
from stream.cohorts import Due, attribution, newest_judged, revise
from stream.days import Days, Tallied, tally
from stream.found import Closed, Found, found_in_outcomes, found_in_traffic, with_business
from stream.freshness import Freshness
from stream.groups import segment_keys
from stream.model import LABELS, PREDICTIONS, Model
from stream.rebuild import Reach
from stream.results import Result, Window, timestamp
from stream.scoring import Scorer
from stream.settings import ModelSettings, Settings
from stream.store import SUBJECTS, Clock, Closing, Held, HomeState, HomeStore, PaneGroup, Partitions, Subject, UnitId
from stream.unit import Unit, log
from stream.verdicts import LABEL_TIME, Attribution, Judged
from stream.volume import volume_change
from stream.watermark import NO_TIME
from stream.windows import WindowSpec, expired_panes, windows_ending

TOGETHER = 8  # models that share round trips to Redis; the panes of so many are in memory at once, and none is done before all of them
_QUIET = AlertState()


def home_unit(model: str, partitions: Partitions) -> UnitId:
    """The prediction partition whose owner closes the model's windows: a hash of the name, the same in every worker and for ever."""
    return UnitId("predictions", crc32(model.encode()) % (partitions.homes or partitions.predictions))


@dataclass(frozen=True, slots=True)
class Firing:
    """One result, the alerts that came of it, and how long the close of its model took, from looking for its panes to discarding them.

    An alert that a model is silent has no result. `spoken`: alerts are about it, see `newest_judged`.
    """

    result: Result | None
    alerts: tuple[Alert, ...]
    seconds: float
    spoken: bool = True


@dataclass(slots=True)
class _Home:
    """A model at its home unit."""

    unit: Unit
    model: Model
    scorer: Scorer
    versions: Mapping[str, Scorer]  # of those with a reference of their own
    sequence: dict[Subject, int]
    closed_ms: dict[Subject, int]
    fired_ms: dict[Subject, int]
    merged: dict[Subject, Panes]
    alerts: dict[str, AlertState]
    inherited: dict[str, Rule]  # of the alerts that fired before this worker took over, and have not been judged since
    slices: dict[Subject, Slices]
    days: dict[Subject, Days]

    def scorer_of(self, version: str) -> Scorer:
        return self.versions.get(version, self.scorer)

    def has_left(self, subject: Subject) -> bool:
        """Whether alerts fire that no window of this kind can be about any more."""
        return any(rule.subject == subject and rule.has_left(self.model.settings) for rule in self.inherited.values())

    def inherits(self, key: str, rule: Rule, judged: Collection[str]) -> bool:
        """Whether a rule may still have left: it has not been judged, or only in what was open when the configuration changed."""
        return key not in judged or (self.alerts[key] != _QUIET and rule.has_left(self.model.settings))

    def money_of(self, version: str) -> BusinessMeter | None:
        return self.scorer_of(version).money


@dataclass(frozen=True, slots=True)
class _Ended:
    """Panes of a model that the clock has passed, where units hold them: those that are complete, and those that were not read yet."""

    home: _Home
    complete: Held
    unread: Held


class _Window(NamedTuple):
    """A window that fires: merged counts of each version and segment, their scorers, and up to which end each of them is judged.

    `said`: it was fired and delivered before a rebuild, which has read everything from `whole_from` on.
    """

    due: Due
    groups: dict[Key, Aggregate]
    scorers: list[Scorer]
    by: Attribution
    judged_to: dict[Key, int]
    said: bool
    whole_from: int


@dataclass(slots=True)
class _Step:
    """What one pass over a model's windows came to, before it is written. `rolled`: what they are compared with, if not the reference.

    `tallied`: the days that business figures add up to. `rules`: those of `alerts`. `judged`: the alerts that fired and were judged again.
    `spoken`: the last window with rows of each version, segment and family. `newest`: by family of windows by prediction time, see
    `newest_judged`. `fired`: results, their alerts, and whether they are spoken of.
    """

    closing: Closing
    merged: Panes
    parts: Held
    rolled: Rolled
    tallied: Tallied
    alerts: dict[str, AlertState] = field(default_factory=dict)
    rules: dict[str, Rule] = field(default_factory=dict)
    judged: set[str] = field(default_factory=set)
    spoken: dict[tuple[str, str, str], About] = field(default_factory=dict)
    newest: dict[str, dict[Key, int]] = field(default_factory=dict)
    windows: list[_Window] = field(default_factory=list)
    fired: list[tuple[Result | None, tuple[Alert, ...], bool]] = field(default_factory=list)


class Closer:
    """Closes the windows of the models at home in this worker."""

    def __init__(
        self,
        models: Mapping[str, Model],
        store: HomeStore,
        partitions: Partitions,
        settings: Settings,
        reach: Reach,
        freshness: Freshness,
    ) -> None:
        self._models, self._store, self._partitions, self._reach, self._freshness = models, store, partitions, reach, freshness
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
        alerts = {key: decoded(value) for key, value in state.alerts.items()}
        scorer = Scorer(model)
        return _Home(
            unit=unit,
            model=model,
            scorer=scorer,
            versions={version: Scorer(own) for version, own in model.variants.items()},
            sequence=dict.fromkeys(SUBJECTS, 0) | state.sequence,
            closed_ms=dict.fromkeys(SUBJECTS, NO_TIME) | state.closed_ms,
            fired_ms=dict.fromkeys(SUBJECTS, NO_TIME) | state.fired_ms,
            merged=merged,
            alerts={key: state for key, (state, _) in alerts.items()},
            inherited={key: rule for key, (_, rule) in alerts.items() if rule is not None},
            slices={subject: Slices.load(model, subject, state.slices) for subject in SUBJECTS},
            days={subject: Days.load(model.settings.name, subject, scorer.money, state.slices) for subject in SUBJECTS},
        )

    def close(self, clock: Clock, now_ms: int) -> tuple[list[Firing], list[UnitId]]:
        """Fire all windows that are due by the clock, then say who is silent; the firings, and the units that somebody else owns by now."""
        firings: list[Firing] = []
        lost: set[UnitId] = set()
        for subject in SUBJECTS:
            due = [home for home in self._homes.values() if self._is_due(home, subject, clock.of(subject))]
            for start in range(0, len(due), TOGETHER):
                homes = [home for home in due[start : start + TOGETHER] if home.unit.id not in lost]
                firings += self._close(homes, subject, clock.of(subject), now_ms, lost)
        firings += self._silences(now_ms, lost)
        return firings, sorted(lost)

    def _until(self, home: _Home, subject: Subject, clock_ms: int) -> tuple[int, int]:
        """Up to when windows are closed, and fired, by the clock: ends of panes, and of cohorts also times at which they may be revised."""
        settings = home.model.settings
        pane_ms = settings.pane_of(subject)
        step_ms = settings.cohorts.step_ms if settings.cohorts and subject == "cohort" else pane_ms
        return (clock_ms - self._lateness(settings, subject)) // pane_ms * pane_ms, clock_ms // step_ms * step_ms

    def _lateness(self, settings: ModelSettings, subject: Subject) -> int:
        """How long after its end a window can still change."""
        return settings.cohorts.max_delay_ms if settings.cohorts and subject == "cohort" else self._lateness_ms

    def _is_due(self, home: _Home, subject: Subject, clock_ms: int) -> bool:
        """Whether the clock has passed the end of a pane since the last close."""
        if clock_ms == NO_TIME or not (home.model.settings.windows_of(subject) or home.has_left(subject)):
            return False
        closed, fired = self._until(home, subject, clock_ms)
        return closed > home.closed_ms[subject] or fired > home.fired_ms[subject]

    def _close(self, homes: Sequence[_Home], subject: Subject, clock_ms: int, now_ms: int, lost: set[UnitId]) -> list[Firing]:
        """Close some models in four round trips: which panes there are, their counts, the steps, still one a model, and the discarding."""
        started = time.perf_counter()
        held = self._store.pane_groups([home.model.settings.name for home in homes], self._partitions)
        ended = [self._ended(home, subject, clock_ms, held[home.model.settings.name]) for home in homes]
        blobs = self._store.read_panes({parts.home.model.settings.name: parts.unread for parts in ended})
        passes = [(parts.home, self._pass(parts, blobs[parts.home.model.settings.name], subject, clock_ms)) for parts in ended]
        steps = [(home, step) for home, step in passes if step is not None]
        found = iter(self._found(subject, [window for _, step in steps for window in step.windows]))
        for home, step in steps:
            for window in step.windows:
                self._fire(home, step, window, next(found), clock_ms=clock_ms, now_ms=now_ms)
            self._retire(home, step, now_ms)
            self._address(home, step)
        lost.update(self._store.close([step.closing for _, step in steps]))
        written = [(home, step) for home, step in steps if home.unit.id not in lost]
        for home, step in written:
            self._apply(home, subject, step)
        self._store.discard_panes({step.closing.model: step.parts for _, step in written})
        seconds = time.perf_counter() - started
        return [Firing(result, alerts, seconds, spoken) for _, step in written for result, alerts, spoken in step.fired]

    def _silences(self, now_ms: int, lost: set[UnitId]) -> list[Firing]:
        """Say which models are silent, or heard again."""
        firings = []
        for name, silent_ms in self._freshness.silent_ms(self._homes, now_ms).items():
            home = self._homes[name]
            if home.unit.id in lost:
                continue
            step = self._step(home, "traffic", home.closed_ms["traffic"], home.fired_ms["traffic"])
            about = About(name, ALL_VERSIONS, "", None)
            if alerts := self._alerts(home, step, about, [silence(home.model.settings, silent_ms)], now_ms):
                step.fired.append((None, tuple(alerts), True))
                self._address(home, step)
                lost.update(self._store.close([step.closing]))
                if home.unit.id not in lost:
                    self._apply(home, "traffic", step)
                    firings.append(Firing(None, tuple(alerts), 0.0))
        return firings

    def _ended(self, home: _Home, subject: Subject, clock_ms: int, held: Held) -> _Ended:
        """Of the panes that units hold of a model, those that the clock has passed."""
        pane_ms, (closed, fired) = home.model.settings.pane_of(subject), self._until(home, subject, clock_ms)
        ended = {unit: [g for g in groups if g.subject == subject and g.start_ms + pane_ms <= fired] for unit, groups in held.items()}
        complete = {unit: [g for g in groups if g.start_ms + pane_ms <= closed] for unit, groups in ended.items()}
        unread = {unit: [g for g in groups if g.start_ms + pane_ms > home.closed_ms[subject]] for unit, groups in ended.items()}
        return _Ended(home, complete, unread)

    def _pass(self, ended: _Ended, blobs: Iterable[tuple[PaneGroup, bytes]], subject: Subject, clock_ms: int) -> _Step | None:
        """What is to be written now, and which windows fire; None if nothing was in the panes that ended. `blobs`: the unread ones."""
        home, complete, settings = ended.home, ended.complete, ended.home.model.settings
        closed, fired = self._until(home, subject, clock_ms)
        panes = self._panes(home, subject, blobs)
        merged = {group: panes[group] for unit in complete.values() for group in unit if group in panes}
        due, said = self._due(home, subject, panes, closed, fired)
        merged |= {} if self._was_said(home, subject, fired) else said  # what is not sent now must be news when it may be
        compared = subject == "traffic" and settings.against == "previous_window"
        held = {group.start_ms for group in [*home.merged[subject], *merged]}
        expired = set(expired_panes(settings.windows_of(subject), held, closed, compared=compared))
        rolled = roll(home.model, subject, home.slices[subject], panes, home.closed_ms[subject], closed)
        pane_ms, was_closed = settings.pane_of(subject), home.closed_ms[subject]
        tallied = tally(subject, pane_ms, home.money_of, home.days[subject], panes, was_closed, closed)
        if not (due or any(complete.values()) or expired or rolled.passed or tallied.passed or home.has_left(subject)):
            home.closed_ms[subject], home.fired_ms[subject] = closed, fired  # nothing was there: nothing to write
            return None
        kept = {group: pane for group, pane in merged.items() if group.start_ms not in expired}
        step = self._step(home, subject, closed, fired)
        step.closing.merged = {group: pane.encode() for group, pane in kept.items()}
        step.closing.expired = [group for group in home.merged[subject] if group.start_ms in expired]
        step.merged, step.parts, step.rolled, step.tallied = kept, complete, rolled, tallied
        step.closing.slices, step.closing.passed = rolled.written | tallied.written, [*rolled.passed, *tallied.passed]
        step.windows = [window for one in due if (window := self._window(home, step, panes, one, clock_ms)) is not None]
        return step

    @staticmethod
    def _panes(home: _Home, subject: Subject, blobs: Iterable[tuple[PaneGroup, bytes]]) -> Panes:
        """The panes as far as they are known: what was merged before and the unread parts, which of a cohort are always all of it."""
        panes = {} if subject == "cohort" else dict(home.merged[subject])
        for group, aggregate in _decoded(home.model, blobs):
            panes[group] = panes[group].merge(aggregate) if group in panes else aggregate
        if subject != "traffic":
            panes = {group: home.model.of(group.version).floored(pane) for group, pane in panes.items()}
        return home.merged[subject] | panes

    @staticmethod
    def _due(home: _Home, subject: Subject, panes: Panes, closed: int, fired: int) -> tuple[list[Due], Panes]:
        """The windows that fire now, by end, the final ones first; and of cohorts what is kept as said."""
        settings, was_closed, was_fired = home.model.settings, home.closed_ms[subject], home.fired_ms[subject]
        if settings.cohorts and subject == "cohort":
            return revise(settings.cohorts, panes, home.merged[subject], (was_closed, was_fired), (closed, fired))
        starts = {group.start_ms for group in panes}
        final = windows_ending(settings.windows, starts, was_closed, closed)
        early = windows_ending(settings.windows, starts, max(was_fired, closed), fired)
        due = [Due(end, spec, 1 if end <= was_fired else 0, final=True) for end, spec in final]
        return due + [Due(end, spec, 0, final=False) for end, spec in early], {}

    @staticmethod
    def _step(home: _Home, subject: Subject, closed_ms: int, fired_ms: int) -> _Step:
        """A step that says nothing yet."""
        closing = Closing(
            unit=home.unit.id,
            epoch=home.unit.epoch,
            model=home.model.settings.name,
            subject=subject,
            sequence=home.sequence[subject] + 1,
            closed_ms=closed_ms,
            fired_ms=fired_ms,
            merged={},
            expired=[],
            alerts={},
            outbox=[],
        )
        return _Step(closing, merged={}, parts={}, rolled=Rolled(home.slices[subject]), tallied=Tallied(subject, home.days[subject]))

    def _window(self, home: _Home, step: _Step, panes: Panes, due: Due, clock_ms: int) -> _Window | None:
        """One window that fires; None after a rebuild if not all of it was read again.

        After a rebuild a window that was fired and delivered before is judged again, for the states of its alerts, and not sent again.
        """
        end, spec, _, final = due
        settings, subject = home.model.settings, step.closing.subject
        start, quiet = end - spec.size_ms, home.unit.quiet_ms["traffic" if subject == "traffic" else "performance"]
        at = step.closing.fired_ms if subject == "cohort" and not final else end + (self._lateness(settings, subject) if final else 0)
        said, whole_from = self._was_said(home, subject, at), self._reach.whole_from(settings.name, subject, quiet)
        if said and start < whole_from:
            return None
        groups = merged_groups(panes, start, end)
        scorers = self._scorers(home, step, sorted(groups), start, spec)
        by, judged_to = LABEL_TIME, dict.fromkeys(groups, end)
        if settings.cohorts and subject == "cohort":
            by = attribution(settings.cohorts, end, clock_ms)
            if spec.name not in step.newest:
                step.newest[spec.name] = newest_judged(spec, panes, step.closing.fired_ms, by)
            judged_to = step.newest[spec.name]
        return _Window(due, groups, scorers, by, judged_to, said, whole_from)

    @staticmethod
    def _found(subject: Subject, windows: Sequence[_Window]) -> list[list[Found]]:
        """What windows of any models come to, of one subject."""
        if subject == "traffic":
            return found_in_traffic([Closed(window.groups, window.scorers, window.due.spec.size_ms) for window in windows])
        return [found_in_outcomes(window.groups, window.scorers, window.by) for window in windows]

    def _fire(self, home: _Home, step: _Step, fires: _Window, found: list[Found], *, clock_ms: int, now_ms: int) -> None:
        """Add the results and alerts of one window, for each version and segment in it."""
        (end, spec, revision, final), groups, scorers, by, judged_to, said, whole_from = fires
        settings, subject, start = home.model.settings, step.closing.subject, end - spec.size_ms
        if subject != "traffic" and home.scorer.money is not None:
            days = {key: day for key in groups if midnight(end) >= whole_from and (day := step.tallied.until(key, end)) is not None}
            found = with_business(found, groups, scorers, by, (start, end), days)
        window = Window(name=spec.name, kind=spec.kind, start=timestamp(start), end=timestamp(end))
        for (version, segment), one in zip(sorted(groups), found, strict=True):
            result = Result(
                result_id=identity(settings.name, version, segment, subject, spec.name, str(start), str(end), str(revision)),
                subject="traffic" if subject == "traffic" else "performance",
                model=settings.name,
                version=version,
                segment=segment or None,
                window=window,
                revision=revision,
                final=final,
                counts=one.counts,
                reference_id=one.reference_id,
                closed_at=timestamp(now_ms),
                watermark=timestamp(clock_ms),
                outputs=one.outputs,
                drift=one.drift,
                quality=one.quality,
                summary=one.summary,
                traffic=one.traffic,
                estimated=one.estimated,
                performance=one.performance,
                regression=one.regression,
                business=one.business,
            )
            about = About.of(result)
            if subject == "cohort":
                about = replace(about, by="prediction_time")
            alerts, spoken = [], judged_to.get((version, segment)) == end
            if spoken:
                alerts = self._alerts(home, step, about, one.judged, now_ms)
                if groups[version, segment].counts[PREDICTIONS if subject == "traffic" else LABELS]:
                    step.spoken[version, segment, spec.name] = about
            if subject == "traffic" and (version, segment) == min(groups):  # what is about all versions goes with the first
                alerts += self._volume(home, step, groups, about, start, spec, now_ms)
            if not said:
                step.fired.append((result, tuple(alerts), spoken))

    @staticmethod
    def _was_said(home: _Home, subject: Subject, at_ms: int) -> bool:
        """Whether what fires at this time was fired and delivered before a rebuild."""
        return at_ms <= home.unit.quiet_ms["traffic" if subject == "traffic" else "performance"]

    @staticmethod
    def _scorers(home: _Home, step: _Step, keys: Sequence[Key], start_ms: int, spec: WindowSpec) -> list[Scorer]:
        """What scores a window of each version and segment."""
        settings, subject = home.model.settings, step.closing.subject
        scorers = [home.scorer_of(version).within(segment_keys(settings.segments, segment)) for version, segment in keys]
        if against_of(settings, subject) == "reference":
            return scorers
        return against(scorers, keys, subject, step.rolled.before, Period.before(settings, subject, start_ms, spec))

    def _retire(self, home: _Home, step: _Step, now_ms: int) -> None:
        """Resolve the alerts whose rule has left the configuration. Which rules there are does not change while a worker has the home."""
        for key, rule in home.inherited.items():
            about = step.spoken.get((rule.version, rule.segment, rule.window))
            if rule.subject != step.closing.subject or key in step.judged or not (about or rule.has_left(home.model.settings)):
                continue
            by: Literal["prediction_time"] | UnsetType = "prediction_time" if rule.subject == "cohort" else UNSET
            about = about or About(step.closing.model, rule.version, rule.segment, None, rule.window, by=by)
            gone = Judged(rule.kind, rule.metric, rule.feature or UNSET, None, Verdict("ok", None), Evidence(n=0))
            step.fired.append((None, tuple(self._alerts(home, step, about, [gone], now_ms)), True))

    def _volume(
        self, home: _Home, step: _Step, groups: Mapping[Key, Aggregate], about: About, start_ms: int, spec: WindowSpec, now_ms: int
    ) -> list[Alert]:
        """Alerts on how many predictions all versions have made in a window."""
        about = replace(about, version=ALL_VERSIONS)
        step.spoken[about.version, about.segment, about.family] = about
        predictions = sum(int(aggregate.counts[PREDICTIONS]) for (_, segment), aggregate in groups.items() if not segment)
        settings, judged = home.model.settings, home.scorer.quality.volume(predictions, spec.size_ms)
        if settings.against != "reference":
            period = Period.before(settings, "traffic", start_ms, spec)
            judged += volume_change(settings.quality, predictions, spec.size_ms, step.rolled.before, period)
        return self._alerts(home, step, about, judged, now_ms)

    def _alerts(self, home: _Home, step: _Step, about: About, judged: Iterable[Judged], now_ms: int) -> list[Alert]:
        return [alert for one in judged if (alert := self._alert(home, step, about, one, now_ms)) is not None]

    def _alert(self, home: _Home, step: _Step, about: About, judged: Judged, now_ms: int) -> Alert | None:
        """The alert that the verdict makes of the rule's state, if any; the new state goes with the step."""
        feature = "" if judged.feature is UNSET else str(judged.feature)
        key = about.key(judged)
        before = step.alerts.get(key) or home.alerts.get(key, _QUIET)
        if before is _QUIET and judged.verdict.severity in ("ok", "insufficient_data"):
            return None  # as a rule
        step.judged.add(key)
        after, status = transition(before, judged.verdict, now_ms)
        if after != before:
            keys = segment_keys(home.model.settings.segments, about.segment)
            rule = Rule(step.closing.subject, about.version, about.segment, judged.kind, feature, judged.metric, about.family, keys)
            step.alerts[key], step.rules[key] = after, rule
        if status is None:
            return None
        return alert_of(about, judged, key, after if status == "firing" else before, status, now_ms)

    def _address(self, home: _Home, step: _Step) -> None:
        """Put the messages and alert states into the step."""
        key = home.model.settings.name.encode()
        messages = []
        for result, alerts, _ in step.fired:
            messages += [OutboundMessage(self._topics.results, key, encode(result))] if result else []
            messages += [OutboundMessage(self._topics.alerts, alert.dedup_key.encode(), encode(alert)) for alert in alerts]
        step.closing.outbox = home.unit.send(messages)
        step.closing.alerts = {key: None if state == _QUIET else encoded(state, step.rules[key]) for key, state in step.alerts.items()}

    def _apply(self, home: _Home, subject: Subject, step: _Step) -> None:
        """The step was written: it is the state now."""
        closing = step.closing
        home.sequence[subject], home.closed_ms[subject], home.fired_ms[subject] = closing.sequence, closing.closed_ms, closing.fired_ms
        gone = set(closing.expired)
        kept = {group: pane for group, pane in home.merged[subject].items() if group not in gone}
        home.merged[subject] = kept | step.merged
        home.alerts |= step.alerts
        home.inherited = {key: rule for key, rule in home.inherited.items() if home.inherits(key, rule, step.judged)}
        home.slices[subject], home.days[subject] = step.rolled.slices, step.tallied.days
        home.unit.undelivered += closing.outbox


def _decoded(model: Model, blobs: Iterable[tuple[PaneGroup, bytes]]) -> Iterable[tuple[PaneGroup, Aggregate]]:
    for group, blob in blobs:
        try:
            yield group, Aggregate.decode(model.of(group.version).layout(group.subject), blob)
        except LayoutMismatch:
            log.error("%s: left out a pane, %s: it was counted on another reference or pane length", model.settings.name, group)
