"""The supervisor over tiny real processes: what it starts again, when it gives up, and how it stops."""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stream.supervisor import Policy, supervise

QUICK = Policy(first_wait_s=0.05, longest_wait_s=0.2, healthy_after_s=60.0, stop_within_s=5.0)

NOTE = "import os, pathlib, signal, sys, time; note = pathlib.Path(sys.argv[1])\n"
RUN = "with note.open('a') as file: file.write(f'{os.getpid()}\\n')\nwhile True: time.sleep(0.01)\n"
# Writes a line with its pid when it starts, and another line when it is asked to stop.
OBEDIENT = f"""{NOTE}
def stop(*_):
    with note.open('a') as file: file.write('stopped\\n')
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
{RUN}"""
DEAF = f"{NOTE}signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{RUN}"


def python(code: str, *arguments: object) -> list[str]:
    return [sys.executable, "-S", "-c", code, *map(str, arguments)]


def failing(note: Path, *codes: int) -> list[str]:
    """Ends with the first code at its first start, with the second at its second, and so on."""
    code = NOTE + f"codes = {codes!r}\nwith note.open('a') as file: file.write('x\\n')\nsys.exit(codes[len(note.read_text().split()) - 1])"
    return python(code, note)


def lines(note: Path) -> list[str]:
    return note.read_text().split() if note.exists() else []


@contextmanager
def meanwhile(act: Callable[[], None]) -> Iterator[None]:
    """Another thread does this while the main one supervises."""
    thread = threading.Thread(target=act)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def interrupt(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


def is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    return True


def test_processes_that_end_in_order_are_not_started_again() -> None:
    assert supervise([python("pass"), python("pass")], QUICK) == 0


def test_process_that_fails_is_started_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    note = tmp_path / "note"
    with caplog.at_level(logging.INFO):
        assert supervise([python("pass"), failing(note, 70, 2, 0)], QUICK) == 0
    assert len(lines(note)) == 3
    assert "process 2 of 2: ended with exit code 70; starts again in 0.05 s" in caplog.messages
    assert "process 2 of 2: ended with exit code 2; starts again in 0.1 s" in caplog.messages


def test_waiting_doubles_up_to_its_limit_and_begins_anew_after_a_healthy_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    unhealthy, healthy = failing(tmp_path / "one", 1, 1, 1, 1, 0), failing(tmp_path / "two", 1, 1, 1, 0)
    with caplog.at_level(logging.ERROR):
        supervise([unhealthy], QUICK)
        supervise([healthy], Policy(first_wait_s=0.05, healthy_after_s=0.0))
    waits = [message.rpartition("again in ")[2] for message in caplog.messages]
    assert waits == ["0.05 s", "0.1 s", "0.2 s", "0.2 s", "0.05 s", "0.05 s", "0.05 s"]


def test_configuration_error_at_the_first_start_ends_everything(tmp_path: Path) -> None:
    note = tmp_path / "note"
    started = python("import pathlib, sys, time\nwhile not pathlib.Path(sys.argv[1]).exists(): time.sleep(0.01)\nsys.exit(2)", note)
    assert supervise([python(OBEDIENT, note), started], QUICK) == 2
    assert lines(note)[1:] == ["stopped"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_all_processes_in_order(tmp_path: Path, number: signal.Signals) -> None:
    notes = [tmp_path / "one", tmp_path / "two"]

    def act() -> None:
        eventually(lambda: all(lines(note) for note in notes))
        interrupt(number)

    with meanwhile(act):
        assert supervise([python(OBEDIENT, note) for note in notes], QUICK) == 0
    assert [lines(note)[1:] for note in notes] == [["stopped"], ["stopped"]]


def test_killed_process_is_started_again_and_then_stopped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    note = tmp_path / "note"

    def act() -> None:
        eventually(lambda: len(lines(note)) == 1)
        os.kill(int(lines(note)[0]), signal.SIGKILL)
        eventually(lambda: len(lines(note)) == 2)
        interrupt()

    with meanwhile(act):
        assert supervise([python(OBEDIENT, note)], QUICK) == 0
    assert "process 1 of 1: was ended by SIGKILL; starts again in 0.05 s" in caplog.messages
    assert lines(note)[2] == "stopped"


def test_process_that_does_not_stop_in_time_is_killed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    note = tmp_path / "note"

    def act() -> None:
        eventually(lambda: bool(lines(note)))
        interrupt()

    with meanwhile(act):
        assert supervise([python(DEAF, note)], Policy(stop_within_s=0.2)) == 1
    assert "process 1 of 1: still runs after 0.2 s and is killed" in caplog.messages
    assert not is_alive(lines(note)[0])


def test_process_that_waits_to_start_again_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    note = tmp_path / "note"

    def act() -> None:
        eventually(lambda: bool(lines(note)))
        time.sleep(0.3)
        interrupt()

    with meanwhile(act):
        assert supervise([failing(note, 1, 0)], Policy(first_wait_s=60.0)) == 0
    assert len(lines(note)) == 1


def test_signals_are_handled_as_before_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    supervise([python("pass")], QUICK)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_command_that_cannot_run_is_an_error_and_leaves_no_process(tmp_path: Path) -> None:
    note = tmp_path / "note"
    with pytest.raises(FileNotFoundError):
        supervise([python(OBEDIENT, note), [str(tmp_path / "missing")]], QUICK)
    assert all(not is_alive(pid) for pid in lines(note))
