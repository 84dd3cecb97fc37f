"""What goes wrong, one generator each: up to `yield` it does the harm and says to whom, after it it sees to what is left of it.

At each `yield` the scenario measures how long it takes until every unit is counted on.
"""

import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import redis

from tests.chaos.crew import Member
from tests.chaos.stage import Stage
from tests.chaos.worker import Point

Fault = Callable[[Stage], Iterator[str]]

WORKERS: Final = 3  # between faults
TAIL_BYTES: Final = (10_000, 2_000_000)  # of the append-only file that a power loss takes; some hundredths to some tenths of a second here
GONE: Final = re.compile(r"another worker owns|lost (predictions|labels)/")  # what a worker says whose units were taken


def _dies(point: Point, most_calls: int) -> Fault:
    """`kill -9` of a worker at a point of its work."""

    def fault(stage: Stage) -> Iterator[str]:
        calls = int(stage.rng.integers(1, most_calls, endpoint=True))
        member = _kill(stage, [_pick(stage)], point, calls)
        yield f"{member.name} {point}, the {_ordinal(calls)} from then"

    return fault


def killed_between_close_and_publish(stage: Stage) -> Iterator[str]:
    """Whoever closes next ends when the results are in its outbox."""
    member = _kill(stage, stage.crew.members, "after close", 1)
    yield f"{member.name} after it had closed windows"


def killed_inside_an_assignment(stage: Stage) -> Iterator[str]:
    """A new worker ends when it has taken over the first of the units that the group gives it."""
    member = stage.crew.hire()
    member.trap.set("after acquire")
    member.employ()
    stage.wait(lambda: bool(member.exits), f"{member.name} did not die")
    yield f"{member.name}, new, after it had taken over a unit"
    stage.wait_until_all_own(WORKERS + 1)
    stage.crew.scale(WORKERS)


def zombie_with_counts(stage: Stage) -> Iterator[str]:
    """A worker stops for longer than its session, with counts in its hands, and wakes when others have gone on with its units."""
    calls = int(stage.rng.integers(1, 5, endpoint=True))
    member = _trap(stage, [_pick(stage)], "before checkpoint", calls, signal.SIGSTOP)
    yield f"{member.name} frozen before checkpoint, the {_ordinal(calls)} from then"
    _wake(stage, member)


def zombie_with_results(stage: Stage) -> Iterator[str]:
    """The same with windows that it was about to close, and that others have closed when it wakes."""
    member = _trap(stage, stage.crew.members, "before close", 1, signal.SIGSTOP)
    yield f"{member.name} frozen when it was about to close windows"
    _wake(stage, member)


def _wake(stage: Stage, member: Member) -> None:
    """It must see that its units are gone, and go on as a member of the group."""
    said = len(member.log)
    member.signal(signal.SIGCONT)
    stage.wait(lambda: GONE.search(member.log[said:]) is not None, f"{member.name} woke and did not see that its units were taken")
    stage.wait(lambda: member.units_owned() > 0, f"{member.name} woke and got no units again")


def redis_killed(stage: Stage) -> Iterator[str]:
    """`kill -9` of Redis; what it had executed is in its file."""
    noticed = bool(stage.rng.integers(2))
    stage.redis.kill()
    if noticed:
        _wait_until_noticed(stage)
    stage.redis.start()
    yield "back when every worker had noticed" if noticed else "back at once"


def redis_lost_its_tail(stage: Stage) -> Iterator[str]:
    """A power loss: Redis comes back as it was a moment before, its file mended as `redis-check-aof --fix` would."""
    stage.redis.kill()
    cut = _cut_tail(stage)
    _wait_until_noticed(stage)
    stage.redis.start()
    yield f"{cut:,} bytes, back when every worker had noticed"


def redis_lost_its_tail_torn(stage: Stage) -> Iterator[str]:
    """The same, cut where it may be.

    Redis 7.0 leaves the beginning of a transaction in its file, and executes it with the next one when it loads the file again: panes
    without their offset (valkey-io/valkey#4342 mends the same in Valkey).
    """
    stage.redis.kill()
    cut = _cut_tail(stage, torn=True)
    _wait_until_noticed(stage)
    stage.redis.start()
    yield f"{cut:,} bytes, back when every worker had noticed"


def redis_lost_its_tail_at_once(stage: Stage) -> Iterator[str]:
    """The same, and back so soon that a worker may take it for a connection that broke."""
    stage.redis.kill()
    cut = _cut_tail(stage)
    stage.redis.start()
    yield f"{cut:,} bytes, back at once"


