"""One run: a load, faults in a seeded order, everything settled, and the verdict."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from stream.store import UnitId
from tests.chaos.faults import FAULTS, WORKERS
from tests.chaos.judging import Judgement, judge, settle
from tests.chaos.observer import Observer
from tests.chaos.production import Production
from tests.chaos.stage import Stage, in_background, open_stage

RATE: Final = 200  # predictions in a second of event time: a segment of a window of 10 s has the sample that an alert needs
EMPTIED: Final = "Redis emptied"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What is to happen. The same plan sends the same messages and does the same faults, in the same order, to a point of their work."""

    seed: int
    minutes: float
    events: int
    faults: Sequence[str]


@dataclass(frozen=True)
class Recovery:
    """How long after a fault every unit was counted on."""

    fault: str
    seconds: float


@dataclass
class Verdict:
    """What came of a run."""

    plan: Plan
    recoveries: list[Recovery] = field(default_factory=list)
    judgement: Judgement | None = None
    failures: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)  # workers, by themselves: a crash that a restart repairs, but nobody asked for

    @property
    def passed(self) -> bool:
        return self.judgement is not None and not self.failures

    def lines(self) -> Iterator[str]:
        """The table of the faults, then one sentence, or what went wrong."""
        yield from self._table()
        yield f"workers that ended by themselves: {', '.join(self.ended) or 'none'}"
        yield from self.failures
        if self.passed and self.judgement is not None:
            done = self.judgement
            yield (
                f"chaos: seed {self.plan.seed}, {done.predictions:,} predictions, {done.labels:,} labels, {len(self.recoveries)} faults, "
                f"{done.windows:,} windows and {done.alerts:,} alerts equal to the oracle, balance adds up"
            )
        else:
            yield f"chaos: seed {self.plan.seed}, {len(self.recoveries)} faults: FAILED"

    def _table(self) -> Iterator[str]:
        yield f"{'fault':<36} {'runs':>5}  recovery s: {'min':>6} {'median':>7} {'max':>6}"
        for name in dict.fromkeys(recovery.fault for recovery in self.recoveries):
            took = [recovery.seconds for recovery in self.recoveries if recovery.fault == name]
            yield f"{name:<36} {len(took):>5}  {min(took):>18.1f} {statistics.median(took):>7.1f} {max(took):>6.1f}"


def run(plan: Plan, folder: Path, say: Say) -> Verdict:
    """The verdict on one run; services and logs live in `folder`."""
    verdict = Verdict(plan)
    with open_stage(folder, seed=plan.seed) as stage:
        observer = Observer(stage.load)
        production = Production(stage.load, seed=plan.seed, rate=RATE, pace=round(plan.events / plan.minutes / 60), at_least=plan.events)
        try:
            with in_background(observer, production) as sending:
                _do_faults(plan, stage, verdict, say)
                production.finish()
                sending.result()
                say(f"{production.predictions:,} predictions are sent; now everything is counted to its end")
                settle(stage.load, stage.crew)
            say("comparing with the oracle")
            verdict.judgement = judge(stage.load, emptied=EMPTIED in plan.faults)
            verdict.failures += [*verdict.judgement.differences, *verdict.judgement.lacking, *observer.wrong]
        except AssertionError as failure:
            verdict.failures.append(str(failure))
        verdict.ended = stage.crew.ended_by_themselves()
        if not observer.looks:
            verdict.failures.append("the observer never saw the balance")
    return verdict


def _do_faults(plan: Plan, stage: Stage, verdict: Verdict, say: Say) -> None:
    """Each fault once, in a seeded order; then again in another, until the time is over."""
    until = time.monotonic() + plan.minutes * 60
    stage.crew.scale(WORKERS)
    stage.wait_until_all_own(WORKERS)
    stage.wait_until_moved()
    for n, name in enumerate(_in_turns(plan)):
        if n >= len(plan.faults) and time.monotonic() >= until:
            return
        stage.rng = np.random.default_rng((plan.seed, 5, n))
        _do(name, stage, verdict, say)


def _in_turns(plan: Plan) -> Iterator[str]:
    """All faults in one order, then in another, without end."""
    rng = np.random.default_rng((plan.seed, 4))
    while True:
        yield from (plan.faults[i] for i in rng.permutation(len(plan.faults)))


def _do(name: str, stage: Stage, verdict: Verdict, say: Say) -> None:
    before = stage.offsets()
    for what in FAULTS[name](stage):
        struck = time.monotonic()
        since = _highest(before, stage.offsets())
        try:
            stage.wait_until_moved(since)
        except AssertionError as failure:
            verdict.failures.append(f"{name}, {what}: {failure}\nafter that every worker was killed, and the run went on")
            stage.crew.kill()
            stage.wait_until_moved(since)
        verdict.recoveries.append(Recovery(name, time.monotonic() - struck))
        say(f"{time.strftime('%H:%M:%S')}  {name:<36} {verdict.recoveries[-1].seconds:5.1f} s  {what}")
        before = stage.offsets()


def _highest(one: dict[UnitId, int], other: dict[UnitId, int]) -> dict[UnitId, int]:
    return {unit: max(one.get(unit, 0), other.get(unit, 0)) for unit in one.keys() | other.keys()}
