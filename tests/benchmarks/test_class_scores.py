"""The benchmark of scores by class, in small: every label is matched, and the ratios are to the case of one score."""

import pytest

from benchmarks.class_scores import Costs, measure, table


@pytest.mark.parametrize("each", [False, True])
def test_every_label_of_a_case_is_matched_and_scores_by_class_take_room(each: bool) -> None:
    found = measure(3, 500, each=each)
    assert 0 < found.waiting_bytes < found.met_bytes
    assert found.cpu_s > 0


def test_ratios_are_to_one_score_of_as_many_classes() -> None:
    runs = {(3, False): [Costs(1.0, 1.0, 50.0, 80.0)], (3, True): [Costs(1.5, 2.0, 75.0, 105.0)]}
    *_, one, three = table(runs, pairs=1_000_000)
    assert one == "| 1 score, of 3 classes | 1.00 | 1.00 | 1.00 | 50 | 80 |"
    assert three == "| 3 scores | 1.50 | 1.50 | 2.00 | 75 | 105 |"
