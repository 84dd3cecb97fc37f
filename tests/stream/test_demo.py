"""The demo's judgement: it turns red when one event is missing or no alert came, and what it shows fits the terminal."""

import io
import os
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from sinks.gauges import Gauges
from stream.alerts import Alert, LateEvent, Origin, encode
from stream.alerts import Evidence as AlertEvidence
from stream.balance import Balance, Sheet
from stream.demo import DemoError, WorkerProcess, report
from stream.demo_board import Board, Evidence, Exported
from stream.demo_view import LiveView, PlainView, Run, Status, View, open_view, screen
from stream.results import AlertKind, BinShare, Counts, FeatureDrift, Result, Window, timestamp
from stream.results_performance import Performance
from stream.results_values import Score, Severity
from stream.simulate import Count, Tally

START_MS = 1_767_225_600_000
STEP_MS = 5_000


def window(end: int, size: int = 1) -> Window:
    """The window that ends `end` steps after the start."""
    kind, name = ("tumbling", "5s") if size == 1 else ("sliding", "15s/5s")
    times = [timestamp(START_MS + step * STEP_MS) for step in (end - size, end)]
    return Window(name=name, kind=kind, start=times[0], end=times[1])  # type: ignore[arg-type]


def score(value: float, severity: Severity = "ok") -> Score:
    return Score(score=value, threshold=0.1, severity=severity)


def result(end: int, size: int = 1, *, segment: str | None = None, performance: bool = False) -> Result:
    """What a window says about traffic, or about performance."""
    whole = Result(
        result_id=f"{end} {size} {segment} {performance}",
        subject="performance" if performance else "traffic",
        model="fraud",
        version="1",
        segment=segment,
        window=window(end, size),
        revision=0,
        final=True,
        counts=Counts(predictions=5_000, late=0, labels=4_900),
        reference_id=None,
        closed_at=timestamp(START_MS),
        watermark=timestamp(START_MS),
    )
    if performance:
        verdicts = {"accuracy": score(0.783, "critical"), "f1": Score(score=None, threshold=0.6, severity="insufficient_data")}
        measured = Performance(
            by="label_time",
            coverage=1.0,
            classes=(),
            confusion=(),
            accuracy=0.783,
            precision=None,
            recall=None,
            f1=None,
            specificity=None,
            mcc=None,
            intervals={},
            verdicts=verdicts,
        )
        return msgspec.structs.replace(whole, performance=measured)
    names = ("amount", "merchant_category", "distance_km", "hour", "channel")
    drift = {
        name: FeatureDrift(kind="numeric", n=5_000, reference_n=20_000, psi=score(0.592 / i, "critical")) for i, name in enumerate(names, 1)
    }
    return msgspec.structs.replace(whole, drift=drift)


def alert(number: int = 0, *, kind: AlertKind = "data_drift", resolved: bool = False, contribution: float = 0.3) -> Alert:
    drift = kind == "data_drift"
    bins = (BinShare(label=">= 116.7", reference=0.1, current=0.37, contribution=contribution),)
    whole = Alert(
        alert_id=f"{kind} {number} {resolved}",
        dedup_key=kind,
        status="resolved" if resolved else "firing",
        severity="critical",
        model="fraud",
        version="1",
        segment=None,
        kind=kind,
        metric="psi" if drift else "accuracy",
        value=0.592 if drift else 0.783,
        threshold=0.25 if drift else 0.83,
        window=window(1),
        summary=f"summary of alert {number}",
        evidence=AlertEvidence(n=5_000, top_bins=bins) if drift else AlertEvidence(n=4_900),
        first_fired_at=timestamp(START_MS),
        emitted_at=timestamp(START_MS),
    )
    return msgspec.structs.replace(whole, feature="amount") if drift else msgspec.structs.replace(whole, baseline=0.96)


def late(subject: str) -> bytes:
    event = LateEvent(
        subject=subject,  # type: ignore[arg-type]
        model="fraud",
        timestamp="",
        watermark="",
        origin=Origin(topic="t", partition=0, offset=0),
        event=msgspec.Raw(b"{}"),
    )
    return encode(event)


def board(*, kinds: tuple[AlertKind, ...] = ("data_drift", "performance"), windows: int = 1) -> Board:
    """What is seen of the run in `evidence`."""
    seen = Board()
    for end in range(1, windows + 1):
        seen.add_result(encode(result(end)))
    for kind in kinds:
        seen.add_alert(encode(alert(kind=kind)))
    for _ in range(3):
        seen.add_late(late("traffic"))
    seen.add_late(late("performance"))
    seen.dead_letters = 5 + 4
    return seen


