"""Ours against the peers: runs a peer in its environment, has its answer checked, and tells the ratios."""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.baselines import decoder
from benchmarks.measure import Measured
from benchmarks.peers.job import Answer
from benchmarks.peers.truth import Truth, job
from stream.settings import Settings

ROOT = Path(__file__).parents[1]
PEERS_VENV = ROOT / ".venv-peers"
WITHIN_S = 3600.0


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer's case: which of our cases it is compared with, the module and its way of work, the ratio we want, and what it is."""

    ours: str
    module: str
    way: tuple[str, ...]
    unit: str
    target: float | None
    what: str


@dataclass(frozen=True, slots=True)
class Ours:
    """A case of ours that is there for the comparison only."""

    way: str
    what: str


PEERS = {
    "faust": Peer("worker", "faust_job", (), "predictions", 10, "the whole job in plain Faust: agents, state in Redis, labels joined"),
    "quix": Peer("worker-unlabelled", "quix_job", ("windows",), "predictions", 5, "the same windows in Quix Streams, without labels"),
    "quix-panes": Peer(
        "worker-unlabelled", "quix_job", ("panes",), "predictions", 5, "the same, the minutes made from closed windows of 10 s by hand"
    ),
    "whylogs": Peer("histograms", "whylogs_columns", ("frames",), "cells", 10, "whylogs over DataFrames of 10 000 events, ready-made"),
    "whylogs-events": Peer(
        "histograms-events", "whylogs_columns", ("events",), "cells", 10, "the same with making the DataFrames from decoded events"
    ),
    "whylogs-rows": Peer("histograms-events", "whylogs_columns", ("rows",), "cells", None, "whylogs, an event at a time"),
}
OURS = {
    "histograms": Ours("columns", "our histogram updates alone, from columns of Python values on"),
    "histograms-events": Ours("events", "the same from decoded events on: columns, panes, lateness, as in the worker"),
}
EXPLANATION = """\
Events are predictions, for whylogs cells: values of a feature. Ratios are of events per CPU second of a process with all its threads and
children, ours over the peer's in the same turn; median, and range over the turns. Each side runs alone, in a process of its own, on the
same bytes; in the short form the peers read only the first of the predictions, and their labels. The start is left out: the worker and
Faust count from their assignment, Quix from its first event. They end when all events are counted; the worker and Faust have them in
Redis then. CPU of Redis and of the broker is nobody's.

Peers do less than we do and are not charged for it: they do not check types, score, judge, fence zombies or tie offsets to state. A peer
whose counts differ from ours fails the benchmark: all events, joined labels, confusion counts, and of each closed window the number of
values and the sum of their positions; of whylogs the values, missing values and means of each column. There are no labels in Quix: it
joins within equal partitions by message key, and these labels come by other partitions than their predictions; the worker has none either
there. whylogs, on the other hand, computes more: sketches of quantiles, distinct values and frequent items, where we count into bins that
a reference has fixed. What was done for a peer's speed stands at the head of its file in `benchmarks/peers/`."""


class Versus:
    """The peers' environment with the truth of one set of events."""

    def __init__(self, python: Path, folder: Path) -> None:
        self._python, self._folder = python, folder
        self._truth: Truth | None = None
        self.versions: dict[str, str] = {}

    def run(self, case: str, config: Settings, messages: dict[str, int]) -> Measured:
        """Run a peer once. Raises WrongAnswerError if its counts are not ours."""
        peer, topics, name = PEERS[case], config.kafka.topics, config.kafka.group
        folder, lines = self._folder / name, self._folder / "predictions.jsonl"
        folder.mkdir()
        (model,) = decoder(config)[1].values()
        given = job(config, model, {n: getattr(topics, n) for n in ("predictions", "labels", "results")}, messages, folder)
        given.write(folder / "job.json")
        if self._truth is None:
            self._truth = Truth.read(config, given, lines)
        command = [str(self._python), "-W", "ignore", "-m", f"benchmarks.peers.{peer.module}", str(folder / "job.json"), *peer.way]
        with (folder / "log").open("wb") as log:
            ended = subprocess.run(
                [*command, str(lines)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=WITHIN_S,
                check=False,
            )
        if ended.returncode:
            raise RuntimeError(f"{case} ended with exit code {ended.returncode}, expected 0: {(folder / 'log').read_text()[-2000:]}")
        answer = Answer.read(folder)
        if peer.module == "whylogs_columns":
            self._truth.check_columns(answer)
        else:
            self._truth.check(answer, labels=peer.module == "faust_job", by_partition=peer.module == "quix_job")
        self.versions |= answer.versions
        cells = len(model.slots) if peer.unit == "cells" else 1
        return Measured(answer.wall_s, answer.cpu_s, answer.peak_rss_bytes, events=answer.predictions * cells)


def table(runs: Mapping[str, Sequence[Measured]], predictions: int) -> list[str]:
    """Markdown rows: a peer, ours, the ratio with its range, and the target; peers that did not run are said to be skipped."""
    rows: list[Sequence[str]] = [
        ("peer", "of", "ours", "events / CPU s", "peer's", "peer's events", "ratio", "min-max", "target"),
        ("---", "---", "---", "---:", "---:", "---:", "---:", "---:", "---"),
    ]
    for name, peer in PEERS.items():
        if name not in runs or peer.ours not in runs:
            rows.append((name, peer.unit, peer.ours, "", "skipped: see make bench-full", "", "", "", ""))
            continue
        ours, theirs = ([(run.events or predictions) / run.cpu_s for run in runs[case]] for case in (peer.ours, name))
        ratios = [ours_i / theirs_i for ours_i, theirs_i in zip(ours, theirs, strict=True)]
        ratio, events = median(ratios), runs[name][0].events
        target = "" if peer.target is None else f">= {peer.target:.0f}: {'reached' if ratio >= peer.target else 'MISSED'}"
        spread = f"{min(ratios):.1f}-{max(ratios):.1f}"
        rows.append(
            (name, peer.unit, peer.ours, f"{median(ours):,.0f}", f"{median(theirs):,.0f}", f"{events:,}", f"{ratio:.1f}", spread, target)
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows]
