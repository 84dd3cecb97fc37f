"""Being asked to stop: SIGINT, SIGTERM and SIGHUP as something that a loop can wait for. For programs whose main thread is ours."""

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # Ctrl-C, `kill`, and a terminal that is closed


class Stop:
    """Whether the process was asked to stop. A pipe rather than a `threading.Event`, whose lock a signal handler must not take."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._readable, self._writable = os.pipe()

    def wait(self, seconds: float) -> bool:
        """Whether a signal has come; waits for one at most `seconds`. Any thread may call it."""
        select.select([self._readable], [], [], seconds)
        return self.signal is not None

    def note(self, number: int, _: FrameType | None = None) -> None:
        """The signal handler. A second Ctrl-C interrupts at once, for someone who does not want to wait for an orderly end."""
        if self.signal is None:
            self.signal = number
            os.write(self._writable, b"!")
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def close(self) -> None:
        os.close(self._readable)
        os.close(self._writable)


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Inside, the signals no longer end the process but are noted. Main thread only."""
    stop = Stop()
    before = {number: signal.signal(number, stop.note) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        stop.close()
