"""How the demo looks: a live screen on a terminal, a line for everything that happens elsewhere. Shows what it is given, knows no services.

Texts that come from events are `rich.text.Text`, never markup.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from msgspec import UNSET, UnsetType
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from stream.alerts import Alert
from stream.demo_board import Board, Exported, WindowId
from stream.results import Result, timestamp
from stream.results_values import Score, Severity
from stream.store import ClockName

STYLES: Final[dict[Severity, str]] = {"ok": "green", "warning": "yellow", "critical": "bold red", "insufficient_data": "dim"}
PHASES: Final = {  # of the scenario: as a cell of the table, and as a sentence
    "steady": ("none", "The traffic is like the traffic the model was trained on."),
    "input drift": ("inputs", "The inputs drift: larger amounts, a new merchant category, missing distances."),
    "concept drift": ("concept", "Fraud has changed its face; labels come 2 s later and show it."),
}
DRIFTING: Final = ("amount", "merchant_category", "distance_km")  # what the scenario lets drift; the others share a row
TITLE: Final = Text("driftstream demo", "bold")
LABEL_WIDTH, CELL_WIDTH = 22, 8
ALERTS_MIN: Final = 6  # lines of alerts that a second table leaves room for
RECAP_ALERTS: Final = 30
SETTLING_S: Final = 3  # what the last windows need after the traffic has ended, for the bar
FRAME_S: Final = 0.25  # between two pictures: calm, and cheap over a slow connection
LINE_S: Final = 5.0  # between two lines of progress


@dataclass(frozen=True, slots=True)
class Run:
    """What is fixed once the traffic flows. `length_ms` is None if it goes on until it is stopped; a window ends every `step_ms`."""

    start_ms: int
    length_ms: int | None
    step_ms: int
    phase_at: Callable[[int], str]
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """What changes all the time."""

    now_ms: int
    exported: Exported
    events_per_s: float


class View(Protocol):
    """Where the demo shows itself."""

    def say(self, text: str) -> None:
        """What happens now; it takes a moment."""

    def begin(self, run: Run) -> None:
        """The traffic flows."""

    def window_closed(self, result: Result) -> None: ...
    def alert(self, alert: Alert) -> None: ...
    def update(self, status: Status) -> None: ...
    def recap(self) -> RenderableType | None:
        """What is left to show when the view has ended; None: it has shown everything."""


@contextmanager
def open_view(console: Console, board: Board) -> Iterator[View]:
    """The view that suits the console."""
    # not `console.is_terminal`: FORCE_COLOR, which CI systems set, makes rich take a pipe for a terminal
    if sys.stdout.isatty() and not console.is_dumb_terminal:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            yield LiveView(live, board)
    else:
        yield PlainView(console)


class PlainView:
    """A line for everything that happens."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said_s = time.monotonic()

    def say(self, text: str) -> None:
        self._print(Text(text))

    def begin(self, run: Run) -> None:
        for address in run.addresses:
            self._print(Text(address))

    def window_closed(self, result: Result) -> None:
        self._print(window_line(result))

    def alert(self, alert: Alert) -> None:
        self._print(alert_line(alert))

    def update(self, status: Status) -> None:
        if time.monotonic() - self._said_s >= LINE_S:
            self._said_s = time.monotonic()
            self._print(Text(f"{status.events_per_s:,.0f} events/s; {counts_line(status.exported)}"))

    def recap(self) -> None:
        return None

    def _print(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True)


def window_line(result: Result) -> Text:
    """One closed window in one line."""
    text = Text(f"{clock(result.window.end)} window {result.window.name} closed: ")
    if result.drift is not UNSET:
        text.append(f"{result.counts.predictions:,} predictions; psi")
        for name in DRIFTING:
            if name in result.drift and (score := result.drift[name].psi) is not UNSET:
                text.append(f" {name} ").append(cell(score))
    if result.performance is not UNSET:
        text.append(f"{result.counts.labels or 0:,} labels;")
        for metric in ("accuracy", "f1"):
            text.append(f" {metric} ").append(cell(result.performance.verdicts[metric]))
    return text


def alert_line(alert: Alert) -> Text:
    """One alert in one line."""
    return Text(f"{clock(alert.emitted_at)} ").append(badge(alert)).append(f" {alert.summary}")


