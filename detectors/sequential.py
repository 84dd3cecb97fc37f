"""Change detectors of river on a stream of values, fed in micro-batches: warnings between the closes of windows.

A `Stream` takes the values in the order of the log and cuts them into micro-batches of its own, so how they arrive in batches changes
nothing. Page-Hinkley and KSWIN are given the mean of each micro-batch, all others each value: DDM, EDDM and HDDM need zeros and ones, and
ADWIN's bound counts a mean as one value, so that it would need a multiple of the events.
State is JSON of the numbers inside river's objects; a class that `_river` does not name is neither written nor read.
"""

import base64
import json
import random
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Detector = Literal["adwin", "page_hinkley", "kswin", "ddm", "eddm", "hddm_a", "hddm_w"]
Parameters = Mapping[str, float]
Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

OF_NUMBERS: Final = ("adwin", "page_hinkley", "kswin")  # all others need zeros and ones
OF_MEANS: Final = frozenset({"page_hinkley", "kswin"})  # all others take each value
REMEMBERED: Final = 256  # micro-batches that a change may have begun before it was detected; 40 bytes each in the state


class _River(NamedTuple):
    """What makes detectors, and the classes inside them whose objects may be written and read: in Python, and in Rust."""

    make: Mapping[str, Callable[..., Any]]
    classes: Mapping[str, Any]
    rust: Mapping[str, Any]


@cache
def _river() -> _River:
    """river, which takes some 60 MB: only a worker that follows a stream has to spend them."""
    from river import drift, stats
    from river._river_rust.drift import AdaptiveWindowing
    from river.drift.binary.hddm_w import SampleInfo

    binary = drift.binary
    make: dict[str, Callable[..., Any]] = {"adwin": drift.ADWIN, "page_hinkley": drift.PageHinkley, "kswin": drift.KSWIN}
    make |= {"ddm": binary.DDM, "eddm": binary.EDDM, "hddm_a": binary.HDDMA, "hddm_w": binary.HDDMW}
    python = (stats.Mean, stats.Var, stats.EWMean, SampleInfo)
    rust = (AdaptiveWindowing, type(stats.EWMean()._ewmean))
    return _River(make, {cls.__name__: cls for cls in python}, {cls.__name__: cls for cls in rust})


class StateError(ValueError):
    """A state that cannot be read: another version of river, other parameters, or not written by `Stream.state`."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a stream, or that none has followed for long enough (`resolved`).

    It began at the event at `offset` with time `time_ms`, by estimate, and was noticed at the event at `detected` with time `detected_ms`.
    `before` and `after` are means, `n` how many values the detector had seen since the change before.
    """

    detector: Detector
    resolved: bool
    offset: int
    time_ms: int
    detected: int
    detected_ms: int
    before: float
    after: float
    n: int
    first_fired_ms: int


@dataclass(slots=True)
class _Watch:
    """One detector: the micro-batches since its last change, their sum of means, and since when it fires (0: it does not)."""

    name: Detector
    detector: Any
    batches: int = 0
    total: float = 0.0
    fired_ms: int = 0

    def take(self, mean: float, values: Floats) -> bool:
        self.batches, self.total = self.batches + 1, self.total + mean
        if self.name in OF_MEANS:
            self.detector.update(mean)
            return bool(self.detector.drift_detected)
        changed = False
        for value in values.tolist():
            self.detector.update(value)
            changed |= self.detector.drift_detected
        return changed


