"""Values to positions in an aggregate, against a plain loop."""

from bisect import bisect_right
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.model import CONFUSION_START, PREDICTIONS, Model
from stream.reference import CategoricalFeature, Feature, NumericFeature
from tests.builders import MODEL, categorical, numeric, reference, settings, small_reference

EDGES = [-5.0, 0.0, 0.1, 0.1 + 2**-56, 10.0, 1e150]


def model(*features: Feature, **section: Any) -> Model:
    return Model.build(settings({MODEL: {"classes": ["0", "1"], **section}}).model(MODEL), reference(*features) if features else None)


def bins(feature: Feature, values: list[Any], invalid: list[int] | None = None) -> list[int]:
    """The bin of each value, from the feature's first; MISSING and INVALID are the two after the last."""
    made = model(feature)
    codes, _ = made.code([values], {feature.name: invalid or []})
    found: list[int] = (codes[0] - made.slots[0].start).tolist()
    return found


NUMBERS = st.sampled_from(EDGES) | st.floats(allow_nan=False) | st.none()
NUMERIC = numeric("x", EDGES, [0, 1, 1, 1, 1, 1, 0], [0, 0, 1, 1, 2, 2, 2])


@given(st.lists(NUMBERS, max_size=20), st.data())
def test_a_number_falls_into_the_bin_that_a_plain_loop_finds(values: list[float | None], data: st.DataObject) -> None:
    invalid = data.draw(st.lists(st.sampled_from(range(len(values))), unique=True)) if values else []
    values = [None if i in invalid else value for i, value in enumerate(values)]
    expected = []
    for i, value in enumerate(values):
        if i in invalid:
            expected.append(NUMERIC.bins + 1)
        elif value is None:
            expected.append(NUMERIC.bins)
        else:
            expected.append(sum(edge <= value for edge in EDGES))
    assert bins(NUMERIC, values, invalid) == expected


@pytest.mark.parametrize("edge", range(len(EDGES)))
def test_an_edge_belongs_to_the_bin_above_it(edge: int) -> None:
    below, above = np.nextafter(EDGES[edge], [-np.inf, np.inf]).tolist()
    assert bins(NUMERIC, [below, EDGES[edge], above]) == [bisect_right(EDGES, below), edge + 1, bisect_right(EDGES, above)]


def test_numbers_out_of_range_fall_into_the_end_bins() -> None:
    assert bins(NUMERIC, [-1e308, float("-inf"), 1e308, float("inf"), -0.0]) == [0, 0, 6, 6, 2]


def test_the_values_are_passed_on_with_nan_where_there_is_none() -> None:
    _, values = model(categorical("c", ["a"], [7, 0]), numeric("y", [0.0], [3, 4], [0, 1])).code([["a", None], [2.5, None]], {})
    np.testing.assert_array_equal(values, [[2.5, np.nan]])


@pytest.mark.parametrize(
    ("feature", "values", "expected"),
    [
        (categorical("c", ["b", "a", ""], [3, 2, 1, 1]), ["a", "b", "", None, "A", "a ", "c"], [1, 0, 2, 4, 3, 3, 3]),
        (categorical("c", ["10", "-1", "0"], [3, 2, 1, 1], "integer"), [-1, 10, 0, None, 1, 2**64, -10], [1, 0, 2, 4, 3, 3, 3]),
        (categorical("c", ["true", "false"], [3, 2, 0], "boolean"), [True, False, None], [0, 1, 3]),
        (categorical("c", ["false"], [3, 0], "boolean"), [True, False, None], [1, 0, 2]),
        (categorical("c", ["true", "1", "None"], [3, 2, 1, 1]), ["true", "1", "None", None], [0, 1, 2, 4]),
        (categorical("c", [], [3]), ["a", None], [0, 1]),
    ],
    ids=["text", "integer", "boolean", "one boolean", "texts that look like others", "no category"],
)
def test_a_category_has_its_place_and_every_other_value_the_last(
    feature: CategoricalFeature, values: list[Any], expected: list[int]
) -> None:
    assert bins(feature, values) == expected
    assert bins(feature, [None] * len(values), list(range(len(values)))) == [feature.bins + 1] * len(values)


def test_features_stand_side_by_side_and_fill_the_layout() -> None:
    made = Model.build(settings().model(MODEL), small_reference())
    taken = [position for slot in made.slots for position in range(slot.start, slot.invalid + 1)]
    assert taken == list(range(PREDICTIONS + 3, made.traffic.width))
    assert [slot.moments for slot in made.slots] == [0, -1, -1, -1]
    assert made.traffic.moments == sum(isinstance(slot.feature, NumericFeature) for slot in made.slots)
    assert made.outcomes.width == CONFUSION_START + 3 * 3


def test_a_model_without_a_reference_codes_nothing() -> None:
    codes, values = model().code([], {})
    assert codes.shape == (0, 0)
    assert values.shape == (0, 0)


def test_layouts_tell_references_panes_and_classes_apart() -> None:
    plain, feature = model(NUMERIC), numeric("x", [*EDGES[:-1], 1e151], [0, 1, 1, 1, 1, 1, 0], [0, 0, 1, 1, 2, 2, 2])
    assert model(NUMERIC).traffic == plain.traffic
    assert model(NUMERIC).outcomes == plain.outcomes
    for other in (model(feature), model(NUMERIC, windows=[{"size": "30s"}])):
        assert other.traffic.fingerprint != plain.traffic.fingerprint
        assert other.outcomes.fingerprint != plain.outcomes.fingerprint
    assert model(NUMERIC, classes=["1", "0"]).outcomes.fingerprint != plain.outcomes.fingerprint
    assert plain.traffic.fingerprint != plain.outcomes.fingerprint