def counts_line(exported: Exported) -> str:
    """What the worker has counted."""
    return (
        f"{exported.predictions:,} predictions, {exported.labels:,} labels, {exported.late:,} late, "
        f"{exported.duplicates:,} repeated, {exported.dead_letters:,} unusable"
    )


def badge(alert: Alert) -> Text:
    """What an alert says first."""
    if alert.status == "resolved":
        return Text("resolved", "green")
    return Text(alert.severity, STYLES[alert.severity])


def line(text: str, style: str = "") -> Text:
    """Text that stays in one line."""
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def cell(score: Score | UnsetType) -> Text:
    """A number in the colour of its verdict."""
    if score is UNSET:
        return Text("")
    return Text("-" if score.score is None else f"{score.score:.3f}", STYLES[score.severity])


def clock(time_: str) -> str:
    """The time of day of an RFC 3339 timestamp."""
    return time_[11:19]


class LiveView:
    """A screen of its own, drawn anew a few times a second."""

    def __init__(self, live: Live, board: Board) -> None:
        self._live, self._board = live, board
        self._notes: list[str] = []
        self._run: Run | None = None
        self._status: Status | None = None
        self._drawn_s = 0.0

    def say(self, text: str) -> None:
        self._notes.append(text)
        self._draw()

    def begin(self, run: Run) -> None:
        self._run, self._notes = run, []

    def window_closed(self, result: Result) -> None:
        pass  # it stands on the board, as do the alerts

    def alert(self, alert: Alert) -> None:
        pass

    def update(self, status: Status) -> None:
        self._status = status
        if time.monotonic() - self._drawn_s >= FRAME_S:
            self._draw()

    def recap(self) -> RenderableType | None:
        if self._run is None or self._status is None:
            return None
        width = self._live.console.width
        blocks = [block(self._board, self._run, self._status, name, width, brief=i > 0) for i, name in enumerate(families(self._board))]
        alerts = list(self._board.alerts.values())[-RECAP_ALERTS:]
        return Group(*(part for table in blocks for part in (table, "")), *([alerts_table(alerts)] if alerts else []))

    def _draw(self) -> None:
        self._drawn_s = time.monotonic()
        if self._run is None or self._status is None:
            picture: RenderableType = Group(TITLE, "", *(Text(f"  {note}") for note in self._notes))
        else:
            width, height = self._live.console.size
            sentence = self._notes[-1] if self._notes else PHASES[self._run.phase_at(self._status.now_ms)][1]
            picture = screen(self._board, self._run, self._status, sentence, width, height)
        self._live.update(picture, refresh=True)


def screen(board: Board, run: Run, status: Status, sentence: str, width: int, height: int) -> RenderableType:
    """The whole screen: what is going on, how the windows closed, and the newest alerts, as many as fit."""
    first, *others = families(board) or [""]
    head = [_title(run, status), line(sentence), line(counts_line(status.exported), "dim"), ""]
    tables = [block(board, run, status, first, width, brief=False)]
    foot = line("  ".join(run.addresses), "dim")
    free = height - len(head) - tables[0].row_count - 1 - 3  # the table's header; a blank line, the alerts' header, and the foot
    for name in others:
        more = block(board, run, status, name, width, brief=True)
        if free - more.row_count - 2 >= ALERTS_MIN:
            tables.append(more)
            free -= more.row_count + 2
    shown = list(board.alerts.values())[-max(free, 1) :]
    heading = line(f"{board.fired.total()} alerts fired, {board.resolved} resolved, {board.closed} windows closed", "bold")
    filling = [""] * (free - len(shown))
    return Group(
        *head, *(part for table in tables for part in (table, "")), heading, *([alerts_table(shown)] if shown else []), *filling, foot
    )


def alerts_table(alerts: Sequence[Alert]) -> Table:
    """A line for each alert, short enough for a terminal."""
    table = Table.grid(padding=(0, 1))
    for alert in alerts:
        table.add_row(*_alert_cells(alert))
    return table


def families(board: Board) -> list[str]:
    """The names of the windows, the shorter ones first."""
    return sorted(board.spans_ms, key=lambda name: (board.spans_ms[name], name))


