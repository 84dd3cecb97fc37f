"""Bytes to typed records: structs generated from the fields that are read, a fast path, and a slow one that explains.

The fast path decodes straight into the structs. A message that it refuses is looked at again, precisely: a feature of the wrong type
costs only that value, anything else the whole message, which is rejected with a reason. Knows JSON and types, nothing of models or time.
"""

import functools
import itertools
import json
import math
import operator
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import msgspec
import numpy as np
import numpy.typing as npt
import orjson

Reason = Literal[
    "malformed_json", "not_finite", "missing_field", "wrong_type", "unknown_model", "bad_time", "future_time", "too_large", "poison"
]

REASONS: Final[tuple[Reason, ...]] = get_args(Reason)
DETAIL_MAX: Final = 300  # characters of a rejection's detail
CHUNK: Final = 256  # records taken apart at once: their structs are still in the processor's cache, which halves what decoding costs
_NUMBER_SHOWN: Final = 30  # digits of a number in it
_ESCAPED: Final = re.compile(r'["\\\x00-\x1f]')  # what JSON escapes: msgspec has no fields with such names


class FieldMappingError(ValueError):
    """Fields of an event are mapped to places that cannot be read, or not both."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that cannot be counted: its index in the batch, and why."""

    index: int
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Leaf:
    """One value of an event: its path in the JSON, its type, and whether the event is worth nothing without it.

    A value of the wrong type costs the event, except that of a `feature`, which is noted, and one that is `ignorable`.
    """

    path: tuple[str, ...]
    type: Any
    required: bool = False
    feature: str | None = None
    ignorable: bool = False


Column = list[Any] | npt.NDArray[np.float64]


class _Refused(Exception):
    def __init__(self, reason: Reason, detail: str) -> None:
        self.reason, self.detail = reason, detail


class Records:
    """The columns of a batch; `invalid` names, per feature, the records whose value had the wrong type.

    A column is (n,) float64 with NaN for None where only a number is read from its place, else a list.
    """

    def __init__(self, columns: dict[str, Column], invalid: dict[str, list[int]]) -> None:
        self._columns, self._invalid = columns, invalid

    def columns(self, names: Sequence[str], where: npt.NDArray[np.int64] | None = None) -> list[Column]:
        """The columns of these leaves, of all records or those at `where`, ascending."""
        columns = [self._columns[name] for name in names]
        return columns if where is None else [_at(column, where) for column in columns]

    def subset(self, kept: npt.NDArray[np.int64]) -> "Records":
        """The records at these positions."""
        place = {old: new for new, old in enumerate(kept.tolist())}
        invalid = {feature: [place[i] for i in wrong if i in place] for feature, wrong in self._invalid.items()}
        return Records({name: _at(column, kept) for name, column in self._columns.items()}, invalid)

    def invalid(self, feature: str, where: npt.NDArray[np.int64]) -> list[int]:
        """Positions in `where` of the records whose value of the feature had the wrong type."""
        wrong = self._invalid.get(feature)
        return np.flatnonzero(np.isin(where, wrong)).tolist() if wrong else []


def _put(column: npt.NDArray[np.float64], values: tuple[float | None, ...]) -> None:
    """Write numbers, NaN for None: packed where there is none, which takes less than half of the time."""
    try:
        struct.pack_into(f"{len(values)}d", column.data, 0, *values)
    except struct.error:
        column[:] = values


def _at(column: Column, where: npt.NDArray[np.int64]) -> Column:
    if where.size == len(column):
        return column
    return column[where] if isinstance(column, np.ndarray) else [column[i] for i in where.tolist()]


