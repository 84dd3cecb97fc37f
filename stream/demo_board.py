"""What the demo has seen so far, and whether it proves what it should. Pure: messages and counts in, rows and a verdict out."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple, TypeVar

import msgspec
from msgspec import UNSET

from stream.alerts import Alert, LateEvent
from stream.balance import Balance
from stream.results import Result, Window, timestamp
from stream.simulate import Tally
from stream.store import CLOCKS, ClockName

KEPT: Final = 500  # windows and alerts, the newest: a demo that runs for ever must not grow

_SAMPLE: Final = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_FIELDS: Final = {  # of `Exported`, by metric, and by outcome for labels
    "driftstream_consumed_total": "consumed",
    "driftstream_predictions_total": "predictions",
    "driftstream_late_total": "late",
    "driftstream_duplicates_total": "duplicates",
    'driftstream_labels_total{outcome="matched"}': "labels",
    'driftstream_labels_total{outcome="duplicate"}': "duplicates",
    "driftstream_dead_letter_total": "dead_letters",
    "driftstream_alerts_total": "alerts",
}

K = TypeVar("K")
V = TypeVar("V")


class WindowId(NamedTuple):
    """One window; they sort by time."""

    end: str
    name: str


@dataclass(slots=True)
class Board:
    """Results of all traffic and alerts, as they were read back from their topics. Each counts once, however often it was delivered."""

    windows: dict[WindowId, dict[ClockName, Result]] = field(default_factory=dict)
    spans_ms: dict[str, int] = field(default_factory=dict)  # length of each window, by its name
    alerts: dict[str, Alert] = field(default_factory=dict)
    closed: int = 0
    fired: Counter[str] = field(default_factory=Counter)  # by kind
    resolved: int = 0
    late: Counter[ClockName] = field(default_factory=Counter)
    dead_letters: int = 0

    def add_result(self, value: bytes) -> Result | None:
        """The result, if it is news."""
        result = msgspec.json.decode(value, type=Result)
        seen = self.windows.setdefault(WindowId(result.window.end, result.window.name), {})
        if result.segment is not None or result.subject in seen:
            return None
        seen[result.subject] = result
        self.spans_ms[result.window.name] = _span_ms(result.window)
        self.closed += 1
        _forget_oldest(self.windows)
        return result

    def add_alert(self, value: bytes) -> Alert | None:
        """The alert, if it is news."""
        alert = msgspec.json.decode(value, type=Alert)
        if alert.alert_id in self.alerts:
            return None
        self.alerts[alert.alert_id] = alert
        if alert.status == "firing":
            self.fired[alert.kind] += 1
        else:
            self.resolved += 1
        _forget_oldest(self.alerts)
        return alert

    def add_late(self, value: bytes) -> None:
        """Count a late event."""
        self.late[msgspec.json.decode(value, type=LateEvent).subject] += 1

    def complete(self, end_ms: int) -> bool:
        """Whether every window that ends here has closed, for traffic and for performance."""
        end = timestamp(end_ms)
        seen = [self.windows.get(WindowId(end, name), {}) for name in self.spans_ms]
        return bool(seen) and all(len(subjects) == len(CLOCKS) for subjects in seen)

    def example(self) -> Alert | None:
        """The alert that shows most: drift, critical, of the shortest window, with most bins moved."""
        return max((alert for alert in self.alerts.values() if alert.status == "firing"), key=self._telling, default=None)

    def _telling(self, alert: Alert) -> tuple[bool, bool, int, float]:
        bins = () if alert.evidence.top_bins is UNSET else alert.evidence.top_bins
        moved = min((one.contribution for one in bins), default=0.0)
        return alert.kind == "data_drift", alert.severity == "critical", -_span_ms(alert.window) if alert.window else 0, moved


def _span_ms(window: Window) -> int:
    span = datetime.fromisoformat(window.end) - datetime.fromisoformat(window.start)
    return round(span.total_seconds() * 1000)


def _forget_oldest(kept: dict[K, V]) -> None:
    while len(kept) > KEPT:
        del kept[next(iter(kept))]


@dataclass(frozen=True, slots=True)
class Exported:
    """What the worker says about itself on /metrics, summed over models, versions, topics and reasons. `labels`: those that matched."""

    consumed: int = 0
    predictions: int = 0
    late: int = 0
    duplicates: int = 0
    labels: int = 0
    dead_letters: int = 0
    alerts: int = 0

    @classmethod
    def parse(cls, page: str) -> "Exported":
        """Read a page in Prometheus' text format."""
        sums: Counter[str] = Counter()
        for metric, labels, value in _SAMPLE.findall(page):
            if (name := _FIELDS.get(metric) or _FIELDS.get(f"{metric}{{{labels}}}")) is not None:
                sums[name] += int(float(value))
        return cls(**sums)


