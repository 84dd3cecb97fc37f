"""A reader that looks at the published balance all the time, as people and `driftstream doctor` may, and notes each that is wrong."""

import threading
from typing import Final

import redis

from stream.balance import Balance
from tests.services.fraud import FraudLoad

LOOK_EVERY_S: Final = 0.1


class Observer:
    """`wrong`: what did not add up; `looks`: how often it could look, since Redis is away at times."""

    def __init__(self, load: FraudLoad) -> None:
        self._load = load
        self._stop = threading.Event()
        self.looks, self.wrong = 0, list[str]()

    def run(self) -> None:
        """Returns after `stop`."""
        while not self._stop.wait(LOOK_EVERY_S):
            try:
                balance = self._load.balance()
            except redis.RedisError:
                continue
            self.looks += 1
            self.wrong += [line for line in wrong_sheets(balance) if line not in self.wrong]

    def stop(self) -> None:
        self._stop.set()


def wrong_sheets(balance: Balance) -> list[str]:
    """Each sheet that does not add up."""
    sheets = {str(unit): sheet for unit, sheet in balance.units.items()}
    sheets |= {"all predictions": balance.predictions, "all labels": balance.labels}
    return [f"{name} does not add up: {sheet}" for name, sheet in sheets.items() if not sheet.adds_up]
