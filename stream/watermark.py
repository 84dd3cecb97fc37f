"""The watermark of one topic-partition: no older event is expected.

It trails the newest event time seen by `out_of_orderness` and never goes back. The minimum over all units, which closes windows, is
kept by the store (`ClockStore.report`). It depends on nothing but the partition's own events, so a replay takes the same decisions.
"""

from dataclasses import dataclass

import numpy as np

from stream.windows import Times

NO_TIME = -(10**15)  # before any event; an integer that a double holds exactly, as Redis' Lua needs


@dataclass(slots=True)
class Watermark:
    """Watermark of one unit and what makes it idle. Mutable; owned by its unit."""

    out_of_orderness_ms: int
    newest_ms: int = NO_TIME
    idle: bool = False
    at_end: bool = False
    heard_ms: int = NO_TIME

    @property
    def value_ms(self) -> int:
        """The watermark now, NO_TIME before any event."""
        return self.newest_ms - self.out_of_orderness_ms if self.newest_ms > NO_TIME else NO_TIME

    def advance(self, times_ms: Times) -> Times:
        """The watermark as it stood when each event arrived, (n,) int64: one event after the other, however they are cut into batches."""
        newest = np.maximum.accumulate(np.concatenate(([self.newest_ms], times_ms)))
        self.newest_ms = int(newest[-1])
        return np.where(newest[:-1] > NO_TIME, newest[:-1] - self.out_of_orderness_ms, NO_TIME)

    def hear(self, now_ms: int) -> None:
        """Messages arrived: the partition is neither at its end nor idle."""
        self.heard_ms, self.at_end, self.idle = now_ms, False, False

    def falls_idle(self, now_ms: int, idle_after_ms: int) -> bool:
        """Whether it becomes idle now: at the end of the log, and quiet for `idle_after`. Stalled (not at the end) is not idle."""
        turns = not self.idle and self.at_end and now_ms - self.heard_ms >= idle_after_ms
        self.idle = self.idle or turns
        return turns