@dataclass(frozen=True, slots=True)
class Evidence:
    """The sides that must agree when a demo ends: what was sent, what Redis holds, what /metrics says, and what was read back."""

    sent: Tally
    balance: Balance
    exported: Exported
    board: Board

    @property
    def lost(self) -> int:
        """Events that were published and not consumed."""
        sent, balance = self.sent, self.balance
        return sent.predictions.messages + sent.labels.messages - balance.predictions.consumed - balance.labels.consumed

    def problems(self) -> list[str]:
        """What the demo did not prove, as sentences; none when all is well."""
        kinds = [kind for kind in ("data_drift", "performance") if not self.board.fired[kind]]
        return [
            *self.discrepancies(),
            *(["no window closed"] if self.board.closed == 0 else []),
            *(f"no alert of kind {kind} arrived" for kind in kinds),
        ]

    def discrepancies(self) -> list[str]:
        """Where the sides do not agree, or not yet."""
        sheets = (("predictions", self.balance.predictions), ("labels", self.balance.labels))
        return [
            *(f"{what}: {value}, expected {expected}" for what, value, expected in self._equations() if value != expected),
            *(f"the balance of the {topic} does not add up: {sheet}" for topic, sheet in sheets if not sheet.adds_up),
        ]

    def _equations(self) -> Iterator[tuple[str, int, int]]:
        """What is compared, its value, and the value it must have."""
        sent, exported, board = self.sent, self.exported, self.board
        predictions, labels = self.balance.predictions.outcomes, self.balance.labels.outcomes
        yield "predictions consumed", self.balance.predictions.consumed, sent.predictions.messages
        yield "predictions counted or late", predictions["counted"] + predictions["late"], sent.predictions.distinct
        yield "predictions recognised as repeated", predictions["duplicate"], sent.predictions.duplicates
        yield "predictions recognised as malformed", predictions["malformed"], sent.predictions.malformed
        yield "labels consumed", self.balance.labels.consumed, sent.labels.messages
        yield "labels matched with their prediction", labels["matched"], sent.labels.distinct
        yield "labels recognised as repeated", labels["duplicate"], sent.labels.duplicates
        yield "labels recognised as malformed", labels["malformed"], sent.labels.malformed
        yield "events consumed according to /metrics", exported.consumed, sent.predictions.messages + sent.labels.messages
        yield "predictions counted according to /metrics", exported.predictions, predictions["counted"]
        yield "repeated events according to /metrics", exported.duplicates, sent.predictions.duplicates + sent.labels.duplicates
        yield "labels matched according to /metrics", exported.labels, sent.labels.distinct
        yield "dead letters read back", board.dead_letters, sent.predictions.malformed + sent.labels.malformed
        yield "late predictions read back", board.late["traffic"], predictions["late"]
        yield "alerts read back", board.fired.total() + board.resolved, exported.alerts

    def summary(self) -> str:
        """The last line of a demo."""
        return f"demo: {self.board.closed} windows closed, {self.board.fired.total()} alerts fired, {self.lost} events lost"
