"""What never changes a result: the size of batches, the order of arrival within bounds, how partitions interleave, and crashes.

Random traffic runs through the pipeline in random portions, and each run must agree with the oracle and with every other run.
"""

import json
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import settings as limits
from hypothesis import strategies as st

from stream.rebuild import Bookmark
from stream.settings import Settings
from stream.store import UnitId
from stream.store_memory import MemoryStore
from tests.builders import MODEL, Monitor, categorical, label, monitored, prediction, reference, settings, small_reference, timing
from tests.oracle import Event, Monitored, key_of, milliseconds, mismatches, recompute

UNITS = [UnitId("predictions", 0), UnitId("predictions", 1), UnitId("labels", 0), UnitId("labels", 1)]
MODELS: dict[str, Any] = {
    MODEL: {
        "classes": ["0", "1"],
        "positive": "1",
        "segments": ["country", ["country", "new"]],
        "windows": [{"size": "30s"}, {"size": "1m", "slide": "30s"}],
        "drift": {"psi": {"warning": 0.05, "critical": 0.3}},
        "performance": {"accuracy": {"warning": 0.8, "critical": 0.4}},
        "by_prediction_time": {"windows": [{"size": "1m"}, {"size": "2m", "slide": "1m"}], "revise_every": "1m"},
    },
    "other": {"classes": ["0", "1", "2"], "windows": [{"size": "50s"}]},
    "mute": {"classes": ["0", "1"], "labels": False},
}
SMALL = small_reference()
REFERENCES = {
    MODEL: reference(
        *SMALL.features,
        categorical("device", ["phone"], [100, 0]),
        classes=SMALL.classes,
        confusion=[[70, 10], [5, 15]],
        outputs=SMALL.outputs,
        calibration=[[0, 35, 20, 5, 0], [0, 2, 8, 12, 0]],  # so that estimates, too, are compared from run to run
    )
}
MINIMUM: dict[str, Any] = {"drift": {"minimum_sample": 3}, "performance": {"minimum_sample": 2}, "labels": {"max_delay": "5m"}}


@dataclass(frozen=True)
class Traffic:
    """Events of each partition, in order of arrival."""

    predictions: list[list[Event]]
    labels: list[list[Event]]

    def logs(self) -> dict[UnitId, list[Event]]:
        return dict(zip(UNITS, [*self.predictions, *self.labels], strict=True))


FEATURES = st.fixed_dictionaries(
    {},
    optional={
        "amount": st.sampled_from([-1, 0, 5.5, 10, 49.9, 100, None, "x"]),
        "country": st.sampled_from(["DE", "FR", "ES", None, 7]),
        "channel": st.sampled_from([1, 2, 3, "1"]),
        "device": st.sampled_from(["phone", "tv", "x" * 150, *(f"new {i}" for i in range(12)), None, 3]),
        "new": st.booleans() | st.none() | st.just("true"),
    },
)
EVENTS = st.lists(
    st.tuples(
        st.floats(0, 12),  # seconds since the one before
        st.floats(0, 90) | st.floats(0, 4),  # how much older than that the event is
        st.integers(0, 1),  # partition
        st.sampled_from([MODEL, MODEL, MODEL, "other", "mute"]),
        st.sampled_from(["0", "1", 1, 0, True, "x"]),  # prediction
        st.sampled_from(["v1", 2, None]),
        FEATURES,
        st.sampled_from([None, None, 0.0, 3.0, 45.0]),  # label delay
        st.booleans(),  # is it sent twice?
        st.sampled_from([None, None, 0.0, 20.0, 100.0]),  # how long after it the label is corrected
    ),
    max_size=40,
)


SCORES = (0.1, None, 0.25, 1.5, {"0": 0.6, "1": 0.4}, -0.5, 1, {"0": 0.2, "1": 0.0, "2": 0.7, "x": 0.1}, {"1": 0.4, "2": 1.5})