def block(board: Board, run: Run, status: Status, name: str, width: int, *, brief: bool) -> Table:
    """The newest windows of one name, a column each, as they close; the labels' rows follow later than those of the predictions."""
    ends = _ends(run, status.now_ms, (width - LABEL_WIDTH) // CELL_WIDTH)
    seen = [board.windows.get(WindowId(timestamp(end), name), {}) for end in ends]
    table = Table(box=None, padding=0, pad_edge=False, header_style="bold")
    table.add_column(f"window {name}, to" if name else "windows to", width=LABEL_WIDTH)
    for end in ends:
        table.add_column(Text(timestamp(end)[14:19], "" if end <= status.now_ms else "dim"), width=CELL_WIDTH, justify="right")

    def add(label: str, read: Callable[[Result], Text | None], subject: ClockName) -> None:
        table.add_row(Text(label), *((read(results[subject]) or Text("-", "dim")) if subject in results else Text("") for results in seen))

    if not brief:
        phases = [run.phase_at(end - run.step_ms // 2) if end - run.step_ms <= status.now_ms else "" for end in ends]
        table.add_row(Text("simulated drift", "dim"), *(Text(PHASES[phase][0] if phase else "", "dim") for phase in phases))
        add("predictions", lambda result: Text(f"{result.counts.predictions:,}"), "traffic")
    for feature in DRIFTING:
        add(f"psi {feature}", partial(_drift, feature), "traffic")
    if not brief:
        add("psi of others, highest", _highest_other, "traffic")
        add("labels", lambda result: Text(f"{result.counts.labels or 0:,}"), "performance")
    for metric in ("accuracy", "f1"):
        add(metric, partial(_metric, metric), "performance")
    return table


def _ends(run: Run, now_ms: int, most: int) -> list[int]:
    """Ends of the windows to show: from the first one on, as far as there is room, else the newest up to the one that is open."""
    open_end = now_ms // run.step_ms * run.step_ms + run.step_ms
    if run.length_ms is not None:
        open_end = min(open_end, run.start_ms + run.length_ms)
    last = max(open_end, run.start_ms + most * run.step_ms)
    if run.length_ms is not None:
        last = min(last, run.start_ms + run.length_ms)
    first = max(last - (most - 1) * run.step_ms, run.start_ms + run.step_ms)
    return list(range(first, last + 1, run.step_ms))


def _drift(feature: str, result: Result) -> Text | None:
    drift = {} if result.drift is UNSET else result.drift
    return cell(drift[feature].psi) if feature in drift else None


def _highest_other(result: Result) -> Text | None:
    drift = {} if result.drift is UNSET else result.drift
    scores = [one.psi for name, one in drift.items() if name not in DRIFTING and one.psi is not UNSET]
    return cell(max(scores, key=lambda score: score.score or 0.0)) if scores else None


def _metric(metric: str, result: Result) -> Text | None:
    return None if result.performance is UNSET or metric not in result.performance.verdicts else cell(result.performance.verdicts[metric])


def _title(run: Run, status: Status) -> RenderableType:
    seconds = max(0, status.now_ms - run.start_ms) / 1000
    rate = Text(f"{status.events_per_s:,.0f} events/s", "bold cyan")
    grid = Table.grid(expand=True, padding=(0, 2))
    for column in ({}, {}, {"ratio": 1}, {"justify": "right"}):
        grid.add_column(**column)
    if run.length_ms is None:
        grid.add_row(TITLE, rate, "", Text(f"{seconds:,.0f} s, ends by Ctrl-C"))
    else:
        total = run.length_ms / 1000 + SETTLING_S
        bar = ProgressBar(total, min(seconds, total), complete_style="cyan", finished_style="cyan")
        grid.add_row(TITLE, rate, bar, Text(f"{min(seconds, total):.0f} of {total:.0f} s"))
    return grid


def _alert_cells(alert: Alert) -> list[Text]:
    """What, how much, in which window, and why."""
    drift = alert.feature is not UNSET
    what = str(alert.feature) if drift else alert.metric
    relation = ">=" if drift == (alert.status == "firing") else "<"
    limit = "" if alert.threshold is None else f" {relation} {alert.threshold:g}"
    value = f"{alert.metric + ' ' if drift else ''}{'' if alert.value is None else f'{alert.value:.3f}'}{limit}"
    why = "" if alert.baseline is UNSET else f"baseline {alert.baseline:.3f}"
    if alert.evidence.top_bins is not UNSET and alert.evidence.top_bins:
        top = alert.evidence.top_bins[0]
        why = f"{top.label} {top.reference:.0%} -> {top.current:.0%}"
    window = alert.window.name if alert.window else ""
    return [line(clock(alert.emitted_at), "dim"), badge(alert), line(what, "bold"), line(value), line(window, "dim"), line(why)]
