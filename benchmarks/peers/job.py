"""What a peer is given, the parts that are the same in every peer, and what it gives back.

Standard library only: it is imported in the peers' environment. `benchmarks.peers.truth` writes the job and judges the answer.
"""

import json
import os
import time
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Feature:
    """Where a feature's values are counted: numbers by their edges, texts by their place among the categories; then the missing ones."""

    name: str
    start: int
    missing: int
    edges: Sequence[float] = ()
    categories: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """The same events, reference and windows as the worker's."""

    brokers: str
    redis: str
    group: str
    folder: str
    topics: Mapping[str, str]
    messages: Mapping[str, int]
    classes: Sequence[str]
    windows: Sequence[tuple[int, int]]  # size and slide, in ms
    pane_ms: int
    out_of_orderness_ms: int
    max_delay_ms: int
    width: int
    features: Sequence[Feature]

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: str) -> "Job":
        fields = json.loads(Path(path).read_bytes())
        return cls(**fields | {"features": [Feature(**feature) for feature in fields["features"]]})


class Coder:
    """Values to positions in a histogram, as `stream.model.Model.code` does, an event at a time; types are not checked."""

    def __init__(self, features: Sequence[Feature]) -> None:
        self._numbers = [(f.name, f.edges, f.start, f.missing) for f in features if f.edges]
        self._texts = [
            (f.name, {None: f.missing} | {text: f.start + i for i, text in enumerate(f.categories)}, f.start + len(f.categories))
            for f in features
            if not f.edges
        ]

    def positions(self, values: Mapping[str, Any]) -> list[int]:
        """The position of each feature's value."""
        get = values.get
        found = [missing if (x := get(name)) is None else start + bisect_right(edges, x) for name, edges, start, missing in self._numbers]
        found += [codes.get(get(name), unseen) for name, codes, unseen in self._texts]
        return found


@dataclass(frozen=True, slots=True)
class Window:
    """A closed window. `partition` is -1 where all partitions are in it; `moment` is the sum of position times count."""

    size_ms: int
    start_ms: int
    partition: int
    values: int
    moment: int

    @classmethod
    def of(cls, size_ms: int, start_ms: int, partition: int, counts: Iterable[tuple[int, int]]) -> "Window":
        pairs = list(counts)
        return cls(size_ms, start_ms, partition, sum(n for _, n in pairs), sum(position * n for position, n in pairs))


@dataclass(slots=True)
class Answer:
    """What a peer did and what it took: all threads and children of the process, user and system time."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_rss_bytes: int = 0
    predictions: int = 0
    labels: int = 0
    late: int = 0
    joined: int = 0
    confusion: list[list[int]] = field(default_factory=list)  # rows per label, a column per prediction
    windows: list[Window] = field(default_factory=list)
    columns: dict[str, list[float]] = field(default_factory=dict)  # per feature: values with missing ones, missing ones, mean
    versions: dict[str, str] = field(default_factory=dict)

    def start(self) -> None:
        """What is used from now on counts."""
        self.wall_s, self.cpu_s = time.perf_counter(), _cpu_seconds()

    def stop(self) -> None:
        """What was used since `start`."""
        self.wall_s, self.cpu_s = time.perf_counter() - self.wall_s, _cpu_seconds() - self.cpu_s
        self.peak_rss_bytes = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024

    def write(self, folder: str) -> None:
        Path(folder, "answer.json").write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, folder: Path) -> "Answer":
        fields = json.loads((folder / "answer.json").read_bytes())
        return cls(**fields | {"windows": [Window(**window) for window in fields["windows"]]})


def _cpu_seconds() -> float:
    children = os.times()  # in steps of 10 ms, unlike process_time
    return time.process_time() + children.children_user + children.children_system