@dataclass(slots=True)
class Stream:
    """The detectors on one stream of values.

    `scale`: what values are divided by for the detectors, whose bounds and thresholds are for values of the size of 1.
    """

    detectors: Mapping[Detector, Parameters]
    batch: int
    resolve_after: int
    scale: float = 1.0
    _watches: list[_Watch] = field(init=False)
    _recent: deque[tuple[int, int, float]] = field(init=False)  # first offset and time, and mean, of the last micro-batches
    _rest: tuple[Floats, Indices, Indices] = field(init=False)

    def __post_init__(self) -> None:
        self._watches = [_Watch(name, make(name, self.batch, given)) for name, given in self.detectors.items()]
        self._recent = deque(maxlen=REMEMBERED)
        self._rest = np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64)

    def push(self, values: Floats, times_ms: Indices, offsets: Indices, now_ms: int) -> list[Change]:
        """What changed as these values, all (n,), followed those before. `now_ms` is noted as the time an alert first fired."""
        values, times_ms, offsets = (np.concatenate(pair) for pair in zip(self._rest, (values, times_ms, offsets), strict=True))
        whole = len(values) // self.batch * self.batch
        self._rest = values[whole:], times_ms[whole:], offsets[whole:]
        rows = values[:whole].reshape(-1, self.batch) / self.scale
        ends = list(zip(*(column[self.batch - 1 : whole : self.batch].tolist() for column in (offsets, times_ms)), strict=True))
        starts = zip(
            offsets[: whole : self.batch].tolist(), times_ms[: whole : self.batch].tolist(), rows.mean(axis=1).tolist(), strict=True
        )
        changes: list[Change] = []
        for recent, row, end in zip(starts, rows, ends, strict=True):
            self._recent.append(recent)
            for watch in self._watches:
                if watch.take(recent[2], row):
                    changes.append(self._changed(watch, end, now_ms))
                elif watch.fired_ms and watch.batches * self.batch >= self.resolve_after:
                    changes.append(self._calm(watch, end))
        return changes

    def _changed(self, watch: _Watch, end: tuple[int, int], now_ms: int) -> Change:
        """Where it began: at the split that explains most of the variance. ADWIN's own width says it too early, by whole buckets."""
        recent = list(self._recent)[-watch.batches :]
        start = split(np.array([mean for _, _, mean in recent]))
        after = [mean for _, _, mean in recent[start:]]
        total, n = sum(after), len(after)
        before = (watch.total - total) / (watch.batches - n) if watch.batches > n else total / n
        offset, time_ms, _ = recent[start]
        watch.fired_ms = watch.fired_ms or now_ms
        means = before * self.scale, total / n * self.scale
        change = Change(watch.name, False, offset, time_ms, *end, *means, watch.batches * self.batch, watch.fired_ms)
        watch.batches, watch.total = 0, 0.0
        return change

    def _calm(self, watch: _Watch, end: tuple[int, int]) -> Change:
        offset, time_ms, _ = self._recent[-1]
        mean = watch.total / watch.batches * self.scale
        change = Change(watch.name, True, offset, time_ms, *end, mean, mean, watch.batches * self.batch, watch.fired_ms)
        watch.fired_ms = 0
        return change

    @property
    def firing(self) -> tuple[Detector, ...]:
        """The detectors whose last change is not resolved."""
        return tuple(watch.name for watch in self._watches if watch.fired_ms)

    def _made(self) -> list[Any]:
        return _made(self.detectors, self.batch, self.scale)

    def state(self) -> str:
        """All that `restore` needs, as JSON, some kilobytes."""
        watches = [[w.batches, w.total, w.fired_ms, _dumped(vars(w.detector))] for w in self._watches]
        return _sealed(json.dumps([self._made(), watches, list(self._recent), [column.tolist() for column in self._rest]]))

    def restore(self, state: str) -> None:
        """Go on from a state, with the same changes as if nothing had happened.

        Raises:
            StateError: nothing was taken from it.
        """
        try:
            made, watches, recent, rest = json.loads(_opened(state))
            if made != self._made():
                raise StateError("state of a sequential detector: made by another river, or with other parameters")
            loaded = [(watch, *parts, _loaded(held)) for watch, (*parts, held) in zip(self._watches, watches, strict=True)]
            if any(not held.keys() <= vars(watch.detector).keys() for watch, *_, held in loaded):
                raise StateError("state of a sequential detector: it has attributes that its class has not")
        except (ValueError, TypeError, KeyError) as error:
            raise StateError(str(error)) from error
        for watch, batches, total, fired_ms, held in loaded:
            watch.batches, watch.total, watch.fired_ms = batches, total, fired_ms
            vars(watch.detector).update(held)
        self._recent.extend((offset, time_ms, mean) for offset, time_ms, mean in recent)
        self._rest = np.array(rest[0], float), np.array(rest[1], np.int64), np.array(rest[2], np.int64)


