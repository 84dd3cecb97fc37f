"""Several worker processes under one command: what dies is started again, what is asked to stop stops in order.

Knows commands and exit codes, nothing of what they do. The children have process groups of their own, so that Ctrl-C in a terminal reaches
the supervisor alone, which passes it on as SIGTERM.
"""

import logging
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from stream.signals import stop_signals

log = logging.getLogger(__name__)

UNUSABLE: Final = 2  # the exit code that says: the configuration is wrong, another start would end the same way
_POLL_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Policy:
    """How patient the supervisor is, in seconds."""

    first_wait_s: float = 0.5  # before a process that died starts again; twice as long each time, so that a broken service is not hammered
    longest_wait_s: float = 30.0
    healthy_after_s: float = 60.0  # a process that ran for so long starts again as if it had never died
    stop_within_s: float = 25.0  # then it is killed; a worker needs at most 20, Docker kills after the 30 of our compose file


class _Child:
    """One process and its restarts."""

    def __init__(self, name: str, command: Sequence[str], policy: Policy) -> None:
        self.name, self._command, self._policy = name, command, policy
        self.process: subprocess.Popen[bytes] | None = None
        self.done = False  # it ended by itself and in order
        self.unusable = False
        self._starts = self._failures = 0
        self._started_s = self._start_again_s = 0.0

    def start(self) -> None:
        self._started_s, self._starts = time.monotonic(), self._starts + 1
        self.process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, process_group=0)  # noqa: S603  the command is ours
        log.info("%s: started, pid %d", self.name, self.process.pid)

    def tend(self) -> None:
        """Notice that it has ended; start it again when it is time."""
        now_s = time.monotonic()
        if self.process is not None and (code := self.process.poll()) is not None:
            self.process = None
            self._ended(code, now_s)
        elif self.process is None and not self.done and now_s >= self._start_again_s:
            self.start()

    def _ended(self, code: int, now_s: float) -> None:
        healthy = now_s - self._started_s >= self._policy.healthy_after_s
        if code == 0:
            self.done = True
            log.info("%s: ended by itself", self.name)
        elif code == UNUSABLE and self._starts == 1 and not healthy:
            self.unusable = True
            log.error("%s: %s at its first start; all processes end", self.name, _how(code))
        else:
            self._failures = 1 if healthy else self._failures + 1
            wait_s = min(self._policy.first_wait_s * 2 ** (self._failures - 1), self._policy.longest_wait_s)
            self._start_again_s = now_s + wait_s
            log.error("%s: %s; starts again in %g s", self.name, _how(code), wait_s)


def supervise(commands: list[list[str]], policy: Policy = Policy()) -> int:
    """Run the commands until SIGTERM, SIGINT, or all have ended by themselves.

    Returns:
        0 when all stopped in order; 2 if one ended with 2 at its first start, which ends the others; else 1.
    Raises:
        OSError: a command cannot be run.
    """
    children = [_Child(f"process {i} of {len(commands)}", command, policy) for i, command in enumerate(commands, 1)]
    with stop_signals() as stop:
        try:
            for child in children:
                child.start()
            while not stop.wait(_POLL_S) and not all(child.done for child in children) and not any(child.unusable for child in children):
                for child in children:
                    child.tend()
            in_order = _stop(children, policy.stop_within_s)
        finally:
            _kill(children)
    if any(child.unusable for child in children):
        return UNUSABLE
    return 0 if in_order else 1


def _stop(children: Sequence[_Child], within_s: float) -> bool:
    """Ask the processes to end and wait for them; whether all did so, and in order."""
    running = {child.name: child.process for child in children if child.process is not None}
    for process in running.values():
        process.terminate()
    deadline_s, in_order = time.monotonic() + within_s, True
    for name, process in running.items():
        try:
            code = process.wait(max(0.0, deadline_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.error("%s: still runs after %g s and is killed", name, within_s)
            in_order = False
            continue
        in_order &= code in (0, -signal.SIGTERM)  # the signal's own code: it was not yet far enough to handle it
        log.log(logging.INFO if code == 0 else logging.WARNING, "%s: %s", name, "stopped" if code == 0 else _how(code))
    return in_order


def _kill(children: Sequence[_Child]) -> None:
    for child in children:
        if child.process is not None:
            child.process.kill()
            child.process.wait()


def _how(code: int) -> str:
    return f"ended with exit code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"
