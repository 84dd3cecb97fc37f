"""A worker whose process ends or freezes at a call of its store that the harness names; and two workers that are wrong on purpose.

`python -m tests.chaos.worker <trap file> <kind> worker --config ...` is the product's own command with another class of store put into its
composition root. The product knows nothing of it.
"""

import logging
import re
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import orjson
from redis.commands.core import Script

import stream.app
import stream.cli
from stream.join import JoinBatch, Matches
from stream.store import Checkpoint, Closing, UnitId, UnitState
from stream.store_redis import RedisStore

log = logging.getLogger(__name__)

Point = Literal["after acquire", "after match", "before checkpoint", "after checkpoint", "before close", "after close", "before trim"]
Kind = Literal["sound", "unfenced", "offset apart"]


class Trap:
    """A file that says at which call, counted from when it appears, the process gets a signal. It goes before the process does."""

    def __init__(self, path: Path) -> None:
        self._path, self._calls = path, 0

    def set(self, point: Point, calls: int = 1, number: int = signal.SIGKILL) -> None:
        """The process ends (or, with SIGSTOP, freezes) at its next call but `calls - 1`."""
        new = self._path.with_suffix(".new")
        new.write_bytes(orjson.dumps({"point": point, "calls": calls, "signal": int(number)}))
        new.rename(self._path)

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)

    @property
    def is_set(self) -> bool:
        return self._path.exists()

    def passes(self, point: Point) -> None:
        """Called by the worker, at the point."""
        try:
            order = orjson.loads(self._path.read_bytes())
        except FileNotFoundError:
            self._calls = 0
            return
        if order["point"] != point:
            return
        self._calls += 1
        if self._calls >= order["calls"]:
            log.warning("trapped %s, call %d: signal %d", point, self._calls, order["signal"])
            self.remove()
            # To this thread: a SIGSTOP to the process would be taken by another one, while this one goes on for a moment.
            signal.pthread_kill(threading.get_ident(), order["signal"])


class TrappedStore(RedisStore):
    """The product's store with the points."""

    trap: ClassVar[Trap]

    def acquire(self, unit: UnitId, models: Sequence[str]) -> UnitState:
        state = super().acquire(unit, models)
        self.trap.passes("after acquire")
        return state

    def match(self, batch: JoinBatch) -> Matches:
        matches = super().match(batch)
        self.trap.passes("after match")
        return matches

    def checkpoint(self, checkpoints: Sequence[Checkpoint]) -> list[UnitId]:
        self.trap.passes("before checkpoint")
        lost = super().checkpoint(checkpoints)
        self.trap.passes("after checkpoint")
        return lost

    def close(self, closings: Sequence[Closing]) -> list[UnitId]:
        self.trap.passes("before close")
        lost = super().close(closings)
        if any(closing.outbox for closing in closings):
            self.trap.passes("after close")
        return lost

    def trim_outbox(self, unit: UnitId, delivered: int) -> None:
        self.trap.passes("before trim")
        super().trim_outbox(unit, delivered)


class UnfencedStore(TrappedStore):
    """Wrong: its scripts refuse nobody, neither an old epoch nor a sequence that another owner has passed."""

    def _script(self, name: str) -> Script:
        script = super()._script(name)
        text = script.script if isinstance(script.script, str) else bytes(script.script).decode()
        unfenced, refusals = re.subn(r"(?m)^\s*if .*return 0 end$", "", text)
        assert refusals or name not in ("checkpoint", "close"), f"cannot take the fence out of {name}.lua: it has none that is known here"
        return self._redis.register_script(unfenced)


class OffsetApartStore(TrappedStore):
    """Wrong: the offset is written before the counts that it stands for, in a step of its own."""

    def checkpoint(self, checkpoints: Sequence[Checkpoint]) -> list[UnitId]:
        for step in checkpoints:
            if step.next_offset is not None:
                self._redis.hset(self._unit(step.unit, "unit"), "next_offset", step.next_offset)
        return super().checkpoint(checkpoints)


STORES: dict[Kind, type[TrappedStore]] = {"sound": TrappedStore, "unfenced": UnfencedStore, "offset apart": OffsetApartStore}


def main() -> None:
    trap, kind, *arguments = sys.argv[1:]
    store = next(store for name, store in STORES.items() if name == kind)
    store.trap = Trap(Path(trap))
    setattr(stream.app, "RedisStore", store)  # noqa: B010  it is not exported
    stream.cli.main(arguments)


if __name__ == "__main__":
    main()
