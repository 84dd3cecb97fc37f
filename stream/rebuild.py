"""Rebuilding the state from Kafka when Redis comes back empty: from which offset each partition is read again, and what was said before.

The memory of this is in Kafka, where the group's offsets are: each commit carries a `Bookmark`. It says up to which clock every firing has
been delivered, and a `Mark` of its partition: a place before everything that a later window, or a label still to come, can need.
Reading from there counts the same events into the same panes as before; windows up to the bookmark's clock are judged again, which gives
the alerts' states, and not sent again.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Final

import msgspec

from stream.join import GENERATIONS, TRAIL
from stream.model import Model
from stream.settings import ModelSettings
from stream.store import CLOCKS, SUBJECTS, Clock, Mark, Subject
from stream.watermark import NO_TIME
from stream.windows import WindowSpec

_MARKS: Final = 64  # in the time that is kept; so much of it, at most, is read in addition
_MARKS_MAX: Final = 256  # when a partition runs far ahead of the clock; beyond, every second one goes


class Bookmark(msgspec.Struct, frozen=True, rename={"delivered": "delivered_ms"}):
    """What stands beside an offset that is committed to Kafka. `delivered`: every firing by this clock has left every outbox."""

    namespace: str
    delivered: Clock
    mark: Mark

    def encode(self) -> str:
        return msgspec.json.encode(self).decode()

    @classmethod
    def decode(cls, text: str, namespace: str) -> "Bookmark | None":
        """The bookmark, None if it is none of this namespace's."""
        try:
            found = msgspec.json.decode(text, type=cls)
        except msgspec.DecodeError:
            return None
        return found if found.namespace == namespace else None


def delivered_by(bookmarks: Iterable[Bookmark]) -> Clock:
    """The latest clock that one of them knows of: what it says holds for all partitions."""
    clocks = [bookmark.delivered for bookmark in bookmarks]
    traffic, performance = (max((clock.of(name) for clock in clocks), default=NO_TIME) for name in CLOCKS)
    return Clock(traffic, performance)


class Reach:
    """How far back the events are that an installation may still need."""

    def __init__(self, models: Collection[Model], lateness_ms: int, max_delay_ms: int) -> None:
        self._window_ms = {
            (model.settings.name, subject): _longest_ms(model.settings.windows_of(subject))
            + (max_delay_ms if subject == "cohort" else lateness_ms)
            for model in models
            for subject in SUBJECTS
        }
        longest_ms = max(self._window_ms[model.settings.name, "traffic"] + _before_ms(model.settings) for model in models)
        join_ms = -(-max_delay_ms // GENERATIONS) * (TRAIL + 1)
        labels = any(model.settings.labels for model in models)
        cohorts_ms = max(self._window_ms[model.settings.name, "cohort"] for model in models)
        self._traffic_ms, self._performance_ms = longest_ms, max(longest_ms + join_ms, cohorts_ms) if labels else longest_ms
        self.spacing_ms = max(self._performance_ms // _MARKS, 1)

    def needed_from(self, delivered: Clock) -> int:
        """Events with this time or a later one are needed once all firings by the clock `delivered` have left; NO_TIME: all are."""
        if NO_TIME in delivered:
            return NO_TIME
        return min(delivered.traffic - self._traffic_ms, delivered.performance - self._performance_ms)

    def whole_from(self, model: str, subject: Subject, quiet_ms: int) -> int:
        """Windows of the model that start here or later are whole after a rebuild from the clock `quiet_ms`."""
        return quiet_ms - self._window_ms[model, subject]


def _longest_ms(windows: Sequence[WindowSpec]) -> int:
    """From the beginning of a window to when the next one has begun, at most; 0 without windows."""
    return max((spec.size_ms + spec.slide_ms for spec in windows), default=0)


def _before_ms(settings: ModelSettings) -> int:
    """How long before a window the events begin that it is compared with."""
    return max(spec.size_ms for spec in settings.windows) if settings.against == "previous_window" else 0


def passed(marks: tuple[Mark, ...], mark: Mark, spacing_ms: int) -> tuple[Mark, ...]:
    """The marks with one more, unless it is too close to the last."""
    if marks and mark.newest_ms - marks[-1].newest_ms < spacing_ms:
        return marks
    return (*(marks if len(marks) < _MARKS_MAX else (marks[0], *marks[2::2])), mark)


def needed(marks: tuple[Mark, ...], from_ms: int) -> tuple[Mark, ...]:
    """The marks from the last one that has only older events before it."""
    before = [i for i, mark in enumerate(marks) if mark.newest_ms < from_ms]
    return marks[before[-1] :] if before else marks
