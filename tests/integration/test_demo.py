"""`driftstream demo` as a newcomer runs it: what it shows, how it ends, and that nothing of it stays behind."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import pytest

SUMMARY = re.compile(r"demo: (\d+) windows closed, (\d+) alerts fired, (-?\d+) events lost")
NEVER_S = 120.0


def session(leader: int) -> set[int]:
    """The processes of a session: the demo's children have process groups of their own, and still belong to it."""
    listed = subprocess.run(["ps", "-A", "-o", "pid="], capture_output=True, text=True, check=True)
    found = set()
    for pid in map(int, listed.stdout.split()):
        with suppress(ProcessLookupError, PermissionError):
            if os.getsid(pid) == leader:
                found.add(pid)
    return found


@contextmanager
def demo(tmp_path: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A running demo whose temporary files go to `tmp_path`. When it has ended no file and no process of it may be left."""
    process = subprocess.Popen(
        [sys.executable, "-m", "stream", "demo", *options],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    try:
        yield process
        assert process.returncode is not None
        assert session(process.pid) == set()
        assert list(tmp_path.iterdir()) == []
    finally:
        for pid in session(process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with process:  # waits, and closes the pipe
            pass


def read_until(output: IO[str], found: Callable[[str], bool]) -> None:
    for line in output:
        if found(line):
            return
    pytest.fail("the demo ended before its time")


def test_demo_shows_drift_and_loss_of_performance_and_loses_nothing_in_under_a_minute(tmp_path: Path) -> None:
    started_s = time.monotonic()
    with demo(tmp_path) as process:
        output, _ = process.communicate(timeout=NEVER_S)
    elapsed_s = time.monotonic() - started_s
    assert process.returncode == 0, output
    lines = output.splitlines()
    summary = SUMMARY.fullmatch(lines[-1])
    assert summary is not None, lines[-1]
    windows, alerts, lost = map(int, summary.groups())
    assert windows >= 16
    assert alerts >= 5
    assert lost == 0
    for pattern in (
        r"critical fraud 2026\.1: amount drifted, psi 0\.\d+ >= 0\.25",
        r"critical fraud 2026\.1: merchant_category drifted, .*; category .crypto. unseen in the reference 0\.0% -> ",
        r"critical fraud 2026\.1: distance_km drifted, .*; missing 0\.0% -> ",
        r"warning fraud 2026\.1: distance_km is off, missing_ratio 0\.\d+ >= 0\.05",
        r"fraud 2026\.1: accuracy dropped, accuracy 0\.\d+ < 0\.8",
        r"http://127\.0\.0\.1:\d+/metrics",
        r"predictions: (\d+) published, \1 consumed = ",
        r"labels: (\d+) published, \1 consumed = ",
    ):
        assert re.search(pattern, output), f"{pattern} in {output}"
    assert elapsed_s < 60


def test_demo_that_is_terminated_ends_everything_it_started(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        assert process.stdout is not None
        read_until(process.stdout, lambda line: "/metrics" in line)
        assert len(session(process.pid)) >= 3  # itself, redis-server, the worker
        process.terminate()
        rest, _ = process.communicate(timeout=NEVER_S)
    assert process.returncode == 128 + signal.SIGTERM
    assert rest.splitlines()[-1] == "demo: stopped before its end"


def test_endless_demo_that_is_interrupted_gives_its_verdict(tmp_path: Path) -> None:
    """So early that there was nothing to fire an alert: the verdict is red, although nothing is lost."""
    with demo(tmp_path, "--forever") as process:
        assert process.stdout is not None
        read_until(process.stdout, lambda line: "window" in line)
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=NEVER_S)
    assert process.returncode == 1
    assert "demo: no alert of kind data_drift arrived" in rest
    summary = SUMMARY.fullmatch(rest.splitlines()[-1])
    assert summary is not None, rest
    assert summary.group(2, 3) == ("0", "0")