def lost_alerts(state: str, detectors: Mapping[Detector, Parameters], batch: int, scale: float = 1.0) -> dict[Detector, int]:
    """The detectors of a state that fired, and since when in ms, if a `Stream` of these would not read it; none if it goes on from it."""
    try:
        made, watches, *_ = json.loads(_opened(state))
        fired = {name: fired_ms for name, (_, _, fired_ms, _) in zip(made[2], watches, strict=True) if fired_ms}
    except (ValueError, TypeError, LookupError):
        return {}
    return {} if made == _made(detectors, batch, scale) else fired


def _made(detectors: Mapping[Detector, Parameters], batch: int, scale: float) -> list[Any]:
    """What a state depends on: none made otherwise is read."""
    return [version("river"), batch, {name: [name in OF_MEANS, dict(parameters)] for name, parameters in detectors.items()}, scale]


def split(values: Floats) -> int:
    """Index, from 1 where there are two or more, at which to part the values into two of equal means each, with the least squares left.

    >>> split(np.array([1.0, 2.0, 1.0, 5.0, 6.0])), split(np.array([1.0]))
    (3, 0)
    """
    n = len(values)
    if n < 2:
        return 0
    k = np.arange(1, n)
    gain = (np.cumsum(values)[:-1] - values.sum() * k / n) ** 2 / (k * (n - k))
    return 1 + int(np.argmax(gain))


def make(name: Detector, batch: int, given: Parameters) -> Any:
    """A detector of river, its defaults brought to means of `batch` values where it is given these.

    Page-Hinkley adds up `batch` times less before it calls it a change, with its forgetting at the same pace per value; KSWIN has a fixed
    seed, so that a replay repeats it, and at one test a mean a lower alpha.
    """
    defaults: dict[str, dict[str, float]] = {
        "page_hinkley": {"alpha": 0.9999**batch},
        "kswin": {"alpha": 0.0001, "seed": 1},
    }
    parameters = {**defaults.get(name, {}), **given}
    if name == "page_hinkley":
        parameters["threshold"] = parameters.get("threshold", 50) / batch
    return _river().make[name](**parameters)


def _sealed(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}{text}"


def _opened(state: str) -> str:
    """The text of a sealed state: what was cut or changed is never shown to river, whose Rust half would panic."""
    if state != _sealed(state[8:]):
        raise StateError("state of a sequential detector: its checksum is wrong")
    return state[8:]


def _dumped(value: Any) -> Any:
    """JSON of a scalar, or of an object of a known class as [class, content]. Methods of a detector among its attributes are left out."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    name = type(value).__name__
    if isinstance(value, dict):
        return ["dict", {key: _dumped(one) for key, one in value.items() if not callable(one)}]
    if isinstance(value, deque):
        return ["deque", list(value), value.maxlen]
    if isinstance(value, random.Random):
        return ["Random", value.getstate()]
    if name in _river().rust:
        return [name, list(value.__getnewargs__()), base64.b64encode(value.__getstate__()).decode()]
    if name not in _river().classes:
        raise StateError(f"state of a sequential detector: cannot be written: class={name!r}")
    return [name, _dumped(vars(value))]


def _loaded(value: Any) -> Any:
    """What `_dumped` wrote."""
    if not isinstance(value, list):
        return value
    name, content, *more = value
    if name == "dict":
        return {key: _loaded(one) for key, one in content.items()}
    if name == "deque":
        return deque(content, more[0])
    if name == "Random":
        rng = random.Random()  # noqa: S311 - no secret: it draws the rows that KSWIN compares
        rng.setstate((content[0], tuple(content[1]), content[2]))
        return rng
    if name in _river().rust:
        inner = _river().rust[name](*content)
        inner.__setstate__(base64.b64decode(more[0], validate=True))
        return inner
    if name not in _river().classes:
        raise StateError(
            f"state of a sequential detector: class={name!r}, expected one of {', '.join([*_river().classes, *_river().rust])}"
        )
    cls = _river().classes[name]
    made = cls.__new__(cls)
    vars(made).update(_loaded(content))
    return made
