"""The scores by class that wait beside a prediction: one suite over the memory store and over a real Redis."""

import pytest

from stream.join import CORRECTED, DUPLICATE, MATCHED, STORED
from tests.stream.stores import GENERATION_MS, Backend, RedisBackend, Scores, join_batch

BASE_MS = 1_000 * GENERATION_MS
NONE = [0, 0, 0]


def predict(backend: Backend, *events: tuple[str, int, int], scores: Scores) -> list[int]:
    """What becomes of predictions with these scores."""
    return backend.store.match(join_batch("predictions", *events, scores=scores)).status.tolist()


def ask(backend: Backend, *events: tuple[str, int, int], says: int = 1, width: int = 3, partition: int = 0) -> list[tuple[int, list[int]]]:
    """What becomes of labels, and the scores of what they met."""
    batch = join_batch("labels", *events, says=says, scores=[[0] * width] * len(events), partition=partition)
    found = backend.store.match(batch)
    return list(zip(found.status.tolist(), found.scores.tolist(), strict=True))


def test_a_label_is_told_the_scores_of_the_prediction_that_waited(backend: Backend) -> None:
    events = [("a", BASE_MS, 1), ("b", BASE_MS, 2), ("c", BASE_MS, 3)]
    predict(backend, *events, scores=[[1, 0, 9], NONE, [0, 7, 0]])
    labels = [("c", BASE_MS, 5), ("b", BASE_MS, 6), ("a", BASE_MS + GENERATION_MS, 7), ("d", BASE_MS, 8)]
    assert ask(backend, *labels) == [(MATCHED, [0, 7, 0]), (MATCHED, NONE), (MATCHED, [1, 0, 9]), (STORED, NONE)]


def test_a_replay_of_the_label_is_told_them_again(backend: Backend) -> None:
    predict(backend, ("a", BASE_MS, 1), scores=[[4, 5, 6]])
    for _ in range(3):
        assert ask(backend, ("a", BASE_MS, 2)) == [(MATCHED, [4, 5, 6])]


def test_a_correction_is_told_them_whichever_side_came_first(backend: Backend) -> None:
    predict(backend, ("a", BASE_MS, 1), scores=[[4, 5, 6]])
    ask(backend, ("a", BASE_MS, 2))
    ask(backend, ("b", BASE_MS, 3))
    assert predict(backend, ("b", BASE_MS, 2), scores=[[7, 8, 9]]) == [MATCHED]
    corrections = [("a", BASE_MS + 1, 4), ("b", BASE_MS + 1, 5)]
    assert ask(backend, *corrections, says=2) == [(CORRECTED, [4, 5, 6]), (CORRECTED, [7, 8, 9])]


def test_neither_a_duplicate_nor_a_replay_of_the_prediction_changes_them(backend: Backend) -> None:
    predict(backend, ("a", BASE_MS, 1), scores=[[4, 5, 6]])
    assert predict(backend, ("a", BASE_MS, 2), scores=[[1, 1, 1]]) == [DUPLICATE]
    assert predict(backend, ("a", BASE_MS + GENERATION_MS, 3), scores=[[2, 2, 2]]) == [DUPLICATE]
    assert predict(backend, ("a", BASE_MS, 1), scores=[[4, 5, 6]]) == [STORED]
    assert ask(backend, ("a", BASE_MS, 2)) == [(MATCHED, [4, 5, 6])]


@pytest.mark.parametrize(("width", "told"), [(2, [4, 5]), (5, [4, 5, 6, 0, 0]), (0, [])])
def test_a_worker_of_another_width_is_told_as_much_as_it_asks_for(backend: Backend, width: int, told: list[int]) -> None:
    predict(backend, ("a", BASE_MS, 1), scores=[[4, 5, 6]])
    assert ask(backend, ("a", BASE_MS, 2), width=width) == [(MATCHED, told)]


def test_they_leave_with_their_generation(backend: Backend) -> None:
    predict(backend, ("a", BASE_MS, 1), ("b", BASE_MS, 2), scores=[[4, 5, 6], NONE])
    assert backend.store.drop_generations(BASE_MS + 2 * GENERATION_MS) == (2, 0)
    if isinstance(backend, RedisBackend):
        assert [key for key in backend.all_keys() if b"pending" in key] == []


def test_a_prediction_without_scores_leaves_nothing_beside_its_bucket(backend: Backend) -> None:
    predict(backend, ("a", BASE_MS, 1), ("b", BASE_MS, 2), scores=[NONE, [0, 1, 0]])
    if isinstance(backend, RedisBackend):
        (beside,) = [key for key in backend.all_keys() if key.endswith(b":scores")]
        assert backend.redis.hvals(beside) == [b"\x00\x01"]
