"""An event as Python's own json module reads it, and what the decoder must then make of it.

Only JSON that has one meaning is read: what has more (a key twice, garbled text, numbers beyond a double) raises `NotPlain`, and the
decoder may keep or refuse it.
"""

import json
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from tests.builders import MODEL

BYTES_MAX = 512 << 10  # `events.max_bytes` by default
FEATURE_TYPES: dict[str, type] = {"amount": float, "country": str, "channel": int, "new": bool}


class NotPlain(Exception):
    """The message has no one meaning to compare with."""


@dataclass(frozen=True, slots=True)
class Read:
    """A usable event. `features`: None where absent; `invalid`: those of the wrong type."""

    id: str
    time_ms: int
    said: int
    score: float = math.nan
    version: str = ""
    plan: str = ""
    features: tuple[Any, ...] = ()
    invalid: tuple[str, ...] = ()


def document(value: bytes | None) -> Any:
    """The JSON of a message; ValueError if it is none."""
    if value is None:
        raise ValueError("a tombstone")
    if len(value) > BYTES_MAX:
        raise ValueError("too large")
    try:
        found = json.loads(value.decode(), parse_constant=_refuse, parse_int=_whole, parse_float=_number, object_pairs_hook=_object)
        json.dumps(found, ensure_ascii=False).encode()
        deep = _depth(found) > 50
    except (UnicodeError, RecursionError):
        raise NotPlain from None
    if deep:
        raise NotPlain
    return found


def prediction(value: bytes | None, latest_ms: int) -> Read | None:
    """What a prediction must be read as; None if it must be refused."""
    try:
        event = _mapping(document(value))
        features, segments = event.get("features"), event.get("segments")
        kept, invalid = _features({} if features is None else features)
        return Read(
            id=str(_typed(event.get("prediction_id"), str, int)),
            time_ms=_time(event.get("timestamp"), latest_ms),
            said=_class(event.get("prediction")),
            score=_score(event.get("score"), event.get("prediction"), _typed(event.get("model"), str)),
            version=_text(event.get("version"), "unversioned", str, int, float),
            plan=_text(_mapping({} if segments is None else segments).get("plan"), "(none)", str, int, float, bool),
            features=kept,
            invalid=invalid,
        )
    except ValueError:
        return None


def label(value: bytes | None, latest_ms: int) -> Read | None:
    """What a label must be read as; None if it must be refused."""
    try:
        event = _mapping(document(value))
        id_ = str(_typed(event.get("prediction_id"), str, int))
        return Read(id_, _time(event.get("timestamp"), latest_ms), _class(event.get("label")))
    except ValueError:
        return None


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _whole(text: str) -> int:
    if len(text) > 300:
        raise NotPlain
    return int(text)


def _number(text: str) -> float:
    if math.isinf(number := float(text)):
        raise NotPlain
    return number


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(found := dict(members)) < len(members):
        raise NotPlain
    return found


def _depth(value: Any) -> int:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, children), default=0)


def _mapping(value: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise ValueError(value)
    return value


def _typed(value: Any, *types: type) -> Any:
    """The value if it is of one of these types, to the letter: true is no 1."""
    if type(value) not in types:
        raise ValueError(value)
    return value


def _text(value: Any, absent: str, *types: type) -> str:
    if value is None:
        return absent
    text = str(_typed(value, *types))
    return text.lower() if type(value) is bool else text


def _class(value: Any) -> int:
    """The position among the classes 0 and 1; 2 for every other."""
    _typed(value, str, int, float, bool)
    return next((i for i, known in enumerate((("0", 0), ("1", 1))) if value in known), 2)


def _time(value: Any, latest_ms: int) -> int:
    if type(value) is str:
        raise NotPlain  # dates have tests of their own
    exact = Fraction(_typed(value, int, float))
    unit = next((unit for below, unit in ((10**11, 1000), (10**14, 1)) if exact < below), None)
    ms = exact * unit if unit else exact / (1000 if exact < 10**17 else 10**6)
    if type(value) is float and (abs(ms) < 1 or abs(ms - latest_ms) < 1):
        raise NotPlain  # a double is rounded to microseconds first
    if not 0 <= ms <= latest_ms:
        raise ValueError(value)
    return math.floor(ms)


def _score(value: Any, said: Any, model: str) -> float:
    if model != MODEL:
        raise ValueError(model)
    if type(value) is not dict:
        return math.nan if value is None else float(_typed(value, int, float))
    numbers = {key: float(_typed(number, int, float)) for key, number in value.items()}
    return numbers.get(str(said).lower() if type(said) is bool else str(said), math.nan)


def _features(features: Any) -> tuple[tuple[Any, ...], tuple[str, ...]]:
    """The value of each feature, and the features whose value is of the wrong type."""
    if type(features) is not dict:
        return (None,) * len(FEATURE_TYPES), tuple(FEATURE_TYPES)
    found = [features.get(name) for name in FEATURE_TYPES]
    fits = [type(x) is kind or (kind is float and type(x) is int) for x, kind in zip(found, FEATURE_TYPES.values(), strict=True)]
    wrong = tuple(name for name, x, fit in zip(FEATURE_TYPES, found, fits, strict=True) if not fit and x is not None)
    return tuple(x if fit else None for x, fit in zip(found, fits, strict=True)), wrong
