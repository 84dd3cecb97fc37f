"""What an alert is of, as it is kept beside the alert's state; and whether anything can judge it still.

Whatever is judged is judged in every window with rows, as `insufficient_data` where nothing can be said. So a rule that such a window of
its version, segment and family did not judge has left the configuration, and nothing else would ever resolve its alert.
"""

from typing import Literal, NamedTuple

import msgspec
from msgspec import Struct

from detectors.judge import AlertState
from stream.results import AlertKind
from stream.settings import ModelSettings
from stream.store import Subject


class Rule(NamedTuple):
    """One thing that is judged of a model. `segment`, `feature` and `window`, the name of a family, are "" where there is none.

    `keys`: those of the segment, whose name does not tell a cross from a value with commas.
    """

    subject: Subject
    version: str
    segment: str
    kind: AlertKind
    feature: str
    metric: str
    window: str
    keys: tuple[str, ...] = ()

    def has_left(self, settings: ModelSettings) -> bool:
        """Whether there are no windows any more that it could be judged in, or, of a model's silence, nobody looks."""
        if not self.window:
            return settings.freshness_ms is None
        if self.subject != "traffic" and not settings.labels:
            return True
        families = {window.name for window in settings.windows_of(self.subject)}
        return self.window not in families or (self.segment != "" and self.keys not in settings.segments)


class _Stored(Struct, frozen=True):
    """A rule with an alert that fires; what older versions wrote has no rule."""

    status: Literal["ok", "firing"]
    severity: Literal["warning", "critical"] | None
    first_fired_at_ms: int | None
    rule: Rule | None = None


def encoded(state: AlertState, rule: Rule | None) -> bytes:
    """What a store keeps of an alert."""
    return msgspec.json.encode(_Stored(state.status, state.severity, state.first_fired_at_ms, rule))


def decoded(blob: bytes) -> tuple[AlertState, Rule | None]:
    """What it kept."""
    stored = msgspec.json.decode(blob, type=_Stored)
    return AlertState(stored.status, stored.severity, stored.first_fired_at_ms), stored.rule
