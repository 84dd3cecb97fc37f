"""Delay and false alarms of the sequential detectors on concept changes of river's generators: writes benchmarks/SEQUENTIAL.md.

The values are the errors of river's Hoeffding tree, which learns the old concept and is then frozen. The concept changes at once, or with
a share of the new one that grows to all over `width` events. The delay runs from the beginning of the change to the first alarm after it,
in the median of the runs that have one, and found is the share of runs that have one. A detector that alarms without cause also finds
changes, so read both beside the false alarms, those before the change. "driftstream" gets the errors as
its worker does, with its defaults; "river" is one process fed value by value, with river's defaults (KSWIN seeded).
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from river import drift, tree
from river.datasets import synth

from detectors.sequential import Detector, Stream

OUT: Final = Path(__file__).with_name("SEQUENTIAL.md")
BATCH: Final = 32  # the default of `sequential.batch`
COST_VALUES, COST_BATCH = 75_000, 7_500

Errors = npt.NDArray[np.float64]
Alarms = list[int]  # places of events

RIVER: Final[Mapping[Detector, Callable[[], Any]]] = {
    "adwin": drift.ADWIN,
    "page_hinkley": drift.PageHinkley,
    "kswin": lambda: drift.KSWIN(seed=1),
    "ddm": drift.binary.DDM,
    "eddm": drift.binary.EDDM,
    "hddm_a": drift.binary.HDDMA,
    "hddm_w": drift.binary.HDDMW,
}
CONCEPTS: Final[Mapping[str, Callable[[int, bool], Any]]] = {  # of a seed, and whether the concept is the new one
    "SEA": lambda seed, new: synth.SEA(variant=3 if new else 2, noise=0.05, seed=seed),
    "Agrawal": lambda seed, new: synth.Agrawal(classification_function=1 if new else 0, perturbation=0.05, seed=seed),
    "STAGGER": lambda seed, new: synth.STAGGER(classification_function=1 if new else 0, seed=seed),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """How many events are learnt, come before the change, and after it; over how many it is gradual; and which seeds."""

    learn: int = 5_000
    before: int = 5_000
    after: int = 5_000
    width: int = 1_000
    seeds: Sequence[int] = range(6)

    @property
    def kinds(self) -> Mapping[str, int]:
        return {"abrupt": 1, "gradual": self.width}


def errors(concept: str, seed: int, width: int, plan: Plan) -> Errors:
    """Zeros and ones, (plan.before + plan.after,): where the model is wrong."""
    old, new = (iter(CONCEPTS[concept](seed, later)) for later in (False, True))
    model = tree.HoeffdingTreeClassifier(grace_period=50)
    for _ in range(plan.learn):
        model.learn_one(*next(old))
    share = np.clip((np.arange(plan.before + plan.after) - plan.before + 1) / width, 0, 1)
    later = np.random.default_rng(seed).random(share.size) < share
    return np.array([model.predict_one(x) != y for x, y in (next(new if is_new else old) for is_new in later.tolist())], float)


def always(values: Errors) -> Alarms:
    return list(range(values.size))


def never(values: Errors) -> Alarms:
    return []


def ours(name: Detector) -> Callable[[Errors], Alarms]:
    """Where a stream of driftstream notices changes."""

    def alarms(values: Errors) -> Alarms:
        at = np.arange(values.size)
        return [change.detected for change in Stream({name: {}}, BATCH, 10**9).push(values, at, at, 1)]

    return alarms


def rivers(name: Detector) -> Callable[[Errors], Alarms]:
    """Where a detector of river does, fed value by value."""

    def alarms(values: Errors) -> Alarms:
        detector, found = RIVER[name](), []
        for i, value in enumerate(values.tolist()):
            detector.update(value)
            if detector.drift_detected:
                found.append(i)
        return found

    return alarms


def contenders(names: Sequence[Detector]) -> dict[str, Callable[[Errors], Alarms]]:
    """What is compared, by the title of its row."""
    found: dict[str, Callable[[Errors], Alarms]] = {"always fires": always, "never fires": never}
    for name in names:
        found |= {f"`{name}`, driftstream": ours(name), f"`{name}`, river": rivers(name)}
    return found


def delay(runs: Sequence[Alarms], change: int) -> str:
    """Median delay in events, and the share of runs in which the change was found."""
    delays = [min(later) - change for alarms in runs if (later := [at for at in alarms if at >= change])]
    return f"{median(delays):,.0f} ({len(delays) / len(runs):.0%})" if delays else "never (0%)"


def false_alarms(runs: Sequence[Alarms], change: int) -> str:
    """Alarms before the change per 10,000 events before it."""
    return f"{sum(at < change for alarms in runs for at in alarms) / (len(runs) * change) * 10_000:,.1f}"


def compared(plan: Plan, names: Sequence[Detector]) -> Iterator[str]:
    """The tables of delays and of false alarms."""
    streams = {
        (concept, kind): [errors(concept, seed, width, plan) for seed in plan.seeds]
        for concept in CONCEPTS
        for kind, width in plan.kinds.items()
    }
    found = {title: {key: [run(one) for one in values] for key, values in streams.items()} for title, run in contenders(names).items()}
    before, after = (
        [np.mean([one[part].mean() for one in values]) for (_, kind), values in streams.items() if kind == "abrupt"]
        for part in (slice(plan.before), slice(plan.before, None))
    )
    rates = ", ".join(f"{concept} {low:.1%} to {high:.1%}" for concept, low, high in zip(CONCEPTS, before, after, strict=True))
    yield from ("## Median delay in events (share found)", "", f"The error rate rises, in the mean of the runs: {rates}.", "")
    yield from _head([f"{concept}, {kind}" for concept, kind in streams])
    for title, runs in found.items():
        yield _row(title, [delay(runs[key], plan.before) for key in streams])
    yield from (
        "",
        "## False alarms per 10,000 events",
        "",
        f"Of the {len(plan.seeds) * plan.before:,} before the change, the same whether that is abrupt or gradual.",
        "",
    )
    yield from _head(list(CONCEPTS))
    for title, runs in found.items():
        yield _row(title, [false_alarms(runs[concept, "abrupt"], plan.before) for concept in CONCEPTS])


def costs(names: Sequence[Detector]) -> Iterator[str]:
    """CPU time of a value."""
    yield from ("## Cost", "", f"CPU time in microseconds a value: `Stream.push` in batches of {COST_BATCH:,}, and river's `update`.", "")
    yield from _head(["driftstream", "river"])
    values = (np.random.default_rng(0).random(COST_VALUES) < 0.1).astype(float)
    for name in names:
        stream, at = Stream({name: {}}, BATCH, 10**9), np.arange(COST_VALUES)
        parts = [slice(i, i + COST_BATCH) for i in range(0, COST_VALUES, COST_BATCH)]
        begun = time.process_time()
        for part in parts:
            stream.push(values[part], at[part], at[part], 1)
        pushed = time.process_time() - begun
        few = values[:COST_BATCH]
        begun = time.process_time()
        rivers(name)(few)
        one_by_one = time.process_time() - begun
        yield _row(f"`{name}`", [f"{pushed / COST_VALUES * 1e6:.2f}", f"{one_by_one / few.size * 1e6:.2f}"])


def preface(plan: Plan) -> list[str]:
    """What the document says before its tables."""
    sizes = (
        f"{plan.learn:,} events are learnt, {plan.before:,} come before the change and {plan.after:,} after it; `width` is {plan.width:,}."
    )
    seeds = f"`python -m benchmarks.sequential`, seeds {min(plan.seeds)} to {max(plan.seeds)}. {sizes}"
    return ["# Sequential detectors", "", seeds, "", str(__doc__).split("\n\n", 1)[1].rstrip(), ""]


def document(plan: Plan, names: Sequence[Detector] = tuple(RIVER)) -> str:
    """All of it."""
    return "\n".join([*preface(plan), *compared(plan, names), "", *costs(names)]) + "\n"


def _head(columns: Sequence[str]) -> list[str]:
    return [_row("detector", columns), _row("---", ["---:"] * len(columns))]


def _row(title: str, cells: Sequence[str]) -> str:
    return f"| {title} | {' | '.join(cells)} |"


if __name__ == "__main__":
    OUT.write_text(document(Plan()), encoding="utf-8")
