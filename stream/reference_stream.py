"""Rows for a reference from events: which of them are of a model, version and period, and where their fields stand.

Reading them from Kafka is in `history`, what becomes of the rows in `reference_build`.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import msgspec

from stream.events import times_ms
from stream.results import timestamp
from stream.settings_events import PredictionFields, Source
from stream.settings_values import duration_ms


@dataclass(frozen=True, slots=True)
class Period:
    """Event time `[start_ms, end_ms)`; a bound that is None is open."""

    start_ms: int | None
    end_ms: int | None

    def contains(self, ms: int) -> bool:
        """Whether the time lies within."""
        return (self.start_ms is None or ms >= self.start_ms) and (self.end_ms is None or ms < self.end_ms)


class InvalidPeriodError(ValueError):
    """The bounds of a period that cannot be read, or hold nothing."""


def period(start: str | None, end: str | None, length: str | None, oldest_ms: Callable[[], int | None]) -> Period:
    """The period from `start` to `end`, RFC 3339, or of a `length` such as "24h" from the start on.

    Args:
        oldest_ms: the time of the oldest event, asked for where a length has no start.
    Raises:
        InvalidPeriodError: a bound cannot be read, both end and length are given, or the period is empty.
    """
    start_ms, end_ms = _bound("--from", start), _bound("--to", end)
    if length is not None:
        if end is not None:
            raise InvalidPeriodError(f"--for {length!r} and --to {end!r}: expected one of them")
        try:
            length_ms = duration_ms(length)
        except ValueError:
            raise InvalidPeriodError(f"--for {length!r}: expected a duration with its unit, such as 24h or 7d") from None
        start_ms = oldest_ms() if start_ms is None else start_ms
        end_ms = None if start_ms is None else start_ms + length_ms
    if start_ms is not None and end_ms is not None and start_ms >= end_ms:
        raise InvalidPeriodError(f"--from {start!r} and --to {end!r}: expected an end after the start")
    return Period(start_ms, end_ms)


def _bound(option: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return int(times_ms([msgspec.convert(text, Annotated[datetime, msgspec.Meta(tz=True)])])[0])
    except msgspec.ValidationError:
        raise InvalidPeriodError(f"{option} {text!r}: expected a time as RFC 3339 has it, such as 2026-11-20T00:00:00Z") from None


@dataclass(slots=True)
class Recorded:
    """How many predictions were taken as rows, were of other models or versions, lay outside the period, or could not be read."""

    rows: int = 0
    others: int = 0
    outside: int = 0
    unusable: int = 0
    first_ms: int | None = None
    last_ms: int | None = None

    def __str__(self) -> str:
        span = "" if self.first_ms is None or self.last_ms is None else f" from {timestamp(self.first_ms)} to {timestamp(self.last_ms)}"
        return (
            f"{self.rows} predictions{span} taken, {self.others} of other models or versions, {self.outside} outside the period, "
            f"{self.unusable} unreadable"
        )


class Rows:
    """The predictions of a model as rows for `build_reference`: prediction, score and features, wherever the events have them."""

    def __init__(self, fields: PredictionFields, model: str, version: str | None, period: Period) -> None:
        """`version` None: of all versions."""
        self._fields, self._model, self._version, self._period = fields, model, version, period
        self.recorded = Recorded()

    def of(self, message: Any) -> bytes | None:
        """The row of a message as JSON; None if it is not one."""
        try:
            document = msgspec.json.decode(message.value() or b"")
            model, version = (_value(source, document, message) for source in (self._fields.model, self._fields.version))
            at_ms = _time_ms(self._fields.timestamp, document, message)
        except (msgspec.DecodeError, ValueError, RecursionError):
            self.recorded.unusable += 1
            return None
        if model != self._model or (self._version is not None and str(version) != self._version):
            self.recorded.others += 1
        elif not self._period.contains(at_ms):
            self.recorded.outside += 1
        else:
            return self._row(document, message, at_ms)
        return None

    def _row(self, document: Any, message: Any, at_ms: int) -> bytes:
        self.recorded.rows += 1
        self.recorded.first_ms = at_ms if self.recorded.first_ms is None else min(self.recorded.first_ms, at_ms)
        self.recorded.last_ms = at_ms if self.recorded.last_ms is None else max(self.recorded.last_ms, at_ms)
        score = _value(self._fields.score, document, message)
        row: dict[str, Any] = {"prediction": _value(self._fields.prediction, document, message)}
        if isinstance(score, (int, float)) or score is None:  # of a score per class that of the predicted one is what is compared
            row["score"] = score
        elif isinstance(score, dict):
            row["score"] = score.get(str(row["prediction"]))
        features = self._fields.features
        if isinstance(features, Source):
            row["features"] = _at(document, features.path)
        else:
            row["features"] = {name: _at(document, source.path) for name, source in features.items()}
        return msgspec.json.encode(row)


def _value(source: Source, document: Any, message: Any) -> Any:
    match source.kind:
        case "path":
            return _at(document, source.path)
        case "const":
            return source.argument
        case "timestamp":
            return message.timestamp()[1]
        case "key":
            return None if message.key() is None else message.key().decode()
        case "header":
            value = dict(message.headers() or ()).get(source.argument)
            return None if value is None else value.decode()


def _at(document: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        document = document.get(key) if isinstance(document, Mapping) else None
    return document


def oldest_ms(fields: PredictionFields, messages: Iterable[Any]) -> int | None:
    """The least event time of some messages, of those that can be read."""
    found = []
    for message in messages:
        with suppress(msgspec.DecodeError, ValueError, RecursionError):
            found.append(_time_ms(fields.timestamp, msgspec.json.decode(message.value() or b""), message))
    return min(found, default=None)


def _time_ms(source: Source, document: Any, message: Any) -> int:
    """The event's time. Raises msgspec.ValidationError."""
    time = msgspec.convert(_value(source, document, message), int | float | datetime, strict=False)
    return int(times_ms([time])[0])
