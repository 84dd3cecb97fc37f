"""Labels that correct others: one suite over the memory store and over a real Redis.

A label is newer by its own time, at the same time by its place in its partition. Each test names labels by what they say.
"""

from typing import NamedTuple

import pytest

from stream.join import CORRECTED, DUPLICATE, MATCHED, REPLACED, STORED
from tests.stream.stores import GENERATION_MS, Backend, RedisBackend, join_batch

BASE_MS = 1_000 * GENERATION_MS


class Found(NamedTuple):
    """What an event came to; what the label before had said, or all labels that were there by then; how far time was ahead of the last."""

    status: int
    said: int | tuple[int, ...] | None = None
    behind: int | None = None


def label(backend: Backend, says: int, offset: int, after_ms: int = 0, partition: int = 0) -> Found:
    """The label of the one id."""
    batch = join_batch("labels", ("a", BASE_MS + after_ms, offset), partition=partition, says=says)
    batch.rows["behind"] = 10 * offset
    matches = backend.store.match(batch)
    if matches.status[0] == CORRECTED:
        assert matches.others["cls"][0] == 5  # the prediction comes with it
        (before,) = matches.also["row"]
        return Found(CORRECTED, int(before["cls"]), int(before["behind"]))
    return Found(int(matches.status[0]))


def prediction(backend: Backend, offset: int = 5, closed_ms: int = 0) -> Found:
    """The prediction of the one id, and what its label says; `closed_ms`: where time stands, after the label's own."""
    batch = join_batch("predictions", ("a", BASE_MS, offset))
    batch.closed[:] = BASE_MS + closed_ms
    matches = backend.store.match(batch)
    if matches.status[0] == MATCHED:
        labels = [matches.others[0], *matches.also["row"]]
        return Found(MATCHED, tuple(int(one["cls"]) for one in labels), int(labels[-1]["behind"]))
    return Found(int(matches.status[0]))


def test_a_later_label_that_says_something_else_replaces_what_was_counted(backend: Backend) -> None:
    prediction(backend)
    assert label(backend, says=1, offset=1).status == MATCHED
    assert label(backend, says=2, offset=2) == Found(CORRECTED, 1, 10)
    assert label(backend, says=1, offset=3) == Found(CORRECTED, 2, 20)
    assert label(backend, says=1, offset=4).status == DUPLICATE


def test_a_replay_of_each_label_says_again_what_it_replaced(backend: Backend) -> None:
    prediction(backend)
    said = [label(backend, says, offset) for offset, says in enumerate((1, 2, 2, 3, 1))]
    assert [found.status for found in said] == [MATCHED, CORRECTED, DUPLICATE, CORRECTED, CORRECTED]
    for _ in range(2):
        assert [label(backend, says, offset) for offset, says in enumerate((1, 2, 2, 3, 1))] == said


def test_an_older_label_replaces_nothing_whenever_it_comes(backend: Backend) -> None:
    prediction(backend)
    assert label(backend, says=1, offset=1, after_ms=10).status == MATCHED
    assert label(backend, says=2, offset=2, after_ms=9).status == DUPLICATE
    assert label(backend, says=3, offset=3, after_ms=11) == Found(CORRECTED, 1, 10)
    assert label(backend, says=2, offset=2, after_ms=9).status == DUPLICATE


def test_at_the_same_time_only_the_same_partition_has_an_order(backend: Backend) -> None:
    prediction(backend)
    assert label(backend, says=1, offset=7).status == MATCHED
    assert label(backend, says=2, offset=8, partition=1).status == DUPLICATE
    assert label(backend, says=2, offset=6).status == DUPLICATE
    assert label(backend, says=2, offset=8) == Found(CORRECTED, 1, 70)


def test_a_label_that_repeats_what_stands_later_makes_older_corrections_void(backend: Backend) -> None:
    """Else its own replay would take back a correction that came after it."""
    prediction(backend)
    assert label(backend, says=1, offset=1).status == MATCHED
    assert label(backend, says=1, offset=2, after_ms=20).status == DUPLICATE
    assert label(backend, says=2, offset=3, after_ms=10).status == DUPLICATE
    assert label(backend, says=2, offset=4, after_ms=30) == Found(CORRECTED, 1, 10)
    assert label(backend, says=1, offset=2, after_ms=20).status == DUPLICATE


def test_a_label_that_waits_is_replaced_before_its_prediction_comes(backend: Backend) -> None:
    assert [label(backend, says, offset).status for offset, says in enumerate((1, 2, 3))] == [STORED, REPLACED, REPLACED]
    for _ in range(2):
        assert prediction(backend) == Found(MATCHED, (1, 2, 3), 20)
        assert [label(backend, says, offset).status for offset, says in enumerate((1, 2, 3))] == [STORED, REPLACED, REPLACED]
    assert prediction(backend, offset=6).status == DUPLICATE


def test_a_prediction_that_is_replayed_finds_the_label_of_its_time(backend: Backend) -> None:
    label(backend, says=1, offset=1)
    label(backend, says=2, offset=2)
    assert prediction(backend) == Found(MATCHED, (1, 2), 20)
    assert label(backend, says=3, offset=3) == Found(CORRECTED, 2, 20)
    assert prediction(backend) == Found(MATCHED, (1, 2), 20)
    assert label(backend, says=3, offset=3) == Found(CORRECTED, 2, 20)


@pytest.mark.parametrize("labels", [(1,), (2, 1)])
def test_how_late_a_waiting_label_was_is_known_when_it_is_corrected(backend: Backend, labels: tuple[int, ...]) -> None:
    """Time had passed on when its prediction came: that decides whether it was counted, and so whether it is taken back."""
    for offset, says in enumerate(labels):
        label(backend, says, offset)
    last = len(labels) - 1
    assert prediction(backend, closed_ms=7_000) == Found(MATCHED, labels, 7_000)
    assert prediction(backend, closed_ms=9_000) == Found(MATCHED, labels, 7_000)  # a replay
    assert label(backend, says=9, offset=last + 1) == Found(CORRECTED, 1, 7_000)


def test_labels_that_are_numbers_differ_by_their_value(backend: Backend) -> None:
    prediction(backend)
    found = []
    for offset, value in enumerate((0.5, 0.5, 0.25, float("nan"), float("nan"))):
        batch = join_batch("labels", ("a", BASE_MS, offset))
        batch.rows["value"] = value
        found.append(int(backend.store.match(batch).status[0]))
    assert found == [MATCHED, DUPLICATE, CORRECTED, CORRECTED, DUPLICATE]


def test_a_correction_may_come_generations_later_and_leaves_with_its_row(redis_backend: RedisBackend) -> None:
    prediction(redis_backend)
    label(redis_backend, says=1, offset=1)
    assert label(redis_backend, says=2, offset=2, after_ms=3 * GENERATION_MS) == Found(CORRECTED, 1, 10)
    assert [key for key in redis_backend.all_keys() if key.endswith(b":corrected")]
    assert redis_backend.store.drop_generations(BASE_MS + GENERATION_MS) == (0, 0)
    assert not [key for key in redis_backend.all_keys() if b":pending:" in key]
