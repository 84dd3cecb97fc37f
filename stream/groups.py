"""Who an event counts for: its model, version and segment values, as one small number per event.

Versions and segment values come from events, so their number is bounded: past the limit, or too long, they are "(other)". Which ones are
within the limit is the store's knowledge, the same for every worker and after every restart. A group keeps its number for ever, since
pending rows of the join refer to it. A cross of keys, "country=BR,channel=web", is a segment like any other: its combinations are bounded.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stream.aggregates import distinct, mapped
from stream.model import OTHER, UNVERSIONED, Model, with_variants
from stream.store import NameStore

_TEXT_MAX = 200  # characters of a version or a segment value; longer ones are OTHER, as keys and labels carry them
_CACHE_MAX = 200_000  # raw combinations remembered; the cache starts afresh beyond, which only costs time

# What is looked up for every event: the stored number, the index of its model, the length of its panes and of those by the time of
# predictions, 0 for none, and whether it has labels.
TABLE: Final = np.dtype([("number", "<u4"), ("model", "<i8"), ("pane_ms", "<i8"), ("cohort_ms", "<i8"), ("labels", "?")])


@dataclass(frozen=True, slots=True)
class Group:
    """One combination: `segments` are the names of the segments an event of it counts for, the first "" for all traffic.

    `model` is the version's own variant, if it has one.
    """

    number: int
    model: Model
    version: str
    segments: tuple[str, ...]


class Groups:
    """The groups of this worker. A raw key is (model name, version, value of each segment column)."""

    def __init__(self, models: Mapping[str, Model], columns: Sequence[tuple[str, str]], store: NameStore) -> None:
        self._models, self._columns, self._store = models, columns, store
        self._by_raw: dict[tuple[Any, ...], int] = {}
        self._by_name: dict[tuple[str, ...], int] = {}
        self._by_number: dict[int, int] = {}
        self._admitted: dict[str, set[str]] = {}
        self._full: set[str] = set()
        self._groups: list[Group] = []
        self._places = {(model.settings.name, model.version): i for i, model in enumerate(with_variants(models.values()))}
        self._table = np.zeros(0, TABLE)
        for name, model in models.items():  # before any other version can use up the limit
            for version in model.variants:
                self._bounded(f"version:{name}", version, model.settings.versions_max)

    def __getitem__(self, index: int) -> Group:
        return self._groups[index]

    @property
    def table(self) -> npt.NDArray[np.void]:
        """A row for each group, in order of their indices: TABLE."""
        if len(self._table) < len(self._groups):
            self._table = np.array([self._row(group) for group in self._groups], TABLE)
        return self._table

    def _row(self, group: Group) -> tuple[int, int, int, int, bool]:
        settings = group.model.settings
        place = self._places[settings.name, group.model.version]
        return group.number, place, settings.pane_ms, settings.cohorts.pane_ms if settings.cohorts else 0, settings.labels

    def of_events(self, keys: Sequence[Iterable[Any]]) -> npt.NDArray[np.int64]:
        """Index of each event's group, (n,); -1 where the model is not configured. `keys`: each part of the raw keys, (n,)."""
        try:
            return mapped(self._by_raw, zip(*keys, strict=True))
        except KeyError:
            # Only text is kept as it came: 1, 1.0 and true are one key to Python, and the first to come would name the others.
            return np.array([self._of_event(tuple(map(_keyed, key))) for key in zip(*keys, strict=True)], np.int64)

    def of_numbers(self, numbers: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
        """Index of the group that each stored number stands for, (n,); -1 where its model is no longer configured."""
        known, inverse = distinct(numbers.astype(np.int64))
        missing = [number for number in known.tolist() if number not in self._by_number]
        for number, name in zip(missing, self._store.names("group", missing), strict=True):
            parts = None if name is None else self._configured(name)
            self._by_number[number] = -1 if parts is None else self._add(number, parts)
        return np.array([self._by_number[number] for number in known.tolist()], np.int64)[inverse]

    def _configured(self, name: str) -> tuple[str, ...] | None:
        """The parts of a stored name with the segments that the model has now, OTHER for a new one; None without the model."""
        model, version, *stored = name.split("\n")
        if model not in self._models:
            return None
        segments = self._models[model].settings.segments
        patterns = [_pattern(keys, _crossed(segments)) for keys in segments]
        found = (next(filter(pattern.fullmatch, stored), None) for pattern in patterns)
        return (model, version, *(name or _segment(keys, [OTHER] * len(keys)) for keys, name in zip(segments, found, strict=True)))

    def _of_event(self, key: tuple[str | None, ...]) -> int:
        if (found := self._by_raw.get(key)) is not None:
            return found
        index = self._named(key)
        if len(self._by_raw) >= _CACHE_MAX:
            self._by_raw.clear()
        self._by_raw[key] = index
        return index

    def _named(self, key: tuple[str | None, ...]) -> int:
        if (model := self._models.get(str(key[0]))) is None:
            return -1
        values = dict(zip(self._columns, key[2:], strict=True))
        name, limit = model.settings.name, model.settings.segment_values_max
        version = self._bounded(f"version:{name}", UNVERSIONED if key[1] is None else key[1], model.settings.versions_max)
        of, segments = model.of(version), []
        for keys in model.settings.segments:
            parted = [_shown(values[of.segment_column(key)], _crossed(model.settings.segments)) for key in keys]
            known = self._bounded(f"segment:{name}:{','.join(keys)}", ",".join(parted), limit) != OTHER
            segments.append(_segment(keys, parted if known else [OTHER] * len(keys)))
        parts = (name, version, *segments)
        if (index := self._by_name.get(parts)) is None:
            index = self._add(self._store.intern("group", ["\n".join(parts)])[0], parts)
        return index

    def _add(self, number: int, parts: tuple[str, ...]) -> int:
        model, version, *segments = parts
        index = self._by_name.setdefault(parts, len(self._groups))
        if index == len(self._groups):
            self._groups.append(Group(number, self._models[model].of(version), version, ("", *segments)))
        self._by_number[number] = index
        return index

    def _bounded(self, kind: str, value: str, limit: int) -> str:
        admitted = self._admitted.setdefault(kind, set())
        if value in admitted:
            return value
        if kind in self._full or len(value) > _TEXT_MAX or not value.isprintable():
            return OTHER
        if not 0 < self._store.intern(kind, [value], limit)[0] <= limit:  # past it: refused now, or admitted under a higher limit
            self._full.add(kind)  # from now on no call is needed: all that are admitted are known
            admitted.update(name for name in self._store.names(kind, range(1, limit + 1)) if name is not None)
            return OTHER
        admitted.add(value)
        return value


def _keyed(value: Any) -> str | None:
    """A value as text that no other value has the same key as; booleans as in JSON, None stays."""
    if value is None or type(value) is str:
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)