class Schema:
    """Structs generated from leaves, and the two ways to decode into them."""

    def __init__(self, leaves: Mapping[str, Leaf], max_bytes: int) -> None:
        self._leaves, self._max_bytes = leaves, max_bytes
        self.attributes: dict[str, str] = {}
        self._root = self._struct((), list(leaves.items()))
        self._places: dict[tuple[int, ...], dict[str, int]] = {}  # of each object: the position of each leaf in it
        self._objects: dict[tuple[int, ...], set[int]] = {}  # of each object: the positions of the objects in it
        for name, path in self.attributes.items():
            *objects, position = (int(field[1:]) for field in path.split("."))
            self._places.setdefault(tuple(objects), {})[name] = position
            for depth, inner in enumerate(objects):
                self._objects.setdefault(tuple(objects[:depth]), set()).add(inner)
        mixed = {path for name, path in self.attributes.items() if leaves[name].type is not float}
        self._numeric = {name for name, path in self.attributes.items() if path not in mixed}
        self._decode = msgspec.json.Decoder(self._root).decode

    def _struct(self, at: tuple[str, ...], leaves: list[tuple[str, Leaf]]) -> type[msgspec.Struct]:
        """The struct for the JSON object at the path `at`; fills in the attribute path of each leaf below it."""
        fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
        rename: dict[str, str] = {}
        depth = len(at)
        by_key: dict[str, list[tuple[str, Leaf]]] = {}
        for name, leaf in leaves:
            by_key.setdefault(leaf.path[depth], []).append((name, leaf))
        for key, below in by_key.items():
            if _ESCAPED.search(key):
                raise FieldMappingError(
                    f"cannot map event fields: {'.'.join((*at, key))!r} has a quote, a backslash or a control character, "
                    "expected none; map the field to another place"
                )
            attribute = f"f{len(fields)}"
            rename[attribute] = key
            ends = [leaf for _, leaf in below if len(leaf.path) == depth + 1]
            if ends and len(ends) < len(below):
                raise FieldMappingError(
                    f"cannot map event fields: {'.'.join((*at, key))!r} is read both as a value and as an object; map one of them"
                )
            if not ends:
                child = self._struct((*at, key), below)
                required = any(leaf.required for _, leaf in below)
                fields.append((attribute, child) if required else (attribute, child, msgspec.field(default_factory=child)))
                for name, _ in below:
                    self.attributes[name] = f"{attribute}.{self.attributes[name]}"
                continue
            kind = functools.reduce(operator.or_, (leaf.type for leaf in ends))
            fields.append((attribute, kind) if any(leaf.required for leaf in ends) else (attribute, kind | None, None))
            self.attributes.update(dict.fromkeys((name for name, _ in below), attribute))
        return msgspec.defstruct("Event", fields, rename=rename, kw_only=True, gc=False)

    def decode(self, values: Sequence[bytes | None]) -> tuple[npt.NDArray[np.int64], Records, list[Rejected]]:
        """Index of each usable message, its record, and the messages that are not usable."""
        rejected: list[Rejected] = []
        invalid: dict[str, list[int]] = {}
        try:
            if max(map(len, values), default=0) <= self._max_bytes:  # type: ignore[arg-type]  # a tombstone raises TypeError
                structs = map(self._decode, values)  # type: ignore[arg-type]
                return np.arange(len(values)), Records(self._columns(structs, len(values)), invalid), rejected
        except (msgspec.DecodeError, TypeError, UnicodeError, RecursionError):
            pass
        index: list[int] = []
        found: list[Any] = []
        for i, value in enumerate(values):
            try:
                struct, wrong = self._decode_one(value)
            except _Refused as refused:
                rejected.append(Rejected(i, refused.reason, refused.detail[:DETAIL_MAX]))
                continue
            for feature in wrong:
                invalid.setdefault(feature, []).append(len(index))
            index.append(i)
            found.append(struct)
        return np.array(index, np.int64), Records(self._columns(iter(found), len(index)), invalid), rejected

    def _columns(self, structs: Iterator[Any], n: int) -> dict[str, Column]:
        """The column of each leaf."""
        columns: dict[str, Column] = {name: np.empty(n) if name in self._numeric else [] for name in self._leaves}
        for start in range(0, n, CHUNK):
            self._take_apart((), list(itertools.islice(structs, CHUNK)), start, columns)
        return columns

    def _take_apart(self, at: tuple[int, ...], objects: Sequence[Any], start: int, columns: dict[str, Column]) -> None:
        """Add the fields of the structs at the place `at`: all at once, as a struct costs a third of what its fields cost one by one."""
        fields = list(zip(*map(msgspec.structs.astuple, objects), strict=True))
        for name, position in self._places.get(at, {}).items():
            column = columns[name]
            if isinstance(column, list):
                column += fields[position]
            else:
                _put(column[start : start + len(objects)], fields[position])
        for position in self._objects.get(at, ()):
            self._take_apart((*at, position), fields[position], start, columns)

    def _decode_one(self, value: bytes | None) -> tuple[Any, list[str]]:
        if value is None:
            raise _Refused("malformed_json", "the message has no value")
        if len(value) > self._max_bytes:
            raise _Refused("too_large", f"{len(value)} bytes, expected at most {self._max_bytes}")
        try:
            return self._decode(value), []
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return self._decode_slowly(value)

    def _decode_slowly(self, value: bytes) -> tuple[Any, list[str]]:
        try:
            orjson.loads(value)  # says best what is wrong, but turns integers beyond 64 bits into doubles
            document = msgspec.json.decode(value)
        except (orjson.JSONDecodeError, msgspec.DecodeError, RecursionError) as error:
            raise _why_not_json(value, error) from None
        if not isinstance(document, dict):
            raise _Refused("wrong_type", f"the event is a JSON {_json_type(document)}, expected an object")
        found: dict[str, Any] = {}
        wrong: list[str] = []
        for name, leaf in self._leaves.items():
            try:
                found[name] = _read(document, leaf)
            except _Refused:
                if leaf.feature is None and not leaf.ignorable:
                    raise
                found[name] = None
                if leaf.feature is not None:
                    wrong.append(leaf.feature)
        present = {self.attributes[name]: x for name, x in found.items() if x is not None}  # fields that share a path may differ in type
        return self._build(self._root, "", present), wrong

    def _build(self, struct: type[msgspec.Struct], prefix: str, values: Mapping[str, Any]) -> Any:
        fields = {}
        for field in msgspec.structs.fields(struct):
            path = prefix + field.name
            nested = isinstance(field.type, type) and issubclass(field.type, msgspec.Struct)
            fields[field.name] = self._build(field.type, path + ".", values) if nested else values.get(path)
        return struct(**fields)


