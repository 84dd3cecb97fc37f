"""How the demo looks."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from msgspec import UNSET
from rich.console import Console

from stream.demo_board import Board
from stream.results import Alert, Result
from stream.simulate import Tally


class View(Protocol):
    """Where the demo shows itself."""

    def say(self, text: str) -> None: ...
    def window_closed(self, result: Result) -> None: ...
    def alert(self, alert: Alert) -> None: ...
    def update(self, sent: Tally) -> None: ...


class PlainView:
    """A line for everything that happens."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, text: str) -> None:
        self._console.print(text, markup=False)

    def window_closed(self, result: Result) -> None:
        text = f"window {result.window.name} to {result.window.end}"
        if result.drift is not UNSET:
            text += f" {result.counts.predictions} " + " ".join(f"{k}={v.psi.score}" for k, v in result.drift.items())
        if result.performance is not UNSET:
            text += f" {result.counts.labels} acc {result.performance.accuracy} f1 {result.performance.f1}"
        self.say(text)

    def alert(self, alert: Alert) -> None:
        self.say(f"ALERT {alert.status} {alert.severity} {alert.summary}")

    def update(self, sent: Tally) -> None:
        pass


@contextmanager
def open_view(console: Console, board: Board) -> Iterator[View]:
    yield PlainView(console)