SENT = Tally(Count(distinct=1_000, duplicates=10, malformed=5), Count(distinct=900, duplicates=8, malformed=4), 3, 80, 20)
PREDICTIONS = {"counted": 997, "late": 3, "duplicate": 10, "malformed": 5}
LABELS = {"matched": 900, "pending": 0, "expired": 0, "duplicate": 8, "malformed": 4}


def balance(predictions: dict[str, int] = PREDICTIONS, labels: dict[str, int] = LABELS) -> Balance:
    """Sheets that add up, whatever their entries."""
    return Balance({}, Sheet(sum(predictions.values()), predictions), Sheet(sum(labels.values()), labels), Sheet(900, {"matched": 900}))


GOOD = Evidence(SENT, balance(), Exported(1_927, 997, 4, 18, 900, 9, 2), board())


def test_run_in_which_everything_is_accounted_for_has_no_problem() -> None:
    assert GOOD.problems() == []
    assert GOOD.summary() == "demo: 1 windows closed, 2 alerts fired, 0 events lost"


@pytest.mark.parametrize("name", PREDICTIONS)
@pytest.mark.parametrize("by", [1, -1])
def test_predictions_that_are_off_by_one_are_a_problem(name: str, by: int) -> None:
    assert replace(GOOD, balance=balance(predictions=PREDICTIONS | {name: PREDICTIONS[name] + by})).problems()


@pytest.mark.parametrize("name", LABELS)
@pytest.mark.parametrize("by", [1, -1])
def test_labels_that_are_off_by_one_are_a_problem(name: str, by: int) -> None:
    assert replace(GOOD, balance=balance(labels=LABELS | {name: LABELS[name] + by})).problems()


def test_late_instead_of_counted_is_a_problem() -> None:
    """The sums agree; the late topic does not."""
    moved = PREDICTIONS | {"counted": 996, "late": 4}
    assert replace(GOOD, balance=balance(predictions=moved)).problems()


def test_sheet_that_does_not_add_up_is_a_problem() -> None:
    for consumed in (1_014, 1_016):
        off = Balance({}, Sheet(consumed, PREDICTIONS), balance().labels, balance().joined)
        assert any("does not add up" in problem for problem in replace(GOOD, balance=off).problems())


def test_lost_event_is_a_problem_and_in_the_summary() -> None:
    lost = replace(GOOD, balance=balance(predictions=PREDICTIONS | {"counted": 996}))
    assert "predictions consumed: 1014, expected 1015" in lost.problems()
    assert lost.summary().endswith("1 events lost")


@pytest.mark.parametrize("name", ["consumed", "predictions", "duplicates", "labels", "alerts"])
def test_metrics_that_say_something_else_are_a_problem(name: str) -> None:
    wrong = replace(GOOD.exported, **{name: getattr(GOOD.exported, name) + 1})
    assert len(replace(GOOD, exported=wrong).problems()) == 1


@pytest.mark.parametrize(
    ("kinds", "missing"),
    [(("data_drift",), ["performance"]), (("performance",), ["data_drift"]), ((), ["data_drift", "performance"])],
)
def test_alert_that_did_not_arrive_is_a_problem(kinds: tuple[AlertKind, ...], missing: list[str]) -> None:
    seen = replace(GOOD, board=board(kinds=kinds), exported=replace(GOOD.exported, alerts=len(kinds)))
    assert seen.problems() == [f"no alert of kind {kind} arrived" for kind in missing]


def test_run_in_which_no_window_closed_is_a_problem() -> None:
    assert replace(GOOD, board=board(windows=0)).problems() == ["no window closed"]


def test_report_ends_with_the_summary_and_its_exit_code_is_the_verdict() -> None:
    for evidence, code in ((GOOD, 0), (replace(GOOD, board=board(kinds=())), 1)):
        console = Console(file=io.StringIO(), width=80)
        assert report(console, PlainView(console), evidence) == code
        assert text_of(console).splitlines()[-1] == evidence.summary()


def test_report_shows_an_alert_as_json() -> None:
    console = Console(file=io.StringIO(), width=20)
    report(console, PlainView(console), GOOD)
    shown = text_of(console)
    shown = shown[shown.index("{") : shown.rindex("}") + 1]
    assert msgspec.json.decode(shown, type=Alert) == alert()


