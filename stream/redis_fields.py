"""How state stands in the fields of Redis' hashes and streams, readable in redis-cli. The table of keys stands in `store.py`."""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar, cast
from urllib.parse import quote, unquote

import numpy as np

from sinks import OutboundMessage
from stream.results import timestamp
from stream.store import CLOCKS, ClockName, PaneGroup, Subject
from stream.watermark import NO_TIME

T = TypeVar("T")


def is_rows(field: bytes) -> bool:
    """Whether a field of the join's counts says how many rows a generation holds."""
    return field.startswith(b"rows:")


def end_ms(field: bytes) -> int:
    """When the generation of such a field ends."""
    return int(field.removeprefix(b"rows:"))


def times(fields: Mapping[str, bytes], name: str) -> dict[ClockName, int]:
    """The times of this name, of each clock that has one."""
    return {clock: int(fields[f"{name}:{clock}"]) for clock in CLOCKS if f"{name}:{clock}" in fields}


def listed(pairs: Iterable[tuple[int, int]]) -> str:
    """`1 2, 3 4`, readable in redis-cli."""
    return ", ".join(f"{a} {b}" for a, b in pairs)


def number_pairs(fields: Mapping[str, bytes], name: str, kind: Callable[[int, int], T]) -> tuple[T, ...]:
    """The pairs that `listed` wrote."""
    held = fields.get(name, b"").decode()
    return tuple(kind(*map(int, pair.split())) for pair in held.split(", ") if pair)


def counters_of(fields: Mapping[str, bytes]) -> dict[str, int]:
    """The counters of a unit."""
    return {name.removeprefix("count:"): int(value) for name, value in fields.items() if name.startswith("count:")}


def field_of(group: PaneGroup) -> str:
    """`traffic|2026-11-20T16:00:00.000Z|version|segment`, the last two with `|` and control characters escaped."""
    return "|".join((group.subject, timestamp(group.start_ms), quote(group.version, safe="=+ :,"), quote(group.segment, safe="=+ :,")))


def group_of(field: bytes) -> PaneGroup:
    """What `field_of` wrote."""
    subject, start, version, segment = field.decode().split("|")
    start_ms = int(np.datetime64(start.removesuffix("Z"), "ms").astype(np.int64))
    return PaneGroup(cast(Subject, subject), start_ms, unquote(version), unquote(segment))


def groups_of(held: Mapping[bytes, bytes]) -> dict[PaneGroup, bytes]:
    """The aggregates of a hash, by their groups."""
    return {group_of(field): blob for field, blob in held.items()}


def entries_of(outbox: Iterable[tuple[int, OutboundMessage]]) -> list[int | str | bytes]:
    """Messages as a script takes them: number, topic, key and value of each, one behind the other."""
    return [x for number, message in outbox for x in (number, message.topic, message.key or b"", message.value)]


def message_of(entry: Mapping[bytes, bytes]) -> OutboundMessage:
    """A message as its stream holds it."""
    return OutboundMessage(entry[b"topic"].decode(), entry[b"key"] or None, entry[b"value"])


def ms_of(value: bytes) -> int:
    """A time, NO_TIME where none is held."""
    return int(value) if value else NO_TIME
