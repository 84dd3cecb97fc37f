"""What the demo has seen so far, and whether it proves what it should. Pure: messages and counts in, rows and a verdict out."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from stream.balance import Balance
from stream.results import Alert, Result, timestamp
from stream.simulate import Tally
from stream.store import SUBJECTS, Subject

WindowKey = tuple[str, str]  # name, end


@dataclass(slots=True)
class Board:
    """Results and alerts as they were read back from their topics; each counts once, by its id, however often it was delivered."""

    windows: dict[WindowKey, dict[Subject, Result]] = field(default_factory=dict)
    alerts: dict[str, Alert] = field(default_factory=dict)
    closed: int = 0
    late: int = 0
    dead_letters: int = 0

    def add_result(self, value: bytes) -> Result | None:
        """The result, if it is news."""
        result = msgspec.json.decode(value, type=Result)
        seen = self.windows.setdefault((result.window.name, result.window.end), {})
        if result.segment is not None or result.subject in seen:
            return None
        seen[result.subject] = result
        self.closed += 1
        return result

    def add_alert(self, value: bytes) -> Alert | None:
        """The alert, if it is news."""
        alert = msgspec.json.decode(value, type=Alert)
        if alert.alert_id in self.alerts:
            return None
        self.alerts[alert.alert_id] = alert
        return alert

    def complete(self, end_ms: int) -> bool:
        """Whether the window that ends here has closed for both traffic and performance, in every family."""
        end = timestamp(end_ms)
        return bool(self.windows) and all(
            len(self.windows.get((name, end), ())) == len(SUBJECTS) for name in {name for name, _ in self.windows}
        )

    @property
    def fired(self) -> list[Alert]:
        """The alerts that say that something is wrong; the others say that it is well again."""
        return [alert for alert in self.alerts.values() if alert.status == "firing"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """The two sides that must agree when a demo ends: what was sent, and what came of it."""

    sent: Tally
    balance: Balance
    board: Board

    @property
    def lost(self) -> int:
        """Events that were published and not consumed."""
        sent, balance = self.sent, self.balance
        return sent.predictions.messages + sent.labels.messages - balance.predictions.consumed - balance.labels.consumed

    def problems(self) -> list[str]:
        """What the demo did not prove, as sentences; none when all is well."""
        found = [f"{what}: {counted}, expected {expected}" for what, counted, expected in self._sums() if counted != expected]
        for topic, sheet in (("predictions", self.balance.predictions), ("labels", self.balance.labels)):
            if not sheet.adds_up:
                found.append(f"the balance of the {topic} does not add up: {sheet}")
        kinds = {alert.kind for alert in self.board.fired}
        found += [
            f"no {name} alert arrived" for kind, name in (("data_drift", "drift"), ("performance", "performance")) if kind not in kinds
        ]
        if self.board.closed == 0:
            found.append("no window closed")
        return found

    def _sums(self) -> Iterator[tuple[str, int, int]]:
        sent, made, labels = self.sent, self.balance.predictions.outcomes, self.balance.labels.outcomes
        yield "predictions consumed", self.balance.predictions.consumed, sent.predictions.messages
        yield "predictions counted or late", made["counted"] + made["late"], sent.predictions.distinct
        yield "predictions recognised as duplicates", made["duplicate"], sent.predictions.duplicates
        yield "malformed predictions", made["malformed"], sent.predictions.malformed
        yield "labels consumed", self.balance.labels.consumed, sent.labels.messages
        yield "labels matched to their prediction", labels["matched"], sent.labels.distinct
        yield "labels recognised as duplicates", labels["duplicate"], sent.labels.duplicates
        yield "malformed labels", labels["malformed"], sent.labels.malformed
        yield "dead letters delivered", self.board.dead_letters, made["malformed"] + labels["malformed"]

    def summary(self) -> str:
        """The last line of the demo."""
        return f"demo: {self.board.closed} windows closed, {len(self.board.fired)} alerts fired, {self.lost} events lost"