@st.composite
def traffics(draw: st.DrawFn, *, most_disorder: float = 90, corrections: bool = True) -> Traffic:
    """Traffic whose labels come in order of time, and are never older than the pane of their prediction."""
    made = Traffic([[], []], [[], []])
    now, delayed = 100.0, []
    for i, (gap, disorder, partition, model, said, version, features, delay, twice, correction) in enumerate(draw(EVENTS)):
        now += gap
        at = now - min(disorder, most_disorder)
        event = prediction(f"id-{i}", at, said, version=version, features=features, score=SCORES[i % len(SCORES)]) | {"model": model}
        made.predictions[partition] += [event] * (2 if twice else 1)
        if delay is not None:
            delayed.append((at + delay, (i * 7) % 2, label(f"id-{i}", at + delay, (i * 5) % 3 % 2)))
            if corrections and correction is not None:
                again = at + delay + correction
                delayed.append((again, (i * 7) % 2, label(f"id-{i}", again, 1 - (i * 5) % 3 % 2)))
    for _, partition, event in sorted(delayed, key=lambda one: one[0]):
        made.labels[partition].append(event)
    return made


def configured(**sections: Any) -> Settings:
    return settings(MODELS, **(MINIMUM | sections))


def start(configuration: Settings, traffic: Traffic, store: MemoryStore | None = None) -> Monitor:
    monitor = Monitor(configuration, REFERENCES, partitions=(2, 2), store=store)
    for unit, events in traffic.logs().items():
        monitor.log(*events, side=unit.side, partition=unit.partition)
    return monitor


def finish(monitor: Monitor) -> None:
    """Read what is left, and let everything close."""
    for unit in UNITS:
        monitor.read(unit.side, unit.partition)
    monitor.tick()
    monitor.quiet()


def results(monitor: Monitor) -> dict[str, Any]:
    """What was said in the final results by id, but for when; a result that was delivered again says the same.

    What a revision by prediction time knew depends on what had been read when it was looked at.
    """
    said: dict[str, Any] = {}
    for result in monitor.said("results"):
        if result.get("performance", {}).get("by") == "prediction_time" and not result["final"]:
            continue
        del result["closed_at"], result["watermark"]
        known = said.setdefault(result["result_id"], result)
        assert without_late_labels({"": known}) == without_late_labels({"": result})
    return {id_: result for id_, result in said.items() if result["final"]}


def by_window(said: Mapping[str, Any]) -> dict[Any, Any]:
    """Final results by window: whether a provisional one came before (the revision) depends on when the clock is looked at."""
    return {key_of(result): {**result, "result_id": "", "revision": 0} for result in said.values()}


def without_late_labels(said: Mapping[str, Any]) -> dict[str, Any]:
    """Results without the notes of late labels, which stand where time stood when both sides had been read."""
    kept = {}
    for id_, result in said.items():
        counts = result["counts"]
        if result["subject"] == "performance":
            result = result | {"counts": counts | {"late": 0}}
        if result["subject"] == "traffic" or counts["predictions"] or counts["labels"]:
            kept[id_] = result
    return kept


def alerts(monitor: Monitor) -> dict[str, Any]:
    """Alerts by id, but for when; not those by prediction time, which depend on what was known when they were looked at."""
    said: dict[str, Any] = {}
    for alert in monitor.said("alerts"):
        if "by" in alert:
            continue
        del alert["emitted_at"], alert["first_fired_at"]
        assert said.setdefault(alert["alert_id"], alert) == alert
    return said


