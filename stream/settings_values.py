"""Scalar types of the configuration: durations, sizes, names, addresses. Each is one rule and one function.

In the file every scalar is text (`settings_file`); what it means is decided here, by the place it stands at. The rule in the
message and the check are built side by side, so that they cannot disagree. Nothing here knows the tree.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, SecretStr, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

KeyPath = tuple[str | int, ...]

_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_UNIT_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_LONGEST_MS = 3_650 * _UNIT_MS["d"]  # ten years: sums of a few of them with an epoch time stay far inside int64


class Section(BaseModel):
    """A mapping of the file with fixed keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _empty_means_default(cls, value: object) -> object:
        """A key without a value counts as absent, so that a section whose keys are all commented out is still valid."""
        if value is None:
            return {}
        if not isinstance(value, dict):
            return value
        known = cls.key_names()
        return {key: child for key, child in value.items() if child is not None or key not in known}

    @classmethod
    def key_names(cls) -> list[str]:
        """The keys as they are written in the file."""
        return [field.alias or name for name, field in cls.model_fields.items()]


def broken(rule: str) -> PydanticCustomError:
    """The error of a value that breaks `rule`, a phrase that follows the word "expected"."""
    return PydanticCustomError("rule", "expected {rule}", {"rule": rule})


def refuse(problems: Iterable[tuple[KeyPath, str]]) -> None:
    """Raises one error per (key path below the validated value, rule); nothing for none."""
    errors = [InitErrorDetails(type=broken(rule), loc=path, input=None) for path, rule in problems]
    if errors:
        raise ValidationError.from_exception_data("settings", errors, hide_input=True)


def reads(rule: str, read: Callable[[str], object]) -> BeforeValidator:
    """A field whose text is read by `read`; where that raises ValueError the message is `rule`.

    A file holds nothing but text: whatever else is a scalar comes from code and is taken as it is.
    """

    def parse(value: object) -> object:
        if isinstance(value, list | dict | None):
            raise broken(rule)
        try:
            return read(value) if isinstance(value, str) else value
        except ValueError:
            raise broken(rule) from None

    return BeforeValidator(parse)


def duration_ms(text: str) -> int:
    """Milliseconds of a duration.

    >>> duration_ms("500ms"), duration_ms("7d")
    (500, 604800000)
    """
    return _quantity(text, _UNIT_MS)


def duration_text(ms: int) -> str:
    """The shortest text that `duration_ms` reads back.

    >>> duration_text(90_000), duration_text(600_000), duration_text(0)
    ('90s', '10m', '0s')
    """
    unit = next((unit for unit in ("d", "h", "m", "s") if ms % _UNIT_MS[unit] == 0), "ms") if ms else "s"
    return f"{ms // _UNIT_MS[unit]}{unit}"


def _quantity(text: str, units: Mapping[str, int]) -> int:
    match = re.fullmatch(r"([0-9]{1,15})([A-Za-z]+)", text)
    if match is None or match[2] not in units:
        raise ValueError(text)
    return int(match[1]) * units[match[2]]


def _whole_number(text: str) -> int:
    if re.fullmatch(r"[0-9]{1,15}", text) is None:
        raise ValueError(text)
    return int(text)


def _within(read: Callable[[str], int], low: int, high: int) -> Callable[[str], int]:
    def check(text: str) -> int:
        value = read(text)
        if not low <= value <= high:
            raise ValueError(text)
        return value

    return check


def whole(low: int, high: int) -> BeforeValidator:
    """A whole number of `low` to `high`, both included."""
    return reads(f"a whole number from {low} to {high}", _within(_whole_number, low, high))


def duration(low: str, high: str = "3650d") -> BeforeValidator:
    """A duration of `low` to `high`, both included."""
    rule = f"a duration from {low} to {high} with its unit, such as 500ms, 5s, 10m, 1h or 7d"
    return reads(rule, _within(duration_ms, duration_ms(low), min(duration_ms(high), _LONGEST_MS)))


def duration_or(*words: str, low: str) -> BeforeValidator:
    """A duration of at least `low`, or one of these words."""
    within = _within(duration_ms, duration_ms(low), _LONGEST_MS)
    rule = ", or ".join((f"a duration from {low} to 3650d with its unit, such as 500ms, 5s, 10m, 1h or 7d", *words))
    return reads(rule, lambda text: text if text in words else within(text))


def size(low: str, high: str) -> BeforeValidator:
    """A size of `low` to `high`, both included."""

    def read(text: str) -> int:
        return _quantity(text, _UNIT_BYTES)

    return reads(f"a size from {low} to {high} with its unit, such as 64KiB or 1MiB", _within(read, read(low), read(high)))


def _above_zero(high: float, *words: str) -> Callable[[str], object]:
    def read(text: str) -> object:
        value = text if text in words else float(text)
        if isinstance(value, float) and not 0 < value <= high:  # refuses nan as well
            raise ValueError(text)
        return value

    return read


def number(high: float) -> BeforeValidator:
    """A number over 0 and up to `high`."""
    return reads(f"a number over 0 and up to {high:g}", _above_zero(high))


def between(low: float, high: float, *words: str) -> BeforeValidator:
    """A number from `low` to `high`, both included, or one of these words."""

    def read(text: str) -> object:
        value = text if text in words else float(text)
        if isinstance(value, float) and not low <= value <= high:  # refuses nan as well
            raise ValueError(text)
        return value

    return reads(", or ".join((f"a number from {low:g} to {high:g}", *words)), read)


