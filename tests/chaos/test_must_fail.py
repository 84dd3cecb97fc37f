"""The harness can go red: a product without its fence, or with its offset apart from its counts, does not pass, and the real one does."""

import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.embedded import RedisServer
from tests.chaos.crew import Crew
from tests.chaos.faults import GONE
from tests.chaos.judging import judge, settle
from tests.chaos.worker import Kind
from tests.services.fraud import FraudLoad, make_load
from tests.services.topics import count, wait_until

PATIENCE_S = 120.0
pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def load(kafka: str, tmp_path: Path) -> Iterator[FraudLoad]:
    with RedisServer() as server:
        yield make_load(kafka, server.url, uuid.uuid4().hex, tmp_path)


def wait_until_counted(load: FraudLoad, crew: Crew) -> None:
    """Returns when the offsets stand at the end of what was sent."""
    sent = count(load.kafka, load.topics["predictions"], load.topics["labels"])
    wait_until(lambda: sum(view.next_offset or 0 for view in load.view().values()) == sent, within_s=PATIENCE_S, otherwise=crew.logs)


def zombie(load: FraudLoad, folder: Path, kind: Kind) -> list[str]:
    """A worker freezes in the middle of a pane, before a checkpoint, and wakes when another has counted the pane but nobody has closed it.

    ::

        event time  0 ......... 20 ........ 27 ... 30 . 33 ............ 60
                                |  pane    | frozen    | woken
    """
    with Crew(load.config, folder, kind) as crew:
        crew.scale(2)
        wait_until(lambda: len(crew.owners()) == 2, within_s=PATIENCE_S, otherwise=crew.logs)
        load.send(25, rate=200)
        wait_until_counted(load, crew)
        member = crew.members[0]
        member.trap.set("before checkpoint", 1, signal.SIGSTOP)
        load.send(2, rate=200)
        wait_until(lambda: not member.trap.is_set, within_s=PATIENCE_S, otherwise=crew.logs)
        load.send(6, rate=200)
        wait_until_counted(load, crew)
        said = len(member.log)
        member.signal(signal.SIGCONT)
        wait_until(lambda: bool(GONE.search(member.log[said:]) or member.exits), within_s=PATIENCE_S, otherwise=crew.logs)
        load.send(27, rate=200)
        settle(load, crew)
    return judge(load).differences


def death(load: FraudLoad, folder: Path, kind: Kind) -> list[str]:
    """A worker dies before the counts of a batch are written."""
    load.send(30, rate=200)
    with Crew(load.config, folder, kind) as crew:
        member = crew.hire()
        member.trap.set("before checkpoint", 4)
        member.employ()
        wait_until(lambda: bool(member.exits), within_s=PATIENCE_S, otherwise=crew.logs)
        assert member.exits == [-signal.SIGKILL]
        settle(load, crew)
    return judge(load).differences


def test_zombie_writes_nothing(load: FraudLoad, tmp_path: Path) -> None:
    assert "\n".join(zombie(load, tmp_path, "sound")) == ""


def test_zombie_without_a_fence_goes_red(load: FraudLoad, tmp_path: Path) -> None:
    differences = zombie(load, tmp_path, "unfenced")
    assert any(".counts." in line for line in differences), differences


def test_death_before_a_checkpoint_costs_nothing(load: FraudLoad, tmp_path: Path) -> None:
    assert "\n".join(death(load, tmp_path, "sound")) == ""


def test_death_with_the_offset_outside_of_the_atomic_step_goes_red(load: FraudLoad, tmp_path: Path) -> None:
    """Labels that waited are missed by the balance alone: their predictions, which come later, count them."""
    differences = death(load, tmp_path, "offset apart")
    assert any("balance" in line for line in differences), differences
    if any("balance of the predictions" in line for line in differences):
        assert any(".counts." in line for line in differences), differences
