"""The balance sheet over both stores: every message has one outcome, and a label that waited ends in exactly one of three."""

from collections.abc import Iterator

import numpy as np
import pytest

from sinks import OutboundMessage
from stream.balance import Sheet, read_balance
from stream.join import PREDICTION, JoinBatch, id_hashes
from stream.store import Checkpoint, Clock, Partitions, Source, Store, UnitId, UnitReport, UnitView
from stream.store_memory import MemoryStore
from stream.store_redis import RedisStore
from stream.watermark import NO_TIME

PREDICTIONS, LABELS = UnitId("predictions", 1), UnitId("labels", 0)
PARTITIONS = Partitions(predictions=2, labels=1)


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    if request.param == "memory":
        yield MemoryStore(max_delay_ms=60_000)
    else:
        made = RedisStore(request.getfixturevalue("redis_url"), request.getfixturevalue("redis_namespace"), max_delay_ms=60_000)
        made.begin(Source("", "", "", PARTITIONS))
        yield made
        made.close_connections()


def write(store: Store, unit: UnitId, *, next_offset: int, outbox: int = 0, **counters: int) -> None:
    """A checkpoint of a unit with these counters."""
    state = store.acquire(unit, [])
    messages = [(state.outbox_end + 1 + i, OutboundMessage("topic", None, b"{}")) for i in range(outbox)]
    step = Checkpoint(unit, state.epoch, state.sequence + 1, next_offset, NO_TIME, {}, counters, {}, messages)
    assert store.checkpoint([step]) == []


def test_view_shows_the_last_checkpoint_and_the_last_report(store: Store) -> None:
    write(store, PREDICTIONS, next_offset=7, outbox=2, consumed=7, counted=7)
    epoch = store.acquire(PREDICTIONS, []).epoch
    store.report([UnitReport(PREDICTIONS, epoch, 5_000, idle=True)], PARTITIONS, 9_000, NO_TIME)
    assert store.view(PARTITIONS.units()) == {
        UnitId("predictions", 0): UnitView(),
        PREDICTIONS: UnitView(7, {"consumed": 7, "counted": 7}, outbox=2, watermark_ms=5_000, idle=True, reported_ms=9_000),
        LABELS: UnitView(),
    }


def test_clock_is_read_without_reporting(store: Store) -> None:
    assert store.clock() == Clock()
    one = Partitions(predictions=1, labels=0)
    store.report([UnitReport(UnitId("predictions", 0), 1, 5_000, idle=False)], one, 9_000, NO_TIME)
    assert store.clock() == Clock(5_000, 5_000)


def test_sheet_of_nothing_adds_up(store: Store) -> None:
    balance = read_balance(store, PARTITIONS)
    assert balance.adds_up
    assert (balance.units, balance.predictions.consumed, balance.lost) == ({}, 0, 0)


def test_waiting_label_is_matched_when_its_prediction_came(store: Store) -> None:
    write(store, PREDICTIONS, next_offset=10, consumed=10, counted=6, late=1, duplicate=2, malformed=1, completed=3, lost=4)
    write(store, LABELS, next_offset=14, consumed=14, matched=2, waiting=5, expired=1, duplicate=3, corrected=2, malformed=1)
    balance = read_balance(store, PARTITIONS)
    assert balance.adds_up
    assert balance.predictions == Sheet(10, {"counted": 6, "late": 1, "duplicate": 2, "malformed": 1}, lost=4)
    assert balance.labels == Sheet(14, {"matched": 5, "pending": 2, "expired": 1, "duplicate": 3, "corrected": 2, "malformed": 1})
    assert balance.lost == 4
    assert str(balance.labels) == "14 consumed = 5 matched + 2 pending + 1 expired + 3 duplicate + 2 corrected + 1 malformed"


def test_predictions_end_matched_pending_expired_or_unlabelled(store: Store) -> None:
    """12 counted or late: 2 without labels, 1 too old to wait, 2 + 3 matched before or after their labels; of 4 that wait 1 expires."""
    before = JoinBatch(
        "predictions", id_hashes(["old"]), np.zeros(1, PREDICTION), np.zeros(1, np.uint8), np.zeros(1, np.int64), np.zeros((1, 0), np.uint8)
    )
    store.match(before)
    assert store.drop_generations(60_000) == (1, 0)
    write(store, PREDICTIONS, next_offset=14, consumed=14, counted=9, late=3, duplicate=2, completed=2, unlabelled=2, expired=1)
    write(store, LABELS, next_offset=7, consumed=7, matched=3, waiting=4)
    balance = read_balance(store, PARTITIONS)
    assert balance.joined == Sheet(12, {"matched": 5, "pending": 3, "expired": 2, "unlabelled": 2})
    assert balance.adds_up


def test_matches_and_drops_whose_predictions_are_not_yet_durable_leave_none_below_zero(store: Store) -> None:
    write(store, LABELS, next_offset=3, consumed=3, matched=3)
    write(store, PREDICTIONS, next_offset=2, consumed=2, counted=2)
    assert read_balance(store, PARTITIONS).joined == Sheet(2, {"matched": 2, "pending": 0, "expired": 0, "unlabelled": 0})


def test_message_without_an_outcome_shows(store: Store) -> None:
    write(store, PREDICTIONS, next_offset=10, consumed=10, counted=9)
    balance = read_balance(store, PARTITIONS)
    assert not balance.adds_up
    assert not balance.units[PREDICTIONS].adds_up


def test_a_match_whose_label_is_not_yet_durable_is_unsettled_and_the_sheet_adds_up(store: Store) -> None:
    write(store, PREDICTIONS, next_offset=10, consumed=10, counted=10, completed=2)
    write(store, LABELS, next_offset=1, consumed=1, waiting=1)
    balance = read_balance(store, PARTITIONS)
    assert balance.adds_up
    assert balance.labels.outcomes["matched"] == 1
    assert balance.unsettled == 1