def test_result_and_alert_that_are_delivered_twice_count_once() -> None:
    seen = Board()
    for _ in range(2):
        seen.add_result(encode(result(1)))
        seen.add_alert(encode(alert()))
        seen.add_alert(encode(alert(resolved=True)))
    assert (seen.closed, seen.fired.total(), seen.resolved) == (1, 1, 1)


def test_segments_are_not_counted_as_windows() -> None:
    seen = Board()
    assert seen.add_result(encode(result(1, segment="country=DE"))) is None
    assert seen.closed == 0


def test_end_is_complete_when_every_window_to_it_has_closed_for_traffic_and_performance() -> None:
    seen, end_ms = Board(), START_MS + 2 * STEP_MS
    results = [result(end, size, performance=performance) for size in (1, 3) for end in (1, 2) for performance in (False, True)]
    complete = [seen.complete(end_ms)]
    for one in results:
        seen.add_result(encode(one))
        complete.append(seen.complete(end_ms))
    assert complete[0] is False
    assert complete[1:5] == [False, False, False, True]  # nothing is known yet of windows of 15 s
    assert complete[5:9] == [False, False, False, True]
    assert not seen.complete(end_ms + STEP_MS)


def test_board_of_an_endless_run_stays_small() -> None:
    seen = Board()
    for i in range(2_000):
        seen.add_result(encode(result(i)))
        seen.add_alert(encode(alert(i)))
    assert (seen.closed, seen.fired.total()) == (2_000, 2_000)
    assert len(seen.windows) == len(seen.alerts) == 500


def test_example_is_the_drift_alert_with_most_bins_moved() -> None:
    seen = Board()
    assert seen.example() is None
    seen.add_alert(encode(alert(0, kind="performance")))
    for number, contribution in enumerate((0.1, 0.2, 0.1), 1):
        seen.add_alert(encode(alert(number, contribution=contribution)))
    example = seen.example()
    assert example is not None
    assert example.alert_id == "data_drift 2 False"


def test_metrics_page_is_read_as_it_is_written() -> None:
    gauges = Gauges(dead_letter_reasons=["not_json", "no_time"])
    for topic, n in (("predictions", 100_000_000), ("labels", 20)):
        gauges.add_consumed(topic, n)
    gauges.add_predictions("fraud", "1", 30)
    gauges.add_predictions('a "quoted" {model}', "2", 1)
    for subject in ("traffic", "performance"):
        gauges.add_late("fraud", subject, 2)
    gauges.add_duplicates("fraud", 5)
    for outcome, n in (("matched", 7), ("duplicate", 3), ("waiting", 11)):
        gauges.add_labels(outcome, n)  # type: ignore[arg-type]
    gauges.add_dead_letters("not_json", 6)
    gauges.observe_result(result(1))
    gauges.observe_alert(alert())
    gauges.observe_checkpoint(0.1)
    expected = Exported(consumed=100_000_020, predictions=31, late=4, duplicates=8, labels=7, dead_letters=6, alerts=1)
    assert Exported.parse(gauges.exposition()[0].decode()) == expected


# how it looks

ADDRESSES = ("Kafka 127.0.0.1:40843", "redis://127.0.0.1:27081/0", "http://127.0.0.1:22554/metrics")


def steady(_: int) -> str:
    return "steady"


def run(length_ms: int | None = 6 * STEP_MS) -> Run:
    return Run(START_MS, length_ms, STEP_MS, steady, ADDRESSES)