def _shown(value: str | None, crossed: bool) -> str:
    """A segment's value; null and absent are "(none)". Beside crosses its commas are escaped, as theirs part keys and values."""
    text = "(none)" if value is None else value
    return text.replace("\\", "\\\\").replace(",", "\\,") if crossed else text


def _crossed(segments: tuple[tuple[str, ...], ...]) -> bool:
    return any(len(keys) > 1 for keys in segments)


def _segment(keys: Sequence[str], values: Sequence[str]) -> str:
    """The name of a segment.

    >>> _segment(("country", "channel"), ("BR", "web"))
    'country=BR,channel=web'
    """
    return ",".join(f"{key}={value}" for key, value in zip(keys, values, strict=True))


def segment_keys(segments: tuple[tuple[str, ...], ...], name: str) -> tuple[str, ...]:
    """The keys of the segment of this name that a model has; none for all traffic.

    >>> segment_keys((("country",), ("country", "channel")), "country=BR,channel=web"), segment_keys((("country",),), "")
    (('country', 'channel'), ())
    """
    return next((keys for keys in segments if _pattern(keys, _crossed(segments)).fullmatch(name)), ())


def _pattern(keys: Sequence[str], crossed: bool) -> re.Pattern[str]:
    """What matches the names of a segment of these keys."""
    value = r"(?:[^\\,]|\\.)*" if crossed else ".*"
    return re.compile(",".join(f"{re.escape(key)}={value}" for key in keys))