def _read(document: dict[str, Any], leaf: Leaf) -> Any:
    """The value of a leaf, or _Refused: missing, or not of its type."""
    at: Any = document
    for depth, key in enumerate(leaf.path):
        if at is None:
            break
        if not isinstance(at, dict):
            raise _Refused("wrong_type", f"{'.'.join(leaf.path[:depth])} is a JSON {_json_type(at)}, expected an object")
        at = at.get(key)
    if at is None:
        if leaf.required:
            raise _Refused("missing_field", f"{'.'.join(leaf.path)} is absent or null, expected a value")
        return None
    try:
        return msgspec.convert(at, leaf.type)
    except (msgspec.ValidationError, OverflowError) as error:
        raise _Refused("wrong_type", f"{'.'.join(leaf.path)}: {error}") from None


def _why_not_json(value: bytes, error: Exception) -> _Refused:
    """NaN and Infinity are not JSON, but many writers think so, and they deserve a name of their own; as do numbers no double can hold."""

    def refuse(constant: str) -> None:
        raise _Refused("not_finite", f"{constant} is not JSON; send null for a missing value")

    def check(number: str) -> None:
        if math.isinf(float(number)):
            raise _Refused("not_finite", f"{number[:_NUMBER_SHOWN]} is beyond the range of a double")

    try:
        json.loads(value, parse_constant=refuse, parse_float=check, parse_int=check)
    except _Refused as refused:
        return refused
    except (ValueError, RecursionError):
        pass
    return _Refused("malformed_json", str(error))


def _json_type(value: Any) -> str:
    names = {type(None): "null", bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return names[type(value)]
