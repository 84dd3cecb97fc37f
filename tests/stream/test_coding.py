"""Values to positions in an aggregate, against a plain loop; and many models at once, against one by one."""

from bisect import bisect_right
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.coding import CELLED_EDGES, Bins, Coding
from stream.model import Model
from stream.reference import CategoricalFeature, Feature
from tests.builders import MODEL, categorical, coded, numeric, reference, settings

EDGES = [-5.0, 0.0, 0.1, 0.1 + 2**-56, 10.0, 1e150]


def model(*features: Feature, **section: Any) -> Model:
    return Model.build(settings({MODEL: {"classes": ["0", "1"], **section}}).model(MODEL), reference(*features) if features else None)


def bins(feature: Feature, values: list[Any], invalid: list[int] | None = None) -> list[int]:
    """The bin of each value, from the feature's first; MISSING and INVALID are the two after the last."""
    made = model(feature)
    codes, _ = coded(made, [values], {feature.name: invalid or []})
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


SHAPES = [
    np.linspace(0, 1, 256),
    np.logspace(-300, 300, 100),
    np.arange(48.0),
    np.concatenate((np.arange(24.0), np.nextafter(np.arange(24.0), np.inf))),  # of integers: a bin for each
    1 + np.arange(CELLED_EDGES) * 2.0**-52,
    np.arange(CELLED_EDGES) * 5e-324,
]


@given(st.sampled_from(SHAPES), st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=3), st.data())
def test_many_edges_are_told_apart_as_a_search_in_them_does(shape: Any, others: list[float], data: st.DataObject) -> None:
    edges = np.unique(np.concatenate((shape, others)))
    drawn = np.array(data.draw(st.lists(st.floats(allow_nan=False), max_size=5)))
    with np.errstate(over="ignore"):
        values = np.concatenate((edges, drawn, *(np.nextafter(edges, towards) for towards in (-np.inf, np.inf))))
    feature = numeric("x", edges.tolist(), [1] * (edges.size + 1), [0] * (edges.size + 1))
    found = Bins([feature]).find(np.append(values, np.nan), np.zeros(values.size + 1, np.int64), 0)
    assert found[:-1].tolist() == [bisect_right(edges, value) for value in values]
    assert 0 <= found[-1] < feature.bins


def test_the_values_are_passed_on_with_nan_where_there_is_none() -> None:
    made = model(categorical("c", ["a"], [7, 0]), numeric("y", [0.0], [3, 4], [0, 1]))
    _, values = coded(made, [["a", None], [2.5, None]], {})
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


def test_a_model_without_a_reference_codes_nothing() -> None:
    codes, values = coded(model(), [], {})
    assert codes.shape == (0, 0)
    assert values.shape == (0, 0)


def features_of(edges: list[float], categories: list[str]) -> tuple[Feature, ...]:
    bins = len(edges) + 1
    rows = [1] * bins + [0] * max(len(categories) + 1 - bins, 0)
    counts = [*rows[: len(categories) + 1]]
    counts[0] += bins - sum(counts)
    return numeric("x", edges, [1] * bins, list(range(bins))), categorical("c", categories, counts)


MODELS = st.lists(
    st.tuples(
        st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=6, unique=True).map(sorted),
        st.lists(st.sampled_from("abcdef"), max_size=3, unique=True),
    ),
    min_size=1,
    max_size=5,
)
EVENTS = st.lists(
    st.tuples(st.integers(0, 4), st.none() | st.floats(allow_nan=False) | st.sampled_from(EDGES), st.none() | st.sampled_from("abcdefg")),
    max_size=30,
)


@given(MODELS, EVENTS, st.sets(st.integers(0, 29)))
def test_many_models_at_once_are_coded_as_one_by_one(
    made: list[tuple[list[float], list[str]]], events: list[tuple[int, float | None, str | None]], wrong: set[int]
) -> None:
    models = [model(*features_of(edges, categories)) for edges, categories in made]
    members = np.array([which % len(models) for which, _, _ in events], np.int64)
    columns: list[list[Any]] = [[x for _, x, _ in events], [c for _, _, c in events]]
    invalid = {"x": sorted(i for i in wrong if i < len(events))}
    codes, values = Coding(models).code([np.full(len(events), np.nan), *columns], invalid, members)
    for i, which in enumerate(members.tolist()):
        alone, number = coded(models[which], [[column[i]] for column in columns], {"x": [0] if i in wrong else []})
        assert codes[1:, i].tolist() == alone[:, 0].tolist()
        np.testing.assert_array_equal(values[1:, i], number[:, 0])