def redis_emptied(stage: Stage) -> Iterator[str]:
    with redis.Redis.from_url(stage.redis.url) as client:
        client.flushall()
    yield "FLUSHALL"


def answer_lost(stage: Stage) -> Iterator[str]:
    """Redis executes a checkpoint, and the worker never hears of it."""
    lost = stage.proxy.lost
    stage.proxy.lose_an_answer()
    stage.wait(lambda: stage.proxy.lost > lost, "no checkpoint came through the proxy")
    yield "to a checkpoint that Redis had executed"


def broker_restarted(stage: Stage) -> Iterator[str]:
    stage.broker.stop()
    stage.broker.start()
    yield "stopped in order, and started"


def broker_killed(stage: Stage) -> Iterator[str]:
    stage.broker.kill()
    stage.broker.start()
    yield "killed, and started"


def scaled(stage: Stage) -> Iterator[str]:
    stage.crew.scale(1)
    yield f"{WORKERS} -> 1"
    stage.crew.scale(WORKERS)
    stage.wait_until_all_own(WORKERS)
    yield f"1 -> {WORKERS}"


FAULTS: Final[dict[str, Fault]] = {
    "killed before a checkpoint": _dies("before checkpoint", 5),
    "killed after a checkpoint": _dies("after checkpoint", 5),
    "killed after a join": _dies("after match", 20),
    "killed inside an assignment": killed_inside_an_assignment,
    "killed between close and publish": killed_between_close_and_publish,
    "killed between publish and trim": _dies("before trim", 2),
    "zombie with counts": zombie_with_counts,
    "zombie with results": zombie_with_results,
    "Redis killed": redis_killed,
    "Redis lost its tail": redis_lost_its_tail,
    "Redis lost its tail, torn": redis_lost_its_tail_torn,
    "Redis lost its tail, back at once": redis_lost_its_tail_at_once,
    "Redis emptied": redis_emptied,
    "answer lost": answer_lost,
    "broker restarted": broker_restarted,
    "broker killed": broker_killed,
    "scaled": scaled,
}
DEFAULT: Final = tuple(FAULTS)


def _pick(stage: Stage) -> Member:
    """A worker with partitions."""
    stage.wait(lambda: bool(stage.crew.owners()), "no worker has partitions")
    owners = stage.crew.owners()
    return owners[int(stage.rng.integers(len(owners)))]


def _kill(stage: Stage, members: list[Member], point: Point, calls: int) -> Member:
    """The one of the members that died, since it came to the point first."""
    deaths = {member.name: len(member.exits) for member in members}
    dead = _trap(stage, members, point, calls, signal.SIGKILL)
    stage.wait(lambda: len(dead.exits) > deaths[dead.name], f"{dead.name} did not die")
    return dead


def _trap(stage: Stage, members: list[Member], point: Point, calls: int, number: int) -> Member:
    """The one of the members that came to the point first, and got the signal."""
    for member in members:
        member.trap.set(point, calls, number)
    stage.wait(lambda: any(not member.trap.is_set for member in members), f"no worker came to the point {point}")
    trapped = next(member for member in members if not member.trap.is_set)
    for member in members:
        member.trap.remove()
    return trapped


def _wait_until_noticed(stage: Stage) -> None:
    stage.wait(
        lambda: all(not member.units_owned() or member.says("ready", '"store":false') for member in stage.crew.members),
        "not every worker noticed that Redis is away",
    )


def _cut_tail(stage: Stage, *, torn: bool = False) -> int:
    """Shorten the file that Redis was appending to, to a whole transaction unless `torn`; by how many bytes."""
    files = sorted(Path(stage.redis.folder, "appendonlydir").glob("*.incr.aof"), key=lambda file: int(file.name.split(".")[-3]))
    size = files[-1].stat().st_size
    kept = max(0, size - int(stage.rng.integers(*TAIL_BYTES)))
    if not torn:
        kept = _whole(files[-1].read_bytes()[:kept])
    os.truncate(files[-1], kept)
    return size - kept


def _whole(log: bytes) -> int:
    """How many bytes of an append-only file come before the transaction that it breaks off in; all, if it does not."""
    begins, ends = log.rfind(b"*1\r\n$5\r\nMULTI\r\n"), log.rfind(b"*1\r\n$4\r\nEXEC\r\n")
    return begins if begins > ends else len(log)


def _ordinal(n: int) -> str:
    return f"{n}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(n % 10 if n % 100 not in (11, 12, 13) else 0, 'th') }"