def origins(messages: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Late events or dead letters by where they stood."""
    return {json.dumps(message["origin"]): {**message, "emitted_at": ""} for message in messages}


@pytest.fixture(scope="module")
def oracle_models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Settings], list[Monitored]]:
    """The models as the oracle wants them."""
    file: Path = tmp_path_factory.mktemp("references") / "fraud.json"
    REFERENCES[MODEL].save(file)
    return lambda configuration: [monitored(configuration, name, file if name == MODEL else None) for name in MODELS]


PORTIONS = st.lists(st.tuples(st.sampled_from(UNITS), st.integers(1, 30), st.booleans()), max_size=15)
LATENESS = st.sampled_from(["0s", "20s", "1m"])


@given(traffics(), PORTIONS, LATENESS)
@limits(max_examples=60)
def test_every_run_agrees_with_the_oracle(
    oracle_models: Callable[[Settings], list[Monitored]], traffic: Traffic, portions: list[tuple[UnitId, int, bool]], lateness: str
) -> None:
    configuration = configured(time={"allowed_lateness": lateness})
    models = oracle_models(configuration)
    expected = recompute(models, traffic.predictions, traffic.labels, timing(configuration))
    monitor = start(configuration, traffic)
    for unit, n, tick in portions:
        monitor.read(unit.side, unit.partition, n)
        if tick:
            monitor.tick()
    finish(monitor)
    assert mismatches(models, monitor.said("results"), expected, late_labels=False) == []
    for side, sheet in (("predictions", expected.predictions), ("labels", expected.labels)):
        found = [monitor.pipeline.units[unit].counters for unit in UNITS if unit.side == side]
        total = {name: sum(counters[name] for counters in found) for name in sheet}
        if side == "labels":
            completed = sum(monitor.counters(partition=p).get("completed", 0) for p in (0, 1))
            total["waiting"] = sum(counters["waiting"] for counters in found) - completed
            total["matched"] = sum(counters["matched"] for counters in found) + completed
        assert total == {name: sheet[name] for name in total}


@given(traffics(), LATENESS)
@limits(max_examples=30)
def test_read_predictions_first_even_the_notes_of_late_labels_agree_with_the_oracle(
    oracle_models: Callable[[Settings], list[Monitored]], traffic: Traffic, lateness: str
) -> None:
    configuration = configured(time={"allowed_lateness": lateness})
    models = oracle_models(configuration)
    monitor = start(configuration, traffic)
    finish(monitor)
    expected = recompute(models, traffic.predictions, traffic.labels, timing(configuration))
    assert mismatches(models, monitor.said("results"), expected) == []


@given(traffics(), PORTIONS)
@limits(max_examples=40)
def test_batch_cuts_never_change_anything(traffic: Traffic, portions: list[tuple[UnitId, int, bool]]) -> None:
    whole, cut = start(configured(), traffic), start(configured(), traffic)
    for unit, n, tick in portions:
        while cut.read(unit.side, unit.partition, n):
            if tick:
                cut.tick()
    finish(whole)
    finish(cut)
    assert without_late_labels(results(cut)) == without_late_labels(results(whole))
    assert alerts(cut) == alerts(whole)
    traffic_late = [[m for m in monitor.said("late") if m["subject"] == "traffic"] for monitor in (cut, whole)]
    assert origins(traffic_late[0]) == origins(traffic_late[1])


@given(traffics(most_disorder=5, corrections=False), st.randoms(use_true_random=False))
@limits(max_examples=40)
def test_arrival_order_within_the_bound_never_changes_a_final_window(traffic: Traffic, random: Any) -> None:
    """Each event is moved by up to out_of_orderness: sorted by its time plus less than 5 s. No corrections: whether one still finds the
    window open that it corrects is decided by what came before it.
    """

    def shuffled(events: list[Event]) -> list[Event]:
        return sorted(events, key=lambda event: milliseconds(event["timestamp"]) + random.uniform(0, 4999))

    by_time, moved = (
        Traffic([order(events) for events in traffic.predictions], [order(events) for events in traffic.labels])
        for order in (lambda events: sorted(events, key=lambda event: event["timestamp"]), shuffled)
    )
    one, other = start(configured(), by_time), start(configured(), moved)
    finish(one)
    finish(other)
    assert other.said("late") == []
    assert results(other) == results(one)
    assert alerts(other) == alerts(one)


# several workers


HANDOVERS = st.lists(st.tuples(st.sampled_from(UNITS), st.integers(0, 1), st.integers(1, 20), st.booleans()), max_size=12)


@given(traffics(), HANDOVERS)
@limits(max_examples=25)
def test_partitions_that_change_hands_change_no_result(traffic: Traffic, handovers: list[tuple[UnitId, int, int, bool]]) -> None:
    """Two workers on one store. One takes a partition away from the other, which may not know, and reads on until a tick says no."""
    alone = start(configured(), traffic)
    finish(alone)
    first = start(configured(), traffic)
    second = Monitor(configured(), REFERENCES, partitions=(2, 2), store=first.store, owned=())
    second.logs = first.logs
    workers = (first, second)
    for unit, taker, n, tick in handovers:
        workers[taker].lose(unit)  # what it had not written, if it had the partition, is read again
        workers[taker].take(unit)
        for worker in workers:
            if unit in worker.owned:
                worker.read(unit.side, unit.partition, n)
            if tick:
                worker.tick()
    for worker in workers:
        worker.tick()
    owner = dict.fromkeys(UNITS, first) | {unit: workers[taker] for unit, taker, *_ in handovers}
    for unit, worker in owner.items():
        (second if worker is first else first).lose(unit)  # a worker that had nothing to write has not been told
    assert {unit for unit, worker in owner.items() if unit not in worker.owned} == set()
    for _ in range(2):  # each worker's clock has to see what the other reported
        for worker in workers:
            for unit in worker.owned:
                worker.read(unit.side, unit.partition)
            worker.tick()
    for worker in (*workers, *workers):
        worker.quiet()
    first.sink.deliver(second.sink.delivered)
    assert without_late_labels(results(first)) == without_late_labels(results(alone))
    assert alerts(first) == alerts(alone)


# a store that comes back empty


@given(seed=st.integers(0, 10**6))
@limits(max_examples=15)
def test_a_store_that_comes_back_empty_changes_nothing_that_is_said(seed: int) -> None:
    """Each partition's bookmark was committed at a time of its own; then everything but these is gone, twice.

    Alerts are compared where every window has enough to be judged (no segment, a minute): the state of an alert is that of the last window
    that was judged, and only the last windows are judged again.
    """
    enough: dict[str, Any] = {"drift": {"minimum_sample": 1}, "performance": {"minimum_sample": 1}}
    rng, configuration = random.Random(seed), configured(labels={"max_delay": "1m"}, **enough)
    traffic = steady(150, gap=10, delays=(2, 40, 14, 55))
    unharmed, harmed = start(configuration, traffic), start(configuration, traffic)
    bookmarks: dict[UnitId, Bookmark] = {}
    emptied = set(rng.sample(range(20, 60), 2))
    for step in range(60):
        for unit in UNITS:
            harmed.read(unit.side, unit.partition, rng.choice([0, 1, 2, 2]))
        harmed.tick()
        for unit in rng.sample(UNITS, 2):
            if (bookmark := harmed.pipeline.bookmark(harmed.pipeline.units[unit])) is not None:
                bookmarks[unit] = bookmark
        if step in emptied:
            harmed.empty(bookmarks)
            event(f"marks beyond the start: {sum(bookmark.mark.offset > 0 for bookmark in bookmarks.values())}")
    finish(unharmed)
    finish(harmed)
    assert len(results(unharmed)) > 50
    assert without_late_labels(results(harmed)) == without_late_labels(results(unharmed))
    dense = [
        {id_: a for id_, a in alerts(m).items() if a["segment"] is None and a["window"]["name"] == "1m/30s"} for m in (harmed, unharmed)
    ]
    assert dense[0] == dense[1]
    for topic in ("late", "dead_letter"):
        sent = [[m for m in monitor.said(topic) if m.get("subject") != "performance"] for monitor in (harmed, unharmed)]
        assert origins(sent[0]) == origins(sent[1])


# crashes


class Crashed(Exception):
    """The worker died here."""


class DyingStore(MemoryStore):
    """A store whose client dies at one of its calls, before it is carried out or after."""

    def die_at(self, call: int | None, *, after: bool) -> None:
        self.calls, self.call, self.after = 0, call, after

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in ("checkpoint", "report", "wake", "match", "close", "discard_panes", "drop_generations", "trim_outbox", "intern"):
            return found

        def call(*args: Any, **more: Any) -> Any:
            self.calls += 1
            dies = self.calls == self.call
            if dies and not self.after:
                raise Crashed(name)
            answer = found(*args, **more)
            if dies:
                raise Crashed(name)
            return answer

        return call


def steady(events: int = 36, gap: int = 5, delays: tuple[int, ...] = (2,)) -> Traffic:
    """A fixed stretch of traffic with everything in it: late events, duplicates, labels before and after, and what cannot be read."""
    made = Traffic([[], []], [[], []])
    for i in range(events):
        second = 100 + gap * i - (70 if i % 17 == 16 else 0)
        features = {"amount": i, "country": ["DE", "FR", "ES"][i % 3 if i > 18 else 0]}
        event = prediction(f"id-{i}", second, str(i % 2), features=features) | {"model": ["other", MODEL, MODEL][i % 3]}
        made.predictions[i % 2] += [event] * (2 if i % 11 == 0 else 1)
        if i % 5:
            made.labels[i // 2 % 2].append(
                label(f"id-{i}", max(second, 100 + gap * i) + delays[i % len(delays)], str(i % 2 if i < 15 else 0))
            )
    made.predictions[0].insert(7, {"prediction_id": "bad"})
    for labels in made.labels:
        labels.sort(key=lambda event: event["timestamp"])
    return made


def work(monitor: Monitor) -> None:
    """Small portions of all partitions in turn, a tick after every other, until all is read."""
    turn = 0
    while any(monitor.read_to[unit] < len(log) for unit, log in monitor.logs.items()):
        unit = UNITS[[2, 0, 1, 3][turn % 4]]
        monitor.read(unit.side, unit.partition, 8)
        turn += 1
        if turn % 2 == 0:
            monitor.tick()
    monitor.tick()
    monitor.quiet()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("lateness", ["0s", "30s"])
def test_a_crash_at_any_call_of_the_store_changes_no_result(lateness: str, after: bool) -> None:
    """The worker dies at call 1, 2, 3, ...; a new one takes over on what the store has. Messages may come twice, and say the same."""
    cohorts: dict[str, Any] = {"by_prediction_time": {"windows": [{"size": "1m"}], "revise_every": "1m"}} if lateness == "0s" else {}
    fewer = {"segments": [], "windows": [{"size": "1m", "slide": "30s"}], "by_prediction_time": {}}
    few = {MODEL: MODELS[MODEL] | fewer | cohorts, "other": MODELS["other"]}
    configuration = settings(few, time={"allowed_lateness": lateness}, **MINIMUM)
    unharmed = start(configuration, steady())
    work(unharmed)
    assert len(results(unharmed)) > 15
    assert alerts(unharmed)
    expected = without_late_labels(results(unharmed))
    same: Callable[[Mapping[str, Any]], Mapping[Any, Any]] = dict if lateness == "0s" else by_window
    call, died = 0, True
    while died:
        call, died = call + 1, False
        store = DyingStore(configuration.labels.max_delay_ms)
        store.die_at(None, after=after)
        monitor = start(configuration, steady(), store)
        store.die_at(call, after=after)
        while True:
            try:
                work(monitor)
                break
            except Crashed:
                died = True
                store.die_at(None, after=after)
                monitor.start()
        assert same(without_late_labels(results(monitor))) == same(expected), f"after a crash at call {call}"
        if lateness == "0s":
            assert alerts(monitor) == alerts(unharmed), f"after a crash at call {call}"
        assert origins(monitor.said("dead_letter")) == origins(unharmed.said("dead_letter"))
    assert call > 50