def limit(high: float) -> BeforeValidator:
    """A threshold over 0 and up to `high`, or "off"."""
    return reads(f"a number over 0 and up to {high:g}, or off", _above_zero(high, "off"))


def limit_duration(high: str) -> BeforeValidator:
    """A threshold in ms, in the file a duration of 1ms to `high`, or "off"."""
    within = _within(duration_ms, 1, duration_ms(high))
    rule = f"a duration from 1ms to {high} with its unit, such as 50ms or 2s, or off"
    return reads(rule, lambda text: text if text == "off" else float(within(text)))


def limit_or_auto(high: float) -> BeforeValidator:
    """A threshold over 0 and up to `high`, "off", or "auto"."""
    return reads(f"a number over 0 and up to {high:g}, off or auto", _above_zero(high, "off", "auto"))


def switch(text: str) -> bool:
    """Whether `text` says yes."""
    words = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
    if text.lower() not in words:
        raise ValueError(text)
    return words[text.lower()]


def _matching(pattern: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise ValueError(text)
        return text

    return read


def _file_path(text: str) -> Path:
    if not text.isprintable() or not text:
        raise ValueError(text)
    return Path(text)


def printable(text: str, refused: str = "") -> str:
    """`text`; ValueError unless it is fit for messages, keys and labels, and without the characters `refused`."""
    if not text.isprintable() or not 1 <= len(text) <= 200 or text != text.strip() or any(character in text for character in refused):
        raise ValueError(text)
    return text


def _key(value: object) -> str:
    if not isinstance(value, str):
        raise broken(_NAME_RULE)
    try:
        return printable(value, "|")
    except ValueError:
        raise broken(_NAME_RULE) from None


def _segment(value: object) -> tuple[str, ...]:
    """The keys of a segment: one, or those of a list; commas then part them in the segment's name."""
    if not isinstance(value, list | tuple):
        return (_key(value),)
    try:
        keys = tuple(printable(_key(key), ",") for key in value)
    except (ValueError, PydanticCustomError):
        keys = ()
    if not 0 < len(keys) == len(set(keys)):
        raise broken("a key, or a list of keys to be crossed: different names without '|' and ','")
    return keys


def _class_name(text: str) -> str:
    if text == "(other)":
        raise ValueError(text)
    return printable(text)


def _topic(text: str) -> str:
    if text in (".", ".."):
        raise ValueError(text)
    return _matching(r"[A-Za-z0-9._-]{1,249}")(text)


def _broker(text: str) -> str:
    match = re.fullmatch(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})", text)
    if match is None or not 1 <= int(match[1]) <= 65535:
        raise ValueError(text)
    return text


def _brokers(text: str) -> str:
    return ",".join(_broker(broker.strip()) for broker in text.split(","))


def _redis_url(text: str) -> SecretStr:
    url = urlsplit(_matching(r"[!-~]+")(text))
    whole_host = url.hostname is not None and url.port != 0 and re.fullmatch(r"/?|/[0-9]{1,5}", url.path) is not None
    whole_socket = not url.hostname and len(url.path) > 1
    if not {"redis": whole_host, "rediss": whole_host, "unix": whole_socket}.get(url.scheme, False):
        raise ValueError(text)
    return SecretStr(text)


# Options of librdkafka that exactly-once counting stands on, and those that have a key of their own.
_OWNED_OPTIONS = dict.fromkeys(
    (
        *("enable.auto.commit", "enable.auto.offset.store", "enable.partition.eof", "partition.assignment.strategy", "group.protocol"),
        *("group.instance.id", "enable.idempotence", "acks", "request.required.acks", "transactional.id"),
    ),
    "which driftstream sets itself",
) | {
    "bootstrap.servers": "which is kafka.brokers here",
    "metadata.broker.list": "which is kafka.brokers here",
    "group.id": "which is kafka.group here",
    "auto.offset.reset": "which is kafka.start here",
}


def _option_name(key: object) -> object:
    if key in _OWNED_OPTIONS:
        raise broken(f"an option of librdkafka other than this one, {_OWNED_OPTIONS[key]}")
    return key


_TEXT_RULE = "printable text of 1 to 200 characters without space at either end"

Text = Annotated[str, reads(_TEXT_RULE, printable)]
_NAME_RULE = _TEXT_RULE + " and without '|', which Redis keys use"
Name = Annotated[str, reads(_NAME_RULE, lambda text: printable(text, "|"))]
SegmentKeys = Annotated[tuple[str, ...], BeforeValidator(_segment)]
ClassName = Annotated[str, reads(_TEXT_RULE + ", other than (other)", _class_name)]
Topic = Annotated[str, reads("a Kafka topic name: 1 to 249 of letters, digits, '.', '_' and '-', not '.' or '..'", _topic)]
Brokers = Annotated[str, reads("host:port, or several with commas between", _brokers)]
RedisUrl = Annotated[SecretStr, reads("redis://host:port/db, rediss://host:port/db or unix:///path", _redis_url)]
Namespace = Annotated[str, reads("1 to 100 of letters, digits, '.', '_' and '-'", _matching(r"[A-Za-z0-9._-]{1,100}"))]
Host = Annotated[str, reads("a host name or an IP address", _matching(r"[A-Za-z0-9._:-]{1,253}"))]
FilePath = Annotated[Path, reads("the path of a file", _file_path)]
Switch = Annotated[bool, reads("true or false", switch)]
Option = Annotated[SecretStr, reads("text, a number, true or false", lambda text: SecretStr(text))]
OptionName = Annotated[str, BeforeValidator(_option_name)]
