"""A request to stop is noted, wakes whoever waits, and is impatient the second time."""

import os
import signal
import threading
import time

import pytest

from stream.signals import SIGNALS, Stop, stop_signals


def raise_(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
def test_signal_wakes_a_waiting_loop_and_stays_noted(number: signal.Signals) -> None:
    with stop_signals() as stop:
        assert stop.wait(0) is False
        timer = threading.Timer(0.1, raise_, (number,))
        timer.start()
        started_s = time.monotonic()
        assert stop.wait(60) is True
        assert time.monotonic() - started_s < 30
        assert stop.wait(60) is True
        assert stop.signal == number
        timer.join()


def test_signal_wakes_all_threads() -> None:
    with stop_signals() as stop:
        woken: list[bool] = []
        threads = [threading.Thread(target=lambda stop: woken.append(stop.wait(60)), args=(stop,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        raise_(signal.SIGTERM)
        for thread in threads:
            thread.join()
    assert woken == [True] * 3


def test_first_signal_is_the_one_that_is_noted_and_a_second_one_may_come() -> None:
    with stop_signals() as stop:
        raise_(signal.SIGHUP)
        raise_(signal.SIGTERM)
        raise_(signal.SIGTERM)
        assert stop.signal == signal.SIGHUP


def test_second_interrupt_does_not_wait_for_an_orderly_end() -> None:
    def interrupt_twice() -> None:
        raise_(signal.SIGINT)
        raise_(signal.SIGINT)
        time.sleep(60)

    with stop_signals(), pytest.raises(KeyboardInterrupt):
        interrupt_twice()


def test_handlers_are_restored_even_if_the_body_fails() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]

    def fail(_: Stop) -> None:
        assert [signal.getsignal(number) for number in SIGNALS] != before
        raise ValueError

    with pytest.raises(ValueError), stop_signals() as stop:  # noqa: PT011
        fail(stop)
    assert [signal.getsignal(number) for number in SIGNALS] == before
