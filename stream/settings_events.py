"""Where the fields of an event stand: in the JSON, in Kafka's key, headers and timestamp, or in the configuration itself.

The settings alone; `events.py` follows them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, SkipValidation

from stream.settings_values import Section, broken, printable, reads, refuse, size


@dataclass(frozen=True, slots=True)
class Source:
    """Where a field of an event stands. `argument`: the dotted path, the header's name, or the constant; else empty."""

    kind: Literal["path", "key", "timestamp", "header", "const"]
    argument: str = ""

    @property
    def path(self) -> tuple[str, ...]:
        """The keys that lead to the field in the JSON."""
        assert self.kind == "path"
        return tuple(self.argument.split("."))


def source(text: str) -> Source:
    """The source that `text` names.

    >>> source("payload.tx.amount").path
    ('payload', 'tx', 'amount')
    >>> source("kafka:header:model")
    Source(kind='header', argument='model')
    """
    match text.split(":", 1):
        case ["kafka", "key"]:
            return Source("key")
        case ["kafka", "timestamp"]:
            return Source("timestamp")
        case ["kafka", header] if header.startswith("header:"):
            return Source("header", printable(header.removeprefix("header:")))
        case ["const", constant]:
            return Source("const", printable(constant))
        case [path] if all(path.split(".")):
            return Source("path", printable(path))
    raise ValueError(text)


_SOURCE_RULE = "a dotted path in the JSON (a.b, without a colon), kafka:key, kafka:timestamp, kafka:header:NAME or const:TEXT"
_PATH_RULE = "a dotted path in the JSON (a.b, without a colon)"


def _path(value: object) -> Source:
    found = source(value) if isinstance(value, str) else None
    if found is None or found.kind != "path":
        raise ValueError(value)
    return found


def _fields(value: object) -> Source | Mapping[str, Source]:
    """One path to an object, or a path for each of its fields."""
    if not isinstance(value, Mapping):
        try:
            return _path(value)
        except ValueError:
            raise broken(f"{_PATH_RULE}, or a mapping of names to such paths") from None
    problems, found = [], {}
    for name, path in value.items():
        try:
            found[printable(name)] = _path(path)
        except ValueError:
            problems.append(((name,), f"{_PATH_RULE}, under a printable name"))
    refuse(problems)
    return found


def _varying(value: Source) -> Source:
    if value.kind == "const":
        raise broken("a source that differs between events, so not const:TEXT")
    return value


AnySource = Annotated[Source, reads(_SOURCE_RULE, source)]
VaryingSource = Annotated[AnySource, AfterValidator(_varying)]
FieldSources = Annotated[SkipValidation[Source | Mapping[str, Source]], BeforeValidator(_fields)]


class PredictionFields(Section):
    prediction_id: VaryingSource = Source("path", "prediction_id")
    timestamp: VaryingSource = Source("path", "timestamp")
    model: AnySource = Source("path", "model")
    version: AnySource = Source("path", "version")
    prediction: VaryingSource = Source("path", "prediction")
    score: VaryingSource = Source("path", "score")
    features: FieldSources = Source("path", "features")
    segments: FieldSources = Source("path", "segments")
    latency_ms: VaryingSource = Source("path", "latency_ms")
    value: VaryingSource | None = None  # no number is read unless it is named: many events have a value that is something else


class LabelFields(Section):
    prediction_id: VaryingSource = Source("path", "prediction_id")
    timestamp: VaryingSource = Source("path", "timestamp")
    label: VaryingSource = Source("path", "label")


class EventSettings(Section):
    # A message goes out whole as a late event, or in base64 as a dead letter: 680 KiB still fit Kafka's default message of 1 MB then.
    max_bytes: Annotated[int, size("1KiB", "680KiB")] = 512 << 10
    predictions: PredictionFields = PredictionFields()
    labels: LabelFields = LabelFields()