def status(steps: float) -> Status:
    return Status(START_MS + int(steps * STEP_MS), Exported(1_000_000, 500_000, 400, 5_000, 450_000, 900, 20), 2_000.0)


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def drawn(seen: Board, run: Run, status: Status, width: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    console.print(screen(seen, run, status, "What is going on.", width, height))
    return text_of(console).splitlines()


def crowded(windows: int = 30) -> Board:
    """More windows and alerts than any screen holds."""
    seen = Board()
    for end in range(1, windows + 1):
        for size in (1, 3):
            seen.add_result(encode(result(end, size)))
            seen.add_result(encode(result(end, size, performance=True)))
    for number in range(100):
        seen.add_alert(encode(alert(number, kind="data_drift" if number % 2 else "performance", resolved=number % 3 == 0)))
    return seen


@pytest.mark.parametrize(("width", "height"), [(80, 24), (110, 35), (240, 70)])
@pytest.mark.parametrize("seen", [Board(), board(), crowded(6), crowded()])
@pytest.mark.parametrize("length_ms", [6 * STEP_MS, None])
def test_screen_fits_the_terminal_and_fills_it(seen: Board, length_ms: int | None, width: int, height: int) -> None:
    lines = drawn(seen, run(length_ms), status(30.5), width, height)
    assert len(lines) == height
    assert max(len(line.rstrip()) for line in lines) <= width
    assert lines[0].startswith("driftstream demo  2,000 events/s")
    assert lines[-1].split()[-1] == ADDRESSES[-1]


def test_screen_shows_scores_and_why_an_alert_fired() -> None:
    shown = "\n".join(drawn(board(), run(), status(1.5), 80, 24))
    for text in ("psi amount", "0.592", "psi merchant_category", "0.296", "psi 0.592 >= 0.25", ">= 116.7 10% -> 37%", "0.783 < 0.83"):
        assert text in shown


def test_labels_fill_their_rows_when_their_window_closes() -> None:
    seen = board()
    before = drawn(seen, run(), status(1.5), 80, 24)
    seen.add_result(encode(result(1, performance=True)))
    after = drawn(seen, run(), status(1.7), 80, 24)
    assert [row.split() for row in before if row.startswith("accuracy  ")] == [["accuracy"]]
    assert [row.split() for row in after if row.startswith("accuracy  ")] == [["accuracy", "0.783"]]
    assert [row.split() for row in after if row.startswith("f1  ")] == [["f1", "-"]]


@pytest.mark.parametrize("now", [0.5, 6.5, 29.5])
def test_endless_run_shows_the_newest_windows_and_the_one_that_is_open(now: float) -> None:
    header = next(line for line in drawn(Board(), run(None), status(now), 80, 24) if line.startswith("windows to"))
    ends = header.split()[2:]
    open_end = timestamp(START_MS + (int(now) + 1) * STEP_MS)[14:19]
    assert open_end in ends
    assert now < 7 or ends[-1] == open_end


def test_run_that_ends_shows_all_its_windows_from_the_beginning() -> None:
    header = next(line for line in drawn(Board(), run(), status(0.5), 80, 24) if line.startswith("windows to"))
    assert header.split()[2:] == ["00:05", "00:10", "00:15", "00:20", "00:25", "00:30"]


def test_lines_of_a_pipe_tell_windows_and_alerts() -> None:
    console = Console(file=io.StringIO(), width=40)
    view = PlainView(console)
    view.say("Starting ...")
    view.window_closed(result(1))
    view.window_closed(result(1, performance=True))
    view.alert(alert())
    view.alert(alert(resolved=True))
    assert text_of(console).splitlines() == [
        "Starting ...",
        "00:00:05 window 5s closed: 5,000 predictions; psi amount 0.592 merchant_category 0.296 distance_km 0.197",
        "00:00:05 window 5s closed: 4,900 labels; accuracy 0.783 f1 -",
        "00:00:00 critical summary of alert 0",
        "00:00:00 resolved summary of alert 0",
    ]


def test_pipe_gets_lines_even_where_colours_are_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with open_view(Console(file=io.StringIO()), Board()) as view:
        assert isinstance(view, PlainView)


def test_terminal_gets_a_screen_and_a_recap_when_it_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    console = Console(file=io.StringIO(), width=80, height=24, force_terminal=True, color_system=None, legacy_windows=False, _environ={})
    view: View
    with open_view(console, crowded(6)) as view:
        assert isinstance(view, LiveView)
        view.say("Starting ...")
        assert view.recap() is None
        view.begin(run())
        view.update(status(6.5))
    recap = view.recap()
    assert recap is not None
    plain = Console(file=io.StringIO(), width=80)
    plain.print(recap)
    assert "psi amount" in text_of(plain)
    assert "psi 0.592 >= 0.25" in text_of(plain)


# the worker's process


class Impostor(WorkerProcess):
    """A process that says that it is ready, and then ends."""

    ready = True

    def command(self) -> list[str]:
        return [sys.executable, "-S", "-c", "import sys; print('the reason'); sys.exit(70)"]

    def is_ready(self) -> bool:
        return self.ready


def test_worker_that_ends_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    with Impostor(tmp_path, tmp_path / "none.yaml", 1) as worker:
        while worker.exit_code() is None:
            os.sched_yield()
        with pytest.raises(DemoError, match="exit code 70; its log ends with:\nthe reason"):
            worker.check()


def test_worker_without_web_page_is_not_ready(tmp_path: Path) -> None:
    assert not WorkerProcess(tmp_path, tmp_path / "none.yaml", 1).is_ready()
