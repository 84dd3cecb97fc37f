"""From Kafka messages to columns: predictions and labels as the pipeline counts them.

Fields may stand anywhere in the JSON, in Kafka's key, headers or timestamp, or be constant. Whatever cannot be counted is rejected here
with a reason; nothing behind this module validates again.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Annotated, Any, Final, cast

import msgspec
import numpy as np
import numpy.typing as npt

from stream.class_scores import ClassScores, PackedScores
from stream.coding import ClassCodes
from stream.groups import Groups
from stream.join import IdHashes, id_hashes
from stream.model import NUMBERS_MAX, FeatureSlot, Model, with_variants
from stream.reference import CategoricalFeature, NumericFeature
from stream.schema import DETAIL_MAX, Column, Leaf, Reason, Records, Rejected, Schema
from stream.settings_events import EventSettings, LabelFields, PredictionFields, Source
from stream.store import UnitId
from stream.unknown_features import UnknownFeatures
from stream.windows import Times

_LATEST_MS: Final = 253_402_300_800_000  # year 10 000: what RFC 3339 can write
_FARTHEST: Final = 1e22  # a number beyond is no time in any unit; its microseconds might overflow a double
_LARGEST: Final = sys.float_info.max

_TIME: Final = int | float | Annotated[datetime, msgspec.Meta(tz=True)]
_CLASS: Final = str | int | float | bool
# Type of each field as it is decoded, and whether the event is worth nothing without it.
_PREDICTION: Final[dict[str, tuple[Any, bool]]] = {
    "prediction_id": (str | int, True),
    "timestamp": (_TIME, True),
    "model": (str, True),
    "version": (str | int | float, False),
    "prediction": (_CLASS, True),
    "score": (float | dict[str, float], False),
    "latency_ms": (float, False),
    "value": (float, False),
}
_IGNORABLE: Final = frozenset({"latency_ms", "value"})  # fields that an event with a wrong value counts without
_SCORES: Final = frozenset({float, dict, type(None)})  # types of a score
_LABEL: Final[dict[str, tuple[Any, bool]]] = {"prediction_id": (str | int, True), "timestamp": (_TIME, True), "label": (_CLASS, True)}


@dataclass(slots=True)
class Messages:
    """Consecutive messages of one topic-partition, consumed under its owner's `epoch`. `headers` and `timestamps`: only if mapped."""

    topic: str
    unit: UnitId
    epoch: int
    offsets: Sequence[int]
    values: list[bytes | None]
    timestamps: list[int]
    keys: Sequence[bytes | None]
    headers: list[Mapping[str, bytes | None]] = field(default_factory=list)

    def part(self, start: int, stop: int) -> "Messages":
        """The messages from the one at `start` up to, not with, the one at `stop`."""
        return replace(
            self,
            offsets=self.offsets[start:stop],
            values=self.values[start:stop],
            timestamps=self.timestamps[start:stop],
            keys=[self.keys[i] for i in range(start, min(stop, len(self.keys)))],
            headers=self.headers[start:stop],
        )

    def offsets_at(self, index: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The offsets of these messages."""
        if isinstance(self.offsets, range):
            return index + self.offsets.start
        return np.array(self.offsets, np.int64)[index]


@dataclass(slots=True)
class Predictions:
    """Columns of the usable predictions of a batch, all (n,). `index` points into the messages, `groups` into `Groups`.

    `scores` are NaN where the event has none; of a regression they are the predictions. `class_scores`, (n, width): those by class of the
    models that count these, packed. `latencies_ms`, `values`: what the event says, NaN where it says no number.
    """

    index: npt.NDArray[np.int64]
    times_ms: Times
    hashes: IdHashes
    groups: npt.NDArray[np.int64]
    classes: npt.NDArray[np.uint16]
    scores: npt.NDArray[np.float64]
    class_scores: PackedScores
    latencies_ms: npt.NDArray[np.float64]
    values: npt.NDArray[np.float32]
    records: Records


@dataclass(slots=True)
class Labels:
    """Columns of the usable labels of a batch, all (n,). `values` is the label where it is a number, else NaN."""

    index: npt.NDArray[np.int64]
    times_ms: Times
    hashes: IdHashes
    classes: npt.NDArray[np.uint16]
    values: npt.NDArray[np.float64]


class _Fields:
    """The mapped fields of one decoded batch, wherever they stand, and the events that turn out to be unusable on the way."""

    def __init__(self, messages: Messages, index: npt.NDArray[np.int64], records: Records, mapping: PredictionFields | LabelFields) -> None:
        self._messages, self._index, self._records, self._mapping = messages, index, records, mapping
        self.bad: dict[int, Rejected] = {}

    def column(self, name: str, kind: Any, required: bool) -> Sequence[Any]:
        """The field of all records; None where an optional one is absent."""
        source: Source | None = getattr(self._mapping, name)
        if source is None:
            return cast(list[Any], np.full(len(self._index), np.nan))  # only numbers may be left unmapped
        if source.kind == "path":
            return cast(list[Any], self._records.columns([name])[0])  # an array of what is read as nothing but a number
        rows = self._index.tolist()
        match source.kind:
            case "const":
                return [source.argument] * len(rows)
            case "timestamp":
                return [self._messages.timestamps[i] for i in rows]
            case "key":
                raw = [self._messages.keys[i] for i in rows]
            case "header":
                raw = [self._messages.headers[i].get(source.argument) for i in rows]
        return [self._text(position, name, kind, required, value) for position, value in enumerate(raw)]

    def refuse(self, where: npt.NDArray[np.bool_], reason: Reason, detail: Callable[[int], str]) -> None:
        """The records where `where` holds are unusable."""
        for position in np.flatnonzero(where).tolist():
            self.bad.setdefault(position, Rejected(int(self._index[position]), reason, detail(position)[:DETAIL_MAX]))

    def _text(self, position: int, name: str, kind: Any, required: bool, value: bytes | None) -> Any:
        """A field from the key or a header: text, read as the field's type."""
        reason: Reason = "missing_field" if value is None else "wrong_type"
        try:
            if value is not None:
                return msgspec.convert(value.decode(), kind, strict=False)
            if not required:
                return None
            detail = "absent in the message's key or headers, expected a value"
        except (UnicodeDecodeError, msgspec.ValidationError, OverflowError) as error:
            detail = str(error)
        if name in _IGNORABLE:
            return None
        self.bad.setdefault(position, Rejected(int(self._index[position]), reason, f"{name}: {detail}"[:DETAIL_MAX]))
        return None if not required else 0 if kind == _TIME else ""  # what a usable event could have had: its column is still computed

    def times(self, values: Sequence[Any], latest_ms: int) -> Times:
        """The times in ms; those outside [1970, 10 000) or after `latest_ms` are unusable."""
        times = times_ms(values)
        self.refuse((times < 0) | (times >= _LATEST_MS), "bad_time", lambda i: f"timestamp={values[i]!r}, expected 1970 to 9999")
        self.refuse(times > latest_ms, "future_time", lambda i: f"timestamp={values[i]!r} is further ahead than time.max_future_skew")
        return times

    def kept(self) -> npt.NDArray[np.int64]:
        """Positions of the usable records."""
        return np.setdiff1d(np.arange(len(self._index)), list(self.bad))


class EventDecoder:
    """Decodes batches of both topics for the configured models. `groups` builds the groups over the segment columns it reads.

    `unknown`: the features that it passes over, where all that stand in one object are features.
    """

    def __init__(
        self,
        settings: EventSettings,
        models: Mapping[str, Model],
        groups: Callable[[Sequence[tuple[str, str]]], Groups],
        classes: ClassCodes,
        class_scores: ClassScores,
    ) -> None:
        self._settings, self._models, self._classes, self.class_scores = settings, models, classes, class_scores
        keys = ((model, key) for model in with_variants(models.values()) for segment in model.settings.segments for key in segment)
        segments = list(dict.fromkeys(model.segment_column(key) for model, key in keys))
        self.groups = groups(segments)
        self._segment_names = [".".join(column) for column in segments]
        leaves = dict(_mapped(_PREDICTION, settings.predictions))
        leaves |= self._feature_leaves()
        leaves |= {
            f"segments.{name}": Leaf(_member(settings.predictions.segments, name), _CLASS) for side, name in segments if side == "segments"
        }
        kinds: dict[tuple[str, ...], set[Any]] = {}
        for leaf in leaves.values():
            kinds.setdefault(leaf.path, set()).add(leaf.type)
        self._mixed |= {leaf.feature for leaf in leaves.values() if leaf.feature is not None and len(kinds[leaf.path]) > 1}
        self._score_shares = "score" in leaves and len(kinds[leaves["score"].path]) > 1  # its place with something else
        features, others = settings.predictions.features, [leaf.path for leaf in leaves.values() if leaf.feature is None]
        self.unknown = UnknownFeatures(models, features.path, others) if isinstance(features, Source) else None
        regressions = [(model.settings.labels, model.numbers is not None) for model in with_variants(models.values())]
        self._regression = np.array([regression for _, regression in regressions])
        self._only_numbers = all(regression for labelled, regression in regressions if labelled)  # are labels
        self._prediction_schema = Schema(leaves, settings.max_bytes)
        self._label_schema = Schema(dict(_mapped(_LABEL, settings.labels)), settings.max_bytes)

    def _feature_leaves(self) -> dict[str, Leaf]:
        leaves: dict[str, Leaf] = {}
        self._mixed: set[str] = set()  # features whose type models or other fields on the same path disagree about: checked again
        for slot in (slot for model in with_variants(self._models.values()) for slot in model.slots):
            name, kind = f"features.{slot.feature.name}", _feature_type(slot.feature)
            known = leaves.get(name)
            if known and known.type != kind:
                self._mixed.add(slot.feature.name)
                kind |= known.type
            leaves[name] = Leaf(_member(self._settings.predictions.features, slot.feature.name), kind, feature=slot.feature.name)
        return leaves

    def predictions(self, messages: Messages, latest_ms: int) -> tuple[Predictions, list[Rejected]]:
        """The usable predictions of a batch, and the rest; a time after `latest_ms` is not usable."""
        index, records, rejected = self._prediction_schema.decode(messages.values)
        fields = _Fields(messages, index, records, self._settings.predictions)
        column = {name: fields.column(name, *kind) for name, kind in _PREDICTION.items()}
        times = fields.times(column["timestamp"], latest_ms)
        keys: list[Sequence[Any] | Column] = [column["model"], column["version"], *records.columns(self._segment_names)]
        groups = self._groups_of(keys, fields)
        fields.refuse(groups < 0, "unknown_model", lambda i: f"model={column['model'][i]!r}, expected one that is configured")
        scores = self._scores(column["score"], column["prediction"], groups, fields)
        if self._regression.any():
            scores = self._predicted_numbers(column["prediction"], groups, scores, fields)
        decoded = Predictions(
            index=index,
            times_ms=times,
            hashes=id_hashes(column["prediction_id"]),
            groups=groups,
            classes=self._classes.numbers(column["prediction"]),
            scores=scores,
            class_scores=self._by_class(column["score"], groups),
            latencies_ms=_numbers(column["latency_ms"]),
            values=_small(_numbers(column["value"])),
            records=records,
        )
        if fields.bad:
            kept = fields.kept()
            names = ("index", "times_ms", "hashes", "groups", "classes", "scores", "class_scores", "latencies_ms", "values")
            columns = {name: getattr(decoded, name)[kept] for name in names}
            decoded = Predictions(**columns, records=records.subset(kept))
        return decoded, [*rejected, *fields.bad.values()]

    def _scores(
        self, scores: Sequence[Any], predictions: Sequence[Any], groups: npt.NDArray[np.int64], fields: _Fields
    ) -> npt.NDArray[np.float64]:
        """The score of each event, NaN without one; of a score per class that of the positive class, else of the predicted one."""
        if self._score_shares:
            wrong = np.array([type(s) not in _SCORES and not _is(s, float) for s in scores], np.bool_)
            fields.refuse(wrong, "wrong_type", lambda i: f"score: found {scores[i]!r}, expected a number or an object")
            scores = [None if refused else s for s, refused in zip(scores, wrong.tolist(), strict=True)]
        try:
            return np.array(scores, np.float64)
        except TypeError:  # some are by class
            positives = [self.groups[group].model.settings.positive if group >= 0 else None for group in groups.tolist()]
            said = [said if positive is None else positive for positive, said in zip(positives, predictions, strict=True)]
            return np.array([_score(s, of) if type(s) is dict else s for s, of in zip(scores, said, strict=True)], np.float64)

    def _by_class(self, scores: Sequence[Any], groups: npt.NDArray[np.int64]) -> PackedScores:
        """The scores by class of each event, packed, where its model counts them."""
        models, known = np.full(groups.size, -1), groups >= 0
        models[known] = self.groups.table["model"][groups[known]]
        return self.class_scores.packed(scores, models)

    def _predicted_numbers(
        self, said: Sequence[Any], groups: npt.NDArray[np.int64], scores: npt.NDArray[np.float64], fields: _Fields
    ) -> npt.NDArray[np.float64]:
        """The scores, with the predictions of regressions in their place; those that are no usable numbers are refused."""
        known = np.flatnonzero(groups >= 0)
        mine = known[self._regression[self.groups.table["model"][groups[known]]]]
        predicted = scores.copy()
        predicted[mine] = _numbers([said[i] for i in mine.tolist()])
        _refuse_others(fields, "prediction", said, predicted, mine)
        return predicted

    def _groups_of(self, keys: Sequence[Sequence[Any] | Column], fields: _Fields) -> npt.NDArray[np.int64]:
        """The group of each event; -1 for unusable ones, whose versions and segments must not use up the limits."""
        if not fields.bad:
            return self.groups.of_events(keys)
        kept = fields.kept()
        groups = np.full(len(keys[0]), -1, np.int64)
        groups[kept] = self.groups.of_events([[part[i] for i in kept.tolist()] for part in keys])
        return groups

    def labels(self, messages: Messages, latest_ms: int, *, by_arrival: bool) -> tuple[Labels, list[Rejected]]:
        """The usable labels of a batch, and the rest. `by_arrival`: their clock is Kafka's timestamp, not their own."""
        index, records, rejected = self._label_schema.decode(messages.values)
        fields = _Fields(messages, index, records, self._settings.labels)
        column = {name: fields.column(name, *kind) for name, kind in _LABEL.items()}
        times = fields.times(column["timestamp"], latest_ms)
        if by_arrival:
            times = fields.times([messages.timestamps[i] for i in index.tolist()], latest_ms)
        values = _numbers(column["label"])
        if self._only_numbers:
            _refuse_others(fields, "label", column["label"], values, np.arange(values.size))
        decoded = Labels(
            index=index,
            times_ms=times,
            hashes=id_hashes(column["prediction_id"]),
            classes=self._classes.numbers(column["label"]),
            values=values,
        )
        if fields.bad:
            kept = fields.kept()
            decoded = Labels(*(getattr(decoded, name)[kept] for name in ("index", "times_ms", "hashes", "classes", "values")))
        return decoded, [*rejected, *fields.bad.values()]

    def feature_columns(
        self, slots: Sequence[FeatureSlot], records: Records, where: npt.NDArray[np.int64]
    ) -> tuple[list[Column], dict[str, list[int]]]:
        """The columns of these slots' features for the records at `where`, and which of them had a value of the wrong type."""
        names = [slot.feature.name for slot in slots]
        columns = records.columns([f"features.{name}" for name in names], where)
        invalid = {name: records.invalid(name, where) for name in names}
        for i, slot in enumerate(slots):
            if slot.feature.name in self._mixed:
                columns[i], wrong = _of_type(columns[i], _feature_type(slot.feature))
                invalid[slot.feature.name] += wrong
        return columns, invalid


def _mapped(kinds: Mapping[str, tuple[Any, bool]], mapping: PredictionFields | LabelFields) -> Iterator[tuple[str, Leaf]]:
    """A leaf for each field that stands in the JSON."""
    for name, (kind, required) in kinds.items():
        source: Source | None = getattr(mapping, name)
        if source and source.kind == "path":
            yield name, Leaf(source.path, kind, required, ignorable=name in _IGNORABLE)


def _member(mapping: Source | Mapping[str, Source], name: str) -> tuple[str, ...]:
    """Path of one feature or segment: below the mapped object, or mapped by itself; nowhere if it is not mapped at all."""
    if isinstance(mapping, Source):
        return (*mapping.path, name)
    return mapping[name].path if name in mapping else ("", name)


def _feature_type(feature: NumericFeature | CategoricalFeature) -> Any:
    if isinstance(feature, NumericFeature):
        return float
    return {"string": str, "integer": int, "boolean": bool}[feature.value_type]


def _of_type(column: Iterable[Any], kind: Any) -> tuple[list[Any], list[int]]:
    """The column with None for what is not of the type, and where that was."""
    kept = [x if _is(x, kind) else None for x in column]
    return kept, [i for i, (x, found) in enumerate(zip(column, kept, strict=True)) if found is None and x is not None]


def _is(x: Any, kind: Any) -> bool:
    """Whether a decoded value is of the type; a whole number is a float if a double can hold it."""
    return type(x) is kind or (kind is float and type(x) is int and -_LARGEST <= x <= _LARGEST)


def times_ms(values: Sequence[Any]) -> Times:
    """Epoch ms of each time, (n,), rounded down; -1 or the year 10 000 for those outside.

    The unit of a number follows from its size: s below 1e11 (year 5138), then ms, us, ns. It does not depend on the rest of the batch.
    """
    kinds = set(map(type, values))
    if kinds == {int}:
        try:
            x = np.array(values, np.int64)
        except OverflowError:
            x = np.array([value if 0 <= value < 2**63 else -1 for value in values], np.int64)
        return np.select([x < 0, x < 10**11, x < 10**14, x < 10**17], [x, x * 1000, x, x // 1000], x // 10**6)
    if len(kinds) == 1:
        return _inexact_times(values)
    times = np.empty(len(values), np.int64)
    for kind in kinds:
        where = [i for i, value in enumerate(values) if type(value) is kind]
        times[where] = times_ms([values[i] for i in where])
    return times


def _inexact_times(values: Sequence[float] | Sequence[datetime]) -> Times:
    """`times_ms` of dates or doubles, which say microseconds at best: rounded to them first, lest 0.123 s become 122 ms."""
    if isinstance(values[0], datetime):
        us = np.rint(np.array([value.timestamp() for value in values]) * 1e6)  # type: ignore[union-attr]
    else:
        x = np.clip(np.array(values, np.float64), -_FARTHEST, _FARTHEST)
        us = np.rint(np.select([x < 1e11, x < 1e14, x < 1e17], [x * 1e6, np.floor(x) * 1e3, x], x / 1e3))
    return np.where(us >= 0, np.minimum(np.floor(us / 1e3), _LATEST_MS), -1).astype(np.int64)  # NaN, which a header can say, is -1


def _numbers(values: Column | Sequence[Any]) -> npt.NDArray[np.float64]:
    """Each value as a double, NaN where it is not a number."""
    if isinstance(values, np.ndarray):
        return values
    kinds = set(map(type, values))
    if kinds == {float}:
        return np.array(values, np.float64)
    if kinds.isdisjoint((int, float)):  # classes are mostly texts
        return np.full(len(values), np.nan)
    return np.array([x if _is(x, float) else np.nan for x in values], np.float64)


def _refuse_others(fields: _Fields, name: str, said: Sequence[Any], values: npt.NDArray[np.float64], where: npt.NDArray[np.int64]) -> None:
    """The records at `where` whose value is no number that a regression can have are unusable."""
    wrong = np.zeros(values.size, np.bool_)
    wrong[where] = ~(np.abs(values[where]) <= NUMBERS_MAX)
    rule = f"expected a number from -{NUMBERS_MAX:g} to {NUMBERS_MAX:g}: it is a regression's"
    fields.refuse(wrong, "wrong_type", lambda i: f"{name}: found {said[i]!r}, {rule}")


def _small(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Each number as a float32, NaN for none and for what is beyond."""
    return np.where(np.abs(x) <= np.finfo(np.float32).max, x, np.nan).astype(np.float32)


def _score(by_class: Mapping[str, float], predicted: Any) -> float:
    return by_class.get(str(predicted).lower() if type(predicted) is bool else str(predicted), np.nan)
